//! Stand-ins for the platform where lambdas are tested: `cargo test` on the machine that they are written on. Not there on wasm32.
//!
//! ```
//! use lnic_lambda::prelude::*;
//! use lnic_lambda::testing::{Platform, Request};
//!
//! lambda! {
//!     fn greet(headers: &mut Headers, message: &mut Message) -> Verdict {
//!         let mut greeting = [0; 16];
//!         match host::environment("GREETING", &mut greeting) {
//!             Ok(greeting) => message.reply_with(headers, Status::OK, greeting),
//!             Err(_) => Verdict::Drop,
//!         }
//!     }
//! }
//!
//! Platform::new().environment("GREETING", "moin").install();
//! let reply = Request::rpc(b"").run(greet);
//! assert_eq!((reply.status(), &*reply.payload), (Some(Status::OK), &b"moin"[..]));
//! ```
//!
//! What these leave out, `lnic test` has: the real parser, matcher and deparser, budgets, and the module as it is deployed.

pub(crate) mod platform;
mod request;

pub use platform::{take_log, Platform};
pub use request::{Outcome, Request};
