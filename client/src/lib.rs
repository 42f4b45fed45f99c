//! λ-RPC client and load generator on kernel UDP sockets, over IPv4 and IPv6.
//!
//! ```no_run
//! use lnic_client::{CallOptions, Client, resolve};
//!
//! let mut client = Client::connect(resolve("10.0.0.1")?)?;
//! let reply = client.call(7, b"hello", &CallOptions::default())?;
//! assert_eq!(reply.payload, b"HELLO");
//! # Ok::<(), lnic_client::Error>(())
//! ```
//!
//! Requests and replies are of one fragment. [`Exchange`] is the protocol of one call without socket or clock, [`Client`]
//! puts it on a socket, [`load`] keeps many requests in flight and measures them.
#![forbid(unsafe_code)]

mod address;
mod client;
mod error;
mod exchange;
pub mod load;
mod socket;

pub use address::resolve;
pub use client::{Client, Counters};
pub use error::Error;
pub use exchange::{CallOptions, Exchange, Ignored, Received, Reply, RequestId, Step};
pub use lnic_wire::rpc::Status;
pub use socket::payload_limit;
