//! Lambdas that take longer than their fuel says.

use crate::support::lab::spinner;
use crate::*;

const BUDGET_NS: u64 = 1_000;
/// Invocations of which at least one is timed: in run-to-completion it is one of so many.
const TIMED: usize = 16;

/// A lambda whose budget is this many quarters of the fuel that it needs.
fn spinning(quarters: u64) -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| spinner(5_000));
    let lambda = Deployed { budget_ns: BUDGET_NS, ..Deployed::new(MODULE.clone(), "spin") };
    let mut lab = RunToCompletion.lab(vec![lambda.clone()]);
    assert_eq!(answer(&mut lab, 1, b"").0, Status::Ok);
    Deployed { fuel: lab.count(1, |count| &count.fuel) * quarters / 4, ..lambda }
}

/// Lets every run take this long; reads of the clock are what makes time pass.
fn run_for(lab: &mut Lab, run_ns: u64, times: usize) -> (usize, usize) {
    lab.clock.set_step(run_ns);
    let (mut done, mut exhausted) = (0, 0);
    for first in (0..times).step_by(TIMED) {
        send(lab, &rpc4(1, b""), TIMED.min(times - first));
        lab.settle();
        let replies = replies(lab);
        done += with_status(&replies, Status::Ok);
        exhausted += with_status(&replies, Status::ResourceExhausted);
    }
    (done, exhausted)
}

#[test]
fn who_overruns_gets_less_fuel_and_more_again_once_quick() {
    for arrangement in [RunToCompletion, OneLcore] {
        let mut lab = arrangement.lab(vec![spinning(6)]);
        assert_eq!(run_for(&mut lab, BUDGET_NS / 4, 4 * TIMED), (4 * TIMED, 0), "{arrangement:?}");
        // Ten times its budget: what it may use falls below what it needs.
        // Once or twice may be the lcore's doing.
        let (_, exhausted) = run_for(&mut lab, BUDGET_NS * 10, 16 * TIMED);
        assert!(exhausted >= 6 * TIMED, "{arrangement:?}: {exhausted}");
        assert!(lab.count(1, |count| &count.exhausted) >= 6 * TIMED as u64);
        // An eighth more each time that it was quick.
        let (_, exhausted) = run_for(&mut lab, BUDGET_NS / 10, 60 * TIMED);
        assert!(exhausted < 50 * TIMED, "{arrangement:?}: {exhausted}");
        assert_eq!(run_for(&mut lab, BUDGET_NS / 10, 4 * TIMED), (4 * TIMED, 0), "{arrangement:?}");
        lab.assert_balanced();
    }
}

#[test]
fn an_lcore_that_was_away_does_not_punish_the_frugal() {
    for arrangement in [RunToCompletion, OneLcore] {
        let mut lab = arrangement.lab(vec![spinning(40)]);
        for _ in 0..10 {
            assert_eq!(run_for(&mut lab, BUDGET_NS * 1000, TIMED), (TIMED, 0), "{arrangement:?}");
            assert_eq!(run_for(&mut lab, BUDGET_NS / 4, TIMED), (TIMED, 0), "{arrangement:?}");
        }
        lab.assert_balanced();
    }
}
