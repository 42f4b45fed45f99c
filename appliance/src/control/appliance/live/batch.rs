//! Ways in: generations that are prepared, loaded and published together.

use dpdk_bindings::external::Slot;
use lnic_compiler::placement::Runs;
use lnic_registry::LambdaKey;

use super::Live;
use super::deployed::{Deployed, Generation, Order, Wanted};
use super::drain::Former;
use super::error::DeployError;
use super::services;
use super::worker::Sent;
use crate::control::appliance::Event;
use crate::control::appliance::lcores::CALLS;
use crate::dispatcher::{NpuSet, ShareError};
use crate::frame::Frame;
use crate::ids::{LambdaRef, LcoreId, NpuId};
use crate::island::{Budget, State};
use crate::lambda::PrepareError;
use crate::matcher::{Rule, Table};
use crate::memory::{Account, Deployment};
use crate::path::{Command, Growth, Load, QueueOf, Stock};

/// Generations in one command: an lcore moves their boxes between two turns.
const CHUNK: usize = 64;
/// Rules of lambdas that are deployed stand behind those of the configuration.
pub(super) const DEPLOYED: u64 = 2;

/// Generations on their way in.
pub(super) struct Batch<F: Frame> {
    entries: Vec<Entry>,
    /// For each lcore, what was prepared since the last command.
    loads: Vec<Load<F>>,
    prepared: usize,
    /// Generations in one command.
    chunk: usize,
    /// All are prepared.
    is_complete: bool,
    /// Number of the view that leads to them.
    view: Option<u64>,
}

/// One of them.
struct Entry {
    key: LambdaKey,
    state: Progress,
    /// Message slots that it takes over.
    passed_on: bool,
}

enum Progress {
    Prepared(Box<Generation>),
    Published(Deployed),
    Failed(DeployError),
    Told,
}

impl Entry {
    /// Rules that are not in a table yet.
    fn rules(&self) -> usize {
        match &self.state {
            Progress::Prepared(generation) => generation.rules.len(),
            _ => 0,
        }
    }
}

impl<F: Frame> Load<F> {
    fn empty() -> Self {
        Self { places: Vec::new(), npu: Vec::new(), queues: Vec::new(), messages: Vec::new(), growth: None }
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty()
            && self.npu.is_empty()
            && self.queues.is_empty()
            && self.messages.is_empty()
            && self.growth.is_none()
    }
}

impl<F: Frame<External = Slot>> Live<F> {
    /// Begins a batch. One that somebody began and never finished is given up.
    pub fn begin(&mut self) {
        self.give_up();
        self.batch = Some(Batch {
            entries: Vec::new(),
            loads: self.workers.iter().map(|_| Load::empty()).collect(),
            prepared: 0,
            chunk: CHUNK,
            is_complete: false,
            view: None,
        });
    }

    /// Prepares one more lambda, and sends it on its way to the lcores.
    pub fn prepare(&mut self, wanted: Wanted) {
        let key = wanted.key.clone();
        let rules = wanted.rules.clone();
        let order = self.lambdas.get(&key).map_or(DEPLOYED + self.sequence, |old| old.order);
        self.sequence += 1;
        let by_id = wanted.spec.rpc.then(|| by_id(&wanted));
        let rules = by_id.into_iter().chain(rules);
        let rules = (0..).zip(rules).map(|(at, rule)| ((order, at), rule)).collect();
        self.enter(key, |live| live.generation(wanted, rules, order, None), false);
    }

    /// The same for a lambda of the configuration, whose rules have their order from there.
    pub(in crate::control::appliance) fn prepare_configured(
        &mut self,
        wanted: Wanted,
        rules: Vec<(Order, Rule)>,
    ) {
        // The boxes of lcores that are not there yet hold few commands.
        if let Some(batch) = &mut self.batch {
            batch.chunk = usize::MAX;
        }
        self.enter(wanted.key.clone(), |live| live.generation(wanted, rules, 0, None), false);
    }

