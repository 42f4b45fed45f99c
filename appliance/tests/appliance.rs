//! The whole appliance on DPDK without root or hardware: two polling lcores, a replayed capture, a recorded one, and a `net_null`
//! device that floods both lcores meanwhile. One test, because DPDK starts once per process.

mod support;

use std::time::{Duration, Instant};

use lnic::control::appliance::Appliance;
use lnic::control::config::Machine;
use lnic::control::topology::{Lcore, Topology};
use lnic::ids::LcoreId;
use lnic::observe::DropReason;
use support::capture;
use support::frames::*;
use support::lab::built;

const REQUESTS: usize = 5000;

#[test]
fn two_lcores_answer_a_capture_while_a_null_device_floods_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("echo.wasm"), built("echo")).unwrap();
    let requests = (0..REQUESTS).map(|number| rpc4(1, format!("request {number}").as_bytes()));
    capture::write(&folder.path().join("in.pcap"), requests);
    let text = r#"
        [memory]
        hugepages = "off"
        eal_mib = 64
        pool_frames = 4095
        [[ports]]
        name = "replay"
        driver = "pcap"
        read = "in.pcap"
        write = "out.pcap"
        ipv4 = "10.77.0.1"
        [ports.capture]
        file = "both.pcap"
        [[ports]]
        name = "flood"
        devargs = "net_null0"
        ipv4 = "10.77.1.1"
        [[lambdas]]
        name = "echo"
        id = 1
        file = "echo.wasm"
    "#;
    let machine = Machine::read().unwrap();
    let (mut topology, absent) =
        Topology::from_text(text, &folder.path().join("test.toml"), &machine).unwrap();
    assert!(absent.is_empty(), "{absent:?}");
    // Two workers wherever the test runs: on one CPU they take turns.
    let first = topology.lcores.main.cpu;
    let last = topology.lcores.workers.last().unwrap().cpu;
    topology.lcores.workers =
        vec![Lcore { id: LcoreId::new(1), cpu: first }, Lcore { id: LcoreId::new(2), cpu: last }];

    let appliance = Appliance::start(&topology, &machine).unwrap();
    let sources = appliance.sources();
    let deadline = Instant::now() + Duration::from_secs(60);
    let both_polled = || sources.lcores.iter().all(|lcore| lcore.counters.received.get() > 10_000);
    while sources.snapshot().lambdas[0].forwarded < REQUESTS as u64 || !both_polled() {
        assert!(Instant::now() < deadline, "{}", sources.snapshot());
        assert!(!appliance.has_ended(), "{}", sources.snapshot());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(sources);
    let sources = appliance.sources();
    let counters: Vec<_> = sources.lcores.iter().map(|lcore| lcore.counters.clone()).collect();
    drop(sources);
    let stopped = appliance.stop();
    assert_eq!(stopped.panics, Vec::<String>::new());
    assert_eq!(stopped.lost_frames, 0);

    let sum = |pick: &dyn Fn(&lnic::observe::counters::LcoreCounters) -> u64| -> u64 {
        counters.iter().map(|counters| pick(counters)).sum()
    };
    let ended = sum(&|counters| counters.sent.get() + counters.to_host.get() + counters.dropped_total());
    assert_eq!(sum(&|counters| counters.received.get()), ended, "received = sent + to host + dropped");
    assert_eq!(sum(&|counters| counters.sent.get()), REQUESTS as u64);
    // What net_null gives is zeros, addressed to nobody.
    assert_eq!(
        sum(&|counters| counters.dropped(DropReason::NotOurMac)),
        sum(&|counters| counters.dropped_total())
    );

    let replies = capture::read(&folder.path().join("out.pcap"));
    assert_eq!(replies.len(), REQUESTS);
    for (number, frame) in replies.iter().enumerate() {
        assert_eq!(reply(frame).payload, format!("request {number}").as_bytes());
    }
    assert_eq!(capture::read(&folder.path().join("both.pcap")).len(), 2 * REQUESTS);
}
