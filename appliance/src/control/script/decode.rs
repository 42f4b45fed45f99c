//! From a frame's bytes to fields by name, which expectations compare, and a line for people.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use lnic_wire::{
    arp, checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ipv6_extension, protocol, rpc, tcp, udp, vlan,
};

use super::frame::TCP_FLAGS;

/// Names and values of header fields, in the order of the headers.
pub(super) type Fields = Vec<(&'static str, String)>;

/// What a frame says.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoded {
    pub(super) fields: Fields,
    /// What is wrong with it: no frame may be like that.
    pub(super) faults: Vec<String>,
    /// Of the innermost header that was understood, λ-RPC excepted.
    pub(super) payload: Range<usize>,
    /// Of a λ-RPC datagram.
    pub(super) message: Option<Range<usize>>,
    source: Option<String>,
    destination: Option<String>,
    protocol: String,
}

impl Decoded {
    /// The value of a field, if the frame has it.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }

    /// Payload of λ-RPC if it is that, else what follows the last header.
    pub(super) fn innermost(&self) -> Range<usize> {
        self.message.clone().unwrap_or_else(|| self.payload.clone())
    }

    /// A line for people, without the payload.
    pub(super) fn line(&self) -> String {
        let from_to = match (&self.source, &self.destination) {
            (Some(source), Some(destination)) => format!("{source} > {destination} "),
            _ => String::new(),
        };
        let vlan = self.field("vlan.vid").map(|vid| format!("vlan {vid} ")).unwrap_or_default();
        let rpc = match (self.field("rpc.kind"), self.field("rpc.status")) {
            (Some("reply"), Some(status)) => format!(" λ-RPC reply {status}"),
            (Some(kind), _) => {
                format!(" λ-RPC {kind} for lambda {}", self.field("rpc.lambda").unwrap_or("?"))
            }
            _ => String::new(),
        };
        format!("{vlan}{from_to}{}{rpc}", self.protocol)
    }

    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.fields.push((name, value.to_string()));
    }

    fn fault(&mut self, fault: impl ToString) {
        self.faults.push(fault.to_string());
    }
}

/// Reads a frame. Whatever it holds, this ends.
pub(super) fn decode(frame: &[u8]) -> Decoded {
    let mut decoded = Decoded { payload: 0..frame.len(), ..Decoded::default() };
    let Ok(link) = ethernet::Frame::new_checked(frame) else {
        decoded.fault(format!("{} bytes are no Ethernet frame", frame.len()));
        return decoded;
    };
    decoded.set("ethernet.source", mac(link.source()));
    decoded.set("ethernet.destination", mac(link.destination()));
    let (mut ether_type, mut at) = (link.ether_type(), ethernet::HEADER_BYTES);
    if ether_type == ethernet::TYPE_VLAN {
        match vlan::Packet::new_checked(&frame[at..]) {
            Ok(tag) => {
                decoded.set("vlan.vid", tag.vid());
                decoded.set("vlan.priority", tag.priority());
                (ether_type, at) = (tag.ether_type(), at + vlan::HEADER_BYTES);
            }
            Err(error) => decoded.fault(error),
        }
    }
    decoded.set("ethernet.ether_type", format!("{ether_type:#06x}"));
    decoded.payload = at..frame.len();
    decoded.protocol = format!("EtherType {ether_type:#06x}");
    match ether_type {
        ethernet::TYPE_IPV4 => read_ipv4(&mut decoded, frame, at),
        ethernet::TYPE_IPV6 => read_ipv6(&mut decoded, frame, at),
        ethernet::TYPE_ARP => read_arp(&mut decoded, &frame[at..]),
        _ => {}
    }
    decoded
}

fn read_arp(decoded: &mut Decoded, bytes: &[u8]) {
    decoded.protocol = "ARP".into();
    if let Ok(packet) = arp::Packet::new_checked(bytes) {
        let (source, target) = (packet.source_ipv4(), packet.target_ipv4());
        decoded.protocol = match packet.operation() {
            arp::REQUEST => format!("ARP who has {target}, asks {source}"),
            _ => format!("ARP {source} is at {}", mac(packet.source_mac())),
        };
    }
}

