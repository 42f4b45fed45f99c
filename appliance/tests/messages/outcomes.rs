//! What a caller is told of a message that does not end well: once, and nothing is left behind.

use lnic::ids::LambdaSlot;
use lnic::island::State;
use lnic::observe::DropReason;
use lnic_message::client::{Event, Failure};

use crate::*;

/// A message in a slot, one of a frame, and both at most once.
fn shapes() -> [(usize, RequestOptions); 4] {
    let plain = RequestOptions::default();
    [(5_000, plain), (100, plain), (5_000, AT_MOST_ONCE), (100, AT_MOST_ONCE)]
}

#[test]
fn a_lambda_that_fails_has_run_once_and_its_caller_is_told() {
    for arrangement in ALL {
        for (bytes, options) in shapes() {
            let mut lab = lab(arrangement, vec![Deployed { fuel: 100_000, ..worker() }]);
            let mut caller = Caller::new(PORT);
            for (what, expected) in [
                (b't', Status::Internal),
                (b'l', Status::ResourceExhausted),
                (b'v', Status::Internal),
                (b'h', Status::Internal),
                (b'o', Status::Internal),
            ] {
                let (status, reply) = caller.ask_with(&mut lab, 1, &task(what, bytes), options);
                assert_eq!((status, reply.len()), (expected, 0), "{} {arrangement:?}", char::from(what));
            }
            let count = |pick: fn(&lnic::observe::counters::LambdaCounters) -> u64| {
                let slot = LambdaSlot::new(0);
                let all = std::iter::once(&lab.counters).chain(&lab.npu_counters);
                all.filter_map(|counters| counters.lambda(slot)).map(pick).sum::<u64>()
            };
            assert_eq!(count(|count| count.traps.get()), 1);
            assert_eq!(count(|count| count.exhausted.get()), 1);
            assert_eq!(count(|count| count.bad_verdicts.get()), 3);
            assert_eq!(runs(&mut lab, 1), 5, "{arrangement:?} {bytes}");
            assert_at_rest(&mut lab);
        }
    }
}

#[test]
fn what_is_dropped_is_answered_to_who_asks_again() {
    for arrangement in ALL {
        for (bytes, options) in
            [(5_000, RequestOptions::default()), (5_000, AT_MOST_ONCE), (100, AT_MOST_ONCE)]
        {
            let mut lab = lab(arrangement, vec![worker()]);
            let mut caller = Caller::new(PORT);
            let (status, reply) = caller.ask_with(&mut lab, 1, &task(b'd', bytes), options);
            assert_eq!((status, reply.len()), (Status::Aborted, 0), "{arrangement:?} {bytes}");
            assert!(caller.machine.counters().retransmitted > 0, "the first time nothing was said");
            assert_eq!(lab.dropped(DropReason::LambdaDrop), 1);
            assert_eq!(runs(&mut lab, 1), 1);
            assert_at_rest(&mut lab);
        }
    }
}

