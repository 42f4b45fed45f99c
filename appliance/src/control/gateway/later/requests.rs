//! The workers: they take what waits, run it, and send the result.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use lnic_wire::rpc::Status;
use tokio::sync::Notify;
use tracing::warn;

use super::callback::Delivery;
use super::{AsyncQueue, AsyncRequest, Callbacks, QueueError, SubmitError};
use crate::control::gateway::functions::Observer;
use crate::control::gateway::message::{self, Malformed};
use crate::control::gateway::{Gateway, InvokeError, content_type};
use crate::control::plane::{LambdaKey, Target};
use crate::control::topology;

/// How often a busy lambda is asked, and a result sent, before that is given up.
const TRIES: u32 = 5;
/// How often a request is begun, over all lives of the appliance, before it is given up.
const ATTEMPTS: u32 = 3;
/// Waits between these, doubled each time.
const BUSY_WAIT: Duration = Duration::from_millis(200);
const CALLBACK_WAIT: Duration = Duration::from_millis(500);

/// Bounds of requests that are done later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests that may wait, those that are being done included.
    pub requests: usize,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How many are done at a time.
    pub in_flight: usize,
}

impl From<&topology::Gateway> for Settings {
    fn from(gateway: &topology::Gateway) -> Self {
        Self {
            requests: gateway.async_requests as usize,
            bytes: gateway.async_bytes,
            in_flight: gateway.async_in_flight as usize,
        }
    }
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Taken.
    pub submitted: u64,
    /// Not taken: too many waited.
    pub refused: u64,
    /// Done, whatever the result.
    pub done: u64,
    /// Results that were sent.
    pub delivered: u64,
    /// Results that could not be sent.
    pub undelivered: u64,
}

#[derive(Debug, Default)]
struct Counts {
    submitted: AtomicU64,
    refused: AtomicU64,
    done: AtomicU64,
    delivered: AtomicU64,
    undelivered: AtomicU64,
}

/// Finds the lambda of a request.
pub type Resolver = Box<dyn Fn(&LambdaKey) -> Option<Target> + Send + Sync>;

/// Requests that are done later.
pub struct Requests {
    settings: Settings,
    queue: Arc<dyn AsyncQueue>,
    callbacks: Callbacks,
    gateway: Arc<dyn Gateway>,
    resolve: Resolver,
    observer: Option<Observer>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    is_stopping: AtomicBool,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Numbers, and bytes of the bodies, which the queue has.
    next: VecDeque<(u64, u64)>,
    /// Those that are being done included.
    requests: usize,
    bytes: u64,
}

/// What a request takes of what may wait; given back when it is dropped.
struct Share {
    requests: Arc<Requests>,
    bytes: u64,
    /// A worker gives it back.
    is_kept: bool,
}

impl Share {
    /// From now on a worker gives it back.
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.is_kept {
            self.requests.release(self.bytes);
        }
    }
}

