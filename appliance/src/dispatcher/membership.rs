//! What changes who may run where: deploying and removing lambdas, moving homes, NPUs that die and return.

use super::account::Account;
use super::class::{CLASSES, Classes};
use super::lambda::Lambda;
use super::scheduler::Scheduler;
use super::{Loss, NpuSet, SLOTS, Share, ShareError, Step};
use crate::ids::{LambdaSlot, NpuId};

impl<T> Scheduler<T> {
    /// Gives a lambda its share, or another one while its items wait. One that is new in its slot starts owing nothing.
    /// Allocates if it is not [provided](Self::provide) for.
    ///
    /// # Errors
    ///
    /// [`ShareError`] says what is wrong with the share; nothing has changed then.
    pub fn deploy(&mut self, slot: LambdaSlot, share: Share) -> Result<(), ShareError> {
        let share = self.checked(slot, share)?;
        let limit = CLASSES;
        let class = self.classes.acquire(share.npus).ok_or(ShareError::TooManySets { limit })?;
        self.reserve(slot.index() + 1);
        let index = slot.raw();
        let lambda = &mut self.lambdas[slot.index()];
        if lambda.deployed {
            self.classes.release(lambda.share_class);
            if lambda.waiting > 0 {
                self.active_weight -= u64::from(lambda.weight);
            }
        } else {
            lambda.account = Account::new(self.limits.quantum_cycles);
            (lambda.stay, lambda.least_stay) = (0, 0);
        }
        if lambda.listed {
            self.classes.unlist(&mut self.lambdas, index);
        }
        let lambda = &mut self.lambdas[slot.index()];
        lambda.account.settle(self.classes.now(lambda.class));
        lambda.adopt(&share);
        let places = share.npus.len() * self.npus.limit();
        lambda.concurrency = share.in_flight.min(if share.pinned { self.npus.limit() } else { places });
        lambda.account.set_credit(u64::from(share.weight) * self.limits.quantum_cycles);
        lambda.share_class = class;
        if lambda.waiting > 0 {
            self.active_weight += u64::from(lambda.weight);
        } else {
            lambda.account.rest();
        }
        if !share.pinned {
            lambda.home = None;
            lambda.recalling = false;
        }
        let class = lambda.home.map_or(class, Classes::of_home);
        self.enter(index, class);
        self.review(index);
        Ok(())
    }

    fn checked(&self, slot: LambdaSlot, share: Share) -> Result<Share, ShareError> {
        if slot.raw() >= SLOTS {
            return Err(ShareError::Slot { slot: slot.raw() });
        }
        if !(1..=1000).contains(&share.weight) {
            return Err(ShareError::Weight { weight: share.weight });
        }
        if !(1..=u32::from(u16::MAX)).contains(&share.in_flight) {
            return Err(ShareError::InFlight { in_flight: share.in_flight });
        }
        let npus = share.npus.and(NpuSet::all(self.npus.count()));
        if npus.is_empty() {
            return Err(ShareError::NoNpu { npus: self.npus.count() });
        }
        Ok(Share { npus, ..share })
    }

    /// Makes room for slots below `slots`, and for all classes: whoever is deployed there later allocates nothing.
    pub fn provide(&mut self, slots: usize) {
        self.reserve(slots);
        self.classes.provide();
    }

    /// Takes out one item of a lambda that waits; `None` if none does.
    pub fn take(&mut self, slot: LambdaSlot) -> Option<T> {
        let lambda = self.lambdas.get_mut(slot.index())?;
        let taken = lambda.queue.pop(&mut self.slab)?;
        lambda.waiting -= 1;
        if lambda.waiting == 0 {
            self.active_weight -= u64::from(lambda.weight);
            lambda.stopped = false;
            lambda.account.rest();
        }
        self.review(slot.raw());
        Some(taken)
    }

    fn reserve(&mut self, slots: usize) {
        if self.lambdas.len() < slots {
            self.lambdas.resize(slots, Lambda::empty());
            self.cells.resize(slots * self.npus.count(), 0);
            self.homes.reserve(slots);
        }
    }

    /// Hands back all items of a lambda that wait.
    pub fn drain(&mut self, slot: LambdaSlot, mut item: impl FnMut(T)) {
        let Some(lambda) = self.lambdas.get_mut(slot.index()) else { return };
        if lambda.waiting == 0 {
            return;
        }
        self.active_weight -= u64::from(lambda.weight);
        lambda.waiting = 0;
        lambda.stopped = false;
        lambda.account.rest();
        while let Some(taken) = lambda.queue.pop(&mut self.slab) {
            item(taken);
        }
        self.review(slot.raw());
    }

    /// Hands back the items that wait for lambdas all of whose NPUs are dead. Looks at every slot.
    pub fn drain_stranded(&mut self, mut item: impl FnMut(T)) {
        let alive = self.npus.alive();
        for slot in 0..self.lambdas.len() {
            if self.lambdas[slot].npus.and(alive).is_empty() {
                self.drain(LambdaSlot::new(slot as u32), &mut item);
            }
        }
    }

    /// Takes a lambda out and hands back all its items that wait. What is in flight completes as before, at nobody's cost.
    pub fn remove(&mut self, slot: LambdaSlot, item: impl FnMut(T)) {
        self.drain(slot, item);
        let Some(lambda) = self.lambdas.get_mut(slot.index()).filter(|lambda| lambda.deployed) else {
            return;
        };
        lambda.deployed = false;
        lambda.orphans = lambda.in_flight;
        lambda.home = None;
        lambda.recalling = false;
        self.classes.release(lambda.share_class);
        self.review(slot.raw());
    }