fn read_ipv4(decoded: &mut Decoded, frame: &[u8], at: usize) {
    let packet = match ipv4::Packet::new_checked(&frame[at..]) {
        Ok(packet) => packet,
        Err(error) => return decoded.fault(format!("IPv4: {error}")),
    };
    if !packet.verify_checksum() {
        decoded.fault("wrong IPv4 header checksum");
    }
    let (source, destination) = (packet.source(), packet.destination());
    decoded.set("ipv4.source", source);
    decoded.set("ipv4.destination", destination);
    decoded.set("ipv4.ttl", packet.ttl());
    decoded.set("ipv4.traffic_class", packet.traffic_class());
    decoded.set("ipv4.identification", packet.identification());
    let start = at + packet.header_bytes();
    let end = at + usize::from(packet.total_bytes());
    let upper = Upper {
        protocol: packet.protocol(),
        range: start..end,
        addresses: Addresses::V4(source, destination),
    };
    if packet.is_fragment() {
        decoded.payload = upper.range;
        decoded.protocol = "IPv4 fragment".into();
        return;
    }
    read_upper(decoded, frame, upper);
}

fn read_ipv6(decoded: &mut Decoded, frame: &[u8], at: usize) {
    let packet = match ipv6::Packet::new_checked(&frame[at..]) {
        Ok(packet) => packet,
        Err(error) => return decoded.fault(format!("IPv6: {error}")),
    };
    let (source, destination) = (packet.source(), packet.destination());
    decoded.set("ipv6.source", source);
    decoded.set("ipv6.destination", destination);
    decoded.set("ipv6.hop_limit", packet.hop_limit());
    decoded.set("ipv6.traffic_class", packet.traffic_class());
    decoded.set("ipv6.flow_label", packet.flow_label());
    let start = at + ipv6::HEADER_BYTES;
    let end = start + packet.payload().len();
    let (protocol, skipped) = match ipv6_extension::skip(packet.next_header(), packet.payload()) {
        Ok(chain) => (chain.upper, chain.bytes),
        Err(error) => return decoded.fault(format!("IPv6 extension headers: {error}")),
    };
    let addresses = Addresses::V6(source, destination);
    read_upper(decoded, frame, Upper { protocol, range: start + skipped..end, addresses });
}

#[derive(Clone, Copy)]
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

struct Upper {
    protocol: u8,
    range: Range<usize>,
    addresses: Addresses,
}

impl Upper {
    fn pseudo(&self) -> u64 {
        let bytes = u16::try_from(self.range.len()).unwrap_or(u16::MAX);
        match self.addresses {
            Addresses::V4(source, destination) => {
                checksum::pseudo_ipv4(source, destination, self.protocol, bytes)
            }
            Addresses::V6(source, destination) => {
                checksum::pseudo_ipv6(source, destination, self.protocol, bytes)
            }
        }
    }

    fn ends(&self) -> (String, String) {
        match self.addresses {
            Addresses::V4(source, destination) => (source.to_string(), destination.to_string()),
            Addresses::V6(source, destination) => (format!("[{source}]"), format!("[{destination}]")),
        }
    }
}

fn read_upper(decoded: &mut Decoded, frame: &[u8], upper: Upper) {
    let Some(bytes) = frame.get(upper.range.clone()) else {
        return decoded.fault("the IP length says more than the frame holds");
    };
    let (source, destination) = upper.ends();
    decoded.set("ip.protocol", upper.protocol);
    decoded.payload = upper.range.clone();
    decoded.protocol = format!("protocol {}", upper.protocol);
    let ends = |decoded: &mut Decoded, ports: Option<(u16, u16)>| {
        let end = |address: &str, port: Option<u16>| match port {
            Some(port) => format!("{address}:{port}"),
            None => address.to_owned(),
        };
        decoded.source = Some(end(&source, ports.map(|ports| ports.0)));
        decoded.destination = Some(end(&destination, ports.map(|ports| ports.1)));
    };
    ends(decoded, None);
    match upper.protocol {
        protocol::UDP => match udp::Packet::new_checked(bytes) {
            Ok(packet) => {
                let ports = (packet.source_port(), packet.destination_port());
                ends(decoded, Some(ports));
                decoded.protocol = "UDP".into();
                decoded.set("udp.source_port", ports.0);
                decoded.set("udp.destination_port", ports.1);
                let unsummed = packet.checksum() == 0 && matches!(upper.addresses, Addresses::V4(..));
                if !unsummed && !packet.verify_checksum(upper.pseudo()) {
                    decoded.fault("wrong UDP checksum");
                }
                let start = upper.range.start + udp::HEADER_BYTES;
                decoded.payload = start..start + packet.payload().len();
                if ports.0 == rpc::PORT || ports.1 == rpc::PORT {
                    read_rpc(decoded, frame);
                }
            }
            Err(error) => decoded.fault(format!("UDP: {error}")),
        },
        protocol::TCP => match tcp::Packet::new_checked(bytes) {
            Ok(packet) => {
                let ports = (packet.source_port(), packet.destination_port());
                ends(decoded, Some(ports));
                decoded.protocol = format!("TCP {}", flags(packet.flags()));
                decoded.set("tcp.source_port", ports.0);
                decoded.set("tcp.destination_port", ports.1);
                decoded.set("tcp.sequence", packet.sequence());
                decoded.set("tcp.acknowledgement", packet.acknowledgement());
                decoded.set("tcp.flags", flags(packet.flags()));
                decoded.set("tcp.window", packet.window());
                if !packet.verify_checksum(upper.pseudo()) {
                    decoded.fault("wrong TCP checksum");
                }
                decoded.payload = upper.range.start + packet.header_bytes()..upper.range.end;
            }
            Err(error) => decoded.fault(format!("TCP: {error}")),
        },
        protocol::ICMP => {
            let echo = icmpv4::Packet::new_checked(bytes).and_then(|packet| icmpv4::Repr::parse(&packet));
            read_echo(
                decoded,
                "ICMP",
                &upper,
                echo.map(|repr| match repr {
                    icmpv4::Repr::EchoRequest { identifier, sequence } => (false, identifier, sequence),
                    icmpv4::Repr::EchoReply { identifier, sequence } => (true, identifier, sequence),
                }),
            );
        }
        protocol::ICMPV6 => {
            let packet = icmpv6::Packet::new_checked(bytes);
            let echo = packet.and_then(|packet| icmpv6::Repr::parse(&packet, upper.pseudo()));
            read_echo(
                decoded,
                "ICMPv6",
                &upper,
                echo.map(|repr| match repr {
                    icmpv6::Repr::EchoRequest { identifier, sequence } => (false, identifier, sequence),
                    icmpv6::Repr::EchoReply { identifier, sequence } => (true, identifier, sequence),
                }),
            );
        }
        _ => {}
    }
}

