//! Lambdas over HTTP: requests that enter the packet path through an internal port, and wait for the reply.
//!
//! ```text
//!  http/function ─► Gateway::invoke ─► PacketGateway ─► shard: a λ-RPC client for each lambda ─► internal port ─► path
//!                                          one shard for each lcore that polls
//!  http/function ─► Gateway::submit ─► later::Requests ─► queue, workers ─► invoke ─► callback
//! ```
//!
//! To the path, a request from here is a λ-RPC message like any other. It runs at most once: the internal port loses nothing, so nothing
//! is sent twice.

mod caller;
mod functions;
pub mod later;
pub mod message;
mod network;
mod packet;
mod shard;
mod status;

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;

pub use functions::{FunctionGateway, Observer};
pub use network::Network;
pub use packet::{Counters, PacketGateway, Settings};
pub use shard::{Queue, Queues};

use super::plane::{LambdaKey, Target};
use later::{AsyncRequest, SubmitError};

/// A way into the packet path.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Sends a lambda a request and waits for its reply's payload.
    async fn invoke(&self, target: &Target, body: Bytes, timeout: Duration) -> Result<Bytes, InvokeError>;

    /// Bounds of requests.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Takes a request that is done later, with a call ID that is new.
    async fn submit(&self, _request: AsyncRequest) -> Result<(), SubmitError> {
        Err(SubmitError::Disabled)
    }

    /// Hears of each request for a lambda that there is, when it was answered: with which HTTP status, and after how long.
    fn observe(&self, _key: &LambdaKey, _status: u16, _took: Duration) {}
}

/// What a lambda's reply is, for those who read it: text if it can be.
#[must_use]
pub fn content_type(body: &[u8]) -> &'static str {
    match std::str::from_utf8(body) {
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    }
}

/// Bounds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time of a request.
    pub timeout: Duration,
    /// Largest body of a request, and of a reply.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), body_bytes: 1 << 20 }
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The lambda, or who polls for it, answered with a status that is not OK; a λ-RPC status, and after how many µs to ask again.
    #[error("the lambda answered with status {status}")]
    Status {
        /// The λ-RPC status.
        status: u8,
        /// When to ask again, µs; 0 if that makes no difference.
        retry_us: u32,
    },
    /// No reply in time.
    #[error("no reply in time")]
    TimedOut,
    /// The body is larger than the lambda or the gateway takes.
    #[error("the request has {bytes} bytes; at most {limit} can be sent")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Too many requests are on their way.
    #[error("too many requests are on their way")]
    Busy,
    /// The appliance stops.
    #[error("the appliance stops")]
    Stopping,
}