    /// A pinned lambda's instance has come back after [`Step::Recall`]: its next dispatch carries it to a new home. False if
    /// nobody asked for it, or its NPU died meanwhile.
    pub fn recalled(&mut self, slot: LambdaSlot) -> bool {
        let Some(lambda) = self.lambdas.get_mut(slot.index()).filter(|lambda| lambda.recalling) else {
            return false;
        };
        lambda.recalling = false;
        lambda.stopped = false;
        lambda.home = None;
        lambda.settle_longer();
        let class = lambda.share_class;
        self.enter(slot.raw(), class);
        self.review(slot.raw());
        true
    }

    /// Dispatches nothing of a lambda until nothing of it is in flight, so that it can be recalled.
    pub(super) fn stop(&mut self, slot: u32) {
        self.lambdas[slot as usize].stopped = true;
        self.review(slot);
    }

    /// Gives up to move a lambda that was stopped.
    pub(super) fn resume(&mut self, slot: u32) {
        let lambda = &mut self.lambdas[slot as usize];
        lambda.stopped = false;
        lambda.settle_longer();
        self.review(slot);
    }

    /// Starts a recall of a lambda that has a home.
    pub(super) fn recall(&mut self, slot: u32) -> Step<T> {
        let lambda = &mut self.lambdas[slot as usize];
        let Some(npu) = lambda.home else { return Step::Wait };
        lambda.recalling = true;
        self.review(slot);
        Step::Recall { npu, slot: LambdaSlot::new(slot) }
    }

    /// An NPU died: it gets nothing more, and what was in flight there is written off. Tells what each lambda lost, and
    /// returns how many items that is. Looks at every slot.
    pub fn npu_dead(&mut self, npu: NpuId, mut lost: impl FnMut(Loss)) -> u32 {
        if !self.npus.die(npu) {
            return 0;
        }
        let mut total = 0;
        for slot in 0..self.lambdas.len() {
            let cell = &mut self.cells[slot * self.npus.count() + npu.index()];
            let items = u32::from(std::mem::take(cell));
            let lambda = &mut self.lambdas[slot];
            let home = lambda.home == Some(npu);
            if items == 0 && !home {
                continue;
            }
            let orphans = lambda.orphans.min(items);
            lambda.account.write_off(lambda.in_flight - lambda.orphans, items - orphans);
            lambda.orphans -= orphans;
            lambda.in_flight -= items;
            total += items;
            if home {
                lambda.home = None;
                lambda.recalling = false;
                lambda.stopped = false;
                let class = lambda.share_class;
                self.enter(slot as u32, class);
            }
            self.review(slot as u32);
            lost(Loss { slot: LambdaSlot::new(slot as u32), items, home });
        }
        total
    }

    /// An NPU is there again, empty. False if it never was away.
    pub fn npu_alive(&mut self, npu: NpuId) -> bool {
        self.npus.revive(npu)
    }

    /// Makes a lambda one of another class, with what it owes; it is not listed afterwards.
    pub(super) fn enter(&mut self, slot: u32, class: u16) {
        if self.lambdas[slot as usize].listed {
            self.classes.unlist(&mut self.lambdas, slot);
        }
        let lambda = &mut self.lambdas[slot as usize];
        if lambda.class != class {
            lambda.account.settle(self.classes.now(lambda.class));
            // Rounds that the class missed while it was idle are no income of who comes new.
            self.classes.join(class, &self.npus);
            lambda.class = class;
            lambda.account.enter(self.classes.now(class));
        }
    }

    /// Lists a lambda, or takes it out, as it may run or not.
    #[inline]
    pub(super) fn review(&mut self, slot: u32) {
        let lambda = &mut self.lambdas[slot as usize];
        if lambda.movable.is_some() || lambda.home.is_some() {
            self.homes.review(lambda, slot);
        }
        match (lambda.is_eligible(), lambda.listed) {
            (true, false) => self.classes.list(&mut self.lambdas, slot, &self.npus),
            (false, true) => self.classes.unlist(&mut self.lambdas, slot),
            _ => {}
        }
    }
}

#[cfg(test)]
impl<T> Scheduler<T> {
    /// Checks every count against what it counts.
    pub(super) fn check(&mut self) {
        self.classes.check(&mut self.lambdas);
        let (mut waiting, mut weight) = (0, 0);
        let mut load = vec![0; self.npus.count()];
        for (slot, lambda) in self.lambdas.iter().enumerate() {
            let cells = &self.cells[slot * self.npus.count()..][..self.npus.count()];
            assert_eq!(lambda.listed, lambda.is_eligible(), "slot {slot}");
            let in_flight: u32 = cells.iter().copied().map(u32::from).sum();
            assert_eq!(lambda.in_flight, in_flight, "slot {slot}");
            waiting += lambda.waiting;
            weight += if lambda.waiting > 0 { u64::from(lambda.weight) } else { 0 };
            for (load, &cell) in load.iter_mut().zip(cells) {
                *load += u32::from(cell);
            }
        }
        assert_eq!((waiting, weight), (self.slab.used(), self.active_weight));
        for (npu, &load) in load.iter().enumerate() {
            let npu = NpuId::new(npu as u16);
            assert_eq!(load, self.npus.load(npu), "{npu}");
            self.npus.check(npu);
        }
    }
}
