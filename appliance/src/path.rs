//! The packet's path: joins the stations. Read this first.
//!
//! ```text
//! port.rx ─► parser ─► local ─► message ─► matcher ─► dispatcher ─► NPU: lambda ─► deparser ─► port.tx
//!              │         │         │          │            │             │ ▲
//!              └─────────┴── drop with a named reason, or ─┴─ host port ─┘ └─► outside: a service's reply
//! ```
//!
//! One lcore has one `Path`. Where a matched frame goes is a table by lambda, [`Place`]: it runs here at once, as in
//! run-to-completion; it waits in this lcore's dispatcher; or it goes to another lcore as a [`Job`] and comes back done.
//!
//! Every frame ends in exactly one way: sent, to host, or dropped with a named reason. `received + made = sent + to_host + dropped + placed`
//! once traffic rests; `tests/conservation.rs` holds it. Nothing here allocates, locks, logs or calls the system;
//! `tests/no_allocation.rs` holds that. Cost of each station: `scripts/bench.sh path`, of the ways between lcores:
//! `scripts/bench.sh handoff`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use lnic_wire::rpc::Status;

use crate::frame::{Burst, Checksum, Frame};
use crate::handoff::{Client, End, Job, Request, Server, Ticket};
use crate::ids::{LambdaRef, LambdaSlot, PortId};
use crate::island::{Npu, Quarantine, State};
use crate::local::{self, Answer};
use crate::matcher::{Directory, Table};
use crate::message::{self, Gate, Terms};
use crate::observe::DropReason;
use crate::observe::counters::{LambdaCounters, LcoreCounters};
use crate::outside::Outside;
use crate::parser::{self, Interface, Parsed, Present};
use crate::port::Port;

mod adopt;
mod arrival;
mod dispatch;
mod execute;
mod from_host;
mod mail;
mod messages;
mod outside;
mod store;
mod suspended;
mod waiting;

use arrival::{Arrival, Found, Ran, Stage};
pub use dispatch::{Dispatcher, Feed};
pub use mail::{COMMANDS, Command, Load, Mail, QueueOf, Report, Unload, View};
pub use messages::Messages;
use outside::Asker;
use store::Store;
pub use store::{Growth, Stock};
use suspended::Suspended;
pub use waiting::WAITING_FRAMES;
use waiting::WaitingRoom;

/// How many times the bytes that it sent a source may get before it has shown a cookie.
const AMPLIFICATION: u32 = lnic_message::AMPLIFICATION;
/// Of the invocations that run at once, one in so many is timed: two reads of the clock would be a tenth of the path.
const SAMPLE: u32 = 16;

/// Nanoseconds since the appliance started.
pub trait Clock {
    /// Reads the time; cheap, monotonic.
    fn now_ns(&mut self) -> u64;
}

impl<C: FnMut() -> u64> Clock for C {
    fn now_ns(&mut self) -> u64 {
        self()
    }
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Faces the network. Frames that no rule wants go to the host port, if there is one.
    Wire {
        /// The host port.
        host: Option<PortId>,
    },
    /// Faces the host's own stack: what arrives leaves on the wire port as it is, unless a rule for host ports wants it.
    Host {
        /// The wire port.
        wire: PortId,
    },
}

/// A port as one lcore sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Addresses and habits.
    pub interface: Interface,
    /// What it is for.
    pub role: Role,
    /// It makes checksums as it sends.
    pub tx_checksum: bool,
    /// It sends external memory that was appended to a frame.
    pub tx_external: bool,
}

/// Where an lcore's frames for a lambda go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// To this lcore's NPU, at once.
    #[default]
    Here,
    /// To this lcore's dispatcher.
    Dispatcher,
    /// To another lcore, over the client end with this index.
    Client(u8),
}

/// An lcore's queue of each port, by [`PortId`]; `None` if it has none there.
pub type Ports<F> = Vec<Option<Box<dyn Port<F>>>>;

