//! The gateway: requests from any task, spread over the queues of the internal port, and the one task that takes the replies.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::Bytes;
use lnic_message::client;
use lnic_wire::rpc::Status;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::oneshot::Receiver;

use super::caller::{CallerConfig, Outcome};
use super::shard::{Queues, Shard};
use super::{Gateway, InvokeError, Limits};
use crate::control::plane::Target;
use crate::control::topology;
use crate::handoff::Doorbell;

/// How long replies are polled for after the last one before the task sleeps: a lambda on an lcore that is awake answers sooner, and
/// neither side then pays for a system call.
const SPIN: Duration = Duration::from_micros(50);
/// How long a request that is alone polls for its reply itself.
const DIRECT: Duration = Duration::from_micros(6);
/// Longest sleep.
const SLEEP: Duration = Duration::from_secs(1);

/// Bounds of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest time of a request, and largest body.
    pub limits: Limits,
    /// Requests on their way at a time.
    pub in_flight: u32,
}

impl From<&topology::Gateway> for Settings {
    fn from(gateway: &topology::Gateway) -> Self {
        let timeout = Duration::from_millis(gateway.timeout_ms.into());
        let limits = Limits { timeout, body_bytes: gateway.body_bytes as usize };
        Self { limits, in_flight: gateway.in_flight }
    }
}

/// Frames that came from lcores and were of no use, and what was sent again. None of them changes what a request is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// No λ-RPC for a caller that there is.
    pub unmatched: u64,
    /// About a request that has ended.
    pub late: u64,
    /// Of another session, malformed, corrupt, or nothing that a server should say.
    pub refused: u64,
    /// Fragments that were sent again.
    pub retransmitted: u64,
}

impl Counters {
    pub(super) fn with(self, more: &client::Counters) -> Self {
        Self {
            unmatched: self.unmatched,
            late: self.late + more.late,
            refused: self.refused + more.corrupt + more.malformed + more.foreign + more.unexpected,
            retransmitted: self.retransmitted + more.retransmitted,
        }
    }

    fn plus(self, more: &Self) -> Self {
        Self {
            unmatched: self.unmatched + more.unmatched,
            late: self.late + more.late,
            refused: self.refused + more.refused,
            retransmitted: self.retransmitted + more.retransmitted,
        }
    }
}

/// The way into the packet path over the internal port. Shared by all connections; [`drive`](Self::drive) has to run beside them.
pub struct PacketGateway {
    shards: Vec<Shard>,
    settings: Settings,
    /// Bytes of a body that goes in one frame.
    single_bytes: usize,
    started: Instant,
    open: AtomicU32,
    next: AtomicUsize,
    is_closed: AtomicBool,
    bell: Doorbell,
    /// There is a request whose reply the driver should expect.
    expected: Notify,
}

/// One of the requests that may be on their way.
struct Turn<'a> {
    gateway: &'a PacketGateway,
    has_ended: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gateway.open.fetch_sub(1, Relaxed);
        if !self.has_ended {
            // The lambda is to be told that nobody waits.
            self.gateway.expected.notify_one();
        }
    }
}

