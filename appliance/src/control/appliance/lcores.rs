//! What each lcore is made of, and the loop that it runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use dpdk_bindings::clock;
use dpdk_bindings::eal::Eal;
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::ring::{self, Consumer, Producer, Sharing};

use super::StartError;
use super::layout::{LinkKind, LinkSpec};
use crate::breath::idle::Idle;
use crate::breath::sleeper::{Mode, Sleeper};
use crate::breath::{Breath, Clock, Stop};
use crate::control::topology::{Driver, Sleep, Topology};
use crate::handoff::{Client, Doorbell, Job, Server};
use crate::island::{Npu, Quarantine};
use crate::lambda::Engine;
use crate::matcher::Table;
use crate::observe::counters::LcoreCounters;
use crate::outside::Outside;
use crate::path::{Attachment, Dispatcher, Mail, Messages, Parts, Path, Place, Stock};
use crate::port::Port;

/// Jobs that links between a dispatcher and an NPU hold: those in flight, and those that are suspended there or called from there.
const FEED_JOBS: u32 = 2047;
/// Jobs that links between pollers hold.
pub(super) const LINK_JOBS: u32 = 255;
/// Most calls that one lcore has under way: 18 KiB each.
pub(super) const CALLS: u32 = 1024;

/// Lcores' queues, before they are on their lcore.
pub(super) type Queues = Vec<Option<Box<dyn Port<Mbuf> + Send>>>;

type Jobs = Box<Job<Mbuf>>;

/// One end of a link, before it is on its lcore.
pub(super) struct End {
    out: Producer<Jobs>,
    back: Consumer<Jobs>,
    capacity: u32,
    /// The other lcore's.
    doorbell: Doorbell,
}

/// Everything of one lcore; made on the main lcore, used on its own.
pub(super) struct Lcore {
    pub(super) queues: Queues,
    pub(super) attachments: Vec<Attachment>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) npu: Npu,
    pub(super) dispatcher: Option<Dispatcher<Mbuf>>,
    pub(super) clients: Vec<End>,
    pub(super) servers: Vec<End>,
    pub(super) stock: Stock,
    pub(super) suspended_here: Arc<AtomicU32>,
    pub(super) fuel_per_us: u32,
    pub(super) messages: Option<Messages<Mbuf>>,
    pub(super) outside: Option<Outside>,
    pub(super) counters: Arc<LcoreCounters>,
    pub(super) mail: Mail<Mbuf>,
    /// Slots for lambdas.
    pub(super) slots: usize,
    pub(super) sleeper: Sleeper,
    pub(super) idle: Idle,
    pub(super) engine: Engine,
    pub(super) clock: TscClock,
}

impl Lcore {
    /// Breathes until it is told to stop.
    pub(super) fn breathe(self, stop: &Stop) {
        self.engine.prepare_thread();
        let ports = self.queues.into_iter().map(|port| port.map(|port| port as Box<dyn Port<Mbuf>>));
        let parts = Parts {
            ports: ports.collect(),
            attachments: self.attachments,
            // The first view is in its box.
            table: Arc::new(Table::empty()),
            directory: Arc::default(),
            places: vec![Place::Here; self.slots],
            quarantine: self.quarantine,
            npu: self.npu,
            dispatcher: self.dispatcher,
            clients: self.clients.into_iter().map(End::into_client).collect(),
            servers: self.servers.into_iter().map(End::into_server).collect(),
            stock: self.stock,
            suspended_here: self.suspended_here,
            fuel_per_us: self.fuel_per_us,
            messages: self.messages,
            outside: self.outside,
            counters: Arc::clone(&self.counters),
            mail: self.mail,
        };
        let mut sleeper = self.sleeper;
        Breath::new(Path::new(parts, self.clock), self.counters).run(stop, self.idle, &mut sleeper);
    }
}

impl End {
    fn into_client(self) -> Client<Mbuf> {
        Client::new(Box::new(self.out), Box::new(self.back), self.capacity, Some(self.doorbell))
    }

    fn into_server(self) -> Server<Mbuf> {
        Server::new(Box::new(self.back), Box::new(self.out), Some(self.doorbell))
    }
}

/// Makes a link; its client's end and its server's. The doorbells are those of the two lcores.
pub(super) fn link(
    eal: &Eal,
    spec: LinkSpec,
    client_doorbell: &Doorbell,
    server_doorbell: &Doorbell,
) -> Result<(End, End), StartError> {
    let capacity = if spec.kind == LinkKind::Peer { LINK_JOBS } else { FEED_JOBS };
    let kind = match spec.kind {
        LinkKind::Feed => "feed",
        LinkKind::Peer => "peer",
        LinkKind::Calls => "calls",
    };
    let name = |way: &str| format!("{kind}-{}-{}-{way}", spec.client.raw(), spec.server.raw());
    let (out, there) = ring::new(eal, &name("there"), capacity, None, Sharing::Single)?;
    let (returned, back) = ring::new(eal, &name("back"), capacity, None, Sharing::Single)?;
    Ok((
        End { out, back, capacity, doorbell: server_doorbell.clone() },
        End { out: returned, back: there, capacity, doorbell: client_doorbell.clone() },
    ))
}

/// The time stamp counter as a clock. All lcores' copies tell the same time.
#[derive(Clone, Copy)]
pub(super) struct TscClock {
    start: u64,
    /// Nanoseconds per cycle, with 32 bits of fraction.
    scale: u128,
}

impl TscClock {
    pub(super) fn new() -> Self {
        let per_second = u128::from(clock::cycles_per_second().max(1));
        Self { start: clock::cycles(), scale: (1_000_000_000 << 32) / per_second }
    }
}

impl Clock for TscClock {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "584 years of nanoseconds")]
    fn now_ns(&mut self) -> u64 {
        // Counters of other CPUs may be a little behind the one that started.
        ((u128::from(clock::cycles().saturating_sub(self.start)) * self.scale) >> 32) as u64
    }
}

/// When an idle lcore sleeps.
pub(super) fn idle(topology: &Topology) -> Idle {
    let idle = &topology.idle;
    Idle::new((idle.sleep != Sleep::Never).then_some(idle.spin_polls), idle.yield_polls)
}

/// How it does.
pub(super) fn sleeper(
    topology: &Topology,
    queues: &Queues,
    doorbell: &Doorbell,
) -> Result<Sleeper, StartError> {
    let idle = &topology.idle;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    let mut blind = None;
    for (port, spec) in queues.iter().zip(&topology.ports) {
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
