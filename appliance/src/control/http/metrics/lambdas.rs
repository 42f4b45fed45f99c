//! Families of lambdas, and those that OpenFaaS's dashboards read.

use std::collections::HashMap;

use super::exposition::{Exposition, Field, Labels, labels};
use super::functions::{BUCKETS, Counts};
use super::{Scrape, seconds};
use crate::control::plane::{Lambda, Phase};
use crate::control::stats::{LambdaStats, Times};

/// Everything that a lambda can do.
pub(super) const PHASES: [&str; 5] = ["active", "asleep", "quarantined", "lost", "failed"];

/// As in the API.
pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Active => "active",
        Phase::Asleep => "asleep",
        Phase::Quarantined => "quarantined",
        Phase::Lost => "lost",
        Phase::Failed => "failed",
    }
}

/// A lambda and what is known of it.
struct Series<'a> {
    labels: Labels,
    lambda: &'a Lambda,
    stats: Option<&'a LambdaStats>,
}

impl Scrape<'_> {
    /// All families of lambdas; none of one that is not deployed.
    pub(super) fn lambdas(&self, text: &mut Exposition) {
        // IDs belong to one lambda only over all namespaces.
        let stats: HashMap<u32, &LambdaStats> =
            self.snapshot.lambdas.iter().map(|stats| (stats.id, stats)).collect();
        let lambdas = self.lambdas.unwrap_or_default();
        let series: Vec<Series<'_>> = lambdas
            .iter()
            .map(|lambda| Series {
                labels: labels(&[("namespace", &lambda.key.namespace), ("lambda", &lambda.key.name)]),
                lambda,
                stats: stats.get(&lambda.id).copied(),
            })
            .collect();
        state(text, &series);
        counters(text, &series);
        outcomes(text, &series);
        times(text, &series);
        self.openfaas(text, lambdas);
    }

    fn openfaas(&self, text: &mut Exposition, lambdas: &[Lambda]) {
        let functions: Vec<(Labels, &Lambda, Option<Counts>)> = lambdas
            .iter()
            .map(|lambda| {
                let name = format!("{}.{}", lambda.key.name, lambda.key.namespace);
                (labels(&[("function_name", &name)]), lambda, self.functions.counts(&lambda.key))
            })
            .collect();
        let mut replicas = text.gauge("gateway_service_count", "Replicas of the function.");
        for (labels, lambda, _) in &functions {
            replicas.sample(labels, lambda.available_replicas);
        }
        let counted = || functions.iter().filter_map(|(labels, _, counts)| Some((labels, counts.as_ref()?)));
        let mut started =
            text.counter("gateway_function_invocation_started", "Requests to the function that began.");
        for (labels, counts) in counted() {
            started.sample(labels, counts.started);
        }
        let mut total =
            text.counter("gateway_function_invocation_total", "Requests to the function, by status.");
        for (labels, counts) in counted() {
            for (code, value) in &counts.codes {
                total.sample_of(labels, ("code", &code.to_string()), value);
            }
        }
        let mut times =
            text.histogram("gateway_functions_seconds", "How long requests to the function took.");
        for (labels, counts) in counted() {
            times.distribution(labels, &BUCKETS, &counts.buckets, counts.seconds);
        }
    }
}

