//! Who sees the same bytes, and that atomics on them add up, with NPUs as threads.

use std::sync::Barrier;
use std::thread;

use super::layouts::{self, CTM, EMEM, IMEM, LOCAL, Tool, word};
use super::*;
use crate::ids::{IslandId, NpuId};
use crate::memory::{Account, Deployment, NpuPlace, RegionSettings, Regions};

const ROUNDS: u32 = 50;
const TIMES: u32 = 2_000;

/// Islands of two NPUs and of one.
fn deploy() -> (Image, Deployment) {
    let npu = |island| NpuPlace { island: IslandId::new(island), numa_node: None };
    let regions = Regions::new(&RegionSettings::default(), &[npu(0), npu(0), npu(1)]);
    let image = layouts::tool(&layouts::windows());
    let deployment = image.deploy(&regions, Account::unlimited("counter")).unwrap();
    (image, deployment)
}

fn instance(image: &Image, deployment: &Deployment, npu: u16) -> Instance {
    Instance::new(image, 10_000_000, &HostSide::detached(), &deployment.seat(NpuId::new(npu))).unwrap()
}

#[test]
fn atomics_add_up_for_those_who_share_and_for_nobody_else() {
    let (image, deployment) = deploy();
    // Two instances on the first NPU, as of a lambda that suspends.
    let npus = [0, 0, 1, 2];
    let barrier = Barrier::new(npus.len());
    let mut instances: Vec<Instance> = thread::scope(|scope| {
        let threads = npus.map(|npu| {
            let (image, deployment, barrier) = (&image, &deployment, &barrier);
            scope.spawn(move || {
                image.engine().prepare_thread();
                let mut instance = instance(image, deployment, npu);
                barrier.wait();
                for _ in 0..ROUNDS {
                    for at in [0, CTM, IMEM, EMEM, LOCAL] {
                        Tool::Add { at, times: TIMES }.value(&mut instance);
                    }
                }
                instance
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let each = ROUNDS * TIMES;
    for (instance, npu) in instances.iter_mut().zip(npus) {
        let at = |instance: &mut Instance, at| word(instance, at) / each;
        assert_eq!(word(instance, EMEM) % each, 0);
        assert_eq!((at(instance, EMEM), at(instance, IMEM)), (4, 4));
        assert_eq!(at(instance, CTM), if npu == 2 { 1 } else { 3 }, "of {npu}'s island");
        assert_eq!(at(instance, LOCAL), if npu == 0 { 2 } else { 1 }, "of NPU {npu}");
        assert_eq!(word(instance, 0), each, "its own");
    }
}

#[test]
fn a_plain_counter_that_moves_between_npus_is_exact() {
    // What a pinned lambda is: one instance that goes from thread to thread.
    let body = format!(
        "(i32.store (i32.const {EMEM}) (i32.add (i32.load (i32.const {EMEM})) (i32.const 1))) (i32.load (i32.const {EMEM}))"
    );
    let image = layouts::image(&lambda(&body), &layouts::windows()).unwrap();
    let mut counter = made(&image, 1000).unwrap();
    for round in 0..10 {
        counter = thread::scope(|scope| {
            let run = scope.spawn(|| {
                image.engine().prepare_thread();
                for turn in 1..=1000 {
                    assert_eq!(counter.run(0), Run::Verdict(round * 1000 + turn));
                }
                counter
            });
            run.join().unwrap()
        });
    }
}

#[test]
fn lambdas_that_suspend_share_windows_too() {
    let body = format!(
        "(drop (i32.atomic.rmw.add (i32.const {LOCAL}) (i32.const 1)))
         (drop {})
         (i32.atomic.rmw.add (i32.const {LOCAL}) (i32.const 16))",
        calls::call(4, 64)
    );
    let image = layouts::image(&calls::calling(&body, ""), &layouts::windows()).unwrap();
    let seat = image.detached_seat().unwrap();
    let fresh = || Instance::new(&image, 100_000, &HostSide::detached(), &seat).unwrap();
    let (mut one, mut two) = (fresh(), fresh());
    assert_eq!((one.run(0), two.run(0)), (Run::Suspended, Run::Suspended));
    // Both have counted before either goes on.
    assert_eq!(two.resume(Answer::Reply(b"abcd")), Run::Verdict(2));
    assert_eq!(one.resume(Answer::Reply(b"abcd")), Run::Verdict(18));
    // One that is dropped while it waits takes nothing of the others' along.
    assert_eq!(one.run(0), Run::Suspended);
    drop(one);
    assert_eq!(two.run(0), Run::Suspended);
    assert_eq!(two.resume(Answer::Failed(14)), Run::Verdict(36));
}
