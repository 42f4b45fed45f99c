//! The flag that says whether an lcore sleeps, under every order that the memory model allows.

/// What `asleep.rs` is made of in the appliance, from loom.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/handoff/asleep.rs"]
mod asleep;

use asleep::Asleep;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Work that is handed over is either seen by the sleeper's second look, or its waker rings.
#[test]
fn work_is_never_slept_over() {
    loom::model(|| {
        let asleep = Arc::new(Asleep::new());
        let work = Arc::new(AtomicBool::new(false));
        let waker = {
            let (asleep, work) = (Arc::clone(&asleep), Arc::clone(&work));
            loom::thread::spawn(move || {
                work.store(true, Relaxed);
                asleep.must_ring()
            })
        };
        asleep.announce();
        let seen = work.load(Relaxed);
        let rang = waker.join().unwrap();
        assert!(seen || rang, "the lcore sleeps, and nobody rings");
    });
}

/// Of several wakers one rings: a doorbell is a system call.
#[test]
fn one_waker_rings() {
    loom::model(|| {
        let asleep = Arc::new(Asleep::new());
        asleep.announce();
        let other = {
            let asleep = Arc::clone(&asleep);
            loom::thread::spawn(move || asleep.must_ring())
        };
        let here = asleep.must_ring();
        let there = other.join().unwrap();
        assert!(here != there, "{here} {there}");
        asleep.retract();
        assert!(!asleep.must_ring());
    });
}
