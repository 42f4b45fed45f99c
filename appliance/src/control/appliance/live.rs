//! Lambdas come, change and go while packets flow. Control makes everything, lcores only move boxes:
//!
//! ```text
//! prepare   a generation in a slot of its own: memory, instances, message slots        (control)
//! load      to those who will run or queue it; nothing leads there yet                 Load   ─► every lcore
//! publish   one view for all: table, directory, message IDs                            Publish ─► every lcore
//! drain     until nothing of the old generation is under way on any lcore              (counters)
//! unload    everything of it comes back and is freed                                   Unload ─► every lcore
//! ```
//!
//! A generation never changes in place: an upgrade, another number of NPUs, waking from sleep are a new one, and so is what a slot is used for
//! next. An lcore counts what it has under way for each slot; once every lcore looks at a view that does not lead to a slot, the sum can
//! only fall, and at 0 nothing can need the generation any more. A batch is published once, however large.
//!
//! Nothing here waits: who calls gives time, again and again, until all is [done](Live::is_settled). An lcore that has ended is not waited for.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dpdk_bindings::external::Slot;
use lnic_registry::LambdaKey;

use super::Event;
use super::layout::Layout;
use crate::control::stats::Deployments;
use crate::control::topology::Topology;
use crate::frame::Frame;
use crate::handoff::Bell;
use crate::ids::{LambdaRef, LambdaSlot, LcoreId, NpuId};
use crate::island::{Quarantine, State};
use crate::lambda::HostSide;
use crate::memory::Regions;
use crate::message::slots::PlacedSlots;
use crate::outside::Neighbours;
use crate::path::{Command, Report};

mod batch;
mod deployed;
mod drain;
mod error;
mod numbers;
mod parts;
mod services;
mod view;
mod worker;

use batch::Batch;
use deployed::Generation;
pub use deployed::{Deployed, Wanted};
use drain::Former;
pub use error::DeployError;
use numbers::{Numbers, SlotNumbers, Tenants};
use worker::Sent;
pub use worker::Worker;

/// An lcore that has not reported for so long does not answer.
const ANSWER: Duration = Duration::from_secs(1);
/// What was lost with an NPU that died is written off after so long: longer than anything that is alive can take.
const WRITE_OFF: Duration = Duration::from_secs(61);
/// How often a lambda that sleeps is tried to be woken.
const WAKE_AGAIN: Duration = Duration::from_secs(1);

/// All that is deployed, and the lcores that have it.
pub struct Live<F: Frame<External = Slot>> {
    topology: Topology,
    layout: Layout,
    host: HostSide,
    regions: Regions,
    fuel_per_us: u32,
    quarantine: Arc<Quarantine>,
    workers: Vec<Worker<F>>,
    bell: Bell,
    slots: SlotNumbers,
    places: Numbers,
    tenants: Tenants,
    /// Next hops of services outside.
    neighbours: Arc<Neighbours>,
    /// The current generation of each.
    lambdas: BTreeMap<LambdaKey, Generation>,
    /// Whose λ-RPC IDs are, those on their way in included.
    ids: BTreeMap<u32, LambdaKey>,
    /// Generations on their way out.
    formers: Vec<Former>,
    /// Message slots that are back, and that ports still read.
    resting: Vec<(LambdaRef, Box<PlacedSlots<Slot>>)>,
    batch: Option<Batch<F>>,
    /// Number of the last view that was published.
    view: u64,
    /// Lambdas that were deployed ever.
    sequence: u64,
    /// Those that were there when an NPU died, and may have lost jobs with it.
    stricken: HashSet<LambdaRef>,
    stats: Arc<Deployments>,
    events: VecDeque<Event>,
    answer: Duration,
    write_off: Duration,
}