/// What one lcore's path is made of.
pub struct Parts<F: Frame> {
    /// Queues of the ports.
    pub ports: Ports<F>,
    /// The ports as this lcore sees them.
    pub attachments: Vec<Attachment>,
    /// Rules.
    pub table: Arc<Table>,
    /// Lambdas that others can call.
    pub directory: Arc<Directory>,
    /// Where each lambda's frames go, for every slot that there is; `Here` for those that are not listed.
    pub places: Vec<Place>,
    /// Which lambdas may run.
    pub quarantine: Arc<Quarantine>,
    /// The lcore's NPU; an empty one if it has none.
    pub npu: Npu,
    /// Its dispatcher, if it is one.
    pub dispatcher: Option<Dispatcher<F>>,
    /// Links by which it hands jobs over.
    pub clients: Vec<Client<F>>,
    /// Links by which it takes jobs.
    pub servers: Vec<Server<F>>,
    /// Jobs and calls that it has in store.
    pub stock: Stock,
    /// Where it says how many of its requests are suspended.
    pub suspended_here: Arc<AtomicU32>,
    /// Fuel that stands for a microsecond on this machine.
    pub fuel_per_us: u32,
    /// Messages of its ports; `None` if it polls none.
    pub messages: Option<Messages<F>>,
    /// How it reaches services outside; `None` if it polls no ports, or there are none. It takes frames that `messages` has.
    pub outside: Option<Outside>,
    /// What it counts.
    pub counters: Arc<LcoreCounters>,
    /// Its boxes for what control commands.
    pub mail: Mail<F>,
}

/// One lcore's path.
pub struct Path<F: Frame, C> {
    ports: Ports<F>,
    attachments: Box<[Attachment]>,
    table: Arc<Table>,
    directory: Arc<Directory>,
    places: Box<[Place]>,
    quarantine: Arc<Quarantine>,
    npu: Npu,
    dispatcher: Option<Dispatcher<F>>,
    clients: Box<[Client<F>]>,
    servers: Box<[Server<F>]>,
    store: Store<F>,
    suspended: Suspended<F>,
    /// What is known of a frame that goes on its way as a job, between two functions.
    staged: Option<(Request, LambdaRef)>,
    /// The same of a part of a message, or a service's reply.
    staged_part: Option<Parsed>,
    messages: Option<Box<Messages<F>>>,
    outside: Option<Box<Asker<F>>>,
    us_per_fuel: u64,
    counters: Arc<LcoreCounters>,
    clock: C,
    outgoing: Box<[Burst<F>]>,
    to_host: Box<[Burst<F>]>,
    /// Calls of this lcore's lambdas that have not set out.
    calls: VecDeque<Box<Job<F>>>,
    /// Calls that could not set out.
    refusals: VecDeque<(Ticket, Status)>,
    /// How many requests are suspended, for the dispatcher that feeds this lcore's NPU.
    suspended_here: Arc<AtomicU32>,
    /// When the NPU's last run ended, or the turn began.
    mark_ns: u64,
    invocations: u32,
    mail: Mail<F>,
    waiting_room: WaitingRoom<F>,
    /// It is more than a poller that runs everything at once.
    is_joined: bool,
}

/// What a frame needs next.
enum Next {
    /// Nothing: this is its end.
    End(End),
    /// It is part of a message: `staged_part`.
    Part,
    /// It is for one of those who wait for services: `staged_part`.
    Reply,
    /// Nothing: what it said of a neighbour is written down.
    Heard,
    /// To go on its way as a job, for what is `staged`. (What is known of a frame is large, and would be moved about for every
    /// frame if it were here: 20 ns.)
    Job(Way),
    /// To wait for its lambda to wake up. There is room.
    Wait(LambdaSlot),
}

/// Where a job goes.
#[derive(Clone, Copy)]
enum Way {
    Place(Place),
    /// It ran, and its lambda waits for the answer to a call.
    Suspended(crate::island::Context),
}

