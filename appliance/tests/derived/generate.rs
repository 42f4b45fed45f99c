//! Frames, damage and rules, few values each, so that rules and frames meet.

use lnic::ids::{LambdaId, LambdaRef, PortId};
use lnic::matcher::{PortRange, Prefix, Rule, Side, VlanMatch};
use lnic::parser::Parsed;
use proptest::prelude::*;

use crate::support::frames::*;

const OTHER_IPV4: [u8; 4] = [10, 88, 0, 9];
const GROUP_IPV4: [u8; 4] = [224, 0, 0, 9];
const OTHER_IPV6: [u8; 16] = [0xfd, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
/// The solicited-node group of our address.
const GROUP_IPV6: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];

/// Above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    Rpc,
    Udp(u16),
    Tcp(u16),
    Echo,
    Gre,
}

/// What a frame is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    vlan: Option<u16>,
    is_ipv4: bool,
    /// Our address, another host's, a group's.
    to: usize,
    upper: Upper,
    payload: Vec<u8>,
    has_options: bool,
    is_fragment: bool,
    to_group_mac: bool,
}

impl Shape {
    pub fn tcp(port: u16) -> Self {
        Self {
            vlan: None,
            is_ipv4: true,
            to: 0,
            upper: Upper::Tcp(port),
            payload: vec![7; 20],
            has_options: false,
            is_fragment: false,
            to_group_mac: false,
        }
    }

