//! λ-RPC version 1 over UDP: one request or reply, whole or in fragments, under a 32-byte header.
//!
//! ```text
//!  0               1               2               3
//! +---------------+-------+-------+-------------------------------+
//! | 0xA1          | type  | words | flags                         |
//! +---------------+-------+-------+-------------------------------+
//! | lambda ID                                                     |
//! +---------------------------------------------------------------+
//! | request ID: session 32, sequence 32                           |
//! |                                                               |
//! +---------------------------------------------------------------+
//! | message length                                                |
//! +-------------------------------+-------------------------------+
//! | fragment size                 | fragment index                |
//! +-------------------------------+-------------------------------+
//! | aux: budget; status, credit and service time; index; count    |
//! +---------------------------------------------------------------+
//! | CRC32C of the datagram, this field taken as zero              |
//! +---------------------------------------------------------------+
//! | TLVs up to `words` × 8 bytes, then payload                    |
//! ```
//!
//! TLVs ([`Tlv`]) are type 8, length 8, value. Their area is a whole number of 8-byte words; what the last TLV leaves of the
//! last word is zero (type 0, without a length), so there are at most 7 bytes of padding and one encoding of each list.

mod status;
#[cfg(test)]
mod tests;
mod tlv;

use core::fmt;

pub use status::Status;
use tlv::check_tlvs;
pub use tlv::{Tlv, Tlvs, emit_tlvs};

/// UDP port that λ-RPC uses unless configured otherwise.
pub const PORT: u16 = 4793;
/// First byte of a datagram: magic A, version 1.
pub const MAGIC_VERSION: u8 = 0xA1;
/// Bytes of a header without TLVs.
pub const HEADER_BYTES: usize = 32;
/// Most bytes of a header with TLVs: 15 words.
pub const HEADER_CAPACITY: usize = 15 * WORD_BYTES;
/// Fragment size that fits IPv6's smallest MTU.
pub const FRAGMENT_BYTES: u16 = 1024;
/// Largest fragment over IPv4 at an MTU of 1500.
pub const FRAGMENT_BYTES_IPV4: u16 = 1440;
/// Largest fragment over IPv6 at an MTU of 1500.
pub const FRAGMENT_BYTES_IPV6: u16 = 1420;

/// Flag: the CRC field is valid.
pub const CRC: u16 = 0x8000;
/// Flag: sent again.
pub const RTX: u16 = 0x4000;
/// Flag: may run more than once.
pub const IDEMPOTENT: u16 = 0x2000;
/// Flag: must run at most once.
pub const AT_MOST_ONCE: u16 = 0x1000;
/// Flag: no reply is wanted.
pub const NOREPLY: u16 = 0x0800;
/// Flag: congestion experienced.
pub const CE: u16 = 0x0400;
/// Flags: priority, 0–7.
pub const PRIORITY_MASK: u16 = 0x0007;

const WORD_BYTES: usize = 8;
/// Where the CRC lies in the header.
const CRC_OFFSET: usize = 28;
/// Datagrams up to this size are copied for their CRC.
const COPIED_BYTES: usize = 160;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A request, or a fragment of one.
    Request = 0,
    /// A reply, or a fragment of one.
    Reply = 1,
    /// Fragments are missing: send them again. With the count of fragments as the first missing index: nothing is missing, the
    /// request runs.
    Nack = 2,
    /// The sender may have sent so many fragments in all.
    Grant = 3,
    /// A cookie that the sender has to show, and the server's epoch, as TLVs: 48 bytes, never more than what it answers.
    Challenge = 4,
    /// The reply has arrived.
    Ack = 5,
    /// Are you there. Padded with payload, it finds out whether datagrams of its size pass. With a cookie that is not good, all
    /// zero for one, it asks for a challenge.
    Ping = 6,
    /// Here. Without payload; how many bytes of UDP payload the PING had is in aux.
    Pong = 7,
    /// The caller no longer wants the reply.
    Cancel = 8,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn new(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Request,
            1 => Self::Reply,
            2 => Self::Nack,
            3 => Self::Grant,
            4 => Self::Challenge,
            5 => Self::Ack,
            6 => Self::Ping,
            7 => Self::Pong,
            8 => Self::Cancel,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self as u8
    }
}

