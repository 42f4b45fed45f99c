//! Two lcores that poll a queue each: a reply may come in by the other's.

use std::sync::Arc;

use lnic::breath::Breath;
use lnic::handoff::memory;
use lnic::ids::{LambdaSlot, NpuId, PortId};
use lnic::island::{Npu, Quarantine};
use lnic::lambda::HostSide;
use lnic::matcher::{Directory, Table};
use lnic::observe::DropReason;
use lnic::observe::counters::{Counter, LcoreCounters};
use lnic::parser::Ports;
use lnic::path::{Attachment, Mail, Parts, Path, Place, Role, Stock};
use lnic::port::Capabilities;
use lnic::port::Port;
use lnic::port::sim::{SimFrame, SimPeer, SimPool, SimPort};

use crate::support::deployed::compile;
use crate::support::lab::{SimBreath, SimClock, interface};
use crate::support::messages::MessageSetup;
use crate::*;

const SHARES: [std::ops::RangeInclusive<u16>; 2] = [61_000..=61_999, 62_000..=62_999];

struct Twins {
    lcores: [SimBreath; 2],
    peers: [SimPeer; 2],
    counters: [Arc<LcoreCounters>; 2],
    clock: SimClock,
    pool: SimPool,
}

impl Twins {
    /// Both have a queue of the port and run the lambda; or the first has the queue and the second the lambda. A link between them
    /// holds so many jobs.
    fn new(both_poll: bool, link_jobs: u32) -> Self {
        let setup = OutsideSetup::default();
        let pool = SimPool::new(512, 2048);
        let clock = SimClock::new(100);
        let host = HostSide::new(4).with_services(setup.services.clone());
        let (made, rules) = compile(vec![asker()], &host, 2);
        let table = Arc::new(Table::build(rules).unwrap());
        let directory = Arc::new(Directory::new(made.iter().map(|made| (made.id, made.reference))));
        let quarantine = Arc::new(Quarantine::new(1, 0, 1));
        let ((to_second, from_first), (to_first, from_second)) = (memory(link_jobs), memory(link_jobs));
        let mut links = [(to_second, from_second), (to_first, from_first)].into_iter();
        let mut make = |at: usize| {
            let (client, server) = links.next().unwrap();
            let (port, peer) = SimPort::pair(&pool, Capabilities::default());
            let has_port = at == 0 || both_poll;
            let mut outside = setup.make().unwrap();
            outside.udp_ports = SHARES[at].clone();
            outside.others = vec![(SHARES[1 - at].clone(), 0)];
            if !has_port {
                outside.elsewhere = vec![(PortId::new(0), 0)];
            }
            let mut interface = interface(0);
            interface.service_ports = Ports::range(61_000, 62_999);
            let mut npu = Npu::new(1);
            npu.load(made[0].reference, made[0].load(NpuId::new(at as u16)));
            let counters = Arc::new(LcoreCounters::new(1));
            let path = Path::new(
                Parts {
                    ports: vec![has_port.then(|| Box::new(port) as Box<dyn Port<SimFrame>>)],
                    attachments: vec![Attachment {
                        interface,
                        role: Role::Wire { host: None },
                        tx_checksum: false,
                        tx_external: false,
                    }],
                    table: Arc::clone(&table),
                    directory: Arc::clone(&directory),
                    places: vec![if both_poll || at == 1 { Place::Here } else { Place::Client(0) }],
                    quarantine: Arc::clone(&quarantine),
                    npu,
                    dispatcher: None,
                    clients: vec![client],
                    servers: vec![server],
                    stock: Stock { jobs: 200, calls: 64 },
                    suspended_here: Arc::default(),
                    fuel_per_us: 1_000,
                    messages: Some(MessageSetup::default().make(&made, &pool)),
                    outside: Some(outside),
                    counters: Arc::clone(&counters),
                    mail: Mail::new(1, None),
                },
                clock.clone(),
            );
            (Breath::new(path, Arc::clone(&counters)), peer, counters)
        };
        let [(first, near, one), (second, far, two)] = [make(0), make(1)];
        Self { lcores: [first, second], peers: [near, far], counters: [one, two], clock, pool }
    }

    fn settle(&mut self) {
        while self.lcores.iter_mut().fold(false, |busy, lcore| lcore.once() | busy) {}
    }

    /// What both have sent.
    fn sent(&mut self) -> [Sent; 2] {
        self.settle();
        self.peers.each_mut().map(sent)
    }

    fn sum(&self, pick: impl Fn(&LcoreCounters) -> &Counter) -> u64 {
        self.counters.iter().map(|counters| pick(counters).get()).sum()
    }

