//! What a run measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Mode;

/// Largest latency that is told apart from larger ones.
const LATENCY_MOST_NS: u64 = 120_000_000_000;

/// Latencies of the requests that were answered OK, in µs, exact to three digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Requests that it is made of.
    pub samples: u64,
    /// Smallest.
    pub min_us: f64,
    /// Average.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p99_9_us: f64,
    /// Largest.
    pub max_us: f64,
}

/// Collects latencies.
pub(super) struct Samples(Histogram<u64>);

impl Samples {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_MOST_NS, 3).expect("valid bounds"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn summary(&self) -> Latency {
        if self.0.is_empty() {
            return Latency::default();
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |q| us(self.0.value_at_quantile(q));
        Latency {
            samples: self.0.len(),
            min_us: us(self.0.min()),
            mean_us: self.0.mean() / 1e3,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p99_9_us: quantile(0.999),
            max_us: us(self.0.max()),
        }
    }
}

/// How many replies had a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusCount {
    /// Its name.
    pub status: String,
    /// Its number on the wire.
    pub code: u8,
    /// Replies.
    pub replies: u64,
}

/// What a run measured: requests that were due after the warm-up, and their replies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Closed or open loop.
    pub mode: Mode,
    /// Lambda ID.
    pub lambda: u32,
    /// Bytes of payload of a request.
    pub payload_bytes: usize,
    /// Seconds that were measured.
    pub duration_s: f64,
    /// Requests sent.
    pub sent: u64,
    /// Requests with a reply of any status.
    pub replied: u64,
    /// Requests without a reply within the timeout.
    pub lost: u64,
    /// Lost of sent, 0–1.
    pub loss: f64,
    /// Open loop: requests that were due, but the client was too slow to send by the end.
    pub unsent: u64,
    /// Replies with status OK that arrived in the measured time, a second.
    pub achieved_rate: f64,
    /// Replies of any status that arrived in the measured time, a second.
    pub reply_rate: f64,
    /// Payload of the requests whose replies of status OK arrived in the measured time, in Mbit/s.
    pub request_mbit_s: f64,
    /// Payload of these replies, in Mbit/s.
    pub reply_mbit_s: f64,
    /// Latency of the requests that were answered OK, from when they were due.
    pub latency: Latency,
    /// Replies by status, by number.
    pub statuses: Vec<StatusCount>,
    /// Open loop: how late the latest request left, in µs. Large means that the client was the bottleneck.
    pub max_send_lag_us: f64,
    /// CPU seconds that the client used in the measured time.
    pub cpu_s: f64,
    /// Whole run: replies after the timeout.
    pub late: u64,
    /// Whole run: second replies.
    pub duplicate: u64,
    /// Whole run: replies to nobody's request.
    pub foreign: u64,
    /// Whole run: datagrams with a wrong CRC.
    pub corrupt: u64,
    /// Whole run: datagrams that are not λ-RPC, or whose lengths disagree.
    pub malformed: u64,
    /// Whole run: λ-RPC, but nothing that is said to a request of this kind.
    pub unexpected: u64,
    /// Whole run, requests of one frame: fragments of replies of several. Such a lambda is measured by messages.
    pub fragmented: u64,
    /// Whole run, requests of one frame: those that were sent again with a cookie, as the appliance asked.
    pub challenged: u64,
    /// Whole run, messages: fragments that were sent again.
    pub retransmitted: u64,
    /// Whole run: errors of the socket after the first reply, such as ICMP unreachable.
    pub socket_errors: u64,
}
