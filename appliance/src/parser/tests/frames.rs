//! Frames made with the wire crate's builders.

use std::net::Ipv6Addr;

use lnic_wire::{checksum, ethernet, ipv4, ipv6, ipv6_extension, protocol, udp, vlan};

use crate::ids::PortId;
use crate::parser::Interface;

pub(super) const HOP_BY_HOP: u8 = protocol::HOP_BY_HOP;
pub(super) const OPTIONS: u8 = protocol::DESTINATION_OPTIONS;
pub(super) const ROUTING: u8 = protocol::ROUTING;
pub(super) const AUTHENTICATION: u8 = protocol::AUTHENTICATION;
pub(super) const FRAGMENT: u8 = protocol::FRAGMENT;

/// WIRE.md's request: lambda 7, "hello, lambda", CRC set.
pub(super) const REQUEST: [u8; 45] = [
    0xa1, 0x04, 0x90, 0x00, 0x00, 0x00, 0x00, 0x07, 0xc0, 0xff, 0xee, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00,
    0x00, 0x00, 0x0d, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x13, 0x88, 0xcf, 0x89, 0x2e, 0x52, b'h', b'e',
    b'l', b'l', b'o', b',', b' ', b'l', b'a', b'm', b'b', b'd', b'a',
];

const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub(super) fn interface() -> Interface {
    Interface {
        port: PortId::new(3),
        mac: [2, 0, 0, 0, 0, 1],
        ipv4: Some([10, 0, 0, 1].into()),
        ipv6: Some("fd00::1".parse().unwrap()),
        rpc_port: 4793,
        service_ports: crate::parser::Ports::NONE,
        promiscuous: false,
        partial_checksums: false,
        mtu: 1500,
    }
}

/// Network layer of a frame.
#[derive(Clone, Debug)]
pub(super) enum Ip {
    V4 { destination: [u8; 4], option_words: u8 },
    V6 { destination: Ipv6Addr, extensions: Vec<u8> },
}

impl Ip {
    pub(super) fn v4() -> Self {
        Self::v4_to([10, 0, 0, 1])
    }

    pub(super) fn v4_to(destination: [u8; 4]) -> Self {
        Self::V4 { destination, option_words: 0 }
    }

    pub(super) fn v6() -> Self {
        Self::v6_to("fd00::1")
    }

    pub(super) fn v6_to(destination: &str) -> Self {
        Self::V6 { destination: destination.parse().unwrap(), extensions: vec![] }
    }

    pub(super) fn link_local() -> Self {
        Self::v6_to("fe80::ff:fe00:1")
    }

    /// With these extension headers, by number.
    pub(super) fn behind(self, numbers: &[u8]) -> Self {
        match self {
            Self::V6 { destination, .. } => Self::V6 { destination, extensions: numbers.to_vec() },
            v4 => v4,
        }
    }
}

/// Transport layer of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Upper {
    Udp { destination_port: u16 },
    Tcp { option_words: u8 },
}

impl Upper {
    pub(super) fn udp_to(destination_port: u16) -> Self {
        Self::Udp { destination_port }
    }

    fn number(self) -> u8 {
        match self {
            Self::Udp { .. } => protocol::UDP,
            Self::Tcp { .. } => protocol::TCP,
        }
    }

    pub(super) fn header_bytes(self) -> usize {
        match self {
            Self::Udp { .. } => 8,
            Self::Tcp { option_words } => 20 + usize::from(option_words) * 4,
        }
    }
}

/// What a frame shall be made of.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    mac: [u8; 6],
    vlan: Option<u16>,
    ip: Ip,
    upper: Upper,
    payload: Vec<u8>,
    padding: usize,
}

impl Recipe {
    pub(super) fn new(ip: Ip, upper: Upper) -> Self {
        Self { mac: interface().mac, vlan: None, ip, upper, payload: vec![], padding: 0 }
    }