impl Requests {
    /// Takes up what the queue has kept. [`work`](Self::work) does it.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn open(
        settings: Settings,
        queue: Arc<dyn AsyncQueue>,
        callbacks: Callbacks,
        gateway: Arc<dyn Gateway>,
        resolve: Resolver,
        observer: Option<Observer>,
    ) -> Result<Arc<Self>, QueueError> {
        let kept = queue.list().await?;
        // What was accepted once is done, whatever the bounds are by now.
        let next: VecDeque<_> =
            kept.into_iter().map(|(id, request)| (id, request.body.len() as u64)).collect();
        let requests = next.len();
        let bytes = next.iter().map(|(_, bytes)| bytes).sum();
        Ok(Arc::new(Self {
            settings,
            queue,
            callbacks,
            gateway,
            resolve,
            observer,
            waiting: Mutex::new(Waiting { next, requests, bytes }),
            arrived: Notify::new(),
            is_stopping: AtomicBool::new(false),
            counts: Counts::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: u64) {
        let mut waiting = self.lock();
        waiting.requests -= 1;
        waiting.bytes -= bytes;
    }

    fn share(self: &Arc<Self>, bytes: u64) -> Result<Share, SubmitError> {
        if self.settings.requests == 0 {
            return Err(SubmitError::Disabled);
        }
        if self.is_stopping.load(Relaxed) {
            return Err(SubmitError::Stopping);
        }
        let mut waiting = self.lock();
        if waiting.requests >= self.settings.requests
            || waiting.bytes.saturating_add(bytes) > self.settings.bytes
        {
            self.counts.refused.fetch_add(1, Relaxed);
            return Err(SubmitError::Full { requests: waiting.requests, bytes: waiting.bytes });
        }
        waiting.requests += 1;
        waiting.bytes += bytes;
        Ok(Share { requests: Arc::clone(self), bytes, is_kept: false })
    }

    /// Takes a request, once the queue has it.
    ///
    /// # Errors
    /// [`SubmitError`] says why not.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn submit(self: &Arc<Self>, request: AsyncRequest) -> Result<(), SubmitError> {
        if let Some(url) = &request.callback {
            self.callbacks.judge(url)?;
        }
        let share = self.share(request.body.len() as u64)?;
        // Whoever asks may leave in the middle: what the queue has is then done all the same, and not left there.
        let kept = tokio::spawn(async move {
            let requests = Arc::clone(&share.requests);
            let id = requests.queue.push(&request).await?;
            share.keep();
            requests.lock().next.push_back((id, request.body.len() as u64));
            requests.counts.submitted.fetch_add(1, Relaxed);
            requests.arrived.notify_one();
            Ok::<_, QueueError>(())
        });
        Ok(kept.await.map_err(|_| SubmitError::Stopping)??)
    }

    /// Does what waits, until it is asked to stop. It runs once.
    pub async fn work(self: Arc<Self>) {
        let workers = (0..self.settings.in_flight).map(|_| self.worker());
        futures_util::future::join_all(workers).await;
    }

    /// Asks the workers to stop. What they do not finish stays in the queue.
    pub fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        for _ in 0..self.settings.in_flight {
            self.arrived.notify_one();
        }
        self.arrived.notify_waiters();
    }

    /// What became of requests.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Counters {
            submitted: get(&self.counts.submitted),
            refused: get(&self.counts.refused),
            done: get(&self.counts.done),
            delivered: get(&self.counts.delivered),
            undelivered: get(&self.counts.undelivered),
        }
    }

    /// Requests that wait or are being done.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().requests
    }

    async fn worker(self: &Arc<Self>) {
        while !self.is_stopping.load(Relaxed) {
            let arrived = self.arrived.notified();
            let next = self.lock().next.pop_front();
            let Some((id, bytes)) = next else {
                arrived.await;
                continue;
            };
            if !self.lock().next.is_empty() {
                // A permit stands for any number of arrivals.
                self.arrived.notify_one();
            }
            let is_done = match self.take(id).await {
                Some(request) => self.finish(id, request).await,
                // It is another's, or done.
                None => true,
            };
            if is_done {
                self.release(bytes);
            } else {
                self.queue.release(id);
            }
        }
    }

    /// Takes a request; asks again as long as the queue fails, and the appliance does not stop.
    async fn take(&self, id: u64) -> Option<AsyncRequest> {
        let mut tries = 1;
        loop {
            match self.queue.take(id).await {
                Ok(request) => return request,
                Err(_) if self.is_stopping.load(Relaxed) => return None,
                Err(error) => warn!("{error}"),
            }
            wait(BUSY_WAIT, tries).await;
            tries = tries.saturating_add(1);
        }
    }

    /// Does a request to its end. False if the appliance stops before.
    async fn finish(&self, id: u64, mut request: AsyncRequest) -> bool {
        let started = Instant::now();
        let body = Bytes::from(std::mem::take(&mut request.body));
        let outcome = if request.attempts > ATTEMPTS {
            warn!("call {} of lambda \"{}\": {GIVEN_UP}", request.call_id, request.key);
            Outcome::GivenUp
        } else {
            self.invoke(&request.key, body).await
        };
        if matches!(outcome, Outcome::Failed(InvokeError::Stopping)) {
            return false;
        }
        let (took, status) = (started.elapsed(), outcome.status());
        if let (Some(observer), false) =
            (&self.observer, matches!(outcome, Outcome::Unknown | Outcome::GivenUp))
        {
            observer(&request.key, status, took);
        }
        if let Some(url) = request.callback.take()
            && !self.call_back(&url, request, outcome, took).await
        {
            return false;
        }
        if let Err(error) = self.queue.finish(id).await {
            // It is done again after a restart: at least once.
            warn!("{error}");
        }
        self.counts.done.fetch_add(1, Relaxed);
        true
    }

    async fn invoke(&self, key: &LambdaKey, body: Bytes) -> Outcome {
        let Some(target) = (self.resolve)(key) else { return Outcome::Unknown };
        let mut tries = 1;
        loop {
            let error = match self.gateway.invoke(&target, body.clone(), self.gateway.limits().timeout).await
            {
                Ok(reply) => {
                    let response = message::response(target.http, message::is_head(&body), reply);
                    return response.map_or_else(Outcome::Malformed, Outcome::Done);
                }
                Err(error) => error,
            };
            let is_busy = match error {
                InvokeError::Busy => true,
                InvokeError::Status { status, .. } => status == Status::Busy.raw(),
                _ => false,
            };
            if !is_busy || tries == TRIES {
                return Outcome::Failed(error);
            }
            wait(BUSY_WAIT, tries).await;
            tries += 1;
        }
    }

    /// Sends a result. False if the appliance stops before.
    async fn call_back(&self, url: &str, request: AsyncRequest, outcome: Outcome, took: Duration) -> bool {
        let url = match self.callbacks.judge(url) {
            Ok(url) => url,
            Err(error) => {
                // It was allowed when the request was taken.
                self.counts.undelivered.fetch_add(1, Relaxed);
                warn!("call {}: {error}", request.call_id);
                return true;
            }
        };
        let mut headers = request.headers;
        headers.extend([
            ("x-call-id".to_owned(), request.call_id.clone()),
            ("x-function-name".to_owned(), request.key.to_string()),
            ("x-function-status".to_owned(), outcome.status().to_string()),
            ("x-duration-seconds".to_owned(), format!("{:.6}", took.as_secs_f64())),
        ]);
        let (content_type, body) = outcome.into_content();
        let delivery = Delivery { url, headers, content_type, body };
        let mut tries = 1;
        loop {
            match self.callbacks.deliver(&delivery).await {
                Ok(()) => {
                    self.counts.delivered.fetch_add(1, Relaxed);
                    return true;
                }
                Err(_) if self.is_stopping.load(Relaxed) => return false,
                Err(error) if !error.is_passing() || tries == TRIES => {
                    self.counts.undelivered.fetch_add(1, Relaxed);
                    let host = delivery.url.host().unwrap_or_default();
                    warn!("call {}: its result is not sent to {host}: {error}", request.call_id);
                    return true;
                }
                Err(_) => wait(CALLBACK_WAIT, tries).await,
            }
            tries += 1;
        }
    }
}

