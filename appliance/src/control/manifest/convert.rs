//! Between the file's schema, whose values have places and may be wrong, and [`Manifest`].

use std::collections::BTreeMap;

use lnic_registry::{Manifest, ManifestRule, ManifestService};
use toml::Spanned;

use crate::control::config::raw::{self, Scalar, Value};

/// A value that stands in no file.
pub(super) fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// What a file says. A number that does not fit is left out: the judge has named it.
pub(super) fn from_raw(raw: &raw::Manifest) -> Manifest {
    Manifest {
        name: text(&raw.name).unwrap_or_default(),
        id: number(&raw.id),
        entry: text(&raw.entry),
        weight: number(&raw.weight),
        budget_us: number(&raw.budget_us),
        concurrency: text(&raw.concurrency),
        layout: text(&raw.layout),
        in_flight: number(&raw.in_flight),
        queue_frames: number(&raw.queue_frames),
        egress: text(&raw.egress),
        rpc: raw.rpc.as_ref().map(|value| *value.get_ref()),
        http: text(&raw.http),
        message_slots: number(&raw.message_slots),
        message_kib: number(&raw.message_kib),
        islands: raw.islands.as_ref().map(|islands| list(islands.get_ref())),
        replicas: number(&raw.replicas),
        memory_mib: number(&raw.memory_mib),
        environment: texts(&raw.environment),
        secrets: list(&raw.secrets),
        labels: texts(&raw.labels),
        annotations: texts(&raw.annotations),
        services: raw
            .services
            .iter()
            .map(|(name, service)| (name.get_ref().clone(), from_raw_service(service.get_ref())))
            .collect(),
        rules: raw.rules.iter().map(|rule| from_raw_rule(rule.get_ref())).collect(),
    }
}

fn from_raw_service(raw: &raw::Service) -> ManifestService {
    ManifestService {
        address: text(&raw.address).unwrap_or_default(),
        port: text(&raw.port),
        framing: text(&raw.framing),
    }
}

fn from_raw_rule(raw: &raw::ManifestRule) -> ManifestRule {
    ManifestRule {
        priority: number(&raw.priority),
        port: text(&raw.port),
        vlan: scalar(&raw.vlan),
        source: text(&raw.source),
        destination: text(&raw.destination),
        protocol: scalar(&raw.protocol),
        source_port: scalar(&raw.source_port),
        destination_port: scalar(&raw.destination_port),
        ether_type: number(&raw.ether_type),
        parameters: text(&raw.parameters),
        parameters_hex: text(&raw.parameters_hex),
    }
}

/// The schema's form of a manifest, for the judge.
pub(super) fn to_raw(manifest: &Manifest) -> raw::Manifest {
    raw::Manifest {
        name: Some(spanned(manifest.name.clone())),
        id: integer(manifest.id),
        entry: word(&manifest.entry),
        weight: integer(manifest.weight),
        budget_us: integer(manifest.budget_us),
        concurrency: word(&manifest.concurrency),
        layout: word(&manifest.layout),
        in_flight: integer(manifest.in_flight),
        queue_frames: integer(manifest.queue_frames),
        egress: word(&manifest.egress),
        rpc: manifest.rpc.map(spanned),
        http: word(&manifest.http),
        message_slots: integer(manifest.message_slots),
        message_kib: integer(manifest.message_kib),
        islands: manifest.islands.as_ref().map(|islands| spanned(words(islands))),
        replicas: integer(manifest.replicas),
        memory_mib: integer(manifest.memory_mib),
        secrets: words(&manifest.secrets),
        environment: entries(&manifest.environment),
        services: manifest
            .services
            .iter()
            .map(|(name, service)| (spanned(name.clone()), spanned(to_raw_service(service))))
            .collect(),
        labels: entries(&manifest.labels),
        annotations: entries(&manifest.annotations),
        rules: manifest.rules.iter().map(|rule| spanned(to_raw_rule(rule))).collect(),
    }
}

fn to_raw_service(service: &ManifestService) -> raw::Service {
    raw::Service {
        address: Some(spanned(service.address.clone())),
        port: word(&service.port),
        framing: word(&service.framing),
    }
}

fn to_raw_rule(rule: &ManifestRule) -> raw::ManifestRule {
    raw::ManifestRule {
        priority: integer(rule.priority),
        port: word(&rule.port),
        vlan: scalar_of(&rule.vlan),
        source: word(&rule.source),
        destination: word(&rule.destination),
        protocol: scalar_of(&rule.protocol),
        source_port: scalar_of(&rule.source_port),
        destination_port: scalar_of(&rule.destination_port),
        ether_type: integer(rule.ether_type),
        parameters: word(&rule.parameters),
        parameters_hex: word(&rule.parameters_hex),
    }
}

fn text(value: &Value<String>) -> Option<String> {
    value.as_ref().map(|value| value.get_ref().clone())
}

fn number<T: TryFrom<i64>>(value: &Value<i64>) -> Option<T> {
    value.as_ref().and_then(|value| T::try_from(*value.get_ref()).ok())
}

fn scalar(value: &Value<Scalar>) -> Option<String> {
    value.as_ref().map(|value| match value.get_ref() {
        Scalar::Text(text) => text.clone(),
        other => other.to_string(),
    })
}

fn list(values: &[Spanned<String>]) -> Vec<String> {
    values.iter().map(|value| value.get_ref().clone()).collect()
}

fn texts(values: &raw::Texts) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.get_ref().clone(), value.get_ref().clone())).collect()
}

fn integer<T: Into<i64>>(value: Option<T>) -> Value<i64> {
    value.map(|value| spanned(value.into()))
}

fn word(value: &Option<String>) -> Value<String> {
    value.clone().map(spanned)
}

fn words(values: &[String]) -> Vec<Spanned<String>> {
    values.iter().cloned().map(spanned).collect()
}

fn entries(values: &BTreeMap<String, String>) -> raw::Texts {
    values.iter().map(|(name, value)| (spanned(name.clone()), spanned(value.clone()))).collect()
}

fn scalar_of(value: &Option<String>) -> Value<Scalar> {
    value.clone().map(|text| spanned(Scalar::Text(text)))
}
