//! Start and stop: from a [`Topology`] to lcores that breathe, and back.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::lcore::{self, Task};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use dpdk_bindings::{Error as DpdkError, clock};

use super::config::Machine;
use super::stats::{LcoreSource, PoolStats, Sources};
use super::topology::{Driver, NoHugepages, Pages, Sleep, Topology};
use crate::breath::idle::Idle;
use crate::breath::sleeper::{Doorbell, Mode, Sleeper};
use crate::breath::{Breath, Clock};
use crate::island::Npu;
use crate::lambda::{Engine, EngineError, Image, Instance, Limits, PrepareError};
use crate::matcher::Table;
use crate::observe::counters::LcoreCounters;
use crate::path::{Attachment, Path, Role};
use crate::port::Port;

mod ports;

use ports::OpenPort;
pub use ports::PortError;

/// Free buffers that each lcore keeps at hand.
const POOL_CACHE: u32 = 256;

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
    stop: Arc<AtomicBool>,
    doorbells: Vec<Doorbell>,
    tasks: Vec<Task<()>>,
    sources: Arc<Sources>,
    pool: Mempool,
    pages: Pages,
}

/// What one worker needs; made on the main lcore, used on its own.
struct Worker {
    ports: Vec<Option<Box<dyn Port<Mbuf> + Send>>>,
    path: Path<Mbuf>,
    counters: Arc<LcoreCounters>,
    sleeper: Sleeper,
    idle: Idle,
    engine: Engine,
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
        let (engine, images) = compile(topology)?;
        let table = Arc::new(Table::build(topology.match_rules(&topology.references()))?);

        let stop = Arc::new(AtomicBool::new(false));
        let queues: Vec<u16> = ports.iter().map(OpenPort::queue_count).collect();
        let mut plan = topology.polling(&queues).into_iter();
        let (mut workers, mut doorbells, mut lcores) = (Vec::new(), Vec::new(), Vec::new());
        for lcore in &topology.lcores.workers {
            let mut own: Vec<Option<Box<dyn Port<Mbuf> + Send>>> = ports.iter().map(|_| None).collect();
            for (port, queue) in plan.next().unwrap_or_default() {
                own[port.index()] = ports[port.index()].take(queue);
            }
            let doorbell = Doorbell::new()?;
            let counters = Arc::new(LcoreCounters::new(topology.lambdas.len()));
            workers.push(Worker {
                path: Path::new(
                    attachments(&ports, &own),
                    Arc::clone(&table),
                    npu(topology, &images)?,
                    Arc::clone(&counters),
                ),
                sleeper: sleeper(topology, &own, &doorbell)?,
                ports: own,
                counters: Arc::clone(&counters),
                idle: Idle::new(
                    (topology.idle.sleep != Sleep::Never).then_some(topology.idle.spin_polls),
                    topology.idle.yield_polls,
                ),
                engine: engine.clone(),
            });
            doorbells.push(doorbell);
            lcores.push(LcoreSource { lcore: lcore.id.raw(), cpu: lcore.cpu.raw(), counters });
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
            lcores,
            lambdas: topology.lambdas.iter().map(|lambda| (lambda.name.clone(), lambda.id)).collect(),
            ports: ports.into_iter().map(OpenPort::into_stats).collect(),
            pools: vec![Box::new(pool_stats)],
        });
        // If a launch fails, dropping this stops those before it.
        let mut appliance = Self { stop, doorbells, tasks: Vec::new(), sources, pool, pages };
        for (lcore, worker) in topology.lcores.workers.iter().zip(workers) {
            let stop = Arc::clone(&appliance.stop);
            appliance.tasks.push(lcore::launch(&eal, lcore.id.raw(), move || worker.breathe(&stop))?);
        }
        Ok(appliance)
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

    /// True once a worker has returned although nobody asked: it panicked, or all its replayed files have ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.tasks.iter().any(Task::is_finished)
    }

    /// Drains, stops every lcore, closes the ports. Messages of lcores that panicked, and buffers that did not come home.
    pub fn stop(mut self) -> Stopped {
        self.ask_to_stop();
        let tasks = std::mem::take(&mut self.tasks);
        let panics = tasks.into_iter().filter_map(|task| task.join().err()).collect();
        let pool = self.pool.clone();
        // With it go the last handles of the devices: they close, and their queues give back what they hold.
        drop(self);
        Stopped { panics, lost_frames: pool.in_use() }
    }

    fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
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

