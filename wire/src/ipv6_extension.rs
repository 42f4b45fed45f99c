//! IPv6 extension headers (RFC 8200, 4): skipped safely, so that the upper layer can be found.

use crate::bytes::{be16, be32, byte, put, view};
use crate::{Error, protocol};

/// Most headers that [`skip`] follows. Real packets have one or two; a long chain only costs time.
pub const HEADERS_MAX: usize = 8;
/// Bytes of a fragment header, and of the shortest of the others.
pub const HEADER_BYTES: usize = 8;

const NEXT_HEADER: usize = 0;
const LENGTH: usize = 1;
const SEGMENTS_LEFT: usize = 3;
const OFFSET_MORE: usize = 2;
const IDENTIFICATION: usize = 4;

/// True if the number is of a header that [`skip`] looks into.
#[inline]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    use protocol::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// Where a chain of extension headers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Protocol number of what follows. In a fragment: what the fragment header names.
    pub upper: u8,
    /// Bytes of extension headers.
    pub bytes: usize,
    /// The chain ended at a fragment header: what follows is a part of a packet.
    pub fragment: bool,
}

/// Walks the extension headers at the start of `payload`, whose first is `next_header`.
///
/// Stops behind a fragment header, atomic ones (RFC 6946) included: who puts fragments together looks further.
///
/// # Errors
/// A header over the end; more than [`HEADERS_MAX`]; hop-by-hop options that are not first; a routing header that has
/// segments left, for such a packet has not arrived.
#[inline]
pub fn skip(next_header: u8, payload: &[u8]) -> Result<Chain, Error> {
    if !is_extension(next_header) {
        return Ok(Chain { upper: next_header, bytes: 0, fragment: false });
    }
    skip_chain(next_header, payload)
}

fn skip_chain(mut next_header: u8, payload: &[u8]) -> Result<Chain, Error> {
    let mut bytes = 0;
    for position in 0..HEADERS_MAX {
        let rest = payload.get(bytes..).unwrap_or_default();
        match next_header {
            protocol::HOP_BY_HOP if position > 0 => {
                return Err(Error::Malformed("IPv6 hop-by-hop options: not first"));
            }
            protocol::FRAGMENT => {
                let header = Fragment::new_checked(rest)?;
                return Ok(Chain {
                    upper: header.next_header(),
                    bytes: bytes + HEADER_BYTES,
                    fragment: true,
                });
            }
            number if is_extension(number) => {
                let header = Header::new_checked(number, rest)?;
                if number == protocol::ROUTING && header.segments_left() != 0 {
                    return Err(Error::Malformed("IPv6 routing header: segments left"));
                }
                next_header = header.next_header();
                bytes += header.header_bytes();
            }
            upper => return Ok(Chain { upper, bytes, fragment: false }),
        }
    }
    if is_extension(next_header) {
        return Err(Error::Malformed("IPv6 extension headers: too many"));
    }
    Ok(Chain { upper: next_header, bytes, fragment: false })
}

/// Hop-by-hop options, destination options, a routing header or an authentication header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<T> {
    number: u8,
    buffer: T,
}

impl<T: AsRef<[u8]>> Header<T> {
    /// Checks that the header lies in the buffer. `number` is what the header before called it.
    pub fn new_checked(number: u8, buffer: T) -> Result<Self, Error> {
        let header = Self { number, buffer };
        let bytes = header.buffer.as_ref().len();
        if bytes < HEADER_BYTES || bytes < header.header_bytes() {
            return Err(Error::Truncated);
        }
        Ok(header)
    }

    /// Number of what follows.
    #[inline]
    pub fn next_header(&self) -> u8 {
        byte(self.buffer.as_ref(), NEXT_HEADER)
    }

    /// Bytes of this header. Authentication headers count in 4 bytes, the others in 8.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        let length = usize::from(byte(self.buffer.as_ref(), LENGTH));
        match self.number {
            protocol::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        }
    }

    /// Routing header: nodes that are still to be visited.
    #[inline]
    pub fn segments_left(&self) -> u8 {
        byte(self.buffer.as_ref(), SEGMENTS_LEFT)
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.buffer.as_ref().get(self.header_bytes()..).unwrap_or_default()
    }
}

/// Hop-by-hop or destination options that only fill space (PadN), as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaddingRepr {
    /// Number of what follows.
    pub next_header: u8,
    /// Bytes of the header divided by 8, less 1: 0–31.
    pub length: u8,
}

impl PaddingRepr {
    /// Bytes of the header.
    #[must_use]
    pub const fn header_bytes(&self) -> usize {
        (self.length as usize + 1) * 8
    }

    /// Reads the header; options that do more than fill space are refused.
    pub fn parse<T: AsRef<[u8]>>(header: &Header<T>) -> Result<Self, Error> {
        let repr = Self { next_header: header.next_header(), length: byte(header.buffer.as_ref(), LENGTH) };
        let mut options = header.buffer.as_ref().get(2..repr.header_bytes()).ok_or(Error::Truncated)?;
        while let Some((&kind, rest)) = options.split_first() {
            const PAD1: u8 = 0;
            const PADN: u8 = 1;
            let bytes = match kind {
                PAD1 => 0,
                PADN => 1 + usize::from(byte(rest, 0)),
                _ => return Err(Error::Malformed("IPv6 option")),
            };
            options = rest.get(bytes..).ok_or(Error::Malformed("IPv6 option length"))?;
        }
        Ok(repr)
    }

