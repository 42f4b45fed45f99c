//! The embedded store: one redb file, or memory alone.
//!
//! One thread writes, so that transactions that come together share one fsync; reads go on beside it, each of one moment.

mod committer;
mod database;

use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use redb::ReadOnlyTable;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use self::committer::Job;
use self::database::Place;
use super::history::History;
use super::{Change, Entry, Listing, StateFolder, Store, Transaction};
use crate::{Error, Revision};

/// Name of the file in a state folder.
const FILE: &str = "registry.redb";

/// A store of this process alone. Cheap to clone; the last clone that is dropped closes it.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// Taken when it closes: the thread ends then.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What readers and the committer share.
#[derive(Debug)]
struct Shared {
    place: Place,
    /// None where it could not be opened again after the disk failed.
    database: RwLock<Option<redb::Database>>,
    history: History,
    /// Last: nobody else takes it before the database is closed.
    _folder: Option<StateFolder>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has answered nobody, which they saw.
            let _ = thread.join();
        }
    }
}

impl Embedded {
    /// A store in memory: forgotten when it is dropped.
    pub fn memory() -> Result<Self, Error> {
        Self::start(Place::Memory, None)
    }

    /// The store of a state folder; made if the folder has none. Blocks.
    pub fn open(folder: StateFolder) -> Result<Self, Error> {
        Self::start(Place::File(folder.path().join(FILE)), Some(folder))
    }

    fn start(place: Place, folder: Option<StateFolder>) -> Result<Self, Error> {
        let database = place.open()?;
        let revision = database::revision(&database).map_err(|error| place.error(&error))?;
        let shared = Arc::new(Shared {
            place,
            database: RwLock::new(Some(database)),
            history: History::new(revision),
            _folder: folder,
        });
        let (jobs, taken) = mpsc::channel();
        let committer = shared.clone();
        let thread = thread::Builder::new()
            .name("registry".into())
            .spawn(move || committer::run(&committer, &taken))
            .map_err(|error| Error::File { path: "registry thread".into(), reason: error.to_string() })?;
        Ok(Self(Arc::new(Handle { shared, jobs: Some(jobs), thread: Some(thread) })))
    }

    /// Makes a transaction of any size: one that nobody else's limits bind. One that need not be `durable` is so a moment later.
    pub(crate) async fn commit_any(
        &self,
        transaction: Transaction,
        durable: bool,
    ) -> Result<Revision, Error> {
        let (reply, outcome) = oneshot::channel();
        let jobs = self.0.jobs.as_ref().ok_or(Error::Closed)?;
        jobs.send(Job { transaction, durable, reply }).map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }

    /// Reads, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadOnlyTable<&'static str, (u64, &'static [u8])>) -> Result<T, redb::Error>
        + Send
        + 'static,
    ) -> Result<(T, Revision), Error> {
        let shared = self.0.shared.clone();
        let read = move || {
            let database = shared.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = database.as_ref().ok_or_else(|| shared.place.lost())?;
            database::read(database, read).map_err(|error| shared.place.error(&error))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| Error::Closed)?
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let key = key.to_owned();
        let read = self.read(move |table| {
            let found = table.get(key.as_str())?;
            Ok(found.map(|found| entry(&key, found.value())))
        });
        Ok(read.await?.0)
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        let prefix = prefix.to_owned();
        let read = self.read(move |table| {
            let mut entries = Vec::new();
            for found in table.range(prefix.as_str()..)? {
                let (key, value) = found?;
                if !key.value().starts_with(&prefix) {
                    break;
                }
                entries.push(entry(key.value(), value.value()));
            }
            Ok(entries)
        });
        let (entries, revision) = read.await?;
        Ok(Listing { entries, revision })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error> {
        transaction.check()?;
        self.commit_any(transaction, true).await
    }

    fn watch(&self, prefix: &str, after: Option<Revision>) -> BoxStream<'static, Change> {
        self.0.shared.history.watch(prefix, after)
    }
}

fn entry(key: &str, (revision, value): (u64, &[u8])) -> Entry {
    Entry { key: key.to_owned(), value: Zeroizing::new(value.to_vec()), revision: Revision(revision) }
}
