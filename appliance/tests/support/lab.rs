//! An appliance on simulated ports: no root, no hugepages, virtual time. One lcore polls; more NPUs can be behind its dispatcher.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lnic::breath::{Breath, Clock};
use lnic::dispatcher::{Limits as DispatcherLimits, NpuSet, Share};
use lnic::frame::Frame as _;
use lnic::handoff::{Client, Server, memory};
use lnic::ids::{LambdaSlot, NpuId, PortId};
use lnic::island::{Npu, Quarantine};
use lnic::lambda::HostSide;
use lnic::matcher::{Directory, Table};
use lnic::observe::DropReason;
use lnic::observe::counters::LcoreCounters;
use lnic::parser::{Interface, Ports};
use lnic::path::{Attachment, Command, Dispatcher, Feed, Mail, Parts, Path, Place, Role, Stock};
use lnic::port::sim::{SimFrame, SimPeer, SimPool, SimPort};
use lnic::port::{Capabilities, Port};

pub use super::deployed::{Deployed, built, built_from, module, spinner};
use super::deployed::{Made, compile};
use super::frames::{OUR_IPV4, OUR_IPV6, OUR_MAC, RPC_PORT};
use super::messages::MessageSetup;
use super::outside::OutsideSetup;

pub type SimBreath = Breath<SimFrame, SimClock>;

/// Virtual time: every look at it lets a little pass. Clones tell the same time.
#[derive(Clone)]
pub struct SimClock {
    now_ns: Rc<Cell<u64>>,
    step_ns: Rc<Cell<u64>>,
    real: Option<fn() -> u64>,
}

impl SimClock {
    pub fn new(step_ns: u64) -> Self {
        Self { now_ns: Rc::new(Cell::new(1_000)), step_ns: Rc::new(Cell::new(step_ns)), real: None }
    }

    /// Real time, for benchmarks.
    pub fn real(read: fn() -> u64) -> Self {
        Self { real: Some(read), ..Self::new(0) }
    }

    pub fn pass(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }

    /// Lets this much pass with every look from now on.
    pub fn set_step(&self, step_ns: u64) {
        self.step_ns.set(step_ns);
    }

    /// The time, without a look at it.
    pub fn peek_ns(&self) -> u64 {
        self.now_ns.get()
    }
}

impl Clock for SimClock {
    #[inline]
    fn now_ns(&mut self) -> u64 {
        if let Some(read) = self.real {
            return read();
        }
        self.pass(self.step_ns.get());
        self.now_ns.get()
    }
}

/// How the appliance is made.
pub struct Setup {
    pub host_port: bool,
    pub capabilities: Capabilities,
    pub clock: SimClock,
    /// A dispatcher with these limits; else run-to-completion.
    pub dispatcher: Option<DispatcherLimits>,
    /// The polling lcore has an NPU.
    pub npu_here: bool,
    /// NPUs on lcores of their own.
    pub npus: u16,
    /// Failures within a second that quarantine a lambda.
    pub failures: u32,
    pub stock: Stock,
    pub frames: usize,
    /// The polling lcore takes messages.
    pub messages: Option<MessageSetup>,
    /// Lambdas can ask services outside.
    pub outside: Option<OutsideSetup>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            host_port: false,
            capabilities: Capabilities::default(),
            clock: SimClock::new(0),
            dispatcher: None,
            npu_here: true,
            npus: 0,
            failures: 0,
            stock: Stock::default(),
            frames: 512,
            messages: None,
            outside: None,
        }
    }
}

/// A dispatcher's limits as the default configuration has them.
pub const LIMITS: DispatcherLimits =
    DispatcherLimits { npu_in_flight: 16, waiting: 4096, quantum_cycles: 40_000, patience: 64 };

impl Setup {
    /// A dispatcher with an NPU on its own lcore.
    pub fn dispatcher() -> Self {
        Self { dispatcher: Some(LIMITS), stock: Stock { jobs: 4200, calls: 0 }, ..Self::default() }
    }
}

pub struct Lab {
    pub breath: SimBreath,
    /// Lcores with an NPU and nothing else; `None` for one that died.
    pub npus: Vec<Option<SimBreath>>,
    pub peers: Vec<SimPeer>,
    pub pool: SimPool,
    /// The polling lcore's.
    pub counters: Arc<LcoreCounters>,
    /// Those of the lcores in `npus`.
    pub npu_counters: Vec<Arc<LcoreCounters>>,
    pub quarantine: Arc<Quarantine>,
    pub mail: Mail<SimFrame>,
    pub host: HostSide,
    pub clock: SimClock,
    made: Vec<Made>,
}

pub fn interface(port: u16) -> Interface {
    Interface {
        port: PortId::new(port),
        mac: OUR_MAC,
        ipv4: Some(OUR_IPV4.into()),
        ipv6: Some(OUR_IPV6.into()),
        rpc_port: RPC_PORT,
        service_ports: Ports::NONE,
        promiscuous: false,
        partial_checksums: false,
        mtu: 1500,
    }
}