impl<F: Frame, C: Clock> Path<F, C> {
    /// Joins the stations of one lcore.
    #[must_use]
    pub fn new(parts: Parts<F>, clock: C) -> Self {
        let bursts = || parts.attachments.iter().map(|_| Burst::new()).collect();
        let is_joined = parts.dispatcher.is_some()
            || !parts.clients.is_empty()
            || !parts.servers.is_empty()
            || parts.stock.calls > 0;
        let mut messages = parts.messages.map(Box::new);
        if let Some(messages) = &mut messages {
            messages.slots_mut().count_in(Arc::clone(&parts.counters.outstanding));
        }
        Self {
            outgoing: bursts(),
            to_host: bursts(),
            ports: parts.ports,
            attachments: parts.attachments.into(),
            table: parts.table,
            directory: parts.directory,
            places: parts.places.into(),
            quarantine: parts.quarantine,
            npu: parts.npu,
            dispatcher: parts.dispatcher,
            clients: parts.clients.into(),
            servers: parts.servers.into(),
            store: Store::new(parts.stock),
            suspended: Suspended::new(parts.stock.calls),
            staged: None,
            staged_part: None,
            messages,
            outside: parts.outside.map(|outside| Box::new(Asker::new(outside))),
            us_per_fuel: (1u64 << 32) / u64::from(parts.fuel_per_us.max(1)),
            counters: parts.counters,
            clock,
            calls: VecDeque::with_capacity(parts.stock.calls as usize),
            refusals: VecDeque::with_capacity(parts.stock.calls as usize),
            suspended_here: parts.suspended_here,
            mark_ns: 0,
            invocations: 0,
            mail: parts.mail,
            waiting_room: WaitingRoom::new(),
            is_joined,
        }
    }

    /// Polls every port once, at most a burst each, and takes each burst through the path. True if there were frames.
    #[inline]
    pub fn poll(&mut self, burst: &mut Burst<F>) -> bool {
        let mut time_ns = None;
        for at in 0..self.ports.len() {
            let Some(port) = &mut self.ports[at] else { continue };
            if port.rx(burst) == 0 {
                continue;
            }
            let time_ns = *time_ns.get_or_insert_with(|| self.clock.now_ns());
            #[expect(clippy::cast_possible_truncation, reason = "ports are numbered by u16")]
            self.process(PortId::new(at as u16), burst, time_ns);
            self.flush_ports();
        }
        time_ns.is_some()
    }

    /// Takes every frame of a burst from `port` to its end, or on its way.
    fn process(&mut self, port: PortId, burst: &mut Burst<F>, time_ns: u64) {
        self.counters.received.add(burst.len() as u64);
        for mut frame in burst.drain(..) {
            match self.step(port, &mut frame, time_ns) {
                Next::End(end) => self.finish(frame, end),
                Next::Job(way) => self.set_out(frame, way),
                Next::Part => self.take_part(frame, time_ns),
                Next::Reply => self.take_reply(frame),
                Next::Heard => self.counters.placed.add(1),
                Next::Wait(lambda) => self.wait(frame, port, time_ns, lambda),
            }
        }
    }