/// Why bytes are not a λ-RPC datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than a header, or than the header length says.
    Truncated,
    /// The first byte is not magic A, version 1.
    Version,
    /// Unknown type, header length below 4 words, or malformed TLVs.
    Header,
    /// The CRC is wrong.
    Crc,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated λ-RPC datagram",
            Self::Version => "not λ-RPC version 1",
            Self::Header => "malformed λ-RPC header",
            Self::Crc => "wrong λ-RPC CRC32C",
        })
    }
}

impl core::error::Error for Error {}

/// The header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the datagram is.
    pub kind: Kind,
    /// Bytes of header and TLVs: 32–120, a multiple of 8. The payload begins here.
    pub header_bytes: usize,
    /// [`CRC`] and the other flags, and the priority. Bits without a name are kept.
    pub flags: u16,
    /// Lambda ID.
    pub lambda: u32,
    /// Session 32, sequence 32.
    pub request: u64,
    /// Bytes of the whole message.
    pub message_length: u32,
    /// Bytes of every fragment but the last.
    pub fragment_bytes: u16,
    /// Which fragment this is; it lands at index × size.
    pub fragment_index: u16,
    /// Meaning by kind: see [`budget_us`](Header::budget_us), [`status`](Header::status), [`missing`](Header::missing).
    pub aux: u32,
    /// CRC as it lies in the datagram; valid when the flag is set.
    pub crc: u32,
}

impl Header {
    /// A request of one message. Flags, budget and CRC are zero, the fragment size is the default one.
    #[must_use]
    pub const fn request(lambda: u32, request: u64, message_length: u32) -> Self {
        Self {
            kind: Kind::Request,
            header_bytes: HEADER_BYTES,
            flags: 0,
            lambda,
            request,
            message_length,
            fragment_bytes: FRAGMENT_BYTES,
            fragment_index: 0,
            aux: 0,
            crc: 0,
        }
    }

    /// The reply to this request: its IDs, its priority, its fragment size, and a CRC if it had one.
    #[must_use]
    pub const fn reply(&self, status: Status, credit: u8, service_us: u16, message_length: u32) -> Self {
        Self {
            kind: Kind::Reply,
            header_bytes: HEADER_BYTES,
            flags: self.flags & (CRC | PRIORITY_MASK),
            lambda: self.lambda,
            request: self.request,
            message_length,
            fragment_bytes: self.fragment_bytes,
            fragment_index: 0,
            aux: reply_aux(status, credit, service_us),
            crc: 0,
        }
    }

