//! Secrets: kept by the registry, read by lambdas, shown to nobody.

use lnic_registry::{LambdaRecord, Revision, Versioned};
use tracing::info;

use super::Manager;
use crate::control::plane::{PlaneError, SecretValue};

impl Manager {
    pub(super) async fn secret_names(&self, namespace: &str) -> Result<Vec<String>, PlaneError> {
        self.require_namespace(namespace).await?;
        Ok(self.0.registry.secret_names(namespace).await?)
    }

    pub(super) async fn put_secret(
        &self,
        namespace: &str,
        name: &str,
        value: &SecretValue,
        existing: Option<bool>,
    ) -> Result<bool, PlaneError> {
        self.require_namespace(namespace).await?;
        if value.bytes().len() > SecretValue::BYTES {
            let (bytes, limit) = (value.bytes().len(), SecretValue::BYTES);
            return Err(PlaneError::Invalid(vec![format!("secret \"{name}\": {bytes} bytes, over {limit}")]));
        }
        {
            let _turn = self.0.changes.lock().await;
            let before = self.0.registry.secret(namespace, name).await?;
            match (existing, &before) {
                (Some(true), None) => {
                    return Err(PlaneError::NoSecret { namespace: namespace.into(), name: name.into() });
                }
                (Some(false), Some(_)) => {
                    return Err(PlaneError::Conflict(format!("secret \"{name}\" is there already")));
                }
                _ => {}
            }
            let revision = before.as_ref().map(|before| before.revision).unwrap_or(Revision(0));
            self.0.registry.put_secret(namespace, name, value.bytes(), Some(revision)).await?;
            if before.is_none() {
                return Ok(true);
            }
        }
        self.refresh_secret(namespace, name).await?;
        Ok(false)
    }

    pub(super) async fn delete_secret(&self, namespace: &str, name: &str) -> Result<(), PlaneError> {
        self.require_namespace(namespace).await?;
        let _turn = self.0.changes.lock().await;
        if self.0.registry.secret(namespace, name).await?.is_none() {
            return Err(PlaneError::NoSecret { namespace: namespace.into(), name: name.into() });
        }
        if let Some(user) = self.users(namespace, name).await?.first() {
            let text = format!("secret \"{name}\": lambda \"{}\" needs it", user.value.key);
            return Err(PlaneError::Conflict(text));
        }
        self.0.registry.remove_secret(namespace, name).await?;
        Ok(())
    }

    /// Lambdas whose current generation names a secret.
    async fn users(&self, namespace: &str, name: &str) -> Result<Vec<Versioned<LambdaRecord>>, PlaneError> {
        let mut records = self.0.registry.lambdas().await?;
        records.retain(|record| {
            let generation = record.value.generation();
            record.value.key.namespace == namespace
                && generation.is_some_and(|it| it.manifest.secrets.iter().any(|secret| secret == name))
        });
        Ok(records)
    }

    /// A secret has changed: those who run with another state of it get the new one. One that cannot be given it does not keep the
    /// others.
    pub(super) async fn refresh_secret(&self, namespace: &str, name: &str) -> Result<(), PlaneError> {
        let _turn = self.0.changes.lock().await;
        let mut failed = Ok(());
        for record in self.users(namespace, name).await? {
            let key = &record.value.key;
            let Some(local) = self.local(key) else { continue };
            let Some(applied) = &local.applied else { continue };
            if self.has_current_secrets(key, applied).await? {
                continue;
            }
            match self.apply(&record.value, &local).await {
                Ok(()) => info!("lambda \"{key}\": has the new value of secret \"{name}\""),
                Err(error) => {
                    let text = format!("secret \"{name}\": lambda \"{key}\": {error}");
                    self.note(&record, Some(text.clone()));
                    failed = Err(PlaneError::Failed(text));
                }
            }
        }
        failed
    }
}