impl Worker {
    fn breathe(self, stop: &AtomicBool) {
        let Self { ports, path, counters, mut sleeper, idle, engine } = self;
        engine.prepare_thread();
        let ports = ports.into_iter().map(|port| port.map(|port| port as Box<dyn Port<Mbuf>>)).collect();
        Breath::new(ports, path, TscClock::new(), counters).run(stop, idle, &mut sleeper);
    }
}

/// The time stamp counter as a clock.
struct TscClock {
    start: u64,
    /// Nanoseconds per cycle, with 32 bits of fraction.
    scale: u128,
}

impl TscClock {
    fn new() -> Self {
        let per_second = u128::from(clock::cycles_per_second().max(1));
        Self { start: clock::cycles(), scale: (1_000_000_000 << 32) / per_second }
    }
}

impl Clock for TscClock {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "584 years of nanoseconds")]
    fn now_ns(&mut self) -> u64 {
        ((u128::from(clock::cycles().wrapping_sub(self.start)) * self.scale) >> 32) as u64
    }
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

fn compile(topology: &Topology) -> Result<(Engine, Vec<Image>), StartError> {
    let engine = Engine::new()?;
    let images = topology
        .lambdas
        .iter()
        .map(|lambda| {
            let (name, file) = (lambda.name.clone(), lambda.file.clone());
            let wasm = std::fs::read(&file).map_err(|source| StartError::LambdaFile {
                name: name.clone(),
                file: file.clone(),
                source,
            })?;
            Image::compile(&engine, &wasm, &lambda.entry, &Limits::default())
                .map_err(|source| StartError::Lambda { name, file, source })
        })
        .collect::<Result<_, _>>()?;
    Ok((engine, images))
}

/// An NPU with its own instance of every lambda.
fn npu(topology: &Topology, images: &[Image]) -> Result<Npu, StartError> {
    let mut npu = Npu::new();
    for ((lambda, image), reference) in topology.lambdas.iter().zip(images).zip(topology.references()) {
        let instance = Instance::new(image, lambda.budget_fuel).map_err(|source| StartError::Lambda {
            name: lambda.name.clone(),
            file: lambda.file.clone(),
            source,
        })?;
        npu.load(reference, lambda.id, instance);
    }
    Ok(npu)
}

/// The ports as a worker with these queues sees them. A host port that it has no queue of is none to it.
fn attachments(ports: &[OpenPort], own: &[Option<Box<dyn Port<Mbuf> + Send>>]) -> Vec<Attachment> {
    let has = |role: Role| match role {
        Role::Wire { host: Some(host) } if own[host.index()].is_none() => Role::Wire { host: None },
        role => role,
    };
    ports
        .iter()
        .map(|port| Attachment {
            interface: port.interface,
            role: has(port.role),
            tx_checksum: port.tx_checksum,
        })
        .collect()
}

fn sleeper(
    topology: &Topology,
    own: &[Option<Box<dyn Port<Mbuf> + Send>>],
    doorbell: &Doorbell,
) -> Result<Sleeper, StartError> {
    let idle = &topology.idle;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    let mut blind = None;
    for (port, spec) in own.iter().zip(&topology.ports) {
        match port.as_ref().map(|port| port.readable()) {
            Some(Some(descriptor)) => descriptors.push(descriptor),
            Some(None) if matches!(spec.driver, Driver::Dpdk(_)) => blind = Some(spec.name.clone()),
            _ => {}
        }
    }
    let timer = Mode::Timer(Duration::from_micros(idle.timer_us.into()));
    let mode = match (idle.sleep, blind) {
        (Sleep::Descriptor, Some(port)) => return Err(StartError::NoDescriptor(port)),
        (Sleep::Timer | Sleep::Never, _) | (Sleep::Auto, Some(_)) => timer,
        (Sleep::Auto | Sleep::Descriptor, None) => Mode::Descriptor,
    };
    let longest = Duration::from_millis(idle.max_sleep_ms.into());
    Ok(Sleeper::new(mode, descriptors, doorbell, longest)?)
}
