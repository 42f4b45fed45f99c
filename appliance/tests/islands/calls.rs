//! Lambdas that call others: what comes back, whoever answers, or nobody.

use lnic::ids::LambdaSlot;
use lnic::island::State;

use crate::*;

const CALLER: &str = "#include <lnic.h>
    LAMBDA(caller) {
        uint8_t *payload = lnic_payload(match_data);
        uint8_t reply[1024];
        if (match_data->length < 12) {
            return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
        }
        uint32_t capacity = lnic_load_be32(payload + 4);
        if (capacity > sizeof(reply)) {
            capacity = sizeof(reply);
        }
        int32_t timeout_us = (int32_t)lnic_load_be32(payload + 8);
        int32_t result = lnic_call(lnic_load_be32(payload), payload + 12, match_data->length - 12, reply, capacity, timeout_us);
        uint32_t bytes = result > 0 ? (uint32_t)result : 0;
        lnic_store_be32(payload, (uint32_t)result);
        memcpy(payload + 4, reply, bytes);
        return lnic_reply(headers, match_data, STATUS_OK, 4 + bytes);
    }";

/// Calls whom it is told to call, with what comes behind, and answers with the call's result and its reply.
pub(crate) fn caller() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built_from(CALLER, "caller"));
    Deployed { in_flight: 4, ..Deployed::new(MODULE.clone(), "caller") }
}

/// What a [`caller`] is sent.
pub(crate) fn asking(lambda: u32, capacity: u32, timeout_us: u32, request: &[u8]) -> Vec<u8> {
    let numbers = [lambda, capacity, timeout_us].map(u32::to_be_bytes).concat();
    [&numbers, request].concat()
}

/// What a [`caller`] answers: the result of its call, and the reply.
pub(crate) fn result(payload: &[u8]) -> (i32, &[u8]) {
    let (result, reply) = payload.split_first_chunk::<4>().expect("a result");
    (i32::from_be_bytes(*result), reply)
}

/// Has lambda 1 call another.
fn call(lab: &mut Lab, lambda: u32, capacity: u32, timeout_us: u32, request: &[u8]) -> (i32, Vec<u8>) {
    let (status, payload) = answer(lab, 1, &asking(lambda, capacity, timeout_us, request));
    assert_eq!(status, Status::Ok);
    let (result, reply) = result(&payload);
    (result, reply.to_vec())
}

#[test]
fn an_answer_comes_back() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![caller(), echo()]);
        for bytes in [0, 1, 7, 300, 1000] {
            let request: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            assert_eq!(call(&mut lab, 2, 1024, 1_000, &request), (bytes, request), "{arrangement:?}");
        }
        assert_eq!(lab.count(1, |count| &count.calls), 5);
        assert_eq!(lab.count(2, |count| &count.invocations), 5);
        assert_eq!(lab.count(1, |count| &count.calls_timed_out), 0);
        lab.assert_balanced();
    }
}

#[test]
fn calls_nest() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![caller(), caller(), caller(), echo()]);
        let inner = asking(3, 1024, 5_000, &asking(4, 1024, 5_000, b"deep"));
        let (bytes, reply) = call(&mut lab, 2, 1024, 5_000, &inner);
        assert_eq!(bytes, 12, "{arrangement:?}");
        let (bytes, reply) = result(&reply);
        assert_eq!(bytes, 8);
        assert_eq!(result(reply), (4, &b"deep"[..]));
        lab.assert_balanced();
    }
}

