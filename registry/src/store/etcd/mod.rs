//! etcd, for several appliances that share what is deployed.
//!
//! All that is kept is also kept here, as a local copy: reads are of it, so that they are fast and go on while etcd is away. One task
//! follows etcd and brings the copy up to date; whoever commits waits until the copy shows it. Changes of others are seen a moment after
//! they were made, which compare-and-swap makes harmless.

mod client;
mod follow;
mod lease;
mod mirror;
mod modules;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::client::Remote;
use self::mirror::Mirror;
use super::history::History;
use super::{Change, Condition, Embedded, Entry, Listing, Operation, Store, Transaction};
use crate::{Error, Revision, names};

/// Longest time that somebody who has committed waits for the copy.
const COPY_TIMEOUT: Duration = Duration::from_secs(2);

/// Which etcd, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// URLs of its members.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// Seconds after which an appliance that says nothing is gone.
    pub lease_s: u32,
    /// Our name.
    pub appliance: String,
}

/// An appliance that shares the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceRecord {
    /// Its name.
    pub name: String,
    /// Where its API is; empty if it did not say.
    pub address: String,
    /// When it came, ms since 1970.
    pub since_ms: u64,
}

impl ApplianceRecord {
    /// One that has just come, and has not said where its API is.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), address: String::new(), since_ms: lease::now_ms() }
    }
}

/// A store that several appliances share. Cheap to clone; the last clone that is dropped lets go of it.
#[derive(Clone)]
pub struct Etcd(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// Until it is closed.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    remote: Remote,
    mirror: Mirror,
    history: History,
    /// Revision of the copy.
    applied: watch::Sender<u64>,
    /// Revision that we know etcd to have: of our last change, or of one that was in its way.
    seen: AtomicU64,
    /// What we say of ourselves.
    appliance: watch::Sender<ApplianceRecord>,
    lease_s: u32,
    /// The lease that we have; 0 for none.
    lease: AtomicI64,
}

impl Handle {
    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for task in self.take_tasks() {
            task.abort();
        }
    }
}

impl Etcd {
    /// Follows etcd, with a copy in a local store. While etcd is away, what the copy has is there to read, if it has anything.
    pub async fn open(local: Embedded, settings: EtcdSettings) -> Result<Self, Error> {
        names::appliance(&settings.appliance)?;
        let remote = Remote::connect(&settings).await?;
        let mirror = Mirror::open(local, &settings.prefix).await?;
        let about = mirror.about().await?;
        let revision = about.as_ref().map_or(0, |about| about.revision);
        let appliance = ApplianceRecord::new(&settings.appliance);
        let shared = Arc::new(Shared {
            remote,
            mirror,
            history: History::new(Revision(revision)),
            applied: watch::Sender::new(revision),
            seen: AtomicU64::new(0),
            appliance: watch::Sender::new(appliance),
            lease_s: settings.lease_s,
            lease: AtomicI64::new(0),
        });
        let synced = match shared.sync().await {
            Ok(revision) => Some(revision),
            Err(error @ Error::Unavailable { .. }) if about.is_some() => {
                shared.unavailable(&error);
                None
            }
            Err(error) => return Err(error),
        };
        let tasks =
            vec![tokio::spawn(follow::run(shared.clone(), synced)), tokio::spawn(lease::run(shared.clone()))];
        Ok(Self(Arc::new(Handle { shared, tasks: Mutex::new(tasks) })))
    }

    /// Lets go of etcd and of the local store; nothing can be changed any more.
    pub async fn close(&self) {
        for task in self.0.take_tasks() {
            task.abort();
            // It was stopped, as it should be.
            let _ = task.await;
        }
        let Shared { remote, history, lease, .. } = &*self.0.shared;
        let lease = lease.swap(0, Ordering::Relaxed);
        if lease != 0 && history.away().is_none() {
            // Else it ends by itself.
            let _ = remote.ask(remote.leases().revoke(lease)).await;
        }
        history.push([Change::Unavailable("the registry is closed".to_owned())]);
    }

    /// Says where our API is.
    pub fn announce(&self, address: &str) {
        self.0.shared.appliance.send_modify(|record| address.clone_into(&mut record.address));
    }

    /// Appliances that are there now, by name.
    pub async fn appliances(&self) -> Result<Vec<ApplianceRecord>, Error> {
        self.0.shared.appliances().await
    }

    /// Keeps a module for all appliances.
    pub(crate) async fn put_module(&self, hex: &str, wasm: &[u8]) -> Result<(), Error> {
        self.0.shared.available()?;
        self.0.shared.remote.put_module(hex, wasm).await
    }

    /// Says that a module is needed; whether it is there.
    pub(crate) async fn touch_module(&self, hex: &str) -> Result<bool, Error> {
        self.0.shared.available()?;
        self.0.shared.remote.touch_module(hex).await
    }

    /// A module's bytes; nothing has judged them.
    pub(crate) async fn module(&self, hex: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.shared.available()?;
        self.0.shared.remote.module(hex).await
    }

    /// Modules that are there: name, bytes, and a revision that changes whenever somebody puts it again.
    pub(crate) async fn modules(&self) -> Result<Vec<(String, u64, Revision)>, Error> {
        self.0.shared.available()?;
        self.0.shared.remote.modules().await
    }

    /// Removes a module that nobody has put again; whether it did.
    pub(crate) async fn remove_module(&self, hex: &str, seen: Revision) -> Result<bool, Error> {
        self.0.shared.available()?;
        self.0.shared.remote.remove_module(hex, seen).await
    }
}