    fn rest(&mut self) {
        self.settle();
        while let Some(ns) = self.lcores.iter().filter_map(|lcore| lcore.path().next_deadline_ns()).min() {
            self.clock.pass(ns.saturating_sub(self.clock.peek_ns()).max(50_000));
            self.settle();
        }
        let ended = self.sum(|it| &it.sent)
            + self.sum(|it| &it.placed)
            + self.counters.iter().map(|it| it.dropped_total()).sum::<u64>();
        assert_eq!(self.sum(|it| &it.received) + self.sum(|it| &it.made), ended);
        self.sent();
        assert_eq!(self.pool.available(), self.pool.frames());
        assert!(self.lcores.iter().all(|lcore| lcore.path().is_at_rest()));
    }
}

#[test]
fn a_reply_finds_the_lcore_that_asked() {
    for service in [FOUR, MEMCACHED] {
        let mut twins = Twins::new(true, 255);
        for at in 0..2 {
            for _ in 0..8 {
                assert!(twins.peers[at].send(&rpc4(1, &asking(service, 9216, 100_000, &[at as u8]))));
            }
        }
        // The answer comes to the first, who asked or not; the second finds it written down.
        let questions: usize = twins.sent().iter().map(|sent| sent.questions.len()).sum();
        assert_eq!(questions, 1, "one question for both");
        assert!(twins.peers[0].send(&neighbour_answer(SERVICE_IPV4.into(), SERVICE_MAC)));
        twins.settle();
        twins.clock.pass(300_000);
        let requests = twins.sent().map(|sent| sent.requests);
        for (requests, share) in requests.iter().zip(&SHARES) {
            assert!(
                requests.len() == 8 && requests.iter().all(|request| share.contains(&request.from.port()))
            );
        }
        let value = vec![5; 3000];
        for (owner, request) in (0..2).flat_map(|owner| requests[owner].iter().map(move |it| (owner, it))) {
            // Its datagrams take different ways.
            let replies = match service {
                MEMCACHED => request.memcached_replies(&value),
                _ => vec![request.reply(&value[..900])],
            };
            for (at, reply) in replies.iter().enumerate() {
                assert!(twins.peers[(owner + at + 1) % 2].send(&reply.frame()));
            }
        }
        let told: Vec<Told> = twins.sent().iter().flat_map(Sent::told).collect();
        let expected = if service == MEMCACHED { &value[..] } else { &value[..900] };
        assert!(told.len() == 16 && told.iter().all(|told| told.is(expected)));
        assert!(twins.counters[0].handed_over.get() > 0 && twins.counters[1].handed_over.get() > 0);
        // Late, by the other's queue.
        assert!(twins.peers[0].send(&requests[1][0].reply(b"late").frame()));
        twins.rest();
        assert_eq!(twins.counters[0].dropped(DropReason::StrayReply), 1);
        assert_eq!(twins.sum(|it| &it.replies), 16);
    }
}

#[test]
fn a_reply_for_which_the_way_is_full_is_dropped_and_the_next_is_not() {
    let mut twins = Twins::new(true, 4);
    for _ in 0..8 {
        assert!(twins.peers[1].send(&rpc4(1, &asking(FOUR, 64, 100_000, b"x"))));
    }
    twins.settle();
    assert!(twins.peers[0].send(&neighbour_answer(SERVICE_IPV4.into(), SERVICE_MAC)));
    twins.settle();
    twins.clock.pass(300_000);
    let requests = std::mem::take(&mut twins.sent()[1].requests);
    requests.iter().for_each(|request| assert!(twins.peers[0].send(&request.reply(b"y").frame())));
    assert_eq!(twins.sent()[1].told().len(), 4);
    assert_eq!(twins.counters[0].dropped(DropReason::ReplyBacklog), 4);
    requests.iter().for_each(|request| assert!(twins.peers[1].send(&request.reply(b"y").frame())));
    assert_eq!(twins.sent()[1].told().len(), 4);
    assert_eq!(twins.counters[1].dropped(DropReason::StrayReply), 4);
    twins.rest();
}

#[test]
fn an_lcore_without_a_queue_of_the_port_asks_by_one_that_has_it() {
    let mut twins = Twins::new(false, 255);
    assert!(twins.peers[0].send(&rpc4(1, &asking(FOUR, 64, 100_000, b"x"))));
    twins.settle();
    assert!(twins.peers[0].send(&neighbour_answer(SERVICE_IPV4.into(), SERVICE_MAC)));
    twins.settle();
    let request = twins.sent()[0].requests.remove(0);
    assert!(twins.peers[0].send(&request.reply(b"y").frame()));
    assert_eq!(twins.sent()[0].told().len(), 1);
    assert_eq!(twins.counters[1].lambda(LambdaSlot::new(0)).unwrap().replies.get(), 1);
    twins.rest();
}
