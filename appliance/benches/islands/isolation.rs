//! A victim with 20 % of the load beside an endless looper, a trapper and a flooder: what they cost it.
//!
//! Alone and beside the others in turn, in one run. Requests are due by the clock, evenly spaced or at random (a Poisson process), and
//! a request's latency counts from when it was due. The attackers' requests come at random.
//!
//! An NPU is not preempted, so each of the victim's requests waits for at most one foreign request and one poll: how much that is beside
//! its own time depends on what it takes itself. Requests at random come in bursts, and a burst beside a flooder of the same
//! weight gets half of the NPU; who wants his bursts served at once needs weight.

use std::sync::OnceLock;

use lnic::frame::Frame as _;
use lnic::lambda::Engine;
use lnic::lambda::calibrate::{self, Calibration};
use lnic::path::Stock;

use crate::report::{Better, Figure, Options};
use crate::support::frames::rpc4;
use crate::support::lab::{Deployed, Lab, Setup, SimClock, module, spinner};
use crate::{now_ns, turns_per_us};

/// Who is attacked.
struct Victim {
    name: &'static str,
    /// Time of one of its requests.
    us: f64,
    weight: u32,
    /// Its requests are evenly spaced.
    paced: bool,
    bar: Option<f64>,
}

const VICTIMS: [Victim; 5] = [
    Victim { name: "paced_1_us", us: 1.0, weight: 1, paced: true, bar: None },
    Victim { name: "paced_5_us", us: 5.0, weight: 1, paced: true, bar: None },
    Victim { name: "paced_20_us", us: 20.0, weight: 1, paced: true, bar: Some(1.5) },
    Victim { name: "poisson_20_us", us: 20.0, weight: 1, paced: false, bar: None },
    Victim { name: "poisson_20_us_weight_8", us: 20.0, weight: 8, paced: false, bar: Some(1.5) },
];
const VICTIM_LOAD: f64 = 0.2;
const FLOOD_US: f64 = 3.0;
/// NPUs' worth of work that the flooder asks for.
const FLOOD_LOAD: f64 = 1.5;
const BUDGET_US: u32 = 200;
const ATTACKS_PER_S: f64 = 20_000.0;

/// One lambda's requests.
struct Source {
    frame: Vec<u8>,
    interval_ns: f64,
    due_ns: f64,
    paced: bool,
}

impl Source {
    fn new(lambda: u32, interval_ns: f64) -> Self {
        Self { frame: rpc4(lambda, &[0x5A; 64]), interval_ns, due_ns: 0.0, paced: false }
    }

    fn next(&mut self, random: &mut fastrand::Rng) {
        self.due_ns += self.interval_ns * if self.paced { 1.0 } else { -(1.0 - random.f64()).ln() };
    }
}

/// Fuel of a budget, by the calibration that the appliance makes at its start.
fn fuel(budget_us: u32) -> u64 {
    static CALIBRATION: OnceLock<Calibration> = OnceLock::new();
    let engine = || Engine::new().expect("engine");
    CALIBRATION.get_or_init(|| calibrate::fuel_per_us(&engine()).expect("calibrates")).fuel(budget_us)
}

struct Outcome {
    latencies_ns: Vec<u64>,
    lost: u64,
    flooded: u64,
    busy: u64,
    quarantined: usize,
}

