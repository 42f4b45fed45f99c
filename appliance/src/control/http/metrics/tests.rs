use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::control::appliance::Coalesced;
use crate::control::compile::CompileStatistics;
use crate::control::plane::{Manifest, Origin, Phase, PortReadiness, Stuck, WorkerReadiness};
use crate::control::stats::{
    DeploymentStats, Frames, LambdaStats, LcoreStats, LogStats, NeighbourStats, PoolStats, PortStats,
    RegionStats, RuleStats, Times,
};

/// Names that are OpenFaaS's, against Prometheus' conventions.
const NOT_OURS: [&str; 1] = ["gateway_function_invocation_started"];

fn stats(id: u32) -> LambdaStats {
    LambdaStats {
        name: format!("lambda{id}"),
        id,
        state: "active".into(),
        weight: 1,
        budget_us: 200,
        concurrency: "shared".into(),
        namespace: "default".into(),
        generation: 3,
        replicas: 2,
        memory_bytes: BTreeMap::new(),
        islands: vec!["island0".into()],
        services: vec![],
        invocations: 100,
        forwarded: 90,
        dropped: 1,
        to_host: 2,
        traps: 3,
        exhausted: 4,
        bad_verdicts: 0,
        fuel: 123_456_789_012,
        busy: 5,
        late: 6,
        unavailable: 7,
        calls: 8,
        calls_timed_out: 9,
        npu_ns: 1_500_000_000,
        requests: 10,
        replies: 7,
        requests_timed_out: 2,
        requests_failed: 1,
        queueing: Times { p50_ns: 1024, p99_ns: 2048, max_ns: 4096 },
        service: Times { p50_ns: 512, p99_ns: 640, max_ns: 768 },
    }
}

fn lambda(id: u32, namespace: &str) -> Lambda {
    Lambda {
        key: LambdaKey::new(namespace, &format!("lambda{id}")),
        origin: Origin::Registry,
        id,
        phase: Phase::Active,
        problem: None,
        generation: 3,
        generations: vec![],
        replicas: None,
        available_replicas: 2,
        concurrency: "shared".into(),
        manifest: Manifest::default(),
        services: vec![],
        memory_bytes: BTreeMap::from([("local".into(), 65_536), ("emem".into(), 1 << 20)]),
        invocations: 1_000,
        created_at_ms: 1_700_000_000_000,
    }
}

fn snapshot(lambdas: u32) -> Snapshot {
    let lcore = |lcore| LcoreStats {
        lcore,
        cpu: lcore,
        roles: "dispatcher, NPU".into(),
        busy_breaths: 10,
        idle_breaths: 20,
        sleeps: 1,
        wakes: 1,
        npu_ns: 2_000_000_001,
        handed_over: 0,
        taken_over: 0,
        doorbells: 0,
        suspended: 0,
        requests: 11,
        replies: 8,
        requests_timed_out: 2,
        requests_unresolved: 1,
        neighbours_asked: 4,
        commands: 4,
        longest_command_ns: 3_900,
    };
    let region = |tier: &str, owner: Option<&str>| RegionStats {
        tier: tier.into(),
        owner: owner.map(str::to_owned),
        limit_bytes: 1 << 32,
        slab_bytes: 1 << 21,
        used_bytes: 1 << 20,
        largest_free_bytes: 1 << 20,
        fragmentation: 0.25,
        pages: BTreeMap::from([("4 KiB pages".into(), 1 << 21)]),
        numa_node: None,
        is_on_node: true,
    };
    Snapshot {
        name: "the \"first\"\nappliance".into(),
        version: "0.1.0".into(),
        uptime_s: 12.5,
        scheduling: "dispatcher".into(),
        cycles_per_us: 2_000,
        frames: Frames { received: 10, sent: 7, dropped: 3, ..Frames::default() },
        drops: BTreeMap::from([("truncated".into(), 3)]),
        ports: ["p0", "h0"]
            .map(|name| PortStats { name: name.into(), rx_bytes: 640, ..PortStats::default() })
            .into(),
        lcores: vec![lcore(1), lcore(2)],
        lambdas: (0..lambdas).map(stats).collect(),
        deployments: 9,
        compiler: CompileStatistics { misses: 2, ..CompileStatistics::default() },
        pools: vec![PoolStats { name: "frames".into(), frames: 8191, in_use: 512 }],
        regions: vec![region("local", Some("NPU 0")), region("emem", None)],
        neighbours: [Some("02:00:00:00:00:02"), None]
            .map(|mac| NeighbourStats {
                port: "p0".into(),
                address: if mac.is_some() { "10.77.0.2" } else { "fd77::3" }.into(),
                state: if mac.is_some() { "known" } else { "unanswered" }.into(),
                mac: mac.map(str::to_owned),
                answered_s_ago: mac.map(|_| 1.5),
                unanswered: 0,
                services: 1,
            })
            .into(),
        log: LogStats { limited: 1, lost: 2 },
        deployment: DeploymentStats {
            parser: "ethernet".into(),
            extracted: "none".into(),
            rules: RuleStats {
                rules_before: 5,
                rules: 4,
                shadowed: 1,
                merged: 0,
                tuples_before: 2,
                tuples: 1,
            },
            code: Coalesced::default(),
        },
    }
}

