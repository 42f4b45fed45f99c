//! Station 2: bytes to [`Parsed`]: where each header lies, and the [`Key`] that the matcher looks up.
//!
//! Nothing is copied but the key. Offsets are proven: a station that reads a header at its offset stays in bounds.
//!
//! ```text
//! Ethernet ─► 802.1Q ─► IPv4 (options)           ─► UDP ─► λ-RPC
//!                  └──► IPv6 (extension headers) ─► TCP
//! ```
//!
//! What is not in this picture ends the walk: ARP, ICMP and fragments are known by their [`Key`] and left as they are.

mod interface;
mod ip;
mod key;
mod parse;
mod transport;

#[cfg(test)]
mod tests;

pub use interface::Interface;
pub use key::{Key, Present};
pub use parse::{Parsed, parse};
pub use transport::complete_checksum;
