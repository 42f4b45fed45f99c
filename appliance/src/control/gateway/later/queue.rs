//! A queue that lasts as long as the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{AsyncQueue, AsyncRequest, QueueError};

/// Requests in memory, for appliances without a folder for their state.
#[derive(Debug, Default)]
pub struct MemoryQueue(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    requests: BTreeMap<u64, AsyncRequest>,
    taken: BTreeSet<u64>,
}

impl MemoryQueue {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AsyncQueue for MemoryQueue {
    async fn push(&self, request: &AsyncRequest) -> Result<u64, QueueError> {
        let mut kept = self.lock();
        kept.last += 1;
        let id = kept.last;
        kept.requests.insert(id, request.clone());
        Ok(id)
    }

    async fn list(&self) -> Result<Vec<(u64, AsyncRequest)>, QueueError> {
        Ok(self.lock().requests.iter().map(|(id, request)| (*id, request.clone())).collect())
    }

    async fn take(&self, id: u64) -> Result<Option<AsyncRequest>, QueueError> {
        let Kept { requests, taken, .. } = &mut *self.lock();
        let Some(request) = requests.get_mut(&id).filter(|_| taken.insert(id)) else { return Ok(None) };
        request.attempts = request.attempts.saturating_add(1);
        Ok(Some(request.clone()))
    }

    fn release(&self, id: u64) {
        self.lock().taken.remove(&id);
    }

    async fn finish(&self, id: u64) -> Result<(), QueueError> {
        let mut kept = self.lock();
        kept.requests.remove(&id);
        kept.taken.remove(&id);
        Ok(())
    }
}
