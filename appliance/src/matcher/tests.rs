//! The table against the reference, and what each condition means.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::ids::{LambdaId, LambdaRef, LambdaSlot, PortId};
use crate::parser::{Key, Present};

mod reduction;

fn lambda(slot: u32) -> LambdaRef {
    LambdaRef { slot: LambdaSlot::new(slot), ..LambdaRef::default() }
}

fn mapped(address: Ipv4Addr) -> u128 {
    address.to_ipv6_mapped().to_bits()
}

fn present(parts: &[Present]) -> Present {
    let mut all = Present::default();
    parts.iter().for_each(|&part| all.add(part));
    all
}

fn udp_key() -> Key {
    Key {
        source: mapped(Ipv4Addr::new(10, 0, 0, 9)),
        destination: mapped(Ipv4Addr::new(10, 0, 0, 1)),
        source_port: 40_000,
        destination_port: 53,
        ether_type: 0x0800,
        protocol: 17,
        present: present(&[Present::IPV4, Present::PORTS]),
        ..Key::default()
    }
}

fn rpc_key(id: u32) -> Key {
    let mut key = Key { lambda: id, ..udp_key() };
    key.present.add(Present::RPC);
    key
}

fn index(table: &Table, key: &Key) -> Option<u32> {
    table.lookup(key).map(|found| found.index)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn lambda_id_needs_an_rpc_message() {
    let table = Table::build(vec![Rule::rpc(LambdaId::new(7), lambda(0))]).unwrap();
    assert_eq!(index(&table, &rpc_key(7)), Some(0));
    assert_eq!(index(&table, &rpc_key(8)), None);
    assert_eq!(index(&table, &Key { lambda: 7, ..udp_key() }), None);
    assert_eq!(table.tuples(), 0);
}

#[test]
fn priority_then_order_decides_between_a_lambda_id_and_a_general_rule() {
    let rpc = Rule::rpc(LambdaId::new(7), lambda(0));
    let any = |priority| Rule { priority, ..Rule::any(lambda(1)) };
    let pick = |rules| index(&Table::build(rules).unwrap(), &rpc_key(7));
    assert_eq!(pick(vec![rpc.clone(), any(0)]), Some(0));
    assert_eq!(pick(vec![any(0), rpc.clone()]), Some(0));
    assert_eq!(pick(vec![rpc.clone(), any(1)]), Some(1));
    assert_eq!(pick(vec![rpc.clone(), rpc, any(0)]), Some(0));
}

#[test]
fn a_rule_is_for_one_side() {
    let mut from_host = udp_key();
    from_host.present.add(Present::HOST);
    let any = |side| Rule { side, ..Rule::any(lambda(0)) };
    let table = |rules: Vec<Rule>| Table::build(rules).unwrap();
    let wire = table(vec![any(Side::Wire)]);
    assert_eq!((index(&wire, &udp_key()), index(&wire, &from_host)), (Some(0), None));
    assert_eq!(wire.host_plan(), None);
    let host = table(vec![any(Side::Host)]);
    assert_eq!((index(&host, &udp_key()), index(&host, &from_host)), (None, Some(0)));
    assert_eq!(host.plan(), &crate::parser::Plan::OWN);
    // A lambda ID is not asked for from the host's side, and neither side takes the other's place.
    let mut rpc = rpc_key(7);
    rpc.present.add(Present::HOST);
    let both = table(vec![Rule::rpc(LambdaId::new(7), lambda(1)), any(Side::Wire), any(Side::Host)]);
    assert_eq!((index(&both, &rpc), index(&both, &rpc_key(7))), (Some(2), Some(0)));
    let dns = Rule { protocol: Some(17), destination_port: PortRange::Exact(53), ..any(Side::Host) };
    let both = table(vec![dns, any(Side::Wire)]);
    assert_eq!(both.host_plan().unwrap().to_string(), "ethernet vlan ipv4(udp 53) ipv6(udp 53) rpc");
}

#[test]
fn families_never_mix() {
    let everything_v6 = Rule { source: Some(prefix("::/0")), ..Rule::any(lambda(0)) };
    let everything_v4 = Rule { destination: Some(prefix("0.0.0.0/0")), ..Rule::any(lambda(0)) };
    let v6 = Table::build(vec![everything_v6]).unwrap();
    let v4 = Table::build(vec![everything_v4]).unwrap();
    let same_bits_in_ipv6 = Key { present: Present::IPV6, ..udp_key() };
    assert_eq!((index(&v4, &udp_key()), index(&v6, &udp_key())), (Some(0), None));
    assert_eq!((index(&v4, &same_bits_in_ipv6), index(&v6, &same_bits_in_ipv6)), (None, Some(0)));
    assert_eq!((index(&v4, &Key::default()), index(&v6, &Key::default())), (None, None));
}

#[test]
fn protocol_and_ports_need_their_headers() {
    let zero_protocol = Table::build(vec![Rule { protocol: Some(0), ..Rule::any(lambda(0)) }]).unwrap();
    assert_eq!(index(&zero_protocol, &Key::default()), None);
    assert_eq!(index(&zero_protocol, &Key { present: Present::IPV6, ..Key::default() }), Some(0));
    let all_ports =
        Table::build(vec![Rule { source_port: PortRange::Inclusive(0, 65535), ..Rule::any(lambda(0)) }])
            .unwrap();
    assert_eq!(index(&all_ports, &udp_key()), Some(0));
    assert_eq!(index(&all_ports, &Key { present: Present::IPV4, ..udp_key() }), None);
}

#[test]
fn ranges_in_one_bucket_are_told_apart() {
    let rule = |first, last| Rule {
        protocol: Some(17),
        destination_port: PortRange::Inclusive(first, last),
        ..Rule::any(lambda(0))
    };
    let table = Table::build(vec![rule(1, 50), rule(51, 60), rule(50, 90)]).unwrap();
    let at = |destination_port| index(&table, &Key { destination_port, ..udp_key() });
    assert_eq!(
        [at(0), at(1), at(50), at(51), at(61), at(91)],
        [None, Some(0), Some(0), Some(1), Some(2), None]
    );
    assert_eq!(table.tuples(), 1);
}

#[test]
fn untagged_any_and_a_priority_tag_differ() {
    let rule = |vlan| Rule { vlan, ..Rule::any(lambda(0)) };
    let tagged = |vlan| Key { vlan, present: Present::VLAN, ..Key::default() };
    let untagged = rule(VlanMatch::Untagged);
    let zero = rule(VlanMatch::Exact(0));
    assert!(untagged.matches(&Key::default()) && !untagged.matches(&tagged(0)));
    assert!(zero.matches(&tagged(0)) && !zero.matches(&Key::default()) && !zero.matches(&tagged(1)));
    assert!(rule(VlanMatch::Any).matches(&tagged(9)));
}

#[test]
fn an_empty_table_matches_nothing() {
    let table = Table::build(Vec::new()).unwrap();
    assert!(table.is_empty());
    assert_eq!(index(&table, &rpc_key(0)), None);
}

#[test]
fn prefixes_parse_and_print() {
    for text in
        ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "fd77::1/128", "::ffff:0.0.0.0/96"]
    {
        assert_eq!(prefix(text).to_string(), text);
    }
    assert_eq!(prefix("10.1.2.3").to_string(), "10.1.2.3/32");
    assert_eq!(prefix("fd77::1").to_string(), "fd77::1/128");
    assert!(prefix("10.0.0.0/8").is_ipv4() && !prefix("::ffff:0:0/96").is_ipv4());
}