    /// Prepares a new generation of a lambda as it is, for another number of NPUs; from sleep if it sleeps.
    pub(super) fn prepare_again(&mut self, key: &LambdaKey, replicas: Option<u32>) {
        let again = |live: &mut Self| {
            let old = live.lambdas.get(key).ok_or_else(|| DeployError::NoLambda(key.clone()))?;
            let wanted = Wanted { replicas, ..old.wanted.clone() };
            let memory = old.deployment.clone().map(|memory| (memory, old.account.clone(), old.place));
            let (rules, order) = (old.rules.clone(), old.order);
            live.generation(wanted, rules, order, memory)
        };
        let keeps_memory = self.lambdas.get(key).is_some_and(|old| !old.is_asleep());
        self.enter(key.clone(), again, keeps_memory);
    }

    fn enter(
        &mut self,
        key: LambdaKey,
        make: impl FnOnce(&mut Self) -> Result<Generation, DeployError>,
        passed_on: bool,
    ) {
        let Some(batch) = &self.batch else { return };
        let made = if batch.entries.iter().any(|entry| entry.key == key) {
            Err(DeployError::Twice(key.clone()))
        } else {
            make(self).and_then(|generation| self.stow(generation, passed_on))
        };
        let state = match made {
            Ok(generation) => Progress::Prepared(Box::new(generation)),
            Err(error) => Progress::Failed(error),
        };
        let Some(batch) = &mut self.batch else { return };
        batch.entries.push(Entry { key, state, passed_on });
        batch.prepared += 1;
        if batch.prepared.is_multiple_of(batch.chunk) {
            self.send_loads();
        }
    }

    /// All of the batch are prepared.
    pub fn complete(&mut self) {
        self.send_loads();
        if let Some(batch) = &mut self.batch {
            batch.is_complete = true;
        }
        self.advance();
    }

    /// Does every lcore look at the batch's view?
    #[must_use]
    pub fn is_published(&self) -> bool {
        match &self.batch {
            None => true,
            Some(batch) => batch.view.is_some_and(|view| self.all_look_at(view)),
        }
    }

    /// What came of the batch, in order. Those that are not published by now are given up: `silent` has not answered. What is published
    /// stays: other lcores lead to it, and the view is in the box of the one that is silent.
    pub fn finish(&mut self, silent: Option<LcoreId>) -> Vec<Result<Deployed, DeployError>> {
        if let (Some(lcore), Some(batch)) = (silent, &mut self.batch) {
            for entry in &mut batch.entries {
                let error = DeployError::Silent { key: entry.key.clone(), lcore };
                match std::mem::replace(&mut entry.state, Progress::Told) {
                    Progress::Published(deployed) => {
                        entry.state = Progress::Published(Deployed { silent: Some(lcore), ..deployed });
                    }
                    // It is taken back below.
                    Progress::Prepared(generation) => {
                        self.formers.push(Former::abandoned(*generation, self.view, entry.passed_on));
                        entry.state = Progress::Failed(error);
                    }
                    other => entry.state = other,
                }
            }
            self.index_ids();
        }
        let Some(batch) = self.batch.take() else { return Vec::new() };
        for entry in batch.entries.iter().filter(|entry| matches!(entry.state, Progress::Failed(_))) {
            // One that could not be woken sleeps on: the next request asks again.
            if let Some(lambda) = self.lambdas.get_mut(&entry.key).filter(|lambda| lambda.is_asleep()) {
                self.quarantine.set(lambda.reference.slot, State::Asleep);
                lambda.known = State::Asleep;
            }
        }
        let end = |entry: Entry| match entry.state {
            Progress::Published(deployed) => Ok(deployed),
            Progress::Failed(error) => Err(error),
            Progress::Prepared(_) | Progress::Told => Err(DeployError::NoLambda(entry.key)),
        };
        batch.entries.into_iter().map(end).collect()
    }

    /// Takes back what was begun and not published.
    fn give_up(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        for entry in batch.entries {
            if let Progress::Prepared(generation) = entry.state {
                self.formers.push(Former::abandoned(*generation, self.view, entry.passed_on));
            }
        }
        self.index_ids();
    }

