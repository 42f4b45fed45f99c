//! The hot path does not allocate: a counting allocator watches a thousand bursts.

#[path = "support/allocations.rs"]
mod allocations;
mod support;

use allocations::allocations;
use lnic::frame::BURST;
use lnic::frame::Frame as _;
use lnic::matcher::{PortRange, Rule, Side};
use lnic::path::Stock;
use lnic_wire::rpc::{self, Header, Kind, Tlv};
use support::caller::framed;
use support::fleet::Fleet;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup};
use support::messages::MessageSetup;
use support::outside::*;

/// All that may happen to well-meant traffic: both lambdas, both IP versions, an unknown lambda, a frame for the host, neighbour
/// discovery's work, and what is dropped. The third lambda has room for one request: where there are queues, others find it busy.
fn watch(setup: Setup) {
    let dispatching = setup.dispatcher.is_some();
    let mut lab = Lab::of(
        vec![
            Deployed::from_tree("echo", "echo"),
            Deployed::from_tree("web-server", "web_server"),
            Deployed { queue: 1, ..Deployed::from_tree("echo", "echo") },
        ],
        Setup { host_port: true, ..setup },
    );
    let mix = [
        rpc4(1, &[7; 64]),
        rpc6(1, &[7; 1024]),
        rpc4(2, b"GET /"),
        rpc4(3, b"busy"),
        rpc4(99, b"unknown"),
        ethernet(None, 0x88CC, b"for the host"),
        arp_request(),
        rpc4(1, &[7; 64])[..50].to_vec(),
    ];
    let burst = |lab: &mut Lab| {
        for frame in mix.iter().cycle().take(BURST) {
            assert!(lab.peers[0].send(frame));
        }
        lab.settle();
        let mut answers = 0;
        for port in 0..2 {
            while lab.peers[port].receive().is_some() {
                answers += 1;
            }
        }
        assert_eq!(answers, BURST / mix.len() * (mix.len() - 1));
    };
    // The simulated queues grow to their size once.
    burst(&mut lab);
    let count = allocations(|| (0..1000).for_each(|_| burst(&mut lab)));
    assert_eq!(count, 0, "calls of the allocator in 1,000 bursts of {BURST} frames");
    let busy = if dispatching { 1001 * (BURST / mix.len() - 1) as u64 } else { 0 };
    assert_eq!(lab.count(3, |count| &count.busy), busy);
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 10]))) >= 2, "the counter counts");
}

#[test]
fn a_thousand_bursts_allocate_nothing() {
    watch(Setup::default());
}

#[test]
fn nor_do_they_with_a_dispatcher() {
    watch(Setup::dispatcher());
}

#[test]
fn nor_do_they_over_links() {
    watch(Setup { npu_here: false, npus: 2, ..Setup::dispatcher() });
    watch(Setup { npus: 1, ..Setup::dispatcher() });
}

/// What the host sends: some for a lambda, which answers it, some that go on.
fn watch_host(setup: Setup) {
    let from_host: fn(Rule) -> Rule =
        |rule| Rule { side: Side::Host, destination_port: PortRange::Exact(53), ..rule };
    let echo = Deployed { rules: vec![from_host], ..Deployed::from_tree("echo", "echo") };
    let mut lab = Lab::of(vec![echo], Setup { host_port: true, ..setup });
    let mix = [53, 54].map(|port| ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(port, b"of the host"))));
    let burst = |lab: &mut Lab| {
        for frame in mix.iter().cycle().take(BURST) {
            assert!(lab.peers[1].send(frame));
        }
        lab.settle();
        for port in 0..2 {
            assert_eq!(std::iter::from_fn(|| lab.peers[port].receive()).count(), BURST / 2);
        }
    };
    burst(&mut lab);
    assert_eq!(allocations(|| (0..1000).for_each(|_| burst(&mut lab))), 0);
}

#[test]
fn nor_for_what_the_host_sends() {
    watch_host(Setup { stock: Stock { jobs: 4, calls: 0 }, ..Setup::default() });
    watch_host(Setup::dispatcher());
}

#[test]
fn nor_where_the_store_is_empty() {
    // Every burst finds too few jobs: most callers are told so.
    watch_busy(Setup { stock: Stock { jobs: 3, calls: 0 }, ..Setup::dispatcher() });
}

/// Bursts of which all but three requests are refused.
fn watch_busy(setup: Setup) {
    let mut lab = Lab::of(vec![Deployed::from_tree("echo", "echo")], setup);
    let frame = rpc4(1, &[7; 64]);
    let burst = |lab: &mut Lab| {
        for _ in 0..BURST {
            assert!(lab.peers[0].send(&frame));
        }
        lab.settle();
        assert_eq!(std::iter::from_fn(|| lab.peers[0].receive()).count(), BURST);
    };
    burst(&mut lab);
    assert_eq!(allocations(|| (0..1000).for_each(|_| burst(&mut lab))), 0);
    assert_eq!(lab.count(1, |count| &count.busy), 1001 * (BURST as u64 - 3));
}