#[test]
fn a_call_that_fails_says_why() {
    for arrangement in ALL {
        let invalid = "#include <lnic.h>
            LAMBDA(refuse) { return lnic_reply(headers, match_data, STATUS_NOT_FOUND, match_data->length); }";
        let refusing = Deployed::new(built_from(invalid, "refuse"), "refuse");
        let lambdas =
            vec![caller(), echo(), trapper(), looper(), refusing, Deployed::wat(&module("i32.const 1"))];
        let mut lab = Lab::of(lambdas, Setup { failures: 3, ..arrangement.setup() });
        for (lambda, capacity, expected) in [
            (99, 64, -12), // nobody has this ID
            (3, 64, -13),  // it traps
            (4, 64, -8),   // it uses up its budget
            (5, 64, -5),   // it says NOT_FOUND
            (6, 64, -13),  // TO_HOST is no answer to a call
            (2, 3, -11),   // the reply is longer than the buffer
            (2, 4, 4),
            (2, 0, -11),
        ] {
            let (result, reply) = call(&mut lab, lambda, capacity, 1_000, b"1234");
            assert_eq!(result, expected, "{arrangement:?}: lambda {lambda}");
            assert_eq!(reply, if expected == 4 { b"1234".to_vec() } else { vec![] });
        }
        // What the callee did is the callee's.
        assert_eq!((lab.count(3, |count| &count.traps), lab.count(1, |count| &count.traps)), (1, 0));
        (0..2).for_each(|_| assert_eq!(call(&mut lab, 3, 64, 1_000, b"").0, -13));
        assert_eq!(lab.quarantine.state(LambdaSlot::new(2)), State::Quarantined);
        assert_eq!(call(&mut lab, 3, 64, 1_000, b"").0, -14, "{arrangement:?}");
        lab.quarantine.set(LambdaSlot::new(1), State::Quarantined);
        assert_eq!(call(&mut lab, 2, 64, 1_000, b"").0, -14, "{arrangement:?}");
        lab.quarantine.set(LambdaSlot::new(1), State::Active);
        assert_eq!(call(&mut lab, 2, 64, 1_000, b"").0, 0);
        assert_eq!(lab.quarantine.state(LambdaSlot::new(0)), State::Active);
        lab.assert_balanced();
    }
}

/// Sends what nobody will answer, lets the time pass that its caller waits, and returns the reply.
fn after(lab: &mut Lab, frame: &[u8], timeout_us: u64) -> Reply {
    assert_eq!(lab.exchange(frame).len(), 0, "it waits");
    lab.clock.pass((timeout_us - 500) * 1000);
    lab.settle();
    assert_eq!(lab.received(0).len(), 0, "it still waits");
    lab.clock.pass(500_000);
    lab.settle();
    let mut replies = replies(lab);
    assert_eq!(replies.len(), 1);
    replies.remove(0)
}

#[test]
fn a_call_that_nobody_answers_ends_with_its_time() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![caller(), dropper(), echo()]);
        for timeout_us in [1_000, 1_000_000, i32::MAX as u32] {
            let frame = rpc4(1, &asking(2, 64, timeout_us, b""));
            let reply = after(&mut lab, &frame, u64::from(timeout_us));
            assert_eq!(result(&reply.payload), (-4, &b""[..]), "{arrangement:?}");
        }
        assert_eq!(lab.count(1, |count| &count.calls_timed_out), 3);
        assert_eq!(lab.count(2, |count| &count.dropped), 3);
        assert_eq!(call(&mut lab, 3, 64, 1_000, b"on time"), (7, b"on time".to_vec()));
        lab.assert_balanced();
    }
}

#[test]
fn an_answer_that_comes_late_is_nobodys() {
    for arrangement in ALL {
        // A gives up on B, who waits for one that answers nobody as long as A waits for B. Then B answers A, if A still waits.
        let lambdas = vec![Deployed { in_flight: 1, ..caller() }, caller(), dropper(), echo()];
        let mut lab = arrangement.lab(lambdas);
        let inner = asking(3, 64, 10_000, b"");
        for round in 1..=20 {
            let reply = after(&mut lab, &rpc4(1, &asking(2, 64, 1_000, &inner)), 1_000);
            let (status, answer) = result(&reply.payload);
            assert!(status == -4 || result(answer) == (-4, &b""[..]), "{arrangement:?}: {status}");
            // The place of the one that gave up is taken by the next, which must not get the late answer.
            assert_eq!(lab.exchange(&rpc4(1, &asking(3, 64, 60_000, b""))).len(), 0);
            lab.clock.pass(20_000_000);
            lab.settle();
            assert_eq!(lab.count(2, |count| &count.forwarded), round, "B has answered");
            assert_eq!(lab.received(0).len(), 0, "{arrangement:?}: woken by another's answer");
            lab.clock.pass(60_000_000);
            lab.settle();
            assert_eq!(result(&replies(&mut lab)[0].payload).0, -4);
            assert_eq!(call(&mut lab, 4, 64, 1_000, b"mine"), (4, b"mine".to_vec()));
        }
        lab.assert_balanced();
    }
}

