//! Room on the NPUs, and who has most of it.

use super::{NPUS, NpuSet};
use crate::ids::NpuId;

/// In-flight counts of all NPUs. NPUs with equally many in flight are kept as one set, so that the emptiest of any set is found in
/// a few words.
pub(super) struct Npus {
    count: usize,
    /// Highest limit of any NPU; those that are full are at this level.
    limit: u32,
    limits: Vec<u32>,
    /// Items of each NPU that wait for a call, and do not count.
    excused: Vec<u32>,
    alive: NpuSet,
    room: NpuSet,
    load: Vec<u32>,
    /// Living NPUs by items in flight; the last one is of those that are full.
    at_load: Vec<NpuSet>,
    last: NpuId,
    /// Round of the class that was served last on each.
    served: Vec<u64>,
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
            limits: vec![limit; count],
            excused: vec![0; count],
            alive: NpuSet::all(count),
            room: NpuSet::all(count),
            load: vec![0; count],
            at_load,
            last: NpuId::new(NPUS as u16 - 1),
            served: vec![0; count],
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
        self.load.get(npu.index()).copied().unwrap_or(0)
    }

    /// The one of a set with fewest items in flight and room for another; ties go round.
    #[inline]
    pub(super) fn emptiest(&self, of: NpuSet) -> Option<NpuId> {
        let levels = &self.at_load[..self.limit as usize];
        levels.iter().find_map(|level| level.and(of).next_after(self.last))
    }

    /// An item goes to a living NPU, of a class in that round.
    #[inline]
    pub(super) fn start(&mut self, npu: NpuId, round: u64) {
        self.last = npu;
        self.served[npu.index()] = round;
        self.set(npu, self.load[npu.index()] + 1);
    }

    /// An item leaves an NPU, or is parked there.
    #[inline]
    pub(super) fn finish(&mut self, npu: NpuId) {
        self.set(npu, self.load[npu.index()].saturating_sub(1));
    }

    /// A parked item goes on: even an NPU that is full must take it.
    pub(super) fn resume(&mut self, npu: NpuId) {
        self.set(npu, self.load[npu.index()] + 1);
    }

    /// The furthest round that was served on living NPUs of a set.
    pub(super) fn furthest(&self, of: NpuSet) -> u64 {
        of.and(self.alive).iter().map(|npu| self.served[npu.index()]).max().unwrap_or(0)
    }

    /// Rounds from `from` on count as that many less, as they do among classes.
    pub(super) fn forget(&mut self, from: u64, rounds: u64) {
        for served in self.served.iter_mut().filter(|served| **served >= from) {
            *served -= rounds;
        }
    }

    /// Empties an NPU and takes it out; false if it was out.
    pub(super) fn die(&mut self, npu: NpuId) -> bool {
        if !self.alive.contains(npu) {
            return false;
        }
        let level = self.level(npu);
        self.at_load[level].remove(npu);
        self.load[npu.index()] = 0;
        self.excused[npu.index()] = 0;
        self.alive.remove(npu);
        self.room.remove(npu);
        true
    }

    /// Puts an empty NPU back; false if it was in, or never existed.
    pub(super) fn revive(&mut self, npu: NpuId) -> bool {
        if npu.index() >= self.count || self.alive.contains(npu) {
            return false;
        }
        self.alive.insert(npu);
        self.room.insert(npu);
        self.at_load[0].insert(npu);
        true
    }

    /// Changes how many items an NPU takes, at most as many as any NPU.
    pub(super) fn limit_npu(&mut self, npu: NpuId, limit: u32) {
        if npu.index() >= self.count {
            return;
        }
        let old = self.level(npu);
        self.limits[npu.index()] = limit.clamp(1, self.limit);
        self.relevel(npu, old);
    }

    /// Says how many of an NPU's items wait for a call.
    pub(super) fn excuse(&mut self, npu: NpuId, items: u32) {
        if npu.index() >= self.count {
            return;
        }
        let old = self.level(npu);
        self.excused[npu.index()] = items;
        self.relevel(npu, old);
    }

    #[inline]
    fn set(&mut self, npu: NpuId, load: u32) {
        let old = self.level(npu);
        self.load[npu.index()] = load;
        self.relevel(npu, old);
    }

    /// Where an NPU is listed: by its load, or with those that are full.
    #[inline]
    fn level(&self, npu: NpuId) -> usize {
        let load = self.load[npu.index()].saturating_sub(self.excused[npu.index()]);
        if load < self.limits[npu.index()] { load as usize } else { self.limit as usize }
    }

    #[inline]
    fn relevel(&mut self, npu: NpuId, old: usize) {
        let new = self.level(npu);
        if new == old || !self.alive.contains(npu) {
            return;
        }
        self.at_load[old].remove(npu);
        self.at_load[new].insert(npu);
        if new < self.limit as usize { self.room.insert(npu) } else { self.room.remove(npu) }
    }
}