    /// Writes the header to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`header_bytes`](Self::header_bytes), or `length` is over 31.
    pub fn emit(&self, buffer: &mut [u8]) {
        assert!(self.length < 32, "one PadN option fills at most 257 bytes");
        let header = &mut buffer[..self.header_bytes()];
        header.fill(0);
        put(header, NEXT_HEADER, [self.next_header, self.length]);
        put(header, 2, [1, self.length * 8 + 4]);
    }
}

view! {
    /// A fragment header.
    Fragment
}

impl<T: AsRef<[u8]>> Fragment<T> {
    /// Checks that the header is there.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Number of what the whole packet has behind this header.
    #[inline]
    pub fn next_header(&self) -> u8 {
        byte(self.bytes(), NEXT_HEADER)
    }

    /// Where the fragment belongs, in bytes; a multiple of 8.
    #[inline]
    pub fn offset_bytes(&self) -> u16 {
        be16(self.bytes(), OFFSET_MORE) & 0xFFF8
    }

    /// Not the last fragment.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        be16(self.bytes(), OFFSET_MORE) & 1 != 0
    }

    /// Identification.
    #[inline]
    pub fn identification(&self) -> u32 {
        be32(self.bytes(), IDENTIFICATION)
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// A fragment header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentRepr {
    /// Number of what the whole packet has behind this header.
    pub next_header: u8,
    /// Where the fragment belongs, in bytes; a multiple of 8.
    pub offset_bytes: u16,
    /// Not the last fragment.
    pub more_fragments: bool,
    /// Identification.
    pub identification: u32,
}

impl FragmentRepr {
    /// Reads the header. Every eight bytes are one.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(header: &Fragment<T>) -> Self {
        Self {
            next_header: header.next_header(),
            offset_bytes: header.offset_bytes(),
            more_fragments: header.more_fragments(),
            identification: header.identification(),
        }
    }

    /// Writes the header to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) {
        let header = &mut buffer[..HEADER_BYTES];
        put(header, NEXT_HEADER, [self.next_header, 0]);
        let offset_more = self.offset_bytes & 0xFFF8 | u16::from(self.more_fragments);
        put(header, OFFSET_MORE, offset_more.to_be_bytes());
        put(header, IDENTIFICATION, self.identification.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        AUTHENTICATION, DESTINATION_OPTIONS, ESP, FRAGMENT, HOP_BY_HOP, NO_NEXT_HEADER, ROUTING, UDP,
    };

    fn chain(headers: &[(u8, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(next_header, length) in headers {
            let start = bytes.len();
            bytes.resize(start + 8, 0);
            bytes[start..start + 2].copy_from_slice(&[next_header, length as u8]);
            bytes.resize(start + (length + 1) * 8, 0);
        }
        bytes
    }

    #[test]
    fn every_header_is_skipped() {
        // AH counts 4-byte words less 2: 4 there are 24 bytes, which 2 words of 8 more than the first would be.
        let mut bytes = chain(&[(ROUTING, 0), (AUTHENTICATION, 1), (DESTINATION_OPTIONS, 2), (UDP, 0)]);
        bytes[8 + 16 + 1] = 4;
        let found = skip(HOP_BY_HOP, &bytes).unwrap();
        assert_eq!(found, Chain { upper: UDP, bytes: 56, fragment: false });
    }

    #[test]
    fn no_headers_cost_nothing() {
        for upper in [UDP, ESP, NO_NEXT_HEADER, 255] {
            assert_eq!(skip(upper, &[]), Ok(Chain { upper, bytes: 0, fragment: false }));
        }
    }

    #[test]
    fn stops_at_a_fragment() {
        let bytes = chain(&[(FRAGMENT, 0), (UDP, 0), (9, 9)]);
        assert_eq!(skip(HOP_BY_HOP, &bytes), Ok(Chain { upper: UDP, bytes: 16, fragment: true }));
    }

    #[test]
    fn truncated_anywhere_is_an_error() {
        let bytes = chain(&[(ROUTING, 1), (FRAGMENT, 2), (UDP, 0)]);
        for length in 0..bytes.len() {
            assert_eq!(skip(HOP_BY_HOP, &bytes[..length]), Err(Error::Truncated), "{length} bytes");
        }
        assert!(skip(HOP_BY_HOP, &bytes).is_ok());
    }

    #[test]
    fn long_chains_and_wrong_orders_are_refused() {
        let mut headers = [(DESTINATION_OPTIONS, 0); HEADERS_MAX];
        let too_many = chain(&headers);
        assert!(matches!(skip(DESTINATION_OPTIONS, &too_many), Err(Error::Malformed(_))));
        headers[HEADERS_MAX - 1].0 = UDP;
        let just_enough = chain(&headers);
        assert_eq!(skip(DESTINATION_OPTIONS, &just_enough).map(|chain| chain.upper), Ok(UDP));
        let late = chain(&[(HOP_BY_HOP, 0), (UDP, 0)]);
        assert!(matches!(skip(DESTINATION_OPTIONS, &late), Err(Error::Malformed(_))));
        let mut on_its_way = chain(&[(UDP, 0)]);
        on_its_way[3] = 1;
        assert!(matches!(skip(ROUTING, &on_its_way), Err(Error::Malformed(_))));
        assert!(skip(DESTINATION_OPTIONS, &on_its_way).is_ok());
    }
}
