//! Many calls: one after the other, at once, more than there is room for, and an appliance that stops meanwhile.

use std::time::Duration;

use lnic::breath::Stop;
use lnic::breath::idle::Idle;
use lnic::breath::sleeper::{Mode, Sleeper};
use lnic::frame::BURST;
use lnic::handoff::Doorbell;

use crate::calls::{asking, caller, result};
use crate::*;

const REPEATER: &str = "#include <lnic.h>
    LAMBDA(repeater) {
        uint8_t *payload = lnic_payload(match_data);
        uint32_t times = lnic_load_be32(payload), answered = 0;
        for (uint32_t at = 0; at < times; at++) {
            uint32_t reply = 0;
            if (lnic_call(lnic_load_be32(payload + 4), &at, sizeof(at), &reply, sizeof(reply), 1000) == sizeof(at) && reply == at) {
                answered++;
            }
        }
        lnic_store_be32(payload, answered);
        return lnic_reply(headers, match_data, STATUS_OK, 4);
    }";

/// Calls a lambda so many times and answers how many answers were right.
fn repeater() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built_from(REPEATER, "repeater"));
    Deployed { fuel: 10_000_000, in_flight: 4, ..Deployed::new(MODULE.clone(), "repeater") }
}

fn repeating(times: u32, lambda: u32) -> Vec<u8> {
    [times, lambda].map(u32::to_be_bytes).concat()
}

#[test]
fn a_thousand_calls_one_after_the_other() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![repeater(), echo()]);
        let (status, payload) = answer(&mut lab, 1, &repeating(1_000, 2));
        assert_eq!((status, payload), (Status::Ok, 1_000u32.to_be_bytes().to_vec()), "{arrangement:?}");
        assert_eq!(lab.count(1, |count| &count.invocations), 1);
        assert_eq!(lab.count(1, |count| &count.calls), 1_000);
        lab.assert_balanced();
    }
}

#[test]
fn ten_thousand_calls_use_the_same_store() {
    for arrangement in ALL {
        let setup = Setup { stock: Stock { jobs: 8, calls: 4 }, ..arrangement.setup() };
        let mut lab = Lab::of(vec![repeater(), echo(), trapper(), dropper()], setup);
        for round in 0..1_000 {
            // Answered, trapped, unknown, and some that nobody answers.
            let lambda = [2, 3, 2, 99, 2][round % 5];
            let expected: u32 = if lambda == 2 { 10 } else { 0 };
            let (status, payload) = answer(&mut lab, 1, &repeating(10, lambda));
            assert_eq!((status, payload), (Status::Ok, expected.to_be_bytes().to_vec()), "{arrangement:?}");
            if round % 10 == 0 {
                assert!(lab.exchange(&rpc4(1, &repeating(1, 4))).is_empty());
                lab.clock.pass(2_000_000);
                lab.settle();
                assert_eq!(replies(&mut lab)[0].payload, [0; 4]);
            }
        }
        // All that is in store is still there: four at once.
        send(&mut lab, &rpc4(1, &repeating(3, 2)), 4);
        lab.settle();
        assert_eq!(replies(&mut lab).iter().filter(|reply| reply.payload == 3u32.to_be_bytes()).count(), 4);
        lab.assert_balanced();
    }
}

