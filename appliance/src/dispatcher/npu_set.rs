//! A set of NPUs as one word.

use std::fmt;

use super::NPUS;
use crate::ids::NpuId;

/// A set of NPUs, each below [`NPUS`]; greater ones are never in it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NpuSet(u128);

impl NpuSet {
    /// No NPU.
    pub const EMPTY: Self = Self(0);

    /// The first `npus` NPUs.
    #[must_use]
    pub const fn all(npus: usize) -> Self {
        if npus >= NPUS { Self(u128::MAX) } else { Self((1 << npus) - 1) }
    }

    /// One NPU.
    #[must_use]
    pub const fn only(npu: NpuId) -> Self {
        if npu.index() < NPUS { Self(1 << npu.index()) } else { Self::EMPTY }
    }

    /// Is it there?
    #[must_use]
    pub const fn contains(self, npu: NpuId) -> bool {
        self.0 & Self::only(npu).0 != 0
    }

    /// Has it none?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Has it exactly one?
    #[must_use]
    pub const fn is_single(self) -> bool {
        self.0.is_power_of_two()
    }

    /// How many it has.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that the other has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Puts one in.
    pub const fn insert(&mut self, npu: NpuId) {
        self.0 |= Self::only(npu).0;
    }

    /// Takes one out.
    pub const fn remove(&mut self, npu: NpuId) {
        self.0 &= !Self::only(npu).0;
    }

    /// The lowest.
    #[must_use]
    pub const fn first(self) -> Option<NpuId> {
        if self.0 == 0 { None } else { Some(NpuId::new(self.0.trailing_zeros() as u16)) }
    }

    /// The lowest above `npu`, or else the lowest of all: who asks with the last answer goes round.
    #[must_use]
    pub const fn next_after(self, npu: NpuId) -> Option<NpuId> {
        let above = if npu.index() + 1 < NPUS { self.0 & (u128::MAX << (npu.index() + 1)) } else { 0 };
        if above == 0 { self.first() } else { Self(above).first() }
    }

    /// Each in turn, lowest first.
    pub fn iter(self) -> impl Iterator<Item = NpuId> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let npu = rest.first()?;
            rest.remove(npu);
            Some(npu)
        })
    }
}

impl FromIterator<NpuId> for NpuSet {
    fn from_iter<I: IntoIterator<Item = NpuId>>(npus: I) -> Self {
        let mut set = Self::EMPTY;
        for npu in npus {
            set.insert(npu);
        }
        set
    }
}

impl fmt::Debug for NpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(NpuId::raw)).finish()
    }
}
