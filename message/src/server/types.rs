//! What a server is asked and what it answers.

use core::fmt;

use lnic_wire::rpc::{Header, Status};

use super::cache::CacheId;
use super::session::SessionRef;
use crate::Head;

/// Who sent a datagram: whoever can receive there is one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// IPv6 address, or IPv4 address mapped into it.
    pub address: [u8; 16],
    /// UDP port.
    pub port: u16,
    /// Number of the interface, and VLAN, that it came in on.
    pub interface: u32,
}

/// A small number for the owner of a lambda, below [`Limits::tenants`](super::Limits::tenants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TenantId(pub u16);

/// A message slot of a lambda, as its [`Slots`] number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller is told: BUSY if a slot may be free later.
    pub status: Status,
    /// With BUSY, after how many microseconds to ask again.
    pub retry_us: u16,
}

/// The lambdas' memory, where messages of several fragments lie.
pub trait Slots {
    /// Whose lambda this is; `None` if there is none.
    fn tenant(&self, lambda: u32) -> Option<TenantId>;
    /// Takes a free slot of a lambda, for a message of so many bytes.
    ///
    /// # Errors
    /// [`Refusal`] says what the caller is told.
    fn take(&mut self, lambda: u32, bytes: u32) -> Result<SlotId, Refusal>;
    /// Copies a fragment to its place. It lies within the bytes that the slot was taken for.
    fn place(&mut self, slot: SlotId, offset: u32, bytes: &[u8]);
    /// Gives a slot back. Each slot that was taken, or handed over as a reply, is given back exactly once.
    fn free(&mut self, slot: SlotId);
}

/// Where a request came from, in the server's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing is kept of it.
    Plain,
    /// One frame, with a record in a window.
    Window(SessionRef),
    /// An exchange.
    Exchange { entry: u32, generation: u32 },
}

/// A request that runs. It is given back by [`Server::reply`](super::Server::reply) or
/// [`Server::abandon`](super::Server::abandon), once.
#[derive(Clone, Copy, Debug)]
pub struct Call<R> {
    pub(super) source: Source,
    pub(super) route: R,
    pub(super) header: Header,
    pub(super) trace: Option<[u8; 25]>,
    pub(super) tenant: TenantId,
    pub(super) origin: Origin,
    /// Bytes that may be sent for the datagram that asked.
    pub(super) allowance_bytes: u32,
    /// The source has shown a cookie.
    pub(super) validated: bool,
}

impl<R> Call<R> {
    /// The request's header, as it was in the first fragment that came.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What [`Server::frame`](super::Server::frame) was given with it.
    pub fn route(&self) -> &R {
        &self.route
    }

    /// Who sent it.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Trace context of the request.
    pub fn trace(&self) -> Option<&[u8; 25]> {
        self.trace.as_ref()
    }
}

/// Where the message of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The payload of the datagram in hand.
    Frame,
    /// A slot, complete.
    Slot {
        /// Which.
        slot: SlotId,
        /// Bytes of the message.
        bytes: u32,
    },
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Action<R> {
    /// Run the lambda.
    Run {
        /// To reply with.
        call: Call<R>,
        /// The request.
        message: Message,
    },
    /// Answer with a datagram without payload.
    Send(Head),
    /// Answer with a cached reply: this, and the payload that [`Server::cached`](super::Server::cached) copies.
    Replay(Head, CacheId),
    /// A fragment was placed, or a sender's word noted; nothing to answer.
    Kept,
    /// The caller no longer wants the reply of a request that runs.
    Cancelled {
        /// Lambda that runs it.
        lambda: u32,
        /// Its ID.
        request: u64,
    },
    /// Nothing to answer.
    Drop(Dropped),
}

/// The body of a reply.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Bytes that fit one fragment. They are copied if the reply has to be kept.
    Frame(&'a [u8]),
    /// A buffer of the lambda, which is the server's until it frees it.
    Slot {
        /// Which.
        slot: SlotId,
        /// Bytes of the reply.
        bytes: u32,
    },
}

/// What to do after a lambda has run.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Send the reply in one datagram: this before the payload.
    Reply(Head),
    /// Send this, without the payload.
    Instead(Head),
    /// [`Server::poll`](super::Server::poll) sends the reply's fragments.
    Queued,
    /// Nobody wants the reply.
    Discard,
}

/// A datagram that the server sends by itself.
#[derive(Clone, Copy, Debug)]
pub enum Transmit<R> {
    /// A datagram without payload.
    Control {
        /// To whom.
        source: Source,
        /// What [`Server::frame`](super::Server::frame) was given with a datagram of this request.
        route: R,
        /// All of it.
        head: Head,
    },
    /// A fragment of a reply.
    Fragment {
        /// To whom.
        source: Source,
        /// As above.
        route: R,
        /// Header and TLVs.
        head: Head,
        /// Where the reply lies.
        slot: SlotId,
        /// Where the fragment begins in it.
        offset: u32,
        /// Bytes of the fragment.
        bytes: u32,
    },
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a datagram was dropped without an answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Dropped {
            $($(#[$doc])* $variant,)*
        }

        impl Dropped {
            /// Every reason, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// No CRC where one is asked for.
    NoCrc = "message_no_crc",
    /// A kind that only servers send.
    Kind = "message_kind",
    /// No message has such a length, fragment size or index, or the payload has another length than they say.
    Shape = "message_shape",
    /// Not the lambda, length, fragment size or flags of the message's other fragments.
    Inconsistent = "message_inconsistent",
    /// A fragment or request that is there already.
    Duplicate = "message_duplicate",
    /// A fragment that was not granted.
    Ungranted = "message_ungranted",
    /// Refused, but another fragment of the message is answered for it.
    Refused = "message_refused",
    /// Refused, and the caller wants no reply.
    NoReply = "message_no_reply",
    /// Nothing is known of the request.
    Unknown = "message_unknown",
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages whose fragments are coming or going, that run, or whose reply is kept.
    pub exchanges: u32,
    /// Sessions with a window.
    pub sessions: u32,
    /// Bytes of cached replies.
    pub cached_bytes: usize,
    /// Deadlines.
    pub timers: u32,
}
