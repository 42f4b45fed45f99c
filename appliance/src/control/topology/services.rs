//! Judges `[services]`, and the services that lambdas name: whether they may be asked, and who their requests go to.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use toml::Spanned;

use super::{Driver, PortSpec, is_variable};
use crate::control::config::raw::{self, Value};
use crate::control::config::{Problems, nearest, quoted};
use crate::ids::PortId;
use crate::matcher::Prefix;
use crate::outside::Framing;

/// Most services of a lambda.
pub(super) const SERVICES: usize = 16;
/// Longest name of one.
const NAME_BYTES: usize = 64;
/// Most prefixes that may be allowed.
const ALLOWED: usize = 256;
/// Most requests that an lcore may have under way.
const IN_FLIGHT: u32 = 4096;
/// UDP ports for each of them: one is used while another rests.
const PORTS_EACH: u32 = 2;
/// What framings are called.
const FRAMINGS: [(&str, Framing); 2] = [("datagram", Framing::Datagram), ("memcached", Framing::Memcached)];

/// What a framing is called.
#[must_use]
pub const fn framing_name(framing: Framing) -> &'static str {
    match framing {
        Framing::Datagram => FRAMINGS[0].0,
        Framing::Memcached => FRAMINGS[1].0,
    }
}

/// A service outside that a lambda may ask, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// What the lambda calls it.
    pub name: String,
    /// Where requests go.
    pub address: SocketAddr,
    /// The port that they leave on.
    pub port: PortId,
    /// Who they go to on that port's network: the service itself, or a gateway.
    pub hop: IpAddr,
    /// What is around requests and replies.
    pub framing: Framing,
}

/// What lambdas may ask outside, and how much at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Addresses that they may ask; none if empty.
    pub allowed: Vec<Prefix>,
    /// Requests under way on each lcore that polls.
    pub in_flight: u32,
    /// UDP ports that requests come from, dealt out to the lcores that poll.
    pub udp_ports: RangeInclusive<u16>,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        // Above those that Linux gives to programs: a host that shares the address is not disturbed.
        Self { allowed: Vec::new(), in_flight: 256, udp_ports: 61_000..=u16::MAX }
    }
}

impl ServiceLimits {
    /// May lambdas ask anybody?
    #[must_use]
    pub fn are_any(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// The UDP ports of one of so many lcores that poll: a share as large as each other's.
    #[must_use]
    pub fn share(&self, at: usize, pollers: usize) -> RangeInclusive<u16> {
        let each = count(&self.udp_ports) / u32::try_from(pollers.max(1)).unwrap_or(u32::MAX);
        let first = u32::from(*self.udp_ports.start()) + each * at as u32;
        // The last share ends where all do, at most.
        first as u16..=(first + each.max(1) - 1) as u16
    }
}

/// What services are judged by, where the appliance is known.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) ports: &'a [PortSpec],
    pub(super) limits: &'a ServiceLimits,
}

