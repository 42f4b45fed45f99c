//! The plane as others see it.

use std::sync::PoisonError;

use async_trait::async_trait;
use axum::body::Bytes;
use futures_util::stream::BoxStream;
use lnic_registry::{Digest, LambdaKey, LambdaRecord, Manifest, ManifestService};

use super::Manager;
use crate::control::inspect::Inspection;
use crate::control::plane::{
    Deployment, Generation, Lambda, LogLine, LogQuery, Module, Namespace, Origin, Phase, Plane, PlaneError,
    Readiness, Rule, SecretValue, Target,
};
use crate::control::stats::{LambdaStats, Snapshot};
use crate::control::topology::{LambdaSpec, PortSpec, ServiceSpec, framing_name};
use crate::matcher;
use crate::outside::Framing;

/// What every WebAssembly module begins with.
const MAGIC: &[u8] = b"\0asm";

impl Manager {
    /// A lambda of the registry, as it is here.
    pub(super) async fn describe(&self, key: &LambdaKey) -> Result<Lambda, PlaneError> {
        let record = self.0.registry.lambda(key).await?;
        let record = record.ok_or_else(|| PlaneError::NoLambda(key.clone()))?;
        Ok(self.of_record(&record.value, self.0.sources.deployments.stats_of(key).as_ref()))
    }

    pub(super) fn of_record(&self, record: &LambdaRecord, stats: Option<&LambdaStats>) -> Lambda {
        let local = self.local(&record.key).unwrap_or_default();
        let manifest = record.generation().map(|it| it.manifest.clone()).unwrap_or_default();
        let generations = record.generations.iter().map(|generation| Generation {
            number: generation.number,
            module: generation.module.to_string(),
            image: generation.image.clone(),
            deployed_at_ms: generation.deployed_at_ms,
        });
        Lambda {
            origin: Origin::Registry,
            id: record.id,
            phase: phase(stats, local.problem.is_some()),
            problem: local.problem,
            generation: record.current,
            generations: generations.collect(),
            replicas: record.replicas.or(manifest.replicas),
            manifest,
            created_at_ms: record.created_at_ms,
            ..counted(&record.key, stats)
        }
    }

    fn of_configuration(&self, spec: &LambdaSpec) -> Lambda {
        let key = LambdaKey::new(&self.0.topology.tenants[spec.tenant].name, &spec.name);
        let stats = self.0.sources.deployments.stats_of(&key);
        Lambda {
            origin: Origin::Configuration,
            id: spec.id.raw(),
            phase: phase(stats.as_ref(), false),
            generation: 1,
            manifest: Manifest {
                name: spec.name.clone(),
                id: Some(spec.id.raw()),
                entry: Some(spec.entry.clone()),
                weight: Some(spec.weight),
                budget_us: Some(spec.budget_us),
                services: spec
                    .services
                    .iter()
                    .map(|service| named(service, &self.0.topology.ports))
                    .collect(),
                ..Manifest::default()
            },
            ..counted(&key, stats.as_ref())
        }
    }

    fn shown(&self, key: &LambdaKey, rule: &matcher::Rule) -> Rule {
        Rule {
            lambda: key.clone(),
            priority: rule.priority,
            conditions: self.0.topology.conditions(rule),
            egress: rule.egress.name().into(),
        }
    }

    /// Puts the main thread's findings where others read them.
    pub(super) fn set_readiness(&self, readiness: Readiness) {
        *self.0.readiness.lock().unwrap_or_else(PoisonError::into_inner) = readiness;
    }
}

/// A service as a manifest would have it.
fn named(spec: &ServiceSpec, ports: &[PortSpec]) -> (String, ManifestService) {
    let service = ManifestService {
        address: spec.address.to_string(),
        framing: (spec.framing != Framing::default()).then(|| framing_name(spec.framing).to_owned()),
        port: ports.get(spec.port.index()).map(|port| port.name.clone()),
    };
    (spec.name.clone(), service)
}

/// What the lcores know of a lambda.
fn counted(key: &LambdaKey, stats: Option<&LambdaStats>) -> Lambda {
    Lambda {
        key: key.clone(),
        origin: Origin::Registry,
        id: 0,
        phase: Phase::Failed,
        problem: None,
        generation: 0,
        generations: Vec::new(),
        replicas: None,
        available_replicas: stats.map_or(0, |stats| stats.replicas),
        concurrency: stats.map(|stats| stats.concurrency.clone()).unwrap_or_default(),
        manifest: Manifest::default(),
        services: stats.map(|stats| stats.services.clone()).unwrap_or_default(),
        memory_bytes: stats.map(|stats| stats.memory_bytes.clone()).unwrap_or_default(),
        invocations: stats.map_or(0, |stats| stats.invocations),
        created_at_ms: 0,
    }
}

fn phase(stats: Option<&LambdaStats>, has_problem: bool) -> Phase {
    match stats.map(|stats| stats.state.as_str()) {
        None => Phase::Failed,
        Some(_) if has_problem => Phase::Failed,
        Some("asleep" | "waking") => Phase::Asleep,
        Some("quarantined") => Phase::Quarantined,
        Some("lost") => Phase::Lost,
        Some(_) => Phase::Active,
    }
}

