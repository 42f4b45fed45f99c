//! Single rules first; then what holds in any order of events, what an ideal fair queue would give, and days in virtual time.

mod machine;
mod moves;
mod oracle;
mod properties;
mod simulation;
mod sparse;

use super::*;

const LIMITS: Limits = Limits { npu_in_flight: 2, waiting: 64, quantum_cycles: 1000, patience: 3 };

fn slot(raw: u32) -> LambdaSlot {
    LambdaSlot::new(raw)
}

fn npu(raw: u16) -> NpuId {
    NpuId::new(raw)
}

fn npus(raw: &[u16]) -> NpuSet {
    raw.iter().copied().map(NpuId::new).collect()
}

fn share() -> Share {
    Share { weight: 1, queue: 16, in_flight: 64, npus: NpuSet::all(NPUS), pinned: false }
}

fn run<T>(scheduler: &mut Scheduler<T>) -> Dispatch<T> {
    match scheduler.next() {
        Step::Run(dispatch) => dispatch,
        Step::Recall { npu, slot } => panic!("recall of {slot} from {npu}"),
        Step::Wait => panic!("nothing to run"),
    }
}

fn scheduler(count: usize, shares: &[Share]) -> Scheduler<u32> {
    let mut scheduler = Scheduler::new(count, LIMITS);
    for (index, share) in shares.iter().enumerate() {
        scheduler.deploy(slot(index as u32), *share).unwrap();
    }
    scheduler
}

#[test]
fn refuses_with_the_reason() {
    let mut scheduler =
        scheduler(2, &[Share { queue: 2, npus: npus(&[1]), ..share() }, Share { queue: 99, ..share() }]);
    assert_eq!(scheduler.queue(slot(9), 0, 7), Err((Refused::Gone, 7)));
    assert_eq!(scheduler.queue(slot(0), 0, 1), Ok(()));
    assert_eq!(scheduler.queue(slot(0), 7, 2), Ok(()));
    assert_eq!(scheduler.queue(slot(0), 7, 3), Err((Refused::QueueFull, 3)));
    for item in 0..62 {
        assert_eq!(scheduler.queue(slot(1), 0, item), Ok(()));
    }
    assert_eq!(scheduler.queue(slot(1), 0, 99), Err((Refused::NoRoom, 99)));
    assert_eq!(scheduler.npu_dead(npu(1), |loss| panic!("{loss:?}")), 0);
    assert_eq!(scheduler.queue(slot(0), 0, 4), Err((Refused::Gone, 4)));
    assert!(scheduler.npu_alive(npu(1)));
    assert_eq!(scheduler.queue(slot(0), 0, 4), Err((Refused::QueueFull, 4)));
    scheduler.check();
}

#[test]
fn shares_are_checked() {
    let mut scheduler = Scheduler::<()>::new(2, LIMITS);
    let no = |result: Result<(), ShareError>| result.unwrap_err().to_string();
    assert_eq!(no(scheduler.deploy(slot(65_536), share())), "lambda slot 65536: over the limit of 65535");
    assert_eq!(no(scheduler.deploy(slot(0), Share { weight: 0, ..share() })), "weight 0: must be 1 to 1000");
    assert_eq!(
        no(scheduler.deploy(slot(0), Share { weight: 1001, ..share() })),
        "weight 1001: must be 1 to 1000"
    );
    let none = Share { in_flight: 0, ..share() };
    assert_eq!(no(scheduler.deploy(slot(0), none)), "0 items in flight: must be 1 to 65535");
    let absent = Share { npus: npus(&[2, 127]), ..share() };
    assert_eq!(no(scheduler.deploy(slot(0), absent)), "no NPU to run on: it names none of the 2 that exist");
    assert_eq!(scheduler.queue(slot(0), 0, ()), Err((Refused::Gone, ())));
}

#[test]
fn sets_of_npus_are_bounded_and_given_back() {
    let mut scheduler = Scheduler::<u32>::new(16, LIMITS);
    let set = |bits: u32| (0..16).filter(|bit| bits & (1 << bit) != 0).map(NpuId::new).collect();
    let several: Vec<u32> = (0u32..).filter(|bits| bits.count_ones() > 1).take(241).collect();
    for (index, &bits) in several[..240].iter().enumerate() {
        scheduler.deploy(slot(index as u32), Share { npus: set(bits), ..share() }).unwrap();
    }
    let another = Share { npus: set(several[240]), ..share() };
    assert_eq!(scheduler.deploy(slot(500), another), Err(ShareError::TooManySets { limit: 256 }));
    scheduler.remove(slot(7), |_| ());
    scheduler.deploy(slot(500), another).unwrap();
    scheduler.queue(slot(500), 0, 1).unwrap();
    assert!(another.npus.contains(run(&mut scheduler).npu));
    scheduler.check();
}

