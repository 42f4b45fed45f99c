//! UDP ports that requests leave from.

use std::ops::RangeInclusive;

use super::Random;

/// One lcore's UDP ports. Those that were given back last, half of all, rest; which comes next is drawn by lot among the others: that
/// cannot be foretold, and what comes late to a port finds nobody.
pub struct UdpPorts {
    /// Free ones, as a ring: those that have rested longest first.
    ring: Box<[u16]>,
    head: usize,
    free: usize,
}

impl UdpPorts {
    /// All of them.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let ring: Box<[u16]> = range.collect();
        Self { head: 0, free: ring.len(), ring }
    }

    /// How many there are, free or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// True if there are none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// A port that nobody uses, and nobody has for a while; `None` if there is none.
    pub fn take(&mut self, random: &mut Random) -> Option<u16> {
        let rested = self.free.checked_sub(self.ring.len() / 2).filter(|rested| *rested > 0)?;
        let drawn = self.at(random.below(rested as u32) as usize);
        self.ring.swap(self.head, drawn);
        let port = self.ring[self.head];
        self.head = self.at(1);
        self.free -= 1;
        Some(port)
    }

    /// A port that was taken is not used any more.
    pub fn give_back(&mut self, port: u16) {
        if self.free < self.ring.len() {
            let tail = self.at(self.free);
            self.ring[tail] = port;
            self.free += 1;
        }
    }

    /// The place of the nth free one.
    fn at(&self, nth: usize) -> usize {
        (self.head + nth) % self.ring.len().max(1)
    }
}
