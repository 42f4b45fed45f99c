//! Slots: too few of them, whose they are, and a lambda that is suspended with one.

use lnic::ids::LambdaId;
use lnic::matcher::Rule;

use crate::*;

#[test]
fn who_finds_no_slot_is_told_to_ask_again_and_served_later() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![Deployed { slots: (2, 64 << 10), ..flip() }]);
        let mut callers: Vec<Caller> = (0..6).map(|at| Caller::new(PORT + at)).collect();
        let mut most = 0;
        for (seed, caller) in (0..).zip(&mut callers) {
            caller.request(&lab, 1, body(60_000, seed), RequestOptions::default());
        }
        let mut callers: Vec<&mut Caller> = callers.iter_mut().collect();
        let mut busy = false;
        while callers.iter().any(|caller| caller.machine.timeout_us().is_some()) {
            for caller in &mut callers {
                caller.transmit(&mut lab);
            }
            lab.settle();
            most = most.max(lab.slots_taken());
            let frames = lab.received(0);
            busy |= headers(&frames).iter().any(|header| {
                header.kind == Kind::Reply && header.status() == Status::Busy && header.service_us() == 500
            });
            for caller in &mut callers {
                caller.receive(&lab, &frames);
            }
            pass(&lab, &callers);
        }
        assert!(busy && most == 2, "{most} slots of 2, {arrangement:?}");
        for (seed, caller) in (0..).zip(callers) {
            let replies = caller.replies();
            assert!(replies.len() == 1 && replies[0].payload == flipped(&body(60_000, seed)));
        }
        assert_at_rest(&mut lab);
    }
}

#[test]
fn messages_that_wait_for_an_npu_keep_their_slots() {
    for arrangement in DISPATCHING {
        let mut lab = lab(arrangement, vec![worker()]);
        let cookie = cookie(&mut lab, PORT);
        // Of one frame, each in a slot of its own: four fit, the fifth does not.
        for sequence in 1..=5 {
            assert!(
                lab.peers[0]
                    .send(&framed(PORT, &datagram_of(1, sequence, b"n", &[Tlv::Cookie(&cookie)], |_| {})))
            );
        }
        lab.settle();
        let answers = headers(&lab.received(0));
        let with = |status| answers.iter().filter(|header| header.status() == status).count();
        assert_eq!((with(Status::Ok), with(Status::Busy)), (4, 1), "{arrangement:?}");
        assert_eq!(lab.count(1, |count| &count.busy), 1);
        assert_at_rest(&mut lab);
    }
}

/// A rule with more weight sends lambda 2's ID to lambda 1, and one without an ID sends whatever else there is.
fn diverted(slots: (u32, u32)) -> Vec<Deployed> {
    let elsewhere: Vec<fn(Rule) -> Rule> =
        vec![|rule| Rule { priority: 9, rpc_lambda: Some(LambdaId::new(2)), ..rule }, |rule| Rule {
            priority: 0,
            protocol: Some(17),
            ..rule
        }];
    vec![Deployed { rules: elsewhere, slots, ..flip() }, Deployed { slots: (4, 8192), ..worker() }]
}

#[test]
fn an_id_that_a_rule_sends_elsewhere_is_served_there_from_slots_of_its_own() {
    for arrangement in ALL {
        for slots in [(4, 8192), (0, 0)] {
            let mut lab = lab(arrangement, diverted(slots));
            let mut caller = Caller::new(PORT);
            // What lambda 2 has in its slots is nobody else's.
            for id in [2, 7] {
                for options in [RequestOptions::default(), AT_MOST_ONCE] {
                    let message = body(800, u64::from(id));
                    let (status, reply) = caller.ask_with(&mut lab, id, &message, options);
                    assert_eq!(status, Status::Ok, "{arrangement:?} {slots:?} {id} {options:?}");
                    assert!(reply == flipped(&message), "{arrangement:?} {slots:?} {id} {options:?}");
                }
                let (status, reply) = caller.ask(&mut lab, id, &body(5_000, 1));
                assert_eq!((status, reply.len()), (Status::Unimplemented, 0), "{arrangement:?} {id}");
            }
            assert_eq!(lab.count(1, |count| &count.invocations), 4);
            assert_eq!(lab.count(2, |count| &count.invocations), 0);
            assert_at_rest(&mut lab);
        }
    }
}