/// Where λ-RPC begins in a frame over IPv4, and where the UDP checksum lies.
const RPC_AT: usize = 42;
const UDP_CHECKSUM: std::ops::Range<usize> = 40..42;

/// A frame with a datagram that shows a cookie; without a UDP checksum, so that it can be made another's in place.
fn showing(cookie: &[u8; 8], header: Header, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 48];
    assert_eq!(rpc::emit_tlvs(&[Tlv::Cookie(cookie)], &mut datagram[32..]), Some(16));
    datagram.extend_from_slice(payload);
    Header { header_bytes: 48, ..header }.emit_with_crc(&mut datagram);
    let mut frame = framed(PEER_PORT, &datagram);
    frame[UDP_CHECKSUM].fill(0);
    frame
}

/// Makes a frame one of another request.
fn renumber(frame: &mut [u8], sequence: u32) {
    let datagram = &mut frame[RPC_AT..];
    datagram[12..16].copy_from_slice(&sequence.to_be_bytes());
    rpc::seal(datagram);
}

/// Messages of several fragments there and back, placed, run, sent and acknowledged; and requests at most once, with replies that are
/// kept until they are acknowledged, and sent again.
fn watch_messages(setup: Setup) {
    let echo = Deployed { slots: (4, 8192), ..Deployed::from_tree("echo", "echo") };
    let mut lab = Lab::of(vec![echo], Setup { messages: Some(MessageSetup::default()), ..setup });
    let ping = showing(&[0; 8], Header { kind: Kind::Ping, ..Header::request(0, 1, 0) }, &[]);
    let challenge = lab.exchange(&ping);
    let bytes = &challenge[0][RPC_AT..];
    let header = Header::parse(bytes).expect("a challenge");
    let cookie = lnic_message::Options::of(header.tlvs(bytes)).cookie.expect("a cookie");

    let long = |at: u16| Header { fragment_index: at, ..Header::request(1, 7 << 32, 4096) };
    let ack = |request| Header { kind: Kind::Ack, ..Header::request(1, request, 0) };
    let once = |flags| Header { flags: rpc::AT_MOST_ONCE | flags, ..Header::request(1, 8 << 32, 100) };
    let mut requests: Vec<Vec<u8>> = (0..4).map(|at| showing(&cookie, long(at), &[at as u8; 1024])).collect();
    requests.push(showing(&cookie, once(0), &[9; 100]));
    let mut again = showing(&cookie, once(rpc::RTX), &[9; 100]);
    let mut acks = [showing(&cookie, ack(7 << 32), &[]), showing(&cookie, ack(8 << 32), &[])];
    let mut sequence = 0;
    let mut turn = |lab: &mut Lab| {
        sequence += 1;
        let exchange = |lab: &mut Lab, frames: &mut [Vec<u8>]| {
            for frame in frames {
                renumber(frame, sequence);
                assert!(lab.peers[0].send(frame));
            }
            lab.settle();
            let (mut replies, mut payload_bytes) = (0, 0);
            while let Some(frame) = lab.peers[0].receive() {
                let header = Header::parse(&frame.bytes()[RPC_AT..]).expect("λ-RPC");
                assert_eq!((header.kind, header.sequence()), (Kind::Reply, sequence));
                replies += 1;
                payload_bytes += header.payload(&frame.bytes()[RPC_AT..]).len();
            }
            (replies, payload_bytes)
        };
        assert_eq!(exchange(lab, &mut requests), (5, 4096 + 100));
        assert_eq!(exchange(lab, std::slice::from_mut(&mut again)), (1, 100), "out of the cache");
        assert_eq!(exchange(lab, &mut acks), (0, 0));
        assert_eq!(lab.slots_taken(), 0);
        lab.clock.pass(1_000_000);
    };
    (0..200).for_each(|_| turn(&mut lab));
    let count = allocations(|| (0..1000).for_each(|_| turn(&mut lab)));
    assert_eq!(count, 0, "calls of the allocator for 1,000 messages");
    assert_eq!(lab.counters.long_replies.get(), 1200);
    lab.rest();
    lab.assert_balanced();
}

#[test]
fn messages_allocate_nothing() {
    watch_messages(Setup { stock: Stock { jobs: 16, calls: 0 }, ..Setup::default() });
    watch_messages(Setup::dispatcher());
}

#[test]
fn nor_do_messages_over_links() {
    watch_messages(Setup { npu_here: false, npus: 2, ..Setup::dispatcher() });
    watch_messages(Setup { npus: 1, ..Setup::dispatcher() });
}