fn readiness() -> Readiness {
    Readiness {
        ready: false,
        problems: vec!["lcore 2 is silent".into()],
        ports: vec![PortReadiness { name: "p0".into(), up: true }],
        lcores: vec![
            WorkerReadiness { lcore: 1, roles: "NPU".into(), silent_ms: 1, stuck: None },
            WorkerReadiness { lcore: 2, roles: "NPU".into(), silent_ms: 1500, stuck: Some(Stuck::Silent) },
        ],
    }
}

fn scraped(lambdas: &[Lambda], snapshot: &Snapshot, functions: &FunctionMetrics) -> String {
    Scrape { snapshot, readiness: &readiness(), lambdas: Some(lambdas), functions }.text()
}

/// Two lambdas in two namespaces, one of which has been called.
fn example() -> String {
    let functions = FunctionMetrics::default();
    functions.started("lambda1", "team-a");
    functions.record("lambda1", "team-a", 200, 0.003);
    functions.record("lambda1", "team-a", 502, 20.0);
    functions.record("unknown", "team-a", 200, 1.0);
    scraped(&[lambda(0, "default"), lambda(1, "team-a")], &snapshot(2), &functions)
}

/// A sample's name, labels and value.
fn sample(line: &str) -> (&str, &str, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    (name, labels.strip_suffix('}').expect("closed labels"), value.parse().expect("a number"))
}

/// The format's rules, and promtool's: what a scraper that is strict would refuse.
fn lint(text: &str) {
    let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
    let (mut family, mut kind) = ("", "");
    let mut lines = text.lines();
    assert!(text.ends_with('\n'));
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').expect("a help text").0;
            assert!(families.insert(family), "{family}: twice");
            let rest =
                lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a type after its help");
            let (name, of) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family);
            kind = of;
            let is_total = family.ends_with("_total");
            assert!(is_total == (kind == "counter") || NOT_OURS.contains(&family), "{family}: {kind}");
            let units = ["nanosecond", "milli", "micro", "kib", "mib", "percent"];
            assert!(!units.iter().any(|unit| family.contains(unit)), "{family}: no base unit");
            continue;
        }
        let (name, labels, value) = sample(line);
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line}: not of {family}"));
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}");
        assert!(value.is_finite() && (kind != "counter" || value >= 0.0), "{line}");
        assert!(series.insert((name, labels)), "{line}: twice");
        let own = labels.split(',').any(|label| label.starts_with("le=")) == (suffix == "_bucket")
            && !labels.contains("quantile=");
        assert!(own, "{line}: a label that means something else");
    }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_scrape_keeps_the_rules() {
    lint(&example());
    lint(&scraped(&[], &snapshot(0), &FunctionMetrics::default()));
}

#[test]
fn the_appliance_is_told() {
    has(
        &example(),
        &[
            "lnic_build_info{version=\"0.1.0\",appliance=\"the \\\"first\\\"\\nappliance\",scheduling=\"dispatcher\"} 1",
            "lnic_uptime_seconds 12.5",
            "lnic_ready 0",
            "lnic_registry_up 1",
            "lnic_port_up{port=\"p0\"} 1",
            "lnic_lcore_stuck{lcore=\"2\"} 1",
            "lnic_lcore_silent_seconds{lcore=\"2\"} 1.5",
            "lnic_frames_ended_total{end=\"sent\"} 7",
            "lnic_frames_dropped_total{reason=\"truncated\"} 3",
            "lnic_frames_dropped_total{reason=\"tx_full\"} 0",
            "lnic_port_receive_bytes_total{port=\"h0\"} 640",
            "lnic_lcore_breaths_total{lcore=\"1\",kind=\"idle\"} 20",
            "lnic_lcore_npu_seconds_total{lcore=\"1\"} 2.000000001",
            "lnic_region_used_bytes{tier=\"local\",owner=\"NPU 0\"} 1048576",
            "lnic_region_limit_bytes{tier=\"emem\",owner=\"all\"} 4294967296",
            "lnic_pool_frames_in_use{pool=\"frames\"} 512",
            "lnic_log_lines_lost_total{cause=\"full\"} 2",
            "lnic_deployments_total 9",
            "lnic_compile_jobs_total 2",
            "lnic_lambdas{phase=\"active\"} 2",
            "lnic_lambdas{phase=\"quarantined\"} 0",
        ],
    );
}

