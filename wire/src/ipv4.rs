//! IPv4 (RFC 791). Options are readable and skipped; fragments are recognised, not put together.

use core::net::Ipv4Addr;

use crate::bytes::{array, be16, byte, put, view};
use crate::{Error, checksum};

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Bytes of a header with as many options as fit.
pub const HEADER_CAPACITY: usize = 60;

/// Flags and offset: not to be fragmented.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Flags and offset: not the last fragment.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Flags and offset: where the fragment belongs, in units of 8 bytes.
pub const OFFSET_MASK: u16 = 0x1FFF;

const VERSION_WORDS: usize = 0;
const TRAFFIC_CLASS: usize = 1;
const TOTAL_BYTES: usize = 2;
const IDENTIFICATION: usize = 4;
const FLAGS_OFFSET: usize = 6;
const TTL: usize = 8;
const PROTOCOL: usize = 9;
const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

view! {
    /// A packet. Bytes behind its total length are not part of it.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks version, header length and total length.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        let packet = Packet { buffer: bytes };
        if packet.version() != 4 {
            return Err(Error::Malformed("IPv4 version"));
        }
        if packet.header_bytes() < HEADER_BYTES {
            return Err(Error::Malformed("IPv4 header length"));
        }
        if usize::from(packet.total_bytes()) < packet.header_bytes() {
            return Err(Error::Malformed("IPv4 total length"));
        }
        if usize::from(packet.total_bytes()) > bytes.len() {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Version; 4.
    #[inline]
    pub fn version(&self) -> u8 {
        byte(self.bytes(), VERSION_WORDS) >> 4
    }

    /// Bytes of header and options.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        usize::from(byte(self.bytes(), VERSION_WORDS) & 15) * 4
    }

    /// DSCP 6, ECN 2.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        byte(self.bytes(), TRAFFIC_CLASS)
    }

    /// Bytes of header, options and payload.
    #[inline]
    pub fn total_bytes(&self) -> u16 {
        be16(self.bytes(), TOTAL_BYTES)
    }

    /// Identification.
    #[inline]
    pub fn identification(&self) -> u16 {
        be16(self.bytes(), IDENTIFICATION)
    }

    /// Not to be fragmented.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        be16(self.bytes(), FLAGS_OFFSET) & DONT_FRAGMENT != 0
    }

    /// Not the last fragment.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        be16(self.bytes(), FLAGS_OFFSET) & MORE_FRAGMENTS != 0
    }

    /// Where the fragment belongs, in bytes.
    #[inline]
    pub fn fragment_offset_bytes(&self) -> u32 {
        u32::from(be16(self.bytes(), FLAGS_OFFSET) & OFFSET_MASK) * 8
    }

    /// A part of a packet: the transport header may be missing.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        be16(self.bytes(), FLAGS_OFFSET) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        byte(self.bytes(), TTL)
    }

    /// Protocol number of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        byte(self.bytes(), PROTOCOL)
    }

    /// Header checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16(self.bytes(), CHECKSUM)
    }

    /// True if the header checksum is right.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        let header = self.bytes().get(..self.header_bytes()).unwrap_or_default();
        checksum::verify(checksum::add(0, header))
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        array::<4>(self.bytes(), SOURCE).into()
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        array::<4>(self.bytes(), DESTINATION).into()
    }

    /// Options, one after the other. Ends at the end-of-options option, or where they are malformed.
    pub fn options(&self) -> Options<'_> {
        Options { rest: self.bytes().get(HEADER_BYTES..self.header_bytes()).unwrap_or_default() }
    }

    /// What follows the options, up to the total length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(self.header_bytes()..usize::from(self.total_bytes())).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, value: u8) {
        put(self.buffer.as_mut(), TRAFFIC_CLASS, [value]);
    }

    /// Sets the identification.
    #[inline]
    pub fn set_identification(&mut self, value: u16) {
        put(self.buffer.as_mut(), IDENTIFICATION, value.to_be_bytes());
    }

    /// Sets the time to live.
    #[inline]
    pub fn set_ttl(&mut self, value: u8) {
        put(self.buffer.as_mut(), TTL, [value]);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_source(&mut self, address: Ipv4Addr) {
        put(self.buffer.as_mut(), SOURCE, address.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv4Addr) {
        put(self.buffer.as_mut(), DESTINATION, address.octets());
    }

    /// Makes the header checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        put(self.buffer.as_mut(), CHECKSUM, [0, 0]);
        let header = self.bytes().get(..self.header_bytes()).unwrap_or_default();
        let sum = checksum::finish(checksum::add(0, header));
        put(self.buffer.as_mut(), CHECKSUM, sum.to_be_bytes());
    }

    /// What follows the options, up to the total length, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_bytes()..usize::from(self.total_bytes());
        self.buffer.as_mut().get_mut(range).unwrap_or_default()
    }
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderOption<'a> {
    /// Copied flag, class and number in one byte.
    pub kind: u8,
    /// What follows the length byte; empty for a no-operation.
    pub data: &'a [u8],
}

