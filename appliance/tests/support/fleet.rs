//! A simulated appliance of several lcores, under the control that the real one has: lambdas come and go while packets flow.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lnic::breath::Breath;
use lnic::control::appliance::layout::LinkKind;
use lnic::control::appliance::live::{DeployError, Deployed as Done, Live, Wanted};
use lnic::control::appliance::{Bounds, Event, Ready, Wishes, ready};
use lnic::control::config::{Cpu, Machine};
use lnic::control::stats::LambdaStats;
use lnic::control::topology::{Concurrency, HttpMode, LambdaSpec, LayoutWish, Topology};
use lnic::frame::Frame as _;
use lnic::handoff::{Bell, Client, Server, memory};
use lnic::ids::{LambdaId, LcoreId};
use lnic::island::Npu;
use lnic::lambda::{Engine, Environment, HostSide, Image};
use lnic::matcher::{Directory, Egress, Rule, Table};
use lnic::memory::{NpuPlace, RegionSettings, Regions};
use lnic::message::slots::MessageSlots;
use lnic::observe::counters::{Counter, LcoreCounters};
use lnic::path::{Attachment, Messages, Parts, Path, Place, Role};
use lnic::port::sim::{SimFrame, SimPeer, SimPool, SimPort};
use lnic::port::{Capabilities, Port};
use lnic_message::server::{Limits, Server as MessageServer};
use lnic_registry::LambdaKey;

use super::lab::{SimBreath, SimClock, interface};
use super::messages::{EPOCH, RETRY_US};

/// How lcores share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One lcore, which does all.
    One,
    /// Three that do all.
    Several,
    /// A dispatcher with its NPU beside it.
    Beside,
    /// A dispatcher, and three NPUs behind links.
    Behind,
    /// Two dispatchers with NPUs of their own.
    Two,
}

pub use Arrangement::{Behind, Beside, One, Several, Two};

pub const ALL: [Arrangement; 5] = [One, Several, Beside, Behind, Two];

impl Arrangement {
    fn text(self) -> &'static str {
        match self {
            One | Several => "",
            Beside | Behind => "[scheduling]\nmode = \"dispatcher\"\nwaiting_frames = 512\n",
            Two => {
                "[scheduling]\nmode = \"dispatcher\"\nwaiting_frames = 512\n\
                 [[islands]]\nname = \"a\"\nnpus = [2, 3]\n[[islands]]\nname = \"b\"\nnpus = [5]\n\
                 [[dispatchers]]\ncpu = 1\nislands = [\"a\"]\n[[dispatchers]]\ncpu = 4\nislands = [\"b\"]\n"
            }
        }
    }

    fn cpus(self) -> u32 {
        match self {
            One | Beside => 2,
            Several | Behind => 4,
            Two => 6,
        }
    }
}

/// Slots for lambdas.
pub const SLOTS: usize = 16;

pub struct Fleet {
    pub live: Live<SimFrame>,
    /// `None` for one that died.
    pub lcores: Vec<Option<SimBreath>>,
    /// The network, at each lcore that polls.
    pub peers: Vec<SimPeer>,
    pub pool: SimPool,
    pub clock: SimClock,
    pub regions: Regions,
    pub topology: Topology,
    pub counters: Vec<Arc<LcoreCounters>>,
    pub engine: Engine,
    known: std::collections::HashMap<Vec<u8>, Image>,
}

/// A topology with room for few lambdas, whatever this machine is.
pub fn topology(text: &str, cpus: u32, slots: usize) -> Topology {
    let mut machine = Machine::read().expect("a machine");
    machine.cpus = (0..cpus).map(Cpu::new).collect();
    machine.numa_nodes.clear();
    machine.available_bytes = 4 << 30;
    let text = format!(
        "{text}\n[control]\nlambdas = {slots}\nnamespaces = 4\n\
         [[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\n\
         [[tenants]]\nname = \"small\"\nemem_mib = 1\nlocal_mib = 1\nctm_mib = 1\nimem_mib = 1\n"
    );
    Topology::from_text(&text, FilePath::new("test.toml"), &machine).expect("a topology").0
}

