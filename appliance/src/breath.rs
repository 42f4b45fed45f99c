//! The one polling loop. A *breath* is one turn: poll every port, take each burst through the path, serve what waits, flush.
//!
//! Contract:
//! 1. A breath does a bounded amount of work: at most one burst a port, one a link, and queues for 3 µs.
//! 2. Time is read once a breath, and only if there are frames; where a dispatcher decides, also once for each request that runs:
//!    it has to know what they cost.
//! 3. Nothing in a breath blocks. Between breaths an idle lcore may sleep, as [`idle`] decides: spinning lcores starve their
//!    clients on a small machine.
//! 4. What control commands is carried out between two turns, one command a turn, without allocating.
//! 5. Asked to stop, the loop drains what the ports still hold, bounded by [`DRAIN_BREATHS`], waits for what is under way, and
//!    returns.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use crate::frame::{Burst, Frame};
use crate::observe::counters::LcoreCounters;
pub use crate::path::Clock;
use crate::path::Path;

pub mod idle;
pub mod sleeper;

use idle::{Idle, Step};
use sleeper::Sleeper;

/// Breaths that draining may take: as much as queues of the usual size hold. A flood must not keep the appliance.
pub const DRAIN_BREATHS: u32 = 64;
/// How long an lcore that was asked to stop waits for what is under way on others.
const REST_NS: u64 = 100_000_000;

/// Tells the lcores of an appliance to stop, and when all of them have nothing under way any more.
#[derive(Debug)]
pub struct Stop {
    asked: AtomicBool,
    at_rest: AtomicU32,
    lcores: u32,
}

impl Stop {
    /// For so many lcores.
    #[must_use]
    pub fn new(lcores: u32) -> Self {
        Self { asked: AtomicBool::new(false), at_rest: AtomicU32::new(0), lcores }
    }

    /// Asks all lcores to stop. Those that sleep have to be rung for.
    pub fn ask(&self) {
        self.asked.store(true, SeqCst);
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }
}

/// One lcore's loop.
pub struct Breath<F: Frame, C> {
    path: Path<F, C>,
    counters: Arc<LcoreCounters>,
    burst: Burst<F>,
}

impl<F: Frame, C: Clock> Breath<F, C> {
    /// A loop over a path; `counters` are the lcore's.
    pub fn new(path: Path<F, C>, counters: Arc<LcoreCounters>) -> Self {
        Self { path, counters, burst: Burst::new() }
    }

    /// The path, to look at.
    #[must_use]
    pub fn path(&self) -> &Path<F, C> {
        &self.path
    }

    /// One breath. True if there was anything to do.
    #[inline]
    pub fn once(&mut self) -> bool {
        let busy = self.path.poll(&mut self.burst) | self.path.turn();
        if busy {
            self.counters.busy_breaths.add(1)
        } else {
            self.counters.idle_breaths.add(1)
        }
        busy
    }

    /// Breathes until `stop`, sleeping when idle; then drains.
    pub fn run(&mut self, stop: &Stop, mut idle: Idle, sleeper: &mut Sleeper) {
        self.path.obey_all();
        while !stop.is_asked() {
            let busy = self.once();
            match idle.after(busy) {
                Step::Poll => {}
                Step::Pause => std::hint::spin_loop(),
                Step::Yield => rustix::thread::sched_yield(),
                Step::Sleep => {
                    if self.sleep(sleeper, stop) {
                        idle.after(true);
                    }
                }
            }
            if !busy && self.path.is_exhausted() {
                break;
            }
        }
        self.drain(stop);
    }

    /// Sleeps, unless there is something to do after all: true then.
    fn sleep(&mut self, sleeper: &mut Sleeper, stop: &Stop) -> bool {
        self.path.arm(true);
        sleeper.announce();
        // What arrived before would not wake anybody.
        let busy = self.once();
        if !busy && !stop.is_asked() {
            self.counters.sleeps.add(1);
            let deadline = self.path.next_deadline_ns();
            let longest =
                deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.path.now_ns())));
            if sleeper.sleep(longest) {
                self.counters.wakes.add(1);
            }
        }
        sleeper.retract();
        self.path.arm(false);
        busy
    }

    fn drain(&mut self, stop: &Stop) {
        for _ in 0..DRAIN_BREATHS {
            if !self.once() {
                break;
            }
        }
        // Others may still need this lcore, for their own requests or to give back this one's.
        let until = self.path.now_ns() + REST_NS;
        let mut counted = false;
        while stop.at_rest.load(Relaxed) < stop.lcores && self.path.now_ns() < until {
            if !counted && self.path.is_at_rest() {
                counted = true;
                stop.at_rest.fetch_add(1, Relaxed);
            }
            if !self.path.turn() {
                rustix::thread::sched_yield();
            }
        }
        self.path.empty_waiting_room();
    }
}
