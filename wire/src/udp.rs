//! UDP (RFC 768).

use crate::bytes::{be16, put, view};
use crate::{Error, checksum};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 8;

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const LENGTH: usize = 4;
const CHECKSUM: usize = 6;

view! {
    /// A datagram. Bytes behind its length are not part of it.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the length.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        let length = usize::from(be16(bytes, LENGTH));
        if length < HEADER_BYTES {
            return Err(Error::Malformed("UDP length"));
        }
        if length > bytes.len() {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        be16(self.bytes(), SOURCE_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        be16(self.bytes(), DESTINATION_PORT)
    }

    /// Bytes of header and payload.
    #[inline]
    pub fn length(&self) -> u16 {
        be16(self.bytes(), LENGTH)
    }

    /// Checksum; zero is none, which IPv6 does not allow.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.bytes(), CHECKSUM)
    }

    /// True if the checksum is right. A datagram without one fails: whether that is allowed is the caller's to say.
    #[inline]
    pub fn verify_checksum(&self, pseudo: u64) -> bool {
        let datagram = self.bytes().get(..usize::from(self.length())).unwrap_or_default();
        self.checksum() != 0 && checksum::verify(checksum::add(pseudo, datagram))
    }

    /// What follows the header, up to the length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..usize::from(self.length())).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port.
    #[inline]
    pub fn set_source_port(&mut self, port: u16) {
        put(self.buffer.as_mut(), SOURCE_PORT, port.to_be_bytes());
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_destination_port(&mut self, port: u16) {
        put(self.buffer.as_mut(), DESTINATION_PORT, port.to_be_bytes());
    }

    /// Makes the checksum anew. `pseudo` is the pseudo-header's sum.
    #[inline]
    pub fn fill_checksum(&mut self, pseudo: u64) {
        put(self.buffer.as_mut(), CHECKSUM, [0, 0]);
        let datagram = self.bytes().get(..usize::from(self.length())).unwrap_or_default();
        let sum = match checksum::finish(checksum::add(pseudo, datagram)) {
            // Zero would say that there is none.
            0 => 0xFFFF,
            sum => sum,
        };
        put(self.buffer.as_mut(), CHECKSUM, sum.to_be_bytes());
    }

    /// What follows the header, up to the length, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = usize::from(self.length());
        self.buffer.as_mut().get_mut(HEADER_BYTES..end).unwrap_or_default()
    }
}

/// The header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Repr {
    /// Reads the header. `pseudo` is the pseudo-header's sum; `zero_allowed` takes a datagram without checksum.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, pseudo: u64, zero_allowed: bool) -> Result<Self, Error> {
        let none = zero_allowed && packet.checksum() == 0;
        if !none && !packet.verify_checksum(pseudo) {
            return Err(Error::Checksum("UDP"));
        }
        Ok(Self { source_port: packet.source_port(), destination_port: packet.destination_port() })
    }

    /// Writes the header before a payload that is in place; the datagram is the whole buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`] or longer than a datagram can be.
    pub fn emit(&self, datagram: &mut [u8], pseudo: u64) {
        assert!(datagram.len() >= HEADER_BYTES, "a UDP datagram of {} bytes", datagram.len());
        let length = u16::try_from(datagram.len()).expect("a UDP datagram is under 64 KiB");
        put(datagram, LENGTH, length.to_be_bytes());
        let mut packet = Packet { buffer: datagram };
        packet.set_source_port(self.source_port);
        packet.set_destination_port(self.destination_port);
        packet.fill_checksum(pseudo);
    }
}