    pub(super) fn destination_mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = mac;
        self
    }

    pub(super) fn vlan(mut self, vid: u16) -> Self {
        self.vlan = Some(vid);
        self
    }

    pub(super) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(super) fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    pub(super) fn is_ipv4(&self) -> bool {
        matches!(self.ip, Ip::V4 { .. })
    }

    pub(super) fn network(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    pub(super) fn vid(&self) -> Option<u16> {
        self.vlan
    }

    pub(super) fn transport(&self) -> Upper {
        self.upper
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Bytes between the start of the IP header and the transport header.
    pub(super) fn network_bytes(&self) -> usize {
        match &self.ip {
            Ip::V4 { option_words, .. } => 20 + usize::from(*option_words) * 4,
            Ip::V6 { extensions, .. } => {
                40 + extensions.iter().map(|&number| extension(number, 0).len()).sum::<usize>()
            }
        }
    }

    /// What a sender writes to the checksum field that leaves it to a card.
    pub(super) fn partial(&self) -> u16 {
        checksum::fold(self.pseudo())
    }

    fn pseudo(&self) -> u64 {
        let bytes = (self.upper.header_bytes() + self.payload.len()) as u16;
        match &self.ip {
            Ip::V4 { destination, .. } => {
                checksum::pseudo_ipv4([10, 0, 0, 2].into(), (*destination).into(), self.upper.number(), bytes)
            }
            Ip::V6 { destination, .. } => {
                checksum::pseudo_ipv6(source_ipv6(), *destination, self.upper.number(), bytes)
            }
        }
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut frame = vec![0; self.network()];
        let ip_type = if self.is_ipv4() { ethernet::TYPE_IPV4 } else { ethernet::TYPE_IPV6 };
        let ether_type = if self.vlan.is_some() { ethernet::TYPE_VLAN } else { ip_type };
        ethernet::Repr { destination: self.mac, source: PEER_MAC, ether_type }.emit(&mut frame);
        if let Some(vid) = self.vlan {
            vlan::Repr { priority: 5, drop_eligible: true, vid, ether_type: ip_type }.emit(&mut frame[14..]);
        }
        let upper = self.upper();
        frame.extend(self.ip(upper.len()));
        frame.extend(upper);
        frame.extend(vec![0xEE; self.padding]);
        frame
    }

    fn ip(&self, upper_bytes: usize) -> Vec<u8> {
        let mut header = vec![0; self.network_bytes()];
        match &self.ip {
            Ip::V4 { destination, option_words } => {
                let repr = ipv4::Repr {
                    source: [10, 0, 0, 2].into(),
                    destination: (*destination).into(),
                    protocol: self.upper.number(),
                    traffic_class: 0,
                    identification: 0x1234,
                    dont_fragment: true,
                    ttl: 64,
                    payload_bytes: upper_bytes as u16,
                };
                repr.emit(&mut header);
                // No-operations as options.
                header[0] += option_words;
                header[20..].fill(1);
                let total = (header.len() + upper_bytes) as u16;
                header[2..4].copy_from_slice(&total.to_be_bytes());
                header[10..12].fill(0);
                let sum = checksum::finish(checksum::add(0, &header));
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            Ip::V6 { destination, extensions } => {
                let mut at = 40;
                let mut numbers = extensions.clone();
                numbers.push(self.upper.number());
                for pair in numbers.windows(2) {
                    let bytes = extension(pair[0], pair[1]);
                    header[at..at + bytes.len()].copy_from_slice(&bytes);
                    at += bytes.len();
                }
                let repr = ipv6::Repr {
                    source: source_ipv6(),
                    destination: *destination,
                    next_header: numbers[0],
                    hop_limit: 64,
                    traffic_class: 0,
                    flow_label: 0xABCDE,
                    payload_bytes: (header.len() - 40 + upper_bytes) as u16,
                };
                repr.emit(&mut header);
            }
        }
        header
    }

    fn upper(&self) -> Vec<u8> {
        let mut segment = vec![0; self.upper.header_bytes()];
        segment.extend(&self.payload);
        match self.upper {
            Upper::Udp { destination_port } => {
                udp::Repr { source_port: 40_000, destination_port }.emit(&mut segment, self.pseudo());
            }
            Upper::Tcp { option_words } => {
                segment[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
                segment[12..14].copy_from_slice(&[(5 + option_words) << 4, 0x10]);
                let sum = checksum::finish(checksum::add(self.pseudo(), &segment));
                segment[16..18].copy_from_slice(&sum.to_be_bytes());
            }
        }
        segment
    }
}

fn source_ipv6() -> Ipv6Addr {
    "fd00::2".parse().unwrap()
}

/// One extension header of a length that is typical for its number.
fn extension(number: u8, next_header: u8) -> Vec<u8> {
    let length = match number {
        OPTIONS => 1,
        ROUTING => 2,
        _ => 0,
    };
    let padding = ipv6_extension::PaddingRepr { next_header, length };
    let mut bytes = vec![0; padding.header_bytes()];
    match number {
        FRAGMENT => {
            let (offset_bytes, more_fragments, identification) = (0, true, 77);
            ipv6_extension::FragmentRepr { next_header, offset_bytes, more_fragments, identification }
                .emit(&mut bytes);
        }
        AUTHENTICATION => {
            // Counted in 4 bytes, less 2: 24 bytes.
            bytes = vec![0; 24];
            bytes[..2].copy_from_slice(&[next_header, 4]);
        }
        ROUTING => bytes[..2].copy_from_slice(&[next_header, length]),
        _ => padding.emit(&mut bytes),
    }
    bytes
}

/// Valid frames of every combination of tag, options, extension headers and transport.
pub(super) fn combinations() -> Vec<Recipe> {
    let mut ips: Vec<Ip> =
        [0, 1, 10].map(|option_words| Ip::V4 { destination: [10, 0, 0, 1], option_words }).into();
    let chains: [&[u8]; 7] = [
        &[],
        &[HOP_BY_HOP],
        &[OPTIONS],
        &[ROUTING],
        &[AUTHENTICATION],
        &[HOP_BY_HOP, ROUTING, AUTHENTICATION, OPTIONS],
        &[HOP_BY_HOP, OPTIONS, OPTIONS, OPTIONS],
    ];
    ips.extend(chains.map(|chain| Ip::v6().behind(chain)));
    let uppers = [
        (Upper::udp_to(9), &b"some payload"[..]),
        (Upper::udp_to(4793), &REQUEST[..]),
        (Upper::Tcp { option_words: 0 }, b"stream"),
        (Upper::Tcp { option_words: 10 }, b""),
    ];
    let mut recipes = vec![];
    for vlan in [None, Some(0), Some(42)] {
        for ip in &ips {
            for (upper, payload) in uppers {
                let mut recipe = Recipe::new(ip.clone(), upper).payload(payload);
                recipe.vlan = vlan;
                recipes.push(recipe);
            }
        }
    }
    recipes
}
