//! Makes the lcores run what a record says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use lnic_registry::{Event, GenerationRecord, LambdaKey, LambdaRecord, Revision, Versioned};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{error, info, warn};

use super::driver::Order;
use super::{Applied, Local, Manager};
use crate::control::appliance::{DeployError, Ready, Wanted, Wishes};
use crate::control::manifest;
use crate::control::plane::{Manifest, PlaneError};
use crate::control::topology::LambdaSpec;
use crate::lambda::{Environment, PrepareError};
use crate::matcher::Rule;

/// Lambdas whose code is fetched and compiled at the same time at start.
const AT_ONCE: usize = 8;
/// How often lambdas that could not be deployed are tried again.
const RETRY: Duration = Duration::from_secs(30);
/// How often modules that nobody needs any more are looked for.
const COLLECT: Duration = Duration::from_secs(600);

/// A lambda that is judged and compiled: all that can be refused without touching an lcore.
pub(super) struct Prepared {
    wanted: Wanted,
    applied: Applied,
}

impl Manager {
    /// Judges a generation of a lambda and gets its code ready.
    pub(super) async fn prepare(
        &self,
        key: &LambdaKey,
        id: u32,
        generation: &GenerationRecord,
        replicas: Option<u32>,
    ) -> Result<Prepared, PlaneError> {
        let (spec, rules) = self.judge(key, id, &generation.manifest)?;
        let (environment, secrets) = self.environment(key, &generation.manifest).await?;
        let ready = self.ready(&spec, generation).await?;
        let applied = Applied {
            id,
            generation: generation.clone(),
            secrets,
            rules: rules.clone(),
            by_id: spec.rpc.then_some(spec.egress),
        };
        let replicas = replicas.or(generation.manifest.replicas);
        let number = generation.number;
        let wanted =
            Wanted { key: key.clone(), spec, ready, rules, environment, replicas, generation: number };
        Ok(Prepared { wanted, applied })
    }

    /// Judges and compiles what is to be deployed, before anybody else has to wait for it. The code stays at hand as long as the answer.
    pub(super) async fn warm(
        &self,
        key: &LambdaKey,
        generation: &GenerationRecord,
    ) -> Result<Ready, PlaneError> {
        let (spec, _) = self.judge(key, generation.manifest.id.unwrap_or_default(), &generation.manifest)?;
        self.ready(&spec, generation).await
    }

    fn judge(
        &self,
        key: &LambdaKey,
        id: u32,
        manifest: &Manifest,
    ) -> Result<(LambdaSpec, Vec<Rule>), PlaneError> {
        manifest::judge(manifest, &key.namespace, id, Path::new(&key.to_string()), &self.0.topology)
            .map_err(PlaneError::Invalid)
    }

    /// Code of a generation: from the cache, or compiled.
    async fn ready(&self, spec: &LambdaSpec, generation: &GenerationRecord) -> Result<Ready, PlaneError> {
        let (compiler, bounds) = (&self.0.compiler, &self.0.bounds);
        let wishes = Wishes::of(spec, &self.0.topology);
        if let Some(ready) = compiler.cached(&generation.module, &spec.entry, &wishes, bounds) {
            return Ok(ready);
        }
        let wasm = self.0.registry.module(&generation.module).await?;
        let wasm = wasm.ok_or_else(|| PlaneError::NoModule(generation.module.to_string()))?;
        compiler.compile(&generation.module, &wasm, &spec.entry, &wishes, bounds).await.map_err(|error| {
            match error.is_the_modules_fault() {
                true => PlaneError::Invalid(vec![error.to_string()]),
                false => PlaneError::Failed(error.to_string()),
            }
        })
    }

