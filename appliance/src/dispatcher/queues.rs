//! Items that wait: one slab for all lambdas, and per lambda a list for each priority.

use super::PRIORITIES;
use super::list::NONE;

struct Entry<T> {
    next: u32,
    item: Option<T>,
}

/// All waiting items. Memory is what [`super::Limits::waiting`] says, however many lambdas there are.
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    used: u32,
    limit: u32,
}

impl<T> Slab<T> {
    /// Reserves room for `limit` items; its pages are touched as they are first used.
    pub(super) fn new(limit: u32) -> Self {
        let limit = limit.min(NONE - 1);
        Self { entries: Vec::with_capacity(limit as usize), free: NONE, used: 0, limit }
    }

    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    pub(super) const fn is_full(&self) -> bool {
        self.used == self.limit
    }

    /// Puts an item in; only if it is not full.
    #[inline]
    fn insert(&mut self, item: T) -> u32 {
        self.used += 1;
        if self.free == NONE {
            self.entries.push(Entry { next: NONE, item: Some(item) });
            return (self.entries.len() - 1) as u32;
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = std::mem::replace(&mut entry.next, NONE);
        entry.item = Some(item);
        index
    }

    /// Takes an item out, and says which one it was chained to.
    #[inline]
    fn take(&mut self, index: u32) -> (Option<T>, u32) {
        let entry = &mut self.entries[index as usize];
        let item = entry.item.take();
        let next = std::mem::replace(&mut entry.next, self.free);
        self.free = index;
        self.used -= 1;
        (item, next)
    }
}

/// One lambda's items: first in, first out within a priority, the highest priority first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    heads: [u32; PRIORITIES],
    tails: [u32; PRIORITIES],
    occupied: u8,
}

impl Queue {
    /// Without items.
    pub(super) const EMPTY: Self = Self { heads: [NONE; PRIORITIES], tails: [NONE; PRIORITIES], occupied: 0 };

    /// Appends an item; only if the slab is not full. Priorities beyond the highest count as the highest.
    #[inline]
    pub(super) fn push<T>(&mut self, slab: &mut Slab<T>, priority: u8, item: T) {
        let priority = usize::from(priority).min(PRIORITIES - 1);
        let index = slab.insert(item);
        if self.occupied & (1 << priority) == 0 {
            self.occupied |= 1 << priority;
            self.heads[priority] = index;
        } else {
            slab.entries[self.tails[priority] as usize].next = index;
        }
        self.tails[priority] = index;
    }

    /// Takes the oldest item of the highest priority.
    #[inline]
    pub(super) fn pop<T>(&mut self, slab: &mut Slab<T>) -> Option<T> {
        if self.occupied == 0 {
            return None;
        }
        let priority = self.occupied.ilog2() as usize;
        let (item, next) = slab.take(self.heads[priority]);
        self.heads[priority] = next;
        if next == NONE {
            self.occupied &= !(1 << priority);
        }
        item
    }
}
