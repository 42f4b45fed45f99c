//! What a call is given, and what it gives.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lnic_message::client::{self, Config, RequestOptions};
use lnic_wire::rpc::{self, Status};

/// How to call.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// How long to wait for the reply. At-most-once calls wait 30 s at most: no server remembers them for ever.
    pub timeout: Duration,
    /// Budget that the appliance is told, in µs; 0 is none. What is sent again carries what is left of it.
    pub budget_us: u32,
    /// The lambda may run more than once, whatever else is asked for.
    pub idempotent: bool,
    /// The lambda must not run twice.
    pub at_most_once: bool,
    /// 0–7, 7 first.
    pub priority: u8,
    /// W3C trace context: version 1, trace ID 16, parent ID 8 bytes.
    pub trace: Option<[u8; 25]>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            budget_us: 0,
            idempotent: false,
            at_most_once: false,
            priority: 0,
            trace: None,
        }
    }
}

impl CallOptions {
    /// As the state machine takes them.
    pub(crate) fn request(&self) -> RequestOptions {
        RequestOptions {
            idempotent: self.idempotent,
            at_most_once: self.at_most_once,
            budget_us: self.budget_us,
            // 0 would mean the machine's own.
            lifetime_us: u64::try_from(self.timeout.as_micros()).unwrap_or(u64::MAX).max(1),
            priority: self.priority,
            trace: self.trace,
        }
    }
}

/// Bounds and waits for calls to this address, at an MTU of 1500: what [`Client::connect`](crate::Client::connect) takes.
///
/// Larger fragments are sent once a probe of their size has passed, up to an MTU of 9000; without
/// [`probes`](Config::probes), never.
#[must_use]
pub fn config_for(address: SocketAddr) -> Config {
    let probes = match address {
        SocketAddr::V4(_) => Config::PROBES_IPV4,
        SocketAddr::V6(_) => Config::PROBES_IPV6,
    };
    Config { single_datagram_bytes: probes[0], probes: probes.to_vec(), ..Config::default() }
}

/// Bytes of a request: owned, or shared by several.
#[derive(Clone)]
pub struct Payload(Bytes);

#[derive(Clone)]
enum Bytes {
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.as_ref().len())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Owned(bytes))
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Bytes::Shared(bytes))
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Payload {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How the request ended. [`Status::Busy`] if the appliance was busy until the timeout.
    pub status: Status,
    /// What the lambda answered.
    pub payload: Vec<u8>,
    /// How long the lambda ran, in µs.
    pub service_us: u16,
    /// How many requests the appliance lets the caller have in flight.
    pub credit: u8,
    /// Trace context, if the appliance gave one back.
    pub trace: Option<[u8; 25]>,
    /// From the first transmission to the reply.
    pub round_trip: Duration,
    /// Transmissions of the request: one, and one for each time that it was repeated or begun anew.
    pub attempts: u32,
}

impl From<client::Reply> for Reply {
    fn from(reply: client::Reply) -> Self {
        Self {
            status: reply.status,
            payload: reply.payload,
            service_us: reply.service_us,
            credit: reply.credit,
            trace: reply.trace,
            round_trip: Duration::from_micros(reply.round_trip_us),
            attempts: reply.attempts,
        }
    }
}

/// The header of a request of one fragment, without ID, budget and CRC; `None` if it takes several.
pub(crate) fn single_header(
    lambda: u32,
    bytes: usize,
    flags: u16,
    limit_bytes: usize,
) -> Option<rpc::Header> {
    let message_length = u16::try_from(bytes).ok().filter(|_| bytes <= limit_bytes)?;
    Some(rpc::Header {
        flags: flags & !(rpc::RTX | rpc::NOREPLY) | rpc::CRC,
        fragment_bytes: message_length.max(rpc::FRAGMENT_BYTES),
        ..rpc::Header::request(lambda, 0, u32::from(message_length))
    })
}
