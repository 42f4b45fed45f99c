//! How much fuel this machine uses in a microsecond, measured at start: what turns a budget in microseconds into fuel.
//!
//! `cost.rs` sees to it that a unit of fuel stands for about the same time in any code; how long that is depends on the machine.
//! Budgets go by loops that do nothing but turn, or whose every operator waits for the one before: such a loop ends with its
//! budget after the time that was asked for. Code that does several things at once ends sooner; guessed branches take a third
//! longer, chains of loads twice as long, and what misses the caches three times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Instance, Store, StoreLimits, TypedFunc};

use super::artifact;
use super::host::{Host, HostSide};
use super::linear::Offer;
use super::{Engine, PrepareError};
use crate::ids::NpuId;
use crate::memory::{Account, Deployment, MemoryPlan, Regions, Tier};

/// Fuel of one measurement: some 20 µs, where the 0.5 µs that running out of it takes do not count.
const SAMPLE_FUEL: u64 = 100_000;
/// Measurements of each loop. They are taken in turn, so that a disturbance does not hit one loop alone.
const SAMPLES: usize = 9;
/// As many as there are in any case: one that others interrupt says nothing of the machine.
const LEAST_SAMPLES: usize = 4;
/// No further turn begins after this time, once there are these.
const TIME_LIMIT: Duration = Duration::from_millis(8);
/// The loops of `calibrate/probes.wat`.
const LOOPS: [&str; 5] = ["plain", "arithmetic", "memory", "branches", "division"];
/// What is believed if the clock stands still: 4 units a nanosecond.
const FALLBACK_FUEL_PER_US: u32 = 4_000;

/// Fuel used in a microsecond, by what a loop does: of the fastest sample, for what disturbs one only makes it longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// What budgets are computed with: the slower of `plain` and `arithmetic`.
    pub fuel_per_us: u32,
    /// Turns and does nothing.
    pub plain: u32,
    /// A chain of shifts and exclusive ors.
    pub arithmetic: u32,
    /// Loads and stores over 32 KiB.
    pub memory: u32,
    /// A branch that nobody can predict.
    pub branches: u32,
    /// A chain of 64-bit divisions.
    pub division: u32,
}

impl Calibration {
    /// The fuel of a budget, at least 1.
    #[must_use]
    pub fn fuel(&self, budget_us: u32) -> u64 {
        (u64::from(budget_us) * u64::from(self.fuel_per_us)).max(1)
    }

    fn of(samples: [Vec<Duration>; LOOPS.len()]) -> Self {
        let [plain, arithmetic, memory, branches, division] = samples.each_ref().map(|samples| rate(samples));
        let fuel_per_us = plain.min(arithmetic);
        Self { fuel_per_us, plain, arithmetic, memory, branches, division }
    }
}

/// Fuel per microsecond of the fastest sample.
fn rate(samples: &[Duration]) -> u32 {
    let fastest = samples.iter().min().map_or(0, Duration::as_nanos);
    match (u128::from(SAMPLE_FUEL) * 1_000).checked_div(fastest) {
        Some(rate) => u32::try_from(rate).unwrap_or(u32::MAX).max(1),
        None => FALLBACK_FUEL_PER_US,
    }
}

/// Measures on the calling thread, for at most 20 ms with compiling. Once at start, on an lcore's core while nothing else runs.
pub fn fuel_per_us(engine: &Engine) -> Result<Calibration, PrepareError> {
    let failed = |error: wasmtime::Error| PrepareError::Instantiate(format!("calibration: {error:#}"));
    engine.prepare_thread();
    let code = artifact::own(engine, &PROBES)?;
    let mut store = Store::new(engine.raw(), Host::new(StoreLimits::default(), HostSide::detached()));
    let plan = Arc::new(MemoryPlan::dense(Tier::Local, 64 << 10));
    let deployment = Deployment::new(&Regions::standalone(), &plan, Account::unlimited("calibration"))?;
    let offer = Offer::new(deployment.seat(NpuId::new(0)).memory()?);
    let instance = Instance::new(&mut store, &code.module, &[]).map_err(failed)?;
    drop(offer);
    let mut probes = Vec::with_capacity(LOOPS.len());
    for name in LOOPS {
        probes.push(instance.get_typed_func::<(), ()>(&mut store, name).map_err(failed)?);
    }
    let mut samples = [const { Vec::new() }; LOOPS.len()];
    let started = Instant::now();
    // The first turn warms up: its pages are made, its branches learnt.
    for turn in 0..=SAMPLES {
        for (probe, samples) in probes.iter().zip(&mut samples) {
            let sample = measure(&mut store, probe).map_err(failed)?;
            if turn > 0 {
                samples.push(sample);
            }
        }
        if turn >= LEAST_SAMPLES && started.elapsed() > TIME_LIMIT {
            break;
        }
    }
    // The instance refers to the code.
    drop(store);
    Ok(Calibration::of(samples))
}

