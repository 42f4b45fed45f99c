//! Whether an lcore sleeps, so that a doorbell, which is a system call, is rung only then. Checked by loom in
//! `tests/doorbell_loom.rs`: work that is handed over before a look at the flag is never slept over.

use super::sync::{AtomicBool, Ordering, fence};

/// One sleeper, any number of wakers.
#[derive(Debug)]
pub(super) struct Asleep(AtomicBool);

impl Asleep {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Says that the lcore is about to sleep. After this it must look once more for work, and sleep only if there is none.
    pub(super) fn announce(&self) {
        self.0.store(true, Ordering::Relaxed);
        // Either this lcore's second look sees the work, or the waker, who put it there before its own fence, sees the flag.
        fence(Ordering::SeqCst);
    }

    /// Says that it is awake.
    pub(super) fn retract(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// After handing work over: true if the caller is the one to ring.
    #[inline]
    pub(super) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}
