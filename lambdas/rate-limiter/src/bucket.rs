//! A token bucket: a packet takes a token, and time brings new ones.

use lnic_lambda::Fixed;

/// What each source may send.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// Tokens that a second brings.
    rate: u32,
    /// Most tokens at a time.
    burst: Fixed,
}

impl Limit {
    /// Packets a second, unless the environment says so.
    pub(crate) const RATE: u32 = 100;
    /// Packets at once.
    pub(crate) const BURST: u32 = 20;
    /// Before `init` has run, and if it does not: nothing passes.
    pub(crate) const DEFAULT: Self = Self { rate: 0, burst: Fixed::ZERO };

    /// So many packets a second, and so many at once.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst: Fixed::ratio(burst.into(), 1) }
    }
}

/// What one source has left.
pub(crate) struct Bucket {
    tokens: Fixed,
    last_ns: u64,
}

impl Bucket {
    /// Of a source that has sent nothing for long.
    pub(crate) fn full(limit: Limit, now_ns: u64) -> Self {
        Self { tokens: limit.burst, last_ns: now_ns }
    }

    /// When it was used last.
    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Takes a token; false if there is none. Tokens come with whole microseconds, and what is left of one counts the next time.
    pub(crate) fn take(&mut self, limit: Limit, now_ns: u64) -> bool {
        let elapsed_us = now_ns.saturating_sub(self.last_ns) / 1000;
        self.last_ns += elapsed_us * 1000;
        // After half an hour of silence, more of it brings no more.
        let brought = Fixed::ratio(elapsed_us.min(1 << 31) as i64 * i64::from(limit.rate), 1_000_000);
        self.tokens = (self.tokens + brought).min(limit.burst);
        let passes = self.tokens >= Fixed::ONE;
        if passes {
            self.tokens -= Fixed::ONE;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_however_often_one_asks() {
        let limit = Limit::new(1000, 10);
        for step_ns in [700, 1_000, 333_333, 1_000_000] {
            let mut bucket = Bucket::full(limit, 0);
            let passed = (0..=1_000_000_000 / step_ns).filter(|at| bucket.take(limit, at * step_ns)).count();
            assert!((1000..=1011).contains(&passed), "{passed} with {step_ns} ns between packets");
        }
    }

    #[test]
    fn a_long_silence_brings_no_more_than_a_burst() {
        let limit = Limit::new(u32::MAX, 3);
        let mut bucket = Bucket::full(limit, 0);
        let passed = (0..5).filter(|_| bucket.take(limit, u64::MAX)).count();
        assert_eq!(passed, 3);
        assert!(!bucket.take(limit, 0), "time that goes back brings nothing");
    }
}
