//! Room on the NPUs, and who has most of it.

use super::{NPUS, NpuSet};
use crate::ids::NpuId;

/// One NPU's counts.
#[derive(Clone, Copy, Debug)]
struct Npu {
    /// Items in flight.
    load: u32,
    /// Those of them that wait for a call, and do not count.
    excused: u32,
    limit: u32,
    /// Where it is listed, if it is alive: by the items that count, or with those that are full.
    level: u32,
    /// Round of the class that was served last on it.
    served: u64,
}

impl Npu {
    #[inline]
    const fn counted(&self) -> u32 {
        self.load.saturating_sub(self.excused)
    }
}

/// In-flight counts of all NPUs. NPUs with equally many in flight are kept as one set, so that the emptiest of any set is found in
/// a few words.
pub(super) struct Npus {
    count: usize,
    /// Highest limit of any NPU; those that are full are at this level.
    limit: u32,
    npus: Vec<Npu>,
    alive: NpuSet,
    room: NpuSet,
    /// Living NPUs by items in flight; the last one is of those that are full.
    at_load: Vec<NpuSet>,
    /// No NPU has fewer items in flight than this.
    least: u32,
    last: NpuId,
}

impl Npus {
    pub(super) fn new(count: usize, limit: u32) -> Self {
        let count = count.min(NPUS);
        let limit = limit.clamp(1, 256);
        let mut at_load = vec![NpuSet::EMPTY; limit as usize + 1];
        at_load[0] = NpuSet::all(count);
        Self {
            count,
            limit,
            npus: vec![Npu { load: 0, excused: 0, limit, level: 0, served: 0 }; count],
            alive: NpuSet::all(count),
            room: NpuSet::all(count),
            at_load,
            least: 0,
            last: NpuId::new(NPUS as u16 - 1),
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) const fn alive(&self) -> NpuSet {
        self.alive
    }

    /// Living NPUs that take another item.
    pub(super) const fn room(&self) -> NpuSet {
        self.room
    }

    /// Living NPUs that do not.
    pub(super) const fn full(&self) -> NpuSet {
        self.alive.without(self.room)
    }

    #[inline]
    pub(super) fn load(&self, npu: NpuId) -> u32 {
        self.npus.get(npu.index()).map_or(0, |npu| npu.load)
    }

    /// Items in flight that an NPU's limit counts.
    #[inline]
    pub(super) fn counted(&self, npu: NpuId) -> u32 {
        self.npus[npu.index()].counted()
    }

    /// The one of a set with fewest items in flight and room for another; ties go round.
    #[inline]
    pub(super) fn emptiest(&self, of: NpuSet) -> Option<NpuId> {
        let of = of.and(self.room);
        if of.is_single() {
            return of.first();
        }
        let levels = &self.at_load[self.least as usize..];
        levels.iter().find_map(|level| level.and(of).next_after(self.last))
    }

    /// An item goes to a living NPU, of a class in that round.
    #[inline]
    pub(super) fn start(&mut self, npu: NpuId, round: u64) {
        self.last = npu;
        let state = &mut self.npus[npu.index()];
        state.served = round;
        state.load += 1;
        self.relevel(npu);
    }

    /// An item leaves an NPU.
    #[inline]
    pub(super) fn finish(&mut self, npu: NpuId) {
        let state = &mut self.npus[npu.index()];
        state.load = state.load.saturating_sub(1);
        self.relevel(npu);
    }

    /// The furthest round that was served on living NPUs of a set.
    pub(super) fn furthest(&self, of: NpuSet) -> u64 {
        of.and(self.alive).iter().map(|npu| self.npus[npu.index()].served).max().unwrap_or(0)
    }

    /// Rounds from `from` on count as that many less, as they do among classes.
    pub(super) fn forget(&mut self, from: u64, rounds: u64) {
        for npu in self.npus.iter_mut().filter(|npu| npu.served >= from) {
            npu.served -= rounds;
        }
    }

    /// Empties an NPU and takes it out; false if it was out.
    pub(super) fn die(&mut self, npu: NpuId) -> bool {
        if !self.alive.contains(npu) {
            return false;
        }
        let state = &mut self.npus[npu.index()];
        state.load = 0;
        self.at_load[state.level as usize].remove(npu);
        self.alive.remove(npu);
        self.room.remove(npu);
        true
    }

    /// Puts an empty NPU back; false if it was in, or never existed.
    pub(super) fn revive(&mut self, npu: NpuId) -> bool {
        if npu.index() >= self.count || self.alive.contains(npu) {
            return false;
        }
        let state = &mut self.npus[npu.index()];
        (state.excused, state.level, self.least) = (0, 0, 0);
        self.alive.insert(npu);
        self.room.insert(npu);
        self.at_load[0].insert(npu);
        true
    }

    /// Changes how many items an NPU takes, at most as many as any NPU.
    pub(super) fn limit_npu(&mut self, npu: NpuId, limit: u32) {
        let Some(state) = self.npus.get_mut(npu.index()) else { return };
        state.limit = limit.clamp(1, self.limit);
        self.relevel(npu);
    }

    /// Says how many of an NPU's items wait for a call.
    pub(super) fn excuse(&mut self, npu: NpuId, items: u32) {
        let Some(state) = self.npus.get_mut(npu.index()) else { return };
        state.excused = items;
        self.relevel(npu);
    }

    /// Lists an NPU where its counts say; not if it is dead.
    #[inline]
    fn relevel(&mut self, npu: NpuId) {
        let state = &mut self.npus[npu.index()];
        let counted = state.counted();
        let level = if counted < state.limit { counted } else { self.limit };
        if level == state.level || !self.alive.contains(npu) {
            return;
        }
        let old = std::mem::replace(&mut state.level, level);
        self.at_load[old as usize].remove(npu);
        self.at_load[level as usize].insert(npu);
        self.least = self.least.min(level);
        while self.least < self.limit && self.at_load[self.least as usize].is_empty() {
            self.least += 1;
        }
        if level == self.limit {
            self.room.remove(npu);
        } else if old == self.limit {
            self.room.insert(npu);
        }
    }
}

#[cfg(test)]
impl Npus {
    /// Checks that an NPU is listed where its load says.
    pub(super) fn check(&self, npu: NpuId) {
        let below = &self.at_load[..self.least as usize];
        assert!(below.iter().all(|level| level.is_empty()), "{npu}");
        let counted = self.counted(npu);
        let alive = self.alive.contains(npu);
        assert_eq!(self.room.contains(npu), alive && counted < self.npus[npu.index()].limit, "{npu}");
        for (level, set) in self.at_load.iter().enumerate() {
            let expected = if counted < self.npus[npu.index()].limit { counted } else { self.limit };
            assert_eq!(set.contains(npu), alive && level as u32 == expected, "{npu}, level {level}");
        }
    }
}
