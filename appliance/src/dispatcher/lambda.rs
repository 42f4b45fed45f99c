//! What the scheduler knows about one slot.

use super::account::Account;
use super::list::{Link, Linked};
use super::queues::Queue;
use super::{NpuSet, Share};
use crate::ids::NpuId;

/// Items that are dispatched at a new home before a lambda is moved again; twice as many after each move that did not last, up
/// to the most.
const LEAST_STAY: u64 = 64;
const MOST_LEAST_STAY: u64 = 4096;
/// A move has lasted if its lambda stayed for that many times the items that it had to.
const LASTING: u64 = 16;

/// One slot: a lambda, or a place for one. Fields that every step touches come first.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Lambda {
    link: Link,
    /// Round that it is listed for.
    pub(super) due: u64,
    /// Where in the wheel it is listed.
    pub(super) bucket: u16,
    /// Class that it belongs to now.
    pub(super) class: u16,
    /// Class of all NPUs of its share.
    pub(super) share_class: u16,
    /// Is it in its class's wheel?
    pub(super) listed: bool,
    /// Its queue was empty, and since then it has not used up the credit of a round.
    pub(super) sparse: bool,
    pub(super) deployed: bool,
    pub(super) pinned: bool,
    /// Its instance was asked back and has not come.
    pub(super) recalling: bool,
    /// Nothing of it is dispatched, so that it can be recalled once nothing is in flight.
    pub(super) stopped: bool,
    pub(super) account: Account,
    pub(super) queue: Queue,
    pub(super) waiting: u32,
    pub(super) in_flight: u32,
    /// Of those in flight, items of a lambda that was removed from this slot: nobody is charged for them.
    pub(super) orphans: u32,
    pub(super) queue_limit: u32,
    pub(super) in_flight_limit: u32,
    /// Most items that can be running at once.
    pub(super) concurrency: u32,
    pub(super) weight: u32,
    pub(super) home: Option<NpuId>,
    /// Which list of homes it is in.
    pub(super) movable: Option<u16>,
    /// Items dispatched at its present home.
    pub(super) stay: u64,
    /// Items that have to be dispatched there before it is moved again; 0 if it never was.
    pub(super) least_stay: u64,
    pub(super) npus: NpuSet,
}

impl Linked for Lambda {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Lambda {
    /// A place without a lambda.
    pub(super) const fn empty() -> Self {
        Self {
            link: Link::UNLINKED,
            due: 0,
            bucket: 0,
            class: 0,
            share_class: 0,
            listed: false,
            sparse: false,
            deployed: false,
            pinned: false,
            recalling: false,
            stopped: false,
            account: Account::new(1),
            queue: Queue::EMPTY,
            waiting: 0,
            in_flight: 0,
            orphans: 0,
            queue_limit: 0,
            in_flight_limit: 0,
            concurrency: 0,
            weight: 0,
            home: None,
            movable: None,
            stay: 0,
            least_stay: 0,
            npus: NpuSet::EMPTY,
        }
    }

    /// Takes over a share whose values were checked.
    pub(super) const fn adopt(&mut self, share: &Share) {
        self.deployed = true;
        self.stopped = false;
        self.weight = share.weight;
        self.queue_limit = share.queue;
        self.in_flight_limit = share.in_flight;
        self.npus = share.npus;
        self.pinned = share.pinned;
    }

    /// It was moved, or should have been in vain: the next move is that much away. However lambdas compete, moves cost one
    /// in a thousand items in the long run.
    pub(super) fn settle_longer(&mut self) {
        let lasted = self.least_stay == 0 || self.stay >= LASTING * self.least_stay;
        self.least_stay = if lasted { LEAST_STAY } else { (2 * self.least_stay).min(MOST_LEAST_STAY) };
        self.stay = 0;
    }

    /// Was it long enough at its home?
    pub(super) const fn is_settled(&self) -> bool {
        self.stay >= self.least_stay
    }

    /// May an item be dispatched, if an NPU has room?
    #[inline]
    pub(super) const fn is_eligible(&self) -> bool {
        if self.waiting == 0 || self.in_flight >= self.in_flight_limit || self.recalling || self.stopped {
            return false;
        }
        match self.home {
            Some(home) => self.npus.contains(home),
            // What is still in flight somewhere must not get company elsewhere.
            None => !self.pinned || self.in_flight == 0,
        }
    }
}
