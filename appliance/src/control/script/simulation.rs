//! An appliance in this process: the real path on simulated ports, with virtual time, under the control that the real one has.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path as FilePath;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lnic_message::server::{Limits, Server};
use lnic_registry::LambdaKey;

use super::frame::{MTU, OUR_IPV4, OUR_IPV6, OUR_MAC, Side};
use super::judge::Script;
use super::{Error, Module};
use crate::breath::{Breath, Clock};
use crate::control::appliance::live::{Live, Wanted};
use crate::control::appliance::{Bounds, Event, Wishes, ready};
use crate::control::config::machine::Access;
use crate::control::config::{Cpu, Machine};
use crate::control::manifest;
use crate::control::topology::Topology;
use crate::frame::Frame as _;
use crate::handoff::Bell;
use crate::ids::{LambdaSlot, LcoreId, PortId, QueueId};
use crate::island::Npu;
use crate::lambda::{Engine, EngineError, Environment, HostSide, Image};
use crate::matcher::{Directory, Table};
use crate::memory::{Hugepages, NpuPlace, RegionSettings, Regions};
use crate::message::slots::MessageSlots;
use crate::observe::DropReason;
use crate::observe::counters::{Counter, LambdaCounters, LcoreCounters};
use crate::parser::{Interface, Ports};
use crate::path::{Attachment, Messages, Parts, Path, Place, Role};
use crate::port::sim::{SimFrame, SimPeer, SimPool, SimPort};
use crate::port::{Capabilities, Port};

/// Fuel that stands for a microsecond: about what a core of 2 GHz uses, so that budgets mean what they mean there.
const FUEL_PER_US: u32 = 2_000;
/// Buffers of the simulated ports.
const FRAMES: usize = 2_048;
/// Bytes of one.
pub(super) const FRAME_BYTES: usize = 2_048;
/// Lines that lambdas may log between two looks.
const LOG_LINES: usize = 4_096;
/// Room for lambdas.
const SLOTS: usize = 16;
/// When the simulation begins: not at zero, which means "never" in places.
const START_NS: u64 = 1_000_000_000;
/// Breaths after which a simulation that does not come to rest has gone astray.
const BREATHS: u32 = 10_000_000;
/// Ports of the simulated appliance.
const WIRE: PortId = PortId::new(0);
const HOST: PortId = PortId::new(1);

/// Which of a lambda's counters.
type Pick = fn(&LambdaCounters) -> &Counter;

/// Counters of a lambda that a script can look at.
pub(super) const COUNTERS: [(&str, Pick); 16] = [
    ("invocations", |count| &count.invocations),
    ("forwarded", |count| &count.forwarded),
    ("dropped", |count| &count.dropped),
    ("to_host", |count| &count.to_host),
    ("traps", |count| &count.traps),
    ("exhausted", |count| &count.exhausted),
    ("bad_verdicts", |count| &count.bad_verdicts),
    ("busy", |count| &count.busy),
    ("late", |count| &count.late),
    ("unavailable", |count| &count.unavailable),
    ("calls", |count| &count.calls),
    ("calls_timed_out", |count| &count.calls_timed_out),
    ("requests", |count| &count.requests),
    ("replies", |count| &count.replies),
    ("requests_timed_out", |count| &count.requests_timed_out),
    ("requests_failed", |count| &count.requests_failed),
];

/// What simulations have in common: code is compiled once.
pub struct Bench {
    engine: Engine,
    known: HashMap<Vec<u8>, Image>,
}

impl Bench {
    /// Nothing compiled yet.
    pub fn new() -> Result<Self, EngineError> {
        let engine = Engine::new()?;
        engine.prepare_thread();
        Ok(Self { engine, known: HashMap::new() })
    }
}

/// Virtual time. Clones tell the same; it passes only when it is told to.
#[derive(Clone)]
struct Time(Rc<Cell<u64>>);

impl Clock for Time {
    fn now_ns(&mut self) -> u64 {
        self.0.get()
    }
}

