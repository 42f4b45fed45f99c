//! `scripts/bench.sh fairness | isolation | handoff | scale`: what the dispatcher promises, on the simulated port in real time.
//!
//! One thread plays the network and the appliance in turn, so nothing but the machine's own noise is in the figures. Load is
//! open-loop: a request's time starts when it was due, not when the appliance came round to it.

#![allow(clippy::print_stdout, unreachable_pub, reason = "a benchmark prints its figures")]

#[path = "islands/fairness.rs"]
mod fairness;
#[path = "islands/handoff.rs"]
mod handoff;
#[path = "islands/isolation.rs"]
mod isolation;
mod report;
#[path = "islands/scale.rs"]
mod scale;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lnic::lambda::{Engine, HostSide, Image, Instance, Limits, Run};
use report::Options;
use support::lab::spinner;

fn main() {
    let (suite, options) = Options::with_suite();
    let figures = match suite.as_str() {
        "fairness" => fairness::run(&options),
        "isolation" => isolation::run(&options),
        "handoff" => handoff::run(&options),
        "scale" => scale::run(&options),
        other => panic!("unknown suite {other}"),
    };
    report::report(&suite, &options, &figures);
}

/// Nanoseconds of the time stamp counter since the first call.
fn now_ns() -> u64 {
    static START: OnceLock<(u64, f64)> = OnceLock::new();
    let (start, scale) = START.get_or_init(|| {
        let (cycles, time) = (dpdk_bindings::clock::cycles(), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let passed = dpdk_bindings::clock::cycles() - cycles;
        (cycles, time.elapsed().as_nanos() as f64 / passed as f64)
    });
    ((dpdk_bindings::clock::cycles() - start) as f64 * scale) as u64
}

/// Turns of [`spinner`]'s loop that take a microsecond here.
fn turns_per_us() -> u32 {
    const TURNS: u32 = 100_000;
    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let image = Image::compile(&engine, &spinner(TURNS), "spin", &Limits::default()).expect("compiles");
    let mut instance =
        Instance::new(&image, 100_000_000, &HostSide::detached(), &image.detached_seat().expect("seat"))
            .expect("instantiates");
    let mut best = u64::MAX;
    for _ in 0..20 {
        let start = now_ns();
        assert!(matches!(instance.run(0), Run::Verdict(_)));
        best = best.min(now_ns() - start);
    }
    (u64::from(TURNS) * 1000 / best.max(1)) as u32
}