#[test]
fn errors_name_the_thing() {
    let text = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
    assert_eq!(text("10.0.0.0/33"), "10.0.0.0/33: an IPv4 prefix has at most 32 bits");
    assert_eq!(text("10.1.0.0/8"), "10.1.0.0/8 has bits set behind its prefix: the network is 10.0.0.0/8");
    assert_eq!(text("ten"), "\"ten\" is not an address prefix such as 10.0.0.0/8 or fd00::/8");
    assert_eq!(text("10.0.0.0/"), "\"10.0.0.0/\" is not an address prefix such as 10.0.0.0/8 or fd00::/8");
    let rule = |rule| Table::build(vec![Rule::any(lambda(0)), rule]).unwrap_err().to_string();
    let any = || Rule::any(lambda(0));
    assert_eq!(
        rule(Rule { source: Some(prefix("10.0.0.0/8")), destination: Some(prefix("fd00::/8")), ..any() }),
        "rule 1: source 10.0.0.0/8 and destination fd00::/8 are of different address families"
    );
    assert_eq!(
        rule(Rule { source_port: PortRange::Inclusive(9, 8), ..any() }),
        "rule 1: port range 9-8 is empty"
    );
    assert_eq!(
        rule(Rule { vlan: VlanMatch::Exact(4095), ..any() }),
        "rule 1: VLAN 4095, over the limit of 4094"
    );
    assert_eq!(
        Parameters::new(&[0; 65]).unwrap_err().to_string(),
        "65 bytes of parameters, over the limit of 64"
    );
    assert_eq!(Parameters::new(b"ab").unwrap().as_slice(), b"ab");
}