impl<F: Frame<External = Slot>> Live<F> {
    /// Nothing deployed, and an lcore for each of the topology's workers, still to be made. `bell` is rung when an lcore has something
    /// to say.
    pub fn new(
        topology: &Topology,
        host: &HostSide,
        regions: &Regions,
        fuel_per_us: u32,
        bell: Bell,
    ) -> std::io::Result<Self> {
        let slots = (topology.control.lambdas as usize).max(topology.lambdas.len());
        let layout = Layout::plan(topology);
        let pollers = topology.pollers();
        let settings = topology.quarantine;
        let window_ns = u64::from(settings.window_ms) * 1_000_000;
        let quarantine = Arc::new(Quarantine::new(slots, settings.failures, window_ns));
        let worker = |lcore: LcoreId| {
            let npu = topology.npus.iter().find(|npu| npu.lcore == lcore).map(|npu| npu.id);
            let poller = pollers.iter().position(|&poller| poller == lcore);
            let dispatches = topology.dispatchers.iter().any(|dispatcher| dispatcher.lcore == lcore);
            Worker::new(lcore, npu, poller, dispatches, layout.eyes(lcore), slots, &bell)
        };
        let workers =
            topology.lcores.workers.iter().map(|it| worker(it.id)).collect::<std::io::Result<Vec<_>>>()?;
        let configured = topology.tenants.iter().map(|tenant| (tenant.name.as_str(), tenant.quota));
        let counters = workers.iter().map(|worker| Arc::clone(&worker.counters)).collect();
        let mut live = Self {
            layout,
            host: host.clone(),
            regions: regions.clone(),
            fuel_per_us,
            stats: Arc::new(Deployments::new(counters, Arc::clone(&quarantine))),
            quarantine,
            workers,
            bell,
            slots: SlotNumbers::new(slots),
            places: Numbers::new(slots),
            tenants: Tenants::new(configured, topology.control.namespaces as usize),
            neighbours: Neighbours::new(services::HOPS),
            lambdas: BTreeMap::new(),
            ids: BTreeMap::new(),
            formers: Vec::new(),
            resting: Vec::new(),
            batch: None,
            view: 0,
            sequence: 0,
            stricken: HashSet::new(),
            events: VecDeque::new(),
            answer: ANSWER,
            write_off: WRITE_OFF,
            topology: topology.clone(),
        };
        for at in 0..live.workers.len() {
            live.workers[at].stock = live.first_stock(live.workers[at].lcore);
        }
        Ok(live)
    }