#[test]
fn priorities_order_a_lambdas_own_queue() {
    let mut scheduler = scheduler(1, &[share(), share()]);
    for (item, priority) in [(0, 0), (1, 3), (2, 7), (3, 3), (4, 200), (5, 0)] {
        scheduler.queue(slot(0), priority, item).unwrap();
    }
    scheduler.queue(slot(1), 0, 9).unwrap();
    let mut order = Vec::new();
    while scheduler.total_waiting() > 0 {
        let dispatch = run(&mut scheduler);
        order.push(dispatch.item);
        assert!(scheduler.complete(dispatch.npu, dispatch.slot, 1000));
    }
    let turn = order.iter().position(|&item| item == 9).unwrap();
    assert!(turn <= 2, "the other lambda waited for priorities that are not its own: {order:?}");
    order.retain(|&item| item != 9);
    assert_eq!(order, [2, 4, 1, 3, 0, 5]);
}

#[test]
fn the_emptiest_npu_is_chosen_and_ties_go_round() {
    let mut scheduler = scheduler(3, &[share()]);
    let mut taken = Vec::new();
    for item in 0..6 {
        scheduler.queue(slot(0), 0, item).unwrap();
        taken.push(run(&mut scheduler).npu.raw());
    }
    assert_eq!(taken, [0, 1, 2, 0, 1, 2]);
    scheduler.queue(slot(0), 0, 9).unwrap();
    assert_eq!(scheduler.next(), Step::Wait);
    assert!(scheduler.complete(npu(1), slot(0), 10));
    assert_eq!(run(&mut scheduler).npu, npu(1));
}

#[test]
fn a_full_npu_blocks_only_those_that_need_it() {
    let mut shares = vec![Share { npus: npus(&[0]), ..share() }; 30];
    shares.push(Share { npus: npus(&[0, 1]), ..share() });
    let mut scheduler = scheduler(2, &shares);
    for index in 0..30 {
        scheduler.queue(slot(index), 0, index).unwrap();
    }
    let order = [run(&mut scheduler).slot.raw(), run(&mut scheduler).slot.raw()];
    assert_eq!(order, [0, 1]);
    assert_eq!(scheduler.next(), Step::Wait);
    scheduler.queue(slot(30), 0, 30).unwrap();
    let dispatch = run(&mut scheduler);
    assert_eq!((dispatch.slot, dispatch.npu), (slot(30), npu(1)));
    for next in 2..30 {
        assert!(scheduler.complete(npu(0), slot(next - 2), 1000));
        assert_eq!(run(&mut scheduler).slot.raw(), next, "blocked lambdas keep their order");
    }
    scheduler.check();
}

#[test]
fn suspended_items_leave_room_on_the_npu_but_not_in_the_lambda() {
    let mut scheduler = scheduler(1, &[Share { in_flight: 3, ..share() }]);
    for item in 0..5 {
        scheduler.queue(slot(0), 0, item).unwrap();
    }
    run(&mut scheduler);
    run(&mut scheduler);
    assert_eq!(scheduler.next(), Step::Wait);
    scheduler.suspended(npu(0), 1);
    run(&mut scheduler);
    scheduler.suspended(npu(0), 2);
    assert_eq!(scheduler.next(), Step::Wait, "three are in flight");
    scheduler.suspended(npu(0), 0);
    assert_eq!(scheduler.in_flight(npu(0)), 3, "what goes on is over the limit of 2");
    assert!(scheduler.complete(npu(0), slot(0), 5));
    assert_eq!(scheduler.next(), Step::Wait);
    assert!(scheduler.complete(npu(0), slot(0), 5));
    run(&mut scheduler);
    scheduler.check();
}

