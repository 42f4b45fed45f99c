//! Lambdas with state: on one NPU at a time, wherever that is.

use std::collections::BTreeSet;

use lnic::dispatcher::Limits;
use lnic::ids::LambdaSlot;

use crate::*;

const REQUESTS: u32 = 400;

fn value(reply: &Reply) -> u32 {
    assert_eq!(reply.header.status(), Status::Ok);
    u32::from_be_bytes(reply.payload[..].try_into().unwrap())
}

#[test]
fn a_counter_counts_every_request_once() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![echo(), counter()]);
        let mut values = BTreeSet::new();
        for _ in 0..REQUESTS / 8 {
            send(&mut lab, &rpc4(1, b"others"), 50);
            send(&mut lab, &rpc4(2, b""), 8);
            send(&mut lab, &rpc4(1, b"others"), 50);
            lab.settle();
            values.extend(replies(&mut lab).iter().filter(|reply| reply.header.lambda == 2).map(value));
        }
        assert_eq!(values, (1..=REQUESTS).collect(), "{arrangement:?}");
        lab.assert_balanced();
    }
}

/// One NPU starves, then the other: the counter moves away from who cannot keep up, with its count.
fn moves(arrangement: Arrangement, seed: u64) -> u64 {
    let dispatcher = Some(Limits { patience: 4, ..LIMITS });
    let deep = |lambda: Deployed| Deployed { queue: 4_096, ..lambda };
    let mut lab = Lab::of(vec![deep(echo()), deep(counter())], Setup { dispatcher, ..arrangement.setup() });
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut values, mut sent, mut moves) = (BTreeSet::new(), 0, 0);
    let (mut home, mut elsewhere) = (None, vec![0; lab.npus.len() + 1]);
    let mut turn = 0u32;
    while sent < REQUESTS {
        // Most of the time only one of two NPUs gets on.
        let starving = (turn / 100) as usize % arrangement.npus();
        turn += 1;
        if lab.pool.available() > 150 {
            send(&mut lab, &rpc4(1, b"others"), random.usize(..24));
            if random.u32(..20) == 0 {
                send(&mut lab, &rpc4(2, b""), 1);
                sent += 1;
            }
        }
        lab.breath.once();
        for at in 0..lab.npus.len() {
            if at != starving || random.u32(..20) == 0 {
                lab.npus[at].as_mut().unwrap().once();
            }
        }
        values.extend(replies(&mut lab).iter().filter(|reply| reply.header.lambda == 2).map(value));
        let counters = std::iter::once(&lab.counters).chain(&lab.npu_counters);
        for (at, (counters, before)) in counters.zip(&mut elsewhere).enumerate() {
            let runs = counters.lambda(LambdaSlot::new(1)).unwrap().invocations.get();
            if runs > *before {
                moves += u64::from(home.is_some_and(|home| home != at));
                home = Some(at);
            }
            *before = runs;
        }
    }
    lab.settle();
    values.extend(replies(&mut lab).iter().filter(|reply| reply.header.lambda == 2).map(value));
    assert_eq!(values, (1..=REQUESTS).collect(), "{arrangement:?}, seed {seed}");
    lab.assert_balanced();
    moves
}

#[test]
fn it_moves_from_a_home_that_is_overloaded_and_loses_nothing() {
    for seed in 0..6 {
        let moved = moves(Links, seed);
        assert!(moved >= 1, "{moved} moves with seed {seed}");
        moves(Mixed, seed);
    }
}
