//! The same frames get the same answers, whoever runs the lambdas.

use lnic::observe::DropReason;
use proptest::prelude::*;

use crate::*;

/// Echo with a rule of its own, the web server, one that traps, one that drops, one that gives frames to the host.
fn lambdas() -> Vec<Deployed> {
    vec![with_raw(echo()), web_server(), trapper(), dropper(), Deployed::wat(&module("i32.const 1"))]
}

fn arriving() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        4 => (1u32..=7, payload.clone()).prop_map(|(lambda, payload)| rpc4(lambda, &payload)),
        2 => (1u32..=7, payload.clone()).prop_map(|(lambda, payload)| rpc6(lambda, &payload)),
        2 => prop::sample::select(vec![&b"GET /"[..], b"GET /nothing", b""]).prop_map(|page| rpc4(2, page)),
        1 => (1u32..=6, payload.clone()).prop_map(|(lambda, payload)| silent(lambda, &payload)),
        1 => payload.prop_map(|payload| ethernet(Some(7), 0x0800, &ipv4(&[], 17, &udp4(9, &payload)))),
        1 => Just(raw()),
        1 => Just(arp_request()),
        1 => Just(ethernet(None, 0x88CC, b"for the host")),
        1 => (0..60usize).prop_map(|bytes| rpc4(1, b"cut off")[..bytes].to_vec()),
    ]
}

/// What left by each port, sorted, and how many frames were dropped for each reason.
type Ends = (Vec<Vec<Vec<u8>>>, Vec<(DropReason, u64)>);

fn ends(arrangement: Arrangement, host_port: bool, bursts: &[Vec<Vec<u8>>]) -> Ends {
    let mut lab = Lab::of(lambdas(), Setup { host_port, clock: SimClock::new(0), ..arrangement.setup() });
    for burst in bursts {
        for frame in burst {
            assert!(lab.peers[0].send(frame));
        }
        lab.breathe();
    }
    lab.settle();
    let left = (0..lab.peers.len()).map(|port| {
        let mut frames = lab.received(port);
        frames.sort();
        frames
    });
    let left = left.collect();
    let reasons = DropReason::ALL.iter().map(|&reason| (reason, lab.dropped(reason)));
    let dropped = reasons.filter(|(_, frames)| *frames > 0).collect();
    lab.assert_balanced();
    (left, dropped)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_arrangement_gives_the_same_answers(
        bursts in prop::collection::vec(prop::collection::vec(arriving(), 0..40), 1..6),
        host_port in any::<bool>(),
    ) {
        let expected = ends(RunToCompletion, host_port, &bursts);
        for arrangement in DISPATCHING {
            prop_assert_eq!(&ends(arrangement, host_port, &bursts), &expected, "{:?}", arrangement);
        }
    }
}

#[test]
fn every_lcore_with_an_npu_takes_its_part() {
    for arrangement in [Links, Mixed] {
        let mut lab = arrangement.lab(vec![echo()]);
        send(&mut lab, &rpc4(1, b"many"), 400);
        lab.settle();
        assert_eq!(with_status(&replies(&mut lab), Status::Ok), 400);
        let slot = lnic::ids::LambdaSlot::new(0);
        let npus = lab.npu_counters.iter().chain((arrangement == Mixed).then_some(&lab.counters));
        let shares: Vec<u64> = npus.map(|one| one.lambda(slot).unwrap().invocations.get()).collect();
        assert!(shares.len() == 2 && shares.iter().all(|&share| share >= 10), "{arrangement:?}: {shares:?}");
        assert_eq!(shares.iter().sum::<u64>(), 400);
        assert_eq!(lab.npu_counters[0].taken_over.get(), shares[0], "{arrangement:?}");
        lab.assert_balanced();
    }
}