#[test]
fn more_suspended_than_in_flight_is_no_more_room() {
    let mut scheduler = scheduler(1, &[share()]);
    for item in 0..9 {
        scheduler.queue(slot(0), 0, item).unwrap();
    }
    // Said before the end of an item that was one of them is heard.
    scheduler.suspended(npu(0), 5);
    scheduler.suspended(npu(9), 5);
    (0..7).for_each(|_| assert_eq!(run(&mut scheduler).npu, npu(0)));
    assert_eq!(scheduler.next(), Step::Wait);
    scheduler.suspended(npu(0), u32::MAX);
    scheduler.check();
    assert_eq!(scheduler.npu_dead(npu(0), |_| ()), 7);
    assert!(scheduler.npu_alive(npu(0)));
    run(&mut scheduler);
    run(&mut scheduler);
    scheduler.check();
    assert_eq!(scheduler.total_waiting(), 0);
    scheduler.queue(slot(0), 0, 9).unwrap();
    assert_eq!(scheduler.next(), Step::Wait, "what was suspended has died");
}

#[test]
fn a_limited_npu_is_never_given_more_and_is_preferred_when_idle() {
    let limits = Limits { npu_in_flight: 16, ..LIMITS };
    let mut scheduler = Scheduler::new(3, limits);
    scheduler.deploy(slot(0), Share { queue: 64, in_flight: 99, ..share() }).unwrap();
    scheduler.limit_npu(npu(1), 1);
    scheduler.limit_npu(npu(3), 1);
    for item in 0..60 {
        scheduler.queue(slot(0), 0, item).unwrap();
    }
    let mut given = [0; 3];
    while let Step::Run(dispatch) = scheduler.next() {
        given[dispatch.npu.index()] += 1;
    }
    assert_eq!(given, [16, 1, 16]);
    assert!(scheduler.complete(npu(0), slot(0), 5) && scheduler.complete(npu(1), slot(0), 5));
    assert_eq!(run(&mut scheduler).npu, npu(1), "the idle one");
    assert_eq!(run(&mut scheduler).npu, npu(0), "the limited one has no room beside one");
    assert_eq!(scheduler.next(), Step::Wait);
    scheduler.suspended(npu(1), 1);
    assert_eq!(run(&mut scheduler).npu, npu(1));
    assert_eq!(scheduler.next(), Step::Wait);
    scheduler.limit_npu(npu(1), 0);
    assert_eq!(scheduler.next(), Step::Wait, "no less than one");
    scheduler.check();
    scheduler.limit_npu(npu(1), 99);
    given = [0; 3];
    while let Step::Run(dispatch) = scheduler.next() {
        given[dispatch.npu.index()] += 1;
    }
    assert_eq!((given, scheduler.in_flight(npu(1))), ([0, 15, 0], 17), "no more than any, one suspended");
    scheduler.check();
}

#[test]
fn what_did_not_run_costs_nothing_and_teaches_nothing() {
    let mut scheduler = scheduler(1, &[share()]);
    for cycles in [400, 0, 0, 0] {
        scheduler.queue(slot(0), 0, 0).unwrap();
        let before = scheduler.deficit_cycles(slot(0));
        run(&mut scheduler);
        assert!(scheduler.complete(npu(0), slot(0), cycles));
        assert_eq!(scheduler.average_cycles(slot(0)), 400);
        if cycles == 0 {
            assert_eq!(scheduler.deficit_cycles(slot(0)), before);
        }
    }
}

#[test]
fn a_debt_of_a_billion_cycles_stalls_nobody() {
    let mut scheduler = scheduler(1, &[share(), share()]);
    scheduler.queue(slot(0), 0, 0).unwrap();
    run(&mut scheduler);
    assert!(scheduler.complete(npu(0), slot(0), 1_000_000_000_000));
    scheduler.queue(slot(0), 0, 1).unwrap();
    scheduler.queue(slot(1), 0, 2).unwrap();
    assert_eq!(run(&mut scheduler).slot, slot(1));
    assert_eq!(run(&mut scheduler).slot, slot(0), "alone, it need not wait");
}

#[test]
fn hints_grow_with_the_queue_and_with_competition() {
    let mut scheduler = scheduler(2, &[Share { weight: 2, ..share() }, Share { weight: 6, ..share() }]);
    assert_eq!(scheduler.wait_cycles(slot(0)), 0);
    for item in 0..4 {
        scheduler.queue(slot(0), 0, item).unwrap();
    }
    assert_eq!(scheduler.wait_cycles(slot(0)), 4 * 1000 / 2);
    scheduler.queue(slot(1), 0, 9).unwrap();
    assert_eq!(scheduler.wait_cycles(slot(0)), 4 * 1000 * 4 / 2);
    scheduler.npu_dead(npu(0), |_| ());
    assert_eq!(scheduler.wait_cycles(slot(0)), 4 * 1000 * 4);
    assert_eq!(scheduler.wait_cycles(slot(77)), 0);
}

