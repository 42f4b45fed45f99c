//! The clients, the server, the network between them, and the oracle that watches all of it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use lnic_message::client::{Config, Event, Failure, Machine, RequestId, RequestOptions};
use lnic_message::server::{Action, Answer, Body, Call, Limits, Message, Server, Source, Transmit};
use lnic_message::{Head, client};
use lnic_wire::rpc::{self, Header, Kind, Status};

use crate::attacker::Attacker;
use crate::lambdas::{self, Memory};
use crate::ledger::Ledger;
use crate::network::{Host, Network, Weather};

/// Longest that a request may run.
const RUN_US: u64 = 20_000;
const FIRST_ATTACKER: u16 = 1000;

/// What a simulation consists of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) weather: Weather,
    pub(crate) clients: usize,
    /// Of each client.
    pub(crate) requests: usize,
    pub(crate) longest_bytes: usize,
    pub(crate) client_restarts: u32,
    pub(crate) server_restarts: u32,
    pub(crate) attackers: usize,
    pub(crate) slots: usize,
    pub(crate) limits: Limits,
    pub(crate) config: Config,
}

macro_rules! tally {
    ($($name:ident),* $(,)?) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: u64,)*
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

tally! {
    frames, runs, replies, refused, deadlines, restarted, forgotten, too_long, cancelled, busy, challenges, nacks, grants,
    replays, stale, unknown, unauthenticated, pongs,
}

#[derive(Debug)]
struct Expected {
    number: u64,
    reply_bytes: u32,
}

struct Client {
    machine: Machine<Vec<u8>>,
    open: BTreeMap<RequestId, Expected>,
}

struct Running {
    ends_us: u64,
    call: Call<()>,
    message: Message,
    /// The payload, if it is the frame's.
    frame: Vec<u8>,
}

pub(crate) struct World {
    plan: Plan,
    random: fastrand::Rng,
    now_us: u64,
    network: Network,
    server: Server<()>,
    memory: Memory,
    running: Vec<Running>,
    ledger: Ledger,
    clients: Vec<Client>,
    attackers: Vec<Attacker>,
    /// How often each at-most-once request, by its number, has run: in all lives of the server.
    once_runs: BTreeMap<u64, u32>,
    once: BTreeMap<u64, bool>,
    number: u64,
    tally: Tally,
}

