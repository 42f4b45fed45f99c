//! From what a script says of a packet to its bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use lnic_wire::{checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, protocol, rpc, tcp, udp, vlan};

/// The simulated appliance's MAC address.
pub(super) const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Its IPv4 address.
pub(super) const OUR_IPV4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Its IPv6 address.
pub(super) const OUR_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Who sends, unless a script says otherwise.
pub(super) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// Its IPv4 address.
pub(super) const PEER_IPV4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Its IPv6 address.
pub(super) const PEER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// The port that it sends from.
pub(super) const PEER_PORT: u16 = 50_000;
/// The port that it sends to: not λ-RPC's, where nothing else may come.
pub(super) const SERVICE_PORT: u16 = 7;
/// Largest IP packet of the simulated ports.
pub(super) const MTU: usize = 1500;

/// Which side of the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The network's.
    Wire,
    /// The host's own stack.
    Host,
}

/// A packet, layer by layer.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Where it is sent.
    pub(super) side: Side,
    pub(super) source_mac: [u8; 6],
    pub(super) destination_mac: [u8; 6],
    /// Instead of the one that its network layer has.
    pub(super) ether_type: Option<u16>,
    pub(super) vlan: Option<Tag>,
    /// None if the payload follows the Ethernet header.
    pub(super) network: Option<Network>,
    pub(super) transport: Transport,
    pub(super) payload: Vec<u8>,
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) vid: u16,
    pub(super) priority: u8,
}

/// An IP header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Network {
    V4 { source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, traffic_class: u8, identification: u16 },
    V6 { source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, traffic_class: u8, flow_label: u32 },
}

/// What is above IP.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    /// A λ-RPC request; the payload is its message.
    Rpc {
        source_port: u16,
        destination_port: u16,
        rpc: Rpc,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
    },
    Tcp(Segment),
    /// An ICMP or ICMPv6 echo request.
    Echo {
        identifier: u16,
        sequence: u16,
    },
    /// Some other protocol: the payload follows the IP header.
    Other(u8),
}

/// How a λ-RPC request is sent.
#[derive(Clone, Debug)]
pub(super) struct Rpc {
    pub(super) lambda: u32,
    pub(super) priority: u8,
    pub(super) budget_us: u32,
    pub(super) at_most_once: bool,
    pub(super) idempotent: bool,
    /// What a client would not send: one datagram, made by hand.
    pub(super) by_hand: Option<ByHand>,
}

/// A λ-RPC datagram that is made by hand.
#[derive(Clone, Debug)]
pub(super) struct ByHand {
    /// `None`: the next of the runner's own.
    pub(super) request_id: Option<u64>,
    pub(super) kind: rpc::Kind,
    /// Besides CRC, priority and those that have a name of their own.
    pub(super) flags: u16,
    pub(super) crc: bool,
    pub(super) message_length: Option<u32>,
    pub(super) fragment_bytes: Option<u16>,
    pub(super) fragment_index: u16,
    pub(super) status: rpc::Status,
}

/// A TCP segment's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
}

/// TCP's flags by name.
pub(super) const TCP_FLAGS: [(&str, u8); 8] = [
    ("fin", tcp::FIN),
    ("syn", tcp::SYN),
    ("rst", tcp::RST),
    ("psh", tcp::PSH),
    ("ack", tcp::ACK),
    ("urg", tcp::URG),
    ("ece", tcp::ECE),
    ("cwr", tcp::CWR),
];

impl Network {
    /// As packets of this family are sent unless a script says otherwise.
    pub(super) fn v4() -> Self {
        Self::V4 { source: PEER_IPV4, destination: OUR_IPV4, ttl: 64, traffic_class: 0, identification: 0 }
    }

    /// The same for IPv6.
    pub(super) fn v6() -> Self {
        Self::V6 { source: PEER_IPV6, destination: OUR_IPV6, hop_limit: 64, traffic_class: 0, flow_label: 0 }
    }

    fn header_bytes(&self) -> usize {
        match self {
            Self::V4 { .. } => ipv4::HEADER_BYTES,
            Self::V6 { .. } => ipv6::HEADER_BYTES,
        }
    }

