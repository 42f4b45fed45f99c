//! The paper's workload manager: makes the appliance run what the registry says, and the registry say what was asked for.
//!
//! ```text
//! HTTP ─► Manager ─► registry: a record, durable          (who asks waits for both)
//!            │
//!            └─ order ─► main thread: Appliance ─► lcores
//!            ▲
//!            └─ watch ── registry: what others changed
//! ```
//!
//! A change is first in the registry and then on the lcores. If the lcores cannot take it (no room), the record that was there before is
//! put back. A process that dies in between starts with what the registry says: before, or after.

mod apply;
mod driver;
mod lambdas;
mod logs;
mod namespaces;
mod queue;
mod secrets;
mod view;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use lnic_registry::{GenerationRecord, LambdaKey, Registry, Revision};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

pub use apply::Restored;
pub use driver::{Driver, Orders};
pub use queue::DurableQueue;

use self::driver::Order;
use self::logs::LogBook;
use super::appliance::Bounds;
use super::compile::Compiler;
use super::plane::{HttpMode, PlaneError, Readiness};
use super::stats::Sources;
use super::topology::Topology;
use crate::matcher::{Egress, Rule};

/// Orders to the main thread that wait.
const ORDERS: usize = 64;

/// The control plane of a running appliance. Cheap to clone.
#[derive(Clone)]
pub struct Manager(Arc<Shared>);

struct Shared {
    topology: Topology,
    bounds: Bounds,
    registry: Registry,
    compiler: Compiler,
    sources: Arc<Sources>,
    orders: mpsc::Sender<Order>,
    /// What this appliance makes of each lambda of the registry.
    local: RwLock<BTreeMap<LambdaKey, Local>>,
    /// Whom requests are for, by name: IDs and what they get of HTTP, the configuration's lambdas too.
    ids: RwLock<BTreeMap<LambdaKey, (u32, HttpMode)>>,
    /// Held while a lambda changes: its turn in the registry and on the lcores go together.
    changes: AsyncMutex<()>,
    logs: LogBook,
    readiness: Mutex<Readiness>,
    /// What the registry has is deployed, as far as that can be.
    is_restored: AtomicBool,
}

/// What this appliance makes of a lambda.
#[derive(Clone, Debug, Default)]
struct Local {
    /// The state of its record that was looked at last.
    revision: Revision,
    /// What runs; `None` if nothing does.
    applied: Option<Applied>,
    /// Why the record is not what runs.
    problem: Option<String>,
}

/// What runs of a lambda.
#[derive(Clone, Debug, PartialEq)]
struct Applied {
    /// Its λ-RPC lambda ID.
    id: u32,
    generation: GenerationRecord,
    /// Secrets that it was given, and which state of them.
    secrets: BTreeMap<String, Revision>,
    /// Its rules, for people.
    rules: Vec<Rule>,
    /// Where frames that came by its λ-RPC ID may go; `None` if that is no rule of its.
    by_id: Option<Egress>,
}

impl Manager {
    /// The manager of an appliance that has started, and the orders that its [`Driver`] carries out.
    #[must_use]
    pub fn new(
        topology: &Topology,
        registry: Registry,
        compiler: Compiler,
        sources: Arc<Sources>,
    ) -> (Self, Orders) {
        let (orders, received) = mpsc::channel(ORDERS);
        let ids = topology
            .lambdas
            .iter()
            .map(|spec| {
                let key = LambdaKey::new(&topology.tenants[spec.tenant].name, &spec.name);
                (key, (spec.id.raw(), spec.http))
            })
            .collect();
        let shared = Shared {
            bounds: Bounds::of(topology),
            registry,
            compiler,
            sources,
            orders,
            local: RwLock::default(),
            ids: RwLock::new(ids),
            changes: AsyncMutex::new(()),
            logs: LogBook::new(topology.control.log_lines as usize),
            readiness: Mutex::default(),
            is_restored: AtomicBool::new(false),
            topology: topology.clone(),
        };
        (Self(Arc::new(shared)), Orders(received))
    }

    /// True if the lambda is one of the configuration file's.
    fn is_configured(&self, key: &LambdaKey) -> bool {
        self.configured(key).is_some()
    }

    fn configured(&self, key: &LambdaKey) -> Option<&super::topology::LambdaSpec> {
        let topology = &self.0.topology;
        let is_it = |spec: &&super::topology::LambdaSpec| {
            spec.name == key.name && topology.tenants[spec.tenant].name == key.namespace
        };
        topology.lambdas.iter().find(is_it)
    }

    fn local(&self, key: &LambdaKey) -> Option<Local> {
        self.0.local.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn set_local(&self, key: &LambdaKey, local: Local) {
        let id = local
            .applied
            .as_ref()
            .map(|applied| (applied.id, HttpMode::named(applied.generation.manifest.http.as_deref())));
        self.0.local.write().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), local);
        let mut ids = self.0.ids.write().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => ids.insert(key.clone(), id),
            None => ids.remove(key),
        };
    }

    fn forget_local(&self, key: &LambdaKey) {
        self.0.local.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.0.ids.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.0.logs.forget(key);
    }

    /// What keeps the appliance from being ready, besides ports and lcores.
    fn problems(&self) -> Vec<String> {
        let restoring = !self.0.is_restored.load(Relaxed);
        let restoring = restoring.then(|| "lambdas are being deployed".to_owned());
        restoring.into_iter().chain(self.0.compiler.problem()).collect()
    }

    fn readiness_now(&self) -> Readiness {
        self.0.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Milliseconds since 1970; only ever shown.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What the registry says, as the plane says it.
impl From<lnic_registry::Error> for PlaneError {
    fn from(error: lnic_registry::Error) -> Self {
        use lnic_registry::Error;
        let text = error.to_string();
        match error {
            Error::Conflict(_)
            | Error::IdTaken { .. }
            | Error::NamespaceInUse { .. }
            | Error::DefaultNamespace => Self::Conflict(text),
            Error::NoNamespace(name) => Self::NoNamespace(name),
            Error::NoModule(digest) => Self::NoModule(digest.to_string()),
            Error::Unavailable { .. } | Error::Uncertain { .. } | Error::Closed => Self::Unavailable(text),
            Error::Name { .. } | Error::TooLarge { .. } => Self::Invalid(vec![text]),
            Error::NoRoom(_) | Error::ModulesFull { .. } | Error::NoId => Self::NoRoom(text),
            _ => Self::Failed(text),
        }
    }
}
