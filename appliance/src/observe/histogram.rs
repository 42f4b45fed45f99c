//! Times in logarithmic buckets: one writer, any number of readers, fixed size.
//!
//! Four buckets an octave from 64 ns to 4 s, so a percentile read from them is at most 19 % over the true one.

use bytemuck::Zeroable;

use super::counters::Counter;

/// Shortest time that has a bucket of its own, as a power of two of ns.
const FIRST_OCTAVE: u32 = 6;
const OCTAVES: u32 = 26;
/// Buckets of a histogram.
pub const BUCKETS: usize = (OCTAVES * 4 + 1) as usize;

/// Times of one kind, in ns.
#[derive(Debug, Zeroable)]
pub struct Histogram([Counter; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Histogram {
    /// Counts a time `n` times. Only the owning lcore may call it.
    #[inline]
    pub fn record(&self, time_ns: u64, n: u64) {
        self.0[bucket(time_ns)].add(n);
    }

    /// Adds the counts to `sums`, to sum over lcores.
    pub fn add_to(&self, sums: &mut [u64; BUCKETS]) {
        for (sum, count) in sums.iter_mut().zip(&self.0) {
            *sum += count.get();
        }
    }
}

/// Bucket of a time. Below the first octave everything is in bucket 0, over the last one in the last.
#[inline]
fn bucket(time_ns: u64) -> usize {
    if time_ns < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = time_ns.ilog2();
    let quarter = (time_ns >> (octave - 2)) & 3;
    (((octave - FIRST_OCTAVE) * 4) as usize + quarter as usize + 1).min(BUCKETS - 1)
}

/// Upper end of a bucket in ns.
#[must_use]
pub fn upper_ns(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket as u64 / 4, bucket as u64 % 4);
    ((4 + quarter) << (octave + u64::from(FIRST_OCTAVE))) / 4
}

/// The time that a share `quantile` (0–1) of all counts does not exceed, in ns; `None` if nothing was counted.
#[must_use]
pub fn quantile_ns(counts: &[u64; BUCKETS], quantile: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = ((total as f64 * quantile).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    counts
        .iter()
        .position(|&count| {
            seen += count;
            seen >= wanted
        })
        .map(upper_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_known_times() {
        let histogram = Histogram::default();
        for _ in 0..99 {
            histogram.record(1000, 1);
        }
        histogram.record(1_000_000, 1);
        let mut counts = [0; BUCKETS];
        histogram.add_to(&mut counts);
        assert_eq!(quantile_ns(&counts, 0.5), Some(1024));
        assert_eq!(quantile_ns(&counts, 0.99), Some(1024));
        assert_eq!(quantile_ns(&counts, 1.0), Some(1_048_576));
        assert_eq!(quantile_ns(&[0; BUCKETS], 0.5), None);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_time_and_is_narrow(time_ns in 64u64..1 << 31) {
            let at = bucket(time_ns);
            prop_assert!(time_ns < upper_ns(at) && time_ns >= upper_ns(at - 1));
            prop_assert!(upper_ns(at) as f64 <= time_ns as f64 * 1.25 + 1.0);
        }

        #[test]
        fn no_time_is_out_of_range(time_ns: u64) {
            prop_assert!(bucket(time_ns) < BUCKETS);
        }
    }
}