fn measure(victim: &Victim, turns: f64, attacked: bool, run_ns: u64) -> Outcome {
    let spin = |us: f64| Deployed::new(spinner((us * turns) as u32), "spin");
    let fuel = fuel(BUDGET_US);
    let lambdas = vec![
        Deployed { fuel: 100_000_000, weight: victim.weight, ..spin(victim.us) },
        Deployed { fuel, ..Deployed::wat(&module("(loop $again (br $again)) i32.const 0")) },
        Deployed { fuel, ..Deployed::wat(&module("unreachable")) },
        Deployed { fuel: 100_000_000, ..spin(FLOOD_US) },
    ];
    let mut lab = Lab::of(
        lambdas,
        Setup {
            clock: SimClock::real(now_ns),
            failures: 16,
            frames: 8192,
            stock: Stock { jobs: 4200, calls: 0 },
            ..Setup::dispatcher()
        },
    );
    let mut random = fastrand::Rng::with_seed(7);
    let mut sources =
        vec![Source { paced: victim.paced, ..Source::new(1, victim.us * 1000.0 / VICTIM_LOAD) }];
    if attacked {
        sources.push(Source::new(2, 1e9 / ATTACKS_PER_S));
        sources.push(Source::new(3, 1e9 / ATTACKS_PER_S));
        sources.push(Source::new(4, FLOOD_US * 1000.0 / FLOOD_LOAD));
    }
    let start = now_ns();
    for source in &mut sources {
        source.due_ns = start as f64;
        source.next(&mut random);
    }
    let mut outcome = Outcome { latencies_ns: Vec::new(), lost: 0, flooded: 0, busy: 0, quarantined: 0 };
    // The victim's replies come in the order of its requests: one queue, one NPU.
    let mut waiting = std::collections::VecDeque::new();
    let mut sent = 0u64;
    loop {
        let now = now_ns();
        if now > start + run_ns {
            break;
        }
        // What was due meanwhile arrives in the order in which it was due.
        while let Some(next) = sources
            .iter_mut()
            .enumerate()
            .filter(|(_, source)| source.due_ns <= now as f64)
            .min_by(|(_, a), (_, b)| a.due_ns.total_cmp(&b.due_ns))
        {
            let (at, source) = next;
            if at == 0 {
                waiting.push_back(source.due_ns as u64);
                sent += 1;
            } else if at == 3 {
                outcome.flooded += 1;
            }
            // The network drops what the port has no buffer for.
            if !lab.peers[0].send(&source.frame) && at == 0 {
                waiting.pop_back();
                outcome.lost += 1;
            }
            source.next(&mut random);
        }
        lab.breathe();
        let done = now_ns();
        while let Some(frame) = lab.peers[0].receive() {
            match lambda_and_status(frame.bytes()) {
                (1, 0) => {
                    outcome.latencies_ns.extend(waiting.pop_front().map(|due: u64| done.saturating_sub(due)))
                }
                (4, 32) => outcome.busy += 1,
                _ => {}
            }
        }
    }
    lab.settle();
    let late = std::iter::from_fn(|| lab.peers[0].receive())
        .filter(|frame| lambda_and_status(frame.bytes()) == (1, 0))
        .count();
    outcome.lost = sent - outcome.latencies_ns.len() as u64 - late as u64;
    outcome.quarantined = lab.quarantine.quarantined();
    outcome
}

/// Of a reply over IPv4.
fn lambda_and_status(frame: &[u8]) -> (u32, u8) {
    const RPC: usize = 14 + 20 + 8;
    (u32::from_be_bytes([frame[RPC + 4], frame[RPC + 5], frame[RPC + 6], frame[RPC + 7]]), frame[RPC + 24])
}

fn percentile_us(latencies_ns: &mut [u64], quantile: f64) -> f64 {
    latencies_ns.sort_unstable();
    latencies_ns[((latencies_ns.len() - 1) as f64 * quantile) as usize] as f64 / 1000.0
}

pub fn run(options: &Options) -> Vec<Figure> {
    let turns = f64::from(turns_per_us());
    let (rounds, run_ns) = if options.quick { (2, 1_500_000_000) } else { (7, 4_000_000_000) };
    println!(
        "victims: {} % load; looper and trapper: {ATTACKS_PER_S}/s each, budget {BUDGET_US} µs; flooder: \
         {FLOOD_LOAD} NPUs' worth of {FLOOD_US} µs; {rounds} rounds of {} ms each",
        VICTIM_LOAD * 100.0,
        run_ns / 1_000_000
    );
    VICTIMS.iter().flat_map(|victim| compare(victim, turns, rounds, run_ns)).collect()
}

fn compare(victim: &Victim, turns: f64, rounds: usize, run_ns: u64) -> Vec<Figure> {
    let (mut alone, mut beside, mut ratio, mut more) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut lost, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut without = measure(victim, turns, false, run_ns);
        let mut with = measure(victim, turns, true, run_ns);
        assert_eq!(with.quarantined, 2, "looper and trapper are quarantined");
        let (a, b) =
            (percentile_us(&mut without.latencies_ns, 0.99), percentile_us(&mut with.latencies_ns, 0.99));
        alone.push(a);
        beside.push(b);
        ratio.push(b / a);
        more.push(percentile_us(&mut with.latencies_ns, 0.5) - percentile_us(&mut without.latencies_ns, 0.5));
        lost.push((without.lost + with.lost) as f64);
        busy.push(100.0 * with.busy as f64 / with.flooded as f64);
    }
    let figure = |name: &str, unit, values: &[f64]| {
        Figure::of_rounds(format!("isolation/{}/{name}", victim.name), unit, Better::Lower, values)
    };
    let ratio = figure("p99_ratio", "ratio", &ratio);
    vec![
        figure("p99_alone", "µs", &alone),
        figure("p99_attacked", "µs", &beside),
        match victim.bar {
            Some(bar) => ratio.with_bar(bar),
            None => ratio,
        },
        figure("p50_attacked_less_alone", "µs", &more),
        figure("lost", "requests", &lost).with_bar(0.0),
        figure("flood_answered_busy", "%", &busy),
    ]
}