fn state(text: &mut Exposition, series: &[Series<'_>]) {
    let mut info = text.gauge("lnic_lambda_info", "The lambda, as labels.");
    for Series { lambda, .. } in series {
        let id = lambda.id.to_string();
        let labels = labels(&[
            ("namespace", &lambda.key.namespace),
            ("lambda", &lambda.key.name),
            ("id", &id),
            ("phase", phase(lambda.phase)),
            ("concurrency", &lambda.concurrency),
        ]);
        info.sample(&labels, 1);
    }
    let gauges: [Field<Lambda>; 3] = [
        ("lnic_lambda_generation", "Number of the generation that runs.", |lambda| lambda.generation),
        ("lnic_lambda_available_replicas", "NPUs that may run it now.", |lambda| {
            u64::from(lambda.available_replicas)
        }),
        ("lnic_lambda_created_timestamp_seconds", "When it was first deployed.", |lambda| {
            lambda.created_at_ms / 1000
        }),
    ];
    for (name, help, pick) in gauges {
        let mut family = text.gauge(name, help);
        for Series { labels, lambda, .. } in series {
            family.sample(labels, pick(lambda));
        }
    }
    let mut memory = text.gauge("lnic_lambda_memory_bytes", "Memory of its instances by tier.");
    for Series { labels, lambda, .. } in series {
        for (tier, bytes) in &lambda.memory_bytes {
            memory.sample_of(labels, ("tier", tier), bytes);
        }
    }
}

/// Lambdas that have counters.
fn measured<'a>(series: &'a [Series<'_>]) -> impl Iterator<Item = (&'a Labels, &'a LambdaStats)> {
    series.iter().filter_map(|series| Some((&series.labels, series.stats?)))
}

fn counters(text: &mut Exposition, series: &[Series<'_>]) {
    let mut invocations = text.counter("lnic_lambda_invocations_total", "Times that it ran.");
    for Series { labels, lambda, .. } in series {
        invocations.sample(labels, lambda.invocations);
    }
    let mut npu = text.counter("lnic_lambda_npu_seconds_total", "NPU time used.");
    for (labels, stats) in measured(series) {
        npu.sample(labels, seconds(stats.npu_ns));
    }
    let counters: [Field<LambdaStats>; 4] = [
        ("lnic_lambda_fuel_total", "Fuel used.", |stats| stats.fuel),
        ("lnic_lambda_calls_total", "Calls to other lambdas.", |stats| stats.calls),
        ("lnic_lambda_calls_timed_out_total", "Calls that got no answer in time.", |stats| {
            stats.calls_timed_out
        }),
        ("lnic_lambda_service_requests_total", "Requests to services outside.", |stats| stats.requests),
    ];
    for (name, help, pick) in counters {
        let mut family = text.counter(name, help);
        for (labels, stats) in measured(series) {
            family.sample(labels, pick(stats));
        }
    }
}

fn outcomes(text: &mut Exposition, series: &[Series<'_>]) {
    let mut outcomes = text.counter("lnic_lambda_outcomes_total", "Invocations by how they ended.");
    for (labels, stats) in measured(series) {
        let all = [
            ("forwarded", stats.forwarded),
            ("dropped", stats.dropped),
            ("to_host", stats.to_host),
            ("trap", stats.traps),
            ("exhausted", stats.exhausted),
            ("bad_verdict", stats.bad_verdicts),
        ];
        for (outcome, value) in all {
            outcomes.sample_of(labels, ("outcome", outcome), value);
        }
    }
    let mut requests =
        text.counter("lnic_lambda_service_outcomes_total", "Requests to services outside by how they ended.");
    for (labels, stats) in measured(series) {
        let all = [
            ("reply", stats.replies),
            ("timed_out", stats.requests_timed_out),
            ("failed", stats.requests_failed),
        ];
        for (outcome, value) in all {
            requests.sample_of(labels, ("outcome", outcome), value);
        }
    }
    let mut refusals = text.counter("lnic_lambda_refusals_total", "Requests that did not run, by why.");
    for (labels, stats) in measured(series) {
        for (reason, value) in
            [("busy", stats.busy), ("late", stats.late), ("unavailable", stats.unavailable)]
        {
            refusals.sample_of(labels, ("reason", reason), value);
        }
    }
}

fn times(text: &mut Exposition, series: &[Series<'_>]) {
    let families: [Field<LambdaStats, Times>; 2] = [
        (
            "lnic_lambda_queueing_seconds",
            "From a request's arrival until it runs: percentiles since the start, at most 19 % too high.",
            |stats| stats.queueing,
        ),
        (
            "lnic_lambda_service_seconds",
            "NPU time of a request: percentiles since the start, at most 19 % too high.",
            |stats| stats.service,
        ),
    ];
    for (name, help, pick) in families {
        let mut family = text.gauge(name, help);
        for (labels, stats) in measured(series) {
            let times = pick(stats);
            for (percentile, ns) in [("50", times.p50_ns), ("99", times.p99_ns), ("100", times.max_ns)] {
                family.sample_of(labels, ("percentile", percentile), seconds(ns));
            }
        }
    }
}
