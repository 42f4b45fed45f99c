use super::*;
use crate::control::config::Machine;

const STEP: Duration = Duration::from_millis(200);
const SECOND: Duration = Duration::from_secs(1);

/// Two lcores and a clock that only the test moves.
struct Lab {
    watch: Watch,
    counters: Vec<Arc<LcoreCounters>>,
    now: Instant,
    ended: Vec<u32>,
}

impl Lab {
    fn new(longest: Duration) -> Self {
        let counters: Vec<_> = (0..2).map(|_| Arc::new(LcoreCounters::new(3))).collect();
        let watched = (1..).zip(&counters).map(|(lcore, counters)| Watched {
            lcore,
            roles: format!("NPU {lcore}"),
            counters: Arc::clone(counters),
        });
        Self { watch: Watch::new(watched, longest), counters, now: Instant::now(), ended: vec![] }
    }

    /// Lets time pass, and looks. `living` lcores breathe meanwhile.
    fn pass(&mut self, time: Duration, living: &[u32]) -> Vec<Event> {
        self.now += time;
        for lcore in living {
            self.counters[*lcore as usize - 1].idle_breaths.add(1);
        }
        let ended = self.ended.clone();
        self.watch.observe(self.now, |lcore| ended.contains(&lcore))
    }

    fn steps(&mut self, count: u32, living: &[u32]) -> Vec<Event> {
        (0..count).flat_map(|_| self.pass(STEP, living)).collect()
    }

    fn stuck(&self) -> Vec<Option<Stuck>> {
        self.watch.workers().iter().map(|worker| worker.stuck).collect()
    }
}

fn stuck(lcore: u32, silent: Duration) -> Event {
    Event::Stuck { lcore, roles: format!("NPU {lcore}"), silent }
}

#[test]
fn one_that_stops_breathing_is_reported_once_and_recovers() {
    let mut lab = Lab::new(SECOND);
    assert_eq!(lab.steps(20, &[1, 2]), []);
    assert_eq!(lab.steps(5, &[1]), [], "a second is allowed");
    assert_eq!(lab.pass(STEP, &[1]), [stuck(2, 6 * STEP)]);
    assert_eq!(lab.steps(10, &[1]), [], "once");
    assert_eq!(lab.stuck(), [None, Some(Stuck::Silent)]);
    assert_eq!(lab.watch.workers()[1].silent_ms, 3200);
    assert_eq!(lab.pass(STEP, &[1, 2]), [Event::Recovered { lcore: 2, silent: 17 * STEP }]);
    assert_eq!((lab.stuck(), lab.watch.workers()[1].silent_ms), (vec![None, None], 0));
    assert_eq!(lab.steps(20, &[1, 2]), []);
}

#[test]
fn one_that_has_never_breathed_is_stuck_too() {
    let mut lab = Lab::new(SECOND);
    assert_eq!(lab.steps(7, &[1]), [stuck(2, 6 * STEP)]);
}

#[test]
fn a_breath_that_runs_many_lambdas_is_no_silence() {
    let mut lab = Lab::new(SECOND);
    lab.steps(2, &[1, 2]);
    for run in 0..30 {
        let slot = LambdaSlot::new(run % 3);
        lab.counters[1].lambda(slot).unwrap().invocations.add(1);
        // One run takes four looks.
        assert_eq!(lab.steps(4, &[1]), [], "run {run}");
    }
    assert_eq!(lab.steps(6, &[1]).len(), 1, "and the last one never ends");
}

#[test]
fn the_watcher_was_away_and_blames_nobody() {
    let mut lab = Lab::new(SECOND);
    lab.steps(3, &[1, 2]);
    // The process was stopped, and its lcores come back a little later than the watcher.
    assert_eq!(lab.pass(Duration::from_secs(60), &[]), []);
    assert_eq!(lab.steps(4, &[]), []);
    assert_eq!(lab.steps(10, &[1, 2]), []);
    // One that stays away is found, from then on.
    assert_eq!(lab.pass(Duration::from_secs(3600), &[]), []);
    assert_eq!(lab.steps(7, &[1]), [stuck(2, 6 * STEP)]);
    // What is known stays known.
    assert_eq!(lab.pass(Duration::from_secs(60), &[1]), []);
    assert_eq!(lab.stuck(), [None, Some(Stuck::Silent)]);
}