    /// One frame, up to the decision where it goes.
    #[inline(always)]
    fn step(&mut self, port: PortId, frame: &mut F, time_ns: u64) -> Next {
        if !frame.is_whole() {
            return Next::End(End::Drop(DropReason::Chained));
        }
        let attachment = &self.attachments[port.index()];
        let interface = &attachment.interface;
        let host = match attachment.role {
            Role::Wire { host } => host,
            Role::Host { wire } => return self.step_from_host(port, wire, frame, time_ns),
        };
        let (ip, l4) = (frame.ip_checksum(), frame.l4_checksum());
        let parsed = match parser::parse_by(self.table.plan(), frame.bytes(), ip, l4, interface) {
            Ok(parsed) => parsed,
            Err(DropReason::Unmatched) => return Next::End(unwanted(frame, interface, host)),
            Err(reason) => return Next::End(End::Drop(reason)),
        };
        if parsed.fragment {
            return Next::End(host.map_or(End::Drop(DropReason::Fragment), End::ToHost));
        }
        let terms = Terms::default();
        let mut arrival =
            Arrival { parsed: &parsed, attachment, time_ns, terms, message: None, reply_bytes: u32::MAX };
        if parsed.key.present.has(Present::RPC) {
            match message::judge(frame.bytes(), &parsed, interface) {
                Gate::Run(terms) => {
                    arrival.terms = terms;
                    arrival.reply_bytes = u32::from(parsed.end - parsed.rpc) * AMPLIFICATION;
                    if terms.has_tlvs {
                        arrival.reply_bytes = self.allowance_bytes(&arrival, frame);
                    }
                }
                Gate::Pong => {
                    self.counters.pongs.add(1);
                    return Next::End(arrival.pong(frame));
                }
                Gate::Message => {
                    self.staged_part = Some(parsed);
                    return Next::Part;
                }
                Gate::Drop(reason) => return Next::End(End::Drop(reason)),
            }
        } else {
            if interface.service_ports.has(parsed.key.destination_port)
                && outside::is_reply(frame.bytes(), &parsed, interface)
            {
                self.staged_part = Some(parsed);
                return Next::Reply;
            }
            match local::answer(frame, &parsed, interface) {
                Answer::NotLocal => {}
                // The host's stack may have asked too.
                Answer::Told(address, mac) => {
                    if self.hear(&parsed, address, mac, time_ns) && host.is_none() {
                        return Next::Heard;
                    }
                }
                Answer::Reply => {
                    self.counters.answered.add(1);
                    return Next::End(End::Send(port));
                }
                Answer::Drop(reason) => return Next::End(End::Drop(reason)),
            }
        }
        let Some(found) = self.table.lookup(&parsed.key) else {
            if arrival.is_rpc() {
                self.counters.unknown_lambda.add(1);
                let end = arrival.refuse(frame, DropReason::Unmatched, Status::Unimplemented, 0);
                return Next::End(end);
            }
            return Next::End(arrival.to_host(frame));
        };
        let lambda = found.rule.lambda;
        let Some(count) = self.counters.lambda(lambda.slot) else {
            return Next::End(End::Drop(DropReason::LambdaGone));
        };
        if self.quarantine.state(lambda.slot) != State::Active {
            return self.not_active(&arrival, frame, lambda.slot, count);
        }
        if arrival.is_rpc() && self.messages.as_ref().is_some_and(|messages| messages.has_slots(lambda.slot))
        {
            self.staged_part = Some(parsed);
            return Next::Part;
        }
        let way = match self.places.get(lambda.slot.index()).copied().unwrap_or_default() {
            Place::Here => {
                if arrival.terms.budget_us > 0 && arrival.is_late(self.clock.now_ns()) {
                    count.late.add(1);
                    let end = arrival.refuse(frame, DropReason::LambdaBusy, Status::DeadlineExceeded, 0);
                    return Next::End(end);
                }
                let stage =
                    Stage { attachments: &self.attachments, counters: count, us_per_fuel: self.us_per_fuel };
                self.invocations = self.invocations.wrapping_add(1);
                let ran = if self.invocations.is_multiple_of(SAMPLE) {
                    let mut sampled = Sampled { clock: &mut self.clock, counters: &self.counters };
                    sampled.run(&arrival, &mut self.npu, &stage, found.into(), frame)
                } else {
                    arrival.run(&mut self.npu, &stage, found.into(), frame).0
                };
                match ran {
                    Ran::End(end) => return Next::End(end),
                    Ran::Failed(end) => {
                        self.quarantine.record_failure(lambda.slot, time_ns);
                        return Next::End(end);
                    }
                    Ran::Suspended(context) => Way::Suspended(context),
                }
            }
            place => Way::Place(place),
        };
        let request = Request {
            parsed,
            effect: found.effect(),
            arrival_ns: time_ns,
            terms: arrival.terms,
            reply_bytes: arrival.reply_bytes,
            message: None,
        };
        self.staged = Some((request, lambda));
        Next::Job(way)
    }

    /// A frame for a lambda that does not run now: it may wait for one that sleeps, if there is room.
    #[cold]
    fn not_active(
        &self,
        arrival: &Arrival<'_>,
        frame: &mut F,
        lambda: LambdaSlot,
        count: &LambdaCounters,
    ) -> Next {
        if !self.quarantine.state(lambda).sleeps() || self.waiting_room.is_closed {
            return Next::End(unavailable(arrival, frame, count));
        }
        if self.waiting_room.is_full() {
            count.busy.add(1);
            self.ask_to_wake(lambda);
            return Next::End(arrival.refuse(frame, DropReason::LambdaBusy, Status::Busy, waiting::RETRY_US));
        }
        Next::Wait(lambda)
    }

