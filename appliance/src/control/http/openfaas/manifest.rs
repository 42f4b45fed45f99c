//! From an OpenFaaS deployment to a manifest.
//!
//! What OpenFaaS has no field for is said by labels or annotations: `lnic.weight`, `lnic.budget_us` and so on are the manifest's fields,
//! `lnic.rules` is a JSON array of rules, `lnic.services` a JSON object of services by name. `com.openfaas.scale.zero` and `com.openfaas.scale.min` give the replicas.

use std::collections::BTreeMap;
use std::str::FromStr;

use lnic_registry::Manifest;

use super::quantity;
use super::types::{Container, FunctionDeployment};

/// What the labels and annotations begin with that are the manifest's fields.
const PREFIX: &str = "lnic.";
/// Annotation that keeps what only containers have. No deployment can set it, for it is none of the manifest's fields.
const CONTAINER: &str = "lnic.openfaas";
/// `true`: it sleeps until a request comes.
const SCALE_ZERO: &str = "com.openfaas.scale.zero";
/// Replicas that it shall have.
const SCALE_MIN: &str = "com.openfaas.scale.min";

/// The manifest that a deployment asks for, or what is wrong with it, one line each.
pub(super) fn manifest(deployment: &FunctionDeployment) -> Result<Manifest, Vec<String>> {
    let mut wrong = Vec::new();
    let mut manifest = Manifest {
        name: deployment.service.clone(),
        environment: deployment.env_vars.clone(),
        secrets: deployment.secrets.clone(),
        labels: deployment.labels.clone(),
        annotations: deployment.annotations.clone(),
        ..Manifest::default()
    };
    if deployment.service.is_empty() {
        wrong.push("service: the function's name is missing".into());
    }
    if deployment.image.is_empty() {
        wrong.push("image: is missing".into());
    }
    resources(&deployment.container, &mut manifest, &mut wrong);
    let said = said(deployment, &mut wrong);
    scale(&said, &mut manifest, &mut wrong);
    for (key, value) in &said {
        if let Some(field) = key.strip_prefix(PREFIX) {
            set(&mut manifest, field, value).unwrap_or_else(|text| wrong.push(format!("{key}: {text}")));
        }
    }
    keep(&deployment.container, &mut manifest);
    if wrong.is_empty() { Ok(manifest) } else { Err(wrong) }
}

/// What a manifest keeps of a deployment for containers, and its annotations without that.
pub(super) fn container(manifest: &Manifest) -> (Container, BTreeMap<String, String>) {
    let mut annotations = manifest.annotations.clone();
    let kept = annotations.remove(CONTAINER).and_then(|text| serde_json::from_str(&text).ok());
    (kept.unwrap_or_default(), annotations)
}

fn keep(container: &Container, manifest: &mut Manifest) {
    manifest.annotations.remove(CONTAINER);
    if *container != Container::default()
        && let Ok(text) = serde_json::to_string(container)
    {
        manifest.annotations.insert(CONTAINER.into(), text);
    }
}

/// Labels and annotations that mean something here. The same in both is fine, two minds are not.
fn said<'a>(deployment: &'a FunctionDeployment, wrong: &mut Vec<String>) -> BTreeMap<&'a str, &'a str> {
    let mut said = BTreeMap::new();
    for (key, value) in deployment.labels.iter().chain(&deployment.annotations) {
        let (key, value) = (key.as_str(), value.as_str());
        if !key.starts_with(PREFIX) && key != SCALE_ZERO && key != SCALE_MIN {
            continue;
        }
        match said.insert(key, value) {
            Some(other) if other != value => {
                wrong.push(format!("{key}: the label says \"{other}\", the annotation \"{value}\""));
            }
            _ => {}
        }
    }
    said
}

