//! A control plane in memory: it keeps what it is told, and refuses what a real one refuses.
//!
//! It runs nothing. Tests set what only packets bring about: a quarantine, lines of the log, readiness.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use axum::body::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use lnic::control::appliance::Coalesced;
use lnic::control::compile::CompileStatistics;
use lnic::control::inspect::{BeforeAfter, CodeInspection, Inspection, SiteInspection};
use lnic::control::plane::{
    Deployment, Digest, Generation, HttpMode, Lambda, LambdaKey, LogLine, LogQuery, Manifest, Module,
    Namespace, Origin, Phase, Plane, PlaneError, PortReadiness, Readiness, Rule, SecretValue, Target,
    WorkerReadiness,
};
use lnic::control::stats::{DeploymentStats, Frames, LogStats, RuleStats, Snapshot};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Generations that one can go back to.
pub const GENERATIONS: usize = 10;
/// Lambdas that there is room for.
pub const LAMBDAS: usize = 256;
/// Modules that there is room for.
pub const MODULES: usize = 64;
/// Namespaces that there is room for.
pub const NAMESPACES: usize = 64;
/// NPUs of the appliance.
pub const NPUS: u32 = 2;
/// What every module begins with.
pub const WASM: &[u8] = b"\0asm\x01\0\0\0";
/// When everything happened, ms since 1970.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// The plane. Clones are one and the same.
#[derive(Clone)]
pub struct PlaneDouble {
    state: Arc<Mutex<State>>,
    lines: broadcast::Sender<LogLine>,
}

#[derive(Default)]
struct State {
    modules: BTreeMap<String, Bytes>,
    lambdas: BTreeMap<LambdaKey, Deployed>,
    namespaces: BTreeMap<String, Namespace>,
    secrets: BTreeMap<(String, String), SecretValue>,
    log: VecDeque<LogLine>,
    readiness: Readiness,
    away: Option<String>,
}

struct Deployed {
    lambda: Lambda,
    /// Manifests of its generations, by number.
    manifests: BTreeMap<u64, Manifest>,
    last: u64,
}

impl Default for PlaneDouble {
    fn default() -> Self {
        Self::new()
    }
}

impl PlaneDouble {
    /// A plane with namespace `default` and nothing in it, ready.
    pub fn new() -> Self {
        let mut state = State::default();
        let namespace = Namespace { name: LambdaKey::DEFAULT_NAMESPACE.into(), ..Namespace::default() };
        state.namespaces.insert(namespace.name.clone(), namespace);
        state.readiness = Readiness {
            ready: true,
            problems: Vec::new(),
            ports: vec![PortReadiness { name: "p0".into(), up: true }],
            lcores: vec![WorkerReadiness { lcore: 1, roles: "NPU".into(), silent_ms: 0, stuck: None }],
        };
        Self { state: Arc::new(Mutex::new(state)), lines: broadcast::channel(1024).0 }
    }

    /// A namespace more.
    pub fn with_namespace(self, name: &str) -> Self {
        let namespace = Namespace { name: name.into(), ..Namespace::default() };
        self.state().namespaces.insert(name.into(), namespace);
        self
    }

    /// A lambda more, with its module, as if it had been deployed.
    pub fn with_lambda(self, namespace: &str, name: &str) -> Self {
        let module = self.add_module(&[WASM, name.as_bytes()].concat());
        let manifest = Manifest { name: name.into(), ..Manifest::default() };
        let deployment = Deployment {
            namespace: namespace.into(),
            manifest,
            module,
            image: format!("{name}.wasm"),
            existing: None,
        };
        self.state().deploy(deployment).expect("a lambda that can be deployed");
        self
    }

    /// A lambda of the configuration file, which nobody may change.
    pub fn with_configured(self, name: &str) -> Self {
        let this = self.with_lambda(LambdaKey::DEFAULT_NAMESPACE, name);
        let key = LambdaKey::new(LambdaKey::DEFAULT_NAMESPACE, name);
        this.state().lambdas.get_mut(&key).expect("just deployed").lambda.origin = Origin::Configuration;
        this
    }

    /// Keeps a module.
    pub fn add_module(&self, wasm: &[u8]) -> Digest {
        let digest = Digest::of(wasm);
        self.state().modules.insert(digest.to_string(), Bytes::copy_from_slice(wasm));
        digest
    }

    /// Puts a lambda into quarantine.
    pub fn quarantine(&self, key: &LambdaKey) {
        self.state().lambdas.get_mut(key).expect("a lambda").lambda.phase = Phase::Quarantined;
    }

