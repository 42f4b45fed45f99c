//! The network behind the internal port: two hosts, which know each other.

use std::net::Ipv4Addr;

use lnic_wire::{ethernet, ipv4, protocol, udp};

use crate::parser::Interface;

/// Bytes in front of a datagram's payload.
pub(super) const HEADERS_BYTES: usize = ethernet::HEADER_BYTES + ipv4::HEADER_BYTES + udp::HEADER_BYTES;
/// The gateway's MAC address: administered locally.
const MAC: [u8; 6] = [0x02, b'l', b'n', b'i', b'c', 0x02];

/// Who talks to whom over the internal port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    port_mac: [u8; 6],
    port_ip: Ipv4Addr,
    gateway_ip: Ipv4Addr,
    rpc_port: u16,
    mtu: u16,
}

impl Network {
    /// The network of an internal port; `None` if the port has no IPv4 address.
    pub(in crate::control) fn of(interface: &Interface) -> Option<Self> {
        let port_ip = interface.ipv4?;
        // The neighbour in the same /31.
        let gateway_ip = Ipv4Addr::from_bits(port_ip.to_bits() ^ 1);
        Some(Self {
            port_mac: interface.mac,
            port_ip,
            gateway_ip,
            rpc_port: interface.rpc_port,
            mtu: interface.mtu,
        })
    }

    /// Bytes of the largest datagram.
    pub(super) fn datagram_bytes(&self) -> u16 {
        self.mtu.saturating_sub((HEADERS_BYTES - ethernet::HEADER_BYTES) as u16)
    }

    /// Encloses a datagram of `bytes`, which lies [`HEADERS_BYTES`] into the buffer, in a frame from the gateway's UDP port `source`.
    /// Bytes of the frame; `None` if they do not fit.
    pub(super) fn enclose(&self, buffer: &mut [u8], bytes: usize, source: u16) -> Option<usize> {
        let udp_bytes = u16::try_from(bytes + udp::HEADER_BYTES).ok()?;
        let frame = buffer.get_mut(..HEADERS_BYTES + bytes)?;
        let ethernet =
            ethernet::Repr { destination: self.port_mac, source: MAC, ether_type: ethernet::TYPE_IPV4 };
        ethernet.emit(frame);
        let ip = ipv4::Repr {
            source: self.gateway_ip,
            destination: self.port_ip,
            protocol: protocol::UDP,
            traffic_class: 0,
            identification: 0,
            dont_fragment: true,
            ttl: 64,
            payload_bytes: udp_bytes,
        };
        ip.emit(&mut frame[ethernet::HEADER_BYTES..]);
        // No checksum (RFC 768): it does not leave memory, and the message has a CRC.
        let fields = [source, self.rpc_port, udp_bytes, 0].map(u16::to_be_bytes);
        frame[HEADERS_BYTES - udp::HEADER_BYTES..HEADERS_BYTES].copy_from_slice(fields.as_flattened());
        Some(HEADERS_BYTES + bytes)
    }

    /// The gateway's UDP port that a frame is for, and its datagram; `None` if it is none of the appliance's λ-RPC to the gateway.
    /// Checksums are not looked at: it has not left memory.
    pub(super) fn open<'a>(&self, frame: &'a [u8]) -> Option<(u16, &'a [u8])> {
        let ethernet = ethernet::Frame::new_checked(frame).ok()?;
        if ethernet.ether_type() != ethernet::TYPE_IPV4 || ethernet.destination() != MAC {
            return None;
        }
        let packet = frame.get(ethernet::HEADER_BYTES..)?;
        let ip = ipv4::Packet::new_checked(packet).ok()?;
        let is_ours = ip.source() == self.port_ip
            && ip.destination() == self.gateway_ip
            && ip.protocol() == protocol::UDP
            && !ip.is_fragment();
        if !is_ours {
            return None;
        }
        let datagram = packet.get(ip.header_bytes()..usize::from(ip.total_bytes()))?;
        let header = udp::Packet::new_checked(datagram).ok()?;
        if header.source_port() != self.rpc_port {
            return None;
        }
        let payload = datagram.get(udp::HEADER_BYTES..usize::from(header.length()))?;
        Some((header.destination_port(), payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Checksum;
    use crate::ids::PortId;
    use crate::parser;

    fn interface() -> Interface {
        Interface {
            port: PortId::new(3),
            mac: [2, 0, 0, 0, 0, 9],
            ipv4: Some(Ipv4Addr::new(169, 254, 1, 1)),
            ipv6: None,
            rpc_port: 4793,
            service_ports: parser::Ports::NONE,
            promiscuous: false,
            partial_checksums: false,
            mtu: 1500,
        }
    }

    fn request(datagram: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 2048];
        frame[HEADERS_BYTES..HEADERS_BYTES + datagram.len()].copy_from_slice(datagram);
        let bytes = Network::of(&interface()).unwrap().enclose(&mut frame, datagram.len(), 50_000).unwrap();
        frame.truncate(bytes);
        frame
    }

    /// The same frame on its way back.
    fn turned(mut frame: Vec<u8>) -> Vec<u8> {
        let (destination, rest) = frame.split_at_mut(6);
        destination.swap_with_slice(&mut rest[..6]);
        let (source, rest) = frame[26..].split_at_mut(4);
        source.swap_with_slice(&mut rest[..4]);
        let (source, rest) = frame[34..].split_at_mut(2);
        source.swap_with_slice(&mut rest[..2]);
        frame
    }

    #[test]
    fn the_appliance_parses_what_the_gateway_sends() {
        let mut datagram = [0; 37];
        datagram[32..].copy_from_slice(b"hello");
        lnic_wire::rpc::Header::request(7, 1, 5).emit_with_crc(&mut datagram);
        let frame = request(&datagram);
        let parsed = parser::parse(&frame, Checksum::Unknown, Checksum::Unknown, &interface()).unwrap();
        assert_eq!(parsed.key.lambda, 7);
        assert_eq!(&frame[usize::from(parsed.payload)..usize::from(parsed.end)], b"hello");
        assert!(interface().can_answer(&frame, &parsed), "its source is one host");
    }

    #[test]
    fn a_reply_is_opened_and_nothing_else_is() {
        let network = Network::of(&interface()).unwrap();
        let sent = request(b"datagram");
        assert_eq!(network.open(&sent), None, "a request");
        let reply = turned(sent);
        assert_eq!(network.open(&reply), Some((50_000, &b"datagram"[..])));
        // Every byte of the headers that says who, to whom and how.
        for at in (0..6).chain(12..15).chain([20, 23]).chain(26..36) {
            let mut other = reply.clone();
            other[at] ^= 0x11;
            assert_eq!(network.open(&other), None, "byte {at}");
        }
        for bytes in 0..reply.len() {
            assert_eq!(network.open(&reply[..bytes]), None, "{bytes} bytes");
        }
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let network = Network::of(&interface()).unwrap();
        assert_eq!(network.datagram_bytes(), 1472);
        assert_eq!(network.enclose(&mut [0; 100], 59, 1), None);
        assert_eq!(network.enclose(&mut vec![0; 1 << 17], 1 << 16, 1), None);
    }
}
