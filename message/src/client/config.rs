//! How a client behaves, and how one request is to be sent.

use lnic_wire::rpc::{self, Status};

use crate::MESSAGE_BYTES;

/// Bounds and waits of a [`Machine`](super::Machine).
#[derive(Clone, Debug)]
pub struct Config {
    /// Requests that it takes, those that wait for their turn included.
    pub requests: usize,
    /// Of them, those that are on their way.
    pub in_flight: usize,
    /// Most bytes of a reply.
    pub reply_bytes: u32,
    /// Most bytes of all replies that are arriving.
    pub buffered_bytes: usize,
    /// Datagrams (UDP payloads) of this size pass without a probe, with fragments of [`rpc::FRAGMENT_BYTES`].
    pub datagram_bytes: u16,
    /// A request that fits a datagram of this size goes in one, probed or not: it is not worth a probe. 0: only one
    /// that fits a fragment does.
    pub single_datagram_bytes: u16,
    /// Sizes of datagrams to try with padded PINGs before larger fragments are sent, rising.
    pub probes: Vec<u16>,
    /// How long a request may take if it has no budget of its own.
    pub lifetime_us: u64,
    /// How long to wait for a word before a round trip was measured.
    pub repeat_us: u64,
    /// Shortest wait for a word: longer than a server waits before it asks for what is missing.
    pub repeat_least_us: u64,
    /// Longest wait for a word.
    pub wait_us: u64,
    /// How long a receiver waits for a missing fragment before it asks.
    pub nack_us: u64,
}

impl Config {
    /// Sizes of UDP payloads that fill an MTU of 1500 and one of 9000 over IPv4.
    pub const PROBES_IPV4: [u16; 2] = [1472, 8972];
    /// The same over IPv6.
    pub const PROBES_IPV6: [u16; 2] = [1452, 8952];
}

impl Default for Config {
    fn default() -> Self {
        Self {
            requests: 4096,
            in_flight: 256,
            reply_bytes: MESSAGE_BYTES,
            buffered_bytes: 4 * MESSAGE_BYTES as usize,
            // IPv6's smallest MTU, without its header and UDP's.
            datagram_bytes: 1232,
            single_datagram_bytes: 0,
            probes: Vec::new(),
            lifetime_us: 5_000_000,
            repeat_us: 100_000,
            repeat_least_us: 15_000,
            wait_us: 1_000_000,
            nack_us: 5_000,
        }
    }
}

/// How a request is to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions {
    /// It may run more than once.
    pub idempotent: bool,
    /// It must not run more than once.
    pub at_most_once: bool,
    /// How long it may take, in µs; the server is told what is left of it. 0 is none.
    pub budget_us: u32,
    /// How long to wait for its reply, in µs: longer than the budget, if the server's word that it was used up is wanted.
    /// 0: the budget, or [`Config::lifetime_us`] if there is none.
    pub lifetime_us: u64,
    /// 0–7, 7 first.
    pub priority: u8,
    /// W3C trace context.
    pub trace: Option<[u8; 25]>,
}

impl RequestOptions {
    pub(super) fn flags(&self) -> u16 {
        let flag = |set, flag| if set { flag } else { 0 };
        rpc::CRC
            | flag(self.idempotent, rpc::IDEMPOTENT)
            | flag(self.at_most_once, rpc::AT_MOST_ONCE)
            | u16::from(self.priority) & rpc::PRIORITY_MASK
    }

    /// Whether the server has to remember that it ran.
    pub(super) fn once(&self) -> bool {
        self.at_most_once && !self.idempotent
    }
}

/// A request of a machine: its session and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// With a reply.
    Reply(Reply),
    /// Without one.
    Failed {
        /// Which.
        id: RequestId,
        /// Why.
        failure: Failure,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// To which request.
    pub id: RequestId,
    /// How it ended. BUSY if the server was to the end.
    pub status: Status,
    /// What the lambda answered.
    pub payload: Vec<u8>,
    /// How long the lambda ran, in µs.
    pub service_us: u16,
    /// How many requests the server lets its caller have in flight.
    pub credit: u8,
    /// Trace context, if the server gave one back.
    pub trace: Option<[u8; 25]>,
    /// From the first transmission to the reply.
    pub round_trip_us: u64,
    /// Transmissions of the request: one, and one for each time that it was repeated or begun anew.
    pub attempts: u32,
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// Its time is over. It may have run.
    #[error("no reply in time")]
    DeadlineExceeded,
    /// The server has lost its state since the request was sent, and it must not run twice. It may have run.
    #[error("the server was restarted: an at-most-once request is not sent again")]
    Restarted,
    /// It has run, or may have, but the server does not have its reply any more.
    #[error("the server has forgotten the request or its reply")]
    Forgotten,
    /// The reply is longer than [`Config::reply_bytes`].
    #[error("reply of {bytes} bytes")]
    ReplyTooLong {
        /// Bytes of the reply.
        bytes: u32,
    },
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any message.
    #[error("request of {bytes} bytes: a message has at most {MESSAGE_BYTES}")]
    TooLong {
        /// Bytes of the request.
        bytes: usize,
    },
    /// There are [`Config::requests`] already.
    #[error("{requests} requests are waiting")]
    Full {
        /// How many there are.
        requests: usize,
    },
}

/// Datagrams that were not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Wrong CRC.
    pub corrupt: u64,
    /// Not λ-RPC, no CRC, or lengths that disagree.
    pub malformed: u64,
    /// Of another session.
    pub foreign: u64,
    /// About a request that has ended.
    pub late: u64,
    /// There already, or nothing that a server should say now.
    pub unexpected: u64,
    /// Fragments sent again.
    pub retransmitted: u64,
}