    /// Slots in all.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.limit()
    }

    /// Which lambdas may run.
    #[must_use]
    pub fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }

    /// Next hops of the services that lambdas may ask.
    #[must_use]
    pub fn neighbours(&self) -> &Arc<Neighbours> {
        &self.neighbours
    }

    /// Links between lcores.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The lcores, in the topology's order.
    #[must_use]
    pub fn workers(&self) -> &[Worker<F>] {
        &self.workers
    }

    /// How long to wait for an lcore's report, and until what died with an NPU is written off.
    pub fn set_patience(&mut self, answer: Duration, write_off: Duration) {
        (self.answer, self.write_off) = (answer, write_off);
    }

    /// What statistics know of deployments.
    #[must_use]
    pub fn stats(&self) -> &Arc<Deployments> {
        &self.stats
    }

    /// Rings when an lcore has something to say.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Whose λ-RPC ID it is, and the number of the generation; also of a lambda that was removed while something of it is under way.
    #[must_use]
    pub fn lambda_of_id(&self, id: u32) -> Option<(LambdaKey, u64)> {
        let current = self.ids.get(&id).and_then(|key| self.lambdas.get(key));
        let former = || self.formers.iter().rev().find(|former| former.id.raw() == id);
        match current.filter(|lambda| lambda.spec().id.raw() == id) {
            Some(lambda) => Some((lambda.key().clone(), lambda.wanted.generation)),
            None => former().map(|former| (former.key.clone(), former.number)),
        }
    }

    /// Keys of all that is deployed.
    pub fn keys(&self) -> impl Iterator<Item = &LambdaKey> {
        self.lambdas.keys()
    }

    /// NPUs that may run a lambda now; `None` if there is no such lambda.
    #[must_use]
    pub fn replicas(&self, key: &LambdaKey) -> Option<u32> {
        Some(self.lambdas.get(key)?.replicas())
    }

    /// Slots that are in use, those of generations on their way out included.
    #[must_use]
    pub fn slots_taken(&self) -> usize {
        self.slots.taken()
    }

    /// Is nothing on its way in or out?
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.batch.is_none()
            && self.formers.iter().all(Former::is_asleep)
            && self.workers.iter().all(Worker::is_done)
    }

    /// Takes reports and does what can be done now, without waiting.
    pub fn advance(&mut self) {
        for at in 0..self.workers.len() {
            while let Some(report) = self.workers[at].report() {
                match report {
                    Report::Loaded(load) => self.loaded(*load),
                    // Who else has the old table lets go of it too; the last is here.
                    Report::Published(view) => drop(view),
                    Report::Unloaded(unload) => self.unloaded(self.workers[at].lcore, *unload),
                }
            }
            // Some commands are not reported on: nothing else would tell that there is room again.
            self.workers[at].flush();
        }
        self.advance_batch();
        self.advance_formers();
    }

    /// An lcore that owes a report for too long.
    #[must_use]
    pub fn silent(&self) -> Option<LcoreId> {
        let is_silent =
            |worker: &&Worker<F>| worker.silent_since().is_some_and(|since| since.elapsed() >= self.answer);
        self.workers.iter().find(is_silent).map(|worker| worker.lcore)
    }

    /// Has every lcore carried out what it was sent, but for those that are silent?
    #[must_use]
    pub fn have_others_answered(&self) -> bool {
        let is_silent =
            |worker: &Worker<F>| worker.silent_since().is_some_and(|since| since.elapsed() >= self.answer);
        self.workers.iter().all(|worker| worker.is_done() || is_silent(worker))
    }

    /// An lcore has ended, and with it its NPU: dispatchers are told, nobody waits for it any more.
    pub fn bury(&mut self, lcore: LcoreId) {
        let Some(at) = self.workers.iter().position(|it| it.lcore == lcore && !it.is_dead) else { return };
        // Something of each of these may have been there.
        let here = self.lambdas.values().map(|lambda| lambda.reference);
        let here: Vec<LambdaRef> = here.chain(self.formers.iter().map(|former| former.reference)).collect();
        self.stricken.extend(here);
        let (npu, back) = (self.workers[at].npu, self.workers[at].bury());
        for command in back {
            match command {
                Command::Load(load) => self.loaded(*load),
                Command::Unload(unload) => self.unloaded(lcore, *unload),
                Command::Publish(_) | Command::Dead(_) | Command::Fresh(..) => {}
            }
        }
        // It may have taken some with it, and will never say so.
        self.forget_lcore(lcore);
        if let Some(npu) = npu {
            for worker in self.workers.iter_mut().filter(|worker| worker.dispatches) {
                worker.send(Command::Dead(npu), Sent::Note);
                worker.doorbell.ring();
            }
        }
        self.advance();
    }

    /// True if an NPU's lcore is alive.
    fn is_alive(&self, npu: NpuId) -> bool {
        !self.workers.iter().any(|worker| worker.npu == Some(npu) && worker.is_dead)
    }

    /// What has happened since the last look: lambdas that were quarantined, woken or lost.
    pub fn look_after(&mut self) -> Vec<Event> {
        self.advance();
        for lambda in self.lambdas.values_mut() {
            let state = self.quarantine.state(lambda.reference.slot);
            if state != lambda.known {
                if state == State::Quarantined {
                    self.events.push_back(Event::Quarantined(lambda.key().clone()));
                }
                lambda.known = state;
            }
            // For as long as it is not awake: who was to wake it may have been called away, or have failed.
            if state == State::Waking && lambda.is_asleep() && lambda.may_wake(WAKE_AGAIN) {
                self.events.push_back(Event::Woken(lambda.key().clone()));
            }
        }
        for at in 0..self.workers.len() {
            while let Some(slot) = self.workers[at].mail.lost.pop() {
                self.revive(at, slot);
            }
        }
        self.events.drain(..).collect()
    }

    /// Events to tell with the next look.
    pub(super) fn note(&mut self, events: Vec<Event>) {
        self.events.extend(events);
    }

    /// Deploys what the configuration names, before the lcores are there: they find it in their boxes.
    pub(super) fn deploy_configured(
        &mut self,
        configured: Vec<(Wanted, Vec<(deployed::Order, crate::matcher::Rule)>)>,
    ) -> Result<(), DeployError> {
        self.begin();
        for (wanted, rules) in configured {
            self.prepare_configured(wanted, rules);
        }
        self.complete();
        self.publish_unseen();
        self.finish(None).into_iter().try_for_each(|result| result.map(drop))
    }

    /// Gives a dispatcher a fresh instance of a lambda that has lost its own.
    fn revive(&mut self, worker: usize, slot: LambdaSlot) {
        let Some(lambda) = self.lambdas.values().find(|it| it.reference.slot == slot) else { return };
        let Some(&npu) = lambda.npus.iter().find(|npu| self.is_alive(**npu)) else { return };
        let event = match lambda.load(npu) {
            Ok(loaded) => {
                let (reference, key) = (lambda.reference, lambda.key().clone());
                let worker = &mut self.workers[worker];
                worker.send(Command::Fresh(reference, loaded), Sent::Note);
                Event::Revived(key)
            }
            Err(error) => Event::NotRevived(lambda.key().clone(), error.to_string()),
        };
        self.events.push_back(event);
    }
}
