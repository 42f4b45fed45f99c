//! Requests that are answered at once and done later, and whose result is sent to a URL.
//!
//! A request is done at least once: it is kept until its result was delivered or given up, so that after a restart it is done again if
//! there was no time to finish it. One that was begun several times and never finished is given up: it may be what ends the appliance.

mod callback;
mod queue;
mod requests;

use async_trait::async_trait;

pub use lnic_registry::AsyncRequest;

pub use callback::{CallbackError, Callbacks};
pub use queue::MemoryQueue;
pub use requests::{Counters, Requests, Resolver, Settings};

/// Where requests are kept until they are done. It keeps what it is given: bounds are [`Requests`]'.
#[async_trait]
pub trait AsyncQueue: Send + Sync + 'static {
    /// Keeps a request; its number. It survives what the queue promises to survive from then on.
    async fn push(&self, request: &AsyncRequest) -> Result<u64, QueueError>;
    /// Those that are not finished, oldest first, with their numbers.
    async fn list(&self) -> Result<Vec<(u64, AsyncRequest)>, QueueError>;
    /// Takes a request, to do it: with one attempt more, which survives what the queue promises to survive before this returns, so that a
    /// request that ends the appliance is counted. `None` if it is taken or finished.
    async fn take(&self, id: u64) -> Result<Option<AsyncRequest>, QueueError>;
    /// Gives back a request that was taken and not finished. Its attempt counts.
    fn release(&self, id: u64);
    /// Forgets a request. One that is not there is none's loss.
    async fn finish(&self, id: u64) -> Result<(), QueueError>;
}

/// The queue failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of asynchronous requests: {0}")]
pub struct QueueError(pub String);

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is no queue.
    #[error("asynchronous requests are disabled: [gateway] async_requests is 0")]
    Disabled,
    /// As many requests wait as may.
    #[error("{requests} requests with {bytes} bytes wait already")]
    Full {
        /// Requests that wait.
        requests: usize,
        /// Bytes of their bodies.
        bytes: u64,
    },
    /// The result must not be sent there.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// The appliance stops.
    #[error("the appliance stops")]
    Stopping,
    /// It could not be kept.
    #[error(transparent)]
    Queue(#[from] QueueError),
}