    /// Makes a generation: slot, tenant and memory are its own from here on.
    fn generation(
        &mut self,
        wanted: Wanted,
        rules: Vec<(Order, Rule)>,
        order: u64,
        memory: Option<(Deployment, Account, Option<u32>)>,
    ) -> Result<Generation, DeployError> {
        let (key, spec) = (wanted.key.clone(), &wanted.spec);
        if let Some(other) = self.ids.get(&spec.id.raw()).filter(|other| **other != key) {
            return Err(DeployError::IdTaken { key, id: spec.id.raw(), other: other.clone() });
        }
        // One that is wrong must not spoil the table of all.
        let plain = rules.iter().map(|(_, rule)| rule.clone()).collect();
        Table::build(plain)
            .map_err(|source| DeployError::Rules { key: key.clone(), source: Box::new(source) })?;
        let known = self.lambdas.values().map(|lambda| lambda.rules.len());
        let coming = self.batch.iter().flat_map(|batch| &batch.entries).map(Entry::rules);
        let all = known.chain(coming).sum::<usize>() + rules.len();
        if all > Table::CAPACITY {
            return Err(DeployError::Table(Box::new(crate::matcher::Error::TooMany {
                rules: all,
                limit: Table::CAPACITY,
            })));
        }
        let npus = self.npus(&wanted)?;
        let Some((services, hops)) = services::hold(&self.neighbours, &spec.services) else {
            return Err(DeployError::Neighbours { key, limit: services::HOPS });
        };
        let limit = self.slots.limit();
        let Some(reference) = self.slots.take() else { return Err(DeployError::Capacity { key, limit }) };
        let Some((tenant, messages)) = self.tenants.enter(&key.namespace) else {
            self.slots.free(reference.slot);
            return Err(DeployError::Namespaces { key, limit: self.tenants.limit() });
        };
        let image = &wanted.ready.image;
        let fixed = self.topology.budget.fuel_per_us.is_some();
        let budget = Budget {
            fuel: u64::from(spec.budget_us) * u64::from(self.fuel_per_us),
            // Configured fuel reaches equally far whatever time it takes.
            time_ns: if fixed { u64::MAX } else { u64::from(spec.budget_us) * 1000 },
        };
        let name =
            if key.namespace == LambdaKey::DEFAULT_NAMESPACE { key.name.clone() } else { key.to_string() };
        let (deployment, account, place) = match memory {
            Some((deployment, account, place)) => (Ok(Some(deployment)), account, place),
            None => {
                let total_bytes = spec.memory_mib.map_or(u64::MAX, |mib| u64::from(mib) << 20);
                let tiers = self.topology.memory.tiers.lambda;
                let account = Account::bounded(&name, tiers, total_bytes, &tenant);
                let memory = (!npus.is_empty()).then(|| image.deploy(&self.regions, account.clone()));
                // As many places as slots.
                let place = if spec.rpc && !npus.is_empty() { self.places.take() } else { None };
                (memory.transpose(), account, place)
            }
        };
        let host = self.host.of(spec.id).with_environment(wanted.environment.clone());
        let host = host.with_services(services);
        let pinned = wanted.ready.runs == Runs::OnOneNpu;
        let owners = self.layout.owners(&npus, pinned, reference.slot.index());
        let mut generation = Generation {
            rules: rules.into_iter().map(|(at, rule)| (at, Rule { lambda: reference, ..rule })).collect(),
            order,
            reference,
            tenant: messages,
            account,
            deployment: None,
            place,
            npus,
            owners,
            budget,
            host,
            hops,
            known: State::Active,
            woken: None,
            wanted,
        };
        match deployment {
            Ok(deployment) => generation.deployment = deployment,
            Err(error) => {
                let error = generation.wrong(PrepareError::Plan(error));
                self.forget(&generation, false);
                return Err(error);
            }
        }
        Ok(generation)
    }

    /// NPUs that may run it: as many as are asked for, of those that are alive.
    pub(super) fn npus(&self, wanted: &Wanted) -> Result<Vec<NpuId>, DeployError> {
        let most = wanted.replicas.map_or(usize::MAX, |replicas| replicas as usize);
        if most == 0 {
            return Ok(Vec::new());
        }
        let islands = &wanted.spec.islands;
        let own = self.topology.npus.iter().filter(|npu| islands.contains(&npu.island));
        let alive: Vec<NpuId> = own.map(|npu| npu.id).filter(|&npu| self.is_alive(npu)).take(most).collect();
        if alive.is_empty() { Err(DeployError::NoNpu(wanted.key.clone())) } else { Ok(alive) }
    }

