//! Shares under overload against weighted max-min fairness of an ideal fluid, worked out without any queue.

use proptest::prelude::*;

use super::machine::Machine;
use super::*;

/// NPU time that each lambda gets in the fluid, in NPUs: the level rises for all alike until a set of NPUs is used up by those
/// that can run nowhere else; they stay at that level, and the rest goes on without these NPUs.
fn fluid(count: usize, lambdas: &[(u32, u32)]) -> Vec<f64> {
    let mut shares = vec![0.0; lambdas.len()];
    let mut open: Vec<usize> = (0..lambdas.len()).collect();
    let mut left = (1u32 << count) - 1;
    while !open.is_empty() {
        let confined = |set: u32| open.iter().copied().filter(move |&at| lambdas[at].1 & left & !set == 0);
        let level = |set: u32| {
            let weights: u32 = confined(set).map(|at| lambdas[at].0).sum();
            f64::from(set.count_ones()) / f64::from(weights)
        };
        let sets = (1..=left).filter(|set| set & !left == 0);
        let tight = sets.min_by(|&one, &other| level(one).total_cmp(&level(other))).unwrap();
        let done: Vec<usize> = confined(tight).collect();
        for &at in &done {
            shares[at] = level(tight) * f64::from(lambdas[at].0);
        }
        open.retain(|at| !done.contains(at));
        left &= !tight;
    }
    shares
}

#[test]
fn the_fluid_fills_the_tightest_set_first() {
    assert_eq!(fluid(1, &[(1, 1), (3, 1)]), [0.25, 0.75]);
    assert_eq!(fluid(2, &[(1, 0b01), (1, 0b01), (1, 0b11)]), [0.5, 0.5, 1.0]);
    let level = fluid(2, &[(1, 0b01), (1, 0b11), (1, 0b11)]);
    assert!(level.iter().all(|share| (share - 2.0 / 3.0).abs() < 1e-9), "{level:?}");
}

fn costs() -> impl Strategy<Value = (u64, u64)> {
    (0u32..=10, 0u32..=10).prop_map(|(one, other)| (100u64 << one.min(other), 100 << one.max(other)))
}

/// Overloads lambdas of (weight, NPUs, least and greatest cost) and compares the cycles that they used.
fn compare(
    count: usize,
    in_flight: u32,
    lambdas: &[(u32, u32, (u64, u64))],
    seed: u64,
) -> Result<(), TestCaseError> {
    let set = |bits: u32| (0..count as u16).filter(|bit| bits & (1 << bit) != 0).map(NpuId::new).collect();
    let shares: Vec<Share> =
        lambdas.iter().map(|&(weight, bits, _)| Share { weight, npus: set(bits), ..share() }).collect();
    let limits = Limits { npu_in_flight: in_flight, waiting: 1024, quantum_cycles: 1000, patience: 8 };
    let mut machine = Machine::new(limits, &vec![1; count], &shares);
    let mut random = fastrand::Rng::with_seed(seed);
    let until = 200_000_000;
    loop {
        for (index, &(_, _, (least, most))) in lambdas.iter().enumerate() {
            while machine.scheduler.waiting(slot(index as u32)) < 16 {
                // Mostly one end or the other: the hardest to foresee.
                let cost = if random.bool() { least } else { random.u64(least..=most) };
                machine.backlog(index as u32, machine.scheduler.waiting(slot(index as u32)) + 1, cost);
            }
            let deficit = machine.scheduler.deficit_cycles(slot(index as u32));
            let credit = i64::from(lambdas[index].0) * 1000;
            let flying = i64::from(in_flight) * count as i64 * lambdas[index].2.1 as i64;
            prop_assert!(deficit <= credit + flying && deficit >= -2 * flying - 1000, "{index}: {deficit}");
        }
        if !machine.step(until) {
            break;
        }
    }
    let ideal = fluid(count, &lambdas.iter().map(|&(weight, bits, _)| (weight, bits)).collect::<Vec<_>>());
    for (index, ideal) in ideal.iter().enumerate() {
        let got = machine.used[index] as f64 / until as f64;
        prop_assert!(
            (got - ideal).abs() <= 0.02 * ideal,
            "lambda {index}: {got} NPUs of {ideal}, {lambdas:?}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// One NPU, any weights and costs.
    #[test]
    fn one_npu_is_shared_by_weight(
        lambdas in proptest::collection::vec((1u32..=8, Just(1u32), costs()), 2..6), in_flight in 1u32..=4, seed: u64,
    ) {
        compare(1, in_flight, &lambdas, seed)?;
    }

    /// Several NPUs that everybody may use, and enough lambdas that nobody's share is more than it can run at once.
    #[test]
    fn several_npus_are_shared_by_weight(
        lambdas in proptest::collection::vec((1u32..=4, Just(0b111u32), costs()), 3..7), in_flight in 1u32..=3, seed: u64,
    ) {
        compare(3, in_flight, &lambdas, seed)?;
    }

    /// Sets of NPUs that overlap.
    #[test]
    fn overlapping_npus_are_shared_max_min(
        lambdas in proptest::collection::vec((1u32..=3, 1u32..=0b111, (2u32..6).prop_map(|bits| (100u64 << bits, 100 << bits))), 2..7),
        seed: u64,
    ) {
        // An NPU that nobody may use is no NPU of the fluid's.
        let mut lambdas = lambdas;
        lambdas.push((1, 0b111, (800, 800)));
        compare(3, 2, &lambdas, seed)?;
    }
}
