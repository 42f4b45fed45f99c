//! A timing wheel: one deadline for each entry of a fixed table, armed and disarmed in constant time.

use super::list::{Links, List};

/// Microseconds of a tick, as a power of two: 256 µs.
const TICK_SHIFT: u32 = 8;
/// Ticks of a turn: about a second. A deadline further away passes its bucket once for each turn.
const BUCKETS: u64 = 4096;
const UNARMED: u64 = u64::MAX;

/// Deadlines by entry number. They are rounded up to the tick.
#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Box<[List]>,
    /// Which buckets have entries.
    occupied: Box<[u64]>,
    links: Links,
    /// For each entry: the tick when it is due, and the bucket that it is in.
    due: Box<[(u64, u32)]>,
    /// The tick that is looked at; those before it are over.
    cursor: u64,
    armed: u32,
}

impl Wheel {
    /// For this many entries.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            buckets: vec![List::EMPTY; BUCKETS as usize].into_boxed_slice(),
            occupied: vec![0; BUCKETS as usize / 64].into_boxed_slice(),
            links: Links::new(entries),
            due: vec![(UNARMED, 0); entries].into_boxed_slice(),
            cursor: 0,
            armed: 0,
        }
    }

    /// How many entries have a deadline.
    pub(super) fn armed(&self) -> u32 {
        self.armed
    }

    /// Sets an entry's deadline, instead of the one that it had.
    pub(super) fn arm(&mut self, entry: u32, now_us: u64, deadline_us: u64) {
        self.disarm(entry);
        if self.armed == 0 {
            self.cursor = self.cursor.max(now_us >> TICK_SHIFT);
        }
        self.armed += 1;
        self.insert(entry, deadline_us.div_ceil(1 << TICK_SHIFT));
    }

    /// Takes an entry's deadline away, if it has one.
    pub(super) fn disarm(&mut self, entry: u32) {
        if self.due[entry as usize].0 != UNARMED {
            self.unlink(entry);
            self.due[entry as usize].0 = UNARMED;
            self.armed -= 1;
        }
    }

    /// An entry whose deadline has passed. It has none any more.
    pub(super) fn expired(&mut self, now_us: u64) -> Option<u32> {
        let now = now_us >> TICK_SHIFT;
        while self.armed > 0 && self.cursor <= now {
            let Some(entry) = self.buckets[(self.cursor % BUCKETS) as usize].first() else {
                let next = self.next_occupied()?;
                if next > now {
                    break;
                }
                self.cursor = next;
                continue;
            };
            let (tick, _) = self.due[entry as usize];
            if tick <= self.cursor {
                self.disarm(entry);
                return Some(entry);
            }
            self.unlink(entry);
            self.insert(entry, tick);
        }
        None
    }

    /// When to look again, if any entry has a deadline: not after the first of them.
    pub(super) fn next_us(&self) -> Option<u64> {
        (self.armed > 0).then(|| self.next_occupied().unwrap_or(self.cursor) << TICK_SHIFT)
    }

    /// The first tick from the cursor on whose bucket has entries.
    fn next_occupied(&self) -> Option<u64> {
        let start = self.cursor % BUCKETS;
        let words = self.occupied.len() as u64;
        for step in 0..=words {
            let at = (start / 64 + step) % words;
            let mut word = self.occupied[at as usize];
            if step == 0 {
                word &= u64::MAX << (start % 64);
            }
            if word != 0 {
                let bucket = at * 64 + u64::from(word.trailing_zeros());
                return Some(self.cursor + (bucket + BUCKETS - start) % BUCKETS);
            }
        }
        None
    }

    fn insert(&mut self, entry: u32, tick: u64) {
        let bucket = (tick.clamp(self.cursor, self.cursor + BUCKETS - 1) % BUCKETS) as u32;
        self.due[entry as usize] = (tick, bucket);
        self.occupied[bucket as usize / 64] |= 1 << (bucket % 64);
        self.links.push(&mut self.buckets[bucket as usize], entry);
    }

    fn unlink(&mut self, entry: u32) {
        let (_, bucket) = self.due[entry as usize];
        let list = &mut self.buckets[bucket as usize];
        self.links.remove(list, entry);
        if list.first().is_none() {
            self.occupied[bucket as usize / 64] &= !(1 << (bucket % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(
            start in 0..u64::from(u32::MAX) << 16,
            steps in proptest::collection::vec((0..8_u32, 0..4_000_000_u64, any::<bool>(), 0..600_000_u64), 1..200),
        ) {
            let mut wheel = Wheel::new(8);
            let mut reference = BTreeMap::new();
            let mut now_us = start;
            for (entry, delay_us, arm, pass_us) in steps {
                if arm {
                    wheel.arm(entry, now_us, now_us + delay_us);
                    reference.insert(entry, now_us + delay_us);
                } else {
                    wheel.disarm(entry);
                    reference.remove(&entry);
                }
                prop_assert_eq!(wheel.armed() as usize, reference.len());
                if let Some(first_us) = reference.values().min() {
                    prop_assert!(wheel.next_us().expect("armed") <= first_us + (1 << TICK_SHIFT));
                } else {
                    prop_assert_eq!(wheel.next_us(), None);
                }
                now_us += pass_us;
                while let Some(entry) = wheel.expired(now_us) {
                    let due_us = reference.remove(&entry).expect("armed");
                    prop_assert!(due_us <= now_us, "early");
                }
                for due_us in reference.values() {
                    prop_assert!(due_us + (1 << TICK_SHIFT) > now_us, "late");
                }
            }
        }
    }
}
