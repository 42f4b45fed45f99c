//! The steps that every item takes: queue, next, complete.

use super::class::Classes;
use super::homes::{Homes, Move};
use super::lambda::Lambda;
use super::npus::Npus;
use super::queues::Slab;
use super::{Dispatch, Limits, NpuSet, Refused, Step};
use crate::ids::{LambdaSlot, NpuId};

/// Queues, accounts and NPU loads of one dispatcher. `T` is what it hands over unseen.
pub struct Scheduler<T> {
    pub(super) limits: Limits,
    pub(super) npus: Npus,
    pub(super) classes: Classes,
    pub(super) homes: Homes,
    pub(super) lambdas: Vec<Lambda>,
    /// Items in flight, for each lambda one count an NPU.
    pub(super) cells: Vec<u16>,
    pub(super) slab: Slab<T>,
    /// Weights of the lambdas that have items waiting.
    pub(super) active_weight: u64,
}

impl<T> Scheduler<T> {
    /// A scheduler for `npus` NPUs, at most [`super::NPUS`], all alive. Limits out of their range are moved into it.
    #[must_use]
    pub fn new(npus: usize, limits: Limits) -> Self {
        let limits = Limits { quantum_cycles: limits.quantum_cycles.clamp(1, 1 << 32), ..limits };
        let npus = Npus::new(npus, limits.npu_in_flight);
        Self {
            limits,
            classes: Classes::new(npus.count()),
            homes: Homes::new(npus.count(), limits.patience),
            npus,
            lambdas: Vec::new(),
            cells: Vec::new(),
            slab: Slab::new(limits.waiting),
            active_weight: 0,
        }
    }

    /// Lets an item wait for its turn, behind those of its lambda with the same priority. Priorities above 7 count as 7.
    ///
    /// # Errors
    ///
    /// The item comes back with the reason.
    pub fn queue(&mut self, slot: LambdaSlot, priority: u8, item: T) -> Result<(), (Refused, T)> {
        let alive = self.npus.alive();
        let Some(lambda) = self.lambdas.get_mut(slot.index()) else { return Err((Refused::Gone, item)) };
        if !lambda.deployed || lambda.npus.and(alive).is_empty() {
            return Err((Refused::Gone, item));
        }
        if lambda.waiting >= lambda.queue_limit {
            return Err((Refused::QueueFull, item));
        }
        if self.slab.is_full() {
            return Err((Refused::NoRoom, item));
        }
        lambda.queue.push(&mut self.slab, priority, item);
        lambda.waiting += 1;
        if lambda.waiting == 1 {
            lambda.sparse = true;
            self.active_weight += u64::from(lambda.weight);
            self.review(slot.raw());
        }
        Ok(())
    }

    /// What to do next. Call it until it says [`Step::Wait`].
    #[expect(clippy::should_implement_trait, reason = "it has no end: a wait may be followed by more")]
    pub fn next(&mut self) -> Step<T> {
        loop {
            if let Some(dispatch) = self.pick() {
                return Step::Run(dispatch);
            }
            if !self.homes.is_concerned() {
                return Step::Wait;
            }
            match self.homes.decide(&self.lambdas, &self.npus) {
                Some(Move::Recall(slot)) => return self.recall(slot),
                Some(Move::Stop(slot)) => {
                    self.stop(slot);
                    return Step::Wait;
                }
                Some(Move::Resume(slot)) => self.resume(slot),
                None => return Step::Wait,
            }
        }
    }

    /// The next item of who is first among those that can run.
    #[inline]
    fn pick(&mut self) -> Option<Dispatch<T>> {
        let room = self.npus.room();
        while let Some(class) = self.classes.lowest(room) {
            let Some(slot) = self.classes.head(&mut self.lambdas, class, &mut self.npus) else { continue };
            let account = &mut self.lambdas[slot as usize].account;
            account.settle(self.classes.now(class));
            if account.deficit() <= 0 {
                self.classes.relist(&mut self.lambdas, slot);
                continue;
            }
            let npu = self.npus.emptiest(self.classes.npus(class))?;
            return self.dispatch(slot, npu, class);
        }
        None
    }

    /// Sends a listed lambda's next item to an NPU that has room.
    fn dispatch(&mut self, slot: u32, npu: NpuId, class: u16) -> Option<Dispatch<T>> {
        let cell = self.cell(slot, npu);
        let lambda = &mut self.lambdas[slot as usize];
        let item = lambda.queue.pop(&mut self.slab)?;
        lambda.waiting -= 1;
        lambda.in_flight += 1;
        lambda.account.charge();
        self.cells[cell] += 1;
        self.npus.start(npu, self.classes.round(class));
        self.classes.served(class);
        if lambda.waiting == 0 {
            lambda.account.rest();
            self.active_weight -= u64::from(lambda.weight);
        }
        let carry = lambda.pinned && lambda.home.is_none();
        lambda.stay += u64::from(lambda.pinned);
        self.homes.took(npu);
        if carry {
            lambda.home = Some(npu);
            self.homes.arrived(npu);
            self.enter(slot, Classes::of_home(npu));
        } else if lambda.is_eligible() {
            self.classes.relist(&mut self.lambdas, slot);
        }
        self.review(slot);
        Some(Dispatch { slot: LambdaSlot::new(slot), npu, carry, item })
    }