/// Calls lambda 2 with the first 100 bytes of its message, puts the reply in their place, and answers with all of it.
fn asker() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let source = "#include <lnic.h>
            LAMBDA(asker) {
                uint8_t *payload = lnic_payload(match_data);
                if (match_data->length < 100) {
                    return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
                }
                int32_t bytes = lnic_call(2, payload, 100, payload, 100, 100000000);
                uint8_t status = bytes == 100 ? STATUS_OK : STATUS_UNKNOWN;
                return lnic_reply(headers, match_data, status, match_data->length);
            }";
        built_from(source, "asker")
    });
    Deployed { fuel: FUEL, in_flight: 4, slots: (4, 64 << 10), ..Deployed::new(MODULE.clone(), "asker") }
}

#[test]
fn a_suspended_lambda_keeps_its_message() {
    for arrangement in ALL {
        let callee = Deployed { slots: (0, 0), ..flip() };
        let mut lab = lab(arrangement, vec![asker(), callee]);
        let mut callers: Vec<Caller> = (0..4).map(|at| Caller::new(PORT + at)).collect();
        for (seed, caller) in (0..).zip(&mut callers) {
            let bytes = if seed % 2 == 0 { 20_000 } else { 500 };
            caller.request(&lab, 1, body(bytes, seed), RequestOptions::default());
        }
        converse(&mut lab, &mut callers.iter_mut().collect::<Vec<_>>());
        for (seed, caller) in (0..).zip(&mut callers) {
            let replies = caller.replies();
            let message = body(if seed % 2 == 0 { 20_000 } else { 500 }, seed);
            let expected = [flipped(&message[..100]), message[100..].to_vec()].concat();
            assert!(replies.len() == 1 && replies[0].status == Status::Ok, "{replies:?} {arrangement:?}");
            assert!(replies[0].payload == expected, "{arrangement:?}");
        }
        assert_eq!(lab.count(1, |count| &count.calls), 4);
        assert_eq!(lab.count(1, |count| &count.invocations), 4);
        assert_at_rest(&mut lab);
    }
}

#[test]
fn one_that_is_woken_after_its_message_was_given_up_answers_nobody() {
    for arrangement in ALL {
        // Who is called says nothing: the caller waits for 100 s.
        let mut lab = lab(arrangement, vec![asker(), dropper(), worker()]);
        let mut first = Caller::new(PORT);
        let cancelled = first.request(&lab, 1, body(5_000, 1), RequestOptions::default());
        step(&mut lab, &mut [&mut first]);
        assert_eq!(lab.slots_taken(), 1, "{arrangement:?}");
        assert!(first.machine.cancel(cancelled));
        step(&mut lab, &mut [&mut first]);
        assert_eq!(lab.slots_taken(), 1, "the lambda has it");
        lab.clock.pass(61_000_000_000);
        lab.settle();
        assert_eq!(lab.slots_taken(), 0, "{arrangement:?}");
        // What has come into its place since is another's.
        let mut second = Caller::new(PORT + 1);
        second.request(&lab, 1, body(6_000, 2), RequestOptions::default());
        step(&mut lab, &mut [&mut second]);
        assert_eq!(lab.slots_taken(), 1);
        lab.clock.pass(40_000_000_000);
        lab.settle();
        assert!(lab.received(0).is_empty(), "{arrangement:?}");
        assert_eq!((lab.slots_taken(), lab.count(1, |count| &count.calls_timed_out)), (1, 1));
        assert_at_rest(&mut lab);
    }
}