impl Fleet {
    pub fn new(arrangement: Arrangement) -> Self {
        Self::with(arrangement, SLOTS)
    }

    pub fn with(arrangement: Arrangement, slots: usize) -> Self {
        Self::of(arrangement, slots, Capabilities::default())
    }

    /// With ports that make checksums, and read replies where they lie.
    pub fn offloading(arrangement: Arrangement) -> Self {
        let capabilities = Capabilities { tx_checksum: true, tx_external: true };
        Self::of(arrangement, SLOTS, capabilities)
    }

    fn of(arrangement: Arrangement, slots: usize, capabilities: Capabilities) -> Self {
        let topology = topology(arrangement.text(), arrangement.cpus(), slots);
        let engine = Engine::new().expect("engine");
        engine.prepare_thread();
        let host = HostSide::new(64);
        let npus: Vec<NpuPlace> =
            topology.npus.iter().map(|npu| NpuPlace { island: npu.island, numa_node: None }).collect();
        let regions = Regions::new(&RegionSettings::default(), &npus);
        let live: Live<SimFrame> =
            Live::new(&topology, &host, &regions, 1_000, Bell::new().expect("bell")).expect("control");
        let pool = SimPool::new(4096, 2048);
        let clock = SimClock::new(100);
        let suspended: BTreeMap<LcoreId, Arc<AtomicU32>> =
            topology.lcores.workers.iter().map(|worker| (worker.id, Arc::default())).collect();
        let mut clients: BTreeMap<LcoreId, Vec<Client<SimFrame>>> = BTreeMap::new();
        let mut servers: BTreeMap<LcoreId, Vec<Server<SimFrame>>> = BTreeMap::new();
        for link in live.layout().links() {
            let (client, server) = memory(if link.kind == LinkKind::Peer { 255 } else { 2047 });
            clients.entry(link.client).or_default().push(client);
            servers.entry(link.server).or_default().push(server);
        }
        let (mut peers, mut lcores, mut counters) = (Vec::new(), Vec::new(), Vec::new());
        for worker in live.workers() {
            let mut ports: Vec<Option<Box<dyn Port<SimFrame>>>> = vec![None];
            if worker.poller.is_some() {
                let (port, peer) = SimPort::pair(&pool, capabilities);
                ports = vec![Some(Box::new(port))];
                peers.push(peer);
            }
            let limits = Limits {
                exchanges: 64,
                exchanges_per_tenant: 64,
                fragments: 256,
                sessions: 32,
                cache_bytes: 64 << 10,
                cache_bytes_per_tenant: 64 << 10,
                tenants: 4,
                ..Limits::default()
            };
            let messages = worker.poller.map(|at| {
                let slots = MessageSlots::new(Vec::new(), live.slots(), RETRY_US);
                let server = MessageServer::new(limits, [at as u8; 16], EPOCH);
                Messages::new(server, slots, Box::new(pool.sendable()), 64, None)
            });
            let parts = Parts {
                ports,
                attachments: vec![Attachment {
                    interface: interface(0),
                    role: Role::Wire { host: None },
                    tx_checksum: capabilities.tx_checksum,
                    tx_external: capabilities.tx_external,
                }],
                table: Arc::new(Table::empty()),
                directory: Arc::new(Directory::default()),
                places: vec![Place::Here; live.slots()],
                quarantine: Arc::clone(live.quarantine()),
                npu: Npu::new(live.slots()),
                dispatcher: live.dispatcher(worker.lcore, &suspended),
                clients: clients.remove(&worker.lcore).unwrap_or_default(),
                servers: servers.remove(&worker.lcore).unwrap_or_default(),
                stock: live.first_stock(worker.lcore),
                suspended_here: Arc::clone(&suspended[&worker.lcore]),
                fuel_per_us: 1_000,
                messages,
                outside: None,
                counters: Arc::clone(&worker.counters),
                mail: worker.mail.clone(),
            };
            counters.push(Arc::clone(&worker.counters));
            let path = Path::new(parts, clock.clone());
            lcores.push(Some(Breath::new(path, Arc::clone(&worker.counters))));
        }
        Self {
            live,
            lcores,
            peers,
            pool,
            clock,
            regions,
            topology,
            counters,
            engine,
            known: Default::default(),
        }
    }

