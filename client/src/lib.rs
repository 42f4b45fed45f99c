//! λ-RPC client and load generator on kernel UDP sockets, over IPv4 and IPv6.
//!
//! ```
//! # use std::net::UdpSocket;
//! # use lnic_wire::rpc::Header;
//! # let server = UdpSocket::bind("127.0.0.1:0")?;
//! # let address = server.local_addr()?.to_string();
//! # std::thread::spawn(move || {
//! #     let mut buffer = [0; 2048];
//! #     while let Ok((bytes, from)) = server.recv_from(&mut buffer) {
//! #         let request = Header::parse(&buffer[..bytes]).expect("a request");
//! #         let payload = request.payload(&buffer[..bytes]).to_ascii_uppercase();
//! #         let reply = request.reply(lnic_client::Status::Ok, 1, 2, payload.len() as u32);
//! #         let mut datagram = [&[0; 32], &payload[..]].concat();
//! #         reply.emit_with_crc(&mut datagram);
//! #         server.send_to(&datagram, from).expect("sent");
//! #     }
//! # });
//! use std::time::Duration;
//!
//! use lnic_client::{CallOptions, Client, Status, resolve};
//!
//! // An appliance on this machine; one elsewhere is `resolve("10.0.0.1")?`.
//! let mut client = Client::connect(resolve(&address)?)?;
//!
//! // One call.
//! let reply = client.call(7, "hello", &CallOptions::default())?;
//! assert_eq!((reply.status, &reply.payload[..]), (Status::Ok, &b"HELLO"[..]));
//!
//! // Many at a time: each ends once, in any order.
//! let options = CallOptions { timeout: Duration::from_secs(1), ..CallOptions::default() };
//! for word in ["to", "be", "or"] {
//!     client.start(7, word, &options)?;
//! }
//! while let Some((_, result)) = client.wait() {
//!     assert_eq!(result?.status, Status::Ok);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Requests and replies have up to 64 MiB. [`Client`] blocks; [`AsyncClient`] (feature `async`) is the same for tokio, and
//! many tasks may share it. Both put `lnic-message`'s state machine on a socket: fragments, cookies, retransmission and
//! waiting for a busy server are the machine's, and [`Config`] bounds them. [`load`] keeps many requests in flight and
//! measures them.
#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "async")]
mod asynchronous;
mod calls;
mod client;
mod datagrams;
mod error;
pub mod load;
mod options;
mod socket;

pub use address::resolve;
#[cfg(feature = "async")]
pub use asynchronous::AsyncClient;
pub use client::Client;
pub use error::Error;
pub use lnic_message::MESSAGE_BYTES;
pub use lnic_message::client::{Config, Counters, Failure, RequestId};
pub use lnic_wire::rpc::Status;
pub use options::{CallOptions, Payload, Reply, config_for};
pub use socket::payload_limit;