/// Judges `[services]`, for so many lcores that poll.
pub(super) fn limits(
    raw: &raw::Services,
    pollers: usize,
    rpc_port: u16,
    problems: &mut Problems<'_>,
) -> ServiceLimits {
    let default = ServiceLimits::default();
    if let Some(extra) = raw.allowed.get(ALLOWED) {
        let text = format!("[services] allowed: {} prefixes, over the limit of {ALLOWED}", raw.allowed.len());
        problems.wrong(Some(extra.span()), text);
    }
    let mut allowed = Vec::new();
    for value in raw.allowed.iter().take(ALLOWED) {
        match value.get_ref().parse() {
            Ok(prefix) => allowed.push(prefix),
            Err::<Prefix, _>(error) => {
                problems.wrong(Some(value.span()), format!("[services] allowed: {error}"));
            }
        }
    }
    let udp_ports = udp_ports(&raw.udp_ports, problems).unwrap_or(default.udp_ports);
    // The default is in nobody's way where nobody is asked.
    let span = raw.udp_ports.as_ref().map(Spanned::span);
    if let Some(span) = span.or(raw.allowed.first().map(Spanned::span))
        && udp_ports.contains(&rpc_port)
    {
        let (first, last) = (udp_ports.start(), udp_ports.end());
        let text = format!("[services] udp_ports: {first}-{last}: has [rpc] port {rpc_port} in it");
        problems.wrong(Some(span), text);
    }
    let pollers = u32::try_from(pollers.max(1)).unwrap_or(u32::MAX);
    // Each UDP port rests before it is used again.
    let most = count(&udp_ports) / pollers / PORTS_EACH;
    let in_flight = problems.integer(
        "[services] in_flight",
        &raw.in_flight,
        1..=IN_FLIGHT,
        default.in_flight.min(most).max(1),
    );
    if in_flight > most {
        let span = raw.in_flight.as_ref().map(Spanned::span);
        let span = span.or(raw.udp_ports.as_ref().map(Spanned::span));
        problems.wrong(
            span,
            format!(
                "[services] in_flight: {in_flight} on {pollers} lcores that poll take {} UDP ports, {PORTS_EACH} for each: udp_ports has {}",
                u64::from(in_flight) * u64::from(pollers) * u64::from(PORTS_EACH),
                count(&udp_ports)
            ),
        );
    }
    ServiceLimits { allowed, in_flight, udp_ports }
}

fn udp_ports(value: &Value<String>, problems: &mut Problems<'_>) -> Option<RangeInclusive<u16>> {
    let value = value.as_ref()?;
    let parsed = value.get_ref().split_once('-').and_then(|(first, last)| {
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    let Some(range) = parsed else {
        let text = format!(
            "[services] udp_ports: {:?}: expected a range of UDP ports such as \"61000-65535\"",
            value.get_ref()
        );
        problems.wrong(Some(value.span()), text);
        return None;
    };
    Some(range)
}

/// Ports of a range.
fn count(range: &RangeInclusive<u16>) -> u32 {
    u32::from(*range.end() - *range.start()) + 1
}

/// Judges the services that a lambda names, in the order of their names; without a context, only what no appliance would take is wrong,
/// and none has a way.
pub(super) fn judge(
    place: &str,
    raw: &raw::NamedServices,
    context: Option<&Context<'_>>,
    problems: &mut Problems<'_>,
) -> Vec<ServiceSpec> {
    if raw.len() > SERVICES {
        let last = raw.keys().map(Spanned::span).max_by_key(|span| span.start);
        problems.wrong(last, format!("{place}: {} services, over the limit of {SERVICES}", raw.len()));
    }
    let judged = raw.iter().take(SERVICES).map(|(name, service)| {
        let shown: String = name.get_ref().chars().take(80).collect();
        let place = format!("{place}: service {shown:?}");
        if !is_variable(name.get_ref()) || name.get_ref().len() > NAME_BYTES {
            let allowed = format!("allowed are 1–{NAME_BYTES} letters, digits and \"_\", no digit first");
            problems.wrong(Some(name.span()), format!("{place}: {allowed}"));
        }
        one(&place, name, service.get_ref(), context, problems)
    });
    judged.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn one(
    place: &str,
    name: &Spanned<String>,
    raw: &raw::Service,
    context: Option<&Context<'_>>,
    problems: &mut Problems<'_>,
) -> Option<ServiceSpec> {
    let framing = problems.choice(&format!("{place}: framing"), &raw.framing, &FRAMINGS, Framing::default());
    let Some(value) = raw.address.as_ref().filter(|value| !value.get_ref().is_empty()) else {
        problems.wrong(Some(name.span()), format!("{place}: has no address, such as \"192.0.2.7:11211\""));
        return None;
    };
    let address = match address(value.get_ref()) {
        Ok(address) => address,
        Err(wrong) => {
            problems.wrong(Some(value.span()), format!("{place}: address: {wrong}"));
            return None;
        }
    };
    let context = context?;
    match context.way(address.ip(), raw.port.as_ref().map(Spanned::get_ref)) {
        Ok((port, hop)) => Some(ServiceSpec { name: name.get_ref().clone(), address, port, hop, framing }),
        Err((Blame::Port, wrong)) => {
            let span = raw.port.as_ref().map_or(value.span(), Spanned::span);
            problems.wrong(Some(span), format!("{place}: port: {wrong}"));
            None
        }
        Err((Blame::Address, wrong)) => {
            problems.wrong(Some(value.span()), format!("{place}: address: {wrong}"));
            None
        }
    }
}

/// An address and a UDP port of one host.
fn address(text: &str) -> Result<SocketAddr, String> {
    let expected =
        "expected an IP address and a UDP port, such as \"192.0.2.7:11211\" or \"[2001:db8::7]:53\"";
    let shown: String = text.chars().take(80).collect();
    let address: SocketAddr = text.parse().map_err(|_| format!("{shown:?}: {expected}"))?;
    let zone = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
    if address.port() == 0 || zone {
        return Err(format!("{shown:?}: {expected}"));
    }
    match is_host(address.ip()) {
        true => Ok(address),
        false => Err(format!("{} is no address that one other host can have", address.ip())),
    }
}

/// Can one host on a network have this address? 0/8 is "this network", 240/4 is reserved and ends in the broadcast address.
pub(super) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => (1..224).contains(&v4.octets()[0]) && !v4.is_loopback(),
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.to_ipv4_mapped().is_some())
        }
    }
}

