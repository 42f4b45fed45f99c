//! Pinned lambdas in virtual time: they spread over the NPUs, and then stay.

use super::machine::Machine;
use super::*;

const LIMITS: Limits = Limits { npu_in_flight: 4, waiting: 1 << 12, quantum_cycles: 1000, patience: 8 };

fn pinned() -> Share {
    Share { pinned: true, queue: 64, ..share() }
}

/// Overloads all lambdas up to a time, each with requests of its cost.
fn overload(machine: &mut Machine, costs: &[u64], until: u64) {
    loop {
        for (lambda, &cost) in costs.iter().enumerate() {
            machine.backlog(lambda as u32, 8, cost);
        }
        if !machine.step(until) {
            return;
        }
    }
}

/// Has some lambdas on one NPU, as if they had come there one by one while the others were dead.
fn gathered(npus: usize, shares: &[Share]) -> Machine {
    let mut machine = Machine::new(LIMITS, &vec![1; npus], shares);
    (1..npus as u16).for_each(|npu| assert_eq!(machine.kill(npu), 0));
    let costs = vec![1000; shares.len()];
    overload(&mut machine, &costs, 100_000);
    for lambda in 0..shares.len() as u32 {
        assert_eq!(machine.scheduler.home(slot(lambda)), Some(npu(0)));
    }
    (1..npus as u16).for_each(|npu| assert!(machine.scheduler.npu_alive(super::npu(npu))));
    machine
}

#[test]
fn two_hot_lambdas_on_one_of_two_npus_end_up_on_one_each() {
    for in_flight in [2, 3, 64] {
        let mut machine = gathered(2, &[Share { in_flight, ..pinned() }; 2]);
        let (until, before) = (machine.now + 10_000_000, machine.served.clone());
        overload(&mut machine, &[1000, 1000], until);
        assert_ne!(machine.scheduler.home(slot(0)), machine.scheduler.home(slot(1)));
        assert_eq!(machine.recalls, 1, "{in_flight} in flight");
        for (served, before) in machine.served.iter().zip(before) {
            assert!(served - before >= 9950, "{} of 10000 with {in_flight} in flight", served - before);
        }
    }
}

#[test]
fn who_runs_alone_or_may_not_leave_stays() {
    let restricted = Share { npus: npus(&[0]), ..pinned() };
    for shares in [&[pinned()][..], &[restricted, restricted]] {
        let mut machine = gathered(2, shares);
        let until = machine.now + 10_000_000;
        overload(&mut machine, &vec![1000; shares.len()], until);
        assert_eq!(machine.recalls, 0);
        assert!(machine.served.iter().sum::<u64>() >= 9990, "one NPU is used");
    }
}

#[test]
fn eight_hot_lambdas_take_all_of_four_npus() {
    let mut machine = gathered(4, &[pinned(); 8]);
    let until = machine.now + 10_000_000;
    let before: u64 = machine.served.iter().sum();
    overload(&mut machine, &[1000; 8], until);
    let served = machine.served.iter().sum::<u64>() - before;
    assert!(served >= 39_800, "{served} of 40000");
    assert!(machine.recalls <= 8, "{} recalls", machine.recalls);
}

#[test]
fn lambdas_that_saturate_all_npus_rarely_move() {
    let long = [100_000, 1000, 1000, 50_000, 2000, 300, 1000];
    for (npus, costs, in_flight) in [
        (2, &[1000; 6][..], 1),
        (2, &[1000; 5], 64),
        (2, &long, 1),
        (2, &long, 2),
        (2, &long, 64),
        (3, &long, 1),
        (4, &[1000; 5], 2),
        (4, &long, 3),
    ] {
        let shares = vec![Share { in_flight, ..pinned() }; costs.len()];
        let mut machine = Machine::new(LIMITS, &vec![1; npus], &shares);
        overload(&mut machine, costs, 1_600_000_000);
        let (served, recalls) = (machine.served.iter().sum::<u64>(), machine.recalls);
        assert!(served > 100_000, "{served}");
        assert!(
            recalls * 1000 <= served,
            "{recalls} recalls, {served} items: {costs:?}, {in_flight} in flight"
        );
    }
}

