//! Asynchronous requests in the registry: there again after a power cut.

use async_trait::async_trait;
use lnic_registry::{AsyncRequest, Registry};

use crate::control::gateway::later::{AsyncQueue, QueueError};

/// Keeps asynchronous requests in the registry, which forgets them with the appliance only if it is in memory.
pub struct DurableQueue(Registry);

impl DurableQueue {
    /// In this registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(registry)
    }
}

fn failed(error: lnic_registry::Error) -> QueueError {
    QueueError(error.to_string())
}

#[async_trait]
impl AsyncQueue for DurableQueue {
    async fn push(&self, request: &AsyncRequest) -> Result<u64, QueueError> {
        self.0.push_request(request).await.map_err(failed)
    }

    async fn list(&self) -> Result<Vec<(u64, AsyncRequest)>, QueueError> {
        self.0.requests().await.map_err(failed)
    }

    async fn take(&self, id: u64) -> Result<Option<AsyncRequest>, QueueError> {
        self.0.take_request(id).await.map_err(failed)
    }

    fn release(&self, id: u64) {
        self.0.release_request(id);
    }

    async fn finish(&self, id: u64) -> Result<(), QueueError> {
        self.0.finish_request(id).await.map_err(failed)
    }
}