    fn ether_type(&self) -> u16 {
        match self {
            Self::V4 { .. } => ethernet::TYPE_IPV4,
            Self::V6 { .. } => ethernet::TYPE_IPV6,
        }
    }

    fn pseudo(&self, protocol: u8, bytes: u16) -> u64 {
        match *self {
            Self::V4 { source, destination, .. } => {
                checksum::pseudo_ipv4(source, destination, protocol, bytes)
            }
            Self::V6 { source, destination, .. } => {
                checksum::pseudo_ipv6(source, destination, protocol, bytes)
            }
        }
    }

    fn emit(&self, buffer: &mut [u8], protocol: u8, payload_bytes: u16) {
        match *self {
            Self::V4 { source, destination, ttl, traffic_class, identification } => ipv4::Repr {
                source,
                destination,
                protocol,
                traffic_class,
                identification,
                dont_fragment: true,
                ttl,
                payload_bytes,
            }
            .emit(buffer),
            Self::V6 { source, destination, hop_limit, traffic_class, flow_label } => ipv6::Repr {
                source,
                destination,
                next_header: protocol,
                hop_limit,
                traffic_class,
                flow_label,
                payload_bytes,
            }
            .emit(buffer),
        }
    }
}

impl Template {
    /// Most bytes that can follow the IP header, or the Ethernet header if there is none.
    pub(super) fn room_bytes(&self) -> usize {
        MTU - self.network.map_or(0, |network| network.header_bytes())
    }

    /// The frame, with its own payload. A λ-RPC request must be in its datagram already: see [`with_datagram`](Self::with_datagram).
    pub(super) fn frame(&self) -> Vec<u8> {
        self.frame_of(&self.payload)
    }

    /// The frame with this UDP payload instead of its own.
    pub(super) fn with_datagram(&self, datagram: &[u8]) -> Vec<u8> {
        self.frame_of(datagram)
    }

    fn frame_of(&self, payload: &[u8]) -> Vec<u8> {
        let tag_bytes = self.vlan.map_or(0, |_| vlan::HEADER_BYTES);
        let network_at = ethernet::HEADER_BYTES + tag_bytes;
        let transport_at = network_at + self.network.map_or(0, |network| network.header_bytes());
        let header_bytes = if self.network.is_some() { self.transport.header_bytes() } else { 0 };
        let mut frame = vec![0; transport_at + header_bytes + payload.len()];
        frame[transport_at + header_bytes..].copy_from_slice(payload);
        let inner = self.ether_type.or(self.network.map(|network| network.ether_type())).unwrap_or(0);
        let ether_type = if self.vlan.is_some() { ethernet::TYPE_VLAN } else { inner };
        let (source, destination) = (self.source_mac, self.destination_mac);
        ethernet::Repr { destination, source, ether_type }.emit(&mut frame);
        if let Some(Tag { vid, priority }) = self.vlan {
            let tag = vlan::Repr { priority, drop_eligible: false, vid, ether_type: inner };
            tag.emit(&mut frame[ethernet::HEADER_BYTES..]);
        }
        if let Some(network) = self.network {
            let bytes = u16::try_from(frame.len() - transport_at).unwrap_or(u16::MAX);
            let protocol = self.transport.protocol(&network);
            self.transport.emit(&mut frame[transport_at..], network.pseudo(protocol, bytes), &network);
            network.emit(&mut frame[network_at..], protocol, bytes);
        }
        frame
    }

    /// What tells conversations apart: who asks whom, from where.
    pub(super) fn flow(&self) -> String {
        let vlan = self.vlan.map(|tag| tag.vid);
        let ports = self.transport.ports();
        format!("{:?} {:02x?} {vlan:?} {:?} {ports:?}", self.side, self.source_mac, self.network)
    }
}