fn read_echo(
    decoded: &mut Decoded,
    name: &str,
    upper: &Upper,
    echo: Result<(bool, u16, u16), lnic_wire::Error>,
) {
    decoded.protocol = name.to_owned();
    let Ok((is_reply, identifier, sequence)) = echo else { return };
    decoded.protocol = format!("{name} echo {}", if is_reply { "reply" } else { "request" });
    decoded.set("icmp.kind", if is_reply { "reply" } else { "request" });
    decoded.set("icmp.identifier", identifier);
    decoded.set("icmp.sequence", sequence);
    decoded.payload = upper.range.start + icmpv4::HEADER_BYTES..upper.range.end;
}

fn read_rpc(decoded: &mut Decoded, frame: &[u8]) {
    let range = decoded.payload.clone();
    let Some(datagram) = frame.get(range.clone()) else { return };
    let header = match rpc::Header::parse(datagram) {
        Ok(header) => header,
        Err(rpc::Error::Crc) => return decoded.fault(rpc::Error::Crc),
        // Another protocol may use the port.
        Err(_) => return,
    };
    decoded.set("rpc.kind", kind_name(header.kind));
    decoded.set("rpc.lambda", header.lambda);
    decoded.set("rpc.request_id", header.request);
    decoded.set("rpc.priority", header.flags & rpc::PRIORITY_MASK);
    decoded.set("rpc.message_length", header.message_length);
    decoded.set("rpc.fragment_index", header.fragment_index);
    if header.kind == rpc::Kind::Reply {
        decoded.set("rpc.status", header.status());
        decoded.set("rpc.credit", header.credit());
    }
    decoded.message = Some(range.start + header.header_bytes..range.end);
}

/// λ-RPC's kinds by name.
pub(super) const KINDS: [(&str, rpc::Kind); 9] = [
    ("request", rpc::Kind::Request),
    ("reply", rpc::Kind::Reply),
    ("nack", rpc::Kind::Nack),
    ("grant", rpc::Kind::Grant),
    ("challenge", rpc::Kind::Challenge),
    ("ack", rpc::Kind::Ack),
    ("ping", rpc::Kind::Ping),
    ("pong", rpc::Kind::Pong),
    ("cancel", rpc::Kind::Cancel),
];

fn kind_name(kind: rpc::Kind) -> &'static str {
    KINDS.iter().find(|(_, own)| *own == kind).map_or("unknown", |(name, _)| name)
}

/// TCP's flags by name.
pub(super) fn flags(bits: u8) -> String {
    let names: Vec<&str> =
        TCP_FLAGS.iter().filter(|(_, flag)| bits & flag != 0).map(|(name, _)| *name).collect();
    names.join(" ")
}

/// A MAC address as people write it.
pub(super) fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
