//! Start and stop: from a [`Topology`] to lcores that breathe, and back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use dpdk_bindings::Error as DpdkError;
use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::lcore::{self, Task};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use lnic_registry::LambdaKey;

use super::compile::{CompileError, Compiler};
use super::config::Machine;
use super::gateway;
use super::stats::{LcoreSource, NeighbourStats, PoolStats, Sources};
use super::topology::{NoHugepages, Pages, Topology};
use crate::breath::{Clock as _, Stop};
use crate::handoff::{Bell, Doorbell};
use crate::ids::{LcoreId, NpuId, PortId, QueueId};
use crate::island::Npu;
use crate::lambda::{Engine, EngineError, HostSide, PrepareError, calibrate};
use crate::memory::gather_heap;
use crate::path::{Attachment, Messages, Role};

mod assembly;
mod coalesce;
mod deploy;
mod lambdas;
pub mod layout;
mod lcores;
pub mod live;
mod messages;
mod ports;

use assembly::Assembly;
pub use coalesce::{Bounds, Coalesced, Ready, Source, Wishes, ready};
pub(crate) use coalesce::{Made, make, place};
use lcores::{Lcore, Queues, TscClock};
pub use live::{DeployError, Deployed, Wanted};
use live::{Live, Worker};
pub use messages::slot_region;
use ports::OpenPort;
pub use ports::PortError;

/// Free buffers that each lcore keeps at hand.
const POOL_CACHE: u32 = 256;
/// Lines that lambdas have logged and nobody has read yet.
const LOG_LINES: usize = 1024;
/// Lambdas that do not fit the caches any more.
const MANY: usize = 256;
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
    /// A lambda that cannot be compiled.
    #[error("lambda \"{name}\": {}: {source}", file.display())]
    Compile {
        /// Its name.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        source: CompileError,
    },
    /// The machine could not be calibrated.
    #[error("calibrating budgets: {0}")]
    Calibration(PrepareError),
    /// A lambda that cannot be deployed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
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
    tasks: Vec<Running>,
    sources: Arc<Sources>,
    pool: Mempool,
    pages: Pages,
    engine: Engine,
    fuel_per_us: u32,
    live: Live<Mbuf>,
    host: HostSide,
    /// The control side of the internal port, until the gateway takes it.
    gateway: Option<gateway::Queues>,
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
    Quarantined(LambdaKey),
    /// A request has come for a lambda that sleeps, and waits: it is to be woken.
    Woken(LambdaKey),
    /// An lcore with an NPU and nothing else has ended; others take over.
    NpuDied(NpuId),
    /// A lambda whose NPU died has a fresh instance.
    Revived(LambdaKey),
    /// A lambda whose NPU died could not be made again.
    NotRevived(LambdaKey, String),
}

