//! Station 2: bytes to [`Parsed`]: where each header lies, and the [`Key`] that the matcher looks up.
//!
//! Nothing is copied but the key. Offsets are proven: a station that reads a header at its offset stays in bounds.
//!
//! ```text
//! Ethernet ─► 802.1Q ─► IPv4 (options)           ─► UDP ─► λ-RPC
//!                  └──► IPv6 (extension headers) ─► TCP
//! ```
//!
//! What is not in this picture ends the walk: ARP, ICMP and fragments are known by their [`Key`] and left as they are. So does
//! what no rule can want: the [`Plan`] says what that is.

mod headers;
mod interface;
mod ip;
mod key;
mod parse;
mod plan;
mod transport;

#[cfg(test)]
mod tests;

pub use headers::HeaderSet;
pub use interface::Interface;
pub use key::{Key, Present};
pub use parse::{Parsed, parse, parse_by};
pub use plan::{IpPlan, Plan, Ports};
pub use transport::complete_checksum;