/// What has happened to frames and lambdas so far.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    drops: Vec<u64>,
    lambda: Vec<u64>,
    /// Fuel that the tested lambda used.
    pub(super) fuel: u64,
}

impl Snapshot {
    /// What has happened since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let minus = |now: &[u64], then: &[u64]| {
            now.iter().zip(then).map(|(now, then)| now.saturating_sub(*then)).collect()
        };
        Self {
            drops: minus(&self.drops, &before.drops),
            lambda: minus(&self.lambda, &before.lambda),
            fuel: self.fuel - before.fuel,
        }
    }

    /// Reasons for which frames were dropped, with how many.
    pub(super) fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().copied().zip(self.drops.iter().copied()).filter(|(_, frames)| *frames > 0)
    }

    /// A counter of the tested lambda.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let at = COUNTERS.iter().position(|(own, _)| *own == name);
        at.and_then(|at| self.lambda.get(at)).copied().unwrap_or(0)
    }
}

/// The appliance.
pub(super) struct Simulation {
    live: Live<SimFrame>,
    breath: Breath<SimFrame, Time>,
    wire: SimPeer,
    host: Option<SimPeer>,
    time: Time,
    counters: Arc<LcoreCounters>,
    log: HostSide,
    tested: LambdaSlot,
    topology: Topology,
}

impl Simulation {
    /// With the lambda of a script and its companions, all of them deployed.
    pub(super) fn new(
        bench: &mut Bench,
        script: &Script,
        wasm: &[u8],
        companions: &[Module],
    ) -> Result<Self, Error> {
        let mut simulation = Self::empty(script)?;
        let mut wanted = vec![simulation.wanted(bench, script, wasm)?];
        for (number, module) in (0..).zip(companions) {
            wanted.push(simulation.companion(bench, number, module)?);
        }
        simulation.live.begin();
        for wanted in wanted {
            simulation.live.prepare(wanted);
        }
        simulation.live.complete();
        while !simulation.live.is_published() {
            simulation.turn();
        }
        // In the order of what was wanted: the tested one is the first.
        for deployed in simulation.live.finish(None).into_iter().rev() {
            simulation.tested = deployed?.reference.slot;
        }
        Ok(simulation)
    }

    fn empty(script: &Script) -> Result<Self, Error> {
        let topology = topology(script)?;
        let log = HostSide::new(LOG_LINES);
        let npus: Vec<NpuPlace> =
            topology.npus.iter().map(|npu| NpuPlace { island: npu.island, numa_node: None }).collect();
        let settings = RegionSettings { hugepages: Hugepages::Off, ..RegionSettings::default() };
        let regions = Regions::new(&settings, &npus);
        let bell = Bell::new().map_err(Error::System)?;
        let live: Live<SimFrame> =
            Live::new(&topology, &log, &regions, FUEL_PER_US, bell).map_err(Error::System)?;
        let pool = SimPool::new(FRAMES, FRAME_BYTES);
        let time = Time(Rc::new(Cell::new(START_NS)));
        let (port, wire) = SimPort::pair(&pool, Capabilities::default());
        let mut ports: Vec<Option<Box<dyn Port<SimFrame>>>> = vec![Some(Box::new(port))];
        let mut attachments =
            vec![attachment(&topology, WIRE, Role::Wire { host: script.has_host.then_some(HOST) })];
        let mut host = None;
        if script.has_host {
            let (port, peer) = SimPort::pair(&pool, Capabilities::default());
            ports.push(Some(Box::new(port)));
            attachments.push(attachment(&topology, HOST, Role::Host { wire: WIRE }));
            host = Some(peer);
        }
        // One CPU beside the main one: one lcore, which is everything.
        let worker = live.workers().first().ok_or(Error::NoLcore)?;
        let suspended: BTreeMap<LcoreId, Arc<AtomicU32>> = [(worker.lcore, Arc::default())].into();
        let limits = Limits { tenants: SLOTS as u16, ..Limits::default() };
        let slots = MessageSlots::new(Vec::new(), live.slots(), 0);
        let server = Server::new(limits, [7; 16], 1);
        let parts = Parts {
            ports,
            attachments,
            table: Arc::new(Table::empty()),
            directory: Arc::new(Directory::default()),
            places: vec![Place::Here; live.slots()],
            quarantine: Arc::clone(live.quarantine()),
            npu: Npu::new(live.slots()),
            dispatcher: live.dispatcher(worker.lcore, &suspended),
            clients: Vec::new(),
            servers: Vec::new(),
            stock: live.first_stock(worker.lcore),
            suspended_here: Arc::clone(&suspended[&worker.lcore]),
            fuel_per_us: FUEL_PER_US,
            outside: live.outside(worker.lcore, &[vec![(WIRE, QueueId::new(0)), (HOST, QueueId::new(0))]]),
            messages: Some(Messages::new(server, slots, Box::new(pool.sendable()), 256, None)),
            counters: Arc::clone(&worker.counters),
            mail: worker.mail.clone(),
        };
        let counters = Arc::clone(&worker.counters);
        let breath = Breath::new(Path::new(parts, time.clone()), Arc::clone(&counters));
        Ok(Self { live, breath, wire, host, time, counters, log, tested: LambdaSlot::new(0), topology })
    }

