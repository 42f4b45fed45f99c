//! Deploying, rolling back, scaling, removing: first the registry, then the lcores, and back if these cannot.

use lnic_registry::{GenerationRecord, LambdaKey, LambdaRecord, Revision, Versioned};
use tracing::{error, info};

use super::{Manager, now_ms};
use crate::control::plane::{Deployment, Lambda, PlaneError};

impl Manager {
    pub(super) async fn deploy_now(&self, deployment: Deployment) -> Result<Lambda, PlaneError> {
        let Deployment { namespace, manifest, module, image, existing } = deployment;
        let key = LambdaKey::new(&namespace, &manifest.name);
        self.changeable(&key)?;
        self.require_namespace(&namespace).await?;
        let mut generation =
            GenerationRecord { number: 0, module, manifest, image, deployed_at_ms: now_ms() };
        // What takes long is done before others have to wait.
        let _code = self.warm(&key, &generation).await?;
        let _turn = self.0.changes.lock().await;
        let registry = &self.0.registry;
        let before = registry.lambda(&key).await?;
        match (existing, &before) {
            (Some(true), None) => return Err(PlaneError::NoLambda(key)),
            (Some(false), Some(_)) => {
                return Err(PlaneError::Conflict(format!("lambda \"{key}\" is deployed already")));
            }
            _ => {}
        }
        let id = match (generation.manifest.id, &before) {
            (Some(id), Some(before)) if id != before.value.id => {
                return Err(PlaneError::Conflict(format!(
                    "lambda \"{key}\": id {id}: it has {} already, which its callers know; remove it first",
                    before.value.id
                )));
            }
            (_, Some(before)) => before.value.id,
            (Some(id), None) => id,
            (None, None) => registry.allocate_id(&key).await?,
        };
        self.require_free(&key, id)?;
        generation.number = before.as_ref().map_or(0, |before| newest(&before.value)) + 1;
        let record = match &before {
            Some(before) => {
                let mut record = before.value.clone();
                record.current = generation.number;
                record.generations.push(generation.clone());
                // Who deploys anew says how many.
                if generation.manifest.replicas.is_some() {
                    record.replicas = None;
                }
                self.trim(&mut record);
                record
            }
            None => LambdaRecord {
                key: key.clone(),
                id,
                current: generation.number,
                generations: vec![generation.clone()],
                replicas: None,
                created_at_ms: now_ms(),
            },
        };
        // All that can be wrong with it comes out before anything has changed.
        let prepared = self.prepare(&key, id, &generation, record.replicas).await?;
        let revision = self.commit(&record, before.as_ref()).await?;
        if let Err(error) = self.publish_one(prepared).await {
            self.put_back(&key, before, revision).await;
            return Err(error);
        }
        info!("lambda \"{key}\": generation {} deployed", generation.number);
        Ok(self.settled(Versioned { value: record, revision }))
    }

    pub(super) async fn roll_back(&self, key: &LambdaKey, to: Option<u64>) -> Result<Lambda, PlaneError> {
        self.change(key, |record| {
            let current = record.current;
            let earlier = || {
                let numbers = record.generations.iter().map(|generation| generation.number);
                numbers.filter(|&number| number < current).max()
            };
            let known: Vec<String> =
                record.generations.iter().map(|generation| generation.number.to_string()).collect();
            let target = to.or_else(earlier);
            let is_kept = |number: &u64| record.generations.iter().any(|it| it.number == *number);
            let target = target.filter(is_kept).ok_or_else(|| PlaneError::NoGeneration {
                key: record.key.clone(),
                generation: to.unwrap_or(current.saturating_sub(1)),
                known: known.join(", "),
            })?;
            record.current = target;
            Ok(())
        })
        .await
    }

    pub(super) async fn rescale_to(&self, key: &LambdaKey, replicas: u32) -> Result<Lambda, PlaneError> {
        self.change(key, |record| {
            record.replicas = Some(replicas);
            Ok(())
        })
        .await
    }