    /// Puts a frame where it ends.
    #[inline(always)]
    fn finish(&mut self, frame: F, end: End) {
        let (bursts, port) = match end {
            End::Send(port) => (&mut self.outgoing, port),
            End::ToHost(port) => (&mut self.to_host, port),
            End::Drop(reason) => return self.counters.drop_frames(reason, 1),
            End::Challenge(port) => return self.challenge(frame, port),
            // Only of messages, which end elsewhere.
            End::Reply { .. } | End::Refused { .. } | End::Silent => {
                return self.counters.drop_frames(DropReason::LambdaGone, 1);
            }
        };
        let burst = &mut bursts[port.index()];
        burst.push(frame);
        if burst.is_full() {
            self.flush_ports();
        }
    }

    /// Hands what has ended to the ports. What a port does not take is dropped and counted.
    fn flush_ports(&mut self) {
        for (at, port) in self.ports.iter_mut().enumerate() {
            for (burst, sent, full) in [
                (&mut self.outgoing[at], &self.counters.sent, DropReason::TxFull),
                (&mut self.to_host[at], &self.counters.to_host, DropReason::HostFull),
            ] {
                if burst.is_empty() {
                    continue;
                }
                let reason = match port {
                    Some(port) => {
                        sent.add(port.tx(burst) as u64);
                        full
                    }
                    None => DropReason::NoQueue,
                };
                if !burst.is_empty() {
                    self.counters.drop_frames(reason, burst.len() as u64);
                    burst.clear();
                }
            }
        }
    }

    /// True once no port will ever receive again: replayed files have ended.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        // One without ports waits for a stop like the others.
        let mut ports = self.ports.iter().flatten().peekable();
        ports.peek().is_some() && ports.all(|port| port.exhausted()) && self.is_at_rest()
    }

    /// Message slots of this lcore's with a message in them, or a reply.
    #[must_use]
    pub fn slots_taken(&self) -> usize {
        self.messages.as_ref().map_or(0, |messages| messages.slots_taken())
    }

    /// Arms the ports to wake the lcore, or lets them rest.
    pub fn arm(&mut self, sleeping: bool) {
        for port in self.ports.iter_mut().flatten() {
            port.arm(sleeping);
        }
    }
}

/// A frame that no rule can match, and that was not decoded to its end.
#[cold]
fn unwanted<F: Frame>(frame: &mut F, interface: &Interface, host: Option<PortId>) -> End {
    let Some(host) = host else { return End::Drop(DropReason::Unmatched) };
    complete_checksum(frame, interface);
    End::ToHost(host)
}

/// A frame of the host's stack may leave its checksum to a card; the wire's may be none. Nor may the host's for one of the wire.
///
/// Kept out of line, away from the path's own parser.
#[cold]
#[inline(never)]
fn complete_checksum<F: Frame>(frame: &mut F, interface: &Interface) {
    // Whatever the parser has against a frame, it is the host's, and leaves as it is.
    if interface.partial_checksums
        && let Ok(parsed) = parser::parse(frame.bytes(), Checksum::Good, Checksum::Good, interface)
    {
        parser::complete_checksum(frame.bytes_mut(), &parsed);
    }
}

/// The lambda is quarantined or has no instance.
#[cold]
fn unavailable<F: Frame>(arrival: &Arrival<'_>, frame: &mut F, count: &LambdaCounters) -> End {
    count.unavailable.add(1);
    arrival.refuse(frame, DropReason::LambdaQuarantined, Status::Unavailable, 0)
}

/// Times one invocation in [`SAMPLE`].
struct Sampled<'a, C> {
    clock: &'a mut C,
    counters: &'a LcoreCounters,
}

impl<C: Clock> Sampled<'_, C> {
    #[inline(never)]
    fn run<F: Frame>(
        &mut self,
        arrival: &Arrival<'_>,
        npu: &mut Npu,
        stage: &Stage<'_>,
        found: Found<'_>,
        frame: &mut F,
    ) -> Ran {
        let start = self.clock.now_ns();
        let (ran, fuel) = arrival.run_job(npu, stage, found, frame);
        let used_ns = self.clock.now_ns().saturating_sub(start);
        let all = u64::from(SAMPLE);
        if let Some(times) = self.counters.times(found.lambda.slot) {
            times.queueing.record(start.saturating_sub(arrival.time_ns), all);
            times.service.record(used_ns, all);
        }
        stage.counters.npu_ns.add(used_ns * all);
        self.counters.npu_ns.add(used_ns * all);
        npu.account(found.lambda, fuel, used_ns);
        ran
    }
}