#[test]
fn a_short_stop_blames_nobody_either_whatever_the_limit() {
    let mut lab = Lab::new(Duration::from_millis(200));
    lab.steps(3, &[1, 2]);
    // Too short to be told from a busy machine: it takes a second look to blame.
    assert_eq!(lab.pass(Duration::from_millis(450), &[]), []);
    assert_eq!(lab.pass(STEP, &[1, 2]), []);
    lab.pass(STEP, &[1]);
    assert_eq!(lab.pass(STEP, &[1]), [stuck(2, 2 * STEP)]);
}

#[test]
fn a_clock_that_stands_still_harms_nobody() {
    let mut lab = Lab::new(SECOND);
    lab.steps(3, &[1, 2]);
    assert_eq!((0..100).flat_map(|_| lab.pass(Duration::ZERO, &[])).collect::<Vec<_>>(), []);
    let earlier = lab.now.checked_sub(SECOND).unwrap();
    assert_eq!(lab.watch.observe(earlier, |_| false), []);
}

#[test]
fn one_that_has_ended_stays_ended() {
    let mut lab = Lab::new(SECOND);
    lab.steps(3, &[1, 2]);
    lab.ended = vec![1];
    assert_eq!(lab.pass(STEP, &[2]), [Event::Ended { lcore: 1, roles: "NPU 1".into() }]);
    assert_eq!(lab.steps(20, &[2]), []);
    assert_eq!(lab.stuck(), [Some(Stuck::Ended), None]);
}

#[test]
fn readiness_names_what_is_wrong() {
    let port = |name: &str, up| PortReadiness { name: name.into(), up };
    let worker = |lcore, stuck| WorkerReadiness { lcore, roles: "poller".into(), silent_ms: 1700, stuck };
    let well = readiness(vec![port("p0", true)], vec![worker(1, None)], vec![]);
    assert!(well.ready && well.problems.is_empty());
    let wrong = readiness(
        vec![port("p0", false), port("p1", true)],
        vec![worker(1, Some(Stuck::Silent)), worker(2, Some(Stuck::Ended)), worker(3, None)],
        vec!["registry: not read yet".into()],
    );
    assert!(!wrong.ready);
    let expected = [
        "port \"p0\": its link is down",
        "lcore 1 (poller): stuck for 1700 ms",
        "lcore 2 (poller): has ended",
        "registry: not read yet",
    ];
    assert_eq!(wrong.problems, expected);
    let more = readiness(vec![], vec![], vec!["registry: not read yet".into()]);
    assert!(!more.ready);
}

#[test]
fn how_long_silence_may_be_follows_from_sleeps_and_budgets() {
    let longest = |text: &str| {
        let text = format!("{text}\n[[ports]]\nname = \"p0\"\ndevargs = \"net_null0\"\n");
        let machine = Machine::read().unwrap();
        let (topology, _) = Topology::from_text(&text, std::path::Path::new("test.toml"), &machine).unwrap();
        longest_silence(&topology)
    };
    assert_eq!(longest(""), SECOND);
    assert_eq!(longest("[idle]\nmax_sleep_ms = 5000"), 10 * SECOND);
    assert_eq!(longest("[idle]\nmax_sleep_ms = 5000\nsleep = \"never\""), SECOND);
    assert_eq!(longest("[budget]\nmax_us = 10000000"), 40 * SECOND);
    assert_eq!(longest("[control]\nstuck_ms = 60000\n[budget]\nmax_us = 10000000"), 60 * SECOND);
}
