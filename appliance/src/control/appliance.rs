//! Start and stop: from a [`Topology`] to lcores that breathe, and back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use dpdk_bindings::Error as DpdkError;
use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::lcore::{self, Task};
use dpdk_bindings::mempool::Mempool;

use super::config::Machine;
use super::stats::{DeploymentStats, LambdaSource, LcoreSource, PoolStats, Sources};
use super::topology::{NoHugepages, Pages, Topology};
use crate::breath::Stop;
use crate::dispatcher::{Limits, NpuSet, Share, ShareError};
use crate::handoff::Doorbell;
use crate::ids::{LambdaSlot, LcoreId, NpuId};
use crate::island::{Npu, Quarantine, State};
use crate::lambda::{Engine, EngineError, HostSide, PrepareError, calibrate};
use crate::matcher::{Directory, Reduction, Table};
use crate::memory::gather_heap;
use crate::observe::counters::LcoreCounters;
use crate::parser::HeaderSet;
use crate::path::{Attachment, Dispatcher, Feed, Mail, Messages, Order, Role};

mod assembly;
mod coalesce;
mod lambdas;
mod layout;
mod lcores;
mod messages;
mod ports;

use assembly::Assembly;
pub(crate) use coalesce::place;
pub use coalesce::{Bounds, Coalesced, Ready, Wishes, ready};
use lambdas::Prepared;
use layout::{Layout, LinkKind, LinkSpec};
use lcores::{End, Lcore, Queues, TscClock};
pub use messages::slot_region;
use ports::OpenPort;
pub use ports::PortError;

/// Free buffers that each lcore keeps at hand.
const POOL_CACHE: u32 = 256;
/// Lines that lambdas have logged and nobody has read yet.
const LOG_LINES: usize = 1024;
/// NPU time that a lambda of weight 1 gets a round, in ns. A lambda that asks for less goes before those with a backlog: the larger,
/// the more of its requests at a time (`scripts/bench.sh isolation`).
const QUANTUM_NS: u64 = 40_000;
/// Lambdas that do not fit the caches any more.
const MANY: usize = 256;
/// How often a lambda may find its NPU full, with room elsewhere, before it moves.
const PATIENCE: u32 = 64;

/// Why an appliance does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `hugepages = "required"`, and there are not enough.
    #[error("[memory] hugepages: {0}")]
    Hugepages(#[from] NoHugepages),
    /// DPDK or one of its parts.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// A port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// No random numbers.
    #[error("/dev/urandom: {0}")]
    Random(std::io::Error),
    /// The lambda engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A lambda's file.
    #[error("lambda \"{name}\": {}: {source}", file.display())]
    LambdaFile {
        /// Its name.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A lambda that cannot be prepared.
    #[error("lambda \"{name}\": {}: {source}", file.display())]
    Lambda {
        /// Its name.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        source: PrepareError,
    },
    /// The machine could not be calibrated.
    #[error("calibrating budgets: {0}")]
    Calibration(PrepareError),
    /// A lambda's share of the NPUs.
    #[error("lambda \"{name}\": {source}")]
    Share {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ShareError,
    },
    /// The rules make no table.
    #[error(transparent)]
    Rules(#[from] crate::matcher::Error),
    /// `sleep = "descriptor"`, and a port has none.
    #[error(
        "[idle] sleep = \"descriptor\": port \"{0}\" can only be polled; use \"auto\", \"timer\" or \"never\""
    )]
    NoDescriptor(String),
    /// The means to sleep.
    #[error("idle lcores: {0}")]
    Sleeper(#[from] std::io::Error),
}

/// A running appliance.
pub struct Appliance {
    stop: Arc<Stop>,
    doorbells: Vec<Doorbell>,
    tasks: Vec<Running>,
    sources: Arc<Sources>,
    pool: Mempool,
    pages: Pages,
    fuel_per_us: u32,
    lambdas: Vec<Prepared>,
    mails: Vec<(LcoreId, Mail)>,
    host: HostSide,
    /// States of lambdas when they were last looked at.
    known: Vec<State>,
}

/// An lcore at work.
struct Running {
    lcore: LcoreId,
    task: Task<()>,
    /// Its NPU, if it is nothing else.
    npu_only: Option<NpuId>,
    is_dead: bool,
}

/// What has happened since the appliance was last looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lambda logged a line.
    Log {
        /// Its ID.
        lambda: u32,
        /// What it said; its bytes are a stranger's.
        text: Vec<u8>,
    },
    /// A lambda failed too often.
    Quarantined(String),
    /// An lcore with an NPU and nothing else has ended; others take over.
    NpuDied(NpuId),
    /// A lambda whose NPU died has a fresh instance.
    Revived(String),
    /// A lambda whose NPU died could not be made again.
    NotRevived(String, String),
}