#[test]
fn requests_at_once_up_to_its_limit_and_the_others_wait_or_are_told() {
    const AT_ONCE: usize = 8;
    for arrangement in ALL {
        let lambda = Deployed { in_flight: AT_ONCE as u32, ..caller() };
        let mut lab = arrangement.lab(vec![lambda, dropper(), echo()]);
        let frame = rpc4(1, &asking(2, 64, 1_000, b""));
        send(&mut lab, &frame, AT_ONCE + 5);
        lab.settle();
        assert_eq!(lab.count(1, |count| &count.calls), AT_ONCE as u64, "{arrangement:?}");
        let refused = replies(&mut lab);
        if arrangement == RunToCompletion {
            assert_eq!(with_status(&refused, Status::Busy), 5);
            assert!(refused.iter().all(|reply| reply.header.service_us() >= 1), "a time to ask again");
            assert_eq!(lab.count(1, |count| &count.busy), 5);
        } else {
            assert_eq!(refused.len(), 0, "{arrangement:?}");
        }
        // Others run meanwhile.
        assert_eq!(answer(&mut lab, 3, b"others"), (Status::Ok, b"others".to_vec()));
        let mut results = Vec::new();
        for _ in 0..2 {
            lab.clock.pass(2_000_000);
            lab.settle();
            results.extend(replies(&mut lab).iter().map(|reply| result(&reply.payload).0));
        }
        assert_eq!(results, vec![-4; AT_ONCE + 5 - refused.len()], "{arrangement:?}");
        lab.assert_balanced();
    }
}

#[test]
fn a_thousand_requests_that_call_keep_apart() {
    for arrangement in ALL {
        let lambda = Deployed { in_flight: 16, ..caller() };
        let mut lab = arrangement.lab(vec![lambda, echo()]);
        let mut got = Vec::new();
        for round in 0..100u32 {
            for at in 0..10u32 {
                let number = (round * 10 + at).to_be_bytes();
                send(&mut lab, &rpc4(1, &asking(2, 64, 1_000, &number)), 1);
            }
            lab.settle();
            got.extend(replies(&mut lab).iter().map(|reply| {
                let (bytes, number) = result(&reply.payload);
                assert_eq!((reply.header.status(), bytes), (Status::Ok, 4), "{arrangement:?}");
                u32::from_be_bytes(number.try_into().unwrap())
            }));
        }
        got.sort_unstable();
        assert_eq!(got, (0..1_000).collect::<Vec<_>>(), "{arrangement:?}");
        lab.assert_balanced();
    }
}

#[test]
fn traffic_beside_calls_loses_nothing() {
    for arrangement in ALL {
        let lambda = Deployed { in_flight: 16, ..caller() };
        let mut lab = arrangement.lab(vec![lambda, echo(), dropper()]);
        // Slow enough that something always waits.
        lab.clock.set_step(1_000);
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..300 {
            let (mut sent, breathes) = (0, random.bool());
            for _ in 0..random.usize(1..4 * BURST) {
                let (lambda, timeout_us) = if random.u8(..8) == 0 { (3, 50) } else { (2, 100_000) };
                let frame = match random.u8(..4) {
                    0 => rpc4(1, &asking(lambda, 64, timeout_us, b"call")),
                    _ => rpc4(2, b"direct"),
                };
                send(&mut lab, &frame, 1);
                sent += 1;
                if breathes && random.bool() {
                    lab.breathe();
                }
            }
            lab.settle();
            lab.clock.pass(200_000_000);
            lab.settle();
            lab.clock.pass(200_000_000);
            lab.settle();
            assert_eq!(lab.received(0).len(), sent, "{arrangement:?}");
        }
        lab.assert_balanced();
    }
}

#[test]
fn without_room_for_another_call_the_lambda_is_told() {
    for arrangement in ALL {
        let setup = Setup { stock: Stock { jobs: 600, calls: 2 }, ..arrangement.setup() };
        let mut lab = Lab::of(vec![Deployed { in_flight: 10, ..caller() }, dropper(), echo()], setup);
        send(&mut lab, &rpc4(1, &asking(2, 64, 1_000, b"")), 10);
        lab.settle();
        let told: Vec<i32> = replies(&mut lab).iter().map(|reply| result(&reply.payload).0).collect();
        // Each lcore with an NPU has room for two.
        let least = 10 - 2 * arrangement.npus();
        assert!(told.len() >= least && told.iter().all(|&result| result == -8), "{arrangement:?}: {told:?}");
        if arrangement.npus() == 1 {
            assert_eq!(told.len(), least);
        }
        lab.clock.pass(2_000_000);
        lab.settle();
        let late: Vec<i32> = replies(&mut lab).iter().map(|reply| result(&reply.payload).0).collect();
        assert_eq!(late, vec![-4; 10 - told.len()], "{arrangement:?}");
        let reply = ask(&mut lab, &rpc4(1, &asking(3, 64, 1_000, b"room")));
        assert_eq!(result(&reply.payload), (4, &b"room"[..]));
        lab.assert_balanced();
    }
}