impl World {
    pub(crate) fn new(plan: Plan, mut random: fastrand::Rng) -> Self {
        let server = Server::new(plan.limits, random.u128(..).to_be_bytes(), random.u32(..));
        let client = |random: &mut fastrand::Rng| Client {
            machine: Machine::new(plan.config.clone(), random.u64(..)),
            open: BTreeMap::new(),
        };
        Self {
            now_us: random.u64(0..1 << 40),
            network: Network::new(plan.weather),
            server,
            memory: Memory::new(plan.slots),
            running: Vec::new(),
            ledger: Ledger::default(),
            clients: (0..plan.clients).map(|_| client(&mut random)).collect(),
            attackers: (0..plan.attackers).map(|at| Attacker::new(at % 2 == 1)).collect(),
            once_runs: BTreeMap::new(),
            once: BTreeMap::new(),
            number: 0,
            tally: Tally::default(),
            plan,
            random,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { frames: self.network.sent(), ..self.tally }
    }

    pub(crate) fn fragment_bytes(&self, client: usize) -> u16 {
        self.clients[client].machine.fragment_bytes()
    }

    /// Makes a request now.
    pub(crate) fn request(
        &mut self,
        client: usize,
        lambda: u32,
        bytes: usize,
        reply_bytes: u32,
        options: RequestOptions,
    ) -> RequestId {
        self.number += 1;
        let number = self.number;
        self.once.insert(number, options.at_most_once && !options.idempotent);
        let payload = lambdas::request(number, bytes, reply_bytes);
        let client = &mut self.clients[client];
        let id = client.machine.request(self.now_us, lambda, payload, options).expect("room");
        assert!(client.open.insert(id, Expected { number, reply_bytes }).is_none(), "an ID of its own");
        id
    }

    /// Does what the plan says, until everything is quiet; then looks whether anything is left behind.
    pub(crate) fn run(&mut self) {
        let mut work: Vec<(u64, u32)> = Vec::new();
        let span_us = 500_000;
        let mut at = |random: &mut fastrand::Rng, count: usize, what: u32| {
            work.extend((0..count).map(|_| (random.u64(0..span_us), what)));
        };
        at(&mut self.random, self.plan.requests * self.plan.clients, 0);
        at(&mut self.random, self.plan.client_restarts as usize, 1);
        at(&mut self.random, self.plan.server_restarts as usize, 2);
        at(&mut self.random, self.plan.attackers * 60, 3);
        work.sort_unstable();
        let start_us = self.now_us;
        for (after_us, what) in work {
            self.run_until(start_us + after_us);
            match what {
                0 => self.random_request(),
                1 => self.restart_client(),
                2 => self.restart_server(),
                _ => self.attack(),
            }
        }
        let longest_us = self.now_us + 2 * self.plan.config.lifetime_us + 1_000_000;
        while self.clients.iter().any(|client| !client.open.is_empty()) {
            assert!(self.now_us <= longest_us, "requests without an end: {:?}", self.clients[0].open);
            self.run_until(self.now_us + 1000);
        }
        // Whatever is on its way arrives, and what is remembered is forgotten.
        self.run_until(self.now_us + 2 * self.plan.limits.hold_us + 2 * RUN_US);
        let usage = self.server.usage();
        assert_eq!((usage.exchanges, usage.cached_bytes, usage.timers), (0, 0, 0), "{usage:?}");
        assert!(usage.sessions <= self.plan.limits.sessions);
        assert_eq!((self.memory.taken(), self.running.len()), (0, 0), "slots and requests");
        assert_eq!(self.server.timeout_us(), None);
        for client in &self.clients {
            assert_eq!((client.machine.open_requests(), client.machine.timeout_us()), (0, None));
        }
    }

    fn random_request(&mut self) {
        let random = &mut self.random;
        let longest_bytes = self.plan.longest_bytes;
        let length = |random: &mut fastrand::Rng| match random.u8(0..3) {
            0 => random.usize(0..100),
            _ => random.usize(0..longest_bytes),
        };
        let client = random.usize(0..self.plan.clients);
        let (bytes, reply_bytes) = (length(random), length(random) as u32 * 4 / 3);
        let options = RequestOptions {
            at_most_once: random.bool(),
            idempotent: random.u8(0..4) == 0,
            budget_us: if random.u8(0..4) == 0 { random.u32(1..300_000) } else { 0 },
            lifetime_us: 0,
            priority: random.u8(0..8),
            trace: random.bool().then_some([9; 25]),
        };
        let lambda = random.u32(1..5);
        let cancel = random.u8(0..20) == 0;
        let id = self.request(client, lambda, bytes, reply_bytes, options);
        if cancel {
            self.run_until(self.now_us + self.plan.weather.delay_us * 2);
            let client = &mut self.clients[client];
            // A request that has ended, or whose client was restarted, cannot be cancelled.
            assert_eq!(client.machine.cancel(id), client.open.remove(&id).is_some());
            self.tally.cancelled += 1;
        }
    }

    fn restart_client(&mut self) {
        let at = self.random.usize(0..self.clients.len());
        let machine = Machine::new(self.plan.config.clone(), self.random.u64(..));
        self.clients[at] = Client { machine, open: BTreeMap::new() };
    }

    fn restart_server(&mut self) {
        self.server = Server::new(self.plan.limits, self.random.u128(..).to_be_bytes(), self.random.u32(..));
        self.memory = Memory::new(self.plan.slots);
        self.ledger = Ledger::default();
        self.running.clear();
    }

    fn attack(&mut self) {
        let at = self.random.usize(0..self.attackers.len());
        let datagram = self.attackers[at].datagram(&mut self.random);
        let from = Host::Port(FIRST_ATTACKER + at as u16);
        self.network.send(self.now_us, from, Host::Server, datagram, &mut self.random);
    }

    fn run_until(&mut self, end_us: u64) {
        loop {
            self.settle();
            let ends_us = self.running.iter().map(|running| running.ends_us).min();
            let clients_us = self.clients.iter().filter_map(|client| client.machine.timeout_us()).min();
            let times = [self.network.next_us(), self.server.timeout_us(), ends_us, clients_us];
            let next_us = times.into_iter().flatten().min().unwrap_or(u64::MAX);
            if next_us > end_us {
                self.now_us = end_us;
                return;
            }
            assert!(next_us > 0, "nobody has anything to send after it was asked");
            self.now_us = self.now_us.max(next_us);
            while let Some((from, to, datagram)) = self.network.receive(self.now_us) {
                self.deliver(from, to, &datagram);
            }
            while let Some(at) = self.running.iter().position(|running| running.ends_us <= self.now_us) {
                let running = self.running.swap_remove(at);
                self.finish(running);
            }
        }
    }

    /// Sends what there is to send, and takes what has ended.
    fn settle(&mut self) {
        let mut buffer = [0; 9_100];
        for at in 0..self.clients.len() {
            while let Some(bytes) = self.clients[at].machine.poll_transmit(self.now_us, &mut buffer) {
                let from = Host::Port(at as u16);
                self.network.send(
                    self.now_us,
                    from,
                    Host::Server,
                    buffer[..bytes].to_vec(),
                    &mut self.random,
                );
            }
            while let Some(event) = self.clients[at].machine.poll_event() {
                self.judge(at, event);
            }
        }
        while let Some(transmit) = self.server.poll(self.now_us, &mut self.memory) {
            match transmit {
                Transmit::Control { source, head, .. } => self.send(source.port, &head, &[]),
                Transmit::Fragment { source, head, slot, offset, bytes, .. } => {
                    let payload = self.memory.part(slot, offset, bytes).to_vec();
                    self.send(source.port, &head, &payload);
                }
            }
        }
    }

    /// The oracle: a request that is open ends, with the reply that it should have.
    fn judge(&mut self, at: usize, event: Event) {
        let client = &mut self.clients[at];
        match event {
            Event::Reply(client::Reply { id, status, payload, .. }) => {
                let expected = client.open.remove(&id).expect("an open request");
                if status == Status::Ok {
                    assert_eq!(
                        payload,
                        lambdas::reply(expected.number, expected.reply_bytes),
                        "the reply's bytes"
                    );
                    self.tally.replies += 1;
                } else {
                    assert!(payload.is_empty());
                    self.tally.refused += 1;
                    self.tally.unauthenticated += u64::from(status == Status::Unauthenticated);
                }
            }
            Event::Failed { id, failure } => {
                client.open.remove(&id).expect("an open request");
                *match failure {
                    Failure::DeadlineExceeded => &mut self.tally.deadlines,
                    Failure::Restarted => &mut self.tally.restarted,
                    Failure::Forgotten => &mut self.tally.forgotten,
                    Failure::ReplyTooLong { .. } => &mut self.tally.too_long,
                } += 1;
            }
        }
    }

    fn deliver(&mut self, from: Host, to: Host, datagram: &[u8]) {
        match (from, to) {
            (Host::Port(port), Host::Server) => self.serve(port, datagram),
            (_, Host::Port(port @ FIRST_ATTACKER..)) => {
                self.attackers[usize::from(port - FIRST_ATTACKER)].receive(datagram);
            }
            (_, Host::Port(port)) => self.clients[usize::from(port)].machine.frame(self.now_us, datagram),
            (Host::Server, Host::Server) => unreachable!("the server does not speak to itself"),
        }
    }

    /// The appliance: what is plain passes by the machine, the rest goes in.
    fn serve(&mut self, port: u16, datagram: &[u8]) {
        self.ledger.received(port, datagram);
        let Ok(header) = Header::parse(datagram) else { return };
        let source = Source { address: [port as u8; 16], port, interface: 0 };
        let is_plain = header.kind == Kind::Request
            && header.is_single_fragment()
            && header.flags & (rpc::AT_MOST_ONCE | rpc::RTX) == 0;
        let action = if is_plain {
            use lnic_message::server::Slots;
            let Some(tenant) = self.memory.tenant(header.lambda) else { return };
            if header.flags & rpc::CRC == 0 || !header.accepts(header.payload(datagram).len()) {
                return;
            }
            let call = self.server.call(self.now_us, &source, (), &header, datagram, tenant);
            Action::Run { call, message: Message::Frame }
        } else {
            self.server.frame(self.now_us, &source, (), &header, datagram, &mut self.memory)
        };
        match action {
            Action::Run { call, message } => self.start(call, message, header.payload(datagram).to_vec()),
            Action::Send(head) => self.send(port, &head, &[]),
            Action::Replay(head, reply) => {
                let mut buffer = [0; 9_100];
                let bytes = self.server.cached(reply, &mut buffer).expect("a frame");
                self.tally.replays += 1;
                self.send(port, &head, &buffer[..bytes]);
            }
            Action::Cancelled { .. } | Action::Kept | Action::Drop(_) => {}
        }
    }

    fn start(&mut self, call: Call<()>, message: Message, frame: Vec<u8>) {
        if self.random.u8(0..30) == 0 && self.plan.server_restarts > 0 {
            // Its queue is full.
            if let Some(head) = self.server.abandon(&call, Status::Busy, 300, &mut self.memory) {
                self.send(call.source().port, &head, &[]);
            }
            return;
        }
        let payload = match message {
            Message::Frame => &frame[..],
            Message::Slot { slot, bytes } => {
                let payload = self.memory.message(slot);
                assert_eq!(payload.len(), bytes as usize);
                payload
            }
        };
        self.tally.runs += 1;
        // What clients send is whole: nothing that was corrupted or mixed up gets here. Attackers send what they like.
        if let Some((number, _)) = lambdas::read(payload) {
            let runs = self.once_runs.entry(number).or_default();
            *runs += 1;
            assert!(*runs == 1 || !self.once[&number], "at-most-once request {number} ran {runs} times");
        } else {
            assert!(call.source().port >= FIRST_ATTACKER, "a client's request is damaged");
        }
        let ends_us = self.now_us + self.random.u64(0..RUN_US);
        self.running.push(Running { ends_us, call, message, frame });
    }

    fn finish(&mut self, running: Running) {
        let Running { call, message, frame, .. } = running;
        let payload = match message {
            Message::Frame => &frame[..],
            Message::Slot { slot, .. } => self.memory.message(slot),
        };
        let reply = match lambdas::read(payload) {
            Some((number, bytes)) => lambdas::reply(number, bytes),
            None => vec![7; self.random.usize(0..1_000)],
        };
        let aux = rpc::reply_aux(Status::Ok, 3, 42);
        let slot;
        let body = if reply.len() <= usize::from(call.header().fragment_bytes) {
            Body::Frame(&reply)
        } else {
            slot = self.memory.reply(reply.clone());
            Body::Slot { slot, bytes: reply.len() as u32 }
        };
        let port = call.source().port;
        match self.server.reply(self.now_us, &call, aux, body, &mut self.memory) {
            Answer::Reply(head) => self.send(port, &head, &reply),
            Answer::Instead(head) => self.send(port, &head, &[]),
            Answer::Queued | Answer::Discard => {}
        }
    }

    fn send(&mut self, port: u16, head: &Head, payload: &[u8]) {
        let mut datagram = vec![0xFF; head.bytes()];
        datagram.extend_from_slice(payload);
        head.emit(&mut datagram).expect("room");
        let header = head.header();
        match header.kind {
            Kind::Challenge => self.tally.challenges += 1,
            Kind::Nack => self.tally.nacks += 1,
            Kind::Grant => self.tally.grants += 1,
            Kind::Pong => self.tally.pongs += 1,
            Kind::Reply => match header.status() {
                Status::Busy => self.tally.busy += 1,
                Status::Stale => self.tally.stale += 1,
                Status::UnknownRpc => self.tally.unknown += 1,
                _ => {}
            },
            kind => panic!("a server does not send {kind:?}"),
        }
        self.ledger.sent(port, &datagram);
        self.network.send(self.now_us, Host::Server, Host::Port(port), datagram, &mut self.random);
    }
}
