//! Wakes a sleeping lcore from another thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::asleep::Asleep;

/// Wakes one lcore. Clones ring for the same.
#[derive(Clone)]
pub struct Doorbell(Arc<Inner>);

struct Inner {
    descriptor: OwnedFd,
    asleep: Asleep,
}

impl Doorbell {
    /// A silent doorbell of an lcore that is awake.
    pub fn new() -> std::io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { descriptor, asleep: Asleep::new() })))
    }

    /// Wakes the lcore, now or when it next falls asleep.
    pub fn ring(&self) {
        // Fails only if 2^64 - 2 rings were never answered; then it rings anyway.
        let _ = rustix::io::write(&self.0.descriptor, &1u64.to_ne_bytes());
    }

    /// Wakes the lcore if it sleeps or is about to, after work was handed to it. True if it had to be rung for.
    #[inline]
    pub fn ring_if_asleep(&self) -> bool {
        let asleep = self.0.asleep.must_ring();
        if asleep {
            self.ring();
        }
        asleep
    }

    /// The lcore is about to sleep: it must look for work once more before it does.
    pub fn announce_sleep(&self) {
        self.0.asleep.announce();
    }

    /// The lcore is awake.
    pub fn retract_sleep(&self) {
        self.0.asleep.retract();
    }

    /// Silences it after it rang.
    pub fn answer(&self) {
        let _ = rustix::io::read(&self.0.descriptor, &mut [0; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}
