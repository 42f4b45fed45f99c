//! Judges a manifest: what it shares with `[[lambdas]]` and `[[rules]]` by their judges, the rest here.

use std::ops::Range;

use toml::Spanned;

use super::{
    Budget, IslandSpec, LambdaSpec, PortSpec, Scheduling, ServiceLimits, Topology, lambdas, rules,
    scheduling, services,
};
use crate::control::config::Problems;
use crate::control::config::raw::{self, Scalar};
use crate::matcher::Rule;

/// Most NPUs that a lambda may ask for: more than an appliance has.
const REPLICAS: u32 = 1024;
/// Most MiB of memory that a lambda may ask for.
const MEMORY_MIB: u32 = 1 << 20;
/// Most variables of a lambda's environment.
const VARIABLES: usize = 64;
/// Bytes of their names and values together.
const ENVIRONMENT_BYTES: usize = 4 << 10;
/// Most secrets that a lambda may name.
const SECRETS: usize = 32;
/// Longest name of a secret.
const SECRET_NAME_BYTES: usize = 253;
/// Most labels, and most annotations.
const LABELS: usize = 64;
/// Bytes of labels together.
const LABEL_BYTES: usize = 16 << 10;
/// Bytes of annotations together.
const ANNOTATION_BYTES: usize = 64 << 10;
/// Most rules of a lambda.
const RULES: usize = 256;

/// What of an appliance a manifest is judged by.
pub(crate) struct Surroundings<'a> {
    budget: Budget,
    queue_frames: u32,
    /// `None` if the appliance is not known: names of islands and ports are then not looked up, nor ways to services.
    known: Option<(&'a [IslandSpec], &'a [PortSpec], &'a ServiceLimits)>,
}

impl<'a> Surroundings<'a> {
    /// The appliance that will run it.
    pub(crate) fn of(topology: &'a Topology) -> Self {
        Self {
            budget: topology.budget,
            queue_frames: topology.scheduling.queue_frames,
            known: Some((&topology.islands, &topology.ports, &topology.services)),
        }
    }

    /// Some appliance: only what none would take is wrong.
    pub(crate) fn unknown() -> Self {
        Self {
            budget: Budget { max_us: scheduling::BUDGET_US, ..Budget::default() },
            queue_frames: Scheduling::default().queue_frames,
            known: None,
        }
    }
}

