//! What is deployed now, and what its counters mean: a slot counts on from whoever had it before, and a lambda goes on from its earlier
//! generations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lnic_registry::LambdaKey;

use super::{DeploymentStats, LambdaStats, ServiceStats, Times};
use crate::control::inspect::Inspection;
use crate::ids::{LambdaId, LambdaSlot};
use crate::island::{Quarantine, State};
use crate::memory::{Account, Tier};
use crate::observe::counters::{LambdaCounters, LcoreCounters};
use crate::observe::histogram::{self, BUCKETS};

/// What a generation of a lambda is, as it was deployed.
#[derive(Clone, Debug)]
pub struct LambdaSource {
    /// Whose it is, and its name.
    pub key: LambdaKey,
    /// Its number.
    pub generation: u64,
    /// λ-RPC lambda ID.
    pub id: LambdaId,
    /// NPU time relative to other lambdas.
    pub weight: u32,
    /// Time that an invocation may take, in µs.
    pub budget_us: u32,
    /// `pinned`, `shared` or `replicated`.
    pub concurrency: &'static str,
    /// NPUs that may run it now.
    pub replicas: u32,
    /// Islands whose NPUs may run it.
    pub islands: Vec<String>,
    /// Services outside that it may ask.
    pub services: Vec<ServiceStats>,
    /// What the compiler found and decided; one for all that share it.
    pub inspection: Arc<Inspection>,
    /// Where it is.
    pub slot: LambdaSlot,
    /// Its memory.
    pub account: Account,
}

/// All that is deployed. Control changes it, those who ask read it, lcores know nothing of it.
pub struct Deployments {
    lcores: Vec<Arc<LcoreCounters>>,
    quarantine: Arc<Quarantine>,
    known: RwLock<Known>,
    made: AtomicU64,
}

#[derive(Default)]
struct Known {
    lambdas: BTreeMap<LambdaKey, Lambda>,
    /// What slots had counted when they were last given out; those that had counted nothing are left out.
    bases: BTreeMap<LambdaSlot, Box<Counts>>,
    derived: DeploymentStats,
    /// Lambdas that were ever deployed.
    sequence: u64,
}

struct Lambda {
    source: LambdaSource,
    /// When it was first deployed, among others.
    order: u64,
    /// Slots of generations that are on their way out.
    formers: Vec<LambdaSlot>,
    /// What generations counted that are gone.
    carried: Option<Box<Counts>>,
}

/// All counts of a slot, summed over lcores.
#[derive(Clone, PartialEq, Eq)]
struct Counts {
    counters: [u64; LambdaCounters::COUNT],
    queueing: [u64; BUCKETS],
    service: [u64; BUCKETS],
}

impl Counts {
    const ZERO: Self =
        Self { counters: [0; LambdaCounters::COUNT], queueing: [0; BUCKETS], service: [0; BUCKETS] };

    fn all(&self) -> impl Iterator<Item = &u64> {
        self.counters.iter().chain(&self.queueing).chain(&self.service)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.counters.iter_mut().chain(&mut self.queueing).chain(&mut self.service)
    }

    fn add(&mut self, other: &Self) {
        self.all_mut().zip(other.all()).for_each(|(sum, count)| *sum += count);
    }

    fn subtract(&mut self, other: &Self) {
        self.all_mut().zip(other.all()).for_each(|(sum, count)| *sum = sum.saturating_sub(*count));
    }
}