/// Compiles the probes and forgets them: whoever compiles next finds the compiler's pages there.
pub fn warm_up(engine: &Engine) -> Result<(), PrepareError> {
    artifact::compile(engine, &PROBES).map(drop)
}

fn measure(store: &mut Store<Host>, probe: &TypedFunc<(), ()>) -> wasmtime::Result<Duration> {
    store.set_fuel(SAMPLE_FUEL)?;
    let started = Instant::now();
    // It ends by running out of fuel: the loops have no end.
    let _ = probe.call(store, ());
    Ok(started.elapsed())
}

/// `calibrate/probes.wat`; a test compares.
#[rustfmt::skip]
const PROBES: [u8; 367] = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 6, 5, 0, 0, 0, 0, 0, 5, 4,
    1, 1, 1, 1, 7, 53, 5, 5, 112, 108, 97, 105, 110, 0, 0, 10, 97, 114, 105, 116, 104, 109, 101, 116,
    105, 99, 0, 1, 6, 109, 101, 109, 111, 114, 121, 0, 2, 8, 98, 114, 97, 110, 99, 104, 101, 115, 0, 3,
    8, 100, 105, 118, 105, 115, 105, 111, 110, 0, 4, 10, 194, 1, 5, 7, 0, 3, 64, 12, 0, 11, 11, 51,
    1, 1, 127, 65, 205, 0, 33, 0, 3, 64, 32, 0, 32, 0, 65, 13, 116, 115, 33, 0, 32, 0, 32, 0,
    65, 17, 118, 115, 33, 0, 32, 0, 32, 0, 65, 5, 116, 115, 33, 0, 65, 0, 32, 0, 54, 2, 0, 12,
    0, 11, 11, 39, 1, 2, 127, 3, 64, 32, 1, 32, 0, 40, 2, 0, 106, 33, 1, 32, 0, 32, 1, 54,
    2, 0, 32, 0, 65, 196, 0, 106, 65, 252, 255, 1, 113, 33, 0, 12, 0, 11, 11, 55, 1, 2, 127, 3,
    64, 32, 0, 65, 237, 156, 153, 142, 4, 108, 65, 185, 224, 0, 106, 33, 0, 32, 0, 65, 128, 128, 4, 113,
    4, 64, 65, 4, 32, 0, 54, 2, 0, 5, 65, 8, 32, 1, 65, 1, 106, 34, 1, 54, 2, 0, 11, 12,
    0, 11, 11, 36, 1, 1, 126, 3, 64, 66, 69, 32, 0, 66, 1, 132, 130, 33, 0, 66, 127, 32, 0, 66,
    3, 132, 128, 33, 0, 65, 0, 32, 0, 55, 3, 0, 12, 0, 11, 11, 0, 85, 4, 110, 97, 109, 101, 2,
    30, 4, 1, 1, 0, 1, 120, 2, 2, 0, 2, 97, 116, 1, 3, 115, 117, 109, 3, 2, 0, 1, 120, 1,
    1, 121, 4, 1, 0, 1, 120, 3, 46, 5, 0, 1, 0, 5, 97, 103, 97, 105, 110, 1, 1, 0, 5, 97,
    103, 97, 105, 110, 2, 1, 0, 5, 97, 103, 97, 105, 110, 3, 1, 0, 5, 97, 103, 97, 105, 110, 4, 1,
    0, 5, 97, 103, 97, 105, 110,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_are_those_of_the_text() {
        assert_eq!(wat::parse_str(include_str!("calibrate/probes.wat")).unwrap(), PROBES);
    }

    #[test]
    fn interruptions_do_not_count_and_a_clock_may_stand_still() {
        let micros = Duration::from_micros;
        assert_eq!(rate(&[micros(5_000), micros(50), micros(900), micros(51), micros(8_000)]), 2_000);
        assert_eq!(rate(&[Duration::ZERO; 3]), FALLBACK_FUEL_PER_US);
        assert_eq!(rate(&[]), FALLBACK_FUEL_PER_US);
        assert_eq!(rate(&[Duration::from_secs(1_000_000)]), 1);
        assert_eq!(rate(&[Duration::from_nanos(1)]), 100_000_000);
    }

    #[test]
    fn budgets_go_by_the_slower_of_the_plain_loops() {
        let samples = [20, 25, 10, 50, 30].map(|micros| vec![Duration::from_micros(micros)]);
        let calibration = Calibration::of(samples);
        assert_eq!((calibration.plain, calibration.arithmetic), (5_000, 4_000));
        assert_eq!((calibration.fuel_per_us, calibration.branches), (4_000, 2_000));
        assert_eq!((calibration.fuel(0), calibration.fuel(100)), (1, 400_000));
        assert_eq!(calibration.fuel(u32::MAX), u64::from(u32::MAX) * 4_000);
    }

    #[test]
    fn this_machine_can_be_calibrated() {
        let calibration = fuel_per_us(&Engine::new().unwrap()).unwrap();
        // From a slow emulator to beyond any clock: a figure that is off by more is not this machine's.
        assert!((10..100_000).contains(&calibration.fuel_per_us), "{calibration:?}");
    }
}
