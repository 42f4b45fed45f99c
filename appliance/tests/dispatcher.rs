//! The dispatcher on DPDK, without root or hardware: two lcores, one a dispatcher with an NPU, the other an NPU behind DPDK rings and
//! doorbells. A capture is replayed to a replicated and to a pinned lambda. One test, because DPDK starts once per process.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lnic::control::appliance::Appliance;
use lnic::control::config::Machine;
use lnic::control::topology::{DispatcherSpec, Lcore, NpuSpec, Topology};
use lnic::ids::{LcoreId, NpuId};
use lnic_wire::rpc::Status;
use support::capture;
use support::frames::*;
use support::lab::{built, built_from};

const REQUESTS: usize = 20_000;
const COUNTER: &str = "#include <lnic.h>
static uint32_t count;
LAMBDA(counter) {
    uint32_t now = ++count;
    return lnic_reply_with(headers, match_data, STATUS_OK, &now, sizeof now);
}";

#[test]
fn two_lcores_share_the_work_and_every_request_is_answered_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("echo.wasm"), built("echo")).unwrap();
    std::fs::write(folder.path().join("counter.wasm"), built_from(COUNTER, "counter")).unwrap();
    let requests = (0..REQUESTS).map(|number| rpc4(1 + number as u32 % 2, &number.to_be_bytes()));
    capture::write(&folder.path().join("in.pcap"), requests);
    let text = r#"
        [memory]
        hugepages = "off"
        eal_mib = 64
        pool_frames = 4095
        [scheduling]
        mode = "dispatcher"
        waiting_frames = 2000
        queue_frames = 1000
        [[ports]]
        name = "replay"
        driver = "pcap"
        read = "in.pcap"
        write = "out.pcap"
        ipv4 = "10.77.0.1"
        [[ports]]
        name = "silent"
        devargs = "net_null0,no-rx=1"
        ipv4 = "10.77.1.1"
        [[lambdas]]
        name = "echo"
        id = 1
        file = "echo.wasm"
        [[lambdas]]
        name = "counter"
        id = 2
        file = "counter.wasm"
    "#;
    let machine = Machine::read().unwrap();
    let (mut topology, absent) =
        Topology::from_text(text, &folder.path().join("test.toml"), &machine).unwrap();
    assert!(absent.is_empty(), "{absent:?}");
    // Two lcores wherever the test runs: on one CPU they take turns.
    let (first, last) = (topology.lcores.main.cpu, topology.lcores.workers.last().unwrap().cpu);
    let lcores = [LcoreId::new(1), LcoreId::new(2)];
    topology.lcores.workers = vec![Lcore { id: lcores[0], cpu: last }, Lcore { id: lcores[1], cpu: first }];
    let npus = [NpuId::new(0), NpuId::new(1)];
    let island = topology.islands[0].id;
    topology.islands[0].npus = npus.to_vec();
    topology.npus =
        (0..2).map(|at| NpuSpec { id: npus[at], island, lcore: lcores[at], numa_node: None }).collect();
    topology.dispatchers = vec![DispatcherSpec { lcore: lcores[0], npus: npus.to_vec() }];

    let mut appliance = Appliance::start(&topology, &machine).unwrap();
    let sources = appliance.sources();
    let deadline = Instant::now() + Duration::from_secs(60);
    while sources.snapshot().frames.sent < REQUESTS as u64 {
        assert!(Instant::now() < deadline, "{}", sources.snapshot());
        assert!(!appliance.has_ended(), "{}", sources.snapshot());
        assert_eq!(appliance.look_after(), vec![]);
        std::thread::sleep(Duration::from_millis(5));
    }
    let snapshot = sources.snapshot();
    drop(sources);
    let stopped = appliance.stop();
    assert_eq!((stopped.panics, stopped.lost_frames), (vec![], 0));

    assert_eq!((snapshot.frames.received, snapshot.frames.dropped), (REQUESTS as u64, 0));
    let [dispatcher, npu] = &snapshot.lcores[..] else { panic!("{snapshot}") };
    assert!(npu.taken_over > 0 && dispatcher.handed_over >= npu.taken_over, "{snapshot}");
    let concurrency: Vec<_> = snapshot.lambdas.iter().map(|lambda| lambda.concurrency.as_str()).collect();
    assert_eq!(concurrency, ["replicated", "pinned"]);

    let (mut echoed, mut counted, mut busy) = (BTreeSet::new(), BTreeSet::new(), 0);
    for frame in capture::read(&folder.path().join("out.pcap")) {
        let answer = reply(&frame);
        match (answer.header.aux.to_be_bytes()[0], answer.header.lambda) {
            (0, 1) => assert!(echoed.insert(answer.payload), "answered twice"),
            (0, _) => {
                let count = u32::from_le_bytes(answer.payload[..].try_into().unwrap());
                assert!(counted.insert(count), "{count} twice: it ran on two NPUs at once");
            }
            // The capture is read faster than lambdas run.
            (status, _) => {
                assert_eq!(status, Status::Busy.raw());
                busy += 1;
            }
        }
    }
    assert_eq!(echoed.len() + counted.len() + busy, REQUESTS);
    assert!(!echoed.is_empty() && counted.len() > 100, "{} {}", echoed.len(), counted.len());
    assert_eq!(counted, (1..=counted.len() as u32).collect(), "a count is missing");
}