#[test]
fn an_answer_on_a_link_may_be_late_too() {
    let mut lab = Links.lab(vec![caller(), echo()]);
    for _ in 0..20 {
        send(&mut lab, &rpc4(1, &asking(2, 64, 1_000, b"slow")), 1);
        lab.breath.once();
        let there = (0..2).find(|&at| lab.npus[at].as_mut().unwrap().once()).unwrap();
        lab.breath.once();
        lab.clock.pass(2_000_000);
        lab.npus[there].as_mut().unwrap().once();
        lab.breath.once();
        assert_eq!(result(&replies(&mut lab)[0].payload), (-4, &b""[..]));
        lab.settle();
        assert!(lab.received(0).is_empty());
        assert_eq!(call(&mut lab, 2, 64, 1_000, b"quick"), (5, b"quick".to_vec()));
    }
    lab.assert_balanced();
}

#[test]
fn a_call_to_itself_works_while_there_are_instances() {
    for arrangement in ALL {
        let depth = |calls: u32| {
            (0..calls).fold(asking(2, 512, 1_000, b"end"), |inner, _| asking(1, 512, 1_000, &inner))
        };
        let mut lab = arrangement.lab(vec![caller(), echo()]);
        for calls in 0..4 {
            let reply = ask(&mut lab, &rpc4(1, &depth(calls)));
            let mut rest = &reply.payload[..];
            for level in (0..=calls).rev() {
                let (bytes, inner) = result(rest);
                assert_eq!(bytes as u32, 3 + 4 * level, "{arrangement:?}: {calls} calls");
                rest = inner;
            }
            assert_eq!(rest, b"end");
        }
        // One more than there are. Who runs everything at once knows that; where there are queues it waits for its time.
        let pinned = Deployed { pinned: true, ..caller() };
        for (mut lab, calls) in [(lab, 4), (arrangement.lab(vec![pinned, echo()]), 1)] {
            assert!(lab.peers[0].send(&rpc4(1, &depth(calls))));
            lab.settle();
            if arrangement != RunToCompletion {
                assert!(lab.received(0).is_empty(), "{arrangement:?}");
                lab.clock.pass(2_000_000);
                lab.settle();
            }
            let replies = replies(&mut lab);
            let mut innermost = result(&replies[0].payload);
            while innermost.0 > 0 {
                innermost = result(innermost.1);
            }
            let expected = if arrangement == RunToCompletion { -32 } else { -4 };
            assert_eq!(innermost, (expected, &b""[..]), "{arrangement:?}: {calls} calls");
            lab.clock.pass(10_000_000);
            lab.settle();
            assert_eq!(call(&mut lab, 2, 64, 1_000, b"free"), (4, b"free".to_vec()));
            lab.assert_balanced();
        }
    }
}

#[test]
fn what_a_call_takes_is_what_it_ran() {
    for arrangement in ALL {
        let mut lab = arrangement.lab(vec![caller(), echo(), dropper()]);
        for _ in 0..20 {
            // An idle hour is nobody's.
            lab.clock.pass(3_600_000_000_000);
            assert_eq!(call(&mut lab, 2, 64, 1_000, b"").0, 0);
            assert_eq!(call(&mut lab, 99, 64, 1_000, b"").0, -12);
        }
        for lambda in [1, 2] {
            let spent_ns = lab.count(lambda, |count| &count.npu_ns);
            assert!(spent_ns < 1_000_000, "{arrangement:?}: {spent_ns} ns of lambda {lambda}");
        }
    }
}
