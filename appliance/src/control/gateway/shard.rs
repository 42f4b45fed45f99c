//! One queue of the internal port, and the requests that came in by it. A reply leaves by the queue that its request came in on, so
//! shards have nothing to do with each other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use lnic_message::client::RequestId;
use tokio::sync::oneshot;

use super::InvokeError;
use super::caller::{Caller, CallerConfig, Outcome};
use super::network::{HEADERS_BYTES, Network};
use super::packet::Counters;
use crate::handoff::Doorbell;
use crate::port::internal::Peer;

/// A caller that nobody has used for so long is forgotten, and its session with it.
const IDLE_US: u64 = 10_000_000;
/// How often timers are looked at while replies come.
const TIMERS_US: u64 = 500;
/// First UDP port of those that callers have.
const FIRST_PORT: u16 = 1024;
/// Tries to find a port that no other caller has.
const PORT_TRIES: u32 = 64;

/// The control side of the internal port.
pub struct Queues {
    /// Who is who.
    pub network: Network,
    /// Rung by lcores when there are replies and the gateway sleeps.
    pub bell: Doorbell,
    /// One for each lcore that polls.
    pub queues: Vec<Queue>,
}

/// One queue of it.
pub struct Queue {
    /// Where frames go in and come out.
    pub peer: Peer,
    /// Wakes the lcore that polls it.
    pub lcore: Doorbell,
}

/// One queue with its requests.
pub(super) struct Shard {
    state: Mutex<State>,
    lcore: Doorbell,
}

struct State {
    peer: Peer,
    network: Network,
    config: CallerConfig,
    callers: HashMap<u32, Caller>,
    /// Whose caller has which UDP port.
    ports: HashMap<u16, u32>,
    is_closed: bool,
    /// Lambdas whose callers have something to send.
    due: Vec<u32>,
    /// Lambdas whose callers have timers.
    active: Vec<u32>,
    timers_us: u64,
    /// What callers that are forgotten have counted.
    counters: Counters,
}

/// A request under way; cancelled when it is dropped, unless it has ended.
pub(super) struct Open<'a> {
    shard: &'a Shard,
    lambda: u32,
    id: RequestId,
    has_ended: bool,
}

impl Shard {
    pub(super) fn new(queue: Queue, network: Network, config: CallerConfig) -> Self {
        let state = State {
            peer: queue.peer,
            network,
            config,
            callers: HashMap::new(),
            ports: HashMap::new(),
            is_closed: false,
            due: Vec::new(),
            active: Vec::new(),
            timers_us: 0,
            counters: Counters::default(),
        };
        Self { state: Mutex::new(state), lcore: queue.lcore }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of a caller's runs under the lock, and nothing that panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request. What comes of it comes to the receiver.
    pub(super) fn start(
        &self,
        now_us: u64,
        lambda: u32,
        body: Bytes,
        timeout_us: u64,
    ) -> Result<(Open<'_>, oneshot::Receiver<Outcome>), InvokeError> {
        let (sender, outcome) = oneshot::channel();
        let mut state = self.lock();
        if state.is_closed {
            return Err(InvokeError::Stopping);
        }
        let id = state.caller(lambda, now_us)?.start(now_us, body, timeout_us, sender)?;
        state.mark(lambda);
        let sent = state.send(now_us);
        drop(state);
        if sent {
            self.lcore.ring_if_asleep();
        }
        Ok((Open { shard: self, lambda, id, has_ended: false }, outcome))
    }

    /// Takes what has come, and does what is due. True if there was anything.
    pub(super) fn poll(&self, now_us: u64) -> bool {
        let mut state = self.lock();
        let received = state.receive(now_us);
        state.look_at_timers(now_us);
        let sent = state.send(now_us);
        drop(state);
        if sent {
            self.lcore.ring_if_asleep();
        }
        received || sent
    }

    /// When to poll it though nothing came.
    pub(super) fn due_us(&self, now_us: u64) -> Option<u64> {
        let state = self.lock();
        if !state.due.is_empty() {
            // There was no room: the lcore does not ring for that.
            return Some(now_us + TIMERS_US);
        }
        let callers = state.active.iter().filter_map(|lambda| state.callers.get(lambda));
        callers.filter_map(Caller::due_us).min()
    }

    /// Ends all requests, without telling the lambdas.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.callers.clear();
        state.ports.clear();
        state.due.clear();
        state.active.clear();
    }

