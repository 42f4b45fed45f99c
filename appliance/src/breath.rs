//! The one polling loop. A *breath* is one turn: poll every port, take each burst through the path, flush.
//!
//! Contract:
//! 1. A breath does a bounded amount of work: at most one burst a port.
//! 2. Time is read once a breath, and only if there are frames.
//! 3. Nothing in a breath blocks. Between breaths an idle lcore may sleep, as [`idle`] decides: spinning lcores starve their
//!    clients on a small machine.
//! 4. Asked to stop, the loop drains what the ports still hold, bounded by [`DRAIN_BREATHS`], and returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::frame::{Burst, Frame};
use crate::ids::PortId;
use crate::observe::counters::LcoreCounters;
use crate::path::Path;
use crate::port::Port;

pub mod idle;
pub mod sleeper;

use idle::{Idle, Step};
use sleeper::Sleeper;

/// Breaths that draining may take: as much as queues of the usual size hold. A flood must not keep the appliance.
pub const DRAIN_BREATHS: u32 = 64;

/// Nanoseconds since the appliance started.
pub trait Clock {
    /// Reads the time; cheap, monotonic.
    fn now_ns(&mut self) -> u64;
}

impl<C: FnMut() -> u64> Clock for C {
    fn now_ns(&mut self) -> u64 {
        self()
    }
}

/// One lcore's loop over its ports.
pub struct Breath<F, C> {
    ports: Vec<Option<Box<dyn Port<F>>>>,
    path: Path<F>,
    clock: C,
    counters: Arc<LcoreCounters>,
    burst: Burst<F>,
}

impl<F: Frame, C: Clock> Breath<F, C> {
    /// Joins ports and path. `ports[i]` is the lcore's queue of port `i`, or `None` if it has none there.
    pub fn new(
        ports: Vec<Option<Box<dyn Port<F>>>>,
        path: Path<F>,
        clock: C,
        counters: Arc<LcoreCounters>,
    ) -> Self {
        Self { ports, path, clock, counters, burst: Burst::new() }
    }

    /// One breath. True if there were frames.
    pub fn once(&mut self) -> bool {
        let mut time_ns = None;
        for at in 0..self.ports.len() {
            let Some(port) = &mut self.ports[at] else { continue };
            if port.rx(&mut self.burst) == 0 {
                continue;
            }
            let time_ns = *time_ns.get_or_insert_with(|| self.clock.now_ns());
            #[expect(clippy::cast_possible_truncation, reason = "ports are numbered by u16")]
            self.path.process(PortId::new(at as u16), &mut self.burst, time_ns);
            self.path.flush(&mut self.ports);
        }
        let busy = time_ns.is_some();
        if busy {
            self.counters.busy_breaths.add(1)
        } else {
            self.counters.idle_breaths.add(1)
        }
        busy
    }

    /// Breathes until `stop`, sleeping when idle; then drains.
    pub fn run(&mut self, stop: &AtomicBool, mut idle: Idle, sleeper: &mut Sleeper) {
        while !stop.load(Relaxed) {
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
            if !busy && self.exhausted() {
                break;
            }
        }
        self.drain();
    }

    /// True once no port will ever receive again: replayed files have ended.
    fn exhausted(&self) -> bool {
        // One without ports waits for a stop like the others.
        let mut ports = self.ports.iter().flatten().peekable();
        ports.peek().is_some() && ports.all(|port| port.exhausted())
    }

    /// Sleeps, unless there are frames after all: true then.
    fn sleep(&mut self, sleeper: &mut Sleeper, stop: &AtomicBool) -> bool {
        self.arm(true);
        // What arrived before the interrupts were armed would not wake anybody.
        let busy = self.once();
        if !busy && !stop.load(Relaxed) {
            self.counters.sleeps.add(1);
            if sleeper.sleep() {
                self.counters.wakes.add(1);
            }
        }
        self.arm(false);
        busy
    }

    fn arm(&mut self, sleeping: bool) {
        for port in self.ports.iter_mut().flatten() {
            port.arm(sleeping);
        }
    }

    fn drain(&mut self) {
        for _ in 0..DRAIN_BREATHS {
            if !self.once() {
                break;
            }
        }
    }
}
