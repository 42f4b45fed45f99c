//! Station 4b: from one lcore to another. A [`Job`] is a request on its way to its lambda; a [`Client`] end hands jobs over and
//! gets them back done, a [`Server`] end takes them; a [`Doorbell`] wakes the lcore behind an end if it sleeps.
//!
//! Whoever hands a job over gets it back, so that every box returns to where it came from, and a reply leaves by the queue that
//! its request came in on. A link holds at most as many jobs as its rings, both ways, so giving back never fails.
//! Cost: `scripts/bench.sh handoff`.

mod asleep;
mod bell;
mod doorbell;
mod job;
mod link;
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub use bell::Bell;
pub use doorbell::Doorbell;
pub use job::{Call, End, Errand, Job, MessageRef, Request, Route, Ticket};
pub use link::{Client, Flushed, Jobs, Lost, Server, Sink, Source, memory};
