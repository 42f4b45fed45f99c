//! Lambdas that offer less than their share beside such that offer more: how long they wait, and what they can gain.

use super::machine::Machine;
use super::*;

/// A request of anybody.
const ITEM: u64 = 5000;
const LIMITS: Limits = Limits { npu_in_flight: 1, waiting: 1 << 15, quantum_cycles: 4 * ITEM, patience: 8 };

fn deep() -> Share {
    Share { queue: 1 << 14, ..share() }
}

/// When bursts follow each other.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    /// As in a Poisson process.
    Exponential,
    /// Half to one and a half of the mean.
    Jittered,
}

/// Requests of one lambda in bursts at random times.
struct Source {
    lambda: u32,
    /// Most requests of a burst; each number is as likely.
    burst: u64,
    times: Times,
    /// Mean time between bursts.
    interval: f64,
    next: u64,
}

impl Source {
    /// A source that keeps one NPU busy for this part of the time.
    fn new(lambda: u32, burst: u64, times: Times, load: f64) -> Self {
        let interval = ITEM as f64 * (burst + 1) as f64 / 2.0 / load;
        Self { lambda, burst, times, interval, next: 0 }
    }

    fn fire(&mut self, machine: &mut Machine, random: &mut fastrand::Rng) {
        (0..random.u64(1..=self.burst)).for_each(|_| assert!(machine.offer(self.lambda, ITEM)));
        let factor = match self.times {
            Times::Exponential => -(1.0 - random.f64()).ln(),
            Times::Jittered => 0.5 + random.f64(),
        };
        self.next = machine.now + (factor * self.interval) as u64;
    }
}

/// Lets sources fire while `flooders` always have requests that wait.
fn play(machine: &mut Machine, sources: &mut [Source], flooders: &[u32], until: u64) {
    let mut random = fastrand::Rng::with_seed(7);
    while machine.now < until {
        let now = machine.now;
        for source in sources.iter_mut().filter(|source| source.next <= now) {
            source.fire(machine, &mut random);
        }
        flooders.iter().for_each(|&flooder| machine.backlog(flooder, 8, ITEM));
        let event = sources.iter().map(|source| source.next).min().unwrap_or(until).min(until);
        machine.step(event);
    }
}

/// Requests of the victim in one play.
const REQUESTS: u64 = 20_000;

/// How long the victim's requests wait with a fifth of an NPU's time, the least first.
fn waits(limits: Limits, victim: Share, npus: usize, burst: u64, times: Times, flooders: &[u32]) -> Vec<u64> {
    let mut machine = Machine::new(limits, &vec![1; npus], &[victim, deep()]);
    machine.watched = Some(slot(0));
    let until = REQUESTS * 5 * ITEM;
    play(&mut machine, &mut [Source::new(0, burst, times, 0.2)], flooders, until);
    assert!(machine.waits.len() as u64 > REQUESTS * 9 / 10, "{} requests", machine.waits.len());
    if !flooders.is_empty() {
        let busy: u64 = machine.used.iter().sum();
        assert!(busy + 10 * ITEM >= until * npus as u64, "an NPU was idle beside a flooder: {busy}");
    }
    machine.waits.sort_unstable();
    machine.waits
}

/// Compares the wait that so many of a thousand requests do not exceed, beside a flooder and alone.
fn compare(quantum_cycles: u64, burst: u64, times: Times, per_mille: usize) {
    let limits = Limits { quantum_cycles, ..LIMITS };
    let of = |flooders: &[u32]| {
        let waits = waits(limits, deep(), 1, burst, times, flooders);
        waits[waits.len() * per_mille / 1000]
    };
    let (alone, beside) = (of(&[]), of(&[1]));
    assert!(beside <= alone + ITEM, "bursts of {burst}: {beside} cycles beside a flooder, {alone} alone");
}

#[test]
fn bursts_within_a_rounds_credit_wait_for_one_item_of_a_flooder() {
    for burst in 1..=3 {
        compare(4 * ITEM, burst, Times::Jittered, 990);
    }
}

#[test]
fn random_arrivals_wait_for_one_item_of_a_flooder_as_far_as_credit_goes() {
    // Of so many in a row that a round's credit is not enough, the last ones wait for the flooder's turn.
    compare(4 * ITEM, 1, Times::Exponential, 950);
    compare(8 * ITEM, 1, Times::Exponential, 990);
}

#[test]
fn a_sparse_lambda_at_home_waits_for_one_item_of_a_flooder_of_another_class() {
    let pinned = Share { pinned: true, ..deep() };
    let waits = waits(LIMITS, pinned, 2, 3, Times::Jittered, &[1]);
    // The last of a burst waits for two of its own, and for one of the flooder's.
    assert!(waits[waits.len() * 99 / 100] <= 3 * ITEM, "{:?}", waits.last());
}

#[test]
fn sparse_lambdas_leave_a_backlogged_one_its_share() {
    for (load, least, most) in [(0.05, 0.48, 0.52), (0.08, 0.18, 0.22), (0.15, 0.0900, 0.0918)] {
        let mut machine = Machine::new(LIMITS, &[1], &[deep(); 11]);
        let mut sources: Vec<Source> =
            (0..10).map(|lambda| Source::new(lambda, 4, Times::Exponential, load)).collect();
        let until = 20_000 * ITEM;
        play(&mut machine, &mut sources, &[10], until);
        let part = machine.used[10] as f64 / until as f64;
        assert!((least..=most).contains(&part), "{part} of the NPU beside ten lambdas with {load} each");
    }
}

/// What lambda 0 gets if it always offers a few requests of these costs, lets them end, and pauses.
fn gamed(costs: &[u64], pause: u64, flooders: u32) -> f64 {
    let mut machine = Machine::new(LIMITS, &[1], &vec![deep(); flooders as usize + 1]);
    let until = 20_000 * ITEM;
    let mut again = 0;
    while machine.now < until {
        (1..=flooders).for_each(|flooder| machine.backlog(flooder, 8, ITEM));
        let none_waits = machine.scheduler.waiting(slot(0)) == 0;
        if none_waits && machine.scheduler.lambda_in_flight(slot(0)) == 0 {
            if machine.now >= again {
                costs.iter().for_each(|&cost| assert!(machine.offer(0, cost)));
                again = u64::MAX;
            } else if again == u64::MAX {
                again = machine.now + pause;
                continue;
            }
        }
        machine.step(if again > machine.now { again.min(until) } else { until });
    }
    machine.used[0] as f64 / until as f64
}

#[test]
fn pauses_gain_nothing() {
    let (item, dear) = (ITEM, 6 * ITEM);
    let batches: [&[u64]; 8] = [
        &[item],
        &[item, item],
        &[item; 4],
        &[item; 5],
        &[item; 7],
        &[100],
        // Cheap ones first, so that the dear one is taken to be cheap.
        &[100, 100, 100, 100, 100, 100, 100, dear],
        &[dear],
    ];
    for flooders in [1, 2, 5] {
        let share = 1.0 / f64::from(flooders + 1);
        for costs in batches {
            let parts = [0, 1, 100, item, 10 * item].map(|pause| gamed(costs, pause, flooders));
            assert!(parts.iter().all(|&part| part <= share * 1.01), "{costs:?} beside {flooders}: {parts:?}");
            assert!(costs.len() < 4 || parts[0] >= share * 0.75, "{costs:?} beside {flooders}: {parts:?}");
        }
    }
}
