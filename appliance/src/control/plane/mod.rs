//! What the control plane does for whoever asks: the HTTP API, the OpenFaaS provider, the gateway, the CLI through them.
//!
//! [`Plane`] is the seam: HTTP knows nothing of lcores, tables or stores behind it.

mod error;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Bytes;
use futures_util::stream::BoxStream;
pub use lnic_registry::{Digest, LambdaKey, Manifest};

pub use error::PlaneError;
pub use types::{
    Deployment, Generation, Lambda, LogLine, LogQuery, Module, Namespace, Origin, Phase, PortReadiness,
    Readiness, Rule, SecretValue, Stuck, Target, WorkerReadiness,
};

pub use super::topology::HttpMode;

use super::inspect::Inspection;
use super::stats::Snapshot;

/// A handle of the plane; cheap to clone.
pub type PlaneHandle = Arc<dyn Plane>;

/// The control plane of one appliance.
#[async_trait]
pub trait Plane: Send + Sync + 'static {
    /// Keeps a WebAssembly module, once. Judged when it is deployed.
    async fn upload(&self, wasm: Bytes) -> Result<Module, PlaneError>;
    /// Modules that are kept.
    async fn modules(&self) -> Result<Vec<Module>, PlaneError>;

    /// Deploys a lambda, or a new generation of it: returns once every lcore runs it, with no frame lost.
    async fn deploy(&self, deployment: Deployment) -> Result<Lambda, PlaneError>;
    /// Lambdas of a namespace, or of all; by namespace and name.
    async fn lambdas(&self, namespace: Option<&str>) -> Result<Vec<Lambda>, PlaneError>;
    /// One of them.
    async fn lambda(&self, key: &LambdaKey) -> Result<Lambda, PlaneError>;
    /// Removes a lambda; returns once nothing new reaches it. What is under way ends.
    async fn remove(&self, key: &LambdaKey) -> Result<(), PlaneError>;
    /// Makes an earlier generation the current one: `to`, or the one deployed before the current.
    async fn rollback(&self, key: &LambdaKey, to: Option<u64>) -> Result<Lambda, PlaneError>;
    /// Runs it on at most so many NPUs; with 0 it sleeps until a request comes.
    async fn scale(&self, key: &LambdaKey, replicas: u32) -> Result<Lambda, PlaneError>;
    /// Lets a quarantined lambda run again. Whether it was quarantined.
    async fn release(&self, key: &LambdaKey) -> Result<bool, PlaneError>;
    /// What the compiler found out about it and decided.
    async fn inspection(&self, key: &LambdaKey) -> Result<Inspection, PlaneError>;
    /// Match rules in force, in order of precedence.
    async fn rules(&self) -> Result<Vec<Rule>, PlaneError>;

    /// Namespaces, by name.
    async fn namespaces(&self) -> Result<Vec<Namespace>, PlaneError>;
    /// Makes a namespace. One that is there is a conflict.
    async fn create_namespace(&self, namespace: Namespace) -> Result<Namespace, PlaneError>;
    /// Changes labels and annotations of one that is there.
    async fn update_namespace(&self, namespace: Namespace) -> Result<Namespace, PlaneError>;
    /// Removes a namespace that has no lambdas, and its secrets.
    async fn remove_namespace(&self, name: &str) -> Result<(), PlaneError>;

    /// Names of a namespace's secrets.
    async fn secrets(&self, namespace: &str) -> Result<Vec<String>, PlaneError>;
    /// Sets a secret: with `Some(true)` it must be there already, with `Some(false)` it must not. Lambdas that name it get a new
    /// generation's view of it. True if it is new.
    async fn set_secret(
        &self,
        namespace: &str,
        name: &str,
        value: SecretValue,
        existing: Option<bool>,
    ) -> Result<bool, PlaneError>;
    /// Removes a secret that no lambda names.
    async fn remove_secret(&self, namespace: &str, name: &str) -> Result<(), PlaneError>;

    /// Lines that lambdas logged: those that are kept, then, if asked to follow, each as it comes.
    fn logs(&self, query: LogQuery) -> BoxStream<'static, LogLine>;
    /// Whom a gateway's request is for. Cheap: it is asked for every request.
    fn resolve(&self, namespace: &str, name: &str) -> Option<Target>;
    /// All counters.
    fn snapshot(&self) -> Snapshot;
    /// May traffic be sent here?
    fn readiness(&self) -> Readiness;
}