#[async_trait]
impl Store for Etcd {
    /// From the copy; from etcd while the copy is behind what we have changed ourselves.
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let shared = &self.0.shared;
        if shared.is_late() && shared.available().is_ok() {
            return shared.read(key).await;
        }
        shared.mirror.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.0.shared.mirror.list(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error> {
        transaction.check()?;
        let shared = &self.0.shared;
        shared.available()?;
        let remote = &shared.remote;
        let conditions = &transaction.conditions;
        let request = Txn::new()
            .when(conditions.iter().map(|condition| compare(remote, condition)).collect::<Vec<_>>())
            .and_then(
                transaction.operations.iter().map(|operation| act(remote, operation)).collect::<Vec<_>>(),
            )
            .or_else(conditions.iter().map(|condition| look(remote, condition)).collect::<Vec<_>>());
        let response = remote.change(remote.kv().txn(request)).await?;
        let revision = response.header().map_or(0, |header| header.revision().unsigned_abs());
        let outcomes = response.op_responses();
        if !response.succeeded() {
            return Err(shared.conflict(conditions, &outcomes).await);
        }
        // A transaction that deletes nothing makes no revision, and the copy would be waited for in vain.
        let changed = outcomes.iter().any(|outcome| match outcome {
            TxnOpResponse::Put(_) => true,
            TxnOpResponse::Delete(deleted) => deleted.deleted() > 0,
            TxnOpResponse::Get(_) | TxnOpResponse::Txn(_) => false,
        });
        if changed {
            shared.copied(revision).await;
        }
        Ok(Revision(revision))
    }

    fn watch(&self, prefix: &str, after: Option<Revision>) -> BoxStream<'static, Change> {
        self.0.shared.history.watch(prefix, after)
    }
}

impl Shared {
    /// No need to ask whom the follower does not reach.
    fn available(&self) -> Result<(), Error> {
        self.history.away().map_or(Ok(()), |reason| Err(self.remote.unavailable(reason)))
    }

    fn unavailable(&self, error: &Error) {
        let reason = match error {
            Error::Unavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        tracing::warn!(%error, "the registry in etcd is away; what was read last is still there");
        self.history.push([Change::Unavailable(reason)]);
    }

    /// Whether the copy is behind what we know etcd to have.
    fn is_late(&self) -> bool {
        *self.applied.borrow() < self.seen.load(Ordering::Relaxed)
    }

    /// What etcd itself has under a key.
    async fn read(&self, key: &str) -> Result<Option<Entry>, Error> {
        let found = self.remote.ask(self.remote.kv().get(self.remote.key(key), None)).await?;
        found.kvs().first().map(|found| self.entry(found)).transpose()
    }

    /// Waits until the copy has this revision, but not for ever.
    async fn copied(&self, revision: u64) {
        self.seen.fetch_max(revision, Ordering::Relaxed);
        let mut applied = self.applied.subscribe();
        let waited = timeout(COPY_TIMEOUT, applied.wait_for(|applied| *applied >= revision)).await;
        if waited.is_err() {
            tracing::warn!(revision, "the copy of the registry is late");
        }
    }

    /// Which condition did not hold. Returns once the copy shows it, so that who tries again does not read the same.
    async fn conflict(&self, conditions: &[Condition], outcomes: &[TxnOpResponse]) -> Error {
        for (condition, outcome) in conditions.iter().zip(outcomes) {
            let TxnOpResponse::Get(found) = outcome else { continue };
            let found = found.kvs().first().map(|found| found.mod_revision().unsigned_abs());
            let (Condition::At(key, _) | Condition::Present(key) | Condition::NoneUnder(key)) = condition;
            let holds = match condition {
                Condition::At(_, expected) => found.unwrap_or(0) == expected.0,
                Condition::Present(_) => found.is_some(),
                Condition::NoneUnder(_) => found.is_none(),
            };
            if holds {
                continue;
            }
            match found {
                Some(revision) => self.copied(revision).await,
                None => self.gone(key).await,
            }
            return Error::Conflict(key.clone());
        }
        Error::Conflict("the registry".to_owned())
    }

    /// Waits until the copy does not have this key, or etcd is away.
    async fn gone(&self, key: &str) {
        let mut applied = self.applied.subscribe();
        let gone = async {
            loop {
                applied.borrow_and_update();
                if !matches!(self.mirror.get(key).await, Ok(Some(_))) || applied.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(COPY_TIMEOUT, gone).await.is_err() {
            tracing::warn!(key, "the copy of the registry is late");
        }
    }
}

fn compare(remote: &Remote, condition: &Condition) -> Compare {
    match condition {
        Condition::At(key, revision) => {
            Compare::mod_revision(remote.key(key), CompareOp::Equal, signed(revision.0))
        }
        Condition::Present(key) => Compare::create_revision(remote.key(key), CompareOp::Greater, 0),
        // etcd compares a range that is empty as if it had one key that is not there.
        Condition::NoneUnder(prefix) => {
            Compare::create_revision(remote.key(prefix), CompareOp::Equal, 0).with_prefix()
        }
    }
}

fn act(remote: &Remote, operation: &Operation) -> TxnOp {
    match operation {
        Operation::Put(key, value) => TxnOp::put(remote.key(key), value.as_slice(), None),
        Operation::Delete(key) => TxnOp::delete(remote.key(key), None),
        Operation::DeleteUnder(prefix) => {
            TxnOp::delete(remote.key(prefix), Some(etcd_client::DeleteOptions::new().with_prefix()))
        }
    }
}

/// Asks what made a condition fail.
fn look(remote: &Remote, condition: &Condition) -> TxnOp {
    let options = GetOptions::new().with_keys_only().with_limit(1);
    match condition {
        Condition::At(key, _) | Condition::Present(key) => TxnOp::get(remote.key(key), Some(options)),
        Condition::NoneUnder(prefix) => TxnOp::get(remote.key(prefix), Some(options.with_prefix())),
    }
}

/// Revisions are counted from 1 and are far from the end.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