// Few values each, so that rules overlap and keys hit them often.

fn an_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..3, 0u8..3).prop_map(|(a, b)| IpAddr::V4(Ipv4Addr::new(10, a, 0, b))),
        (0u16..3, 0u16..3).prop_map(|(a, b)| IpAddr::V6(Ipv6Addr::new(0xfd00, a, 0, 0, 0, 0, 0, b))),
        (0u8..3).prop_map(|a| IpAddr::V6(Ipv4Addr::new(10, a, 0, 1).to_ipv6_mapped())),
    ]
}

fn a_prefix() -> impl Strategy<Value = Prefix> {
    let bits = prop_oneof![Just(0u8), Just(8), Just(16), Just(32), Just(96), Just(128)];
    (an_address(), bits).prop_map(|(address, bits)| match Prefix::new(address, bits) {
        Ok(prefix) => prefix,
        Err(Error::HostBits { network, .. }) => network,
        Err(_) => Prefix::new(address, 32).unwrap(),
    })
}

fn a_port() -> impl Strategy<Value = u16> {
    prop_oneof![0u16..6, Just(u16::MAX)]
}

fn a_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        4 => Just(PortRange::Any),
        2 => a_port().prop_map(PortRange::Exact),
        2 => (a_port(), a_port()).prop_map(|(a, b)| PortRange::Inclusive(a.min(b), a.max(b))),
    ]
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let vlan = prop_oneof![
        4 => Just(VlanMatch::Any),
        1 => Just(VlanMatch::Untagged),
        1 => (0u16..3).prop_map(VlanMatch::Exact),
    ];
    let rare = |some| prop::option::weighted(0.25, some);
    let general = (
        (0u32..4, prop::option::weighted(0.3, 0u32..6), rare(0u16..3), vlan),
        (prop::option::weighted(0.3, a_prefix()), prop::option::weighted(0.3, a_prefix())),
        (prop::option::weighted(0.25, 0u8..3), a_range(), a_range(), rare(0u16..3)),
        any::<bool>(),
    )
        .prop_map(
            |(
                (priority, id, port, vlan),
                (source, destination),
                (protocol, from, to, ether_type),
                from_host,
            )| Rule {
                priority,
                side: if from_host { Side::Host } else { Side::Wire },
                rpc_lambda: id.map(LambdaId::new),
                port: port.map(PortId::new),
                vlan,
                source,
                destination: destination
                    .filter(|to| source.is_none_or(|from| from.is_ipv4() == to.is_ipv4())),
                protocol,
                source_port: from,
                destination_port: to,
                ether_type,
                ..Rule::any(lambda(0))
            },
        );
    let rpc = (0u32..4, 0u32..6)
        .prop_map(|(priority, id)| Rule { priority, ..Rule::rpc(LambdaId::new(id), lambda(0)) });
    prop_oneof![2 => general, 1 => rpc]
}

fn a_key() -> impl Strategy<Value = Key> {
    let address = || {
        an_address().prop_map(|address| match address {
            IpAddr::V4(v4) => mapped(v4),
            IpAddr::V6(v6) => v6.to_bits(),
        })
    };
    ((address(), address()), (0u32..6, a_port(), a_port()), (0u16..3, 0u16..3, 0u16..3), 0u8..3, any::<u8>())
        .prop_map(
            |(
                (source, destination),
                (lambda, source_port, destination_port),
                (ether_type, vlan, port),
                protocol,
                bits,
            )| Key {
                source,
                destination,
                lambda,
                source_port,
                destination_port,
                ether_type,
                vlan,
                port: PortId::new(port),
                protocol,
                present: Present::from_bits(bits),
            },
        )
}