fn resources(container: &Container, manifest: &mut Manifest, wrong: &mut Vec<String>) {
    let both = [("limits", &container.limits), ("requests", &container.requests)];
    for (name, resources) in both.iter().filter_map(|(name, of)| Some((name, of.as_ref()?))) {
        if [&resources.nvidia_gpu, &resources.amd_gpu, &resources.intel_gpu].iter().any(|gpu| !gpu.is_empty())
        {
            wrong.push(format!("{name}: lambdas have no GPU"));
        }
    }
    let memory = container.limits.as_ref().map_or("", |limits| &limits.memory);
    if !memory.is_empty() {
        manifest.memory_mib = quantity::mib(memory);
        if manifest.memory_mib.is_none() {
            wrong.push(format!("limits.memory: \"{memory}\": expected an amount such as \"64Mi\""));
        }
    }
}

fn scale(said: &BTreeMap<&str, &str>, manifest: &mut Manifest, wrong: &mut Vec<String>) {
    if let Some(value) = said.get(SCALE_MIN) {
        manifest.replicas = value.parse().ok();
        if manifest.replicas.is_none() {
            wrong.push(format!("{SCALE_MIN}: \"{value}\" is no number of replicas"));
        }
    }
    match said.get(SCALE_ZERO).copied() {
        None | Some("false" | "0") => {}
        // It is woken within a request's time, so there is no reason to start with more.
        Some("true" | "1") => manifest.replicas = Some(0),
        Some(value) => wrong.push(format!("{SCALE_ZERO}: \"{value}\": expected \"true\" or \"false\"")),
    }
}

/// Sets a field. Ranges are the plane's to judge.
fn set(manifest: &mut Manifest, field: &str, value: &str) -> Result<(), String> {
    match field {
        "id" => manifest.id = Some(parse(value)?),
        "entry" => manifest.entry = Some(value.into()),
        "weight" => manifest.weight = Some(parse(value)?),
        "budget_us" => manifest.budget_us = Some(parse(value)?),
        "concurrency" => manifest.concurrency = Some(value.into()),
        "layout" => manifest.layout = Some(value.into()),
        "in_flight" => manifest.in_flight = Some(parse(value)?),
        "queue_frames" => manifest.queue_frames = Some(parse(value)?),
        "egress" => manifest.egress = Some(value.into()),
        "rpc" => manifest.rpc = Some(parse(value)?),
        "http" => manifest.http = Some(value.into()),
        "message_slots" => manifest.message_slots = Some(parse(value)?),
        "message_kib" => manifest.message_kib = Some(parse(value)?),
        "islands" => {
            manifest.islands = Some(value.split(',').map(|island| island.trim().to_owned()).collect());
        }
        "replicas" => manifest.replicas = Some(parse(value)?),
        "memory_mib" => manifest.memory_mib = Some(parse(value)?),
        "services" => manifest.services = serde_json::from_str(value).map_err(|error| error.to_string())?,
        "rules" => manifest.rules = serde_json::from_str(value).map_err(|error| error.to_string())?,
        _ => return Err("there is no such setting".into()),
    }
    Ok(())
}