impl Transport {
    /// Source and destination port.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        match *self {
            Self::Rpc { source_port, destination_port, .. } | Self::Udp { source_port, destination_port } => {
                Some((source_port, destination_port))
            }
            Self::Tcp(segment) => Some((segment.source_port, segment.destination_port)),
            Self::Echo { .. } | Self::Other(_) => None,
        }
    }

    fn protocol(&self, network: &Network) -> u8 {
        match (self, network) {
            (Self::Rpc { .. } | Self::Udp { .. }, _) => protocol::UDP,
            (Self::Tcp(_), _) => protocol::TCP,
            (Self::Echo { .. }, Network::V4 { .. }) => protocol::ICMP,
            (Self::Echo { .. }, Network::V6 { .. }) => protocol::ICMPV6,
            (Self::Other(number), _) => *number,
        }
    }

    /// Bytes of its header.
    pub(super) fn header_bytes(&self) -> usize {
        match self {
            Self::Rpc { .. } | Self::Udp { .. } => udp::HEADER_BYTES,
            Self::Tcp(_) => tcp::HEADER_BYTES,
            Self::Echo { .. } => icmpv4::HEADER_BYTES,
            Self::Other(_) => 0,
        }
    }

    fn emit(&self, buffer: &mut [u8], pseudo: u64, network: &Network) {
        match *self {
            Self::Rpc { source_port, destination_port, .. } | Self::Udp { source_port, destination_port } => {
                udp::Repr { source_port, destination_port }.emit(buffer, pseudo);
            }
            Self::Tcp(segment) => segment.emit(buffer, pseudo),
            Self::Echo { identifier, sequence } => match network {
                Network::V4 { .. } => icmpv4::Repr::EchoRequest { identifier, sequence }.emit(buffer),
                Network::V6 { .. } => icmpv6::Repr::EchoRequest { identifier, sequence }.emit(buffer, pseudo),
            },
            Self::Other(_) => {}
        }
    }
}

impl Segment {
    /// Writes the header before a payload that is in place.
    fn emit(&self, buffer: &mut [u8], pseudo: u64) {
        const WORDS: u8 = (tcp::HEADER_BYTES / 4) as u8;
        let mut header = Vec::with_capacity(tcp::HEADER_BYTES);
        header.extend(self.source_port.to_be_bytes());
        header.extend(self.destination_port.to_be_bytes());
        header.extend(self.sequence.to_be_bytes());
        header.extend(self.acknowledgement.to_be_bytes());
        header.extend([WORDS << 4, self.flags]);
        header.extend(self.window.to_be_bytes());
        header.extend([0; 4]);
        buffer[..tcp::HEADER_BYTES].copy_from_slice(&header);
        let sum = checksum::finish(checksum::add(pseudo, buffer));
        buffer[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

impl Rpc {
    /// The flags that it says by name.
    fn flags(&self) -> u16 {
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        flag(self.at_most_once, rpc::AT_MOST_ONCE)
            | flag(self.idempotent, rpc::IDEMPOTENT)
            | u16::from(self.priority) & rpc::PRIORITY_MASK
    }

    /// A datagram that is made by hand, around this payload.
    pub(super) fn datagram(&self, own: &ByHand, next_id: u64, payload: &[u8]) -> Vec<u8> {
        let whole = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let request = rpc::Header::request(self.lambda, own.request_id.unwrap_or(next_id), whole);
        let aux =
            if own.kind == rpc::Kind::Reply { u32::from(own.status.raw()) << 24 } else { self.budget_us };
        let header = rpc::Header {
            kind: own.kind,
            flags: self.flags() | own.flags,
            message_length: own.message_length.unwrap_or(whole),
            fragment_bytes: own.fragment_bytes.unwrap_or_else(|| one_fragment(payload.len())),
            fragment_index: own.fragment_index,
            aux,
            ..request
        };
        let mut datagram = vec![0; rpc::HEADER_BYTES];
        datagram.extend(payload);
        if own.crc {
            header.emit_with_crc(&mut datagram);
        } else {
            header.emit(&mut datagram);
        }
        datagram
    }
}

/// A fragment size that a payload of one datagram fits.
fn one_fragment(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX).max(rpc::FRAGMENT_BYTES)
}