    /// An item is done and used this many cycles; 0 if it was not run: it costs nothing then and says nothing about its lambda.
    /// False if nothing of the lambda runs there: a late word from before the NPU died.
    pub fn complete(&mut self, npu: NpuId, slot: LambdaSlot, cycles: u64) -> bool {
        let Some(cell) = self.known_cell(npu, slot) else { return false };
        if self.cells[cell] == 0 {
            return false;
        }
        self.cells[cell] -= 1;
        self.npus.finish(npu);
        let lambda = &mut self.lambdas[slot.index()];
        let in_flight = lambda.in_flight;
        lambda.in_flight -= 1;
        if lambda.orphans > 0 {
            lambda.orphans -= 1;
        } else {
            let surplus = if lambda.waiting > 0 { lambda.concurrency } else { 0 };
            lambda.account.settle(self.classes.now(lambda.class));
            lambda.account.correct(in_flight, cycles, surplus);
        }
        if lambda.listed {
            self.classes.hasten(&mut self.lambdas, slot.raw());
        }
        self.review(slot.raw());
        true
    }

    /// Changes how many items one NPU takes, 1 to [`Limits::npu_in_flight`].
    pub fn limit_npu(&mut self, npu: NpuId, items: u32) {
        self.npus.limit_npu(npu, items);
    }

    /// Says how many of an NPU's items in flight wait for a call: it has room for as many others. The lambdas' own limits still
    /// count them.
    pub fn suspended(&mut self, npu: NpuId, items: u32) {
        self.npus.excuse(npu, items);
    }

    /// Does nothing wait? Items may be in flight.
    #[must_use]
    pub const fn idle(&self) -> bool {
        self.slab.used() == 0
    }

    /// Items of a lambda that wait.
    #[must_use]
    pub fn waiting(&self, slot: LambdaSlot) -> u32 {
        self.lambdas.get(slot.index()).map_or(0, |lambda| lambda.waiting)
    }

    /// Items of all lambdas that wait.
    #[must_use]
    pub const fn total_waiting(&self) -> u32 {
        self.slab.used()
    }

    /// Items in flight on an NPU, suspended ones counted.
    #[must_use]
    pub fn in_flight(&self, npu: NpuId) -> u32 {
        self.npus.load(npu)
    }

    /// A lambda's items in flight on all NPUs.
    #[must_use]
    pub fn lambda_in_flight(&self, slot: LambdaSlot) -> u32 {
        self.lambdas.get(slot.index()).map_or(0, |lambda| lambda.in_flight)
    }

    /// Where a pinned lambda's instance is.
    #[must_use]
    pub fn home(&self, slot: LambdaSlot) -> Option<NpuId> {
        self.lambdas.get(slot.index()).and_then(|lambda| lambda.home)
    }

    /// NPUs that are alive.
    #[must_use]
    pub const fn alive(&self) -> NpuSet {
        self.npus.alive()
    }

    /// What a lambda's items cost on average, as far as it is known.
    #[must_use]
    pub fn average_cycles(&self, slot: LambdaSlot) -> u64 {
        self.lambdas.get(slot.index()).map_or(0, |lambda| lambda.account.average())
    }

    /// Cycles that a lambda is in credit, or in debt if negative, with what its items in flight are taken to cost.
    #[must_use]
    pub fn deficit_cycles(&self, slot: LambdaSlot) -> i64 {
        self.lambdas.get(slot.index()).map_or(0, |lambda| {
            let mut account = lambda.account;
            account.settle(self.classes.now(lambda.class));
            account.deficit()
        })
    }

    /// How long an item that came now would wait, for a hint when to try again: what waits before it at average cost, slowed
    /// by the lambda's part of the active weights, at most 65,536 times, and spread over its NPUs.
    #[must_use]
    pub fn wait_cycles(&self, slot: LambdaSlot) -> u64 {
        let Some(lambda) = self.lambdas.get(slot.index()).filter(|lambda| lambda.deployed) else { return 0 };
        let weight = u64::from(lambda.weight);
        let active = self.active_weight.clamp(weight, weight << 16);
        let npus = if lambda.pinned { 1 } else { lambda.npus.and(self.npus.alive()).len().max(1) };
        let work = u128::from(lambda.waiting) * u128::from(lambda.account.average()) * u128::from(active);
        u64::try_from(work / u128::from(weight * u64::from(npus))).unwrap_or(u64::MAX)
    }

    /// Index of a lambda's cell for an NPU; both exist.
    fn cell(&self, slot: u32, npu: NpuId) -> usize {
        slot as usize * self.npus.count() + npu.index()
    }

    /// Index of a lambda's cell for an NPU, if both exist.
    fn known_cell(&self, npu: NpuId, slot: LambdaSlot) -> Option<usize> {
        (npu.index() < self.npus.count() && slot.index() < self.lambdas.len())
            .then(|| self.cell(slot.raw(), npu))
    }
}