    /// A lambda says something.
    pub fn log(&self, key: &LambdaKey, text: &str) {
        let mut state = self.state();
        let generation = state.lambdas.get(key).map_or(1, |deployed| deployed.lambda.generation);
        let time_ms = NOW_MS + state.log.len() as u64;
        let line = LogLine { lambda: key.clone(), generation, time_ms, text: text.into() };
        if state.log.len() == 4096 {
            state.log.pop_front();
        }
        state.log.push_back(line.clone());
        // Nobody may be following.
        let _ = self.lines.send(line);
    }

    /// Readers that follow the log now.
    pub fn followers(&self) -> usize {
        self.lines.receiver_count()
    }

    /// What is not well; ready if nothing.
    pub fn set_problems(&self, problems: &[&str]) {
        let mut state = self.state();
        state.readiness.ready = problems.is_empty();
        state.readiness.problems = problems.iter().map(|&problem| problem.to_owned()).collect();
    }

    /// From now on every change is refused as unavailable for this reason; `None` ends that.
    pub fn set_away(&self, reason: Option<&str>) {
        self.state().away = reason.map(str::to_owned);
    }

    /// A secret's bytes, which no route ever tells.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<SecretValue> {
        self.state().secrets.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// For changes.
    fn present(&self) -> Result<MutexGuard<'_, State>, PlaneError> {
        let state = self.state();
        match &state.away {
            None => Ok(state),
            Some(reason) => Err(PlaneError::Unavailable(reason.clone())),
        }
    }
}

impl State {
    fn namespace(&self, name: &str) -> Result<&Namespace, PlaneError> {
        self.namespaces.get(name).ok_or_else(|| PlaneError::NoNamespace(name.into()))
    }

    fn lambda(&self, key: &LambdaKey) -> Result<&Deployed, PlaneError> {
        self.lambdas.get(key).ok_or_else(|| PlaneError::NoLambda(key.clone()))
    }

    /// One that may be changed.
    fn own(&mut self, key: &LambdaKey) -> Result<&mut Deployed, PlaneError> {
        let deployed = self.lambdas.get_mut(key).ok_or_else(|| PlaneError::NoLambda(key.clone()))?;
        match deployed.lambda.origin {
            Origin::Registry => Ok(deployed),
            Origin::Configuration => Err(PlaneError::Conflict(format!(
                "lambda \"{key}\" is the configuration file's: change it there"
            ))),
        }
    }

    fn deploy(&mut self, deployment: Deployment) -> Result<Lambda, PlaneError> {
        let Deployment { namespace, manifest, module, image, existing } = deployment;
        self.namespace(&namespace)?;
        let key = LambdaKey::new(&namespace, &manifest.name);
        let mut wrong = judge(&manifest);
        for secret in &manifest.secrets {
            if !self.secrets.contains_key(&(namespace.clone(), secret.clone())) {
                wrong.push(format!("secrets: no secret \"{secret}\" in namespace \"{namespace}\""));
            }
        }
        if !wrong.is_empty() {
            return Err(PlaneError::Invalid(wrong));
        }
        let there = self.lambdas.contains_key(&key);
        match existing {
            Some(true) if !there => return Err(PlaneError::NoLambda(key)),
            Some(false) if there => {
                return Err(PlaneError::Conflict(format!("lambda \"{key}\" is there already")));
            }
            _ => {}
        }
        if !self.modules.contains_key(&module.to_string()) {
            return Err(PlaneError::NoModule(module.to_string()));
        }
        if there {
            self.own(&key)?;
        } else if self.lambdas.len() >= LAMBDAS {
            return Err(PlaneError::NoRoom(format!("there is room for {LAMBDAS} lambdas")));
        }
        let taken = |other: &&Deployed| Some(other.lambda.id) == manifest.id && other.lambda.key != key;
        if let Some(other) = self.lambdas.values().find(taken) {
            let text = format!("ID {}: lambda \"{}\" has it", other.lambda.id, other.lambda.key);
            return Err(PlaneError::Conflict(text));
        }
        let free = (0x8000_0000..).find(|id| self.lambdas.values().all(|other| other.lambda.id != *id));
        let deployed = self.lambdas.entry(key.clone()).or_insert_with(|| Deployed {
            lambda: fresh(key, manifest.id.or(free).expect("an ID that is free")),
            manifests: BTreeMap::new(),
            last: 0,
        });
        deployed.last += 1;
        deployed.manifests.insert(deployed.last, manifest.clone());
        let lambda = &mut deployed.lambda;
        if lambda.generations.len() == GENERATIONS {
            let oldest = lambda.generations.remove(0);
            deployed.manifests.remove(&oldest.number);
        }
        lambda.generations.push(Generation {
            number: deployed.last,
            module: module.to_string(),
            image,
            deployed_at_ms: NOW_MS,
        });
        lambda.generation = deployed.last;
        lambda.replicas = manifest.replicas;
        lambda.manifest = manifest;
        wake(lambda);
        Ok(lambda.clone())
    }
}

