//! Days in virtual time: bursts, newcomers, debtors, slow NPUs, NPUs that die and return, and how long requests wait.

use super::machine::Machine;
use super::*;

const LIMITS: Limits = Limits { npu_in_flight: 2, waiting: 1 << 15, quantum_cycles: 1000, patience: 4 };

fn deep() -> Share {
    Share { queue: 1 << 14, ..share() }
}

/// Overloads some lambdas up to a time, each with requests of one cost.
fn overload(machine: &mut Machine, lambdas: &[(u32, u64)], until: u64) {
    loop {
        for &(lambda, cost) in lambdas {
            machine.backlog(lambda, 8, cost);
        }
        if !machine.step(until) {
            return;
        }
    }
}

#[test]
fn a_burst_delays_its_own_lambda_only() {
    let mut machine = Machine::new(LIMITS, &[1], &[deep(), deep()]);
    for tick in 0..2000 {
        if tick % 100 == 0 {
            (0..400).for_each(|_| assert!(machine.offer(0, 5000)));
        }
        assert!(machine.offer(1, 500));
        machine.run_until((tick + 1) * 25_000);
    }
    assert_eq!(machine.served, [8000, 2000]);
    // Two in flight, and one more that may be before it in the round.
    assert!(machine.longest[1] <= 3 * 5000, "{} cycles", machine.longest[1]);
    assert!(machine.longest[0] >= 390 * 5000, "the burst itself waits: {}", machine.longest[0]);
}

#[test]
fn the_lightest_of_many_waits_one_round() {
    let mut shares = vec![Share { weight: 1000, ..deep() }; 20];
    shares.push(Share { weight: 1, ..deep() });
    let mut machine = Machine::new(LIMITS, &[1], &shares);
    let heavy: Vec<(u32, u64)> = (0..20).map(|lambda| (lambda, 2000)).collect();
    let round = 20 * 1000 * LIMITS.quantum_cycles;
    for _ in 0..20 {
        machine.offer(20, 1000);
        let until = machine.now + 2 * round;
        overload(&mut machine, &heavy, until);
    }
    assert_eq!(machine.served[20], 20);
    // It stands in line once among those that are in credit, not behind all that they may still use.
    assert!(machine.longest[20] <= 25 * 2000, "{} cycles", machine.longest[20]);
    machine.backlog(20, 1000, 1000);
    let (until, before) = (machine.now + 20 * round, machine.served[20]);
    overload(&mut machine, &heavy, until);
    let served = machine.served[20] - before;
    assert!((19..=21).contains(&served), "{served} requests in 20 rounds");
}

#[test]
fn a_newcomer_gets_its_share_and_no_burst() {
    let mut machine = Machine::new(LIMITS, &[1], &[deep(), deep()]);
    machine.offer(1, 1000);
    overload(&mut machine, &[(0, 1000)], 50_000_000);
    let before = machine.used.clone();
    overload(&mut machine, &[(0, 1000), (1, 1000)], 50_200_000);
    let got = machine.used[1] - before[1];
    assert!((95_000..=102_000).contains(&got), "{got} of 200000 cycles");
}

#[test]
fn estimates_that_were_too_high_while_alone_are_no_hoard() {
    let mut machine = Machine::new(LIMITS, &[1], &[deep(), deep()]);
    // Learns that its requests are dear, then has cheap ones while nobody competes.
    overload(&mut machine, &[(0, 1_000_000)], 100_000_000);
    machine.run_until(200_000_000);
    overload(&mut machine, &[(0, 10)], 200_100_000);
    let before = machine.used.clone();
    overload(&mut machine, &[(0, 10), (1, 1000)], 201_100_000);
    let got = machine.used[1] - before[1];
    assert!((470_000..=530_000).contains(&got), "{got} of 1000000 cycles");
}

#[test]
fn a_debt_is_not_escaped_by_a_pause() {
    let mut machine = Machine::new(LIMITS, &[1], &[deep(), deep()]);
    let until = 400_000_000;
    // One dear request at a time: its queue is empty whenever it pays.
    loop {
        machine.backlog(1, 8, 1000);
        if machine.scheduler.waiting(slot(0)) == 0 && machine.scheduler.lambda_in_flight(slot(0)) == 0 {
            machine.offer(0, 300_000);
        }
        if !machine.step(until) {
            break;
        }
    }
    let part = machine.used[0] as f64 / until as f64;
    assert!(part <= 0.51, "half is its share, it got {part}");
    assert!(part >= 0.45, "it is owed about half and got {part}");
}

#[test]
fn a_debt_is_paid_by_rounds_that_pass_while_idle() {
    let mut machine = Machine::new(LIMITS, &[1], &[deep(), deep()]);
    machine.backlog(1, 8, 1000);
    machine.offer(0, 1_000_000);
    overload(&mut machine, &[(1, 1000)], 1_500_000);
    assert!(machine.scheduler.deficit_cycles(slot(0)) < -400_000);
    overload(&mut machine, &[(1, 1000)], 2_500_000);
    assert!((0..=1000).contains(&machine.scheduler.deficit_cycles(slot(0))));
    machine.offer(0, 1000);
    overload(&mut machine, &[(1, 1000)], 2_600_000);
    assert!(machine.longest[0] <= 4000, "{} cycles", machine.longest[0]);
}

