//! Services: who may be asked, and by which way.

use std::net::IpAddr;

use super::errors::{errors, one};
use super::*;
use crate::outside::Framing;

/// Two ports with networks, one of which has a gateway, and a host port.
const PORTS: &str = "[[ports]]\nname = \"near\"\ndevargs = \"net_tap0,iface=lnic0\"\n\
                     ipv4 = \"10.77.0.1/24\"\nipv6 = \"fd77::1/64\"\nhost = \"h0\"\n\
                     [[ports]]\nname = \"far\"\ndevargs = \"net_tap1,iface=lnic1\"\n\
                     ipv4 = \"10.78.0.1/16\"\nipv6 = \"fd78::1/64\"\nipv4_gateway = \"10.78.9.9\"\nipv6_gateway = \"fe80::9\"\n\
                     [[ports]]\nname = \"h0\"\ndevargs = \"net_tap2,iface=lnic2\"\n";
const ALL: &str = "[services]\nallowed = [\"0.0.0.0/0\", \"::/0\"]\n";

fn text(services: &str, ports: &str, lines: &str) -> String {
    format!("{services}{ports}{LAMBDA}[lambdas.services.cache]\n{lines}\n")
}

/// The port's name and the next hop of a service.
fn way(ports: &str, lines: &str) -> (String, String) {
    let topology = valid(&text(ALL, ports, lines));
    let service = &topology.lambdas[0].services[0];
    (topology.ports[service.port.index()].name.clone(), service.hop.to_string())
}

/// What is said of a service, without its place.
fn wrong(ports: &str, lines: &str) -> String {
    let line = one(&errors(&text(ALL, ports, lines)));
    let (_, said) =
        line.split_once(": lambda \"echo\": service \"cache\": ").unwrap_or_else(|| panic!("{line}"));
    said.to_owned()
}

fn pair(port: &str, hop: &str) -> (String, String) {
    (port.into(), hop.into())
}

#[test]
fn the_port_is_that_of_the_network_or_has_a_gateway_or_is_the_only_one() {
    assert_eq!(way(PORTS, "address = \"10.77.0.2:53\""), pair("near", "10.77.0.2"));
    assert_eq!(way(PORTS, "address = \"10.78.3.3:53\""), pair("far", "10.78.3.3"));
    assert_eq!(way(PORTS, "address = \"[fd77::2]:53\""), pair("near", "fd77::2"));
    assert_eq!(way(PORTS, "address = \"192.0.2.7:53\""), pair("far", "10.78.9.9"));
    assert_eq!(way(PORTS, "address = \"[2001:db8::7]:53\""), pair("far", "fe80::9"));
    // A port that is named is asked by even if another is nearer.
    assert_eq!(way(PORTS, "address = \"10.77.0.2:53\"\nport = \"far\""), pair("far", "10.78.9.9"));
    assert_eq!(way(PORTS, "address = \"[fe80::7]:53\"\nport = \"near\""), pair("near", "fe80::7"));
    // Of networks in each other, the smaller one.
    let nested = PORTS.replace("10.77.0.1/24", "10.78.7.1/24");
    assert_eq!(way(&nested, "address = \"10.78.7.2:53\""), pair("near", "10.78.7.2"));
    assert_eq!(way(&nested, "address = \"10.78.8.2:53\""), pair("far", "10.78.8.2"));
    // Without a prefix length and a gateway, everybody is a neighbour; with a gateway, nobody is known to be.
    let bare = format!("{PORT}ipv4 = \"10.77.0.1\"\n");
    assert_eq!(way(&bare, "address = \"192.0.2.7:53\""), pair("p0", "192.0.2.7"));
    let routed = format!("{bare}ipv4_gateway = \"10.77.0.9\"\n");
    assert_eq!(way(&routed, "address = \"10.77.0.2:53\""), pair("p0", "10.77.0.9"));
}