#[async_trait]
impl Plane for Manager {
    async fn upload(&self, wasm: Bytes) -> Result<Module, PlaneError> {
        // All else is judged when it is deployed.
        if !wasm.starts_with(MAGIC) {
            let text =
                format!("not a WebAssembly module: {} bytes that do not begin with \"\\0asm\"", wasm.len());
            return Err(PlaneError::Invalid(vec![text]));
        }
        let digest = self.0.registry.put_module(&wasm).await?;
        Ok(Module { digest: digest.to_string(), bytes: wasm.len() as u64 })
    }

    async fn modules(&self) -> Result<Vec<Module>, PlaneError> {
        let modules = self.0.registry.modules().await?;
        let module = |(digest, bytes): (Digest, u64)| Module { digest: digest.to_string(), bytes };
        Ok(modules.into_iter().map(module).collect())
    }

    async fn deploy(&self, deployment: Deployment) -> Result<Lambda, PlaneError> {
        self.deploy_now(deployment).await
    }

    async fn lambdas(&self, namespace: Option<&str>) -> Result<Vec<Lambda>, PlaneError> {
        let snapshot = self.0.sources.deployments.stats();
        let stats = |key: &LambdaKey| {
            snapshot.iter().find(|stats| stats.name == key.name && stats.namespace == key.namespace)
        };
        let mut all: Vec<Lambda> =
            self.0.topology.lambdas.iter().map(|spec| self.of_configuration(spec)).collect();
        for record in self.0.registry.lambdas().await? {
            all.push(self.of_record(&record.value, stats(&record.value.key)));
        }
        all.retain(|lambda| namespace.is_none_or(|wanted| wanted == lambda.key.namespace));
        all.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(all)
    }

    async fn lambda(&self, key: &LambdaKey) -> Result<Lambda, PlaneError> {
        match self.configured(key) {
            Some(spec) => Ok(self.of_configuration(spec)),
            None => self.describe(key).await,
        }
    }

    async fn remove(&self, key: &LambdaKey) -> Result<(), PlaneError> {
        self.remove_now(key).await
    }

    async fn rollback(&self, key: &LambdaKey, to: Option<u64>) -> Result<Lambda, PlaneError> {
        self.roll_back(key, to).await
    }

    async fn scale(&self, key: &LambdaKey, replicas: u32) -> Result<Lambda, PlaneError> {
        self.rescale_to(key, replicas).await
    }

    async fn release(&self, key: &LambdaKey) -> Result<bool, PlaneError> {
        self.0.sources.deployments.release(key).ok_or_else(|| PlaneError::NoLambda(key.clone()))
    }

    async fn inspection(&self, key: &LambdaKey) -> Result<Inspection, PlaneError> {
        self.0.sources.inspect_key(key).ok_or_else(|| PlaneError::NoLambda(key.clone()))
    }

    async fn rules(&self) -> Result<Vec<Rule>, PlaneError> {
        let mut rules = Vec::new();
        let topology = &self.0.topology;
        for (at, spec) in topology.lambdas.iter().enumerate() {
            let key = LambdaKey::new(&topology.tenants[spec.tenant].name, &spec.name);
            let written = topology.rules.iter().filter(|rule| rule.lambda.slot.index() == at);
            rules.extend(written.map(|rule| self.shown(&key, rule)));
            rules.extend(spec.rpc.then(|| by_id(&key, spec.id.raw(), spec.egress)));
        }
        let local = self.0.local.read().unwrap_or_else(PoisonError::into_inner);
        for (key, applied) in local.iter().filter_map(|(key, local)| Some((key, local.applied.as_ref()?))) {
            rules.extend(applied.rules.iter().map(|rule| self.shown(key, rule)));
            rules.extend(applied.by_id.map(|egress| by_id(key, applied.id, egress)));
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        Ok(rules)
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>, PlaneError> {
        self.all_namespaces().await
    }

    async fn create_namespace(&self, namespace: Namespace) -> Result<Namespace, PlaneError> {
        self.create(namespace).await
    }

    async fn update_namespace(&self, namespace: Namespace) -> Result<Namespace, PlaneError> {
        self.update(namespace).await
    }

    async fn remove_namespace(&self, name: &str) -> Result<(), PlaneError> {
        self.delete(name).await
    }

    async fn secrets(&self, namespace: &str) -> Result<Vec<String>, PlaneError> {
        self.secret_names(namespace).await
    }

    async fn set_secret(
        &self,
        namespace: &str,
        name: &str,
        value: SecretValue,
        existing: Option<bool>,
    ) -> Result<bool, PlaneError> {
        self.put_secret(namespace, name, &value, existing).await
    }

    async fn remove_secret(&self, namespace: &str, name: &str) -> Result<(), PlaneError> {
        self.delete_secret(namespace, name).await
    }

    fn logs(&self, query: LogQuery) -> BoxStream<'static, LogLine> {
        self.0.logs.read(query)
    }

    fn resolve(&self, namespace: &str, name: &str) -> Option<Target> {
        let key = LambdaKey::new(namespace, name);
        let (id, http) = *self.0.ids.read().unwrap_or_else(PoisonError::into_inner).get(&key)?;
        Some(Target { key, id, http })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { compiler: self.0.compiler.statistics(), ..self.0.sources.snapshot() }
    }

    fn readiness(&self) -> Readiness {
        self.readiness_now()
    }
}

/// The rule that every lambda has by its ID, unless it says otherwise.
fn by_id(key: &LambdaKey, id: u32, egress: matcher::Egress) -> Rule {
    Rule {
        lambda: key.clone(),
        priority: 0,
        conditions: format!("λ-RPC, lambda ID {id}"),
        egress: egress.name().into(),
    }
}