#[test]
fn an_appliance_may_go_while_its_lambdas_wait() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![Deployed { in_flight: 8, ..caller() }, dropper()]);
        send(&mut lab, &rpc4(1, &asking(2, 64, 1_000_000, b"")), 20);
        lab.settle();
        assert!(lab.pool.available() < lab.pool.frames());
        let pool = lab.pool.clone();
        drop(lab);
        assert_eq!(pool.available(), pool.frames(), "{arrangement:?}");
    }
}

#[test]
fn a_stop_waits_for_calls_but_not_for_ever() {
    const LONGEST_NS: u64 = 100_000_000;
    for arrangement in ALL {
        for (timeout_us, answered) in [(1_000, true), (3_600_000, false)] {
            // The lcores are run one after the other, so where there are several each waits for the others in vain.
            let mut lab = arrangement.lab(vec![caller(), dropper()]);
            lab.clock.set_step(1_000);
            send(&mut lab, &rpc4(1, &asking(2, 64, timeout_us, b"")), 1);
            lab.settle();
            let before_ns = lab.clock.peek_ns();
            let lcores = 1 + lab.npus.len() as u32;
            let stop = Stop::new(lcores);
            stop.ask();
            let doorbell = Doorbell::new().unwrap();
            let sleeper =
                || Sleeper::new(Mode::Descriptor, vec![], &doorbell, Duration::from_secs(1)).unwrap();
            for npu in lab.npus.iter_mut().flatten() {
                npu.run(&stop, Idle::new(None, 0), &mut sleeper());
            }
            lab.breath.run(&stop, Idle::new(None, 0), &mut sleeper());
            let took_ns = lab.clock.peek_ns() - before_ns;
            assert!(took_ns <= u64::from(lcores) * (LONGEST_NS + 1_000_000), "{arrangement:?}: {took_ns} ns");
            let results: Vec<i32> = replies(&mut lab).iter().map(|reply| result(&reply.payload).0).collect();
            assert_eq!(results, if answered { vec![-4] } else { vec![] }, "{arrangement:?}");
        }
    }
}

#[test]
fn a_chain_of_calls_as_long_as_there_is_room_unwinds() {
    for arrangement in ALL {
        // A link for calls holds 255, and a lambda has at most 64 instances on an NPU.
        let depth: u32 = if matches!(arrangement, Links | Mixed) { 250 } else { 1_024 };
        let source = "#include <lnic.h>
            LAMBDA(deeper) {
                uint32_t left = lnic_load_be32(lnic_payload(match_data)), depth = 0, request;
                if (left > 1) {
                    lnic_store_be32(&request, left - 1);
                    if (lnic_call(left % 16 + 1, &request, 4, &depth, 4, 1000000) != 4) {
                        return lnic_reply(headers, match_data, STATUS_INTERNAL, 0);
                    }
                }
                lnic_store_be32(lnic_payload(match_data), lnic_load_be32(&depth) + 1);
                return lnic_reply(headers, match_data, STATUS_OK, 4);
            }";
        let deeper = Deployed { in_flight: 64, ..Deployed::new(built_from(source, "deeper"), "deeper") };
        let setup = Setup { stock: Stock { jobs: 2 * depth, calls: depth }, ..arrangement.setup() };
        let mut lab = Lab::of(vec![deeper; 16], setup);
        for _ in 0..2 {
            let expected = (Status::Ok, depth.to_be_bytes().to_vec());
            assert_eq!(answer(&mut lab, 2, &depth.to_be_bytes()), expected, "{arrangement:?}");
        }
        lab.assert_balanced();
    }
}
