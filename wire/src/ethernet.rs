//! Ethernet II (IEEE 802.3 clause 3), without FCS.

use crate::Error;
use crate::bytes::{array, be16, put, view};

/// A MAC address.
pub type MacAddress = [u8; 6];

/// Bytes of the header.
pub const HEADER_BYTES: usize = 14;
/// Every station on the link.
pub const BROADCAST: MacAddress = [0xFF; 6];

/// EtherType: IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType: ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType: 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// EtherType: IPv6.
pub const TYPE_IPV6: u16 = 0x86DD;

const DESTINATION: usize = 0;
const SOURCE: usize = 6;
const ETHER_TYPE: usize = 12;

/// True for group addresses: multicast and broadcast.
#[inline]
#[must_use]
pub const fn is_multicast(address: MacAddress) -> bool {
    address[0] & 1 != 0
}

view! {
    /// A frame.
    Frame
}

impl<T: AsRef<[u8]>> Frame<T> {
    /// Checks that the header is there.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Destination.
    #[inline]
    pub fn destination(&self) -> MacAddress {
        array(self.bytes(), DESTINATION)
    }

    /// Source.
    #[inline]
    pub fn source(&self) -> MacAddress {
        array(self.bytes(), SOURCE)
    }

    /// EtherType; below 0x0600 it is a length (802.3).
    #[inline]
    pub fn ether_type(&self) -> u16 {
        be16(self.bytes(), ETHER_TYPE)
    }

    /// What follows the header, padding included.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Frame<T> {
    /// Sets the destination.
    #[inline]
    pub fn set_destination(&mut self, address: MacAddress) {
        put(self.buffer.as_mut(), DESTINATION, address);
    }

    /// Sets the source.
    #[inline]
    pub fn set_source(&mut self, address: MacAddress) {
        put(self.buffer.as_mut(), SOURCE, address);
    }

    /// Sets the EtherType.
    #[inline]
    pub fn set_ether_type(&mut self, ether_type: u16) {
        put(self.buffer.as_mut(), ETHER_TYPE, ether_type.to_be_bytes());
    }

    /// What follows the header, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().get_mut(HEADER_BYTES..).unwrap_or_default()
    }
}

/// The header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Destination.
    pub destination: MacAddress,
    /// Source.
    pub source: MacAddress,
    /// EtherType.
    pub ether_type: u16,
}

impl Repr {
    /// Reads the header. There is nothing to refuse: a frame that is long enough has one.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(frame: &Frame<T>) -> Self {
        Self { destination: frame.destination(), source: frame.source(), ether_type: frame.ether_type() }
    }

    /// Writes the header to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) {
        let header = &mut buffer[..HEADER_BYTES];
        put(header, DESTINATION, self.destination);
        put(header, SOURCE, self.source);
        put(header, ETHER_TYPE, self.ether_type.to_be_bytes());
    }
}
