//! ICMPv6 (RFC 4443): the common header, and echo. Neighbour discovery is in [`ndp`](crate::ndp).

use crate::bytes::{be16, byte, put, view};
use crate::{Error, checksum};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 8;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Type: neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Type: neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

const TYPE: usize = 0;
const CODE: usize = 1;
const CHECKSUM: usize = 2;
const IDENTIFIER: usize = 4;
const SEQUENCE: usize = 6;

view! {
    /// A message. Its length is the IP layer's.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks that the header is there.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Type.
    #[inline]
    pub fn kind(&self) -> u8 {
        byte(self.bytes(), TYPE)
    }

    /// Code.
    #[inline]
    pub fn code(&self) -> u8 {
        byte(self.bytes(), CODE)
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.bytes(), CHECKSUM)
    }

    /// True if the checksum is right. `pseudo` is the pseudo-header's sum.
    #[inline]
    pub fn verify_checksum(&self, pseudo: u64) -> bool {
        checksum::verify(checksum::add(pseudo, self.bytes()))
    }

    /// Echo: identifier.
    #[inline]
    pub fn identifier(&self) -> u16 {
        be16(self.bytes(), IDENTIFIER)
    }

    /// Echo: sequence number.
    #[inline]
    pub fn sequence(&self) -> u16 {
        be16(self.bytes(), SEQUENCE)
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// An echo message's header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repr {
    /// Echo request.
    EchoRequest {
        /// Identifier.
        identifier: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// Echo reply.
    EchoReply {
        /// Identifier, the request's.
        identifier: u16,
        /// Sequence number, the request's.
        sequence: u16,
    },
}

impl Repr {
    /// Reads an echo message. `pseudo` is the pseudo-header's sum.
    ///
    /// # Errors
    /// A wrong checksum; a type or code that is not echo's.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, pseudo: u64) -> Result<Self, Error> {
        if !packet.verify_checksum(pseudo) {
            return Err(Error::Checksum("ICMPv6"));
        }
        let (identifier, sequence) = (packet.identifier(), packet.sequence());
        match (packet.kind(), packet.code()) {
            (ECHO_REQUEST, 0) => Ok(Self::EchoRequest { identifier, sequence }),
            (ECHO_REPLY, 0) => Ok(Self::EchoReply { identifier, sequence }),
            _ => Err(Error::Malformed("ICMPv6 type")),
        }
    }

    /// Writes the header before a payload that is in place; the message is the whole buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`].
    pub fn emit(&self, message: &mut [u8], pseudo: u64) {
        assert!(message.len() >= HEADER_BYTES, "an ICMPv6 message of {} bytes", message.len());
        let (kind, identifier, sequence) = match *self {
            Self::EchoRequest { identifier, sequence } => (ECHO_REQUEST, identifier, sequence),
            Self::EchoReply { identifier, sequence } => (ECHO_REPLY, identifier, sequence),
        };
        put(message, TYPE, [kind, 0, 0, 0]);
        put(message, IDENTIFIER, identifier.to_be_bytes());
        put(message, SEQUENCE, sequence.to_be_bytes());
        fill_checksum(message, pseudo);
    }
}

/// Makes the checksum of a message anew; nothing if it is shorter than a header.
#[inline]
pub fn fill_checksum(message: &mut [u8], pseudo: u64) {
    put(message, CHECKSUM, [0, 0]);
    let sum = checksum::finish(checksum::add(pseudo, message));
    put(message, CHECKSUM, sum.to_be_bytes());
}
