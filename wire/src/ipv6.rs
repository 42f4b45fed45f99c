//! The IPv6 fixed header (RFC 8200).

use core::net::Ipv6Addr;

use crate::Error;
use crate::bytes::{array, be16, be32, byte, put, view};
use crate::ethernet::MacAddress;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 40;
/// Every node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);

const VERSION_CLASS_FLOW: usize = 0;
const PAYLOAD_BYTES: usize = 4;
const NEXT_HEADER: usize = 6;
const HOP_LIMIT: usize = 7;
const SOURCE: usize = 8;
const DESTINATION: usize = 24;

/// The multicast group in which the owner of an address is asked for (RFC 4291, 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xFF02_0000_0000_0000_0000_0001_FF00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0xFF_FFFF)
}

/// The MAC address of a multicast group (RFC 2464, 7).
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The link-local address that a MAC address makes (EUI-64; RFC 4291, appendix A).
#[must_use]
pub const fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xFF, 0xFE, d, e, f]);
    Ipv6Addr::from_bits(0xFE80 << 112 | interface as u128)
}

view! {
    /// A packet. Bytes behind its payload length are not part of it.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks version and payload length. Jumbograms (RFC 2675) are refused: their payload length is zero.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        let packet = Packet { buffer: bytes };
        if packet.version() != 6 {
            return Err(Error::Malformed("IPv6 version"));
        }
        if HEADER_BYTES + usize::from(packet.payload_bytes()) > bytes.len() {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Version; 6.
    #[inline]
    pub fn version(&self) -> u8 {
        byte(self.bytes(), VERSION_CLASS_FLOW) >> 4
    }

    /// DSCP 6, ECN 2.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (be32(self.bytes(), VERSION_CLASS_FLOW) >> 20) as u8
    }

    /// Flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        be32(self.bytes(), VERSION_CLASS_FLOW) & 0xF_FFFF
    }

    /// Bytes of extension headers and payload.
    #[inline]
    pub fn payload_bytes(&self) -> u16 {
        be16(self.bytes(), PAYLOAD_BYTES)
    }

    /// Number of what follows: an extension header or the upper layer.
    #[inline]
    pub fn next_header(&self) -> u8 {
        byte(self.bytes(), NEXT_HEADER)
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        byte(self.bytes(), HOP_LIMIT)
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        array::<16>(self.bytes(), SOURCE).into()
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        array::<16>(self.bytes(), DESTINATION).into()
    }

    /// Extension headers and what follows them, up to the payload length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let end = HEADER_BYTES + usize::from(self.payload_bytes());
        self.bytes().get(HEADER_BYTES..end).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, value: u8) {
        put(self.buffer.as_mut(), HOP_LIMIT, [value]);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_source(&mut self, address: Ipv6Addr) {
        put(self.buffer.as_mut(), SOURCE, address.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv6Addr) {
        put(self.buffer.as_mut(), DESTINATION, address.octets());
    }

    /// Extension headers and what follows them, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = HEADER_BYTES + usize::from(self.payload_bytes());
        self.buffer.as_mut().get_mut(HEADER_BYTES..end).unwrap_or_default()
    }
}

/// The fixed header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Number of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP 6, ECN 2.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes of extension headers and payload.
    pub payload_bytes: u16,
}

impl Repr {
    /// Reads the fixed header; the view has refused what is none.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            source: packet.source(),
            destination: packet.destination(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
            payload_bytes: packet.payload_bytes(),
        }
    }

    /// Writes the fixed header to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) {
        let header = &mut buffer[..HEADER_BYTES];
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xF_FFFF;
        put(header, VERSION_CLASS_FLOW, first.to_be_bytes());
        put(header, PAYLOAD_BYTES, self.payload_bytes.to_be_bytes());
        put(header, NEXT_HEADER, [self.next_header, self.hop_limit]);
        put(header, SOURCE, self.source.octets());
        put(header, DESTINATION, self.destination.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_made_of_others() {
        let address: Ipv6Addr = "fd00::1:2:3:abcd:ef01".parse().unwrap();
        assert_eq!(solicited_node(address), "ff02::1:ffcd:ef01".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(solicited_node(address)), [0x33, 0x33, 0xff, 0xcd, 0xef, 0x01]);
        assert_eq!(link_local([0x02, 0, 0, 0, 0, 0x07]), "fe80::ff:fe00:7".parse::<Ipv6Addr>().unwrap());
    }
}