#[test]
fn lambdas_are_told_with_their_namespace() {
    has(
        &example(),
        &[
            "lnic_lambda_info{namespace=\"team-a\",lambda=\"lambda1\",id=\"1\",phase=\"active\",concurrency=\"shared\"} 1",
            "lnic_lambda_invocations_total{namespace=\"default\",lambda=\"lambda0\"} 1000",
            "lnic_lambda_outcomes_total{namespace=\"team-a\",lambda=\"lambda1\",outcome=\"trap\"} 3",
            "lnic_lambda_refusals_total{namespace=\"team-a\",lambda=\"lambda1\",reason=\"late\"} 6",
            "lnic_lambda_npu_seconds_total{namespace=\"team-a\",lambda=\"lambda1\"} 1.5",
            "lnic_lambda_fuel_total{namespace=\"team-a\",lambda=\"lambda1\"} 123456789012",
            "lnic_lambda_queueing_seconds{namespace=\"team-a\",lambda=\"lambda1\",percentile=\"99\"} 0.000002048",
            "lnic_lambda_memory_bytes{namespace=\"default\",lambda=\"lambda0\",tier=\"emem\"} 1048576",
        ],
    );
}

#[test]
fn openfaas_names_are_kept() {
    let text = example();
    has(
        &text,
        &[
            "gateway_service_count{function_name=\"lambda0.default\"} 2",
            "gateway_function_invocation_started{function_name=\"lambda1.team-a\"} 1",
            "gateway_function_invocation_total{function_name=\"lambda1.team-a\",code=\"200\"} 1",
            "gateway_function_invocation_total{function_name=\"lambda1.team-a\",code=\"502\"} 1",
            "gateway_functions_seconds_bucket{function_name=\"lambda1.team-a\",le=\"0.0025\"} 0",
            "gateway_functions_seconds_bucket{function_name=\"lambda1.team-a\",le=\"0.005\"} 1",
            "gateway_functions_seconds_bucket{function_name=\"lambda1.team-a\",le=\"10\"} 1",
            "gateway_functions_seconds_bucket{function_name=\"lambda1.team-a\",le=\"+Inf\"} 2",
            "gateway_functions_seconds_sum{function_name=\"lambda1.team-a\"} 20.003",
            "gateway_functions_seconds_count{function_name=\"lambda1.team-a\"} 2",
        ],
    );
    assert!(!text.contains("unknown.team-a"), "a name that is not deployed");
}

#[test]
fn what_was_removed_vanishes() {
    let functions = FunctionMetrics::default();
    functions.record("lambda1", "default", 200, 1.0);
    // The snapshot may still have it: it is draining.
    let text = scraped(&[lambda(0, "default")], &snapshot(2), &functions);
    assert!(text.contains("lambda0") && !text.contains("lambda1"), "{text}");
}

#[test]
fn without_a_registry_the_appliance_is_told_all_the_same() {
    let (snapshot, functions) = (snapshot(2), FunctionMetrics::default());
    let scrape =
        Scrape { snapshot: &snapshot, readiness: &readiness(), lambdas: None, functions: &functions };
    let text = scrape.text();
    lint(&text);
    has(&text, &["lnic_registry_up 0", "lnic_frames_received_total 10"]);
    assert!(!text.contains("lambda=\""));
}

/// Time that this thread had a CPU, not that it waited for one.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("ns on a CPU"))
}

/// `cargo test --release -p lnic --lib -- --nocapture a_thousand_lambdas_are_scraped` tells the time.
#[test]
#[allow(clippy::print_stderr, reason = "a measurement")]
fn a_thousand_lambdas_are_scraped_in_time() {
    let functions = FunctionMetrics::default();
    let lambdas: Vec<Lambda> = (0..1000).map(|id| lambda(id, "default")).collect();
    for lambda in &lambdas {
        functions.record(&lambda.key.name, &lambda.key.namespace, 200, 0.001);
    }
    let snapshot = snapshot(1000);
    let scrape = || {
        let begun = cpu_time();
        let bytes = scraped(&lambdas, &snapshot, &functions).len();
        (cpu_time() - begun, bytes)
    };
    let mut times: Vec<(Duration, usize)> = (0..11).map(|_| scrape()).collect();
    times.sort();
    let (median, bytes) = times[5];
    eprintln!("1,000 lambdas: {bytes} bytes in {median:?}");
    assert!(median < Duration::from_millis(50), "{times:?}");
}

/// Every name in the dashboard is one that a scrape tells.
#[test]
fn the_dashboard_shows_what_there_is() {
    let dashboard = include_str!("../../../../../configs/grafana.json");
    serde_json::from_str::<serde_json::Value>(dashboard).expect("JSON");
    let text = example();
    let known: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| sample(line).0).collect();
    let words = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let shown: BTreeSet<&str> =
        words.filter(|word| word.starts_with("lnic_") || word.starts_with("gateway_")).collect();
    assert!(shown.len() > 20, "{shown:?}");
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
}
