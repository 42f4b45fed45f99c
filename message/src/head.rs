//! Header and TLVs of a datagram as one value: what is sent before a payload, or alone.

use lnic_wire::rpc::{self, HEADER_BYTES, HEADER_CAPACITY, Header, Kind, Status, Tlv, Tlvs};

/// Most bytes of a NACK's bitmap: what a header of 15 words leaves for it.
const BITMAP_BYTES: usize = HEADER_CAPACITY - HEADER_BYTES - 2;

/// The TLVs that both ends read, by value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What a challenge gave.
    pub cookie: Option<[u8; 8]>,
    /// W3C trace context, passed on as it is.
    pub trace: Option<[u8; 25]>,
    /// Number of the server's life.
    pub epoch: Option<u32>,
}

impl Options {
    /// Reads them; the bitmap is read by [`Missing::of`].
    #[must_use]
    pub fn of(tlvs: Tlvs<'_>) -> Self {
        let mut options = Self::default();
        for tlv in tlvs {
            match tlv {
                Tlv::Cookie(cookie) => options.cookie = Some(*cookie),
                Tlv::Trace(trace) => options.trace = Some(*trace),
                Tlv::Epoch(epoch) => options.epoch = Some(epoch),
                Tlv::Bitmap(_) | Tlv::Other { .. } => {}
            }
        }
        options
    }

    /// Bytes that they take between header and payload.
    #[must_use]
    pub fn area_bytes(&self) -> usize {
        let mut tlvs = [Tlv::Epoch(0); 4];
        let count = self.tlvs(&mut tlvs, None);
        tlvs[..count].iter().map(Tlv::bytes).sum::<usize>().next_multiple_of(8)
    }

    /// Writes them in the order in which they are sent; how many there are.
    fn tlvs<'a>(&'a self, tlvs: &mut [Tlv<'a>; 4], missing: Option<&'a Missing>) -> usize {
        let missing = missing.map(Missing::bytes).filter(|bytes| !bytes.is_empty());
        let all = [
            self.cookie.as_ref().map(Tlv::Cookie),
            self.trace.as_ref().map(Tlv::Trace),
            self.epoch.map(Tlv::Epoch),
            missing.map(Tlv::Bitmap),
        ];
        let mut count = 0;
        for tlv in all.into_iter().flatten() {
            tlvs[count] = tlv;
            count += 1;
        }
        count
    }
}

/// Which fragments are missing: a bitmap, most significant bit first, from the first missing index on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    bitmap: [u8; BITMAP_BYTES],
    bytes: u8,
}

impl Missing {
    /// Most fragments that one NACK can name.
    pub const FRAGMENTS: u32 = BITMAP_BYTES as u32 * 8;
    /// Nothing named: only the index in `aux` counts.
    pub const NONE: Self = Self { bitmap: [0; BITMAP_BYTES], bytes: 0 };

    /// The bitmap of a NACK; empty if it has none.
    #[must_use]
    pub fn of(tlvs: Tlvs<'_>) -> Self {
        let mut missing = Self::NONE;
        for tlv in tlvs {
            if let Tlv::Bitmap(bytes) = tlv
                && let Some(bitmap) = missing.bitmap.get_mut(..bytes.len())
            {
                bitmap.copy_from_slice(bytes);
                missing.bytes = bytes.len() as u8;
            }
        }
        missing
    }

    /// Adds a fragment, so far from the first missing one. Whether there is room for it.
    pub(crate) fn add(&mut self, distance: u32) -> bool {
        let Some(byte) = self.bitmap.get_mut((distance / 8) as usize) else { return false };
        *byte |= 0x80 >> (distance % 8);
        self.bytes = self.bytes.max((distance / 8) as u8 + 1);
        true
    }

    /// Distances from the first missing fragment, rising.
    pub fn distances(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes().iter().zip(0_u32..).flat_map(|(&byte, at)| {
            (0..8_u32).filter(move |bit| byte << bit & 0x80 != 0).map(move |bit| at * 8 + bit)
        })
    }

    fn bytes(&self) -> &[u8] {
        &self.bitmap[..usize::from(self.bytes)]
    }
}

impl core::fmt::Debug for Missing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.distances()).finish()
    }
}

/// Header and TLVs of a datagram that is to be sent. The payload, if there is one, follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    header: Header,
    options: Options,
    missing: Missing,
}

impl Head {
    pub(crate) fn new(header: Header, options: Options) -> Self {
        Self::with_missing(header, options, Missing::NONE)
    }

    fn with_missing(mut header: Header, options: Options, missing: Missing) -> Self {
        let mut tlvs = [Tlv::Epoch(0); 4];
        let count = options.tlvs(&mut tlvs, Some(&missing));
        let area_bytes: usize = tlvs[..count].iter().map(Tlv::bytes).sum();
        header.header_bytes = HEADER_BYTES + area_bytes.next_multiple_of(8);
        Self { header, options, missing }
    }

    /// A datagram without payload about the request of `about`, which may be of either end.
    pub(crate) fn control(kind: Kind, about: &Header, aux: u32, options: Options) -> Self {
        let header = Header {
            kind,
            flags: about.flags & rpc::CRC,
            fragment_bytes: about.fragment_bytes,
            aux,
            ..Header::request(about.lambda, about.request, 0)
        };
        Self::new(header, options)
    }

