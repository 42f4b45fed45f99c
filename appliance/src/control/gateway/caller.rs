//! The requests of one lambda, on one queue: a λ-RPC client without a socket, and who waits for which reply.

use std::collections::HashMap;

use axum::body::Bytes;
use lnic_message::client::{self, Config, Counters, Event, Failure, Machine, RequestId, RequestOptions};
use lnic_wire::rpc::Status;
use tokio::sync::oneshot;

use super::InvokeError;

/// How a request ended.
pub(super) type Outcome = Result<Bytes, InvokeError>;

/// The caller of one lambda.
///
/// Each has a session and a UDP port of its own, both random: what a lambda learns from its own requests does not help it to answer
/// those of another, whatever it may send.
pub(super) struct Caller {
    lambda: u32,
    port: u16,
    machine: Machine<Bytes>,
    waiting: HashMap<RequestId, oneshot::Sender<Outcome>>,
    /// It is among those with something to send.
    pub(super) is_due: bool,
    /// It is among those whose timers are looked at.
    pub(super) is_active: bool,
    /// A request of it had no answer, which cannot be told from a word that was lost: once its open requests have ended, the next one has
    /// a new caller.
    pub(super) is_lost: bool,
    /// When it last had an open request.
    pub(super) used_us: u64,
}

/// How callers behave.
#[derive(Clone, Debug)]
pub(super) struct CallerConfig(Config);

impl CallerConfig {
    /// For datagrams of so many bytes.
    pub(super) fn new(datagram_bytes: u16, in_flight: u32, body_bytes: u32) -> Self {
        let least = Config::default().datagram_bytes.min(datagram_bytes);
        Self(Config {
            requests: in_flight as usize,
            in_flight: in_flight as usize,
            reply_bytes: body_bytes,
            buffered_bytes: (body_bytes as usize).saturating_mul(in_flight as usize),
            datagram_bytes: least,
            single_datagram_bytes: datagram_bytes,
            probes: vec![datagram_bytes],
            // Nothing is lost on the way, and a request that takes long must not run a second time.
            repeat_us: NEVER_US,
            repeat_least_us: NEVER_US,
            wait_us: NEVER_US,
            ..Config::default()
        })
    }

    /// Bytes of the longest request that goes in one datagram.
    pub(super) fn single_bytes(&self) -> usize {
        // Header and room for a cookie.
        usize::from(self.0.single_datagram_bytes).saturating_sub(lnic_wire::rpc::HEADER_BYTES + 16)
    }
}

/// Longer than any request may take.
const NEVER_US: u64 = 1 << 40;

impl Caller {
    pub(super) fn new(lambda: u32, port: u16, config: &CallerConfig, now_us: u64) -> Self {
        Self {
            lambda,
            port,
            machine: Machine::new(config.0.clone(), fastrand::u64(..)),
            waiting: HashMap::new(),
            is_due: false,
            is_active: false,
            is_lost: false,
            used_us: now_us,
        }
    }

    /// Its UDP port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn start(
        &mut self,
        now_us: u64,
        body: Bytes,
        timeout_us: u64,
        outcome: oneshot::Sender<Outcome>,
    ) -> Result<RequestId, InvokeError> {
        let options = RequestOptions {
            // Who finds it in a queue after that does not run it any more.
            budget_us: u32::try_from(timeout_us).unwrap_or(u32::MAX).max(1),
            lifetime_us: timeout_us.max(1),
            ..RequestOptions::default()
        };
        let id = self.machine.request(now_us, self.lambda, body, options).map_err(|error| match error {
            client::Error::TooLong { bytes } => {
                InvokeError::TooLarge { bytes, limit: lnic_message::MESSAGE_BYTES as usize }
            }
            client::Error::Full { .. } => InvokeError::Busy,
        })?;
        self.waiting.insert(id, outcome);
        Ok(id)
    }

    /// Nobody waits for it any more. True if it had not ended.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        self.waiting.remove(&id);
        self.machine.cancel(id)
    }

    /// Takes a datagram that came to its port.
    pub(super) fn frame(&mut self, now_us: u64, datagram: &[u8]) {
        self.machine.frame(now_us, datagram);
    }

    /// Writes the next datagram; its bytes.
    pub(super) fn transmit(&mut self, now_us: u64, buffer: &mut [u8]) -> Option<usize> {
        self.machine.poll_transmit(now_us, buffer)
    }

    /// Tells those whose requests have ended.
    pub(super) fn tell(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            let (id, outcome) = match event {
                Event::Reply(reply) if reply.status == Status::Ok => (reply.id, Ok(reply.payload.into())),
                Event::Reply(reply) => {
                    let retry_us = if reply.status == Status::Busy { reply.service_us.into() } else { 0 };
                    (reply.id, Err(InvokeError::Status { status: reply.status.raw(), retry_us }))
                }
                Event::Failed { id, failure } => {
                    self.is_lost |= failure == Failure::DeadlineExceeded;
                    (id, Err(failed(failure)))
                }
            };
            if let Some(waits) = self.waiting.remove(&id) {
                // Who waited may have left at this moment.
                let _ = waits.send(outcome);
            }
        }
    }

    /// When to look at it though nothing came.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.machine.timeout_us()
    }

    pub(super) fn has_open_requests(&self) -> bool {
        self.machine.open_requests() > 0
    }

    pub(super) fn counters(&self) -> Counters {
        self.machine.counters()
    }
}

fn failed(failure: Failure) -> InvokeError {
    let status = match failure {
        Failure::DeadlineExceeded => return InvokeError::TimedOut,
        Failure::Restarted => Status::Unavailable,
        Failure::Forgotten => Status::Stale,
        Failure::ReplyTooLong { .. } => Status::DataLoss,
    };
    InvokeError::Status { status: status.raw(), retry_us: 0 }
}