/// Judges a manifest; `place` names the lambda in messages. In the rules, its lambda has the first slot.
pub(crate) fn judge(
    place: &str,
    raw: raw::Manifest,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> (LambdaSpec, Vec<Rule>) {
    let start = Some(0..0);
    problems.integer(&format!("{place}: replicas"), &raw.replicas, 0..=REPLICAS, 0);
    let memory_mib = problems.integer(&format!("{place}: memory_mib"), &raw.memory_mib, 1..=MEMORY_MIB, 1);
    let memory_mib = raw.memory_mib.is_some().then_some(memory_mib);
    environment(place, &raw.environment, problems);
    secrets(place, &raw.secrets, problems);
    labels(place, "labels", &raw.labels, LABEL_BYTES, problems);
    labels(place, "annotations", &raw.annotations, ANNOTATION_BYTES, problems);
    if let Some(extra) = raw.rules.get(RULES) {
        problems.wrong(Some(extra.span()), over(place, "rules", raw.rules.len(), RULES));
    }
    let ports = surroundings.known.map(|(_, ports, _)| ports);
    let rules: Vec<Rule> = (1..)
        .zip(raw.rules.into_iter().take(RULES))
        .map(|(number, rule)| {
            let place = format!("{place}: rule {number}");
            rules::judge(&place, rule.span(), &rule.into_inner().into(), ports, problems)
        })
        .collect();
    let lambda = raw::Lambda {
        name: raw.name,
        id: raw.id,
        tenant: None,
        file: None,
        entry: raw.entry,
        budget_us: raw.budget_us,
        weight: raw.weight,
        islands: raw.islands,
        concurrency: raw.concurrency,
        layout: raw.layout,
        in_flight: raw.in_flight,
        queue_frames: raw.queue_frames,
        egress: raw.egress,
        rpc: raw.rpc,
        http: raw.http,
        message_slots: raw.message_slots,
        message_kib: raw.message_kib,
        services: raw.services,
    };
    let bounds = lambdas::Bounds {
        budget: &surroundings.budget,
        queue_frames: surroundings.queue_frames,
        islands: surroundings.known.map(|(islands, ..)| islands),
        services: surroundings.known.map(|(_, ports, limits)| services::Context { ports, limits }),
    };
    let spec = lambdas::judge(place, start, &lambda, &bounds, problems);
    let rules = rules.into_iter().map(|rule| Rule { egress: spec.egress, ..rule }).collect();
    (LambdaSpec { memory_mib, ..spec }, rules)
}

impl From<raw::ManifestRule> for raw::Rule {
    fn from(rule: raw::ManifestRule) -> Self {
        Self {
            lambda: None,
            priority: rule.priority,
            port: rule.port,
            vlan: rule.vlan.map(number_or_word),
            source: rule.source,
            destination: rule.destination,
            protocol: rule.protocol.map(number_or_word),
            source_port: rule.source_port.map(number_or_word),
            destination_port: rule.destination_port.map(number_or_word),
            ether_type: rule.ether_type,
            parameters: rule.parameters,
            parameters_hex: rule.parameters_hex,
        }
    }
}

/// Manifests may write a number as text, as those in JSON do.
fn number_or_word(value: Spanned<Scalar>) -> Spanned<Scalar> {
    let number = match value.get_ref() {
        Scalar::Text(text) => text.parse().ok(),
        _ => None,
    };
    number.map_or_else(|| value.clone(), |number| Spanned::new(value.span(), Scalar::Integer(number)))
}

fn over(place: &str, what: &str, count: usize, limit: usize) -> String {
    format!("{place}: {count} {what}, over the limit of {limit}")
}

fn environment(place: &str, variables: &raw::Texts, problems: &mut Problems<'_>) {
    let place = format!("{place}: environment");
    count(&place, "variables", variables, VARIABLES, problems);
    together(&place, variables, ENVIRONMENT_BYTES, problems);
    for name in variables.keys().filter(|name| !super::is_variable(name.get_ref())) {
        let text = format!(
            "{place}: {}: allowed are letters, digits and \"_\", no digit first",
            quoted(name.get_ref())
        );
        problems.wrong(Some(name.span()), text);
    }
}

fn secrets(place: &str, secrets: &[Spanned<String>], problems: &mut Problems<'_>) {
    if let Some(extra) = secrets.get(SECRETS) {
        problems.wrong(Some(extra.span()), over(place, "secrets", secrets.len(), SECRETS));
    }
    for (at, name) in secrets.iter().enumerate().take(SECRETS) {
        let text = quoted(name.get_ref());
        if !is_secret(name.get_ref()) {
            let allowed =
                format!("1–{SECRET_NAME_BYTES} letters, digits, \".\", \"-\" and \"_\", no \".\" first");
            problems.wrong(Some(name.span()), format!("{place}: secrets: {text}: allowed are {allowed}"));
        } else if secrets[..at].contains(name) {
            problems.wrong(Some(name.span()), format!("{place}: secrets: {text} is listed twice"));
        }
    }
}

fn labels(place: &str, key: &str, labels: &raw::Texts, limit_bytes: usize, problems: &mut Problems<'_>) {
    let place = format!("{place}: {key}");
    count(&place, "of them", labels, LABELS, problems);
    together(&place, labels, limit_bytes, problems);
    if let Some(name) = labels.keys().find(|name| name.get_ref().is_empty()) {
        problems.wrong(Some(name.span()), format!("{place}: one has no name"));
    }
}

fn count(place: &str, what: &str, texts: &raw::Texts, limit: usize, problems: &mut Problems<'_>) {
    if texts.len() > limit {
        problems.wrong(last(texts), over(place, what, texts.len(), limit));
    }
}

fn together(place: &str, texts: &raw::Texts, limit_bytes: usize, problems: &mut Problems<'_>) {
    let bytes: usize = texts.iter().map(|(name, value)| name.get_ref().len() + value.get_ref().len()).sum();
    if bytes > limit_bytes {
        let text = format!("{place}: names and values have {bytes} bytes together: at most {limit_bytes}");
        problems.wrong(last(texts), text);
    }
}

/// The last of them as the file has them.
fn last(texts: &raw::Texts) -> Option<Range<usize>> {
    texts.keys().map(Spanned::span).max_by_key(|span| span.start)
}

/// A name in quotes, cut where nobody would read on.
fn quoted(name: &str) -> String {
    let shown: String = name.chars().take(80).collect();
    format!("{shown:?}")
}

/// What the registry takes as a secret's name.
fn is_secret(name: &str) -> bool {
    (1..=SECRET_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