/// What of a service is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Address,
    Port,
}

impl Context<'_> {
    /// The port that requests to this address leave on, and who they go to there.
    fn way(&self, address: IpAddr, named: Option<&String>) -> Result<(PortId, IpAddr), (Blame, String)> {
        let wrong = |text: String| (Blame::Address, text);
        if let Some(port) = self.ports.iter().find(|port| port.address(address.is_ipv4()) == Some(address)) {
            return Err(wrong(format!(
                "{address} is port \"{}\"'s own: lambdas ask each other by lnic_call",
                port.name
            )));
        }
        if !self.limits.allowed.iter().any(|prefix| prefix.has(address)) {
            let allowed: Vec<String> = self.limits.allowed.iter().map(Prefix::to_string).collect();
            let allowed = match allowed.as_slice() {
                [] => "nobody is".to_owned(),
                some => format!("allowed are {}", quoted(some.iter().map(String::as_str))),
            };
            return Err(wrong(format!("{address} is not among [services] allowed: {allowed}")));
        }
        let port = match named {
            Some(name) => self.named(name, address).map_err(|text| (Blame::Port, text))?,
            None => self.choose(address).map_err(wrong)?,
        };
        if let Some(network) = port.network(address.is_ipv4())
            && is_broadcast(network, address)
        {
            return Err(wrong(format!("{address} is all of {network}, and not one host")));
        }
        match port.hop(address) {
            Some(hop) => Ok((port.id, hop)),
            None => Err(wrong(no_way(port, address))),
        }
    }

    /// The port that a service names.
    fn named(&self, name: &str, address: IpAddr) -> Result<&PortSpec, String> {
        let Some(port) = self.ports.iter().find(|port| port.name == name) else {
            let names = self.ports.iter().map(|port| port.name.as_str());
            let hint = match nearest(name, names.clone()) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("there are {}", quoted(names)),
            };
            return Err(format!("no port {:?}: {hint}", name.chars().take(80).collect::<String>()));
        };
        if port.driver == Driver::Internal {
            return Err(format!("\"{name}\" is not for services"));
        }
        if let Some(wire) = self.ports.iter().find(|wire| wire.host == Some(port.id)) {
            return Err(format!("\"{name}\" is the host's side of port \"{}\"", wire.name));
        }
        match port.address(address.is_ipv4()) {
            Some(_) => Ok(port),
            None => Err(format!("\"{name}\" has no {}", family(address))),
        }
    }

    /// The port that is meant where none is named: the one whose network it is, else the one with a gateway, else the only one.
    fn choose(&self, address: IpAddr) -> Result<&PortSpec, String> {
        let ipv4 = address.is_ipv4();
        let is_host = |port: &PortSpec| self.ports.iter().any(|wire| wire.host == Some(port.id));
        let ports: Vec<&PortSpec> = self
            .ports
            .iter()
            .filter(|port| port.address(ipv4).is_some() && port.driver != Driver::Internal && !is_host(port))
            .collect();
        let bits = |port: &PortSpec| {
            port.network(ipv4).filter(|network| network.has(address)).map(|network| network.bits())
        };
        // Of networks in each other, the smaller one; of equal ones, the first.
        let near = ports.iter().filter_map(|port| Some((Reverse(bits(port)?), port)));
        if let Some((_, port)) = near.min_by_key(|(bits, _)| *bits) {
            return Ok(port);
        }
        let gateways: Vec<&PortSpec> =
            ports.iter().copied().filter(|port| port.gateway(ipv4).is_some()).collect();
        match (gateways.as_slice(), ports.as_slice()) {
            ([port], _) | ([], [port]) => Ok(port),
            (_, []) => Err(format!("no port has an {} address to ask {address} from", family(address))),
            ([], several) => Err(ambiguous(address, several, "could lead there")),
            (several, _) => Err(ambiguous(address, several, "have gateways")),
        }
    }
}

