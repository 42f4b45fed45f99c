//! CPU that functions used since somebody last asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::types::FunctionUsage;
use crate::control::plane::Lambda;
use crate::control::stats::Snapshot;

/// Lambdas that are remembered; of one more, what was remembered longest ago is forgotten.
const REMEMBERED: usize = 4096;

/// Remembers when each lambda was measured, and what it had used then.
#[derive(Default)]
pub(super) struct Meter(Mutex<BTreeMap<u32, Measurement>>);

#[derive(Clone, Copy)]
struct Measurement {
    at: Instant,
    npu_ns: u64,
}

impl Meter {
    /// What a lambda used since the last time; since the appliance started if this is the first one.
    pub(super) fn usage(&self, lambda: &Lambda, snapshot: &Snapshot) -> FunctionUsage {
        let npu_ns =
            snapshot.lambdas.iter().find(|stats| stats.id == lambda.id).map_or(0, |stats| stats.npu_ns);
        let uptime = Duration::try_from_secs_f64(snapshot.uptime_s).unwrap_or_default();
        FunctionUsage {
            cpu: self.millicores(lambda.id, npu_ns, uptime, Instant::now()),
            total_memory_bytes: lambda.memory_bytes.values().sum::<u64>() as f64,
        }
    }

    fn millicores(&self, id: u32, npu_ns: u64, uptime: Duration, now: Instant) -> f64 {
        let mut measurements = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = measurements.insert(id, Measurement { at: now, npu_ns });
        if measurements.len() > REMEMBERED {
            let oldest = measurements.iter().min_by_key(|(_, measurement)| measurement.at).map(|(id, _)| *id);
            oldest.map(|id| measurements.remove(&id));
        }
        drop(measurements);
        // A lambda that was removed and made again starts from nothing.
        let last = last.filter(|last| last.npu_ns <= npu_ns);
        let (used, time) = match last {
            Some(last) => (npu_ns - last.npu_ns, now.saturating_duration_since(last.at)),
            None => (npu_ns, uptime),
        };
        if time.is_zero() { 0.0 } else { used as f64 / time.as_nanos() as f64 * 1000.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millicores_are_of_the_time_since_the_last_measurement() {
        let meter = Meter::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let at = |id, npu_ns, seconds| meter.millicores(id, npu_ns, second * 10, start + second * seconds);
        assert_eq!(at(1, 1_000_000_000, 0), 100.0);
        assert_eq!(at(1, 1_500_000_000, 2), 250.0);
        assert_eq!(at(1, 1_500_000_000, 3), 0.0);
        // No time has passed.
        assert_eq!(at(1, 1_600_000_000, 3), 0.0);
        // It was made again.
        assert_eq!(at(1, 5_000_000, 4), 0.5);
        assert_eq!(at(2, 0, 4), 0.0);
    }

    #[test]
    fn memory_of_it_is_bounded() {
        let meter = Meter::default();
        let start = Instant::now();
        for id in 0..10_000 {
            meter.millicores(id, 0, Duration::ZERO, start + Duration::from_millis(id.into()));
        }
        let measurements = meter.0.lock().unwrap();
        assert_eq!(measurements.len(), REMEMBERED);
        assert_eq!(measurements.keys().next(), Some(&(10_000 - REMEMBERED as u32)));
    }
}