/// Lambdas that ask services outside: one datagram there and one back, or several; asked in vain; and the next hop, now and then. The
/// engine allocates for every run of a lambda that may suspend, whether it does or not: that much, and not a call more.
fn watch_outside(setup: Setup) {
    let outside = Some(OutsideSetup::default());
    let mut lab = Lab::of(vec![asker()], Setup { outside, stock: Stock { jobs: 600, calls: 64 }, ..setup });
    let value = vec![7; 5000];
    let answers = |request: &Datagram| match request.payload.len() {
        11 => request.memcached_replies(&value),
        _ => vec![request.reply(&value[..100])],
    };
    let frames = [0u32, 1, 2, 3].map(|service| rpc4(1, &asking(service, 9216, 1_000, b"get")));
    let silence = rpc4(1, &asking(0, 9216, 1_000, b"silence"));
    // What the network does is made outside the watch.
    let turn = |lab: &mut Lab, watched: &mut u64| {
        let watch = |lab: &mut Lab, watched: &mut u64| *watched += allocations(|| lab.settle());
        for frame in frames.iter().chain([&silence]) {
            assert!(lab.peers[0].send(frame));
        }
        watch(lab, watched);
        let mut told = 0;
        while told < frames.len() {
            let sent = sent(&mut lab.peers[0]);
            told += sent.others.len();
            for (address, _) in sent.questions {
                assert!(lab.peers[0].send(&neighbour_answer(address, SERVICE_MAC)));
            }
            let asked = sent.requests.iter().filter(|request| request.payload != b"silence");
            for reply in asked.flat_map(answers) {
                assert!(lab.peers[0].send(&reply.frame()));
            }
            lab.clock.pass(300_000);
            watch(lab, watched);
        }
        lab.clock.pass(1_000_000);
        watch(lab, watched);
        assert_eq!(sent(&mut lab.peers[0]).told().iter().filter(|told| told.result == -4).count(), 1);
    };
    (0..20).for_each(|_| turn(&mut lab, &mut 0));
    // Runs that are told at once that there is no such service.
    let refused = rpc4(1, &asking(9, 9216, 1_000, b"get"));
    let runs = allocations(|| {
        for _ in 0..5 {
            assert!(lab.peers[0].send(&refused));
            lab.settle();
        }
    });
    assert_eq!(sent(&mut lab.peers[0]).others.len(), 5);
    let mut watched = 0;
    for at in 0..200 {
        turn(&mut lab, &mut watched);
        if at % 50 == 0 {
            // Its MAC address is confirmed.
            lab.clock.pass(31_000_000_000);
        }
    }
    assert_eq!(watched, 200 * runs, "calls of the allocator for 1,000 requests");
    assert_eq!((lab.count(1, |it| &it.replies), lab.count(1, |it| &it.requests_timed_out)), (880, 220));
    lab.rest();
    lab.assert_balanced();
}

#[test]
fn nor_do_requests_to_services() {
    watch_outside(Setup::default());
    watch_outside(Setup::dispatcher());
    watch_outside(Setup { npu_here: false, npus: 2, ..Setup::dispatcher() });
}

/// Lambdas are taken in, led to and given back: lcores move boxes, and allocate and free nothing, whatever they do beside it.
#[test]
fn nor_does_what_control_commands() {
    for arrangement in support::fleet::ALL {
        let mut fleet = Fleet::new(arrangement);
        let module = support::lab::built("echo");
        let wanted = [0, 1].map(|turn| {
            let slots = if turn == 0 { (2, 4096) } else { (0, 0) };
            fleet.wanted_with("echo", 1, &module, "echo", slots)
        });
        let frame = rpc4(1, &[7; 64]);
        let breaths = |fleet: &mut Fleet| {
            for _ in 0..8 {
                for peer in &mut fleet.peers {
                    assert!(peer.send(&frame));
                }
                fleet.breathe();
            }
            for peer in &mut fleet.peers {
                while peer.receive().is_some() {}
            }
        };
        let mut commands = 0;
        for turn in 0..40 {
            fleet.live.begin();
            fleet.live.prepare(wanted[turn % 2].clone());
            fleet.live.complete();
            // Loaded, looked at, given back: control does its part between.
            for _ in 0..6 {
                let count = allocations(|| breaths(&mut fleet));
                // The simulated queues grow to their size once.
                assert!(
                    turn < 4 || count == 0,
                    "{count} calls of the allocator in turn {turn}, {arrangement:?}"
                );
                fleet.live.advance();
            }
            assert!(fleet.live.is_published() && fleet.live.finish(None)[0].is_ok());
            fleet.drain();
            let all: u64 = fleet.sum(|counters| &counters.commands);
            // The first has none before it to give back.
            let least = if turn == 0 { 2 } else { 3 };
            assert!(all >= commands + least * fleet.lcores.len() as u64, "{all} commands");
            commands = all;
        }
        assert_eq!(fleet.live.slots_taken(), 1);
    }
}