fn parse<T: FromStr<Err: std::fmt::Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("\"{value}\": {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lnic_registry::{ManifestRule, ManifestService};

    fn deployment(json: serde_json::Value) -> FunctionDeployment {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_field_of_a_manifest_can_be_said() {
        let asked = deployment(serde_json::json!({
            "service": "echo", "image": "echo.wasm", "envVars": {"MODE": "fast"}, "secrets": ["key"],
            "limits": {"memory": "64Mi", "cpu": "100m"},
            "labels": {"team": "a", "lnic.weight": "3", "lnic.id": "7", "lnic.rpc": "false", "lnic.islands": "near, far"},
            "annotations": {
                "note": "x", "lnic.entry": "run", "lnic.budget_us": "500", "lnic.concurrency": "shared", "lnic.layout": "dense",
                "lnic.in_flight": "2", "lnic.queue_frames": "9", "lnic.egress": "any", "lnic.http": "message", "lnic.message_slots": "4",
                "lnic.message_kib": "128", "lnic.services": "{\"cache\":{\"address\":\"192.0.2.7:11211\",\"framing\":\"memcached\"}}", "lnic.replicas": "2", "lnic.rules": "[{\"protocol\":\"udp\",\"destination_port\":\"53\"}]",
                "com.openfaas.scale.min": "5",
            },
        }));
        let rule = ManifestRule {
            protocol: Some("udp".into()),
            destination_port: Some("53".into()),
            ..Default::default()
        };
        let service = ManifestService {
            address: "192.0.2.7:11211".into(),
            framing: Some("memcached".into()),
            ..Default::default()
        };
        let found = manifest(&asked).unwrap();
        let expected = Manifest {
            name: "echo".into(),
            id: Some(7),
            entry: Some("run".into()),
            weight: Some(3),
            budget_us: Some(500),
            concurrency: Some("shared".into()),
            layout: Some("dense".into()),
            in_flight: Some(2),
            queue_frames: Some(9),
            egress: Some("any".into()),
            rpc: Some(false),
            http: Some("message".into()),
            message_slots: Some(4),
            message_kib: Some(128),
            islands: Some(vec!["near".into(), "far".into()]),
            // What is said in lnic's own words wins.
            replicas: Some(2),
            memory_mib: Some(64),
            environment: BTreeMap::from([("MODE".into(), "fast".into())]),
            secrets: vec!["key".into()],
            labels: asked.labels.clone(),
            annotations: found.annotations.clone(),
            services: BTreeMap::from([("cache".into(), service)]),
            rules: vec![rule],
        };
        assert_eq!(found, expected);
        let (kept, annotations) = container(&found);
        assert_eq!(kept, asked.container);
        assert_eq!(annotations, asked.annotations);
    }

    #[test]
    fn what_is_wrong_is_named_all_at_once() {
        let asked = deployment(serde_json::json!({
            "service": "", "image": "x.wasm",
            "limits": {"memory": "lots", "nvidia.com/gpu": "1"},
            "labels": {"lnic.weight": "heavy", "lnic.wieght": "1", "lnic.openfaas": "{}", "lnic.id": "1"},
            "annotations": {"lnic.id": "2", "lnic.rules": "[{\"colour\":1}]", "lnic.services": "{\"a\":{\"adress\":\"\"}}", "com.openfaas.scale.zero": "maybe"},
        }));
        let wrong = manifest(&asked).unwrap_err();
        for part in [
            "service: ",
            "limits: lambdas have no GPU",
            "limits.memory: \"lots\"",
            "lnic.weight: \"heavy\"",
            "lnic.wieght: there is no such setting",
            "lnic.openfaas: there is no such setting",
            "lnic.id: the label says \"1\", the annotation \"2\"",
            "lnic.rules: unknown field `colour`",
            "lnic.services: unknown field `adress`",
            "com.openfaas.scale.zero: \"maybe\"",
        ] {
            assert!(wrong.iter().any(|line| line.starts_with(part)), "{part} is not in {wrong:#?}");
        }
        assert_eq!(wrong.len(), 10, "{wrong:#?}");
    }

    #[test]
    fn replicas_come_from_openfaas_words() {
        let with = |labels: serde_json::Value| {
            manifest(&deployment(serde_json::json!({"service": "f", "image": "f.wasm", "labels": labels})))
                .unwrap()
                .replicas
        };
        assert_eq!(with(serde_json::json!({})), None);
        assert_eq!(with(serde_json::json!(null)), None);
        assert_eq!(with(serde_json::json!({"com.openfaas.scale.min": "2"})), Some(2));
        assert_eq!(with(serde_json::json!({"com.openfaas.scale.zero": "false"})), None);
        let both = serde_json::json!({"com.openfaas.scale.zero": "true", "com.openfaas.scale.min": "2"});
        assert_eq!(with(both), Some(0));
    }
}