/// Registers a descriptor with the runtime.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe; this descriptor is owned, and stays open as long as it is registered"
)]
fn registered(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

impl PacketGateway {
    /// A gateway over the control side of the internal port.
    #[must_use]
    pub fn new(queues: Queues, settings: Settings) -> Arc<Self> {
        let Queues { network, bell, queues } = queues;
        let body_bytes = u32::try_from(settings.limits.body_bytes).unwrap_or(u32::MAX);
        let config = CallerConfig::new(network.datagram_bytes(), settings.in_flight, body_bytes);
        Arc::new(Self {
            single_bytes: config.single_bytes(),
            shards: queues.into_iter().map(|queue| Shard::new(queue, network, config.clone())).collect(),
            settings,
            started: Instant::now(),
            open: AtomicU32::new(0),
            next: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            bell,
            expected: Notify::new(),
        })
    }

    /// Takes replies until the gateway is closed. It runs once, as a task of the runtime that serves HTTP.
    pub async fn drive(self: Arc<Self>) -> io::Result<()> {
        let readable = registered(self.bell.as_fd().try_clone_to_owned()?)?;
        while !self.is_closed.load(Relaxed) {
            self.poll_while_expected().await;
            self.bell.announce_sleep();
            // What came before that would wake nobody.
            if self.poll() {
                self.bell.retract_sleep();
                continue;
            }
            let now_us = self.now_us();
            let due_us = self.shards.iter().filter_map(|shard| shard.due_us(now_us)).min();
            let sleep = due_us.map_or(SLEEP, |due_us| Duration::from_micros(due_us.saturating_sub(now_us)));
            tokio::select! {
                ready = readable.readable() => {
                    self.bell.answer();
                    ready?.clear_ready();
                }
                () = self.expected.notified() => {}
                () = tokio::time::sleep(sleep.min(SLEEP)) => {}
            }
            self.bell.retract_sleep();
        }
        Ok(())
    }

    /// Polls, as long as a reply may come soon. Other tasks have their turn in between, and so has the kernel's side of connections.
    async fn poll_while_expected(&self) {
        let mut last = Instant::now();
        loop {
            if self.poll() {
                last = Instant::now();
            } else if self.open.load(Relaxed) == 0 || last.elapsed() >= SPIN {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Polls for the reply of the only request that is on its way, for as long as a short lambda on an lcore that is awake may take:
    /// nobody else waits for this thread's requests, and two changes of tasks are saved.
    fn poll_for(&self, shard: &Shard, outcome: &mut Receiver<Outcome>) -> Option<Outcome> {
        let since = Instant::now();
        while self.open.load(Relaxed) == 1 && since.elapsed() < DIRECT {
            if shard.poll(self.now_us())
                && let Ok(outcome) = outcome.try_recv()
            {
                return Some(outcome);
            }
            std::hint::spin_loop();
        }
        None
    }

    fn poll(&self) -> bool {
        let now_us = self.now_us();
        self.shards.iter().fold(false, |any, shard| shard.poll(now_us) | any)
    }

    /// Ends everything: what is under way and what comes is told that the appliance stops.
    pub fn close(&self) {
        self.is_closed.store(true, Relaxed);
        for shard in &self.shards {
            shard.close();
        }
        self.expected.notify_one();
    }

    /// Requests on their way.
    #[must_use]
    pub fn open_requests(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// What came that was of no use.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shards.iter().fold(Counters::default(), |sum, shard| sum.plus(&shard.counters()))
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn turn(&self) -> Result<Turn<'_>, InvokeError> {
        let before = self.open.fetch_add(1, Relaxed);
        let turn = Turn { gateway: self, has_ended: false };
        if before >= self.settings.in_flight { Err(InvokeError::Busy) } else { Ok(turn) }
    }

    /// What `Status` means for a body of this length.
    fn judge(&self, error: InvokeError, bytes: usize) -> InvokeError {
        match error {
            // A lambda without slots.
            InvokeError::Status { status, .. }
                if status == Status::Unimplemented.raw() && bytes > self.single_bytes =>
            {
                InvokeError::TooLarge { bytes, limit: self.single_bytes }
            }
            error => error,
        }
    }
}

#[async_trait]
impl Gateway for PacketGateway {
    async fn invoke(&self, target: &Target, body: Bytes, timeout: Duration) -> Result<Bytes, InvokeError> {
        let (bytes, limit) = (body.len(), self.settings.limits.body_bytes);
        if bytes > limit {
            return Err(InvokeError::TooLarge { bytes, limit });
        }
        let mut turn = self.turn()?;
        if self.is_closed.load(Relaxed) {
            return Err(InvokeError::Stopping);
        }
        let at = self.next.fetch_add(1, Relaxed) % self.shards.len().max(1);
        let shard = self.shards.get(at).ok_or(InvokeError::Stopping)?;
        let timeout = timeout.min(self.settings.limits.timeout);
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        // The driver will look, and need not be rung for.
        self.bell.retract_sleep();
        let (open, mut outcome) = shard.start(self.now_us(), target.id, body, timeout_us)?;
        let outcome = match self.poll_for(shard, &mut outcome) {
            Some(outcome) => outcome,
            None => {
                self.expected.notify_one();
                // Only closing drops the other end.
                outcome.await.unwrap_or(Err(InvokeError::Stopping))
            }
        };
        open.end();
        turn.has_ended = true;
        outcome.map_err(|error| self.judge(error, bytes))
    }

    fn limits(&self) -> Limits {
        self.settings.limits
    }
}