impl Appliance {
    /// Starts everything that the topology names. The calling thread becomes the main lcore.
    pub fn start(topology: &Topology, machine: &Machine) -> Result<Self, StartError> {
        let started = Instant::now();
        let pages = topology.memory.pages(machine)?;
        let eal = Eal::init(&eal_args(topology, pages))?;
        let memory = &topology.memory;
        let pool = Mempool::new(&eal, "frames", memory.pool_frames, POOL_CACHE, memory.frame_bytes, None)?;
        let mut ports = ports::open_all(&eal, topology, &pool)?;
        let engine = Engine::new()?;
        let fuel_per_us = match topology.budget.fuel_per_us {
            Some(fixed) => fixed,
            None => calibrate::fuel_per_us(&engine).map_err(StartError::Calibration)?.fuel_per_us,
        };
        let host = HostSide::new(LOG_LINES);
        let regions = lambdas::regions(topology, machine);
        let (lambdas, coalesced) = lambdas::prepare(topology, &engine, &host, &regions, fuel_per_us)?;
        let mut assembly = Assembly::plan(topology, &eal, &lambdas, &engine, fuel_per_us)?;
        assembly.attach_ports(&mut ports);
        assembly.load(&lambdas)?;
        assembly.take_messages(&eal, &lambdas, &pool)?;
        if lambdas.len() >= MANY {
            gather_heap();
        }

        let (mut lcores, mut doorbells, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for worker in &topology.lcores.workers {
            let made = assembly.lcore(worker.id, &ports)?;
            doorbells.push(assembly.doorbells[&worker.id].clone());
            sources.push(LcoreSource {
                lcore: worker.id.raw(),
                cpu: worker.cpu.raw(),
                roles: roles(topology, worker.id),
                counters: Arc::clone(&made.counters),
            });
            lcores.push((worker.id, made));
        }
        let pool_of_stats = pool.clone();
        let pool_stats = move || PoolStats {
            name: pool_of_stats.name().to_owned(),
            frames: pool_of_stats.buffers().into(),
            in_use: pool_of_stats.in_use().into(),
        };
        let sources = Arc::new(Sources {
            name: topology.name.clone(),
            started,
            scheduling: topology.scheduling.mode.name(),
            lcores: sources,
            lambdas: lambdas.iter().map(|lambda| lambda_source(topology, lambda)).collect(),
            quarantine: Arc::clone(&assembly.quarantine),
            ports: ports.into_iter().map(OpenPort::into_stats).collect(),
            pools: vec![Box::new(pool_stats)],
            regions,
            islands: topology.islands.iter().map(|island| island.name.clone()).collect(),
            host: host.clone(),
            deployment: assembly.deployment(&lambdas, coalesced),
        });
        // If a launch fails, dropping this stops those before it.
        let mut appliance = Self {
            stop: Arc::new(Stop::new(lcores.len() as u32)),
            doorbells,
            tasks: Vec::new(),
            sources,
            pool,
            pages,
            fuel_per_us,
            known: vec![State::Active; lambdas.len()],
            lambdas,
            mails: assembly.mails,
            host,
        };
        for (id, made) in lcores {
            let stop = Arc::clone(&appliance.stop);
            let npu_only = topology
                .npus
                .iter()
                .find(|npu| npu.lcore == id && !topology.pollers().contains(&id))
                .map(|npu| npu.id);
            let task = lcore::launch(&eal, id.raw(), move || made.breathe(&stop))?;
            appliance.tasks.push(Running { lcore: id, task, npu_only, is_dead: false });
        }
        Ok(appliance)
    }

    /// Does what the lcores leave to others, and tells what has happened. Call it a few times a second.
    pub fn look_after(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(line) = self.host.next_line() {
            events.push(Event::Log { lambda: line.lambda, text: line.text().to_vec() });
        }
        let quarantine = &self.sources.quarantine;
        for ((slot, known), lambda) in (0..).zip(&mut self.known).zip(&self.lambdas) {
            let state = quarantine.state(LambdaSlot::new(slot));
            if state == State::Quarantined && *known != state {
                events.push(Event::Quarantined(lambda.spec().name.clone()));
            }
            *known = state;
        }
        for running in &mut self.tasks {
            if let Some(npu) = running.npu_only
                && !running.is_dead
                && running.task.is_finished()
            {
                running.is_dead = true;
                events.push(Event::NpuDied(npu));
                for (_, mail) in &self.mails {
                    // As many places as lambdas, and more: there is room for the NPUs too.
                    let _ = mail.orders.push(Order::Dead(npu));
                }
                self.doorbells.iter().for_each(Doorbell::ring);
            }
        }
        let dead: Vec<Option<NpuId>> =
            self.tasks.iter().filter(|running| running.is_dead).map(|running| running.npu_only).collect();
        for (_, mail) in &self.mails {
            while let Some(slot) = mail.lost.pop() {
                let Some(lambda) = self.lambdas.get(slot.index()) else { continue };
                let name = lambda.spec().name.clone();
                let is_alive = |npu: &&NpuId| !dead.contains(&Some(**npu));
                let Some(&npu) = lambda.npus.iter().find(is_alive) else { continue };
                match lambda.load(npu) {
                    Ok(loaded) => {
                        let _ = mail.orders.push(Order::Fresh(lambda.reference, loaded));
                        events.push(Event::Revived(name));
                    }
                    Err(error) => events.push(Event::NotRevived(name, error.to_string())),
                }
            }
        }
        events
    }

    /// Fuel that stands for a microsecond here: calibrated, or the configuration's.
    #[must_use]
    pub fn fuel_per_us(&self) -> u32 {
        self.fuel_per_us
    }

    /// Where statistics come from.
    #[must_use]
    pub fn sources(&self) -> Arc<Sources> {
        Arc::clone(&self.sources)
    }

    /// Pages that DPDK's memory is made of.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// True once an lcore has returned that the appliance cannot do without, although nobody asked: it panicked, or all its
    /// replayed files have ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.tasks.iter().any(|running| running.npu_only.is_none() && running.task.is_finished())
            || self.tasks.iter().all(|running| running.task.is_finished())
    }