/// How many items of a pinned lambda are dispatched at its home before it is recalled, if that home is full of another one's
/// whenever it has something waiting.
fn stay(scheduler: &mut Scheduler<u32>) -> u64 {
    let home = scheduler.home(slot(1)).unwrap();
    scheduler.deploy(slot(0), Share { npus: NpuSet::only(home), ..share() }).unwrap();
    for items in 1..100_000 {
        (0..2).for_each(|item| scheduler.queue(slot(0), 0, item).unwrap());
        (0..2).for_each(|_| assert_eq!(run(scheduler).slot, slot(0)));
        scheduler.queue(slot(1), 0, 0).unwrap();
        let step = (0..20).map(|_| scheduler.next()).find(|step| *step != Step::Wait);
        (0..2).for_each(|_| assert!(scheduler.complete(home, slot(0), 1)));
        if let Some(step) = step {
            assert_eq!(step, Step::Recall { npu: home, slot: slot(1) });
            return items;
        }
        assert_eq!(run(scheduler).npu, home);
        assert!(scheduler.complete(home, slot(1), 1));
    }
    panic!("it never moves");
}

#[test]
fn a_lambda_that_moved_stays_for_64_items_and_longer_if_that_did_not_last() {
    let mut scheduler = scheduler(2, &[share(), pinned()]);
    let carry = |scheduler: &mut Scheduler<u32>| {
        let dispatch = run(scheduler);
        assert!(dispatch.carry);
        assert!(scheduler.complete(dispatch.npu, slot(1), 1));
    };
    scheduler.queue(slot(1), 0, 0).unwrap();
    carry(&mut scheduler);
    // The first item at a home comes with the lambda; the one that waits when it leaves is not dispatched there.
    for items in [1, 64, 128, 256, 512, 1024, 2048, 4096, 4096] {
        assert_eq!(stay(&mut scheduler), items);
        assert!(scheduler.recalled(slot(1)));
        carry(&mut scheduler);
    }
    for item in 0..16 * 4096 {
        scheduler.queue(slot(1), 0, item).unwrap();
        let dispatch = run(&mut scheduler);
        assert!(scheduler.complete(dispatch.npu, slot(1), 1));
    }
    assert_eq!(stay(&mut scheduler), 1);
    assert!(scheduler.recalled(slot(1)));
    carry(&mut scheduler);
    assert_eq!(stay(&mut scheduler), 64, "the last move did last");
}

#[test]
fn who_is_stopped_goes_on_if_its_items_do_not_end() {
    let mut scheduler = scheduler(2, &[Share { queue: 8, ..pinned() }; 2]);
    assert!(scheduler.npu_dead(npu(1), |_| ()) == 0);
    for item in 0..4 {
        scheduler.queue(slot(item % 2), 0, item).unwrap();
    }
    assert_ne!(run(&mut scheduler).slot, run(&mut scheduler).slot);
    assert!(scheduler.npu_alive(npu(1)));
    let stopped = |scheduler: &Scheduler<u32>| scheduler.lambdas.iter().position(|lambda| lambda.stopped);
    let mut waits = 0;
    while stopped(&scheduler).is_none() {
        assert_eq!(scheduler.next(), Step::Wait);
        waits += 1;
        assert!(waits <= super::LIMITS.patience + 1);
    }
    let who = slot(stopped(&scheduler).unwrap() as u32);
    let other = slot(1 - who.raw());
    assert!(scheduler.complete(npu(0), other, 1000));
    assert_eq!(run(&mut scheduler).slot, other, "it leaves its turn to the other one");
    while stopped(&scheduler).is_some() {
        assert_eq!(scheduler.next(), Step::Wait);
        waits += 1;
        assert!(waits < 100_000, "stopped for ever");
    }
    assert!(waits > 10_000, "it was given some time");
    assert!(scheduler.complete(npu(0), other, 1000));
    assert_eq!(run(&mut scheduler).slot, who);
    scheduler.check();
}