impl Appliance {
    /// Starts everything that the topology names, and compiles its lambdas in this process. The calling thread becomes the main lcore.
    pub fn start(topology: &Topology, machine: &Machine) -> Result<Self, StartError> {
        let engine = Engine::new()?;
        let compile = |sources: &[Source<'_>], bounds: &Bounds| coalesce::compile(&engine, sources, bounds);
        Self::start_by(topology, machine, engine.clone(), compile)
    }

    /// The same, with lambdas that were compiled apart.
    pub fn start_with(
        topology: &Topology,
        machine: &Machine,
        engine: Engine,
        compiler: &Compiler,
    ) -> Result<Self, StartError> {
        Self::start_by(topology, machine, engine, |sources, bounds| compiler.ready_all(sources, bounds))
    }

    fn start_by(
        topology: &Topology,
        machine: &Machine,
        engine: Engine,
        compile: impl FnOnce(&[Source<'_>], &Bounds) -> Result<(Vec<Ready>, Coalesced), StartError>,
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        let pages = topology.memory.pages(machine)?;
        let eal = Eal::init(&eal_args(topology, pages))?;
        let memory = &topology.memory;
        let pool = Mempool::new(&eal, "frames", memory.pool_frames, POOL_CACHE, memory.frame_bytes, None)?;
        let mut ports = ports::open_all(&eal, topology, &pool)?;
        let fuel_per_us = match topology.budget.fuel_per_us {
            Some(fixed) => fixed,
            None => calibrate::fuel_per_us(&engine).map_err(StartError::Calibration)?.fuel_per_us,
        };
        let host = HostSide::new(LOG_LINES);
        let regions = lambdas::regions(topology, machine);
        let configured = lambdas::configured(topology, compile)?;
        let mut live = Live::new(topology, &host, &regions, fuel_per_us, Bell::new()?)?;
        let mut assembly = Assembly::plan(topology, &eal, &live, &engine, fuel_per_us)?;
        assembly.attach_ports(&mut ports);
        // In the order of their places among those that poll, as queues are.
        let polling: Vec<Doorbell> = topology
            .pollers()
            .iter()
            .filter_map(|id| live.workers().iter().find(|worker| worker.lcore == *id))
            .map(|worker| worker.doorbell.clone())
            .collect();
        let gateway = ports::gateway_queues(&mut ports, &polling);
        assembly.take_messages(&eal, &pool, live.slots())?;
        let many = configured.len() >= MANY;
        live.deploy_configured(configured)?;
        if many {
            gather_heap();
        }

        let (mut lcores, mut sources) = (Vec::new(), Vec::new());
        for (worker, made) in topology.lcores.workers.iter().zip(live.workers()) {
            sources.push(LcoreSource {
                lcore: worker.id.raw(),
                cpu: worker.cpu.raw(),
                roles: roles(topology, worker.id),
                counters: Arc::clone(&made.counters),
            });
            lcores.push((worker.id, assembly.lcore(&live, made, &ports)?));
        }
        let pool_of_stats = pool.clone();
        let pool_stats = move || PoolStats {
            name: pool_of_stats.name().to_owned(),
            frames: pool_of_stats.buffers().into(),
            in_use: pool_of_stats.in_use().into(),
        };
        let (neighbours, clock) = (Arc::clone(live.neighbours()), assembly.clock);
        let names: Vec<String> = topology.ports.iter().map(|port| port.name.clone()).collect();
        let neighbour_stats = move || {
            let (listed, mut clock) = (neighbours.list(), clock);
            // Looked at after what it dates.
            let now = Duration::from_nanos(clock.now_ns());
            listed.iter().map(|hop| NeighbourStats::of(hop, &names, now)).collect()
        };
        let sources = Arc::new(Sources {
            name: topology.name.clone(),
            started,
            scheduling: topology.scheduling.mode.name(),
            lcores: sources,
            deployments: Arc::clone(live.stats()),
            ports: ports.into_iter().map(OpenPort::into_stats).collect(),
            pools: vec![Box::new(pool_stats)],
            neighbours: Box::new(neighbour_stats),
            regions,
            islands: topology.islands.iter().map(|island| island.name.clone()).collect(),
            host: host.clone(),
        });
        // If a launch fails, dropping this stops those before it.
        let mut appliance = Self {
            stop: Arc::new(Stop::new(lcores.len() as u32)),
            tasks: Vec::new(),
            sources,
            pool,
            pages,
            engine,
            fuel_per_us,
            live,
            host,
            gateway,
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
        events.extend(self.bury_dead());
        events.extend(self.live.look_after());
        events
    }

    /// NPUs whose lcore has ended since the last look.
    fn bury_dead(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for running in &mut self.tasks {
            if let Some(npu) = running.npu_only
                && !running.is_dead
                && running.task.is_finished()
            {
                running.is_dead = true;
                self.live.bury(running.lcore);
                events.push(Event::NpuDied(npu));
            }
        }
        events
    }

    /// The engine that lambdas are to be prepared for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
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

    /// True if this lcore has returned.
    #[must_use]
    pub fn has_lcore_ended(&self, lcore: u32) -> bool {
        self.tasks.iter().any(|running| running.lcore.raw() == lcore && running.task.is_finished())
    }

    /// What a [`PacketGateway`](gateway::PacketGateway) is made of: once, and only if the gateway is enabled.
    pub fn take_gateway_queues(&mut self) -> Option<gateway::Queues> {
        self.gateway.take()
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
        for worker in self.live.workers() {
            worker.doorbell.ring();
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
