//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::Error;
use crate::bytes::{array, be16, byte, put, view};
use crate::ethernet::{MacAddress, TYPE_IPV4};

/// Bytes of a packet.
pub const PACKET_BYTES: usize = 28;
/// Operation: who has the target's address.
pub const REQUEST: u16 = 1;
/// Operation: the source has it.
pub const REPLY: u16 = 2;

const HARDWARE_ETHERNET: u16 = 1;

const HARDWARE_TYPE: usize = 0;
const PROTOCOL_TYPE: usize = 2;
const HARDWARE_BYTES: usize = 4;
const PROTOCOL_BYTES: usize = 5;
const OPERATION: usize = 6;
const SOURCE_MAC: usize = 8;
const SOURCE_IPV4: usize = 14;
const TARGET_MAC: usize = 18;
const TARGET_IPV4: usize = 24;

view! {
    /// A packet of IPv4 over Ethernet; the constructor refuses others.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks length, and that it is about IPv4 over Ethernet.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        if bytes.len() < PACKET_BYTES {
            return Err(Error::Truncated);
        }
        if be16(bytes, HARDWARE_TYPE) != HARDWARE_ETHERNET || byte(bytes, HARDWARE_BYTES) != 6 {
            return Err(Error::Malformed("ARP hardware type"));
        }
        if be16(bytes, PROTOCOL_TYPE) != TYPE_IPV4 || byte(bytes, PROTOCOL_BYTES) != 4 {
            return Err(Error::Malformed("ARP protocol type"));
        }
        Ok(Self { buffer })
    }

    /// [`REQUEST`], [`REPLY`], or something rarer.
    #[inline]
    pub fn operation(&self) -> u16 {
        be16(self.bytes(), OPERATION)
    }

    /// Sender's MAC address.
    #[inline]
    pub fn source_mac(&self) -> MacAddress {
        array(self.bytes(), SOURCE_MAC)
    }

    /// Sender's IPv4 address; unspecified in a probe (RFC 5227).
    #[inline]
    pub fn source_ipv4(&self) -> Ipv4Addr {
        array::<4>(self.bytes(), SOURCE_IPV4).into()
    }

    /// Target's MAC address; means nothing in a request.
    #[inline]
    pub fn target_mac(&self) -> MacAddress {
        array(self.bytes(), TARGET_MAC)
    }

    /// Target's IPv4 address.
    #[inline]
    pub fn target_ipv4(&self) -> Ipv4Addr {
        array::<4>(self.bytes(), TARGET_IPV4).into()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the operation.
    #[inline]
    pub fn set_operation(&mut self, operation: u16) {
        put(self.buffer.as_mut(), OPERATION, operation.to_be_bytes());
    }

    /// Sets the sender.
    #[inline]
    pub fn set_source(&mut self, mac: MacAddress, ipv4: Ipv4Addr) {
        put(self.buffer.as_mut(), SOURCE_MAC, mac);
        put(self.buffer.as_mut(), SOURCE_IPV4, ipv4.octets());
    }

    /// Sets the target.
    #[inline]
    pub fn set_target(&mut self, mac: MacAddress, ipv4: Ipv4Addr) {
        put(self.buffer.as_mut(), TARGET_MAC, mac);
        put(self.buffer.as_mut(), TARGET_IPV4, ipv4.octets());
    }
}

/// A packet as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// Sender's MAC address.
    pub source_mac: MacAddress,
    /// Sender's IPv4 address.
    pub source_ipv4: Ipv4Addr,
    /// Target's MAC address.
    pub target_mac: MacAddress,
    /// Target's IPv4 address.
    pub target_ipv4: Ipv4Addr,
}

impl Repr {
    /// Reads a request or a reply.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Error> {
        let operation = packet.operation();
        if operation != REQUEST && operation != REPLY {
            return Err(Error::Malformed("ARP operation"));
        }
        Ok(Self {
            operation,
            source_mac: packet.source_mac(),
            source_ipv4: packet.source_ipv4(),
            target_mac: packet.target_mac(),
            target_ipv4: packet.target_ipv4(),
        })
    }

    /// Writes the packet to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`PACKET_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) {
        let buffer = &mut buffer[..PACKET_BYTES];
        put(buffer, HARDWARE_TYPE, HARDWARE_ETHERNET.to_be_bytes());
        put(buffer, PROTOCOL_TYPE, TYPE_IPV4.to_be_bytes());
        put(buffer, HARDWARE_BYTES, [6, 4]);
        let mut packet = Packet { buffer };
        packet.set_operation(self.operation);
        packet.set_source(self.source_mac, self.source_ipv4);
        packet.set_target(self.target_mac, self.target_ipv4);
    }
}