    /// The lambda that is tested, as the appliance would deploy it.
    fn wanted(&self, bench: &mut Bench, script: &Script, wasm: &[u8]) -> Result<Wanted, Error> {
        let secrets = script.secrets.iter().map(|(name, value)| {
            let bytes = value.clone().into_bytes();
            (name.clone(), zeroize::Zeroizing::new(bytes))
        });
        let module = Module { manifest: script.manifest.clone(), wasm: wasm.to_vec() };
        self.wanted_of(bench, &module, script.id, secrets.collect())
    }

    fn companion(&self, bench: &mut Bench, number: u32, module: &Module) -> Result<Wanted, Error> {
        // Behind those that people choose.
        let id = module.manifest.id.unwrap_or(0x8000_0000 + number);
        self.wanted_of(bench, module, id, BTreeMap::new())
    }

    fn wanted_of(
        &self,
        bench: &mut Bench,
        module: &Module,
        id: u32,
        secrets: BTreeMap<String, zeroize::Zeroizing<Vec<u8>>>,
    ) -> Result<Wanted, Error> {
        let topology = &self.topology;
        // Islands are an appliance's; here is one. Services are all on the one network that there is.
        let mut manifest = crate::control::plane::Manifest { islands: None, ..module.manifest.clone() };
        for service in manifest.services.values_mut() {
            service.port = Some("p0".into());
        }
        let namespace = LambdaKey::DEFAULT_NAMESPACE;
        let (spec, rules) = manifest::judge(&manifest, namespace, id, FilePath::new("module"), topology)
            .map_err(Error::Manifest)?;
        let wishes = Wishes::of(&spec, topology);
        let bounds = Bounds::of(topology);
        let ready = ready(&bench.engine, &module.wasm, &spec.entry, &wishes, &bounds, &mut bench.known)
            .map_err(|source| Error::Prepare { name: spec.name.clone(), source: Box::new(source) })?;
        let variables = manifest.environment.iter();
        let variables = variables.map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        Ok(Wanted {
            key: LambdaKey::new(namespace, &spec.name),
            spec,
            ready,
            rules,
            environment: Environment::new(variables, secrets),
            replicas: manifest.replicas,
            generation: 1,
        })
    }

    /// Sends a frame to the appliance; false if it fits no buffer.
    pub(super) fn send(&mut self, side: Side, frame: &[u8]) -> bool {
        let peer = match side {
            Side::Wire => Some(&mut self.wire),
            Side::Host => self.host.as_mut(),
        };
        peer.is_some_and(|peer| peer.send(frame))
    }

    /// The next frame that the appliance sent to this side.
    pub(super) fn receive(&mut self, side: Side) -> Option<Vec<u8>> {
        let peer = match side {
            Side::Wire => Some(&mut self.wire),
            Side::Host => self.host.as_mut(),
        };
        peer?.receive().map(|frame| frame.bytes().to_vec())
    }