impl Lab {
    /// A wire port, with a host port beside it if asked for.
    pub fn new(lambdas: Vec<Deployed>, host_port: bool) -> Self {
        Self::with(lambdas, host_port, Capabilities::default(), |_| {}, |port| port)
    }

    pub fn with(
        lambdas: Vec<Deployed>,
        host_port: bool,
        capabilities: Capabilities,
        adjust: impl Fn(&mut Interface),
        wrap: impl Fn(Box<dyn Port<SimFrame>>) -> Box<dyn Port<SimFrame>>,
    ) -> Self {
        Self::with_setup(lambdas, Setup { host_port, capabilities, ..Setup::default() }, adjust, wrap)
    }

    pub fn of(lambdas: Vec<Deployed>, setup: Setup) -> Self {
        Self::with_setup(lambdas, setup, |_| {}, |port| port)
    }

    pub fn with_setup(
        lambdas: Vec<Deployed>,
        setup: Setup,
        adjust: impl Fn(&mut Interface),
        wrap: impl Fn(Box<dyn Port<SimFrame>>) -> Box<dyn Port<SimFrame>>,
    ) -> Self {
        let pool = SimPool::new(setup.frames, 2048);
        let host = setup.host_port.then_some(PortId::new(1));
        let mut attachments = Vec::new();
        let mut ports: Vec<Option<Box<dyn Port<SimFrame>>>> = Vec::new();
        let mut peers = Vec::new();
        let roles = [Some(Role::Wire { host }), host.map(|_| Role::Host { wire: PortId::new(0) })];
        for (at, role) in (0u16..).zip(roles.into_iter().flatten()) {
            let (port, peer) = SimPort::pair(&pool, setup.capabilities);
            let mut interface = interface(at);
            interface.promiscuous = matches!(role, Role::Host { .. });
            if let (Some(outside), Role::Wire { .. }) = (&setup.outside, role) {
                interface.service_ports = Ports::range(*outside.udp_ports.start(), *outside.udp_ports.end());
            }
            adjust(&mut interface);
            attachments.push(Attachment {
                interface,
                role,
                tx_checksum: setup.capabilities.tx_checksum,
                tx_external: setup.capabilities.tx_external,
            });
            ports.push(Some(wrap(Box::new(port))));
            peers.push(peer);
        }
        let services = setup.outside.as_ref().map(|outside| outside.services.clone()).unwrap_or_default();
        let log = HostSide::new(64).with_services(services);
        let npus = usize::from(setup.npu_here) + usize::from(setup.npus);
        let (made, rules) = compile(lambdas, &log, npus.max(1));
        let table = Arc::new(Table::build(rules).expect("rules"));
        let directory = Arc::new(Directory::new(made.iter().map(|made| (made.id, made.reference))));
        let quarantine = Arc::new(Quarantine::new(made.len(), setup.failures, 1_000_000_000));
        let mail = Mail::new(made.len(), None);
        let parts = |ports: Vec<Option<Box<dyn Port<SimFrame>>>>, npu: Npu| Parts {
            ports,
            attachments: attachments.clone(),
            table: Arc::clone(&table),
            directory: Arc::clone(&directory),
            places: Vec::new(),
            quarantine: Arc::clone(&quarantine),
            npu,
            dispatcher: None,
            clients: Vec::new(),
            servers: Vec::new(),
            stock: setup.stock,
            suspended_here: Arc::default(),
            fuel_per_us: 1_000,
            messages: None,
            outside: None,
            counters: Arc::new(LcoreCounters::new(made.len())),
            mail: Mail::new(1, None),
        };
        let stocked = |at: usize| {
            let id = NpuId::new(at as u16);
            let mut npu = Npu::new(made.len());
            for made in made.iter().filter(|made| setup.dispatcher.is_none() || !made.lambda.pinned) {
                npu.load(made.reference, made.load(id));
            }
            npu
        };
        let mut feeds = if setup.npu_here { vec![Some(Feed::Here)] } else { Vec::new() };
        let (mut clients, mut npus, mut npu_counters) = (Vec::new(), Vec::new(), Vec::new());
        let mut servers: Vec<Server<SimFrame>> = Vec::new();
        for at in 0..setup.npus {
            let suspended: Arc<AtomicU32> = Arc::default();
            feeds.push(Some(Feed::Client(at as u8, Arc::clone(&suspended))));
            let (client, server): (Client<SimFrame>, _) = memory(2047);
            clients.push(client);
            // Calls of its lambdas go to the dispatcher.
            let (calls, for_calls) = memory(255);
            servers.push(for_calls);
            let mut parts = parts(vec![], stocked(usize::from(setup.npu_here) + usize::from(at)));
            parts.places = vec![Place::Client(0); made.len()];
            parts.clients = vec![calls];
            parts.servers = vec![server];
            parts.suspended_here = suspended;
            let counters = Arc::clone(&parts.counters);
            npus.push(Some(Breath::new(Path::new(parts, setup.clock.clone()), Arc::clone(&counters))));
            npu_counters.push(counters);
        }
        let mut parts = parts(ports, if setup.npu_here { stocked(0) } else { Npu::new(made.len()) });
        if let Some(limits) = setup.dispatcher {
            parts.places = vec![Place::Dispatcher; made.len()];
            let all = NpuSet::all(feeds.len());
            let mut dispatcher =
                Dispatcher::new(limits, feeds, made.len(), Arc::clone(&mail.lost), Arc::clone(&quarantine));
            for made in &made {
                let lambda = &made.lambda;
                let share = Share {
                    weight: lambda.weight,
                    queue: lambda.queue,
                    in_flight: if made.image.shape().suspends { made.in_flight() } else { 65_535 },
                    npus: all,
                    pinned: lambda.pinned,
                };
                let mut held = lambda.pinned.then(|| made.load(NpuId::new(0)));
                dispatcher.deploy(made.reference, share, &mut held).expect("share");
            }
            parts.dispatcher = Some(dispatcher);
        }
        parts.clients = clients;
        parts.servers = servers;
        parts.mail = mail.clone();
        // What is asked leaves in frames of the message server's.
        let messages = setup.messages.or_else(|| setup.outside.is_some().then(MessageSetup::default));
        parts.messages = messages.map(|messages| messages.make(&made, &pool));
        parts.outside = setup.outside.as_ref().and_then(OutsideSetup::make);
        let counters = Arc::clone(&parts.counters);
        let breath = Breath::new(Path::new(parts, setup.clock.clone()), Arc::clone(&counters));
        let clock = setup.clock;
        Self { breath, npus, peers, pool, counters, npu_counters, quarantine, mail, host: log, clock, made }
    }

