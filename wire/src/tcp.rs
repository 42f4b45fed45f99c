//! TCP (RFC 9293): a view only. The appliance reads segments, it does not make them.

use crate::bytes::{be16, be32, byte, view};
use crate::{Error, checksum};

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;

/// Flag: no more data.
pub const FIN: u8 = 0x01;
/// Flag: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// Flag: reset.
pub const RST: u8 = 0x04;
/// Flag: push.
pub const PSH: u8 = 0x08;
/// Flag: the acknowledgement is valid.
pub const ACK: u8 = 0x10;
/// Flag: the urgent pointer is valid.
pub const URG: u8 = 0x20;
/// Flag: congestion was seen.
pub const ECE: u8 = 0x40;
/// Flag: the congestion window was reduced.
pub const CWR: u8 = 0x80;

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const SEQUENCE: usize = 4;
const ACKNOWLEDGEMENT: usize = 8;
const WORDS: usize = 12;
const FLAGS: usize = 13;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;

view! {
    /// A segment, with options and payload. Its length is the IP layer's.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the header length.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        let header_bytes = Packet { buffer: bytes }.header_bytes();
        if header_bytes < HEADER_BYTES {
            return Err(Error::Malformed("TCP header length"));
        }
        if header_bytes > bytes.len() {
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

    /// Sequence number.
    #[inline]
    pub fn sequence(&self) -> u32 {
        be32(self.bytes(), SEQUENCE)
    }

    /// Acknowledgement number.
    #[inline]
    pub fn acknowledgement(&self) -> u32 {
        be32(self.bytes(), ACKNOWLEDGEMENT)
    }

    /// Bytes of header and options.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        usize::from(byte(self.bytes(), WORDS) >> 4) * 4
    }

    /// [`FIN`], [`SYN`] and the other flags.
    #[inline]
    pub fn flags(&self) -> u8 {
        byte(self.bytes(), FLAGS)
    }

    /// Receive window, not scaled.
    #[inline]
    pub fn window(&self) -> u16 {
        be16(self.bytes(), WINDOW)
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

    /// What follows the options.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(self.header_bytes()..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol;

    #[test]
    fn fields_of_a_syn() {
        let mut bytes = [
            0x9c, 0x40, 0x00, 0x50, 1, 2, 3, 4, 5, 6, 7, 8, 0x60, 0x12, 0xfa, 0xf0, 0, 0, 0,
            0, // header
            2, 4, 5, 0xb4, b'h', b'i',
        ];
        let pseudo = checksum::pseudo_ipv4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::TCP, 26);
        let sum = checksum::finish(checksum::add(pseudo, &bytes));
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        let segment = Packet::new_checked(&bytes[..]).unwrap();
        assert!(segment.verify_checksum(pseudo));
        assert!(!segment.verify_checksum(pseudo + 1));
        assert_eq!((segment.source_port(), segment.destination_port()), (40000, 80));
        assert_eq!((segment.sequence(), segment.acknowledgement()), (0x0102_0304, 0x0506_0708));
        assert_eq!((segment.flags(), segment.window(), segment.checksum()), (SYN | ACK, 0xfaf0, sum));
        assert_eq!((segment.header_bytes(), segment.payload()), (24, &b"hi"[..]));
    }

    #[test]
    fn header_length_is_checked() {
        let mut bytes = [0; 24];
        for (words, result) in [
            (4, Err(Error::Malformed("TCP header length"))),
            (5, Ok(())),
            (6, Ok(())),
            (7, Err(Error::Truncated)),
        ] {
            bytes[12] = words << 4;
            assert_eq!(Packet::new_checked(bytes).map(|_| ()), result, "{words} words");
        }
    }
}
