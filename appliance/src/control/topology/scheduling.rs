//! How lambdas share the NPUs, and what a lambda may use: `[scheduling]`, `[quarantine]` and `[budget]`.

use toml::Spanned;

use super::Memory;
use crate::control::config::Problems;
use crate::control::config::raw::{self, Scalar, Value};

/// Longest budget of one invocation.
pub(super) const BUDGET_US: u32 = 10_000_000;
/// Most fuel that a microsecond can be worth.
const FUEL_PER_US: u32 = 1_000_000;

/// How requests get to lambdas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// Who polls, and who decides what runs next.
    pub mode: SchedulingMode,
    /// Requests that may wait for one lambda, for lambdas that do not say.
    pub queue_frames: u32,
    /// Requests that may wait in one dispatcher, over all lambdas.
    pub waiting_frames: u32,
    /// Requests handed to one NPU at a time.
    pub in_flight: u32,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self { mode: SchedulingMode::RunToCompletion, queue_frames: 256, waiting_frames: 4096, in_flight: 16 }
    }
}

/// Who polls, and who decides what runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulingMode {
    /// Every worker polls its own queue of every port and does all stages itself, in the order of arrival.
    RunToCompletion,
    /// Dispatchers poll, parse, match and queue; NPUs run lambdas in weighted fair order.
    Dispatcher,
}

impl SchedulingMode {
    /// The mode as the configuration names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunToCompletion => "run-to-completion",
            Self::Dispatcher => "dispatcher",
        }
    }
}

/// When a lambda that fails is taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Traps and exhausted budgets within the window; 0 is never.
    pub failures: u32,
    /// Length of the window.
    pub window_ms: u32,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { failures: 16, window_ms: 1_000 }
    }
}

/// Budgets of lambdas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// For a lambda that names none.
    pub default_us: u32,
    /// Most that a lambda may name.
    pub max_us: u32,
    /// Fuel that a microsecond is worth; `None` is measured at the start.
    pub fuel_per_us: Option<u32>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { default_us: 200, max_us: 10_000, fuel_per_us: None }
    }
}

/// Judges `[scheduling] mode`, on which the roles of CPUs depend.
pub(super) fn mode(raw: &raw::Scheduling, problems: &mut Problems<'_>) -> SchedulingMode {
    let modes = [SchedulingMode::RunToCompletion, SchedulingMode::Dispatcher].map(|mode| (mode.name(), mode));
    problems.choice("[scheduling] mode", &raw.mode, &modes, Scheduling::default().mode)
}

/// Judges the rest of `[scheduling]`.
pub(super) fn scheduling(
    raw: &raw::Scheduling,
    mode: SchedulingMode,
    dispatchers: usize,
    memory: &Memory,
    problems: &mut Problems<'_>,
) -> Scheduling {
    let default = Scheduling::default();
    let count = u32::try_from(dispatchers).unwrap_or(u32::MAX).max(1);
    let limit = memory.queueable_frames() / count;
    let waiting_frames = problems.integer(
        "[scheduling] waiting_frames",
        &raw.waiting_frames,
        1..=1 << 20,
        default.waiting_frames.min(limit),
    );
    if waiting_frames > limit {
        let whose = if count > 1 { format!(", for each of {count} dispatchers") } else { String::new() };
        problems.wrong(
            raw.waiting_frames.as_ref().map(Spanned::span),
            format!(
                "[scheduling] waiting_frames: {waiting_frames}{whose}, over half of [memory] pool_frames {}, \
                 which leaves too few for the ports: at most {limit}",
                memory.pool_frames
            ),
        );
    }
    Scheduling {
        mode,
        queue_frames: queue_frames("[scheduling]", &raw.queue_frames, default.queue_frames, problems),
        waiting_frames,
        in_flight: problems.integer("[scheduling] in_flight", &raw.in_flight, 1..=256, default.in_flight),
    }
}

/// Judges a `queue_frames`; `place` is followed by the key.
pub(super) fn queue_frames(
    place: &str,
    value: &Value<i64>,
    default: u32,
    problems: &mut Problems<'_>,
) -> u32 {
    problems.integer(&format!("{place} queue_frames"), value, 1..=65_536, default)
}

/// Judges `[quarantine]`.
pub(super) fn quarantine(raw: &raw::Quarantine, problems: &mut Problems<'_>) -> Quarantine {
    let default = Quarantine::default();
    Quarantine {
        failures: problems.integer("[quarantine] failures", &raw.failures, 0..=1_000_000, default.failures),
        window_ms: problems.integer(
            "[quarantine] window_ms",
            &raw.window_ms,
            1..=3_600_000,
            default.window_ms,
        ),
    }
}

/// Judges `[budget]`.
pub(super) fn budget(raw: &raw::Budget, problems: &mut Problems<'_>) -> Budget {
    let default = Budget::default();
    let max_us = problems.integer("[budget] max_us", &raw.max_us, 1..=BUDGET_US, default.max_us);
    let default_us = problems.integer(
        "[budget] default_us",
        &raw.default_us,
        1..=BUDGET_US,
        default.default_us.min(max_us),
    );
    if default_us > max_us {
        let span = raw.default_us.as_ref().map(Spanned::span);
        problems.wrong(span, format!("[budget] default_us: {default_us}, over max_us {max_us}"));
    }
    Budget { default_us, max_us, fuel_per_us: fuel_per_us(&raw.fuel_per_us, problems) }
}

fn fuel_per_us(value: &Value<Scalar>, problems: &mut Problems<'_>) -> Option<u32> {
    let value = value.as_ref()?;
    let fuel = match value.get_ref() {
        Scalar::Text(text) if text == "auto" => return None,
        Scalar::Integer(number) => {
            u32::try_from(*number).ok().filter(|fuel| (1..=FUEL_PER_US).contains(fuel))
        }
        _ => None,
    };
    if fuel.is_none() {
        problems.wrong(
            Some(value.span()),
            format!("[budget] fuel_per_us: {}: allowed are \"auto\" and 1–{FUEL_PER_US}", value.get_ref()),
        );
    }
    fuel
}