    /// Drains, stops every lcore, closes the ports. Messages of lcores that panicked, and buffers that did not come home.
    pub fn stop(mut self) -> Stopped {
        self.ask_to_stop();
        let tasks = std::mem::take(&mut self.tasks);
        let panics = tasks
            .into_iter()
            .filter_map(|running| {
                let lcore = running.lcore;
                running.task.join().err().map(|panic| format!("{lcore}: {panic}"))
            })
            .collect();
        let pool = self.pool.clone();
        // With it go the last handles of the devices: they close, and their queues give back what they hold.
        drop(self);
        Stopped { panics, lost_frames: pool.in_use() }
    }

    fn ask_to_stop(&self) {
        self.stop.ask();
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }
}

impl Drop for Appliance {
    /// Dropping a task waits for it: the workers have to be asked before.
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// What was left when an appliance stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Messages of lcores that panicked.
    pub panics: Vec<String>,
    /// Frame buffers that did not come home.
    pub lost_frames: u32,
}

fn eal_args(topology: &Topology, pages: Pages) -> EalArgs {
    let mib = topology.memory.eal_mib;
    let memory = match pages {
        Pages::Huge { .. } => Memory::Hugepages { mib },
        Pages::Small | Pages::SmallForWant(_) => Memory::SmallPages { mib },
    };
    let main = topology.lcores.main;
    let mut args = EalArgs::new(main.id.raw(), main.cpu.raw(), memory).pci(topology.has_pci());
    for worker in &topology.lcores.workers {
        args = args.lcore(worker.id.raw(), worker.cpu.raw());
    }
    // net_tap complains on every start that the kernel has no multiq qdisc, which it does not need here.
    if !topology.eal_extra_args.iter().any(|argument| argument.starts_with("--log-level")) {
        args = args.raw("--log-level=pmd.net.tap:critical");
    }
    topology.eal_extra_args.iter().fold(args, EalArgs::raw)
}

/// What an lcore is, for people.
fn roles(topology: &Topology, lcore: LcoreId) -> String {
    let dispatcher = topology.dispatchers.iter().any(|dispatcher| dispatcher.lcore == lcore);
    let npu = topology.npus.iter().find(|npu| npu.lcore == lcore);
    let npu = npu.map(|npu| format!("{} ({})", npu.id, topology.islands[npu.island.index()].name));
    let poller = topology.dispatchers.is_empty().then(|| "poller".to_owned());
    let roles = [dispatcher.then(|| "dispatcher".to_owned()), poller, npu];
    roles.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn lambda_source(topology: &Topology, lambda: &Prepared) -> LambdaSource {
    let spec = lambda.spec();
    LambdaSource {
        name: spec.name.clone(),
        id: spec.id,
        weight: spec.weight,
        budget_us: spec.budget_us,
        concurrency: match (lambda.pinned, lambda.is_shared()) {
            (true, _) => "pinned",
            (false, true) => "shared",
            (false, false) => "replicated",
        },
        inspection: Arc::clone(lambda.inspection()),
        islands: spec.islands.iter().map(|island| topology.islands[island.index()].name.clone()).collect(),
    }
}