#[test]
fn a_pinned_lambda_moves_when_its_home_stays_full() {
    let pinned = Share { pinned: true, ..share() };
    let mut scheduler = scheduler(2, &[Share { npus: npus(&[0]), ..share() }, pinned]);
    scheduler.queue(slot(1), 0, 0).unwrap();
    let first = run(&mut scheduler);
    assert!(first.carry && first.npu == npu(0) && scheduler.home(slot(1)) == Some(npu(0)));
    assert!(scheduler.complete(npu(0), slot(1), 100));
    for item in 1..3 {
        scheduler.queue(slot(0), 0, item).unwrap();
        run(&mut scheduler);
    }
    scheduler.queue(slot(1), 0, 3).unwrap();
    for _ in 0..LIMITS.patience {
        assert_eq!(scheduler.next(), Step::Wait);
    }
    assert_eq!(scheduler.next(), Step::Recall { npu: npu(0), slot: slot(1) });
    assert!(scheduler.complete(npu(0), slot(0), 100));
    assert_eq!(scheduler.next(), Step::Wait, "its instance is on the way");
    assert!(scheduler.recalled(slot(1)) && !scheduler.recalled(slot(1)));
    let moved = run(&mut scheduler);
    assert!(moved.carry && moved.npu == npu(1));
    scheduler.queue(slot(1), 0, 4).unwrap();
    let again = run(&mut scheduler);
    assert!(!again.carry && again.npu == npu(1), "at home the instance is there already");
    scheduler.check();
}

#[test]
fn a_share_without_the_home_recalls_at_once_when_nothing_is_in_flight() {
    let pinned = Share { pinned: true, ..share() };
    let mut scheduler = scheduler(2, &[pinned]);
    scheduler.queue(slot(0), 0, 0).unwrap();
    scheduler.queue(slot(0), 0, 1).unwrap();
    assert_eq!(run(&mut scheduler).npu, npu(0));
    scheduler.deploy(slot(0), Share { npus: npus(&[1]), ..pinned }).unwrap();
    assert_eq!(scheduler.next(), Step::Wait, "one is still running at the old home");
    assert!(scheduler.complete(npu(0), slot(0), 10));
    assert_eq!(scheduler.next(), Step::Recall { npu: npu(0), slot: slot(0) });
    assert!(scheduler.recalled(slot(0)));
    let moved = run(&mut scheduler);
    assert!(moved.carry && moved.npu == npu(1));
}

#[test]
fn death_tells_each_loss_and_frees_the_home() {
    let mut scheduler = scheduler(2, &[share(), Share { pinned: true, ..share() }]);
    for item in 0..3 {
        scheduler.queue(slot(1), 0, item).unwrap();
    }
    assert_eq!((run(&mut scheduler).npu, run(&mut scheduler).npu), (npu(0), npu(0)));
    scheduler.queue(slot(0), 0, 9).unwrap();
    run(&mut scheduler);
    scheduler.suspended(npu(0), 1);
    let mut losses = Vec::new();
    assert_eq!(scheduler.npu_dead(npu(0), |loss| losses.push(loss)), 2);
    assert_eq!(losses, [Loss { slot: slot(1), items: 2, home: true }]);
    assert_eq!(scheduler.npu_dead(npu(0), |loss| panic!("{loss:?} again")), 0);
    assert!(!scheduler.complete(npu(0), slot(1), 5), "a late word");
    let fresh = run(&mut scheduler);
    assert!(fresh.carry && fresh.npu == npu(1) && fresh.slot == slot(1));
    assert!(scheduler.npu_alive(npu(0)) && !scheduler.npu_alive(npu(0)) && !scheduler.npu_alive(npu(2)));
    scheduler.check();
}

