//! Asynchronous requests in the registry: there again after a power cut.

use async_trait::async_trait;
use lnic_registry::{AsyncRequest as Record, Registry};

use crate::control::gateway::later::{AsyncQueue, AsyncRequest, QueueError};

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

fn request(record: Record) -> AsyncRequest {
    let Record { call_id, key, body, callback, headers, received_at_ms, attempts } = record;
    AsyncRequest { call_id, key, body, callback, headers, received_at_ms, attempts }
}

#[async_trait]
impl AsyncQueue for DurableQueue {
    async fn push(&self, request: &AsyncRequest) -> Result<u64, QueueError> {
        let AsyncRequest { call_id, key, body, callback, headers, received_at_ms, attempts } =
            request.clone();
        let record = Record { call_id, key, body, callback, headers, received_at_ms, attempts };
        self.0.push_request(&record).await.map_err(failed)
    }

    async fn list(&self) -> Result<Vec<(u64, AsyncRequest)>, QueueError> {
        let records = self.0.requests().await.map_err(failed)?;
        Ok(records.into_iter().map(|(id, record)| (id, request(record))).collect())
    }

    async fn take(&self, id: u64) -> Result<Option<AsyncRequest>, QueueError> {
        Ok(self.0.take_request(id).await.map_err(failed)?.map(request))
    }

    fn release(&self, id: u64) {
        self.0.release_request(id);
    }

    async fn finish(&self, id: u64) -> Result<(), QueueError> {
        self.0.finish_request(id).await.map_err(failed)
    }
}