/// How a request ended.
#[derive(Debug)]
enum Outcome {
    Done(Response<Bytes>),
    /// The reply is no HTTP response, and should be one.
    Malformed(Malformed),
    Failed(InvokeError),
    /// There is no such lambda any more.
    Unknown,
    /// It was begun too often.
    GivenUp,
}

const GIVEN_UP: &str = "given up: it was begun 3 times, and each time the appliance ended before it was done";

impl Outcome {
    fn status(&self) -> u16 {
        match self {
            Self::Done(response) => response.status().as_u16(),
            Self::Malformed(_) => 502,
            Self::Failed(error) => error.http_status().as_u16(),
            Self::Unknown => 404,
            Self::GivenUp => 500,
        }
    }

    /// Its body, and what that is.
    fn into_content(self) -> (HeaderValue, Bytes) {
        let body = match self {
            Self::Done(response) => {
                let (mut head, body) = response.into_parts();
                match head.headers.remove(CONTENT_TYPE) {
                    Some(content_type) => return (content_type, body),
                    None => body,
                }
            }
            Self::Malformed(error) => format!("the lambda's reply is no HTTP response: {error}").into(),
            Self::Failed(error) => error.to_string().into(),
            Self::Unknown => "no such lambda".into(),
            Self::GivenUp => GIVEN_UP.into(),
        };
        (HeaderValue::from_static(content_type(&body)), body)
    }
}