fn fresh(key: LambdaKey, id: u32) -> Lambda {
    Lambda {
        key,
        origin: Origin::Registry,
        id,
        phase: Phase::Active,
        problem: None,
        generation: 0,
        generations: Vec::new(),
        replicas: None,
        available_replicas: NPUS,
        concurrency: "replicated".into(),
        manifest: Manifest::default(),
        services: Vec::new(),
        memory_bytes: BTreeMap::from([("local".into(), 65_536)]),
        invocations: 0,
        created_at_ms: NOW_MS,
    }
}

/// What a manifest's numbers may be; the real plane knows more.
fn judge(manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    if !is_label(&manifest.name) {
        wrong.push(format!("name: \"{}\" is no name", manifest.name));
    }
    if let Some(weight) = manifest.weight.filter(|weight| !(1..=1000).contains(weight)) {
        wrong.push(format!("weight: {weight} is not in 1–1000"));
    }
    if let Some(replicas) = manifest.replicas.filter(|replicas| *replicas > 1024) {
        wrong.push(format!("replicas: {replicas} is not in 0–1024"));
    }
    for (key, value, allowed) in [
        ("concurrency", &manifest.concurrency, &["auto", "shared", "pinned", "replicated"][..]),
        ("layout", &manifest.layout, &["auto", "dense", "windows"]),
        ("egress", &manifest.egress, &["reply", "any"]),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !allowed.contains(value)) {
            wrong.push(format!("{key}: \"{value}\": allowed are {}", allowed.join(", ")));
        }
    }
    wrong
}

/// As lambdas and namespaces are named: 1–63 lower-case letters, digits and, between them, "-", a letter first.
pub fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Puts it on as many NPUs as it may have.
fn wake(lambda: &mut Lambda) {
    let replicas = lambda.replicas.unwrap_or(NPUS);
    lambda.available_replicas = replicas.min(NPUS);
    lambda.phase = if replicas == 0 { Phase::Asleep } else { Phase::Active };
}

#[async_trait]
impl Plane for PlaneDouble {
    async fn upload(&self, wasm: Bytes) -> Result<Module, PlaneError> {
        let mut state = self.present()?;
        if !wasm.starts_with(WASM) {
            return Err(PlaneError::Invalid(vec!["module: is no WebAssembly".into()]));
        }
        let digest = Digest::of(&wasm).to_string();
        if state.modules.len() >= MODULES && !state.modules.contains_key(&digest) {
            return Err(PlaneError::NoRoom(format!("there is room for {MODULES} modules")));
        }
        let bytes = wasm.len() as u64;
        state.modules.insert(digest.clone(), wasm);
        Ok(Module { digest, bytes })
    }

    async fn modules(&self) -> Result<Vec<Module>, PlaneError> {
        let module =
            |(digest, wasm): (&String, &Bytes)| Module { digest: digest.clone(), bytes: wasm.len() as u64 };
        Ok(self.state().modules.iter().map(module).collect())
    }

    async fn deploy(&self, deployment: Deployment) -> Result<Lambda, PlaneError> {
        self.present()?.deploy(deployment)
    }

    async fn lambdas(&self, namespace: Option<&str>) -> Result<Vec<Lambda>, PlaneError> {
        let state = self.state();
        if let Some(namespace) = namespace {
            state.namespace(namespace)?;
        }
        let wanted = |key: &LambdaKey| namespace.is_none_or(|namespace| key.namespace == namespace);
        let lambdas = state.lambdas.values().map(|deployed| &deployed.lambda);
        Ok(lambdas.filter(|lambda| wanted(&lambda.key)).cloned().collect())
    }

    async fn lambda(&self, key: &LambdaKey) -> Result<Lambda, PlaneError> {
        Ok(self.state().lambda(key)?.lambda.clone())
    }

    async fn remove(&self, key: &LambdaKey) -> Result<(), PlaneError> {
        let mut state = self.present()?;
        state.own(key)?;
        state.lambdas.remove(key);
        Ok(())
    }

