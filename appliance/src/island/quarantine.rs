//! Which lambdas may run. One that traps or exhausts its budget too often costs everybody else time: it is quarantined, its
//! callers are told UNAVAILABLE, and it stays so until it is released or deployed anew.
//!
//! Shared by all lcores: failures are rare and cost microseconds themselves, so they are counted by atomics in common; whether a
//! lambda may run is one load of a line that hardly ever changes.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use bytemuck::Zeroable;

use crate::ids::LambdaSlot;

/// May it run?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It may.
    Active,
    /// It failed too often.
    Quarantined,
    /// It has no instance, because the NPU that had it died; a fresh one is being made.
    Lost,
    /// It was given no NPU: the next request wakes it. What had begun before ends.
    Asleep,
    /// A request for it has come; control is making instances.
    Waking,
}

impl State {
    /// As people see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Lost => "lost",
            Self::Asleep | Self::Waking => "asleep",
        }
    }

    /// May what is under way go on?
    #[inline]
    #[must_use]
    pub const fn may_go_on(self) -> bool {
        !matches!(self, Self::Quarantined | Self::Lost)
    }

    /// Do its callers have to wait for it to wake?
    #[inline]
    #[must_use]
    pub const fn sleeps(self) -> bool {
        matches!(self, Self::Asleep | Self::Waking)
    }

    const fn of(raw: u8) -> Self {
        match raw {
            0 => Self::Active,
            1 => Self::Quarantined,
            3 => Self::Asleep,
            4 => Self::Waking,
            _ => Self::Lost,
        }
    }
}

/// States of all lambdas, by slot.
#[derive(Debug)]
pub struct Quarantine {
    lambdas: Box<[Lambda]>,
    failures: u32,
    window_ns: u64,
}

#[derive(Debug, Default, Zeroable)]
struct Lambda {
    state: AtomicU8,
    /// Failures in the window that began at `window_start_ns`.
    failures: AtomicU32,
    window_start_ns: AtomicU64,
}

impl Quarantine {
    /// Quarantines a lambda on its `failures`th failure within `window_ns`; 0 is never.
    #[must_use]
    pub fn new(lambdas: usize, failures: u32, window_ns: u64) -> Self {
        Self { lambdas: bytemuck::zeroed_slice_box(lambdas), failures, window_ns }
    }

    /// State of a lambda; of a slot that is none, `Lost`.
    #[inline]
    #[must_use]
    pub fn state(&self, slot: LambdaSlot) -> State {
        self.lambdas.get(slot.index()).map_or(State::Lost, |lambda| State::of(lambda.state.load(Relaxed)))
    }

    /// Sets a lambda's state; releasing it forgets its failures.
    pub fn set(&self, slot: LambdaSlot, state: State) {
        if let Some(lambda) = self.lambdas.get(slot.index()) {
            lambda.failures.store(0, Relaxed);
            lambda.state.store(state as u8, Relaxed);
        }
    }

    /// A request has come for a lambda that is asleep. True if it is the first: its caller tells control.
    #[cold]
    pub fn wake(&self, slot: LambdaSlot) -> bool {
        self.lambdas.get(slot.index()).is_some_and(|lambda| {
            let (asleep, waking) = (State::Asleep as u8, State::Waking as u8);
            lambda.state.compare_exchange(asleep, waking, Relaxed, Relaxed).is_ok()
        })
    }

    /// Counts a failure. True if it is the one that quarantines the lambda.
    #[cold]
    pub fn record_failure(&self, slot: LambdaSlot, now_ns: u64) -> bool {
        let Some(lambda) = self.lambdas.get(slot.index()) else { return false };
        if self.failures == 0 {
            return false;
        }
        // Two lcores may both begin a window: a count more or less.
        if now_ns.saturating_sub(lambda.window_start_ns.load(Relaxed)) > self.window_ns {
            lambda.window_start_ns.store(now_ns, Relaxed);
            lambda.failures.store(0, Relaxed);
        }
        lambda.failures.fetch_add(1, Relaxed) + 1 == self.failures
            && lambda
                .state
                .compare_exchange(State::Active as u8, State::Quarantined as u8, Relaxed, Relaxed)
                .is_ok()
    }

    /// Lambdas that are quarantined.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.lambdas.iter().filter(|lambda| lambda.state.load(Relaxed) == State::Quarantined as u8).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: LambdaSlot = LambdaSlot::new(0);

    #[test]
    fn failures_within_the_window_quarantine_once() {
        let quarantine = Quarantine::new(1, 3, 1_000);
        let recorded: Vec<_> = [0, 10, 20, 30].map(|now| quarantine.record_failure(SLOT, now)).into();
        assert_eq!(recorded, [false, false, true, false]);
        assert_eq!((quarantine.state(SLOT), quarantine.quarantined()), (State::Quarantined, 1));
        quarantine.set(SLOT, State::Active);
        assert_eq!(quarantine.state(SLOT), State::Active);
        assert!(!quarantine.record_failure(SLOT, 40) && !quarantine.record_failure(SLOT, 50));
        assert!(quarantine.record_failure(SLOT, 60));
    }

    #[test]
    fn failures_far_apart_do_not() {
        let quarantine = Quarantine::new(1, 3, 1_000);
        assert!((0..100u64).all(|at| !quarantine.record_failure(SLOT, at * 600)));
    }

    #[test]
    fn zero_is_never_and_unknown_slots_are_lost() {
        let quarantine = Quarantine::new(1, 0, 1_000);
        assert!((0..100).all(|_| !quarantine.record_failure(SLOT, 0)));
        assert_eq!(quarantine.state(LambdaSlot::new(1)), State::Lost);
        assert!(!quarantine.record_failure(LambdaSlot::new(1), 0));
    }
}