fn ambiguous(address: IpAddr, ports: &[&PortSpec], why: &str) -> String {
    let names = quoted(ports.iter().map(|port| port.name.as_str()));
    format!("{address} is in no port's network, and {names} {why}: name one of them (port = …)")
}

/// Why a port has no way to an address, and what would make one.
fn no_way(port: &PortSpec, address: IpAddr) -> String {
    let network = port.network(address.is_ipv4()).map(|network| network.to_string()).unwrap_or_default();
    format!(
        "{address} is not in port \"{}\"'s network, {network}, and the port has no {}_gateway",
        port.name,
        family(address)
    )
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// The first and the last address of an IPv4 network mean all of it, but where it has two addresses or one (RFC 3021).
fn is_broadcast(network: Prefix, address: IpAddr) -> bool {
    let (IpAddr::V4(first), IpAddr::V4(address)) = (network.address(), address) else { return false };
    let last = u32::MAX.checked_shr(network.bits()).unwrap_or(0);
    network.bits() < 31
        && network.has(address.into())
        && (address == first || address.to_bits() & last == last)
}

impl PortSpec {
    /// Its address of a family.
    #[must_use]
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.ipv4.map(IpAddr::V4) } else { self.ipv6.map(IpAddr::V6) }
    }

    /// The network that this address is in, if it is known.
    #[must_use]
    pub fn network(&self, ipv4: bool) -> Option<Prefix> {
        if ipv4 { self.ipv4_network } else { self.ipv6_network }
    }

    /// Who passes packets of a family on.
    #[must_use]
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.ipv4_gateway.map(IpAddr::V4) } else { self.ipv6_gateway.map(IpAddr::V6) }
    }

    /// Who packets to this address go to: it itself if it is in the port's network, else the gateway. Of a port that says neither, all are
    /// taken to be neighbours.
    #[must_use]
    pub fn hop(&self, address: IpAddr) -> Option<IpAddr> {
        let ipv4 = address.is_ipv4();
        let network = self.network(ipv4);
        let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if is_link_local || network.is_some_and(|network| network.has(address)) {
            return Some(address);
        }
        self.gateway(ipv4).or_else(|| network.is_none().then_some(address))
    }
}
