//! A wheel of rounds: which lambdas have credit in which round. Those of the present round are ready: first the sparse ones,
//! which have a list of their own, then its bucket.
//!
//! Six levels of 64 buckets; a bucket of level L spans 64^L rounds. Typical debts are below 64 rounds and never leave level 0;
//! a lambda of level L is moved at most L times before its round comes, and empty rounds are skipped by the bit maps.

use super::lambda::Lambda;
use super::list::List;

const LEVELS: usize = 6;
const BITS: u32 = 6;
const BUCKETS: usize = 1 << BITS;
/// As far ahead as a lambda is put; one that has to wait longer is looked at then, and put in again.
const HORIZON: u64 = 62 << (BITS * (LEVELS as u32 - 1));
/// Place of lambdas that are in the sparse list.
const SPARSE: usize = LEVELS * BUCKETS;

/// Lambdas of one class by the round that they are due in.
pub(super) struct Rounds {
    now: u64,
    occupied: [u64; LEVELS],
    levels: u8,
    /// Of the present round only: it goes by when nobody is left here.
    sparse: List,
    buckets: Box<[[List; BUCKETS]; LEVELS]>,
}

impl Rounds {
    pub(super) fn new() -> Self {
        let buckets = Box::new([[List::EMPTY; BUCKETS]; LEVELS]);
        Self { now: 0, occupied: [0; LEVELS], levels: 0, sparse: List::EMPTY, buckets }
    }

    /// The present round.
    #[inline]
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// First of the lambdas that are due now.
    #[inline]
    pub(super) const fn ready(&self) -> Option<u32> {
        match self.sparse.head() {
            None => self.buckets[0][self.now as usize % BUCKETS].head(),
            sparse => sparse,
        }
    }

    /// Rounds until the next one in which somebody may be due; 0 if somebody is due now or nobody ever.
    #[inline]
    pub(super) fn ahead(&self) -> u64 {
        if self.levels == 0 || self.ready().is_some() {
            return 0;
        }
        let mut least = u64::MAX;
        let mut levels = self.levels;
        while levels != 0 {
            let level = levels.trailing_zeros();
            levels &= levels - 1;
            let present = self.now >> (BITS * level);
            let turned = self.occupied[level as usize].rotate_right((present % BUCKETS as u64) as u32);
            let start = (present + u64::from(turned.trailing_zeros())) << (BITS * level);
            least = least.min(start - self.now);
        }
        least
    }

    /// Puts a lambda behind those that are due in `rounds` rounds; now, behind those that are sparse or not as it is. One that has
    /// to wait for another round is not sparse any more.
    #[inline]
    pub(super) fn push(&mut self, lambdas: &mut [Lambda], slot: u32, rounds: u64) {
        let due = self.now + rounds.min(HORIZON);
        let lambda = &mut lambdas[slot as usize];
        lambda.due = due;
        lambda.sparse &= rounds == 0;
        if lambda.sparse {
            lambda.bucket = SPARSE as u16;
            self.sparse.push_back(lambdas, slot);
        } else {
            self.insert(lambdas, slot, due);
        }
    }

    #[inline]
    fn insert(&mut self, lambdas: &mut [Lambda], slot: u32, due: u64) {
        let mut level = 0;
        while (due >> (BITS * level)) - (self.now >> (BITS * level)) >= BUCKETS as u64 {
            level += 1;
        }
        let bucket = (due >> (BITS * level)) as usize % BUCKETS;
        lambdas[slot as usize].bucket = (level as usize * BUCKETS + bucket) as u16;
        self.occupied[level as usize] |= 1 << bucket;
        self.levels |= 1 << level;
        self.buckets[level as usize][bucket].push_back(lambdas, slot);
    }

    /// Takes a lambda out that is in.
    #[inline]
    pub(super) fn unlink(&mut self, lambdas: &mut [Lambda], slot: u32) {
        let place = usize::from(lambdas[slot as usize].bucket);
        if place == SPARSE {
            self.sparse.unlink(lambdas, slot);
            return;
        }
        let (level, bucket) = (place / BUCKETS, place % BUCKETS);
        let list = &mut self.buckets[level][bucket];
        list.unlink(lambdas, slot);
        if list.is_empty() {
            self.occupied[level] &= !(1 << bucket);
            if self.occupied[level] == 0 {
                self.levels &= !(1 << level);
            }
        }
    }

    /// Goes on by no more than [`Rounds::ahead`], and deals out the buckets of higher levels that begin there.
    pub(super) fn advance(&mut self, lambdas: &mut [Lambda], rounds: u64) {
        self.now += rounds;
        if self.levels <= 1 {
            return;
        }
        for level in (1..LEVELS).rev() {
            let bucket = (self.now >> (BITS * level as u32)) as usize % BUCKETS;
            while let Some(slot) = self.buckets[level][bucket].head() {
                self.unlink(lambdas, slot);
                let due = lambdas[slot as usize].due.max(self.now);
                self.insert(lambdas, slot, due);
            }
        }
    }

    /// Moves the present round on while nobody is in.
    pub(super) const fn skip(&mut self, rounds: u64) {
        self.now += rounds;
    }
}

#[cfg(test)]
impl Rounds {
    /// Every lambda that is in, after a check of lists and bit maps.
    pub(super) fn members(&self, lambdas: &mut [Lambda]) -> Vec<u32> {
        let mut members = self.sparse.nodes(lambdas);
        for &slot in &members {
            let lambda = &lambdas[slot as usize];
            assert_eq!(
                (lambda.sparse, lambda.due, lambda.bucket),
                (true, self.now, SPARSE as u16),
                "slot {slot}"
            );
        }
        for level in 0..LEVELS {
            assert_eq!(self.levels & (1 << level) != 0, self.occupied[level] != 0, "level {level}");
            for bucket in 0..BUCKETS {
                let nodes = self.buckets[level][bucket].nodes(lambdas);
                assert_eq!(self.occupied[level] & (1 << bucket) != 0, !nodes.is_empty());
                for &slot in &nodes {
                    assert!(lambdas[slot as usize].due >= self.now, "slot {slot} is overdue");
                    assert_eq!(usize::from(lambdas[slot as usize].bucket), level * BUCKETS + bucket);
                }
                members.extend(nodes);
            }
        }
        members
    }
}
