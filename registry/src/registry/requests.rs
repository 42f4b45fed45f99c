//! The queue of requests that are done later: this appliance's own, and there again after it was killed.
//!
//! A body may be longer than a value: it is kept in pieces, `requests/ID/NUMBER`, put together with the head, `requests/ID`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Registry, encode, parse};
use crate::store::{CHUNK_BYTES, Embedded, Entry, Store as _, Transaction};
use crate::{Error, LambdaKey};

const REQUESTS: &str = "requests/";

/// A request that is done later.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncRequest {
    /// What its sender knows it by.
    pub call_id: String,
    /// Whom it is for.
    pub key: LambdaKey,
    /// Its body.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// URL that its result is sent to, if anybody wants it.
    pub callback: Option<String>,
    /// Headers that go with its result, such as `traceparent`.
    pub headers: Vec<(String, String)>,
    /// When it came, ms since 1970.
    pub received_at_ms: u64,
    /// Times that it was taken.
    pub attempts: u32,
}

impl fmt::Debug for AsyncRequest {
    /// Without what its sender may not want to be seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRequest")
            .field("call_id", &self.call_id)
            .field("key", &self.key)
            .field("body_bytes", &self.body.len())
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What is known of the queue beside the store.
pub(super) struct Queue {
    next: AtomicU64,
    /// Taken, and neither finished nor released.
    taken: Mutex<BTreeSet<u64>>,
}

impl Queue {
    pub(super) async fn open(local: &Embedded) -> Result<Self, Error> {
        let last = local.list(REQUESTS).await?.entries.iter().filter_map(|entry| head_id(&entry.key)).max();
        Ok(Self { next: AtomicU64::new(last.map_or(1, |last| last + 1)), taken: Mutex::default() })
    }

    fn taken<T>(&self, change: impl FnOnce(&mut BTreeSet<u64>) -> T) -> T {
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Registry {
    /// Keeps a request; its number. How many there may be is the caller's to say.
    pub async fn push_request(&self, request: &AsyncRequest) -> Result<u64, Error> {
        let id = self.0.queue.next.fetch_add(1, Ordering::Relaxed);
        let head = head(id);
        let mut transaction = Transaction::new().put(head.as_str(), encode(&head, request)?);
        for (number, chunk) in request.body.chunks(CHUNK_BYTES).enumerate() {
            transaction = transaction.put(format!("{head}/{number:08}"), chunk);
        }
        self.0.local.commit_any(transaction, true).await?;
        Ok(id)
    }

    /// All requests that are not finished, taken ones too, in the order in which they came.
    pub async fn requests(&self) -> Result<Vec<(u64, AsyncRequest)>, Error> {
        let mut requests: Vec<(u64, AsyncRequest)> = Vec::new();
        for entry in self.0.local.list(REQUESTS).await?.entries {
            collect(&mut requests, &entry)?;
        }
        Ok(requests)
    }

    /// Takes a request, to do it: nobody else gets it until it is released, or the appliance has started again. None if it is taken or
    /// finished. That it was tried is durable before: a request that kills the appliance is counted.
    pub async fn take_request(&self, id: u64) -> Result<Option<AsyncRequest>, Error> {
        if !self.0.queue.taken(|taken| taken.insert(id)) {
            return Ok(None);
        }
        let taken = self.begin(id).await;
        if !matches!(taken, Ok(Some(_))) {
            self.release_request(id);
        }
        taken
    }

    async fn begin(&self, id: u64) -> Result<Option<AsyncRequest>, Error> {
        let head = head(id);
        let mut requests = Vec::new();
        for entry in self.0.local.list(&head).await?.entries {
            collect(&mut requests, &entry)?;
        }
        let Some((_, mut request)) = requests.pop() else { return Ok(None) };
        request.attempts = request.attempts.saturating_add(1);
        let transaction =
            Transaction::new().present(head.as_str()).put(head.as_str(), encode(&head, &request)?);
        match self.0.local.commit_any(transaction, true).await {
            Ok(_) => Ok(Some(request)),
            Err(Error::Conflict(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a request back that was taken, to be tried again.
    pub fn release_request(&self, id: u64) {
        self.0.queue.taken(|taken| taken.remove(&id));
    }

    /// Forgets a request.
    pub async fn finish_request(&self, id: u64) -> Result<(), Error> {
        let head = head(id);
        let transaction = Transaction::new().delete(head.as_str()).delete_under(format!("{head}/"));
        self.0.local.commit_any(transaction, true).await?;
        self.release_request(id);
        Ok(())
    }
}

/// Adds a head, or a piece of the last head's body: that is their order.
fn collect(requests: &mut Vec<(u64, AsyncRequest)>, entry: &Entry) -> Result<(), Error> {
    match (head_id(&entry.key), requests.last_mut()) {
        (Some(id), _) => requests.push((id, parse(entry)?.value)),
        (None, Some((_, request))) => request.body.extend_from_slice(&entry.value),
        (None, None) => {}
    }
    Ok(())
}

/// In the order of their numbers.
fn head(id: u64) -> String {
    format!("{REQUESTS}{id:016x}")
}

/// The number, if it is the key of a head.
fn head_id(key: &str) -> Option<u64> {
    u64::from_str_radix(key.strip_prefix(REQUESTS)?, 16).ok()
}
