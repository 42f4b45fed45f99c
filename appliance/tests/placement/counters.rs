//! Counters: atomic and shared, plain and pinned, one for each NPU, and raced for.

use std::sync::mpsc;
use std::thread;

use lnic::lambda::Instance;
use lnic::memory::Tier;
use lnic_compiler::placement::{Concurrency, Runs};

use super::npus::{Islands, NPUS, OnTwo, RUNS, deploy, deploy_module, run};
use crate::support::lab::built;

const ATOMIC: &str = "static int hits;
    LAMBDA(it) { return __atomic_add_fetch(&hits, 1, __ATOMIC_RELAXED); }";
const PLAIN: &str = "static volatile int hits;
    LAMBDA(it) { int now = hits + 1; hits = now; return now; }";

/// Bytes that lambdas have of a tier, over all its regions.
fn used(it: &OnTwo, tier: Tier) -> u64 {
    it.usage().iter().filter(|usage| usage.tier == tier).map(|usage| usage.used_bytes).sum()
}

#[test]
fn an_atomic_counter_is_one_for_both_npus_and_exact() {
    for (islands, place, tier) in
        [(Islands::One, ("ctm", "island"), Tier::Ctm), (Islands::Two, ("imem", "all"), Tier::Imem)]
    {
        let it = deploy(ATOMIC, islands, |_| {});
        assert_eq!((it.runs(), it.layout()), (Runs::Anywhere, "windows"), "{islands:?}");
        assert_eq!(it.place("hits"), place);
        let mut counts: Vec<i32> = it.run_on(&NPUS).concat();
        counts.sort_unstable();
        // Each number once: nothing was lost, and nothing counted twice.
        assert!(counts.iter().copied().eq(1..=2 * RUNS), "{islands:?}: {:?}", counts.last());
        // Instances are gone and the object is not: it is its deployment's, and one window.
        assert_eq!(used(&it, tier), 4096);
        assert_eq!(used(&it, Tier::Local), 0);
        assert_eq!(run(&mut it.instance(NPUS[1])), 2 * RUNS + 1);
    }
}

/// One request of a lambda that answers with text.
fn ask(instance: &mut Instance, request: &[u8]) -> String {
    let io = instance.io().expect("it is not suspended");
    *io.headers = lnic_abi::Headers::default();
    io.headers.rpc.valid = 1;
    io.payload[..request.len()].copy_from_slice(request);
    *io.match_data = lnic_abi::MatchData {
        payload: io.payload_address,
        length: request.len() as u32,
        capacity: 1024,
        ..lnic_abi::MatchData::default()
    };
    run(instance);
    let io = instance.io().expect("it is not suspended");
    String::from_utf8_lossy(&io.payload[..io.match_data.length as usize]).into_owned()
}

#[test]
fn the_web_server_counts_on_both_npus_as_one() {
    const REQUESTS: usize = 2_000;
    let wasm = built("web-server");
    for islands in [Islands::One, Islands::Two] {
        let it = deploy_module(&wasm, "web_server", islands, |_| {});
        assert_eq!((it.runs(), it.layout()), (Runs::Anywhere, "windows"), "{islands:?}");
        thread::scope(|scope| {
            for npu in NPUS {
                let it = &it;
                scope.spawn(move || {
                    it.engine.prepare_thread();
                    let mut instance = it.instance(npu);
                    for _ in 0..REQUESTS {
                        assert!(ask(&mut instance, b"GET /robots.txt").starts_with("User-agent"));
                    }
                });
            }
        });
        let status = ask(&mut it.instance(NPUS[1]), b"GET /status.json");
        let expected = format!("{{\"status\":\"ok\",\"requests\":{},\"page_requests\":1,", 2 * REQUESTS + 1);
        assert!(status.starts_with(&expected), "{islands:?}: {status}");
    }
}

