//! Ways out: generations that nothing new reaches, until nothing of them is left.

use std::time::Instant;

use dpdk_bindings::external::Slot;
use lnic_registry::LambdaKey;

use super::Live;
use super::deployed::Generation;
use super::error::DeployError;
use super::services::Hops;
use super::worker::Sent;
use crate::frame::Frame;
use crate::ids::{LambdaId, LambdaRef, LcoreId};
use crate::island::State;
use crate::memory::Deployment;
use crate::path::{Command, Unload};

/// Generations in one command.
const CHUNK: usize = 64;

/// A generation on its way out, or one that sleeps.
pub(super) struct Former {
    pub(super) key: LambdaKey,
    pub(super) number: u64,
    pub(super) id: LambdaId,
    pub(super) reference: LambdaRef,
    /// What is left of its memory once no instance is.
    deployment: Option<Deployment>,
    pub(super) place: Option<u32>,
    /// Kept until no lcore has a request to one of them.
    _hops: Hops,
    /// The first view that does not lead to it.
    view: u64,
    since: Instant,
    step: Step,
    /// It sleeps: its rules stay, and so does its slot.
    keeps_slot: bool,
    /// Its statistics go on in its lambda's.
    was_published: bool,
}

/// How far it is.
enum Step {
    /// Something of it may be under way.
    Draining,
    /// These lcores have not given it back; another may have kept it.
    Unloading { lcores: Vec<LcoreId>, kept: bool },
    /// It is gone, and only its slot is kept.
    Asleep,
}

impl Former {
    fn new(generation: Generation, view: u64) -> Self {
        Self {
            number: generation.wanted.generation,
            id: generation.spec().id,
            reference: generation.reference,
            place: generation.place,
            deployment: generation.deployment,
            _hops: generation.hops,
            key: generation.wanted.key,
            view,
            since: Instant::now(),
            step: Step::Draining,
            keeps_slot: false,
            was_published: true,
        }
    }

    /// Of a generation that the view with this number replaced.
    pub(super) fn replaced(generation: Generation, view: u64) -> Self {
        Self::new(generation, view)
    }

    /// Of a generation that was never published. What it would have taken over is another's.
    pub(super) fn abandoned(mut generation: Generation, view: u64, passed_on: bool) -> Self {
        if passed_on {
            generation.place = None;
        }
        Self { was_published: false, ..Self::new(generation, view) }
    }

    /// It need not keep its slot from this view on.
    pub(super) fn leave(&mut self, view: u64) {
        self.keeps_slot = false;
        self.view = view;
        if matches!(self.step, Step::Asleep) {
            self.step = Step::Draining;
        }
    }

    /// Is nothing left to do for it?
    pub(super) fn is_asleep(&self) -> bool {
        matches!(self.step, Step::Asleep)
    }

    /// Does its lambda sleep, or begin to?
    pub(super) fn sleeps(&self) -> bool {
        self.keeps_slot
    }
}

impl<F: Frame<External = Slot>> Live<F> {
    /// Removes lambdas: from the next view on nothing leads to them. Unknown ones say so.
    pub fn remove(&mut self, keys: &[&LambdaKey]) -> Vec<Result<(), DeployError>> {
        self.advance();
        let view = self.view + 1;
        let mut remove = |key: &LambdaKey| {
            let old = self.lambdas.remove(key).ok_or_else(|| DeployError::NoLambda(key.clone()))?;
            match self.formers.iter_mut().find(|former| former.reference == old.reference) {
                Some(former) => former.leave(view),
                None => self.formers.push(Former::replaced(old, view)),
            }
            self.stats.remove(key);
            Ok(())
        };
        let removed: Vec<Result<(), DeployError>> = keys.iter().map(|key| remove(key)).collect();
        if removed.iter().any(Result::is_ok) {
            self.index_ids();
            self.publish(&[]);
        }
        removed
    }

    /// Lets a lambda sleep: its instances and its memory go once nothing is under way, its rules stay. Who comes then waits until it is
    /// woken.
    pub fn sleep(&mut self, key: &LambdaKey) -> Result<(), DeployError> {
        self.advance();
        let Some(lambda) = self.lambdas.get_mut(key) else { return Err(DeployError::NoLambda(key.clone())) };
        if lambda.is_asleep() {
            return Ok(());
        }
        self.quarantine.set(lambda.reference.slot, State::Asleep);
        lambda.known = State::Asleep;
        lambda.npus.clear();
        let former = Former {
            key: key.clone(),
            number: lambda.wanted.generation,
            id: lambda.spec().id,
            reference: lambda.reference,
            deployment: lambda.deployment.take(),
            place: lambda.place.take(),
            _hops: lambda.hops.clone(),
            // Until every lcore has turned once more, one of them may not have seen that it sleeps.
            view: self.view + 1,
            since: Instant::now(),
            step: Step::Draining,
            keeps_slot: true,
            was_published: true,
        };
        self.formers.push(former);
        self.publish(&[]);
        Ok(())
    }