#[test]
fn a_service_without_a_way_says_what_to_write() {
    let near = format!("{PORT}ipv4 = \"10.77.0.1/24\"\n");
    assert_eq!(
        wrong(&near, "address = \"192.0.2.7:53\""),
        "address: 192.0.2.7 is not in port \"p0\"'s network, 10.77.0.0/24, and the port has no ipv4_gateway"
    );
    assert_eq!(
        wrong(&near, "address = \"[fd77::2]:53\""),
        "address: no port has an ipv6 address to ask fd77::2 from"
    );
    let gateways = PORTS.replace("host = \"h0\"\n", "host = \"h0\"\nipv4_gateway = \"10.77.0.9\"\n");
    assert_eq!(
        wrong(&gateways, "address = \"192.0.2.7:53\""),
        "address: 192.0.2.7 is in no port's network, and \"near\", \"far\" have gateways: name one of them (port = …)"
    );
    let bare = PORTS.replace("/24", "").replace("/16", "").replace("ipv4_gateway = \"10.78.9.9\"\n", "");
    assert_eq!(
        wrong(&bare, "address = \"192.0.2.7:53\""),
        "address: 192.0.2.7 is in no port's network, and \"near\", \"far\" could lead there: name one of them (port = …)"
    );
    assert_eq!(
        wrong(PORTS, "address = \"192.0.2.7:53\"\nport = \"fat\""),
        "port: no port \"fat\": did you mean \"far\"?"
    );
    assert_eq!(
        wrong(PORTS, "address = \"192.0.2.7:53\"\nport = \"h0\""),
        "port: \"h0\" is the host's side of port \"near\""
    );
    assert_eq!(
        wrong(PORTS, "address = \"192.0.2.7:53\"\nport = \"gateway\""),
        "port: \"gateway\" is not for services"
    );
    assert_eq!(wrong(&near, "address = \"[fd77::2]:53\"\nport = \"p0\""), "port: \"p0\" has no ipv6");
}

#[test]
fn only_other_hosts_are_asked() {
    let own = |address: &str, name: &str| {
        format!("address: {address} is port \"{name}\"'s own: lambdas ask each other by lnic_call")
    };
    assert_eq!(wrong(PORTS, "address = \"10.78.0.1:53\""), own("10.78.0.1", "far"));
    assert_eq!(wrong(PORTS, "address = \"[fd77::1]:53\""), own("fd77::1", "near"));
    let gateway = valid(PORTS).gateway_port().unwrap().ipv4.unwrap();
    assert_eq!(wrong(PORTS, &format!("address = \"{gateway}:53\"")), own(&gateway.to_string(), "gateway"));
    for address in ["10.77.0.255", "10.77.0.0"] {
        assert_eq!(
            wrong(PORTS, &format!("address = \"{address}:53\"")),
            format!("address: {address} is all of 10.77.0.0/24, and not one host")
        );
    }
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "239.1.2.3",
        "[::1]",
        "[::]",
        "[ff02::1]",
        "[::ffff:10.77.0.2]",
    ] {
        let said = wrong(PORTS, &format!("address = \"{address}:53\""));
        assert!(said.ends_with("is no address that one other host can have"), "{said}");
    }
    for address in ["10.77.0.2", "10.77.0.2:0", "cache:53", "10.77.0.2:65536", "[fe80::2%3]:53"] {
        let said = wrong(PORTS, &format!("address = \"{address}\""));
        assert!(
            said.starts_with(&format!("address: {address:?}: expected an IP address and a UDP port")),
            "{said}"
        );
    }
    // Networks of two addresses have no broadcast address.
    let pair = format!("{PORT}ipv4 = \"10.77.0.0/31\"\n");
    assert_eq!(way(&pair, "address = \"10.77.0.1:53\""), ("p0".to_owned(), "10.77.0.1".to_owned()));
}

#[test]
fn only_who_is_allowed_is_asked() {
    let said = |allowed: &str| {
        one(&errors(&text(
            &format!("[services]\nallowed = {allowed}\n"),
            PORTS,
            "address = \"10.77.0.2:53\"",
        )))
    };
    let place = "24: lambda \"echo\": service \"cache\": address: 10.77.0.2 is not among [services] allowed";
    assert_eq!(said("[]"), format!("{place}: nobody is"));
    assert_eq!(said("[\"10.77.0.3\", \"::/0\"]"), format!("{place}: allowed are \"10.77.0.3/32\", \"::/0\""));
    let allowed = |allowed: &str| {
        let topology = valid(&text(
            &format!("[services]\nallowed = [\"{allowed}\"]\n"),
            PORTS,
            "address = \"10.77.0.2:53\"",
        ));
        topology.lambdas[0].services.len()
    };
    assert_eq!((allowed("10.77.0.2"), allowed("10.76.0.0/15")), (1, 1));
    // Nobody is asked by default.
    assert!(!valid(PORTS).services.are_any());
}