    /// Reads and checks the header of a datagram (the whole UDP payload): version, type, lengths, TLVs, CRC.
    ///
    /// Fragment lengths are the receiver's policy: [`accepts`](Header::accepts). Benchmark: `rpc::tests::parse_cost`.
    ///
    /// # Errors
    /// [`Error`] says which check failed.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Self, Error> {
        Self::read(datagram, true)
    }

    /// The same of a datagram whose CRC was checked before.
    ///
    /// # Errors
    /// [`Error`] says which check failed.
    #[inline]
    pub fn parse_again(datagram: &[u8]) -> Result<Self, Error> {
        Self::read(datagram, false)
    }

    /// One walk for both: what is read is compared where it is.
    #[inline(always)]
    fn read(datagram: &[u8], check_crc: bool) -> Result<Self, Error> {
        let Some((fixed, rest)) = datagram.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Error::Truncated);
        };
        if fixed[0] != MAGIC_VERSION {
            return Err(Error::Version);
        }
        let Some(kind) = Kind::new(fixed[1] >> 4) else { return Err(Error::Header) };
        let header_bytes = usize::from(fixed[1] & 0xf) * WORD_BYTES;
        if header_bytes < HEADER_BYTES {
            return Err(Error::Header);
        }
        if header_bytes > HEADER_BYTES {
            let area = rest.get(..header_bytes - HEADER_BYTES).ok_or(Error::Truncated)?;
            check_tlvs(area)?;
        }
        let header = Self {
            kind,
            header_bytes,
            flags: be16(fixed, 2),
            lambda: be32(fixed, 4),
            request: u64::from(be32(fixed, 8)) << 32 | u64::from(be32(fixed, 12)),
            message_length: be32(fixed, 16),
            fragment_bytes: be16(fixed, 20),
            fragment_index: be16(fixed, 22),
            aux: be32(fixed, 24),
            crc: be32(fixed, CRC_OFFSET),
        };
        if check_crc && header.flags & CRC != 0 && crc_of(fixed, rest) != header.crc {
            return Err(Error::Crc);
        }
        Ok(header)
    }

    /// Writes the header without its TLVs, the CRC as the field says.
    ///
    /// # Panics
    /// If `buf` is shorter than [`HEADER_BYTES`], or `header_bytes` is not a multiple of 8 from 32 to 120.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) {
        assert!(
            self.header_bytes >= HEADER_BYTES
                && self.header_bytes <= HEADER_CAPACITY
                && self.header_bytes.is_multiple_of(WORD_BYTES),
            "λ-RPC header of {} bytes",
            self.header_bytes
        );
        let buf: &mut [u8; HEADER_BYTES] = buf.first_chunk_mut().expect("room for a λ-RPC header");
        *buf = self.to_bytes();
    }

    /// The header as four words, which are written and read whole: a wide read after narrow writes would wait for them.
    #[inline]
    const fn words(&self) -> [u64; HEADER_BYTES / WORD_BYTES] {
        let first = [MAGIC_VERSION, self.kind.raw() << 4 | (self.header_bytes / WORD_BYTES) as u8];
        [
            (u16::from_be_bytes(first) as u64) << 48 | (self.flags as u64) << 32 | self.lambda as u64,
            self.request,
            (self.message_length as u64) << 32
                | (self.fragment_bytes as u64) << 16
                | self.fragment_index as u64,
            (self.aux as u64) << 32 | self.crc as u64,
        ]
    }

    #[inline]
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        for (chunk, word) in bytes.as_chunks_mut::<WORD_BYTES>().0.iter_mut().zip(self.words()) {
            *chunk = word.to_be_bytes();
        }
        bytes
    }

    /// The header with the CRC flag and the CRC of a datagram whose TLVs and payload are `rest`.
    #[inline]
    #[must_use]
    pub fn sealed(mut self, rest: &[u8]) -> Self {
        self.flags |= CRC;
        self.crc = 0;
        self.crc = crc_of(&self.to_bytes(), rest);
        self
    }

    /// Sum of the header's 32 bytes for the Internet checksum, from its fields: nothing is read back.
    #[inline]
    #[must_use]
    pub const fn sum(&self) -> u64 {
        let words = self.words();
        let mut sum = 0;
        let mut at = 0;
        // 2^16 ≡ 1: a 64-bit word counts as its two halves.
        while at < words.len() {
            sum += (words[at] >> 32) + (words[at] & 0xFFFF_FFFF);
            at += 1;
        }
        sum
    }

    /// Writes the header before TLVs and payload that are in place, and [seals](seal) the datagram.
    ///
    /// # Panics
    /// As [`emit`](Header::emit).
    #[inline]
    pub fn emit_with_crc(&self, datagram: &mut [u8]) {
        self.emit(datagram);
        seal(datagram);
    }

    /// Writes the header in front of its TLVs, which are in place; `payload` lies elsewhere, and says what the CRC of all before
    /// becomes with it. Only if the flag asks for a CRC.
    ///
    /// # Panics
    /// As [`emit`](Header::emit).
    pub fn emit_apart(&self, area: &mut [u8], payload: impl FnOnce(u32) -> u32) {
        self.emit(area);
        if self.flags & CRC == 0 {
            return;
        }
        let (fixed, tlvs) = area.split_first_chunk_mut::<HEADER_BYTES>().expect("a λ-RPC header");
        let crc = payload(crc_of(fixed, tlvs));
        fixed[CRC_OFFSET..].copy_from_slice(&crc.to_be_bytes());
    }

    /// Request: budget in µs, relative; 0 is none.
    #[must_use]
    pub const fn budget_us(&self) -> u32 {
        self.aux
    }

    /// Reply: how the request ended.
    #[must_use]
    pub const fn status(&self) -> Status {
        Status::new((self.aux >> 24) as u8)
    }

    /// Reply: how many requests the caller may have in flight.
    #[must_use]
    pub const fn credit(&self) -> u8 {
        (self.aux >> 16) as u8
    }

    /// Reply: how long the lambda ran, in µs.
    #[must_use]
    pub const fn service_us(&self) -> u16 {
        self.aux as u16
    }

    /// NACK: index of the first missing fragment.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.aux
    }

    /// GRANT: how many fragments of the message may have been sent in all.
    #[must_use]
    pub const fn granted(&self) -> u32 {
        self.aux
    }

    /// PONG: bytes of UDP payload of the PING that it answers.
    #[must_use]
    pub const fn heard_bytes(&self) -> u32 {
        self.aux
    }

    /// Session of the request ID.
    #[must_use]
    pub const fn session(&self) -> u32 {
        (self.request >> 32) as u32
    }

    /// Sequence of the request ID.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.request as u32
    }

    /// Priority, 0–7.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        (self.flags & PRIORITY_MASK) as u8
    }

    /// Whether this one datagram is the whole message.
    #[must_use]
    pub const fn is_single_fragment(&self) -> bool {
        self.fragment_index == 0 && self.message_length <= self.fragment_bytes as u32
    }

    /// Fragments of the message: at least one. `None` if a message with bytes has fragments without.
    #[must_use]
    pub const fn fragments(&self) -> Option<u32> {
        match (self.message_length, self.fragment_bytes) {
            (0, _) => Some(1),
            (_, 0) => None,
            (length, size) => Some(length.div_ceil(size as u32)),
        }
    }

    /// Bytes of payload that this fragment must have: the fragment size, or what remains for the last one.
    /// `None` if the message has no such fragment.
    #[must_use]
    pub const fn payload_bytes(&self) -> Option<u16> {
        let offset = self.fragment_index as u32 * self.fragment_bytes as u32;
        if offset >= self.message_length && self.fragment_index != 0 {
            return None;
        }
        let remains = self.message_length - offset;
        if remains < self.fragment_bytes as u32 {
            Some(remains as u16)
        } else if self.fragment_bytes == 0 && remains != 0 {
            None
        } else {
            Some(self.fragment_bytes)
        }
    }

    /// Whether a fragment with this header may have a payload of so many bytes; anything else is refused.
    #[must_use]
    pub fn accepts(&self, payload_bytes: usize) -> bool {
        self.payload_bytes().is_some_and(|bytes| usize::from(bytes) == payload_bytes)
    }

    /// The datagram's payload, without header and TLVs; empty if the datagram is shorter than its header.
    #[must_use]
    pub fn payload<'a>(&self, datagram: &'a [u8]) -> &'a [u8] {
        datagram.get(self.header_bytes..).unwrap_or_default()
    }

    /// The datagram's TLVs.
    #[must_use]
    pub fn tlvs<'a>(&self, datagram: &'a [u8]) -> Tlvs<'a> {
        Tlvs { area: datagram.get(HEADER_BYTES..self.header_bytes).unwrap_or_default() }
    }
}

