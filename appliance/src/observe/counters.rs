//! Counters of one lcore: one writer, any number of readers, no locked instruction.
//!
//! The writer adds by a relaxed load and a relaxed store, which compiles to a plain `add`. Readers sum over lcores and may see
//! a frame counted as received a moment before they see how it ended; once traffic rests, the sums balance.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::DropReason;
use super::histogram::Histogram;
use crate::ids::LambdaSlot;

/// A counter with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning lcore may call it: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
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
    /// Frames whose payload was placed in a message, or that were a word about one: they end there.
    pub placed: Counter,
    /// Of those placed: by a DMA engine.
    pub placed_by_engine: Counter,
    /// Frames that the lcore made: fragments of replies, and words about messages.
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
    lambdas: Box<[LambdaCounters]>,
    times: Box<[LambdaTimes]>,
}

/// How one lambda's invocations ended on one lcore.
#[derive(Debug, Default)]
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
}

/// How long one lambda's requests took on one lcore. Apart from its counters, which every invocation touches: those of thousands
/// of lambdas fit a cache.
#[derive(Debug, Default)]
pub struct LambdaTimes {
    /// From the arrival of a request until it runs, in ns.
    pub queueing: Histogram,
    /// NPU time of one request, in ns.
    pub service: Histogram,
}

impl LcoreCounters {
    /// Zeroed counters for an lcore that runs `lambdas` lambdas.
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
            lambdas: (0..lambdas).map(|_| LambdaCounters::default()).collect(),
            times: (0..lambdas).map(|_| LambdaTimes::default()).collect(),
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
