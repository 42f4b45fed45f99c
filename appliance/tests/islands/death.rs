//! NPUs that die, with what was on them.

use lnic::ids::LambdaSlot;
use lnic::island::State;
use lnic::observe::DropReason;
use lnic::observe::counters::{Counter, LambdaCounters};

use crate::calls::{asking, caller, result};
use crate::*;

const IN_FLIGHT: usize = 16;
const SECOND: LambdaSlot = LambdaSlot::new(1);

/// The NPU that has counted something for the second lambda.
fn ran_first(lab: &Lab, pick: impl Fn(&LambdaCounters) -> &Counter) -> usize {
    let counted = |at: &usize| pick(lab.npu_counters[*at].lambda(SECOND).unwrap()).get() > 0;
    (0..lab.npus.len()).find(counted).expect("it was there")
}

/// Breaths of the dispatcher alone.
fn breathe(lab: &mut Lab, times: usize) {
    for _ in 0..times {
        lab.breath.once();
    }
}

fn serves(lab: &mut Lab, requests: usize) {
    for _ in 0..requests {
        assert_eq!(answer(lab, 1, b"after"), (Status::Ok, b"after".to_vec()));
    }
}

#[test]
fn others_go_on_and_only_what_was_there_is_lost() {
    let mut lab = Links.lab(vec![echo()]);
    send(&mut lab, &rpc4(1, b"before"), 100);
    breathe(&mut lab, 4);
    lab.kill(0, 0);
    lab.settle();
    assert_eq!(with_status(&replies(&mut lab), Status::Ok), 100 - IN_FLIGHT);
    assert_eq!(lab.dropped(DropReason::NpuLost), IN_FLIGHT as u64);
    serves(&mut lab, 200);
    // What is done comes back also from an NPU that died after it.
    send(&mut lab, &rpc4(1, b"done"), 3);
    lab.breath.once();
    lab.npus[1].as_mut().unwrap().once();
    lab.kill(1, 1);
    lab.settle();
    assert_eq!(with_status(&replies(&mut lab), Status::Ok), 3);
    assert_eq!(lab.dropped(DropReason::NpuLost), IN_FLIGHT as u64);
    lab.assert_balanced();
}

#[test]
fn a_death_is_no_way_out_of_quarantine() {
    let mut lab = Links.lab(vec![echo(), counter()]);
    assert_eq!(answer(&mut lab, 2, b"").0, Status::Ok);
    let home = ran_first(&lab, |count| &count.invocations);
    lab.quarantine.set(SECOND, State::Quarantined);
    lab.kill(home, home as u16);
    lab.settle();
    assert_eq!(lab.revive(), 1);
    lab.settle();
    assert_eq!(answer(&mut lab, 2, b"").0, Status::Unavailable);
    lab.quarantine.set(SECOND, State::Active);
    assert_eq!(answer(&mut lab, 2, b"").0, Status::Ok);
    lab.assert_balanced();
}

#[test]
fn the_npu_beside_the_dispatcher_goes_on_alone() {
    let mut lab = Mixed.lab(vec![echo(), counter()]);
    send(&mut lab, &rpc4(1, b"before"), 40);
    lab.settle();
    assert_eq!(with_status(&replies(&mut lab), Status::Ok), 40);
    lab.kill(0, 1);
    lab.settle();
    serves(&mut lab, 100);
    if lab.revive() == 1 {
        lab.settle();
    }
    let first = u32::from_be_bytes(answer(&mut lab, 2, b"").1[..].try_into().unwrap());
    let second = u32::from_be_bytes(answer(&mut lab, 2, b"").1[..].try_into().unwrap());
    assert_eq!(second, first + 1);
    lab.assert_balanced();
}

#[test]
fn a_lambda_whose_home_died_is_unavailable_until_it_has_a_fresh_instance() {
    let mut lab = Lab::of(vec![echo(), with_raw(counter())], Setup { npus: 4, ..Links.setup() });
    let count = |lab: &mut Lab| match answer(lab, 2, b"") {
        (Status::Ok, payload) => u32::from_be_bytes(payload[..].try_into().unwrap()),
        (status, _) => panic!("{status:?}"),
    };
    // It dies and is made anew again and again, as long as there are NPUs.
    for death in 1..=3 {
        assert_eq!([(); 3].map(|()| count(&mut lab)), [1, 2, 3], "life {death}");
        let runs = |lab: &Lab, at: usize| lab.npu_counters[at].lambda(SECOND).unwrap().invocations.get();
        let before: Vec<u64> = (0..4).map(|at| runs(&lab, at)).collect();
        assert_eq!(count(&mut lab), 4);
        let home = (0..4).find(|&at| runs(&lab, at) > before[at]).unwrap();
        // Some wait, and some are there.
        send(&mut lab, &rpc4(2, b""), 40);
        breathe(&mut lab, 2);
        lab.kill(home, home as u16);
        lab.settle();
        let told = replies(&mut lab);
        assert_eq!((told.len(), with_status(&told, Status::Unavailable)), (40 - IN_FLIGHT, 40 - IN_FLIGHT));
        assert_eq!(lab.quarantine.state(SECOND), State::Lost);
        for _ in 0..5 {
            assert_eq!(answer(&mut lab, 2, b""), (Status::Unavailable, vec![]));
        }
        assert!(lab.exchange(&raw()).is_empty());
        assert_eq!(lab.dropped(DropReason::LambdaQuarantined), death);
        serves(&mut lab, 20);
        assert_eq!(lab.revive(), 1);
        lab.settle();
        assert_eq!(lab.quarantine.state(SECOND), State::Active);
    }
    assert_eq!([(); 3].map(|()| count(&mut lab)), [1, 2, 3], "the last NPU");
}

