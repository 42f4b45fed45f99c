//! Upgrades on DPDK, without root or hardware: two lcores that do all, links and doorbells between them. A capture is replayed while a lambda
//! is upgraded again and again, another is scaled and a third comes and goes. One test, because DPDK starts once per process.

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lnic::control::appliance::{Appliance, Bounds, Wanted, Wishes, ready};
use lnic::control::config::Machine;
use lnic::control::topology::{Lcore, Topology};
use lnic::ids::LcoreId;
use lnic::lambda::Environment;
use lnic_registry::LambdaKey;
use lnic_wire::rpc::Status;
use support::capture;
use support::frames::*;
use support::lab::{built, built_from};

const REQUESTS: usize = 300_000;

/// Answers the parameters of its rule, and behind it what it was sent.
const NUMBER: &str = "#include <lnic.h>
LAMBDA(number) {
    uint8_t *payload = lnic_payload(match_data);
    memcpy(payload, match_data->parameters, 4);
    return lnic_reply(headers, match_data, STATUS_OK, 8);
}";

#[test]
fn no_request_is_lost_while_lambdas_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("echo.wasm"), built("echo")).unwrap();
    let module = built_from(NUMBER, "number");
    std::fs::write(folder.path().join("number.wasm"), &module).unwrap();
    let number = |number: usize| [[0; 4], (number as u32).to_be_bytes()].concat();
    capture::write(
        &folder.path().join("in.pcap"),
        (0..REQUESTS).map(|at| rpc4(1 + at as u32 % 2, &number(at))),
    );
    let text = r#"
        [memory]
        hugepages = "off"
        eal_mib = 64
        pool_frames = 4095
        [control]
        lambdas = 16
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
        id = 2
        file = "echo.wasm"
        [[lambdas]]
        name = "number"
        id = 1
        file = "number.wasm"
    "#;
    let machine = Machine::read().unwrap();
    let (mut topology, absent) =
        Topology::from_text(text, &folder.path().join("test.toml"), &machine).unwrap();
    assert!(absent.is_empty(), "{absent:?}");
    // Two workers wherever the test runs: on one CPU they take turns.
    let (first, last) = (topology.lcores.main.cpu, topology.lcores.workers.last().unwrap().cpu);
    let lcores = [LcoreId::new(1), LcoreId::new(2)];
    topology.lcores.workers = vec![Lcore { id: lcores[0], cpu: last }, Lcore { id: lcores[1], cpu: first }];
    let npu = topology.npus[0];
    let ids = [0, 1].map(lnic::ids::NpuId::new);
    topology.npus =
        (0..2).map(|at| lnic::control::topology::NpuSpec { id: ids[at], lcore: lcores[at], ..npu }).collect();
    topology.islands[0].npus = ids.to_vec();

    let mut appliance = Appliance::start(&topology, &machine).unwrap();
    let spec = topology.lambdas[1].clone();
    let code = ready(
        appliance.engine(),
        &module,
        "number",
        &Wishes::of(&spec, &topology),
        &Bounds::of(&topology),
        &mut HashMap::new(),
    )
    .unwrap();
    let wanted = |generation: u32, name: &str, id: u32| {
        let any = lnic::matcher::Rule::any(lnic::ids::LambdaRef::default());
        let id = lnic::ids::LambdaId::new(id);
        let parameters = lnic::matcher::Parameters::new(&generation.to_be_bytes()).unwrap();
        let rule = lnic::matcher::Rule { priority: 1, rpc_lambda: Some(id), parameters, ..any };
        Wanted {
            key: LambdaKey::new("default", name),
            spec: lnic::control::topology::LambdaSpec { name: name.into(), id, ..spec.clone() },
            ready: code.clone(),
            rules: vec![rule],
            environment: Environment::default(),
            replicas: None,
            generation: generation.into(),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sources = appliance.sources();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut generation = 0;
    runtime.block_on(async {
        while sources.snapshot().frames.sent < REQUESTS as u64 || generation < 20 {
            assert!(Instant::now() < deadline && !appliance.has_ended(), "{}", sources.snapshot());
            generation += 1;
            let batch = vec![wanted(generation, "number", 1), wanted(generation, "guest", 3)];
            for done in appliance.deploy(batch).await {
                assert_eq!(done.unwrap().replicas, 2);
            }
            let echo = LambdaKey::new("default", "echo");
            let replicas = 1 + generation % 2;
            assert_eq!(appliance.scale(&echo, Some(replicas)).await.unwrap(), replicas);
            appliance.remove(&LambdaKey::new("default", "guest")).await.unwrap();
            assert_eq!(appliance.look_after(), vec![]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let snapshot = sources.snapshot();
    assert!(snapshot.deployments >= 3 * u64::from(generation) - 1, "{}", snapshot.deployments);
    assert!(snapshot.lcores.iter().all(|lcore| lcore.longest_command_ns > 0), "{snapshot}");
    drop(sources);
    let stopped = appliance.stop();
    assert_eq!((stopped.panics, stopped.lost_frames), (vec![], 0));
    assert_eq!(snapshot.frames.received, REQUESTS as u64);

    let (mut seen, mut last, mut generations) = (vec![false; REQUESTS], 0, 0);
    for frame in capture::read(&folder.path().join("out.pcap")) {
        let answer = reply(&frame);
        if answer.header.status() != Status::Ok {
            // Where one lcore runs it for both, the link between them may be full.
            assert_eq!(answer.header.status(), Status::Busy);
            continue;
        }
        let at = u32::from_be_bytes(answer.payload[4..8].try_into().unwrap()) as usize;
        assert!(!std::mem::replace(&mut seen[at], true), "{at} was answered twice");
        if answer.header.lambda == 1 {
            let generation = u32::from_be_bytes(answer.payload[..4].try_into().unwrap());
            assert!(generation >= last, "generation {generation} after {last}");
            generations += u32::from(generation > last);
            last = generation;
        }
    }
    assert!(seen.iter().any(|&seen| seen) && generations > 0);
    assert_eq!(snapshot.frames.sent, REQUESTS as u64, "{snapshot}");
}