    /// Breathes until there is nothing left to do now.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        for _ in 0..BREATHS {
            if !self.turn() {
                return Ok(());
            }
        }
        Err(Error::Restless)
    }

    /// One breath, and what control does meanwhile. True if there was anything to do.
    fn turn(&mut self) -> bool {
        let busy = self.breath.once();
        let mut woken = false;
        for event in self.live.look_after() {
            if let Event::Woken(key) = event
                && self.live.begin_wake(&key).is_ok_and(|begun| begun)
            {
                woken = true;
                while !self.live.is_published() {
                    self.breath.once();
                    self.live.advance();
                }
                self.live.finish(None);
            }
        }
        busy | woken
    }

    /// Now.
    pub(super) fn now_ns(&self) -> u64 {
        self.time.0.get()
    }

    /// Lets time pass until then, if it is not over.
    pub(super) fn pass_until(&mut self, then_ns: u64) {
        self.time.0.set(self.now_ns().max(then_ns));
    }

    /// When the appliance has something to do by itself.
    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        self.breath.path().next_deadline_ns()
    }

    /// Requests are under way.
    pub(super) fn is_busy(&self) -> bool {
        let slots = (0u32..).take(self.live.slots()).map(LambdaSlot::new);
        slots.map(|slot| self.counters.outstanding.get(slot)).any(|under_way| under_way > 0)
    }

    /// What lambdas have logged since the last look.
    pub(super) fn log_lines(&mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.log.next_line());
        lines.map(|line| String::from_utf8_lossy(line.text()).into_owned()).collect()
    }

    /// What has happened so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        let drops = DropReason::ALL.iter().map(|reason| self.counters.dropped(*reason)).collect();
        let own = self.counters.lambda(self.tested);
        let lambda = COUNTERS.iter().map(|(_, pick)| own.map_or(0, |own| pick(own).get())).collect();
        Snapshot { drops, lambda, fuel: own.map_or(0, |own| own.fuel.get()) }
    }
}

/// One port of the appliance, and its host port.
fn topology(script: &Script) -> Result<Topology, Error> {
    let machine = Machine {
        cpus: (0..2).map(Cpu::new).collect(),
        numa_nodes: BTreeMap::new(),
        capabilities: u64::MAX,
        interfaces: Default::default(),
        pci_devices: BTreeMap::new(),
        hugepages: Vec::new(),
        available_bytes: 64 << 30,
        max_map_count: None,
        tun: Access::Usable,
    };
    let mode = if script.dispatches { "dispatcher" } else { "run-to-completion" };
    let (host, host_port) = match script.has_host {
        true => ("host = \"h0\"\n", "[[ports]]\nname = \"h0\"\ndevargs = \"net_tap1,iface=lnich0\"\n"),
        false => ("", ""),
    };
    let text = format!(
        "[scheduling]\nmode = \"{mode}\"\n[budget]\nfuel_per_us = {FUEL_PER_US}\n\
         [services]\nallowed = [\"0.0.0.0/0\", \"::/0\"]\n\
         [control]\nlambdas = {SLOTS}\nnamespaces = 2\n\
         [[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\nipv4 = \"{OUR_IPV4}\"\nipv6 = \"{OUR_IPV6}\"\n\
         {host}{host_port}"
    );
    Ok(Topology::from_text(&text, FilePath::new("simulation.toml"), &machine)?.0)
}

fn attachment(topology: &Topology, port: PortId, role: Role) -> Attachment {
    let is_wire = matches!(role, Role::Wire { .. });
    let services = &topology.services.udp_ports;
    let interface = Interface {
        port,
        mac: OUR_MAC,
        ipv4: is_wire.then_some(OUR_IPV4),
        ipv6: is_wire.then_some(OUR_IPV6),
        rpc_port: lnic_wire::rpc::PORT,
        promiscuous: !is_wire,
        partial_checksums: false,
        mtu: MTU as u16,
        service_ports: if is_wire { Ports::range(*services.start(), *services.end()) } else { Ports::NONE },
    };
    Attachment { interface, role, tx_checksum: false, tx_external: false }
}