    /// Makes what lcores need of a generation. If something is missing, nothing of it stays.
    fn stow(&mut self, generation: Generation, passed_on: bool) -> Result<Generation, DeployError> {
        match self.boxes(&generation, passed_on) {
            Ok(boxes) => {
                let Some(batch) = &mut self.batch else { return Ok(generation) };
                for (load, more) in batch.loads.iter_mut().zip(boxes) {
                    load.places.extend(more.places);
                    load.npu.extend(more.npu);
                    load.queues.extend(more.queues);
                    load.messages.extend(more.messages);
                }
                let state = if generation.is_asleep() { State::Asleep } else { State::Active };
                self.quarantine.set(generation.reference.slot, state);
                self.stats.reuse(generation.reference.slot);
                self.ids.insert(generation.spec().id.raw(), generation.key().clone());
                Ok(generation)
            }
            Err(error) => {
                self.forget(&generation, passed_on);
                Err(error)
            }
        }
    }

    fn boxes(&self, generation: &Generation, passed_on: bool) -> Result<Vec<Load<F>>, DeployError> {
        let mut loads: Vec<Load<F>> = self.workers.iter().map(|_| Load::empty()).collect();
        let reference = generation.reference;
        for (worker, load) in self.workers.iter().zip(&mut loads) {
            let place = worker.eyes.place(&generation.owners, reference.slot.index());
            load.places.push((reference.slot, place));
        }
        if generation.is_asleep() {
            return Ok(loads);
        }
        let pollers = self.workers.iter().filter(|worker| worker.poller.is_some()).count();
        if !passed_on {
            let mut slots = generation.message_slots(pollers)?;
            for (worker, load) in self.workers.iter().zip(&mut loads).rev() {
                if worker.poller.is_some() {
                    load.messages.extend(slots.pop());
                }
            }
        }
        let dispatching = self.workers.iter().any(|worker| worker.dispatches);
        for (worker, load) in self.workers.iter().zip(&mut loads) {
            let own = generation.owners.contains(&worker.lcore);
            if !dispatching {
                if let Some(npu) = worker.npu.filter(|npu| own && generation.npus.contains(npu)) {
                    load.npu.push((reference, generation.load(npu)?));
                }
                continue;
            }
            if let Some(npu) =
                worker.npu.filter(|npu| generation.npus.contains(npu) && !generation.is_pinned())
            {
                load.npu.push((reference, generation.load(npu)?));
            }
            if worker.dispatches && own {
                let npus: Vec<NpuId> = generation
                    .npus
                    .iter()
                    .copied()
                    .filter(|&npu| self.layout.is_owned_by(npu, worker.lcore))
                    .collect();
                // Its memory is there for good: with the first of the NPUs that it moves between.
                let home = npus.first().copied().filter(|_| generation.is_pinned());
                let held = home.map(|npu| generation.load(npu)).transpose()?;
                let share = generation.share(npus.into_iter().collect::<NpuSet>());
                if !(1..=1000).contains(&share.weight) {
                    let source = ShareError::Weight { weight: share.weight };
                    return Err(DeployError::Share { key: generation.key().clone(), source });
                }
                load.queues.push(QueueOf { lambda: reference, share, held, refused: None });
            }
        }
        Ok(loads)
    }

    /// Sends what is prepared.
    fn send_loads(&mut self) {
        let calls = self.calls();
        let Some(batch) = &mut self.batch else { return };
        for ((worker, load), calls) in self.workers.iter_mut().zip(&mut batch.loads).zip(calls) {
            if calls > worker.stock.calls {
                let more = calls - worker.stock.calls;
                let stock = Stock { jobs: worker.stock.jobs + 2 * more, calls };
                load.growth = Some(Growth::new(worker.stock, stock));
                worker.stock = stock;
            }
            if !load.is_empty() && !worker.is_dead {
                let load = std::mem::replace(load, Load::empty());
                worker.send(Command::Load(Box::new(load)), Sent::Load);
            }
        }
    }

    /// Calls and requests that lambdas can have under way on each lcore, with those of the batch.
    fn calls(&self) -> Vec<u32> {
        let batch =
            self.batch.iter().flat_map(|batch| &batch.entries).filter_map(|entry| match &entry.state {
                Progress::Prepared(generation) => Some(&**generation),
                _ => None,
            });
        let suspending: Vec<&Generation> =
            self.lambdas.values().chain(batch).filter(|lambda| lambda.suspends()).collect();
        let of = |npu: Option<NpuId>| {
            let its = suspending.iter().filter(|lambda| npu.is_some_and(|npu| lambda.npus.contains(&npu)));
            its.map(|lambda| lambda.in_flight()).fold(0, u32::saturating_add).min(CALLS)
        };
        self.workers.iter().map(|worker| of(worker.npu)).collect()
    }