    async fn rollback(&self, key: &LambdaKey, to: Option<u64>) -> Result<Lambda, PlaneError> {
        let mut state = self.present()?;
        let deployed = state.own(key)?;
        let numbers: Vec<u64> = deployed.lambda.generations.iter().map(|kept| kept.number).collect();
        let current = deployed.lambda.generation;
        let before = numbers.iter().rev().find(|number| **number < current).copied();
        let number = to.or(before).unwrap_or(0);
        let Some(manifest) = deployed.manifests.get(&number) else {
            let known = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            return Err(PlaneError::NoGeneration { key: key.clone(), generation: number, known });
        };
        deployed.lambda.manifest = manifest.clone();
        deployed.lambda.generation = number;
        deployed.lambda.replicas = manifest.replicas;
        wake(&mut deployed.lambda);
        Ok(deployed.lambda.clone())
    }

    async fn scale(&self, key: &LambdaKey, replicas: u32) -> Result<Lambda, PlaneError> {
        let mut state = self.present()?;
        let deployed = state.own(key)?;
        deployed.lambda.replicas = Some(replicas);
        wake(&mut deployed.lambda);
        Ok(deployed.lambda.clone())
    }

    async fn release(&self, key: &LambdaKey) -> Result<bool, PlaneError> {
        let mut state = self.present()?;
        let deployed = state.lambdas.get_mut(key).ok_or_else(|| PlaneError::NoLambda(key.clone()))?;
        let was = deployed.lambda.phase == Phase::Quarantined;
        if was {
            wake(&mut deployed.lambda);
        }
        Ok(was)
    }

    async fn inspection(&self, key: &LambdaKey) -> Result<Inspection, PlaneError> {
        let state = self.state();
        let lambda = &state.lambda(key)?.lambda;
        Ok(inspection(&lambda.key.name))
    }

