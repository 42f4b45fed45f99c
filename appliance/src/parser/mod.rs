//! Station 2: bytes to [`Parsed`]: where each header lies, and the [`Key`] that the matcher looks up.
//!
//! Nothing is copied but the key. Offsets are proven: a station that reads a header at its offset stays in bounds.

mod interface;
mod key;
mod parse;

pub use interface::Interface;
pub use key::{Key, Present};
pub use parse::{Parsed};
