//! Judges `[[rules]]`.

use toml::Spanned;

use super::{LambdaSpec, PortSpec, Topology};
use crate::control::config::raw::{self, Scalar, Value};
use crate::control::config::{Problems, quoted};
use crate::ids::{Generation, LambdaRef, LambdaSlot, PortId};
use crate::matcher::{Egress, Error, Parameters, PortRange, Prefix, Rule, Side, VlanMatch};

/// Most rules that a configuration writes out.
const RULES: usize = 65_536;
/// Protocols that have names here.
const PROTOCOLS: [(&str, u8); 5] = [("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58), ("sctp", 132)];
/// Stands for every host port.
const HOST: &str = "host";
/// Largest VLAN identifier.
const VLAN: u16 = 4094;

/// Judges all rules.
pub(super) fn rules(
    raw: &[Spanned<raw::Rule>],
    ports: &[PortSpec],
    lambdas: &[LambdaSpec],
    problems: &mut Problems<'_>,
) -> Vec<Rule> {
    if let Some(extra) = raw.get(RULES) {
        problems.wrong(Some(extra.span()), format!("{} [[rules]], over the limit of {RULES}", raw.len()));
    }
    let mut rules = Vec::new();
    for (at, rule) in raw.iter().take(RULES).enumerate() {
        rules.push(one(at, rule, ports, lambdas, problems));
    }
    rules
}

impl Topology {
    /// A rule's conditions in the configuration's words.
    #[must_use]
    pub fn conditions(&self, rule: &Rule) -> String {
        let ports = |name: &str, range: PortRange| match range {
            PortRange::Any => None,
            PortRange::Exact(port) => Some(format!("{name} {port}")),
            PortRange::Inclusive(first, last) => Some(format!("{name} {first}-{last}")),
        };
        let words = [
            rule.rpc_lambda.map(|id| format!("λ-RPC ID {id}")),
            match (rule.port, rule.side) {
                (Some(port), _) => Some(format!("port {}", self.ports[port.index()].name)),
                (None, Side::Host) => Some(format!("port {HOST}")),
                (None, Side::Wire) => None,
            },
            match rule.vlan {
                VlanMatch::Any => None,
                VlanMatch::Untagged => Some("untagged".into()),
                VlanMatch::Exact(vlan) => Some(format!("vlan {vlan}")),
            },
            rule.ether_type.map(|ether_type| format!("ether_type {ether_type:#06x}")),
            rule.source.map(|prefix| format!("source {prefix}")),
            rule.destination.map(|prefix| format!("destination {prefix}")),
            rule.protocol.map(|protocol| format!("protocol {protocol}")),
            ports("source_port", rule.source_port),
            ports("destination_port", rule.destination_port),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        if words.is_empty() { "every frame".into() } else { words.join(", ") }
    }
}

fn one(
    at: usize,
    raw: &Spanned<raw::Rule>,
    ports: &[PortSpec],
    lambdas: &[LambdaSpec],
    problems: &mut Problems<'_>,
) -> Rule {
    let span = raw.span();
    let raw = raw.get_ref();
    let place = match &raw.lambda {
        Some(lambda) => format!("rule {} (lambda \"{}\")", at + 1, lambda.get_ref()),
        None => format!("rule {}", at + 1),
    };
    let mut slot = 0;
    match &raw.lambda {
        Some(value) => {
            let names = lambdas.iter().map(|lambda| lambda.name.as_str());
            slot = problems.named(&place, "lambda", value, names).unwrap_or(0);
        }
        None => problems.wrong(Some(span.clone()), format!("{place}: names no lambda")),
    }
    let lambda = LambdaRef { slot: LambdaSlot::new(slot as u32), generation: Generation::default() };
    let egress = lambdas.get(slot).map(|lambda| lambda.egress).unwrap_or_default();
    Rule { lambda, egress, ..judge(&place, span, raw, Some(ports), problems) }
}

/// Judges a rule's conditions, in a configuration or in a manifest; without `ports`, their names are not looked up. Whose rule it is
/// is the caller's business.
pub(super) fn judge(
    place: &str,
    span: std::ops::Range<usize>,
    raw: &raw::Rule,
    ports: Option<&[PortSpec]>,
    problems: &mut Problems<'_>,
) -> Rule {
    let (side, port) = port(place, &raw.port, ports, problems);
    let rule = Rule {
        priority: problems.integer(&format!("{place}: priority"), &raw.priority, 0..=u32::MAX, 0),
        lambda: LambdaRef { slot: LambdaSlot::new(0), generation: Generation::default() },
        side,
        rpc_lambda: None,
        port,
        vlan: vlan(place, &raw.vlan, problems),
        source: prefix(place, "source", &raw.source, problems),
        destination: prefix(place, "destination", &raw.destination, problems),
        protocol: protocol(place, &raw.protocol, problems),
        source_port: port_range(place, "source_port", &raw.source_port, problems),
        destination_port: port_range(place, "destination_port", &raw.destination_port, problems),
        ether_type: ether_type(place, &raw.ether_type, problems),
        parameters: parameters(place, raw, problems),
        egress: Egress::default(),
    };
    together(place, &rule, span, problems);
    rule
}

/// Conditions that no frame can meet together.
fn together(place: &str, rule: &Rule, span: std::ops::Range<usize>, problems: &mut Problems<'_>) {
    if let (Some(source), Some(destination)) = (rule.source, rule.destination)
        && source.is_ipv4() != destination.is_ipv4()
    {
        problems.wrong(
            Some(span.clone()),
            format!(
                "{place}: source {source} and destination {destination} are of different address families"
            ),
        );
    }
    let with_ports = rule.source_port != PortRange::Any || rule.destination_port != PortRange::Any;
    if let (true, Some(protocol)) = (with_ports, rule.protocol)
        && !matches!(protocol, 6 | 17)
    {
        problems.wrong(
            Some(span.clone()),
            format!("{place}: ports need protocol \"tcp\" or \"udp\", or none: {protocol} has none"),
        );
    }
    let family =
        rule.source.or(rule.destination).map(|prefix| if prefix.is_ipv4() { 0x0800 } else { 0x86dd });
    if let (Some(family), Some(ether_type)) = (family, rule.ether_type)
        && family != ether_type
    {
        problems.wrong(
            Some(span),
            format!("{place}: ether_type {ether_type:#06x} is not that of its prefixes, {family:#06x}"),
        );
    }
}

/// Where frames come from: a port of this name, or any host port.
fn port(
    place: &str,
    value: &Value<String>,
    ports: Option<&[PortSpec]>,
    problems: &mut Problems<'_>,
) -> (Side, Option<PortId>) {
    let Some(value) = value else { return (Side::Wire, None) };
    let named = || ports.unwrap_or_default().iter();
    let is_host = |port: &PortSpec| named().any(|wire| wire.host == Some(port.id));
    if value.get_ref() == HOST {
        if named().any(|port| port.name == HOST && !is_host(port)) {
            let text = format!(
                "{place}: port: \"{HOST}\" stands for every host port, and the port of that name is none"
            );
            problems.wrong(Some(value.span()), text);
        }
        return (Side::Host, None);
    }
    let found = ports.and_then(|ports| {
        let index = problems.named(place, "port", value, ports.iter().map(|port| port.name.as_str()))?;
        ports.get(index)
    });
    let side = if found.is_some_and(is_host) { Side::Host } else { Side::Wire };
    (side, found.map(|port| port.id))
}

fn vlan(place: &str, value: &Value<Scalar>, problems: &mut Problems<'_>) -> VlanMatch {
    let Some(value) = value else { return VlanMatch::Any };
    match value.get_ref() {
        Scalar::Text(text) if text == "untagged" => return VlanMatch::Untagged,
        Scalar::Integer(number) => {
            if let Some(vlan) = u16::try_from(*number).ok().filter(|vlan| *vlan <= VLAN) {
                return VlanMatch::Exact(vlan);
            }
        }
        _ => {}
    }
    problems.wrong(
        Some(value.span()),
        format!("{place}: vlan: {}: allowed are 0–{VLAN} and \"untagged\"", value.get_ref()),
    );
    VlanMatch::Any
}

fn prefix(place: &str, key: &str, value: &Value<String>, problems: &mut Problems<'_>) -> Option<Prefix> {
    let value = value.as_ref()?;
    let parsed: Result<Prefix, Error> = value.get_ref().parse();
    parsed.map_err(|error| problems.wrong(Some(value.span()), format!("{place}: {key}: {error}"))).ok()
}

fn protocol(place: &str, value: &Value<Scalar>, problems: &mut Problems<'_>) -> Option<u8> {
    let value = value.as_ref()?;
    let found = match value.get_ref() {
        Scalar::Text(text) => PROTOCOLS.iter().find(|(name, _)| name == text).map(|(_, number)| *number),
        Scalar::Integer(number) => u8::try_from(*number).ok(),
        _ => None,
    };
    if found.is_none() {
        let names = quoted(PROTOCOLS.iter().map(|(name, _)| *name));
        problems.wrong(
            Some(value.span()),
            format!("{place}: protocol: {}: allowed are {names} and 0–255", value.get_ref()),
        );
    }
    found
}

fn port_range(place: &str, key: &str, value: &Value<Scalar>, problems: &mut Problems<'_>) -> PortRange {
    let Some(value) = value else { return PortRange::Any };
    let found = match value.get_ref() {
        Scalar::Integer(port) => u16::try_from(*port).ok().map(PortRange::Exact),
        Scalar::Text(text) => text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some(PortRange::Inclusive(first, last))
        }),
        _ => None,
    };
    if found.is_none() {
        problems.wrong(
            Some(value.span()),
            format!(
                "{place}: {key}: {}: allowed are 0–65535 and a range such as \"1000-2000\"",
                value.get_ref()
            ),
        );
    }
    found.unwrap_or_default()
}

fn ether_type(place: &str, value: &Value<i64>, problems: &mut Problems<'_>) -> Option<u16> {
    let number = *value.as_ref()?.get_ref();
    match u16::try_from(number) {
        Ok(ether_type) if ether_type >= 0x0600 => Some(ether_type),
        _ => {
            let span = value.as_ref().map(Spanned::span);
            problems.wrong(span, format!("{place}: ether_type: {number:#06x} is not in 0x0600–0xffff"));
            None
        }
    }
}

fn parameters(place: &str, raw: &raw::Rule, problems: &mut Problems<'_>) -> Parameters {
    let (key, span, bytes) = match (&raw.parameters, &raw.parameters_hex) {
        (None, None) => return Parameters::EMPTY,
        (Some(_), Some(hex)) => {
            let text = format!("{place}: parameters and parameters_hex: at most one of them");
            problems.wrong(Some(hex.span()), text);
            return Parameters::EMPTY;
        }
        (Some(text), None) => ("parameters", text.span(), text.get_ref().as_bytes().to_vec()),
        (None, Some(hex)) => match from_hex(hex.get_ref()) {
            Some(bytes) => ("parameters_hex", hex.span(), bytes),
            None => {
                let text = format!("{place}: parameters_hex: {:?} is not pairs of hex digits", hex.get_ref());
                problems.wrong(Some(hex.span()), text);
                return Parameters::EMPTY;
            }
        },
    };
    Parameters::new(&bytes).unwrap_or_else(|error| {
        problems.wrong(Some(span), format!("{place}: {key}: {error}"));
        Parameters::EMPTY
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
