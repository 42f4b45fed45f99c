//! The waiting room: frames for lambdas that are asleep. Whoever polls the first one tells control, and keeps it until the lambda is
//! awake; then it takes the same way as if it came only now.

use std::collections::VecDeque;

use super::{Burst, Clock, Next, Path};
use crate::frame::Frame;
use crate::ids::{LambdaSlot, PortId};

/// Frames that wait on one lcore, for all lambdas together. Callers of others are told BUSY.
pub const WAITING_FRAMES: usize = 64;
/// How long a frame waits at most. Its caller is told UNAVAILABLE then.
const WAIT_NS: u64 = 1_000_000_000;
/// When those for whom there is no room are to ask again, in µs.
pub(super) const RETRY_US: u16 = 20_000;

/// A frame that waits.
struct Waiting<F> {
    frame: F,
    port: PortId,
    arrival_ns: u64,
    lambda: LambdaSlot,
}

/// All of an lcore's.
pub(super) struct WaitingRoom<F> {
    frames: VecDeque<Waiting<F>>,
    /// There is another table than when they came.
    pub(super) is_stale: bool,
    /// Frames that go on their way now have waited long enough.
    pub(super) is_closed: bool,
}

impl<F> WaitingRoom<F> {
    pub(super) fn new() -> Self {
        Self { frames: VecDeque::with_capacity(WAITING_FRAMES), is_stale: false, is_closed: false }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames.len() == WAITING_FRAMES
    }

    /// When the first has waited long enough; `None` if nobody waits.
    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        self.frames.iter().map(|waiting| waiting.arrival_ns + WAIT_NS).min()
    }
}

impl<F: Frame, C: Clock> Path<F, C> {
    /// Tells control that a lambda is wanted, if nobody has.
    #[cold]
    pub(super) fn ask_to_wake(&self, lambda: LambdaSlot) {
        if self.quarantine.wake(lambda) {
            self.mail.ring();
        }
    }

    /// Keeps a frame until its lambda is awake. There is room.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(&mut self, frame: F, port: PortId, arrival_ns: u64, lambda: LambdaSlot) {
        self.ask_to_wake(lambda);
        self.counters.parked.add(1);
        self.waiting_room.frames.push_back(Waiting { frame, port, arrival_ns, lambda });
    }

    /// Sends frames on their way whose lambda does not sleep any more, or that have waited for too long. True if there were any.
    #[cold]
    #[inline(never)]
    pub(super) fn serve_waiting(&mut self) -> bool {
        let is_stale = std::mem::take(&mut self.waiting_room.is_stale);
        let now_ns = self.clock.now_ns();
        let mut any = false;
        // All in turn, so that those of one flow keep their order.
        for _ in 0..self.waiting_room.frames.len() {
            let Some(mut waiting) = self.waiting_room.frames.pop_front() else { break };
            let is_late = waiting.arrival_ns + WAIT_NS <= now_ns;
            if !is_stale && !is_late && self.quarantine.state(waiting.lambda).sleeps() {
                self.waiting_room.frames.push_back(waiting);
                continue;
            }
            any = true;
            self.waiting_room.is_closed = is_late;
            match self.step(waiting.port, &mut waiting.frame, waiting.arrival_ns) {
                Next::End(end) => self.finish(waiting.frame, end),
                Next::Job(way) => self.set_out(waiting.frame, way),
                // The message server's time does not go back.
                Next::Part => self.take_part(waiting.frame, now_ns),
                // It would not have waited.
                Next::Reply => self.take_reply(waiting.frame),
                Next::Heard => self.counters.placed.add(1),
                Next::Wait(lambda) => {
                    waiting.lambda = lambda;
                    self.ask_to_wake(lambda);
                    self.waiting_room.frames.push_back(waiting);
                }
            }
            self.waiting_room.is_closed = false;
        }
        self.flush_ports();
        any
    }

    /// Gives up what waits: the lcore ends.
    pub(crate) fn empty_waiting_room(&mut self) {
        let mut frames = Burst::<F>::new();
        while let Some(waiting) = self.waiting_room.frames.pop_front() {
            frames.push(waiting.frame);
        }
        self.counters.drop_frames(crate::observe::DropReason::LambdaGone, frames.len() as u64);
    }
}