/// A key that meets the rule wherever it tests a value, built on another key.
fn near(rule: &Rule, mut key: Key) -> Key {
    let mut network = |prefix: Option<Prefix>, address: &mut u128| {
        if let Some(prefix) = prefix {
            let (value, mask, family) = prefix.parts();
            *address = value | (*address & !mask);
            key.present.add(family);
        }
    };
    network(rule.source, &mut key.source);
    network(rule.destination, &mut key.destination);
    key.present = Present::from_bits(key.present.bits() & !Present::HOST.bits());
    if rule.side == Side::Host {
        key.present.add(Present::HOST);
    }
    if let Some(id) = rule.rpc_lambda {
        key.present.add(Present::RPC);
        key.lambda = id.raw();
    }
    key.port = rule.port.unwrap_or(key.port);
    key.ether_type = rule.ether_type.unwrap_or(key.ether_type);
    key.protocol = rule.protocol.unwrap_or(key.protocol);
    for (range, port) in
        [(rule.source_port, &mut key.source_port), (rule.destination_port, &mut key.destination_port)]
    {
        match range {
            PortRange::Any => continue,
            PortRange::Exact(wanted) => *port = wanted,
            PortRange::Inclusive(first, last) => *port = (*port).clamp(first, last),
        }
        key.present.add(Present::PORTS);
    }
    if let VlanMatch::Exact(vlan) = rule.vlan {
        key.present.add(Present::VLAN);
        key.vlan = vlan;
    }
    key
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_agrees_with_the_reference(
        rules in prop::collection::vec(a_rule(), 0..40),
        keys in prop::collection::vec(a_key(), 1..20),
    ) {
        let table = Table::build(rules.clone()).unwrap();
        prop_assert_eq!(table.len(), rules.len());
        let close = rules.iter().zip(keys.iter().cycle()).map(|(rule, &key)| near(rule, key));
        for key in keys.iter().copied().chain(close) {
            prop_assert_eq!(table.lookup(&key), linear::lookup(&rules, &key), "{:?}", key);
        }
    }

    #[test]
    fn prefixes_survive_printing(prefix in a_prefix()) {
        prop_assert_eq!(prefix.to_string().parse::<Prefix>().unwrap(), prefix);
    }
}

/// Prints the cost of a lookup: `cargo test --release -p lnic matcher::tests::cost -- --ignored --nocapture`.
///
/// On a virtual 2.5 GHz core, best of 500 rounds over 4,096 keys: about 2 ns with 1 to 10,000 lambda IDs; 26 ns (a miss 32 ns)
/// with 20 general rules of higher priority in 5 tuples beside them. The linear scan of 10,000 takes 10 µs.
#[test]
#[ignore = "measures"]
fn cost() {
    let general = |at: u16| {
        let mut rule = Rule { priority: u32::from(at % 3), ..Rule::any(lambda(0)) };
        match at % 5 {
            0 => {
                rule.destination =
                    Some(Prefix::new(IpAddr::V4(Ipv4Addr::new(10, 200, at as u8, 0)), 24).unwrap())
            }
            1 => rule.source = Some(Prefix::new(IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16).unwrap()),
            2 => rule.destination_port = PortRange::Inclusive(1000 + at * 10, 1005 + at * 10),
            3 => (rule.protocol, rule.destination_port) = (Some(6), PortRange::Exact(8000 + at)),
            _ => rule.vlan = VlanMatch::Exact(at),
        }
        rule
    };
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "lambda IDs  general rules  tuples   hit ns  miss ns  linear ns");
    for (ids, generals) in
        [(1u32, 0u16), (10, 0), (1_000, 0), (10_000, 0), (1, 20), (10, 20), (1_000, 20), (10_000, 20)]
    {
        let rpc = (0..ids).map(|id| Rule::rpc(LambdaId::new(id), lambda(id)));
        let rules: Vec<Rule> = rpc.chain((0..generals).map(general)).collect();
        let table = Table::build(rules.clone()).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let hits: Vec<Key> = (0..4096).map(|_| rpc_key(random.u32(0..ids))).collect();
        let misses: Vec<Key> = (0..4096).map(|_| rpc_key(ids + random.u32(0..1_000_000))).collect();
        let measure = |keys: &[Key], rounds: u32, lookup: &dyn Fn(&[Key]) -> u64| {
            let mut best_ns = f64::MAX;
            for _ in 0..rounds {
                let start = Instant::now();
                std::hint::black_box(lookup(std::hint::black_box(keys)));
                best_ns = best_ns.min(start.elapsed().as_nanos() as f64 / keys.len() as f64);
            }
            best_ns
        };
        let fast = |keys: &[Key]| {
            keys.iter().map(|key| table.lookup(key).map_or(0, |found| u64::from(found.index) + 1)).sum()
        };
        let slow = |keys: &[Key]| {
            keys.iter()
                .map(|key| linear::lookup(&rules, key).map_or(0, |found| u64::from(found.index) + 1))
                .sum()
        };
        let hit = measure(&hits, 500, &fast);
        let miss = measure(&misses, 500, &fast);
        let scan = measure(&hits[..64], 4, &slow);
        let _ = writeln!(
            out,
            "{ids:>10} {generals:>14} {:>7} {hit:>8.1} {miss:>8.1} {scan:>10.0}",
            table.tuples()
        );
    }
}