    async fn rules(&self) -> Result<Vec<Rule>, PlaneError> {
        let state = self.state();
        let mut rules = Vec::new();
        for deployed in state.lambdas.values() {
            for rule in &deployed.lambda.manifest.rules {
                rules.push(Rule {
                    lambda: deployed.lambda.key.clone(),
                    priority: rule.priority.unwrap_or(0),
                    conditions: rule.protocol.clone().unwrap_or_else(|| "all frames".into()),
                    egress: deployed.lambda.manifest.egress.clone().unwrap_or_else(|| "reply".into()),
                });
            }
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        Ok(rules)
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>, PlaneError> {
        Ok(self.state().namespaces.values().cloned().collect())
    }

    async fn create_namespace(&self, namespace: Namespace) -> Result<Namespace, PlaneError> {
        let mut state = self.present()?;
        if !is_label(&namespace.name) {
            return Err(PlaneError::Invalid(vec![format!("name: \"{}\" is no name", namespace.name)]));
        }
        if state.namespaces.contains_key(&namespace.name) {
            return Err(PlaneError::Conflict(format!("namespace \"{}\" is there already", namespace.name)));
        }
        if state.namespaces.len() >= NAMESPACES {
            return Err(PlaneError::NoRoom(format!("there is room for {NAMESPACES} namespaces")));
        }
        state.namespaces.insert(namespace.name.clone(), namespace.clone());
        Ok(namespace)
    }

    async fn update_namespace(&self, namespace: Namespace) -> Result<Namespace, PlaneError> {
        let mut state = self.present()?;
        state.namespace(&namespace.name)?;
        state.namespaces.insert(namespace.name.clone(), namespace.clone());
        Ok(namespace)
    }

    async fn remove_namespace(&self, name: &str) -> Result<(), PlaneError> {
        let mut state = self.present()?;
        state.namespace(name)?;
        if name == LambdaKey::DEFAULT_NAMESPACE {
            return Err(PlaneError::Conflict(format!("namespace \"{name}\" stays")));
        }
        if state.lambdas.keys().any(|key| key.namespace == name) {
            return Err(PlaneError::Conflict(format!("namespace \"{name}\" has lambdas: remove them first")));
        }
        state.namespaces.remove(name);
        state.secrets.retain(|(namespace, _), _| namespace != name);
        Ok(())
    }

    async fn secrets(&self, namespace: &str) -> Result<Vec<String>, PlaneError> {
        let state = self.state();
        state.namespace(namespace)?;
        let own = state.secrets.keys().filter(|(of, _)| of == namespace);
        Ok(own.map(|(_, name)| name.clone()).collect())
    }

    async fn set_secret(
        &self,
        namespace: &str,
        name: &str,
        value: SecretValue,
        existing: Option<bool>,
    ) -> Result<bool, PlaneError> {
        let mut state = self.present()?;
        state.namespace(namespace)?;
        let key = (namespace.to_owned(), name.to_owned());
        let there = state.secrets.contains_key(&key);
        match existing {
            Some(true) if !there => {
                return Err(PlaneError::NoSecret { namespace: namespace.into(), name: name.into() });
            }
            Some(false) if there => {
                return Err(PlaneError::Conflict(format!("secret \"{name}\" is there already")));
            }
            _ => {}
        }
        if !there && state.secrets.len() >= 1024 {
            return Err(PlaneError::NoRoom("there is room for 1024 secrets".into()));
        }
        state.secrets.insert(key, value);
        Ok(!there)
    }

    async fn remove_secret(&self, namespace: &str, name: &str) -> Result<(), PlaneError> {
        let mut state = self.present()?;
        state.namespace(namespace)?;
        let used = |deployed: &&Deployed| {
            deployed.lambda.key.namespace == namespace
                && deployed.lambda.manifest.secrets.iter().any(|secret| secret == name)
        };
        if let Some(user) = state.lambdas.values().find(used) {
            let text = format!("secret \"{name}\": lambda \"{}\" names it", user.lambda.key);
            return Err(PlaneError::Conflict(text));
        }
        match state.secrets.remove(&(namespace.to_owned(), name.to_owned())) {
            Some(_) => Ok(()),
            None => Err(PlaneError::NoSecret { namespace: namespace.into(), name: name.into() }),
        }
    }

    fn logs(&self, query: LogQuery) -> BoxStream<'static, LogLine> {
        let wanted = move |line: &LogLine| {
            query.name.as_ref().is_none_or(|name| line.lambda.name == *name)
                && query.namespace.as_ref().is_none_or(|namespace| line.lambda.namespace == *namespace)
                && query.since_ms.is_none_or(|since_ms| line.time_ms >= since_ms)
        };
        // Subscribed while nobody can log: no line is lost between those that are kept and those that come.
        let state = self.state();
        let kept: Vec<LogLine> = state.log.iter().filter(|line| wanted(line)).cloned().collect();
        let skipped = kept.len().saturating_sub(query.tail.unwrap_or(usize::MAX));
        let kept = stream::iter(kept.into_iter().skip(skipped));
        if !query.follow {
            return kept.boxed();
        }
        let new = BroadcastStream::new(self.lines.subscribe()).filter_map(move |line| {
            let line = line.ok().filter(&wanted);
            async move { line }
        });
        kept.chain(new).boxed()
    }

    fn resolve(&self, namespace: &str, name: &str) -> Option<Target> {
        let key = LambdaKey::new(namespace, name);
        let state = self.state();
        let lambda = &state.lambdas.get(&key)?.lambda;
        let http = HttpMode::named(lambda.manifest.http.as_deref());
        Some(Target { id: lambda.id, key, http })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            deployments: 0,
            compiler: CompileStatistics::default(),
            name: "double".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: 1.5,
            scheduling: "run-to-completion".into(),
            cycles_per_us: 2_000,
            frames: Frames::default(),
            drops: BTreeMap::new(),
            ports: Vec::new(),
            lcores: Vec::new(),
            lambdas: Vec::new(),
            pools: Vec::new(),
            regions: Vec::new(),
            neighbours: Vec::new(),
            log: LogStats::default(),
            deployment: DeploymentStats {
                parser: "Ethernet".into(),
                extracted: "none".into(),
                rules: RuleStats {
                    rules_before: 0,
                    rules: 0,
                    shadowed: 0,
                    merged: 0,
                    tuples_before: 0,
                    tuples: 0,
                },
                code: Coalesced::default(),
            },
        }
    }

    fn readiness(&self) -> Readiness {
        self.state().readiness.clone()
    }
}

/// Of a lambda that touches nothing.
fn inspection(entry: &str) -> Inspection {
    Inspection {
        entry: entry.into(),
        runs: "any NPU".into(),
        because: "it has no variables".into(),
        layout: "dense".into(),
        memory_bytes: 65_536,
        windows: Vec::new(),
        objects: Vec::new(),
        unmoved: None,
        headers_read: Vec::new(),
        headers_written: Vec::new(),
        payload: vec!["read".into()],
        sites: SiteInspection { total: 0, attributed: 0, lost: Vec::new(), incomplete: None },
        code: CodeInspection {
            functions: 1,
            wasm_bytes: 64,
            native_bytes: 128,
            fuel: 10.0,
            stack_bytes: Some(16),
            calls_lambdas: false,
        },
        stratification: BeforeAfter { before: 1.0, after: 1.0 },
        deployed: None,
    }
}
