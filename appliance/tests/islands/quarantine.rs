//! Lambdas that fail too often.

use lnic::ids::LambdaSlot;
use lnic::island::State;
use lnic::observe::DropReason;

use crate::*;

const FIRST: LambdaSlot = LambdaSlot::new(0);
const FAILURES: usize = 3;

fn lab(arrangement: Arrangement, failing: Deployed) -> Lab {
    Lab::of(
        vec![with_raw(failing), echo()],
        Setup { failures: FAILURES as u32, clock: SimClock::new(0), ..arrangement.setup() },
    )
}

#[test]
fn failures_in_a_row_quarantine_and_a_release_lets_run_again() {
    for (failing, status) in [(trapper(), Status::Internal), (looper(), Status::ResourceExhausted)] {
        for arrangement in ALL {
            let mut lab = lab(arrangement, failing.clone());
            for round in 1..=3u64 {
                // Those that had queued before it was quarantined are told too.
                send(&mut lab, &rpc4(1, b""), 20);
                lab.settle();
                let replies = replies(&mut lab);
                assert_eq!(with_status(&replies, status), FAILURES, "{arrangement:?}");
                assert_eq!(with_status(&replies, Status::Unavailable), 20 - FAILURES, "{arrangement:?}");
                assert_eq!(lab.quarantine.state(FIRST), State::Quarantined);
                assert_eq!(answer(&mut lab, 1, b""), (Status::Unavailable, vec![]));
                assert!(lab.exchange(&raw()).is_empty());
                assert_eq!(lab.dropped(DropReason::LambdaQuarantined), round);
                assert_eq!(lab.count(1, |count| &count.invocations), round * FAILURES as u64);
                assert_eq!(lab.count(1, |count| &count.unavailable), round * (22 - FAILURES as u64));
                assert_eq!(answer(&mut lab, 2, b"others go on"), (Status::Ok, b"others go on".to_vec()));
                lab.quarantine.set(FIRST, State::Active);
            }
            lab.assert_balanced();
        }
    }
}

#[test]
fn frames_without_a_caller_that_had_queued_are_dropped() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, trapper());
        send(&mut lab, &raw(), 20);
        lab.settle();
        assert!(lab.received(0).is_empty());
        assert_eq!(lab.dropped(DropReason::LambdaTrap), FAILURES as u64, "{arrangement:?}");
        assert_eq!(lab.dropped(DropReason::LambdaQuarantined), 20 - FAILURES as u64, "{arrangement:?}");
        lab.assert_balanced();
    }
}

#[test]
fn failures_far_apart_do_not_quarantine() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, trapper());
        for _ in 0..20 {
            assert_eq!(answer(&mut lab, 1, b"").0, Status::Internal, "{arrangement:?}");
            // The window is a second.
            lab.clock.pass(600_000_000);
        }
        assert_eq!(lab.quarantine.quarantined(), 0);
        for _ in 0..FAILURES {
            assert_eq!(answer(&mut lab, 1, b"").0, Status::Internal);
        }
        assert_eq!(answer(&mut lab, 1, b"").0, Status::Unavailable, "{arrangement:?}");
    }
}