    /// Prepares another generation of a lambda for so many NPUs; nothing if it has them. Begins and completes a batch.
    pub fn begin_scale(&mut self, key: &LambdaKey, replicas: Option<u32>) -> Result<bool, DeployError> {
        let Some(lambda) = self.lambdas.get(key) else { return Err(DeployError::NoLambda(key.clone())) };
        let wanted = super::deployed::Wanted { replicas, ..lambda.wanted.clone() };
        let npus = self.npus(&wanted)?;
        if !lambda.is_asleep() && (lambda.npus == npus || lambda.is_pinned()) {
            if let Some(lambda) = self.lambdas.get_mut(key) {
                lambda.wanted.replicas = replicas;
            }
            return Ok(false);
        }
        self.begin();
        self.prepare_again(key, replicas);
        self.complete();
        Ok(true)
    }

    /// The same for a lambda that sleeps, with the NPUs that it had. False if it is awake.
    pub fn begin_wake(&mut self, key: &LambdaKey) -> Result<bool, DeployError> {
        let Some(lambda) = self.lambdas.get(key) else { return Err(DeployError::NoLambda(key.clone())) };
        if !lambda.is_asleep() {
            return Ok(false);
        }
        self.begin_scale(key, lambda.wanted.replicas.filter(|&replicas| replicas > 0))
    }

    /// Gives back what has drained, and frees what came back.
    pub(super) fn advance_formers(&mut self) {
        let mut drained: Vec<LambdaRef> = Vec::new();
        for former in &self.formers {
            let (slot, view) = (former.reference.slot, former.view);
            if !matches!(former.step, Step::Draining)
                || !self.workers.iter().all(|worker| worker.is_dead || worker.view >= view)
            {
                continue;
            }
            let rests = self.workers.iter().all(|worker| worker.outstanding(slot) == 0);
            // What was on an NPU that died never settles.
            let is_stricken = self.stricken.contains(&former.reference);
            if rests || is_stricken && former.since.elapsed() >= self.write_off {
                drained.push(former.reference);
            }
        }
        for chunk in drained.chunks(CHUNK) {
            let mut lcores = Vec::new();
            for worker in self.workers.iter_mut().filter(|worker| !worker.is_dead) {
                lcores.push(worker.lcore);
                worker.send(Command::Unload(Unload::of(chunk.to_vec())), Sent::Unload);
            }
            for former in &mut self.formers {
                if chunk.contains(&former.reference) {
                    former.step = Step::Unloading { lcores: lcores.clone(), kept: false };
                }
            }
        }
        self.free();
    }

    /// An lcore has given lambdas back.
    pub(super) fn unloaded(&mut self, lcore: LcoreId, unload: Unload<F>) {
        let Unload { lambdas, loaded, messages, kept } = unload;
        // Instances are freed here, and with the last of them their memory.
        drop(loaded);
        for former in self.formers.iter_mut().filter(|former| lambdas.contains(&former.reference)) {
            if let Step::Unloading { lcores, kept: any } = &mut former.step {
                lcores.retain(|it| *it != lcore);
                *any |= kept.contains(&former.reference);
            }
        }
        for slots in messages {
            let reference = slots.lambda();
            if slots.is_in_use() {
                self.resting.push((reference, slots));
            }
        }
    }

    /// An lcore gives nothing back any more.
    pub(super) fn forget_lcore(&mut self, lcore: LcoreId) {
        for former in &mut self.formers {
            if let Step::Unloading { lcores, .. } = &mut former.step {
                lcores.retain(|it| *it != lcore);
            }
        }
    }

    /// Frees generations that are back from everywhere.
    fn free(&mut self) {
        self.resting.retain(|(_, slots)| slots.is_in_use());
        let mut at = 0;
        while at < self.formers.len() {
            let in_force = self.all_look_at(self.formers[at].view);
            let former = &mut self.formers[at];
            let kept = match &former.step {
                // While it is unloaded its slot can be given up too: then nothing must lead there.
                Step::Unloading { lcores, kept } if lcores.is_empty() && in_force => *kept,
                _ => {
                    at += 1;
                    continue;
                }
            };
            if kept {
                // A message is under way after all.
                former.step = Step::Draining;
                former.since = Instant::now();
                at += 1;
                continue;
            }
            let reference = former.reference;
            if self.resting.iter().any(|(resting, _)| *resting == reference) {
                at += 1;
                continue;
            }
            former.deployment = None;
            if let Some(place) = former.place.take() {
                self.places.free(place);
            }
            if former.keeps_slot {
                former.step = Step::Asleep;
                at += 1;
                continue;
            }
            let former = self.formers.swap_remove(at);
            self.stricken.remove(&reference);
            self.workers.iter_mut().for_each(|worker| worker.write_off(reference.slot));
            if former.was_published {
                self.stats.gone(&former.key, reference.slot);
            }
            self.quarantine.set(reference.slot, State::Lost);
            self.slots.free(reference.slot);
            self.tenants.leave(&former.key.namespace);
        }
    }
}