/// A reply's aux field.
#[must_use]
pub const fn reply_aux(status: Status, credit: u8, service_us: u16) -> u32 {
    (status.raw() as u32) << 24 | (credit as u32) << 16 | service_us as u32
}

/// Sets the CRC flag and the CRC of a datagram that is otherwise complete.
///
/// # Panics
/// If it is shorter than [`HEADER_BYTES`].
#[inline]
pub fn seal(datagram: &mut [u8]) {
    let (fixed, rest) = datagram.split_first_chunk_mut::<HEADER_BYTES>().expect("a λ-RPC header");
    fixed[2] |= (CRC >> 8) as u8;
    let crc = crc_of(fixed, rest);
    fixed[CRC_OFFSET..].copy_from_slice(&crc.to_be_bytes());
}

/// A CRC that goes on over further bytes.
#[inline]
#[must_use]
pub fn crc_append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// CRC32C over the header with its CRC field zero, and the rest.
///
/// Each call of the CRC costs about 10 ns before its first byte, and more for bytes outside 8-byte alignment. So a small
/// datagram is copied and takes one call; of a large one only the header is copied, and the rest read in place. Three
/// calls, around the field, would cost 20 ns more. Measured by `rpc::tests::parse_cost`.
#[inline]
fn crc_of(fixed: &[u8; HEADER_BYTES], rest: &[u8]) -> u32 {
    #[repr(align(8))]
    struct Aligned([u8; COPIED_BYTES]);

    let mut copy = Aligned([0; COPIED_BYTES]);
    copy.0[..CRC_OFFSET].copy_from_slice(&fixed[..CRC_OFFSET]);
    let bytes = HEADER_BYTES + rest.len();
    if let Some(tail) = copy.0.get_mut(HEADER_BYTES..bytes) {
        tail.copy_from_slice(rest);
        crc32c::crc32c(&copy.0[..bytes])
    } else {
        crc32c::crc32c_append(crc32c::crc32c(&copy.0[..HEADER_BYTES]), rest)
    }
}

fn be16(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
