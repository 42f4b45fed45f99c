//! What can go wrong between a caller and an appliance.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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
    /// The payload takes more than one fragment.
    #[error("payload of {bytes} bytes: one fragment takes at most {limit_bytes}")]
    PayloadTooLong {
        /// Bytes of the payload.
        bytes: usize,
        /// Most bytes that this address family takes.
        limit_bytes: usize,
    },
    /// The reply takes more than one fragment.
    #[error("reply of {bytes} bytes in several fragments: this client reads replies of one")]
    ReplyTooLong {
        /// Bytes of the whole reply.
        bytes: u32,
    },
    /// Nothing came in time.
    #[error("no reply from {address} after {attempts} attempts in {} ms", .waited.as_millis())]
    NoReply {
        /// Who was called.
        address: SocketAddr,
        /// How often the request was sent.
        attempts: u32,
        /// How long it took to give up.
        waited: Duration,
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
