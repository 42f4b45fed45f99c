//! Counters of one lcore: one writer, any number of readers, no locked instruction.
//!
//! The writer adds by a relaxed load and a relaxed store, which compiles to a plain `add`. Readers sum over lcores and may see
//! a frame counted as received a moment before they see how it ended; once traffic rests, the sums balance.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use bytemuck::Zeroable;

use super::DropReason;
use super::histogram::Histogram;
use crate::ids::LambdaSlot;

/// A counter with a single writer.
#[derive(Debug, Default, Zeroable)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning lcore may call it: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Makes it `n`, if it was less. Only the owning lcore may call it.
    pub fn raise(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }

    /// Current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one lcore has under way for each slot: jobs that it began and that have not settled, and message slots that are taken. One
/// writer; control reads it to find out whether anything still needs a lambda that nothing new reaches.
#[derive(Debug)]
pub struct Outstanding(Box<[AtomicU32]>);

impl Outstanding {
    /// Nothing, for so many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self(bytemuck::zeroed_slice_box(slots))
    }

    /// One more. Only the owning lcore may call it.
    #[inline]
    pub fn begin(&self, slot: LambdaSlot) {
        if let Some(count) = self.0.get(slot.index()) {
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// One less. Whoever reads that it is gone sees all that was done for it. Only the owning lcore may call it.
    #[inline]
    pub fn end(&self, slot: LambdaSlot) {
        if let Some(count) = self.0.get(slot.index()) {
            count.store(count.load(Relaxed).wrapping_sub(1), Release);
        }
    }

    /// What is under way.
    #[must_use]
    pub fn get(&self, slot: LambdaSlot) -> u32 {
        self.0.get(slot.index()).map_or(0, |count| count.load(Acquire))
    }
}

/// What happened to frames on one lcore, and how the lcore spent its time.
#[derive(Debug)]
#[repr(align(128))]
pub struct LcoreCounters {
    /// Frames polled from ports.
    pub received: Counter,
    /// Frames that ports took.
    pub sent: Counter,
    /// Frames that host ports took.
    pub to_host: Counter,
    /// ARP, neighbour discovery and echo that were answered.
    pub answered: Counter,
    /// λ-RPC PINGs answered.
    pub pongs: Counter,
    /// λ-RPC requests for a lambda that is not deployed, answered UNIMPLEMENTED.
    pub unknown_lambda: Counter,
    /// Frames whose payload was placed, in a message or as a service's reply, or that were a word about one, or a neighbour's: they end there.
    pub placed: Counter,
    /// Of those placed: by a DMA engine.
    pub placed_by_engine: Counter,
    /// Frames that the lcore made: fragments of replies, words about messages, requests to services, and questions to neighbours.
    pub made: Counter,
    /// Messages that were complete, or came through the server for another reason, and ran.
    pub messages: Counter,
    /// Replies that left in several fragments.
    pub long_replies: Counter,
    /// Fragments of replies that left without a copy: the port read them where they lie.
    pub sent_in_place: Counter,
    /// Requests that were answered by a challenge: the reply was too long for a source without a cookie.
    pub challenged: Counter,
    drops: [Counter; DropReason::ALL.len()],
    /// Breaths that found frames.
    pub busy_breaths: Counter,
    /// Breaths that found none.
    pub idle_breaths: Counter,
    /// Times that the lcore slept.
    pub sleeps: Counter,
    /// Sleeps that a descriptor ended.
    pub wakes: Counter,
    /// Requests handed to other lcores.
    pub handed_over: Counter,
    /// Requests taken from other lcores.
    pub taken_over: Counter,
    /// Doorbells rung for lcores that slept.
    pub doorbells: Counter,
    /// Requests that waited for a call's answer.
    pub suspended: Counter,
    /// Nanoseconds that the lcore's NPU spent on lambdas: exact where a dispatcher decides, else by samples.
    pub npu_ns: Counter,
    /// Frames that waited for a lambda to wake up.
    pub parked: Counter,
    /// Requests to services outside that were sent.
    pub requests: Counter,
    /// Replies of services that were whole.
    pub replies: Counter,
    /// Requests that got no reply in time.
    pub requests_timed_out: Counter,
    /// Requests that were not sent: the next hop did not answer ARP or neighbour discovery.
    pub requests_unresolved: Counter,
    /// Questions to neighbours: ARP requests and neighbour solicitations.
    pub neighbours_asked: Counter,
    /// Commands of control's that were carried out.
    pub commands: Counter,
    /// Longest time that one of them took, in ns.
    pub longest_command_ns: Counter,
    /// What it has under way.
    pub outstanding: Arc<Outstanding>,
    lambdas: Box<[LambdaCounters]>,
    times: Box<[LambdaTimes]>,
}

/// How one lambda's invocations ended on one lcore.
#[derive(Debug, Default, Zeroable)]
pub struct LambdaCounters {
    /// Times that it ran.
    pub invocations: Counter,
    /// Verdict FORWARD, and the frame was made.
    pub forwarded: Counter,
    /// Verdict DROP.
    pub dropped: Counter,
    /// Verdict `TO_HOST`.
    pub to_host: Counter,
    /// Traps.
    pub traps: Counter,
    /// Budgets used up.
    pub exhausted: Counter,
    /// Verdicts that mean nothing, or headers that make no frame that may leave.
    pub bad_verdicts: Counter,
    /// Fuel used.
    pub fuel: Counter,
    /// Requests refused because too many waited or ran: BUSY.
    pub busy: Counter,
    /// Requests whose budget had passed before they ran: `DEADLINE_EXCEEDED`.
    pub late: Counter,
    /// Requests refused because the lambda is quarantined or not loaded: UNAVAILABLE.
    pub unavailable: Counter,
    /// Calls to other lambdas.
    pub calls: Counter,
    /// Calls that got no answer in time.
    pub calls_timed_out: Counter,
    /// NPU time used, in ns: exact where a dispatcher decides, else by samples.
    pub npu_ns: Counter,
    /// Requests to services outside. Each ends as a reply, timed out, or failed.
    pub requests: Counter,
    /// Those that got a reply.
    pub replies: Counter,
    /// Those that got none in time.
    pub requests_timed_out: Counter,
    /// Those that could not be sent, or whose reply could not be taken.
    pub requests_failed: Counter,
}

/// How long one lambda's requests took on one lcore. Apart from its counters, which every invocation touches: those of thousands
/// of lambdas fit a cache.
#[derive(Debug, Default, Zeroable)]
pub struct LambdaTimes {
    /// From the arrival of a request until it runs, in ns.
    pub queueing: Histogram,
    /// NPU time of one request, in ns.
    pub service: Histogram,
}

impl LambdaCounters {
    /// How many counters there are.
    pub const COUNT: usize = 18;

    /// All of them, in the order of the fields.
    #[must_use]
    pub fn all(&self) -> [&Counter; Self::COUNT] {
        [
            &self.invocations,
            &self.forwarded,
            &self.dropped,
            &self.to_host,
            &self.traps,
            &self.exhausted,
            &self.bad_verdicts,
            &self.fuel,
            &self.busy,
            &self.late,
            &self.unavailable,
            &self.calls,
            &self.calls_timed_out,
            &self.npu_ns,
            &self.requests,
            &self.replies,
            &self.requests_timed_out,
            &self.requests_failed,
        ]
    }
}

impl LcoreCounters {
    /// Zeroed counters for an lcore that knows `lambdas` slots. Those of slots that nothing runs in take no memory.
    #[must_use]
    pub fn new(lambdas: usize) -> Self {
        Self {
            received: Counter::default(),
            sent: Counter::default(),
            to_host: Counter::default(),
            answered: Counter::default(),
            pongs: Counter::default(),
            unknown_lambda: Counter::default(),
            placed: Counter::default(),
            placed_by_engine: Counter::default(),
            made: Counter::default(),
            messages: Counter::default(),
            long_replies: Counter::default(),
            sent_in_place: Counter::default(),
            challenged: Counter::default(),
            drops: std::array::from_fn(|_| Counter::default()),
            busy_breaths: Counter::default(),
            idle_breaths: Counter::default(),
            sleeps: Counter::default(),
            wakes: Counter::default(),
            handed_over: Counter::default(),
            taken_over: Counter::default(),
            doorbells: Counter::default(),
            suspended: Counter::default(),
            npu_ns: Counter::default(),
            parked: Counter::default(),
            requests: Counter::default(),
            replies: Counter::default(),
            requests_timed_out: Counter::default(),
            requests_unresolved: Counter::default(),
            neighbours_asked: Counter::default(),
            commands: Counter::default(),
            longest_command_ns: Counter::default(),
            outstanding: Arc::new(Outstanding::new(lambdas)),
            lambdas: bytemuck::zeroed_slice_box(lambdas),
            times: bytemuck::zeroed_slice_box(lambdas),
        }
    }

    /// Counts dropped frames.
    #[inline]
    pub fn drop_frames(&self, reason: DropReason, frames: u64) {
        self.drops[reason as usize].add(frames);
    }

    /// Frames dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }

    /// Times of one lambda; `None` for a slot that this lcore does not have.
    #[must_use]
    #[inline]
    pub fn times(&self, slot: LambdaSlot) -> Option<&LambdaTimes> {
        self.times.get(slot.index())
    }

    /// Counters of one lambda; `None` for a slot that this lcore does not have.
    #[must_use]
    #[inline]
    pub fn lambda(&self, slot: LambdaSlot) -> Option<&LambdaCounters> {
        self.lambdas.get(slot.index())
    }
}
