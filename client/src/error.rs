//! What can go wrong between a caller and an appliance.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lnic_message::client::Failure;

/// Why there is no reply. An answer with a bad status is a [`Reply`](crate::Reply), not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is no address and no host name that resolves.
    #[error("address {text:?}: {source}")]
    Address {
        /// What was given.
        text: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// ICMP port unreachable.
    #[error("{address} refuses: nothing listens on this UDP port")]
    Refused {
        /// Who was called.
        address: SocketAddr,
    },
    /// The socket fails.
    #[error("UDP socket to {address}: {source}")]
    Socket {
        /// Who was called.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The payload is longer than any message.
    #[error("payload of {bytes} bytes: a message has at most {limit_bytes}")]
    PayloadTooLong {
        /// Bytes of the payload.
        bytes: usize,
        /// Most bytes of a message.
        limit_bytes: usize,
    },
    /// There are [`Config::requests`](crate::Config::requests) already.
    #[error("{requests} calls are open")]
    TooManyCalls {
        /// How many there are.
        requests: usize,
    },
    /// Nothing came in time. The lambda may have run.
    #[error("no reply from {address} in {} ms", .waited.as_millis())]
    NoReply {
        /// Who was called.
        address: SocketAddr,
        /// How long it took to give up.
        waited: Duration,
    },
    /// The call ended before its time.
    #[error("{address}: {failure}")]
    Failed {
        /// Who was called.
        address: SocketAddr,
        /// Why.
        failure: Failure,
    },
    /// A load plan that cannot be run.
    #[error("load plan: {0}")]
    Plan(&'static str),
}

impl Error {
    /// A socket's error, with ICMP port unreachable told apart.
    pub(crate) fn socket(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            _ => Self::Socket { address, source },
        }
    }
}