    pub fn build(&self) -> Vec<u8> {
        let (ours, other, group): (&[u8], &[u8], &[u8]) = if self.is_ipv4 {
            (&OUR_IPV4, &OTHER_IPV4, &GROUP_IPV4)
        } else {
            (&OUR_IPV6, &OTHER_IPV6, &GROUP_IPV6)
        };
        let to = [ours, other, group][self.to];
        let from: &[u8] = if self.is_ipv4 { &PEER_IPV4 } else { &PEER_IPV6 };
        let pseudo = [from, to];
        let (protocol, segment) = match self.upper {
            Upper::Rpc => (17, udp(&pseudo, PEER_PORT, RPC_PORT, &request(1, &self.payload))),
            Upper::Udp(port) => (17, udp(&pseudo, PEER_PORT, port, &self.payload)),
            Upper::Tcp(port) => (6, tcp(&pseudo, port, &self.payload)),
            Upper::Echo if self.is_ipv4 => (1, echo(8, &[], &self.payload)),
            Upper::Echo => (58, echo(128, &pseudo, &self.payload)),
            Upper::Gre => (47, self.payload.clone()),
        };
        let (ether_type, mut packet) = if self.is_ipv4 {
            let options: &[u8] = if self.has_options { &[1, 1, 1, 0] } else { &[] };
            (0x0800, ipv4(options, protocol, &segment))
        } else if self.has_options {
            (0x86DD, ipv6(60, &[protocol, 0, 1, 4, 0, 0, 0, 0], &segment))
        } else {
            (0x86DD, ipv6(protocol, &[], &segment))
        };
        if self.is_ipv4 {
            packet[16..20].copy_from_slice(to);
            if self.is_fragment {
                packet[6] |= 0x20;
            }
            packet[10..12].fill(0);
            let header_bytes = usize::from(packet[0] & 15) * 4;
            let sum = checksum(&[&packet[..header_bytes]]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            packet[24..40].copy_from_slice(to);
        }
        let mut frame = ethernet(self.vlan, ether_type, &packet);
        if self.to_group_mac {
            frame[..6].fill(0xFF);
        }
        frame
    }
}

/// A TCP segment without options.
pub fn tcp(pseudo: &[&[u8]], destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = PEER_PORT.to_be_bytes().to_vec();
    segment.extend(destination.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    let length = u16::try_from(segment.len()).unwrap().to_be_bytes();
    let sum = checksum(&[&pseudo.concat(), &[0, 6], &length, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn echo(kind: u8, pseudo: &[&[u8]], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    message.extend(payload);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let sum = if pseudo.is_empty() {
        checksum(&[&message])
    } else {
        checksum(&[&pseudo.concat(), &[0, 58], &length, &message])
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn a_port() -> impl Strategy<Value = u16> {
    prop_oneof![6u16..12, Just(RPC_PORT), Just(0), Just(u16::MAX)]
}

pub fn a_shape() -> impl Strategy<Value = Shape> {
    let upper = prop_oneof![
        2 => Just(Upper::Rpc),
        3 => a_port().prop_map(Upper::Udp),
        3 => a_port().prop_map(Upper::Tcp),
        1 => Just(Upper::Echo),
        1 => Just(Upper::Gre),
    ];
    let rare = || prop::bool::weighted(0.1);
    (
        prop::option::weighted(0.3, 0u16..3),
        any::<bool>(),
        0usize..3,
        upper,
        prop::collection::vec(any::<u8>(), 0..40),
        (rare(), rare(), rare()),
    )
        .prop_map(|(vlan, is_ipv4, to, upper, payload, (has_options, is_fragment, to_group_mac))| {
            Shape { vlan, is_ipv4, to, upper, payload, has_options, is_fragment, to_group_mac }
        })
}

/// A changed byte, or a frame that ends early.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    Byte(prop::sample::Index, u8),
    End(prop::sample::Index),
}

pub fn a_damage() -> impl Strategy<Value = Damage> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        6 => (index(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        1 => index().prop_map(Damage::End),
    ]
}

pub fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for damage in damage {
        match damage {
            Damage::Byte(at, value) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Damage::Byte(..) => {}
            Damage::End(at) => bytes.truncate(at.index(bytes.len() + 1)),
        }
    }
    bytes
}

/// True if what rules test is as it was: MAC, tag, IP version and header length, protocol, addresses, ports, λ-RPC ID.
pub fn key_survives(shape: &Shape, parsed: &Parsed, bytes: &[u8], damage: &Damage) -> bool {
    let Damage::Byte(at, _) = damage else { return false };
    let at = at.index(bytes.len());
    let (network, transport) = (usize::from(parsed.network), usize::from(parsed.transport));
    let in_ip = if shape.is_ipv4 { [2, 3, 6, 7, 10, 11] } else { [1, 2, 3, 4, 5, 7] };
    in_ip.iter().any(|field| network + field == at)
        || (at >= transport + 4 && !(shape.upper == Upper::Rpc && at < usize::from(parsed.payload)))
}

fn a_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        4 => Just(PortRange::Any),
        2 => a_port().prop_map(PortRange::Exact),
        2 => (a_port(), a_port()).prop_map(|(a, b)| PortRange::Inclusive(a.min(b), a.max(b))),
    ]
}

fn a_prefix() -> impl Strategy<Value = Prefix> {
    let texts = ["10.77.0.0/16", "10.0.0.0/8", "10.88.0.9/32", "0.0.0.0/0", "fd77::/16", "::/0", "ff00::/8"];
    prop::sample::select(texts.map(|text| text.parse::<Prefix>().unwrap()).to_vec())
}

/// Most rules are narrow: one that wants everything leaves no frame unwanted.
pub fn a_rule() -> impl Strategy<Value = Rule> {
    let vlan = prop_oneof![
        4 => Just(VlanMatch::Any),
        1 => Just(VlanMatch::Untagged),
        1 => (0u16..3).prop_map(VlanMatch::Exact),
    ];
    let some = |weight, of| prop::option::weighted(weight, of);
    (
        (0u32..3, prop::option::weighted(0.3, 1u32..3), prop::option::weighted(0.1, 0u16..2), vlan),
        (prop::option::weighted(0.3, a_prefix()), prop::option::weighted(0.3, a_prefix())),
        (some(0.6, prop::sample::select(vec![6u8, 17, 47, 1, 58])), a_range(), a_range()),
        prop::option::weighted(0.3, prop::sample::select(vec![0x0800u16, 0x86DD, 0x0806])),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |((priority, id, port, vlan), (source, to), (protocol, from, at), ether_type, host)| Rule {
                priority,
                side: if host { Side::Host } else { Side::Wire },
                rpc_lambda: id.map(LambdaId::new),
                port: port.map(PortId::new),
                vlan,
                source,
                destination: to.filter(|to| source.is_none_or(|source| source.is_ipv4() == to.is_ipv4())),
                protocol,
                source_port: from,
                destination_port: at,
                ether_type,
                ..Rule::any(LambdaRef::default())
            },
        )
}