    pub(super) fn counters(&self) -> Counters {
        let state = self.lock();
        state.callers.values().fold(state.counters, |sum, caller| sum.with(&caller.counters()))
    }
}

impl State {
    /// The caller of a lambda, which is made if it is the first to be called for a while.
    fn caller(&mut self, lambda: u32, now_us: u64) -> Result<&mut Caller, InvokeError> {
        if !self.callers.contains_key(&lambda) {
            let mut ports = (0..PORT_TRIES).map(|_| fastrand::u16(FIRST_PORT..));
            let port = ports.find(|port| !self.ports.contains_key(port)).ok_or(InvokeError::Busy)?;
            self.ports.insert(port, lambda);
            self.callers.insert(lambda, Caller::new(lambda, port, &self.config, now_us));
        }
        self.callers.get_mut(&lambda).ok_or(InvokeError::Busy)
    }

    /// Notes that a caller has something to send or to wait for.
    fn mark(&mut self, lambda: u32) {
        let Some(caller) = self.callers.get_mut(&lambda) else { return };
        if !std::mem::replace(&mut caller.is_due, true) {
            self.due.push(lambda);
        }
        if !std::mem::replace(&mut caller.is_active, true) {
            self.active.push(lambda);
        }
    }

    fn receive(&mut self, now_us: u64) -> bool {
        let Self { peer, network, callers, ports, due, counters, .. } = self;
        let mut any = false;
        while peer.from_lcore.receive(|frame| {
            let found = network.open(frame).and_then(|(port, datagram)| {
                let lambda = *ports.get(&port)?;
                Some((lambda, callers.get_mut(&lambda)?, datagram))
            });
            match found {
                Some((lambda, caller, datagram)) => {
                    caller.frame(now_us, datagram);
                    if !std::mem::replace(&mut caller.is_due, true) {
                        due.push(lambda);
                    }
                }
                None => counters.unmatched += 1,
            }
            true
        }) > 0
        {
            any = true;
        }
        any
    }

    /// Sends what callers have, as far as there is room, and tells whose requests have ended. True if anything was sent.
    fn send(&mut self, now_us: u64) -> bool {
        let Self { peer, network, callers, due, .. } = self;
        due.retain(|lambda| {
            let Some(caller) = callers.get_mut(lambda) else { return false };
            let mut is_blocked = false;
            loop {
                if !peer.to_lcore.has_room() {
                    is_blocked = true;
                    break;
                }
                let sent = peer.to_lcore.send(|packet| {
                    let bytes = caller.transmit(now_us, packet.get_mut(HEADERS_BYTES..)?)?;
                    network.enclose(packet, bytes, caller.port())
                });
                if !sent {
                    break;
                }
            }
            caller.tell();
            caller.used_us = now_us;
            caller.is_due = is_blocked;
            is_blocked
        });
        peer.to_lcore.flush()
    }

    /// Finds callers whose time has come.
    fn look_at_timers(&mut self, now_us: u64) {
        if now_us < self.timers_us {
            return;
        }
        self.timers_us = now_us + TIMERS_US;
        let Self { callers, ports, due, active, counters, .. } = self;
        active.retain(|lambda| {
            let Some(caller) = callers.get_mut(lambda) else { return false };
            if caller.due_us().is_some_and(|due_us| due_us <= now_us)
                && !std::mem::replace(&mut caller.is_due, true)
            {
                due.push(*lambda);
            }
            // An idle one stays for a while: its session has a cookie.
            let is_idle = !caller.has_open_requests() && !caller.is_due;
            if is_idle && (caller.is_lost || now_us.saturating_sub(caller.used_us) >= IDLE_US) {
                *counters = counters.with(&caller.counters());
                ports.remove(&caller.port());
                callers.remove(lambda);
                return false;
            }
            true
        });
    }
}

impl Open<'_> {
    /// Its outcome has come.
    pub(super) fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut state = self.shard.lock();
        let Some(caller) = state.callers.get_mut(&self.lambda) else { return };
        if caller.cancel(self.id) {
            // The driver tells the lambda, and lets another request begin.
            state.mark(self.lambda);
        }
    }
}