#[test]
fn no_reply_means_none() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let cookie = cookie(&mut lab, PORT);
        let message = task(b'n', 3_000);
        for (at, part) in (0u16..).zip(message.chunks(1024)) {
            let fragment = datagram_of(1, 1, part, &[Tlv::Cookie(&cookie)], |header| {
                (header.message_length, header.fragment_index) = (3_000, at);
                header.flags = rpc::NOREPLY;
            });
            assert!(tell(&mut lab, PORT, &fragment).is_empty(), "{arrangement:?}");
        }
        let single = datagram_of(1, 2, b"n", &[], |header| header.flags = rpc::NOREPLY | rpc::AT_MOST_ONCE);
        assert!(tell(&mut lab, PORT, &single).is_empty());
        assert_eq!(runs(&mut lab, 1), 2, "{arrangement:?}");
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_quarantined_lambda_is_unavailable() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let mut caller = Caller::new(PORT);
        assert_eq!(caller.ask(&mut lab, 1, &task(b'n', 3_000)).0, Status::Ok);
        lab.quarantine.set(LambdaSlot::new(0), State::Quarantined);
        for (bytes, options) in shapes() {
            let (status, reply) = caller.ask_with(&mut lab, 1, &task(b'n', bytes), options);
            assert_eq!((status, reply.len()), (Status::Unavailable, 0), "{arrangement:?} {bytes}");
        }
        lab.quarantine.set(LambdaSlot::new(0), State::Active);
        assert_eq!(runs(&mut lab, 1), 1);
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_lambda_that_fails_too_often_is_quarantined_by_its_messages() {
    for arrangement in ALL {
        let mut lab = Lab::of(vec![worker()], Setup { failures: 3, ..setup(arrangement) });
        let mut caller = Caller::new(PORT);
        for expected in [Status::Internal, Status::Internal, Status::Internal, Status::Unavailable] {
            assert_eq!(caller.ask(&mut lab, 1, &task(b't', 5_000)).0, expected, "{arrangement:?}");
        }
        assert_eq!(lab.count(1, |count| &count.invocations), 3);
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_message_whose_time_has_passed_does_not_run() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let mut caller = Caller::new(PORT);
        assert_eq!(caller.ask(&mut lab, 1, &task(b'n', 3_000)).0, Status::Ok);
        let options = RequestOptions { budget_us: 400, ..RequestOptions::default() };
        // From the poll to the run it takes longer than that.
        lab.clock.set_step(500_000);
        for bytes in [3_000, 100] {
            caller.request(&lab, 1, task(b'n', bytes), options);
            step(&mut lab, &mut [&mut caller]);
            let replies = caller.replies();
            assert_eq!(replies.len(), 1, "{arrangement:?} {bytes}");
            assert_eq!(replies[0].status, Status::DeadlineExceeded);
        }
        lab.clock.set_step(100);
        assert_eq!(lab.count(1, |count| &count.late), 2);
        assert_eq!(runs(&mut lab, 1), 1, "{arrangement:?}");
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_caller_that_gives_up_leaves_nothing() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let mut caller = Caller::new(PORT);
        assert_eq!(caller.ask(&mut lab, 1, &task(b'n', 3_000)).0, Status::Ok);
        // Before it runs: some fragments are placed, the others never come.
        let id = caller.request(&lab, 1, task(b'n', 60_000), RequestOptions::default());
        caller.transmit(&mut lab);
        lab.settle();
        assert_eq!(lab.slots_taken(), 1, "{arrangement:?}");
        assert!(caller.machine.cancel(id));
        step(&mut lab, &mut [&mut caller]);
        assert_eq!(lab.slots_taken(), 0);
        // While the reply leaves.
        let id = caller.request(&lab, 1, wants(60_000, 3_000), RequestOptions::default());
        for _ in 0..3 {
            caller.transmit(&mut lab);
            lab.settle();
            let frames = lab.received(0);
            caller.receive(&lab, &frames[..frames.len().min(3)]);
        }
        assert_eq!(lab.slots_taken(), 1);
        assert!(caller.machine.cancel(id));
        step(&mut lab, &mut [&mut caller]);
        assert_eq!(lab.slots_taken(), 0, "{arrangement:?}");
        // Or it says nothing at all any more.
        caller.request(&lab, 1, task(b'n', 60_000), RequestOptions::default());
        caller.transmit(&mut lab);
        lab.settle();
        assert_eq!(lab.slots_taken(), 1);
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_lambda_without_slots_takes_messages_of_one_frame() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![Deployed { slots: (0, 0), ..worker() }]);
        let mut caller = Caller::new(PORT);
        let (status, reply) = caller.ask(&mut lab, 1, &task(b'n', 5_000));
        assert_eq!((status, reply.len()), (Status::Unimplemented, 0), "{arrangement:?}");
        assert_eq!(caller.ask(&mut lab, 99, &task(b'n', 5_000)).0, Status::Unimplemented);
        assert_eq!(caller.ask_with(&mut lab, 1, b"n", AT_MOST_ONCE).0, Status::Ok);
        assert_eq!(runs(&mut lab, 1), 1);
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_request_that_is_never_answered_ends_at_its_caller() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let mut caller = Caller::new(PORT);
        // Nothing is kept of one frame: it runs whenever it comes.
        let options = RequestOptions { budget_us: 1_000_000, ..RequestOptions::default() };
        caller.request(&lab, 1, task(b'd', 100), options);
        converse(&mut lab, &mut [&mut caller]);
        let failed = matches!(caller.events[..], [Event::Failed { failure: Failure::DeadlineExceeded, .. }]);
        assert!(failed, "{:?}", caller.events);
        assert_at_rest(&mut lab);
    }
}
