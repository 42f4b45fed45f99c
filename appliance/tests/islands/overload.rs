//! Too much work, or too late: callers are told so, and everybody else is counted.

use lnic::frame::BURST;
use lnic::observe::DropReason;

use crate::*;

const QUEUE: u32 = 4;

#[test]
fn a_full_queue_is_answered_busy_with_a_time_to_ask_again() {
    for arrangement in DISPATCHING {
        let lambda = Deployed { queue: QUEUE, ..echo() };
        // Each look at the clock takes 10 µs, so a run costs 10 µs at least.
        let mut lab =
            Lab::of(vec![lambda, echo()], Setup { clock: SimClock::new(10_000), ..arrangement.setup() });
        let refused = BURST - QUEUE as usize;
        for round in 1..=3u64 {
            send(&mut lab, &rpc4(1, b"many"), BURST);
            lab.settle();
            let replies = replies(&mut lab);
            assert_eq!(with_status(&replies, Status::Ok), QUEUE as usize, "{arrangement:?}");
            assert_eq!(with_status(&replies, Status::Busy), refused, "{arrangement:?}");
            assert_eq!(lab.count(1, |count| &count.busy), round * refused as u64);
            // From the second round on it is known what those cost that wait.
            let least = if round == 1 { 1 } else { u64::from(QUEUE) * 10 / arrangement.npus() as u64 };
            let hints = replies.iter().filter(|reply| reply.header.status() == Status::Busy);
            for hint in hints.map(|reply| u64::from(reply.header.service_us())) {
                assert!((least..10_000).contains(&hint), "{arrangement:?}: {hint} µs in round {round}");
            }
        }
        // Others' queues are theirs.
        assert_eq!(answer(&mut lab, 2, b"other"), (Status::Ok, b"other".to_vec()));
        lab.assert_balanced();
    }
}

#[test]
fn frames_without_a_caller_are_dropped_where_others_are_told_busy() {
    for arrangement in DISPATCHING {
        let mut lab = arrangement.lab(vec![with_raw(Deployed { queue: QUEUE, ..echo() })]);
        for (frame, reason) in [(raw(), DropReason::LambdaBusy), (silent(1, b""), DropReason::RpcNoReply)] {
            send(&mut lab, &rpc4(1, b""), QUEUE as usize);
            send(&mut lab, &frame, BURST - QUEUE as usize);
            lab.settle();
            assert_eq!(with_status(&replies(&mut lab), Status::Ok), QUEUE as usize);
            assert_eq!(lab.dropped(reason), BURST as u64 - u64::from(QUEUE), "{arrangement:?}: {reason}");
        }
        assert_eq!(lab.count(1, |count| &count.busy), 2 * (BURST as u64 - u64::from(QUEUE)));
        assert_eq!(lab.count(1, |count| &count.invocations), 2 * u64::from(QUEUE));
        lab.assert_balanced();
    }
}

#[test]
fn an_empty_store_is_answered_busy_and_fills_again() {
    for arrangement in DISPATCHING {
        let mut lab = Lab::of(
            vec![with_raw(echo())],
            Setup { stock: Stock { jobs: QUEUE, calls: 0 }, ..arrangement.setup() },
        );
        for round in 1..=100u64 {
            send(&mut lab, &rpc4(1, b""), BURST - 2);
            send(&mut lab, &raw(), 1);
            send(&mut lab, &silent(1, b""), 1);
            lab.settle();
            let replies = replies(&mut lab);
            let refused: Vec<_> =
                replies.iter().filter(|reply| reply.header.status() == Status::Busy).collect();
            assert_eq!(with_status(&replies, Status::Ok), QUEUE as usize, "{arrangement:?}");
            assert_eq!(refused.len(), BURST - 2 - QUEUE as usize);
            assert!(refused.iter().all(|reply| reply.header.service_us() >= 1));
            assert_eq!(lab.dropped(DropReason::LambdaBusy), round);
            assert_eq!(lab.dropped(DropReason::RpcNoReply), round);
            assert_eq!(lab.count(1, |count| &count.busy), round * (BURST as u64 - u64::from(QUEUE)));
        }
        lab.assert_balanced();
    }
}

#[test]
fn what_is_late_is_not_run() {
    for arrangement in ALL {
        // From the poll to the run there is at least one look at the clock.
        let mut lab =
            Lab::of(vec![with_raw(counter())], Setup { clock: SimClock::new(60_000), ..arrangement.setup() });
        let late = ask(&mut lab, &within_us(1, b"", 50));
        assert_eq!(late.header.status(), Status::DeadlineExceeded, "{arrangement:?}");
        assert!(late.payload.is_empty());
        assert_eq!(lab.count(1, |count| &count.late), 1);
        // Those that have time, and those who wait for ever.
        for (expected, frame) in (1u32..).zip([within_us(1, b"", 10_000_000), rpc4(1, b"")]) {
            let reply = ask(&mut lab, &frame);
            assert_eq!(
                (reply.header.status(), &reply.payload[..]),
                (Status::Ok, &expected.to_be_bytes()[..])
            );
        }
        let silent = rpc4_with(1, b"", |header| {
            header.flags |= NOREPLY;
            header.aux = 50;
        });
        assert!(lab.exchange(&silent).is_empty());
        assert!(lab.exchange(&raw()).len() == 1, "no deadline, no caller");
        assert_eq!(lab.dropped(DropReason::RpcNoReply), 1);
        assert_eq!(lab.count(1, |count| &count.late), 2, "{arrangement:?}");
        assert_eq!(lab.count(1, |count| &count.invocations), 3, "{arrangement:?}");
        lab.assert_balanced();
    }
}

#[test]
fn time_that_passes_on_a_link_counts() {
    let mut lab = Links.lab(vec![echo()]);
    send(&mut lab, &within_us(1, b"patient", 5_000), 1);
    send(&mut lab, &within_us(1, b"impatient", 1_000), 1);
    send(&mut lab, &rpc4(1, b"tireless"), 1);
    assert!(lab.breath.once());
    lab.clock.pass(2_000_000);
    lab.settle();
    let mut told: Vec<_> =
        replies(&mut lab).into_iter().map(|reply| (reply.header.status(), reply.payload)).collect();
    told.sort_by_key(|(status, payload)| (status.raw(), payload.clone()));
    let expected = [
        (Status::Ok, b"patient".to_vec()),
        (Status::Ok, b"tireless".to_vec()),
        (Status::DeadlineExceeded, vec![]),
    ];
    assert_eq!(told, expected);
    lab.assert_balanced();
}

#[test]
fn who_wants_no_reply_gets_none_whatever_happens() {
    for arrangement in ALL {
        let mut lab = Lab::of(vec![echo(), trapper()], Setup { failures: 2, ..arrangement.setup() });
        let mut silence = 0;
        let mut expect_none = |lab: &mut Lab, lambda| {
            assert!(lab.exchange(&silent(lambda, b"quiet")).is_empty());
            silence += 1;
            assert_eq!(lab.dropped(DropReason::RpcNoReply), silence, "{arrangement:?}");
        };
        expect_none(&mut lab, 1);
        // Two that trap, one that finds it quarantined, and one for nobody.
        (0..3).for_each(|_| expect_none(&mut lab, 2));
        expect_none(&mut lab, 9);
        assert_eq!(lab.count(2, |count| &count.traps), 2);
        assert_eq!(lab.count(2, |count| &count.unavailable), 1);
        lab.assert_balanced();
    }
}