#[test]
fn a_new_lambda_in_a_slot_does_not_pay_for_the_old_one() {
    let mut scheduler = scheduler(1, &[share()]);
    for item in 0..4 {
        scheduler.queue(slot(0), 0, item).unwrap();
    }
    run(&mut scheduler);
    let mut back = Vec::new();
    scheduler.remove(slot(0), |item| back.push(item));
    assert_eq!(back, [1, 2, 3]);
    assert_eq!(scheduler.queue(slot(0), 0, 4), Err((Refused::Gone, 4)));
    scheduler.deploy(slot(0), share()).unwrap();
    assert!(scheduler.complete(npu(0), slot(0), 1_000_000_000));
    assert_eq!(scheduler.average_cycles(slot(0)), LIMITS.quantum_cycles);
    assert!(scheduler.deficit_cycles(slot(0)) >= 0);
    assert!(!scheduler.complete(npu(0), slot(0), 5));
    scheduler.check();
}

#[test]
fn credit_beyond_one_round_is_lost_when_nothing_waits() {
    let mut scheduler = scheduler(1, &[Share { in_flight: 2, ..share() }]);
    scheduler.queue(slot(0), 0, 0).unwrap();
    run(&mut scheduler);
    assert!(scheduler.complete(npu(0), slot(0), 1_000_000));
    for item in 1..4 {
        scheduler.queue(slot(0), 0, item).unwrap();
    }
    run(&mut scheduler);
    run(&mut scheduler);
    assert!(scheduler.complete(npu(0), slot(0), 10) && scheduler.complete(npu(0), slot(0), 10));
    assert!(scheduler.deficit_cycles(slot(0)) > 900_000, "estimates are given back while more waits");
    run(&mut scheduler);
    assert_eq!(scheduler.deficit_cycles(slot(0)), 1000);
}

#[test]
fn patience_starts_anew_once_nobody_is_kept_waiting() {
    let pinned = Share { pinned: true, ..share() };
    let mut scheduler = scheduler(2, &[Share { npus: npus(&[0]), ..share() }, pinned]);
    scheduler.queue(slot(1), 0, 0).unwrap();
    assert_eq!(run(&mut scheduler).npu, npu(0));
    assert!(scheduler.complete(npu(0), slot(1), 100));
    for round in 0..4 {
        for _ in 0..2 {
            scheduler.queue(slot(0), 0, round).unwrap();
            run(&mut scheduler);
        }
        scheduler.queue(slot(1), 0, round).unwrap();
        for _ in 0..LIMITS.patience {
            assert_eq!(scheduler.next(), Step::Wait);
        }
        assert!(scheduler.complete(npu(0), slot(0), 100) && scheduler.complete(npu(0), slot(0), 100));
        assert_eq!(run(&mut scheduler).slot, slot(1));
        assert!(scheduler.complete(npu(0), slot(1), 100));
    }
}

#[test]
fn who_turns_out_to_be_in_debt_loses_the_turn() {
    let mut scheduler = scheduler(1, &[Share { weight: 3, ..share() }, share()]);
    scheduler.queue(slot(0), 0, 0).unwrap();
    scheduler.queue(slot(0), 0, 1).unwrap();
    assert_eq!(run(&mut scheduler).slot, slot(0));
    scheduler.queue(slot(1), 0, 2).unwrap();
    assert!(scheduler.deficit_cycles(slot(0)) > 0, "as far as is known, it may go on");
    assert!(scheduler.complete(npu(0), slot(0), 100_000));
    assert_eq!(run(&mut scheduler).slot, slot(1));
}

#[test]
fn a_debt_moves_along() {
    let pinned = Share { pinned: true, npus: npus(&[0]), ..share() };
    let mut scheduler = scheduler(2, &[share(), pinned]);
    scheduler.queue(slot(1), 0, 0).unwrap();
    let first = run(&mut scheduler);
    // Another lambda uses NPU 1 for a long time; the class of NPU 1 alone has no part in it.
    for item in 0..20_000 {
        scheduler.queue(slot(0), 0, item).unwrap();
        let dispatch = run(&mut scheduler);
        assert!(scheduler.complete(dispatch.npu, slot(0), 1000));
    }
    assert!(scheduler.complete(first.npu, slot(1), 1_000_000));
    scheduler.queue(slot(1), 0, 1).unwrap();
    scheduler.deploy(slot(1), Share { npus: npus(&[1]), ..pinned }).unwrap();
    assert_eq!(scheduler.next(), Step::Recall { npu: npu(0), slot: slot(1) });
    assert!(scheduler.deficit_cycles(slot(1)) < -900_000);
    assert!(scheduler.recalled(slot(1)));
    assert!(scheduler.deficit_cycles(slot(1)) < -900_000, "moving pays nothing");
}