impl Deployments {
    /// Nothing deployed, on these lcores.
    #[must_use]
    pub fn new(lcores: Vec<Arc<LcoreCounters>>, quarantine: Arc<Quarantine>) -> Self {
        Self { lcores, quarantine, known: RwLock::default(), made: AtomicU64::new(0) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        // A panic leaves no entry half done.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot is given out: what it counted so far was another's.
    pub(in crate::control) fn reuse(&self, slot: LambdaSlot) {
        let counts = self.counted(slot);
        let mut known = self.write();
        if counts == Counts::ZERO {
            known.bases.remove(&slot);
        } else {
            known.bases.insert(slot, Box::new(counts));
        }
    }

    /// A generation is deployed; the one before goes on its way out.
    pub(in crate::control) fn publish(&self, source: LambdaSource) {
        self.made.fetch_add(1, Relaxed);
        let mut known = self.write();
        known.sequence += 1;
        let order = known.sequence;
        match known.lambdas.entry(source.key.clone()) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let lambda = entry.get_mut();
                lambda.formers.push(lambda.source.slot);
                lambda.source = source;
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Lambda { source, order, formers: Vec::new(), carried: None });
            }
        }
    }

    /// A lambda is removed.
    pub(in crate::control) fn remove(&self, key: &LambdaKey) {
        self.write().lambdas.remove(key);
    }

    /// Nothing counts for an earlier generation of a lambda any more.
    pub(in crate::control) fn gone(&self, key: &LambdaKey, slot: LambdaSlot) {
        let mut known = self.write();
        let counts = self.of_slot(&known, slot);
        let Some(lambda) = known.lambdas.get_mut(key) else { return };
        let Some(at) = lambda.formers.iter().position(|former| *former == slot) else { return };
        lambda.formers.swap_remove(at);
        lambda.carried.get_or_insert_with(|| Box::new(Counts::ZERO)).add(&counts);
    }

    /// What was derived from all that is deployed.
    pub(in crate::control) fn derive(&self, derived: DeploymentStats) {
        self.write().derived = derived;
    }

    /// Generations that were deployed since the start.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// What was derived from lambdas and rules together.
    #[must_use]
    pub fn derived(&self) -> DeploymentStats {
        self.read().derived.clone()
    }

    /// What is deployed as this lambda.
    #[must_use]
    pub fn source(&self, key: &LambdaKey) -> Option<LambdaSource> {
        Some(self.read().lambdas.get(key)?.source.clone())
    }

    /// The key of a lambda as people write it: `name`, or `name.namespace`; the first of that name in any namespace, if there is none
    /// in the default one.
    #[must_use]
    pub fn key(&self, text: &str) -> Option<LambdaKey> {
        let known = self.read();
        let mut keys = known.lambdas.keys();
        let full = keys.find(|key| key.to_string() == text);
        full.or_else(|| known.lambdas.keys().find(|key| key.name == text)).cloned()
    }

    /// Lambdas that share what the compiler found out.
    #[must_use]
    pub(super) fn alike(&self, inspection: &Arc<Inspection>) -> usize {
        let known = self.read();
        known.lambdas.values().filter(|lambda| Arc::ptr_eq(&lambda.source.inspection, inspection)).count()
    }

    /// Lets a quarantined lambda run again. `None` if there is no such lambda, else whether it was quarantined.
    #[must_use]
    pub fn release(&self, key: &LambdaKey) -> Option<bool> {
        let slot = self.read().lambdas.get(key)?.source.slot;
        let was = self.quarantine.state(slot) == State::Quarantined;
        if was {
            self.quarantine.set(slot, State::Active);
        }
        Some(was)
    }

    /// All lambdas, in the order in which they were first deployed.
    #[must_use]
    pub fn stats(&self) -> Vec<LambdaStats> {
        let known = self.read();
        let mut lambdas: Vec<&Lambda> = known.lambdas.values().collect();
        lambdas.sort_by_key(|lambda| lambda.order);
        lambdas.into_iter().map(|lambda| self.lambda(&known, lambda)).collect()
    }

    /// One of them.
    #[must_use]
    pub fn stats_of(&self, key: &LambdaKey) -> Option<LambdaStats> {
        let known = self.read();
        Some(self.lambda(&known, known.lambdas.get(key)?))
    }

    fn counted(&self, slot: LambdaSlot) -> Counts {
        let mut counts = Counts::ZERO;
        for lcore in &self.lcores {
            if let Some(lambda) = lcore.lambda(slot) {
                counts.counters.iter_mut().zip(lambda.all()).for_each(|(sum, count)| *sum += count.get());
            }
            if let Some(times) = lcore.times(slot) {
                times.queueing.add_to(&mut counts.queueing);
                times.service.add_to(&mut counts.service);
            }
        }
        counts
    }

    /// What the generation that has a slot has counted in it.
    fn of_slot(&self, known: &Known, slot: LambdaSlot) -> Counts {
        let mut counts = self.counted(slot);
        if let Some(base) = known.bases.get(&slot) {
            counts.subtract(base);
        }
        counts
    }

    fn lambda(&self, known: &Known, lambda: &Lambda) -> LambdaStats {
        let source = &lambda.source;
        let mut counts = self.of_slot(known, source.slot);
        for &former in &lambda.formers {
            counts.add(&self.of_slot(known, former));
        }
        if let Some(carried) = &lambda.carried {
            counts.add(carried);
        }
        let [
            invocations,
            forwarded,
            dropped,
            to_host,
            traps,
            exhausted,
            bad_verdicts,
            fuel,
            busy,
            late,
            unavailable,
            calls,
            calls_timed_out,
            npu_ns,
            requests,
            replies,
            requests_timed_out,
            requests_failed,
        ] = counts.counters;
        let used = source.account.used_bytes();
        let memory = Tier::ALL.iter().map(|&tier| (tier.name().to_owned(), used.of(tier)));
        let state = self.quarantine.state(source.slot);
        LambdaStats {
            name: source.key.name.clone(),
            namespace: source.key.namespace.clone(),
            generation: source.generation,
            id: source.id.raw(),
            state: state.name().to_owned(),
            weight: source.weight,
            budget_us: source.budget_us,
            concurrency: source.concurrency.to_owned(),
            replicas: if state.sleeps() { 0 } else { source.replicas },
            islands: source.islands.clone(),
            services: source.services.clone(),
            memory_bytes: memory.filter(|(_, bytes)| *bytes > 0).collect(),
            invocations,
            forwarded,
            dropped,
            to_host,
            traps,
            exhausted,
            bad_verdicts,
            fuel,
            busy,
            late,
            unavailable,
            calls,
            calls_timed_out,
            npu_ns,
            requests,
            replies,
            requests_timed_out,
            requests_failed,
            queueing: times(&counts.queueing),
            service: times(&counts.service),
        }
    }
}

fn times(counts: &[u64; BUCKETS]) -> Times {
    let at = |quantile| histogram::quantile_ns(counts, quantile).unwrap_or(0);
    Times { p50_ns: at(0.5), p99_ns: at(0.99), max_ns: at(1.0) }
}