    /// A NACK: the first missing fragment, and which are missing from there on.
    pub(crate) fn nack(about: &Header, first: u32, missing: Missing) -> Self {
        let head = Self::control(Kind::Nack, about, first, Options::default());
        Self::with_missing(head.header, head.options, missing)
    }

    /// A reply without payload.
    pub(crate) fn status(about: &Header, status: Status, retry_us: u16) -> Self {
        Self::new(about.reply(status, 0, retry_us, 0), Options::default())
    }

    /// The fixed header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The TLVs.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Bytes of header and TLVs: where the payload begins.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.header.header_bytes
    }

    /// Writes header and TLVs at the start of a datagram whose payload, from [`bytes`](Self::bytes) on, is in place; with a
    /// CRC if the header's flag asks for one. `None`, and nothing written, if the datagram is shorter than that.
    #[must_use]
    pub fn emit(&self, datagram: &mut [u8]) -> Option<()> {
        let area = datagram.get_mut(..self.header.header_bytes)?.get_mut(HEADER_BYTES..)?;
        let mut tlvs = [Tlv::Epoch(0); 4];
        let count = self.options.tlvs(&mut tlvs, Some(&self.missing));
        rpc::emit_tlvs(&tlvs[..count], area)?;
        if self.header.flags & rpc::CRC != 0 {
            self.header.emit_with_crc(datagram);
        } else {
            self.header.emit(datagram);
        }
        Some(())
    }
}

impl Head {
    /// Writes header and TLVs into `area`, which is [`bytes`](Self::bytes) long, for a payload that lies elsewhere: `payload` says what
    /// the CRC of all before becomes with it. `None`, and nothing written, if the area is of another length.
    #[must_use]
    pub fn emit_apart(&self, area: &mut [u8], payload: impl FnOnce(u32) -> u32) -> Option<()> {
        if area.len() != self.header.header_bytes {
            return None;
        }
        let mut tlvs = [Tlv::Epoch(0); 4];
        let count = self.options.tlvs(&mut tlvs, Some(&self.missing));
        rpc::emit_tlvs(&tlvs[..count], area.get_mut(HEADER_BYTES..)?)?;
        self.header.emit_apart(area, payload);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_no_larger_than_promised() {
        let options = Options { cookie: Some([7; 8]), epoch: Some(3), trace: None };
        let head = Head::control(Kind::Challenge, &Header::request(1, 2, 3), 0, options);
        assert_eq!(head.bytes(), crate::CHALLENGE_BYTES as usize);
    }

    #[test]
    fn a_payload_that_lies_elsewhere_has_the_same_crc() {
        let options = Options { cookie: Some([7; 8]), epoch: Some(3), trace: None };
        for flags in [0, rpc::CRC] {
            let about = Header { flags, ..Header::request(1, 2, 3) };
            for bytes in [0, 1, 513, 1400] {
                let head = Head::control(Kind::Reply, &about, 0, options);
                let payload: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
                let mut whole = vec![0; head.bytes()];
                whole.extend(&payload);
                head.emit(&mut whole).expect("fits");
                let mut area = vec![0xAA; head.bytes()];
                let crc = |crc| payload.chunks(100).fold(crc, rpc::crc_append);
                head.emit_apart(&mut area, crc).expect("the right length");
                assert_eq!(area, whole[..head.bytes()], "{bytes} bytes, flags {flags:#x}");
                area.push(0);
                assert_eq!(head.emit_apart(&mut area, |crc| crc), None);
            }
        }
    }

    #[test]
    fn a_nack_names_what_is_missing() {
        let mut missing = Missing::NONE;
        for distance in [0, 3, 9, Missing::FRAGMENTS - 1] {
            assert!(missing.add(distance));
        }
        assert!(!missing.add(Missing::FRAGMENTS));
        let about = Header { flags: rpc::CRC, ..Header::request(1, 2, 3) };
        let header = Header { kind: Kind::Nack, aux: 40, ..about };
        let head = Head::with_missing(header, Options::default(), missing);
        assert_eq!(head.bytes(), HEADER_CAPACITY);
        let mut datagram = [0xFF; HEADER_CAPACITY];
        assert_eq!(head.emit(&mut datagram[..HEADER_CAPACITY - 1]), None);
        head.emit(&mut datagram).expect("fits");
        let parsed = Header::parse(&datagram).expect("sealed");
        assert_eq!((parsed.kind, parsed.missing()), (Kind::Nack, 40));
        let read = Missing::of(parsed.tlvs(&datagram));
        assert_eq!(read.distances().collect::<Vec<_>>(), [0, 3, 9, Missing::FRAGMENTS - 1]);
    }

    #[test]
    fn options_survive_the_wire() {
        for bits in 0..8 {
            let options = Options {
                cookie: (bits & 1 != 0).then_some([1; 8]),
                trace: (bits & 2 != 0).then_some([2; 25]),
                epoch: (bits & 4 != 0).then_some(3),
            };
            let head = Head::control(Kind::Ack, &Header::request(1, 2, 3), 0, options);
            let mut datagram = vec![0; head.bytes()];
            head.emit(&mut datagram).expect("fits");
            assert_eq!(head.bytes(), HEADER_BYTES + options.area_bytes());
            let parsed = Header::parse(&datagram).expect("a header");
            assert_eq!(Options::of(parsed.tlvs(&datagram)), options);
        }
    }
}