/// Iterator over options.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = HeaderOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;
        let (&kind, rest) = self.rest.split_first()?;
        if kind == NO_OPERATION {
            self.rest = rest;
            return Some(HeaderOption { kind, data: &[] });
        }
        let bytes = usize::from(byte(self.rest, 1));
        let Some(data) = self.rest.get(2..bytes).filter(|_| kind != END) else {
            self.rest = &[];
            return None;
        };
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        Some(HeaderOption { kind, data })
    }
}

/// A header without options as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// DSCP 6, ECN 2.
    pub traffic_class: u8,
    /// Identification.
    pub identification: u16,
    /// Not to be fragmented.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// Bytes of payload, at most 65,515.
    pub payload_bytes: u16,
}

impl Repr {
    /// Reads a whole packet's header; options are skipped.
    ///
    /// # Errors
    /// A wrong header checksum; a fragment, which is not a whole packet.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Error> {
        if !packet.verify_checksum() {
            return Err(Error::Checksum("IPv4 header"));
        }
        if packet.is_fragment() {
            return Err(Error::Malformed("IPv4 packet: a fragment"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 60")]
        let header_bytes = packet.header_bytes() as u16;
        Ok(Self {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            traffic_class: packet.traffic_class(),
            identification: packet.identification(),
            dont_fragment: packet.dont_fragment(),
            ttl: packet.ttl(),
            payload_bytes: packet.total_bytes().saturating_sub(header_bytes),
        })
    }

    /// Writes the header, checksum included, to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) {
        let header = &mut buffer[..HEADER_BYTES];
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        put(header, VERSION_WORDS, [0x45, self.traffic_class]);
        put(header, TOTAL_BYTES, self.payload_bytes.saturating_add(HEADER_BYTES as u16).to_be_bytes());
        put(header, IDENTIFICATION, self.identification.to_be_bytes());
        put(header, FLAGS_OFFSET, flags.to_be_bytes());
        put(header, TTL, [self.ttl, self.protocol]);
        put(header, SOURCE, self.source.octets());
        put(header, DESTINATION, self.destination.octets());
        Packet { buffer: header }.fill_checksum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [u8; 28] = [
        0x47, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // 8 bytes of options:
        1, 0x94, 4, 0, 0, 0, 9, 9,
    ];

    #[test]
    fn options_are_read_up_to_the_end() {
        let packet = Packet::new_checked(&OPTIONS[..]).unwrap();
        let options: Vec<_> = packet.options().collect();
        // Router alert behind a no-operation; the two bytes behind the end are not options.
        assert_eq!(
            options,
            [HeaderOption { kind: 1, data: &[] }, HeaderOption { kind: 0x94, data: &[0, 0] }]
        );
        assert_eq!(packet.payload(), b"");
    }

    #[test]
    fn malformed_options_end_the_iteration() {
        for bad in [[7, 0, 0, 0, 0, 0, 0, 0], [7, 1, 0, 0, 0, 0, 0, 0], [7, 9, 0, 0, 0, 0, 0, 0]] {
            let mut bytes = OPTIONS;
            bytes[20..].copy_from_slice(&bad);
            assert_eq!(Packet::new_checked(&bytes[..]).unwrap().options().count(), 0);
        }
    }

    #[test]
    fn lengths_that_contradict_are_refused() {
        let check = |at: usize, value: u8| {
            let mut bytes = OPTIONS;
            bytes[at] = value;
            Packet::new_checked(bytes).map(|_| ())
        };
        assert_eq!(check(0, 0x65), Err(Error::Malformed("IPv4 version")));
        assert_eq!(check(0, 0x44), Err(Error::Malformed("IPv4 header length")));
        assert_eq!(check(0, 0x48), Err(Error::Malformed("IPv4 total length")));
        assert_eq!(check(3, 27), Err(Error::Malformed("IPv4 total length")));
        assert_eq!(check(3, 29), Err(Error::Truncated));
        assert_eq!(check(3, 28), Ok(()));
    }

    #[test]
    fn fragments_are_recognised() {
        let fragment = |high: u8, low: u8| {
            let mut bytes = OPTIONS;
            bytes[6..8].copy_from_slice(&[high, low]);
            let packet = Packet::new_checked(bytes).unwrap();
            (packet.is_fragment(), packet.fragment_offset_bytes(), packet.more_fragments())
        };
        assert_eq!(fragment(0x40, 0), (false, 0, false));
        assert_eq!(fragment(0x20, 0), (true, 0, true));
        assert_eq!(fragment(0x00, 1), (true, 8, false));
        assert_eq!(fragment(0x3F, 0xFF), (true, 65528, true));
    }
}
