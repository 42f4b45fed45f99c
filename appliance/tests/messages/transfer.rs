//! Long messages there and back, over a good network and a bad one, beside ordinary frames.

use lnic::port::Capabilities;
use lnic::port::fault::{Fault, Faults};
use lnic::port::sim::SimPool;

use crate::*;

#[test]
fn messages_of_every_length_come_back_changed() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![flip()]);
        let mut caller = Caller::new(PORT);
        for bytes in [0, 1, 1023, 1024, 1025, 2048, 65_535, 65_536, 128 << 10] {
            let message = body(bytes, 1);
            let (status, reply) = caller.ask(&mut lab, 1, &message);
            assert_eq!(status, Status::Ok, "{bytes} bytes, {arrangement:?}");
            assert!(reply == flipped(&message), "{bytes} bytes, {arrangement:?}");
        }
        assert_eq!(lab.count(1, |count| &count.invocations), 9);
        assert_eq!(caller.machine.counters().retransmitted, 0, "{arrangement:?}");
        let (status, reply) = caller.ask(&mut lab, 1, &body((128 << 10) + 1, 1));
        assert_eq!((status, reply.len()), (Status::OutOfRange, 0), "longer than a slot");
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_mebibyte_comes_back() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![Deployed { slots: (2, 1 << 20), ..flip() }]);
        let message = body(1 << 20, 2);
        let (status, reply) = Caller::new(PORT).ask(&mut lab, 1, &message);
        assert_eq!(status, Status::Ok, "{arrangement:?}");
        assert!(reply == flipped(&message), "{arrangement:?}");
        assert_eq!(lab.counters.long_replies.get(), 1);
        assert_at_rest(&mut lab);
    }
}

#[test]
fn many_callers_at_once() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![flip(), echo()]);
        let mut callers: Vec<Caller> = (0..6).map(|at| Caller::new(PORT + at)).collect();
        for (seed, caller) in (0..).zip(&mut callers) {
            // Two lambdas, of which one has no slots, and messages of one frame and of several.
            caller.request(&lab, 1, body(40_000, seed), RequestOptions::default());
            caller.request(&lab, 2, body(500, seed), RequestOptions::default());
            caller.request(&lab, 1, body(700, seed), RequestOptions::default());
        }
        // Ordinary frames between them.
        for _ in 0..20 {
            assert!(lab.peers[0].send(&rpc4(2, b"plain")));
            assert!(lab.peers[0].send(&arp_request()));
        }
        converse(&mut lab, &mut callers.iter_mut().collect::<Vec<_>>());
        for (seed, caller) in (0..).zip(&mut callers) {
            let mut replies: Vec<Vec<u8>> = caller.replies().into_iter().map(|reply| reply.payload).collect();
            replies.sort_by_key(Vec::len);
            let expected = [body(500, seed), flipped(&body(700, seed)), flipped(&body(40_000, seed))];
            assert!(replies == expected, "{arrangement:?}");
        }
        assert_eq!(lab.count(2, |count| &count.invocations), 26, "{arrangement:?}");
        assert_eq!(lab.counters.answered.get(), 20);
        assert_at_rest(&mut lab);
    }
}

/// Faults in both directions, each in turn and all together.
fn weathers() -> Vec<(Faults, Weather)> {
    let both = |seed, drop, duplicate, reorder, corrupt| {
        let faults = Faults { seed, drop, duplicate, corrupt, reorder };
        (faults, Weather { drop, duplicate, reorder, corrupt })
    };
    vec![
        both(1, 0.05, 0.0, 0.0, 0.0),
        both(2, 0.0, 0.2, 0.0, 0.0),
        both(3, 0.0, 0.0, 0.3, 0.0),
        both(4, 0.0, 0.0, 0.0, 0.05),
        both(5, 0.1, 0.1, 0.2, 0.05),
    ]
}

#[test]
fn nothing_is_damaged_over_a_bad_network() {
    for arrangement in ALL {
        for (faults, weather) in weathers() {
            let source = SimPool::new(256, 2048);
            let setup = Setup { capabilities: Capabilities::default(), ..setup(arrangement) };
            let mut lab = Lab::with_setup(
                vec![flip(), worker()],
                setup,
                |_| {},
                |port| Box::new(Fault::new(port, source.clone(), faults)),
            );
            let mut caller = Caller::in_weather(PORT, weather, faults.seed);
            let message = body(65_536, 3);
            for options in [RequestOptions::default(), AT_MOST_ONCE] {
                let (status, reply) = caller.ask_with(&mut lab, 1, &message, options);
                assert_eq!(status, Status::Ok, "{arrangement:?} {faults:?}");
                assert!(reply == flipped(&message), "{arrangement:?} {faults:?}");
            }
            for run in 1..20u32 {
                let bytes = if run % 2 == 0 { 3_000 } else { 100 };
                let (status, count) = caller.ask_with(&mut lab, 2, &task(b'n', bytes), AT_MOST_ONCE);
                assert_eq!((status, &count[..]), (Status::Ok, &run.to_be_bytes()[..]), "{faults:?}");
            }
            assert_at_rest(&mut lab);
            assert_eq!(source.available(), source.frames());
        }
    }
}