    /// What control does for a lambda whose NPU died.
    pub fn revive(&mut self) -> usize {
        let lost: Vec<LambdaSlot> = std::iter::from_fn(|| self.mail.lost.pop()).collect();
        for slot in &lost {
            let made = &self.made[slot.index()];
            let fresh = Command::Fresh(made.reference, made.load(NpuId::new(0)));
            assert!(self.mail.commands.push(fresh).is_ok());
        }
        lost.len()
    }

    /// An NPU's lcore dies with all that is on it, and control says so.
    pub fn kill(&mut self, at: usize, npu: u16) {
        drop(self.npus[at].take());
        assert!(self.mail.commands.push(Command::Dead(NpuId::new(npu))).is_ok());
    }

    /// Sends one frame to the wire port and returns what comes back there.
    pub fn exchange(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        assert!(self.peers[0].send(frame), "frame of {} bytes", frame.len());
        self.settle();
        self.received(0)
    }

    /// One breath of every lcore. True if there was anything to do.
    pub fn breathe(&mut self) -> bool {
        let mut busy = self.breath.once();
        for npu in self.npus.iter_mut().flatten() {
            busy |= npu.once();
        }
        busy
    }

    /// Breathes until nothing is left to do.
    pub fn settle(&mut self) {
        while self.breathe() {}
    }

    /// A counter of a lambda, summed over lcores.
    pub fn count(
        &self,
        lambda: u32,
        pick: impl Fn(&lnic::observe::counters::LambdaCounters) -> &lnic::observe::counters::Counter,
    ) -> u64 {
        let slot = LambdaSlot::new(lambda - 1);
        let all = std::iter::once(&self.counters).chain(&self.npu_counters);
        all.filter_map(|counters| counters.lambda(slot)).map(|count| pick(count).get()).sum()
    }

    /// What the appliance sent on a port since it was last asked.
    pub fn received(&mut self, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.peers[port].receive()).map(|frame| frame.bytes().to_vec()).collect()
    }

    /// Asserts that every frame has ended in exactly one way and that no buffer has leaked.
    pub fn assert_balanced(&mut self) {
        let all = || std::iter::once(&self.counters).chain(&self.npu_counters);
        let came: u64 = all().map(|counters| counters.received.get() + counters.made.get()).sum();
        let ended: u64 = all()
            .map(|counters| {
                let left = counters.sent.get() + counters.to_host.get();
                left + counters.dropped_total() + counters.placed.get()
            })
            .sum();
        assert_eq!(came, ended, "received + made = sent + to host + dropped + placed");
        for port in 0..self.peers.len() {
            self.received(port);
        }
        assert_eq!(self.pool.available(), self.pool.frames(), "buffers in the pool");
    }

    /// Message slots with a message or a reply in them.
    pub fn slots_taken(&self) -> usize {
        self.breath.path().slots_taken()
    }

    /// When an lcore has something to do by itself.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let all = std::iter::once(&self.breath).chain(self.npus.iter().flatten());
        all.filter_map(|breath| breath.path().next_deadline_ns()).min()
    }

    /// Lets time pass until no lcore has anything left to do by itself.
    pub fn rest(&mut self) {
        self.settle();
        while let Some(deadline_ns) = self.next_deadline_ns() {
            let least_ns = 50_000;
            self.clock.pass(deadline_ns.saturating_sub(self.clock.peek_ns()).max(least_ns));
            self.settle();
        }
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped(reason)
    }
}
