//! What lambdas for `lnic` are written with: the Rust side of the ABI, in safe functions.
//!
//! ```
//! #![no_std]
//! use lnic_lambda::prelude::*;
//!
//! lambda! {
//!     fn echo(headers: &mut Headers, message: &mut Message) -> Verdict {
//!         let length = message.payload().len();
//!         message.reply(headers, Status::OK, length)
//!     }
//! }
//! # fn main() {
//! # use lnic_lambda::testing::Request;
//! assert_eq!(Request::rpc(b"hello").run(echo).payload, b"hello");
//! # }
//! ```
//!
//! `lnic new NAME --lang rust` makes a folder to begin with, and `lnic build DIR` builds it. A lambda has no operating system and no heap:
//! it is `no_std`, and what it keeps between packets lies in statics. Who may run it at once follows from them: a [`Pinned`] keeps the
//! lambda on one NPU at a time, so that nothing races; atomics let all NPUs run it on the same variables; constants keep nobody from
//! anything. [`local!`], [`ctm!`], [`imem!`] and [`emem!`] say in which memory a static lies. `lnic inspect` says how that came out.
//!
//! Numbers in headers are in host byte order: `headers.ipv4.source == 0x0a00_0001` is 10.0.0.1. What a frame carries is in network byte
//! order: see [`bytes`].
//!
//! **Formatting** (`log!`, `reply_fmt`, `push_fmt`) calls functions by pointer. The platform's analysis cannot follow that, so a lambda that formats
//! counts as touching all headers and, unless placed by hand, gets its variables where it is safe and not where it is quick. Where that
//! matters, [`Text::push`] and [`Text::push_number`] do without.
//!
//! On any other machine than wasm32 the same code runs with stand-ins for the platform ([`testing`]), so that `cargo test` tests a
//! lambda. Macros of this crate export functions, which the lint `unsafe_code` takes note of: a lambda may `deny` it, not `forbid` it.
#![no_std]
#![warn(missing_docs, rust_2018_idioms, unreachable_pub)]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(not(target_arch = "wasm32"))]
extern crate std;

pub mod bytes;
mod entry;
mod fixed;
mod format;
mod headers;
pub mod host;
mod map;
mod message;
#[cfg(target_arch = "wasm32")]
mod panic;
mod ring;
pub mod simd;
mod status;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod variable;

pub use entry::Verdict;
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub use entry::{enter, enter_init};
pub use fixed::Fixed;
pub use format::Text;
pub use headers::Headers;
pub use lnic_abi as abi;
pub use map::{Full, Map};
pub use message::Message;
pub use ring::Ring;
pub use status::Status;
pub use variable::Pinned;

/// Everything that most lambdas need: `use lnic_lambda::prelude::*;`.
///
/// ```
/// use lnic_lambda::prelude::*;
/// assert_eq!(Status::OK, Status(0));
/// ```
pub mod prelude {
    pub use crate::host::{Service, ValueError};
    pub use crate::{ctm, emem, host, imem, init, lambda, local, log};
    pub use crate::{Fixed, Headers, Map, Message, Pinned, Ring, Status, Text, Verdict};
}