#[test]
fn a_plain_counter_is_pinned_and_exact_wherever_it_goes() {
    for islands in [Islands::One, Islands::Two] {
        let it = deploy(PLAIN, islands, |_| {});
        assert_eq!((it.runs(), it.layout()), (Runs::OnOneNpu, "dense"), "{islands:?}");
        assert!(it.ready.inspection.because.contains("\"hits\""), "{}", it.ready.inspection.because);
        // The one instance goes from NPU to NPU, as a job takes it along.
        let turns = 50;
        let (to_first, first) = mpsc::sync_channel::<(Instance, i32)>(1);
        let (to_second, second) = mpsc::sync_channel::<(Instance, i32)>(1);
        let worker = |inbox: mpsc::Receiver<(Instance, i32)>, next: mpsc::SyncSender<(Instance, i32)>| {
            it.engine.prepare_thread();
            let mut last = 0;
            for _ in 0..turns {
                let Ok((mut instance, before)) = inbox.recv() else { break };
                last = before;
                for _ in 0..RUNS / turns {
                    last += 1;
                    assert_eq!(run(&mut instance), last);
                }
                // Nobody waits for what the last turn hands over.
                let _ = next.send((instance, last));
            }
            last
        };
        to_first.send((it.instance(NPUS[0]), 0)).expect("there is room");
        let last = thread::scope(|scope| {
            let worker = &worker;
            scope.spawn(move || worker(first, to_second));
            scope.spawn(move || worker(second, to_first)).join().expect("no panic")
        });
        assert_eq!(last, 2 * RUNS);
    }
}

#[test]
fn a_local_counter_is_each_npus_own_and_exact_there() {
    let it = deploy(
        "static volatile int hits LOCAL;
         LAMBDA(it) { int now = hits + 1; hits = now; return now; }",
        Islands::One,
        |_| {},
    );
    assert_eq!((it.runs(), it.place("hits").0), (Runs::Anywhere, "local"));
    for counts in it.run_on(&NPUS) {
        assert!(counts.into_iter().eq(1..=RUNS));
    }
}

#[test]
fn a_local_counter_is_one_for_all_requests_on_its_npu() {
    // It may wait for another lambda, so that an NPU has several instances of it.
    let it = deploy(
        "static volatile int hits LOCAL;
         LAMBDA(it) {
             if (match_data->length == 77) {
                 lnic_call(9, 0, 0, 0, 0, 1);
             }
             int now = hits + 1;
             hits = now;
             return now;
         }",
        Islands::One,
        |wishes| wishes.in_flight = 2,
    );
    assert_eq!((it.runs(), it.place("hits")), (Runs::Anywhere, ("local", "NPU")));
    let mut first = [it.instance(NPUS[0]), it.instance(NPUS[0])];
    let mut second = it.instance(NPUS[1]);
    for turn in 0..100 {
        assert_eq!([0, 1].map(|at| run(&mut first[at])), [2 * turn + 1, 2 * turn + 2]);
        assert_eq!(run(&mut second), turn + 1);
    }
}

#[test]
fn a_plain_counter_that_its_author_shares_is_one_object_and_harms_nobody() {
    for islands in [Islands::One, Islands::Two] {
        let it = deploy(PLAIN, islands, |wishes| wishes.concurrency = Concurrency::Shared);
        assert_eq!((it.runs(), it.layout()), (Runs::Anywhere, "windows"));
        // In turns nothing races: each sees what the other counted.
        let mut instances = NPUS.map(|npu| it.instance(npu));
        for turn in 0..100 {
            assert_eq!(run(&mut instances[0]), 2 * turn + 1);
            assert_eq!(run(&mut instances[1]), 2 * turn + 2);
        }
        // At once some counts are lost, and no more: all that is seen was counted by somebody.
        let counts = it.run_on(&NPUS);
        let total = run(&mut instances[0]) - 201;
        assert!(total > RUNS && total <= 2 * RUNS, "{islands:?}: {total}");
        assert!(counts.iter().flatten().all(|&count| count > 200 && count <= 200 + 2 * RUNS));
    }
}

#[test]
fn a_replicated_counter_is_each_instances_own() {
    let it = deploy(PLAIN, Islands::Two, |wishes| wishes.concurrency = Concurrency::Replicated);
    assert_eq!((it.runs(), it.object("hits").shared_by.as_str()), (Runs::Anywhere, "instance"));
    for counts in it.run_on(&NPUS) {
        assert!(counts.into_iter().eq(1..=RUNS));
    }
}