#[test]
fn services_of_the_configuration_are_those_of_manifests() {
    let topology = valid(&text(
        ALL,
        PORTS,
        "address = \"10.77.0.2:11211\"\nframing = \"memcached\"\n[lambdas.services.a]\naddress = \"[fd77::2]:53\"",
    ));
    let services = &topology.lambdas[0].services;
    assert_eq!(
        services.iter().map(|service| (service.name.as_str(), service.framing)).collect::<Vec<_>>(),
        [("a", Framing::Datagram), ("cache", Framing::Memcached)]
    );
    assert_eq!(services[1].address.to_string(), "10.77.0.2:11211");
}

#[test]
fn networks_and_gateways_of_ports() {
    let topology = valid(PORTS);
    let port = &topology.ports[1];
    assert_eq!(port.network(true), Some("10.78.0.0/16".parse().unwrap()));
    assert_eq!(port.network(false), Some("fd78::/64".parse().unwrap()));
    assert_eq!(port.gateway(true), Some(IpAddr::from([10, 78, 9, 9])));
    let gateway = |lines: &str| one(&errors(&format!("{PORT}{lines}\n")));
    assert_eq!(
        gateway("ipv4 = \"10.77.0.1/24\"\nipv4_gateway = \"10.78.0.9\""),
        "5: port \"p0\": ipv4_gateway: 10.78.0.9 is not in the port's network, 10.77.0.0/24"
    );
    assert_eq!(
        gateway("ipv4_gateway = \"10.78.0.9\""),
        "4: port \"p0\": ipv4_gateway: the port has no ipv4 to ask it from"
    );
    assert_eq!(
        gateway("ipv6 = \"fd77::1\"\nipv6_gateway = \"fd77::1\""),
        "5: port \"p0\": ipv6_gateway: fd77::1 is no address that another host can have"
    );
    assert_eq!(
        gateway("ipv6 = \"fd77::1\"\nipv6_gateway = \"10.77.0.9\""),
        "5: port \"p0\": ipv6_gateway: \"10.77.0.9\" is no address such as fd77::fe"
    );
}

#[test]
fn limits_of_services() {
    let limits = |lines: &str| one(&errors(&format!("[services]\n{lines}\n{PORT}")));
    assert_eq!(limits("in_flight = 0"), "2: [services] in_flight: 0 is not in 1–4096");
    assert_eq!(
        limits("udp_ports = \"9000\""),
        "2: [services] udp_ports: \"9000\": expected a range of UDP ports such as \"61000-65535\""
    );
    assert_eq!(
        limits("udp_ports = \"4000-5000\""),
        "2: [services] udp_ports: 4000-5000: has [rpc] port 4793 in it"
    );
    let default = format!("[rpc]\nport = 62000\n{PORT}");
    assert_eq!(
        one(&errors(&format!("[services]\nallowed = [\"10.77.0.0/24\"]\n{default}"))),
        "2: [services] udp_ports: 61000-65535: has [rpc] port 62000 in it"
    );
    assert!(!valid(&default).services.are_any(), "and is in nobody's way");
    assert_eq!(
        limits("allowed = [\"10.77.0.1/24\"]"),
        "2: [services] allowed: 10.77.0.1/24 has bits set behind its prefix: the network is 10.77.0.0/24"
    );
    assert_eq!(
        limits("udp_ports = \"60000-60999\"\nin_flight = 300"),
        "3: [services] in_flight: 300 on 2 lcores that poll take 1200 UDP ports, 2 for each: udp_ports has 1000"
    );
    assert_eq!(
        valid(&format!("[services]\nin_flight = 250\nudp_ports = \"60000-60999\"\n{PORT}"))
            .services
            .in_flight,
        250
    );
    // What nobody asked for follows from the ports.
    assert_eq!(valid(&format!("[services]\nudp_ports = \"60000-60099\"\n{PORT}")).services.in_flight, 25);
    assert_eq!(valid(PORT).services.in_flight, 256);
}

#[test]
fn shares_of_udp_ports_are_disjoint_and_equal() {
    for (range, pollers) in [(61_000..=65_535, 1), (61_000..=65_535, 7), (1..=9, 4), (65_534..=65_535, 2)] {
        let limits = ServiceLimits { udp_ports: range.clone(), ..ServiceLimits::default() };
        let shares: Vec<_> = (0..pollers).map(|at| limits.share(at, pollers)).collect();
        let each = range.clone().count() / pollers;
        assert!(shares.iter().all(|share| share.clone().count() == each), "{shares:?}");
        assert!(shares.windows(2).all(|pair| pair[0].end() < pair[1].start()), "{shares:?}");
        assert!(shares[0].start() == range.start() && shares[pollers - 1].end() <= range.end());
    }
}