    /// A lambda to deploy on all islands; each islands' NPUs are `topology`'s.
    pub fn wanted(&mut self, name: &str, id: u32, wasm: &[u8], entry: &str) -> Wanted {
        self.wanted_with(name, id, wasm, entry, (0, 0))
    }

    /// The same with message slots, and bytes of each.
    pub fn wanted_with(
        &mut self,
        name: &str,
        id: u32,
        wasm: &[u8],
        entry: &str,
        slots: (u32, u32),
    ) -> Wanted {
        let spec = LambdaSpec {
            name: name.to_owned(),
            id: LambdaId::new(id),
            tenant: 0,
            file: "none".into(),
            entry: entry.to_owned(),
            weight: 1,
            budget_us: 1_000,
            islands: self.topology.islands.iter().map(|island| island.id).collect(),
            concurrency: Concurrency::Auto,
            layout: LayoutWish::Auto,
            in_flight: 4,
            queue_frames: 256,
            egress: Egress::Reply,
            rpc: true,
            http: HttpMode::Body,
            message_slots: slots.0,
            message_bytes: slots.1,
            memory_mib: None,
            services: Vec::new(),
        };
        let ready = self.ready(wasm, &spec);
        Wanted {
            key: LambdaKey::new("default", name),
            spec,
            ready,
            rules: Vec::new(),
            environment: Environment::default(),
            replicas: None,
            generation: 1,
        }
    }

    fn ready(&mut self, wasm: &[u8], spec: &LambdaSpec) -> Ready {
        let wishes = Wishes::of(spec, &self.topology);
        let bounds = Bounds::of(&self.topology);
        ready(&self.engine, wasm, &spec.entry, &wishes, &bounds, &mut self.known).expect("a lambda")
    }

    /// One breath of every lcore. True if there was anything to do.
    pub fn breathe(&mut self) -> bool {
        self.lcores.iter_mut().flatten().fold(false, |busy, lcore| lcore.once() | busy)
    }

    /// Breathes until nothing is left to do, control included.
    pub fn settle(&mut self) {
        loop {
            let busy = self.breathe();
            self.live.advance();
            if !busy {
                break;
            }
        }
    }

