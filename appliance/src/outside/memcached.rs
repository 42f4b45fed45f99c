//! memcached's frame header (protocol.txt, "UDP protocol"), and replies of several datagrams put together.

use lnic_abi::PAYLOAD_CAPACITY;

/// Bytes of the frame header.
pub const HEADER_BYTES: usize = 8;
/// Bytes that each datagram of a reply but the last carries behind its header: its UDP payload is 1,400 bytes (memcached's
/// `UDP_MAX_PAYLOAD_SIZE`).
pub const DATAGRAM_BYTES: usize = 1400 - HEADER_BYTES;
/// Most datagrams of a reply that a lambda can be given.
const MOST_DATAGRAMS: u16 = PAYLOAD_CAPACITY.div_ceil(DATAGRAM_BYTES) as u16;

/// The frame header. Its last two bytes are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// ID of the request.
    pub request_id: u16,
    /// Number of this datagram, from 0.
    pub sequence: u16,
    /// Datagrams of the message.
    pub datagrams: u16,
}

impl Header {
    /// Of a request: they have one datagram.
    #[must_use]
    pub const fn request(request_id: u16) -> Self {
        Self { request_id, sequence: 0, datagrams: 1 }
    }

    /// Reads it from a datagram, with what follows; `None` if it is too short, or the header contradicts itself.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let header = Self { request_id: field(0), sequence: field(2), datagrams: field(4) };
        (header.sequence < header.datagrams && field(6) == 0).then_some((header, rest))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; HEADER_BYTES] {
        let [id, sequence, datagrams] =
            [self.request_id, self.sequence, self.datagrams].map(|field| field.to_be_bytes());
        [id[0], id[1], sequence[0], sequence[1], datagrams[0], datagrams[1], 0, 0]
    }
}

/// What became of a datagram of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its bytes belong here; more are to come.
    Part {
        /// Where, in the reply.
        offset: usize,
    },
    /// The same, and the reply is complete.
    Last {
        /// Where, in the reply.
        offset: usize,
    },
    /// It was there already.
    Duplicate,
    /// It contradicts its header, or the others.
    Malformed,
    /// The reply is longer than a lambda can be given.
    TooLong,
}

/// What is there of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assembly {
    /// Datagrams of the reply; 0 before the first.
    datagrams: u16,
    /// Those that came, a bit each.
    came: u32,
}

impl Assembly {
    /// Takes a datagram with so many bytes behind its header.
    pub fn take(&mut self, header: Header, bytes: usize) -> Taken {
        let is_last = header.sequence + 1 == header.datagrams;
        let fits = match (header.datagrams, is_last) {
            // However long the only one is.
            (1, _) => true,
            (_, true) => (1..=DATAGRAM_BYTES).contains(&bytes),
            (_, false) => bytes == DATAGRAM_BYTES,
        };
        if !fits || (self.datagrams != 0 && self.datagrams != header.datagrams) {
            return Taken::Malformed;
        }
        let offset = usize::from(header.sequence) * DATAGRAM_BYTES;
        if header.datagrams > MOST_DATAGRAMS || offset + bytes > PAYLOAD_CAPACITY {
            return Taken::TooLong;
        }
        let bit = 1 << header.sequence;
        if self.came & bit != 0 {
            return Taken::Duplicate;
        }
        self.datagrams = header.datagrams;
        self.came |= bit;
        if self.came.count_ones() == u32::from(self.datagrams) {
            Taken::Last { offset }
        } else {
            Taken::Part { offset }
        }
    }
}
