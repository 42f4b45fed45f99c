//! λ-RPC messages: what turns frames into whole requests and replies, for both ends, without I/O.
//!
//! Neither end has a socket or a clock: frames and the time in microseconds are parameters, what to send and when to look
//! again are results. So the whole protocol runs in a simulation, and the appliance, a kernel socket or an async runtime
//! can drive it.
//!
//! ```text
//!           client::Machine                               server::Server
//!  request ─► fragments, paced by grants ──── REQ ───► window ─► slot ─► Run
//!             CHAL, BUSY, NACK: again    ◄─ NACK GRANT ─┘                 │
//!  event  ◄─ buffer, bitmap              ◄─── RSP ──── out of the slot ◄─ reply
//!             ACK ───────────────────────────────────► slot, cached reply freed
//! ```
//!
//! - A fragment lands at index × size, so a message needs one bitmap and one counter, and payload moves once: from the
//!   frame to its final place.
//! - A sender has at most [`CREDIT`] fragments more on their way than the receiver has said it got: GRANT says how many
//!   fragments, in all, may have been sent.
//! - What takes memory at the server needs a cookie first, and whoever shows none gets at most [`AMPLIFICATION`] times the
//!   bytes that it sent.
//! - An at-most-once request is remembered in a window of [`WINDOW`] sequences of its session, with its reply until the ACK.
//!   The window is lost with the server; the cookie dies with it, so that a request of an earlier life cannot run again.

#![forbid(unsafe_code)]

mod bitmap;
pub mod client;
mod head;
pub mod server;
mod transfer;

pub use head::{Head, Missing, Options};
pub use transfer::Shape;

/// Most bytes of a message.
pub const MESSAGE_BYTES: u32 = 64 << 20;
/// Most fragments of a message: indices have 16 bits.
pub const FRAGMENTS: u32 = 1 << 16;
/// Sequences of one session that at-most-once requests may span: the oldest that is still open, and those after it.
pub const WINDOW: u32 = 64;
/// Fragments that may be on their way: what a sender may send without a GRANT, and what a receiver grants beyond what it has.
pub const CREDIT: u32 = 64;
/// How many times the bytes that it sent a source may get before it has shown a cookie.
pub const AMPLIFICATION: u32 = 3;
/// Bytes of a CHAL, with cookie and epoch. Only a datagram of at least this size is answered by one.
pub const CHALLENGE_BYTES: u32 = 48;
/// Longest time that a client may keep trying an at-most-once request. A server remembers for longer than that.
pub const AT_MOST_ONCE_LIFETIME_US: u64 = 30_000_000;