    /// Deploys a batch while lcores go on: `meanwhile` is done between their breaths.
    pub fn deploy_while(
        &mut self,
        wanted: Vec<Wanted>,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Vec<Result<Done, DeployError>> {
        self.live.begin();
        for wanted in wanted {
            self.live.prepare(wanted);
            meanwhile(self);
            self.breathe();
        }
        self.live.complete();
        self.follow(&mut meanwhile, |live| live.is_published());
        self.live.finish(None)
    }

    pub fn deploy(&mut self, wanted: Wanted) -> Result<Done, DeployError> {
        self.deploy_while(vec![wanted], |_| {}).remove(0)
    }

    pub fn remove(&mut self, key: &LambdaKey) -> Result<(), DeployError> {
        let removed = self.live.remove(&[key]).remove(0);
        self.follow(&mut |_| {}, |live| live.is_in_force());
        removed
    }

    /// Scales a lambda: to sleep with 0.
    pub fn scale(&mut self, key: &LambdaKey, replicas: Option<u32>) -> Result<u32, DeployError> {
        if replicas == Some(0) {
            self.live.sleep(key)?;
            self.follow(&mut |_| {}, |live| live.is_in_force());
            return Ok(0);
        }
        if self.live.begin_scale(key, replicas)? {
            self.follow(&mut |_| {}, |live| live.is_published());
            return self.live.finish(None).remove(0).map(|done| done.replicas);
        }
        Ok(self.live.replicas(key).unwrap_or(0))
    }

    pub fn wake(&mut self, key: &LambdaKey) -> Result<u32, DeployError> {
        if self.live.begin_wake(key)? {
            self.follow(&mut |_| {}, |live| live.is_published());
            return self.live.finish(None).remove(0).map(|done| done.replicas);
        }
        Ok(self.live.replicas(key).unwrap_or(0))
    }

    /// Wakes those that are wanted, as the owner of the appliance does. Returns all events.
    pub fn look_after(&mut self) -> Vec<Event> {
        let events = self.live.look_after();
        for event in &events {
            if let Event::Woken(key) = event {
                self.wake(key).expect("it wakes");
            }
        }
        events
    }

    fn follow(&mut self, meanwhile: &mut impl FnMut(&mut Self), is_done: impl Fn(&Live<SimFrame>) -> bool) {
        for _ in 0..10_000 {
            self.live.advance();
            if is_done(&self.live) {
                return;
            }
            meanwhile(self);
            self.breathe();
        }
        panic!("lcores do not follow");
    }

    /// Breathes until what was replaced or removed is gone; time passes if it must.
    pub fn drain(&mut self) {
        for _ in 0..100_000 {
            self.settle();
            if self.live.is_settled() {
                return;
            }
            match self.next_deadline_ns() {
                Some(deadline_ns) => {
                    self.clock.pass(deadline_ns.saturating_sub(self.clock.peek_ns()).max(50_000));
                }
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
        panic!("it does not drain");
    }

    /// What the appliance sent at a poller since it was last asked.
    pub fn received(&mut self, poller: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.peers[poller].receive()).map(|frame| frame.bytes().to_vec()).collect()
    }

    /// Sends one frame and returns what comes back.
    pub fn exchange(&mut self, poller: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        assert!(self.peers[poller].send(frame), "the pool is empty");
        self.settle();
        self.received(poller)
    }

    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.lcores.iter().flatten().filter_map(|lcore| lcore.path().next_deadline_ns()).min()
    }

    pub fn sum(&self, pick: impl Fn(&LcoreCounters) -> &Counter) -> u64 {
        self.counters.iter().map(|counters| pick(counters).get()).sum()
    }

    pub fn stats(&self, key: &LambdaKey) -> Option<LambdaStats> {
        self.live.stats().stats_of(key)
    }

    /// An lcore dies with all that is on it; control finds out.
    pub fn kill(&mut self, at: usize) {
        drop(self.lcores[at].take());
        let lcore = self.live.workers()[at].lcore;
        self.live.bury(lcore);
    }

    /// Bytes of lambdas' memory in use, over all regions.
    pub fn used_bytes(&self) -> u64 {
        self.regions.usage().iter().map(|usage| usage.used_bytes).sum()
    }

    /// Asserts that every frame has ended in exactly one way, and that no buffer has leaked.
    pub fn assert_balanced(&mut self) {
        let came = self.sum(|it| &it.received) + self.sum(|it| &it.made);
        let dropped: u64 = self.counters.iter().map(|counters| counters.dropped_total()).sum();
        let ended =
            self.sum(|it| &it.sent) + self.sum(|it| &it.to_host) + self.sum(|it| &it.placed) + dropped;
        assert_eq!(came, ended, "received + made = sent + to host + dropped + placed");
        for poller in 0..self.peers.len() {
            self.received(poller);
        }
        assert_eq!(self.pool.available(), self.pool.frames(), "buffers in the pool");
    }

    /// Asserts that nothing is deployed, nothing under way, and all memory back.
    pub fn assert_empty(&mut self) {
        self.drain();
        self.assert_balanced();
        assert_eq!((self.live.slots_taken(), self.used_bytes()), (0, 0), "slots and bytes in use");
    }
}