    /// An lcore has taken in what it was sent; what was refused is here.
    pub(super) fn loaded(&mut self, load: Load<F>) {
        for queue in load.queues {
            let Some(source) = queue.refused else { continue };
            let refused = |entry: &&mut Entry| matches!(&entry.state, Progress::Prepared(generation) if generation.reference == queue.lambda);
            let mut entries = self.batch.iter_mut().flat_map(|batch| &mut batch.entries);
            let Some(entry) = entries.find(refused) else {
                // It is published already: so it is at the start.
                let late = self.lambdas.values().find(|lambda| lambda.reference == queue.lambda);
                if let Some(lambda) = late {
                    self.quarantine.set(queue.lambda.slot, State::Lost);
                    self.events.push_back(Event::NotRevived(lambda.key().clone(), source.to_string()));
                }
                continue;
            };
            let error = DeployError::Share { key: entry.key.clone(), source };
            if let Progress::Prepared(generation) =
                std::mem::replace(&mut entry.state, Progress::Failed(error))
            {
                self.formers.push(Former::abandoned(*generation, self.view, entry.passed_on));
            }
        }
    }

    /// Publishes a batch that nobody has taken in, because there is no lcore yet: each finds first the one, then the other.
    pub(super) fn publish_unseen(&mut self) {
        self.publish_batch();
    }

    /// Publishes a batch that every lcore has taken in.
    pub(super) fn advance_batch(&mut self) {
        if self.workers.iter().all(super::Worker::has_loaded) {
            self.publish_batch();
        }
    }

    fn publish_batch(&mut self) {
        let Some(batch) = &mut self.batch else { return };
        if batch.view.is_some() || !batch.is_complete {
            return;
        }
        let view = self.view + 1;
        batch.view = Some(view);
        let mut passed_on: Vec<(LambdaRef, LambdaRef)> = Vec::new();
        for entry in &mut batch.entries {
            let Progress::Prepared(_) = entry.state else { continue };
            let Progress::Prepared(generation) = std::mem::replace(&mut entry.state, Progress::Told) else {
                continue;
            };
            let (reference, replicas) = (generation.reference, generation.replicas());
            let deployed = Deployed { reference, replicas, silent: None };
            entry.state = Progress::Published(deployed);
            let stats = generation.source(&self.topology);
            self.stats.publish(stats);
            if let Some(mut old) = self.lambdas.insert(entry.key.clone(), *generation) {
                if entry.passed_on {
                    old.place = None;
                    passed_on.push((old.reference, deployed.reference));
                }
                match self.formers.iter_mut().find(|former| former.reference == old.reference) {
                    // It sleeps: its slot goes with it.
                    Some(former) => former.leave(view),
                    None => self.formers.push(Former::replaced(old, view)),
                }
            }
        }
        self.index_ids();
        self.publish(&passed_on);
    }

    /// Notes anew whose IDs are.
    pub(super) fn index_ids(&mut self) {
        let batch =
            self.batch.iter().flat_map(|batch| &batch.entries).filter_map(|entry| match &entry.state {
                Progress::Prepared(generation) => Some(&**generation),
                _ => None,
            });
        let all = self.lambdas.values().chain(batch);
        self.ids = all.map(|lambda| (lambda.spec().id.raw(), lambda.key().clone())).collect();
    }

    /// Lets go of what a generation has that no lcore has seen.
    pub(super) fn forget(&mut self, generation: &Generation, passed_on: bool) {
        self.quarantine.set(generation.reference.slot, State::Lost);
        self.slots.free(generation.reference.slot);
        self.tenants.leave(&generation.key().namespace);
        if let Some(place) = generation.place.filter(|_| !passed_on) {
            self.places.free(place);
        }
    }
}

/// λ-RPC messages with its ID.
fn by_id(wanted: &Wanted) -> Rule {
    Rule { egress: wanted.spec.egress, ..Rule::rpc(wanted.spec.id, LambdaRef::default()) }
}
