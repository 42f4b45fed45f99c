//! What the scheduler knows about one slot.

use super::account::Account;
use super::list::{Link, Linked};
use super::queues::Queue;
use super::{NpuSet, Share};
use crate::ids::NpuId;

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
    pub(super) deployed: bool,
    pub(super) pinned: bool,
    /// Its instance was asked back and has not come.
    pub(super) recalling: bool,
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
            deployed: false,
            pinned: false,
            recalling: false,
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
            npus: NpuSet::EMPTY,
        }
    }

    /// Takes over a share whose values were checked.
    pub(super) const fn adopt(&mut self, share: &Share) {
        self.deployed = true;
        self.weight = share.weight;
        self.queue_limit = share.queue;
        self.in_flight_limit = share.in_flight;
        self.npus = share.npus;
        self.pinned = share.pinned;
    }

    /// May an item be dispatched, if an NPU has room?
    #[inline]
    pub(super) const fn is_eligible(&self) -> bool {
        if self.waiting == 0 || self.in_flight >= self.in_flight_limit || self.recalling {
            return false;
        }
        match self.home {
            Some(home) => self.npus.contains(home),
            // What is still in flight somewhere must not get company elsewhere.
            None => !self.pinned || self.in_flight == 0,
        }
    }
}
