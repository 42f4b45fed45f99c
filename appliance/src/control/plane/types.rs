//! What the plane is asked and answers; the same in its HTTP API.

use std::collections::BTreeMap;
use std::fmt;

use lnic_registry::{LambdaKey, Manifest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::stats::ServiceStats;
use crate::control::topology::HttpMode;

/// A deployment to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Whose lambda it is.
    pub namespace: String,
    /// What its author says.
    pub manifest: Manifest,
    /// Digest of its module.
    pub module: lnic_registry::Digest,
    /// How the deployer named the code; for people.
    pub image: String,
    /// The lambda must be there already, or must not; nothing is asked if `None`.
    pub existing: Option<bool>,
}

/// Where a lambda comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The appliance's configuration file: only changed there.
    Configuration,
    /// It was deployed.
    Registry,
}

/// What a lambda does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It takes requests.
    Active,
    /// It has no replica: the next request wakes it.
    Asleep,
    /// It failed too often; its callers are told UNAVAILABLE.
    Quarantined,
    /// It has no instance because its NPU died; a fresh one is being made.
    Lost,
    /// This appliance could not deploy it: `problem` says why.
    Failed,
}

/// A lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lambda {
    /// Whose it is, and its name.
    #[serde(flatten)]
    pub key: LambdaKey,
    /// Where it comes from.
    pub origin: Origin,
    /// λ-RPC lambda ID.
    pub id: u32,
    /// What it does now.
    pub phase: Phase,
    /// Why not, if it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Number of the generation that runs.
    pub generation: u64,
    /// Generations that one can go back to, oldest first, the current one among them.
    pub generations: Vec<Generation>,
    /// NPUs that it shall run on at most; all that it may if `None`.
    pub replicas: Option<u32>,
    /// NPUs that may run it now.
    pub available_replicas: u32,
    /// `pinned`, `shared` or `replicated`.
    pub concurrency: String,
    /// What its author says.
    pub manifest: Manifest,
    /// Services outside that it may ask, and the ways there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStats>,
    /// Bytes of memory that its instances have, by tier: `local`, `ctm`, `imem`, `emem`; tiers that it has nothing of are left out.
    pub memory_bytes: BTreeMap<String, u64>,
    /// Times that it ran, over all its generations since the appliance started.
    pub invocations: u64,
    /// When it was first deployed, ms since 1970.
    pub created_at_ms: u64,
}

/// One deployment of a lambda.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// Digest of its module.
    pub module: String,
    /// How its deployer named the code.
    pub image: String,
    /// When it was deployed, ms since 1970.
    pub deployed_at_ms: u64,
}

/// Whom a gateway's request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The lambda.
    pub key: LambdaKey,
    /// Its λ-RPC lambda ID.
    pub id: u32,
    /// What it gets of the request.
    pub http: HttpMode,
}

/// A module that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Module {
    /// Its name: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}

/// A match rule in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Whose rule it is.
    #[serde(flatten)]
    pub lambda: LambdaKey,
    /// The higher wins; of equals the first.
    pub priority: u32,
    /// Its conditions, for people: `udp, destination port 53`.
    pub conditions: String,
    /// Where its frames may go: `reply` or `any`.
    pub egress: String,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// For people and programs.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The same, for longer texts.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A secret's bytes; never shown, zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(zeroize::Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Most bytes of a secret.
    pub const BYTES: usize = 64 << 10;

    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Which lines of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Of which lambda; of all that `namespace` has if `None`.
    pub name: Option<String>,
    /// Of which namespace; of all if `None`.
    pub namespace: Option<String>,
    /// At most so many of those that are kept, the latest.
    pub tail: Option<usize>,
    /// Only lines from then on, ms since 1970.
    pub since_ms: Option<u64>,
    /// Goes on with new lines until the reader leaves.
    pub follow: bool,
}

/// A line that a lambda logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Which lambda.
    #[serde(flatten)]
    pub lambda: LambdaKey,
    /// Generation that logged it.
    pub generation: u64,
    /// When it was read, ms since 1970.
    pub time_ms: u64,
    /// What it said; what is no printable text is escaped.
    pub text: String,
}

/// May traffic be sent here?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// True if all that follows is well.
    pub ready: bool,
    /// What is not, for people; empty if ready.
    pub problems: Vec<String>,
    /// Ports and their links.
    pub ports: Vec<PortReadiness>,
    /// Lcores and their heartbeats.
    pub lcores: Vec<WorkerReadiness>,
}

/// A port's link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortReadiness {
    /// Its name.
    pub name: String,
    /// Its link is up.
    pub up: bool,
}

/// An lcore's heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerReadiness {
    /// DPDK's number.
    pub lcore: u32,
    /// What it is.
    pub roles: String,
    /// Milliseconds since it last took a breath that was noticed.
    pub silent_ms: u64,
    /// What is wrong with it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
}

/// Why an lcore does not breathe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stuck {
    /// It has not taken a breath for too long.
    Silent,
    /// It has ended.
    Ended,
}