/// Waits, longer after each try, and not as long as others.
async fn wait(first: Duration, tries: u32) {
    let longest = first * 2u32.pow(tries.min(8) - 1);
    tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::MemoryQueue;
    use super::*;
    use crate::control::topology::HttpMode;

    /// Counts what it is asked, and answers only if it may.
    struct Way {
        asked: AtomicU64,
        answers: bool,
    }

    #[async_trait]
    impl Gateway for Way {
        async fn invoke(&self, _: &Target, body: Bytes, _: Duration) -> Result<Bytes, InvokeError> {
            self.asked.fetch_add(1, Relaxed);
            if self.answers { Ok(body) } else { std::future::pending().await }
        }
    }

    /// One life of the appliance: what the lambda was asked, and what became of requests.
    async fn live(queue: &Arc<MemoryQueue>, answers: bool) -> (u64, Counters) {
        let way = Arc::new(Way { asked: AtomicU64::new(0), answers });
        let settings = Settings { requests: 4, bytes: 1024, in_flight: 1 };
        let resolve =
            Box::new(|key: &LambdaKey| Some(Target { key: key.clone(), id: 1, http: HttpMode::Body }));
        let callbacks = Callbacks::with_roots(&[], rustls::RootCertStore::empty()).unwrap();
        let requests = Requests::open(settings, queue.clone(), callbacks, way.clone(), resolve, None);
        let requests = requests.await.unwrap();
        // It ends in the middle, and what it had taken is nobody's.
        let _ = tokio::time::timeout(Duration::from_millis(100), requests.clone().work()).await;
        (1..4).for_each(|id| queue.release(id));
        (way.asked.load(Relaxed), requests.counters())
    }

    #[tokio::test]
    async fn a_request_that_ends_the_appliance_each_time_is_given_up() {
        let queue = Arc::new(MemoryQueue::default());
        let request = AsyncRequest {
            call_id: "a".into(),
            key: LambdaKey::new("default", "it"),
            body: vec![1; 8],
            callback: None,
            headers: Vec::new(),
            received_at_ms: 1,
            attempts: 0,
        };
        queue.push(&request).await.unwrap();
        for attempts in 1..=ATTEMPTS {
            assert_eq!(live(&queue, false).await, (1, Counters::default()));
            assert_eq!(queue.list().await.unwrap()[0].1.attempts, attempts);
        }
        assert_eq!(live(&queue, true).await, (0, Counters { done: 1, ..Counters::default() }));
        assert_eq!(queue.list().await.unwrap(), []);
        // One that was begun less often is done.
        queue.push(&AsyncRequest { attempts: ATTEMPTS - 1, ..request }).await.unwrap();
        assert_eq!(live(&queue, true).await.0, 1);
        assert_eq!(queue.list().await.unwrap(), []);
        assert!(Outcome::GivenUp.into_content().1.starts_with(b"given up: it was begun 3 times"));
    }
}
