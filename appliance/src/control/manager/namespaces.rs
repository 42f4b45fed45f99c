//! Namespaces: the configuration's tenants, and those that were made.

use std::collections::BTreeMap;

use lnic_registry::{NamespaceRecord, Revision};

use super::{Manager, now_ms};
use crate::control::plane::{Namespace, PlaneError};

impl Manager {
    fn is_tenant(&self, name: &str) -> bool {
        self.0.topology.tenants.iter().any(|tenant| tenant.name == name)
    }

    /// Refuses a namespace that is not there.
    pub(super) async fn require_namespace(&self, name: &str) -> Result<(), PlaneError> {
        if self.is_tenant(name) || self.0.registry.namespace(name).await?.is_some() {
            return Ok(());
        }
        Err(PlaneError::NoNamespace(name.into()))
    }

    /// Makes the configuration's tenants namespaces of the registry, which lambdas need to be in.
    pub(super) async fn keep_tenants(&self) -> Result<(), PlaneError> {
        for tenant in &self.0.topology.tenants {
            if self.0.registry.namespace(&tenant.name).await?.is_none() {
                let namespace = Namespace { name: tenant.name.clone(), ..Namespace::default() };
                match self.0.registry.put_namespace(&record_of(&namespace, now_ms()), Revision(0)).await {
                    // Another appliance was first.
                    Ok(_) | Err(lnic_registry::Error::Conflict(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    pub(super) async fn all_namespaces(&self) -> Result<Vec<Namespace>, PlaneError> {
        let tenants = self.0.topology.tenants.iter();
        let mut all: BTreeMap<String, Namespace> = tenants
            .map(|tenant| {
                (tenant.name.clone(), Namespace { name: tenant.name.clone(), ..Namespace::default() })
            })
            .collect();
        for record in self.0.registry.namespaces().await? {
            let NamespaceRecord { name, labels, annotations, .. } = record.value;
            all.insert(name.clone(), Namespace { name, labels, annotations });
        }
        Ok(all.into_values().collect())
    }

    pub(super) async fn create(&self, namespace: Namespace) -> Result<Namespace, PlaneError> {
        let _turn = self.0.changes.lock().await;
        let all = self.all_namespaces().await?;
        if all.iter().any(|known| known.name == namespace.name) {
            return Err(PlaneError::Conflict(format!("namespace \"{}\" is there already", namespace.name)));
        }
        let limit = self.0.topology.control.namespaces as usize;
        if all.len() >= limit {
            return Err(PlaneError::NoRoom(format!(
                "namespace \"{}\": there are {limit} already, as many as [control] namespaces allows",
                namespace.name
            )));
        }
        self.0.registry.put_namespace(&record_of(&namespace, now_ms()), Revision(0)).await?;
        Ok(namespace)
    }

    pub(super) async fn update(&self, namespace: Namespace) -> Result<Namespace, PlaneError> {
        let _turn = self.0.changes.lock().await;
        let before = self.0.registry.namespace(&namespace.name).await?;
        let (created_at_ms, revision) = match before {
            Some(before) => (before.value.created_at_ms, before.revision),
            None => return Err(PlaneError::NoNamespace(namespace.name)),
        };
        self.0.registry.put_namespace(&record_of(&namespace, created_at_ms), revision).await?;
        Ok(namespace)
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), PlaneError> {
        let _turn = self.0.changes.lock().await;
        if self.is_tenant(name) {
            let text = format!("namespace \"{name}\" is a tenant of the configuration file: change it there");
            return Err(PlaneError::Conflict(text));
        }
        if self.0.registry.namespace(name).await?.is_none() {
            return Err(PlaneError::NoNamespace(name.into()));
        }
        self.0.registry.remove_namespace(name).await?;
        Ok(())
    }
}

fn record_of(namespace: &Namespace, created_at_ms: u64) -> NamespaceRecord {
    NamespaceRecord {
        name: namespace.name.clone(),
        labels: namespace.labels.clone(),
        annotations: namespace.annotations.clone(),
        created_at_ms,
    }
}