#[test]
fn a_fresh_instance_is_kept_when_a_home_without_one_is_recalled() {
    let limits = lnic::dispatcher::Limits { patience: 2, ..LIMITS };
    let mut lab =
        Lab::of(vec![echo(), counter()], Setup { npus: 3, dispatcher: Some(limits), ..Links.setup() });
    assert_eq!(answer(&mut lab, 2, b"").0, Status::Ok);
    let first = ran_first(&lab, |count| &count.invocations);
    // One that waited when its home died gives the lambda another, where there is no instance.
    send(&mut lab, &rpc4(2, b""), IN_FLIGHT + 1);
    breathe(&mut lab, 1);
    lab.kill(first, first as u16);
    lab.settle();
    assert_eq!(with_status(&replies(&mut lab), Status::Unavailable), 1);
    let empty = ran_first(&lab, |count| &count.unavailable);
    assert_eq!(lab.revive(), 1);
    breathe(&mut lab, 1);
    // That home is full and stays so, while the third NPU has room.
    send(&mut lab, &rpc4(1, b"others"), 2 * IN_FLIGHT);
    breathe(&mut lab, 1);
    send(&mut lab, &rpc4(2, b""), 1);
    lab.npus[3 - first - empty].as_mut().unwrap().once();
    breathe(&mut lab, 10);
    lab.settle();
    let mut counted = replies(&mut lab);
    counted.retain(|reply| reply.header.lambda == 2);
    assert_eq!((counted.len(), counted[0].header.status()), (1, Status::Ok));
    assert_eq!(counted[0].payload, 1u32.to_be_bytes());
    assert_eq!(answer(&mut lab, 2, b"").1, 2u32.to_be_bytes());
}

#[test]
fn with_no_npu_left_every_caller_is_told() {
    let mut lab = Links.lab(vec![with_raw(echo()), counter()]);
    assert_eq!(answer(&mut lab, 2, b"").0, Status::Ok);
    send(&mut lab, &rpc4(1, b"waits"), 60);
    send(&mut lab, &raw(), 10);
    send(&mut lab, &rpc4(2, b"waits"), 10);
    breathe(&mut lab, 3);
    lab.kill(0, 0);
    lab.kill(1, 1);
    lab.settle();
    let told = replies(&mut lab);
    assert_eq!(with_status(&told, Status::Unavailable), told.len());
    // The rest was on the NPUs that died.
    let waited = told.len() as u64 + lab.dropped(DropReason::LambdaGone);
    assert_eq!(waited, 80 - 2 * IN_FLIGHT as u64);
    // Nor does anybody wait who comes later.
    let mut dropped = lab.dropped(DropReason::LambdaGone);
    for lambda in [1, 2] {
        let unavailable = lab.count(lambda, |count| &count.unavailable);
        for _ in 0..300 {
            assert_eq!(answer(&mut lab, lambda, b""), (Status::Unavailable, vec![]));
        }
        assert_eq!(lab.count(lambda, |count| &count.unavailable), unavailable + 300);
        assert_eq!(lab.count(lambda, |count| &count.busy), 0);
    }
    for _ in 0..10 {
        assert!(lab.exchange(&raw()).is_empty());
        dropped += 1;
        assert_eq!(lab.dropped(DropReason::LambdaGone), dropped);
    }
}

#[test]
fn a_call_to_who_died_ends_with_its_time() {
    let caller = Deployed { in_flight: 8, ..caller() };
    let mut lab = Lab::of(vec![caller, echo()], Links.setup());
    send(&mut lab, &rpc4(1, &asking(2, 100, 1_000, b"lost")), 2);
    lab.breath.once();
    let there = (0..2).find(|&at| lab.npus[at].as_mut().unwrap().once()).unwrap();
    lab.breath.once();
    // Whoever waits has its time; the callee's NPU, or the caller's, is gone.
    lab.kill(1 - there, 1 - there as u16);
    lab.settle();
    lab.clock.pass(2_000_000);
    lab.settle();
    let told = replies(&mut lab);
    assert!(told.len() <= 1, "the other caller died too");
    for told in &told {
        assert!(matches!(result(&told.payload), (-4, b"") | (4, b"lost")));
    }
    let again = ask(&mut lab, &rpc4(1, &asking(2, 100, 1_000, b"again")));
    assert_eq!(result(&again.payload), (5, &b"again"[..]));
}
