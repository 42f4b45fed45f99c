//! Headers on the wire, Ethernet to λ-RPC. No I/O, no allocation, no `unsafe`.
//!
//! Every protocol has the same two faces:
//!
//! - a *view* over bytes (`Packet`, `Frame`, …): `new_checked` proves the lengths once, then accessors read single fields, and
//!   setters write them if the bytes are mutable. No input makes an accessor panic or read outside the buffer;
//! - a *value*, `Repr`: `parse` reads a whole header and refuses what makes no sense, `emit` writes it, checksum included.
//!   `parse` after `emit` gives the same value.
//!
//! ```
//! use lnic_wire::{checksum, ipv4, protocol, udp};
//!
//! let ip = ipv4::Repr {
//!     source: [10, 0, 0, 1].into(),
//!     destination: [10, 0, 0, 2].into(),
//!     protocol: protocol::UDP,
//!     traffic_class: 0,
//!     identification: 0,
//!     dont_fragment: true,
//!     ttl: 64,
//!     payload_bytes: 8 + 5,
//! };
//! let mut bytes = [0; 20 + 8 + 5];
//! ip.emit(&mut bytes);
//! bytes[28..].copy_from_slice(b"hello");
//! let pseudo = checksum::pseudo_ipv4(ip.source, ip.destination, protocol::UDP, 13);
//! udp::Repr { source_port: 4000, destination_port: 4793 }.emit(&mut bytes[20..], pseudo);
//!
//! let ip = ipv4::Packet::new_checked(&bytes[..])?;
//! let udp = udp::Packet::new_checked(ip.payload())?;
//! assert!(udp.verify_checksum(pseudo));
//! assert_eq!(udp.payload(), b"hello");
//! # Ok::<(), lnic_wire::Error>(())
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod bytes;
mod error;

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_extension;
pub mod ndp;
pub mod protocol;
pub mod rpc;
pub mod tcp;
pub mod udp;
pub mod vlan;

#[cfg(test)]
mod properties;

pub use error::Error;
