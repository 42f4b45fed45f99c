//! Numbers that nobody outside can foretell.

use std::hash::{BuildHasher, RandomState};

/// A keyed hash (SipHash, as the standard library has it) of 0, 1, 2 …, the key from the operating system. What it has said does not
/// tell what it says next, and no call of the system is made after it was made.
#[derive(Clone, Default)]
pub struct Random {
    key: RandomState,
    count: u64,
}

impl Random {
    /// One that says other things than all others.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.key.hash_one(self.count)
    }

    /// One of the first `bound` numbers, from 0; 0 if there are none. Of each 2³² numbers one may come up more often than another: too few
    /// to matter.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.number() as u32) * u64::from(bound)) >> 32) as u32
    }
}