    /// What the lambda's host calls answer, and which state of each secret that is.
    async fn environment(
        &self,
        key: &LambdaKey,
        manifest: &Manifest,
    ) -> Result<(Environment, BTreeMap<String, Revision>), PlaneError> {
        let variables = manifest.environment.iter();
        let variables = variables.map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        let (mut secrets, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        for name in &manifest.secrets {
            let secret = self.0.registry.secret(&key.namespace, name).await?;
            let missing = || {
                let text = format!("secrets: \"{name}\": there is none in namespace \"{}\"", key.namespace);
                PlaneError::Invalid(vec![text])
            };
            let secret = secret.ok_or_else(missing)?;
            revisions.insert(name.clone(), secret.revision);
            secrets.insert(name.clone(), secret.value.into_bytes());
        }
        Ok((Environment::new(variables, secrets), revisions))
    }

    /// Gives the lcores what was prepared, all at once.
    pub(super) async fn publish(&self, prepared: Vec<Prepared>) -> Vec<Result<(), PlaneError>> {
        let count = prepared.len();
        let (wanted, applied): (Vec<Wanted>, Vec<(LambdaKey, Applied)>) = prepared
            .into_iter()
            .map(|Prepared { wanted, applied }| {
                let key = wanted.key.clone();
                (wanted, (key, applied))
            })
            .unzip();
        let (answer, answered) = oneshot::channel();
        let results = match self.0.orders.send(Order::Deploy(wanted, answer)).await {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        let Some(results) = results else {
            return (0..count).map(|_| Err(stopping())).collect();
        };
        results
            .into_iter()
            .zip(applied)
            .map(|(result, (key, applied))| match result {
                Ok(_) => {
                    let local = self.local(&key).unwrap_or_default();
                    self.set_local(&key, Local { applied: Some(applied), problem: None, ..local });
                    Ok(())
                }
                Err(error) => Err(refused(error)),
            })
            .collect()
    }

    /// The same for one.
    pub(super) async fn publish_one(&self, prepared: Prepared) -> Result<(), PlaneError> {
        self.publish(vec![prepared]).await.pop().unwrap_or_else(|| Err(stopping()))
    }

    /// Notes which state of a record was looked at here.
    pub(super) fn note(&self, record: &Versioned<LambdaRecord>, problem: Option<String>) {
        let key = &record.value.key;
        let local = self.local(key).unwrap_or_default();
        self.set_local(key, Local { revision: record.revision, problem, ..local });
    }

    /// Deploys everything that the registry has: before the appliance is ready. What cannot be deployed is told, and does not keep the
    /// others.
    pub async fn restore(&self) -> Result<Restored, PlaneError> {
        if let Err(error) = self.keep_tenants().await {
            warn!("registry: tenants of the configuration: {error}");
        }
        let _turn = self.0.changes.lock().await;
        let mut records = self.0.registry.lambdas().await?;
        let mut restored = Restored::default();
        records.retain(|record| {
            let key = &record.value.key;
            let is_configured = self.is_configured(key);
            if is_configured {
                restored.failed += 1;
                error!(
                    "lambda \"{key}\": is in the configuration file too, whose goes first: rename one of them"
                );
            }
            !is_configured
        });
        let prepared = stream::iter(&records).map(|record| async move {
            let prepared = match record.value.generation() {
                Some(generation) => {
                    let LambdaRecord { key, id, replicas, .. } = &record.value;
                    self.prepare(key, *id, generation, *replicas).await
                }
                None => Err(PlaneError::Failed("its record names no generation".into())),
            };
            (record, prepared)
        });
        let prepared: Vec<_> = prepared.buffered(AT_ONCE).collect().await;
        let (mut good, mut records_of_good) = (Vec::new(), Vec::new());
        for (record, prepared) in prepared {
            match prepared {
                Ok(prepared) => {
                    good.push(prepared);
                    records_of_good.push(record);
                }
                Err(error) => self.not_deployed(record, &error, &mut restored),
            }
        }
        for (result, record) in self.publish(good).await.into_iter().zip(records_of_good) {
            match result {
                Ok(()) => {
                    restored.deployed += 1;
                    self.note(record, None);
                }
                Err(error) => self.not_deployed(record, &error, &mut restored),
            }
        }
        self.0.is_restored.store(true, Relaxed);
        Ok(restored)
    }

    fn not_deployed(&self, record: &Versioned<LambdaRecord>, error: &PlaneError, restored: &mut Restored) {
        error!("lambda \"{}\": cannot be deployed here: {error}", record.value.key);
        restored.failed += 1;
        self.note(record, Some(error.to_string()));
    }

    /// Changes of the registry from now on, for [`follow`](Self::follow).
    #[must_use]
    pub fn watch(&self) -> BoxStream<'static, Event> {
        self.0.registry.watch()
    }

    /// Follows what others change in the registry, and now and then tries again what failed, for ever.
    pub async fn follow(&self, mut events: BoxStream<'static, Event>) {
        let mut retry = interval(RETRY);
        let mut collect = interval(COLLECT);
        loop {
            let result = tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.heard(event).await,
                    None => return,
                },
                _ = retry.tick() => self.retry_failed().await,
                _ = collect.tick() => self.0.registry.collect().await.map(drop).map_err(PlaneError::from),
            };
            if let Err(error) = result {
                warn!("registry: {error}");
            }
        }
    }

    async fn heard(&self, event: Event) -> Result<(), PlaneError> {
        match event {
            Event::Lambda(key) => self.reconcile(&key).await,
            Event::Secret { namespace, name } => self.refresh_secret(&namespace, &name).await,
            Event::Namespace(_) => Ok(()),
            Event::Resync => self.reconcile_all().await,
            Event::Unavailable(text) => {
                warn!("registry: {text}: what is deployed goes on, nothing can be changed");
                Ok(())
            }
            Event::Available => {
                info!("registry: available again");
                self.reconcile_all().await
            }
        }
    }

    async fn reconcile_all(&self) -> Result<(), PlaneError> {
        let records = self.0.registry.lambdas().await?;
        let mut keys: BTreeSet<LambdaKey> = records.into_iter().map(|record| record.value.key).collect();
        keys.extend(self.0.local.read().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        for key in keys {
            if let Err(error) = self.reconcile(&key).await {
                warn!("lambda \"{key}\": {error}");
            }
        }
        Ok(())
    }

    /// What kept a lambda from being deployed may have passed.
    async fn retry_failed(&self) -> Result<(), PlaneError> {
        let failed: Vec<LambdaKey> = {
            let local = self.0.local.read().unwrap_or_else(PoisonError::into_inner);
            local.iter().filter(|(_, local)| local.problem.is_some()).map(|(key, _)| key.clone()).collect()
        };
        for key in failed {
            self.reconcile(&key).await?;
        }
        Ok(())
    }

    /// Makes this appliance run what the record of a lambda says, if it does not already.
    async fn reconcile(&self, key: &LambdaKey) -> Result<(), PlaneError> {
        if self.is_configured(key) {
            return Ok(());
        }
        let _turn = self.0.changes.lock().await;
        let (record, local) = (self.0.registry.lambda(key).await?, self.local(key));
        let Some(record) = record else {
            if let Some(local) = local {
                if local.applied.is_some() {
                    self.withdraw(key).await?;
                    info!("lambda \"{key}\": removed");
                }
                self.forget_local(key);
            }
            return Ok(());
        };
        let local = local.unwrap_or_default();
        // Revisions may go back, where etcd was restored from a backup.
        if local.revision == record.revision && local.problem.is_none() {
            return Ok(());
        }
        let problem = match self.apply(&record.value, &local).await {
            Ok(()) => {
                info!("lambda \"{key}\": generation {} runs", record.value.current);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem.as_ref().filter(|problem| local.problem.as_ref() != Some(problem)) {
            error!("lambda \"{key}\": cannot be deployed here: {problem}");
        }
        self.note(&record, problem);
        Ok(())
    }

    /// Makes the lcores run what a record says: a new generation, or just another number of replicas.
    pub(super) async fn apply(&self, record: &LambdaRecord, local: &Local) -> Result<(), PlaneError> {
        let generation = record.generation();
        let generation =
            generation.ok_or_else(|| PlaneError::Failed("its record names no generation".into()))?;
        // Numbers do not tell: a lambda that was removed and deployed again counts anew.
        if let Some(applied) = &local.applied
            && applied.id == record.id
            && applied.generation == *generation
            && self.has_current_secrets(&record.key, applied).await?
        {
            return self.rescale(&record.key, record.replicas.or(generation.manifest.replicas)).await;
        }
        let prepared = self.prepare(&record.key, record.id, generation, record.replicas).await?;
        self.publish_one(prepared).await
    }

    /// Does it run with the secrets that the registry has?
    pub(super) async fn has_current_secrets(
        &self,
        key: &LambdaKey,
        applied: &Applied,
    ) -> Result<bool, PlaneError> {
        for (name, revision) in &applied.secrets {
            let secret = self.0.registry.secret(&key.namespace, name).await?;
            if secret.is_none_or(|secret| secret.revision != *revision) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) async fn rescale(&self, key: &LambdaKey, replicas: Option<u32>) -> Result<(), PlaneError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.orders.send(Order::Scale(key.clone(), replicas, answer)).await;
        sent.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?.map_err(refused)?;
        Ok(())
    }

    /// Takes a lambda off the lcores.
    pub(super) async fn withdraw(&self, key: &LambdaKey) -> Result<(), PlaneError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.orders.send(Order::Remove(key.clone(), answer)).await;
        sent.map_err(|_| stopping())?;
        match answered.await.map_err(|_| stopping())? {
            // It is not there, which is what was asked for.
            Ok(()) | Err(DeployError::NoLambda(_)) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }
}

/// What came of deploying everything that the registry has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Lambdas that run.
    pub deployed: usize,
    /// Lambdas that this appliance could not deploy.
    pub failed: usize,
}

/// Beats from now on, and not at once.
fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn stopping() -> PlaneError {
    PlaneError::Unavailable("the appliance stops".into())
}

fn refused(error: DeployError) -> PlaneError {
    let text = error.to_string();
    match error {
        DeployError::NoLambda(key) => PlaneError::NoLambda(key),
        DeployError::Twice(_) | DeployError::IdTaken { .. } => PlaneError::Conflict(text),
        DeployError::Capacity { .. } | DeployError::Namespaces { .. } | DeployError::Neighbours { .. } => {
            PlaneError::NoRoom(text)
        }
        DeployError::Prepare { source, .. } if matches!(*source, PrepareError::Memory(_)) => {
            PlaneError::NoRoom(text)
        }
        DeployError::NoNpu(_) | DeployError::Silent { .. } | DeployError::Wait(_) => {
            PlaneError::Unavailable(text)
        }
        _ => PlaneError::Invalid(vec![text]),
    }
}