#[test]
fn a_slow_npu_slows_only_what_it_runs() {
    let until = 10_000_000;
    let mut machine = Machine::new(LIMITS, &[1, 1, 1, 10], &[deep(), deep()]);
    overload(&mut machine, &[(0, 1000), (1, 1000)], until);
    let served: u64 = machine.served.iter().sum();
    // Three NPUs at full speed, one at a tenth.
    assert!(served >= 3 * until / 1000 + until / 10_000 - 10, "{served}");
    // A request there costs its lambda 10,000 cycles, a debt that is paid while the other one uses the fast NPUs.
    assert!(machine.longest.iter().all(|&longest| longest <= 10_000), "{:?}", machine.longest);
}

#[test]
fn pinned_lambdas_leave_a_slow_home() {
    let pinned = Share { pinned: true, in_flight: 1, ..deep() };
    let until = 10_000_000;
    let mut machine = Machine::new(LIMITS, &[10, 1], &[pinned; 6]);
    let lambdas: Vec<(u32, u64)> = (0..6).map(|lambda| (lambda, 1000)).collect();
    // All have come there before the fast NPU was alive.
    machine.kill(1);
    overload(&mut machine, &lambdas, 200_000);
    machine.scheduler.npu_alive(npu(1));
    overload(&mut machine, &lambdas, until);
    let served: u64 = machine.served.iter().sum();
    assert!(served >= until * 9 / 10_000, "the fast NPU was left idle: {served}");
    // Six that stayed on the slow NPU would have 166 each. When it is full of two that run there, nobody is kept waiting.
    assert!(machine.served.iter().all(|&served| served > 480), "{:?}", machine.served);
    assert!((4..=served / 1000).contains(&machine.recalls), "{} recalls", machine.recalls);
}

#[test]
fn death_and_return_keep_shares_and_use_all_npus() {
    let shares = [Share { weight: 3, ..deep() }, deep()];
    let mut machine = Machine::new(LIMITS, &[1, 1, 1], &shares);
    let lambdas = [(0, 700), (1, 4000)];
    let mut ends = 0;
    // NPUs alive in each part; in the third nobody is.
    for (part, alive) in [3, 1, 0, 2, 3].into_iter().enumerate() {
        match part {
            1 => assert!(machine.kill(0) + machine.kill(2) <= 4),
            2 => assert!(machine.kill(1) <= 2),
            3 => assert!(machine.scheduler.npu_alive(npu(0)) && machine.scheduler.npu_alive(npu(1))),
            4 => assert!(machine.scheduler.npu_alive(npu(2))),
            _ => {}
        }
        let before = machine.used.clone();
        ends += 20_000_000;
        if alive == 0 {
            assert_eq!(
                machine.scheduler.queue(slot(0), 0, machine::Request { born: 0, cost: 1 }).unwrap_err().0,
                Refused::Gone
            );
            machine.run_until(ends);
            assert_eq!(machine.used, before);
            continue;
        }
        overload(&mut machine, &lambdas, ends);
        let used: Vec<f64> =
            machine.used.iter().zip(&before).map(|(&now, &before)| (now - before) as f64 / 20e6).collect();
        let total = used[0] + used[1];
        assert!((total - f64::from(alive)).abs() < 0.01 * f64::from(alive), "part {part}: {used:?}");
        let ideal = 0.75 * f64::from(alive);
        assert!((used[0] - ideal).abs() < 0.02 * ideal, "part {part}: {used:?}");
    }
}

#[test]
fn a_long_lead_is_forgotten_in_bounded_time() {
    let mut shares = vec![Share { npus: npus(&[0]), ..deep() }; 10];
    shares.push(Share { npus: npus(&[0, 1]), ..deep() });
    let mut machine = Machine::new(LIMITS, &[1, 1], &shares);
    let lambdas: Vec<(u32, u64)> = (0..11).map(|lambda| (lambda, 1000)).collect();
    // The last lambda has NPU 1 for itself, ten share NPU 0: it gets a million rounds ahead of them.
    overload(&mut machine, &lambdas, 1_000_000_000);
    assert!(machine.longest[10] <= 10_000);
    machine.kill(1);
    let (until, before) = (machine.now + 100_000_000, machine.used.clone());
    overload(&mut machine, &lambdas, until);
    let got = machine.used[10] - before[10];
    // Shut out for at most 4096 rounds of ten lambdas, 41 million cycles; then an eleventh.
    assert!(got >= 100_000_000 * 5 / 100, "{got} cycles");
    let (until, before) = (machine.now + 50_000_000, machine.used.clone());
    overload(&mut machine, &lambdas, until);
    let part = (machine.used[10] - before[10]) as f64 / 50e6;
    assert!((part - 1.0 / 11.0).abs() < 0.02 / 11.0, "{part}");
}

#[test]
fn ten_thousand_lambdas_on_one_npu_take_turns() {
    let mut machine = Machine::new(LIMITS, &[1], &vec![share(); 10_000]);
    for lambda in 0..10_000 {
        machine.backlog(lambda, 3, 1000);
    }
    machine.run_until(20_000_500);
    let (least, most) = (machine.served.iter().min().unwrap(), machine.served.iter().max().unwrap());
    assert!(*least >= 1 && *most <= 3, "{least} to {most}");
    machine.run_until(40_000_000);
    assert_eq!(machine.served, vec![3; 10_000]);
}