    pub(super) async fn remove_now(&self, key: &LambdaKey) -> Result<(), PlaneError> {
        self.changeable(key)?;
        let _turn = self.0.changes.lock().await;
        let before = self.0.registry.lambda(key).await?;
        let before = before.ok_or_else(|| PlaneError::NoLambda(key.clone()))?;
        self.0.registry.remove_lambda(key, before.revision).await?;
        let withdrawn = match self.local(key).and_then(|local| local.applied) {
            Some(_) => self.withdraw(key).await,
            None => Ok(()),
        };
        // It is not in the registry any more: whatever keeps the lcores, it will not come back.
        self.forget_local(key);
        withdrawn?;
        info!("lambda \"{key}\": removed");
        Ok(())
    }

    /// Changes a lambda's record and makes the lcores run what it says then.
    async fn change(
        &self,
        key: &LambdaKey,
        change: impl FnOnce(&mut LambdaRecord) -> Result<(), PlaneError>,
    ) -> Result<Lambda, PlaneError> {
        self.changeable(key)?;
        let _turn = self.0.changes.lock().await;
        let before = self.0.registry.lambda(key).await?;
        let before = before.ok_or_else(|| PlaneError::NoLambda(key.clone()))?;
        let mut record = before.value.clone();
        change(&mut record)?;
        let local = self.local(key).unwrap_or_default();
        let revision = self.commit(&record, Some(&before)).await?;
        if let Err(error) = self.apply(&record, &local).await {
            self.put_back(key, Some(before), revision).await;
            return Err(error);
        }
        Ok(self.settled(Versioned { value: record, revision }))
    }

    /// A record that the registry has and the lcores run; as others see it.
    fn settled(&self, record: Versioned<LambdaRecord>) -> Lambda {
        self.note(&record, None);
        self.of_record(&record.value, self.0.sources.deployments.stats_of(&record.value.key).as_ref())
    }

    async fn commit(
        &self,
        record: &LambdaRecord,
        before: Option<&Versioned<LambdaRecord>>,
    ) -> Result<Revision, PlaneError> {
        let expected = before.map(|before| before.revision).unwrap_or_default();
        Ok(self.0.registry.put_lambda(record, expected).await?)
    }

    /// The lcores could not take a change: the registry says again what it said before.
    async fn put_back(&self, key: &LambdaKey, before: Option<Versioned<LambdaRecord>>, revision: Revision) {
        let result = match &before {
            Some(before) => self.0.registry.put_lambda(&before.value, revision).await.map(Some),
            None => self.0.registry.remove_lambda(key, revision).await.map(|()| None),
        };
        match (result, before) {
            (Ok(Some(revision)), Some(before)) => {
                let problem = self.local(key).and_then(|local| local.problem);
                self.note(&Versioned { revision, ..before }, problem);
            }
            (Ok(_), _) => {}
            (Err(error), _) => error!("lambda \"{key}\": the registry could not be set back: {error}"),
        }
    }

    /// Forgets the oldest generations that are more than are kept, never the current one.
    fn trim(&self, record: &mut LambdaRecord) {
        let keep = self.0.topology.control.generations as usize;
        let current = record.current;
        while record.generations.len() > keep.max(1) {
            let Some(oldest) = record.generations.iter().position(|it| it.number != current) else { return };
            record.generations.remove(oldest);
        }
    }

    fn changeable(&self, key: &LambdaKey) -> Result<(), PlaneError> {
        if self.is_configured(key) {
            let text = format!("lambda \"{key}\" is in the configuration file: change it there");
            return Err(PlaneError::Conflict(text));
        }
        Ok(())
    }

    /// The configuration's lambdas have their IDs first.
    fn require_free(&self, key: &LambdaKey, id: u32) -> Result<(), PlaneError> {
        match self.0.topology.lambdas.iter().find(|spec| spec.id.raw() == id) {
            Some(spec) => Err(PlaneError::Conflict(format!(
                "lambda \"{key}\": id {id} is lambda \"{}\"'s in the configuration file",
                spec.name
            ))),
            None => Ok(()),
        }
    }
}

/// Number of the newest generation.
fn newest(record: &LambdaRecord) -> u64 {
    record.generations.iter().map(|generation| generation.number).max().unwrap_or(record.current)
}
