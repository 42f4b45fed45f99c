//! The thread that writes: transactions that wait together are made together, with one fsync.

use std::sync::{PoisonError, mpsc};
use std::time::Duration;

use redb::{Database, Durability, ReadableTable as _, Table};
use tokio::sync::oneshot;

use super::Shared;
use super::database::{ABOUT, ENTRIES, REVISION_KEY, revision};
use crate::store::{Change, Condition, Operation, Transaction};
use crate::{Error, Revision};

/// Transactions that share an fsync.
const GROUP: usize = 64;
/// Bytes that they have together, but for the last one's.
const GROUP_BYTES: usize = 8 << 20;
/// What need not be durable at once is so after this time.
const SYNC_AFTER: Duration = Duration::from_millis(200);

/// A transaction to make.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) transaction: Transaction,
    /// It shall survive a power cut once it is answered.
    pub(super) durable: bool,
    pub(super) reply: oneshot::Sender<Result<Revision, Error>>,
}

type Entries<'a> = Table<'a, &'static str, (u64, &'static [u8])>;

/// Works until nobody can ask any more.
pub(super) fn run(shared: &Shared, jobs: &mpsc::Receiver<Job>) {
    let mut unsynced = false;
    loop {
        let first = match unsynced {
            true => jobs.recv_timeout(SYNC_AFTER),
            false => jobs.recv().map_err(|mpsc::RecvError| mpsc::RecvTimeoutError::Disconnected),
        };
        let mut group = Vec::new();
        match first {
            Ok(job) => group.push(job),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) if unsynced => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        let mut bytes = group.iter().map(|job| job.transaction.bytes()).sum::<usize>();
        while !group.is_empty()
            && group.len() < GROUP
            && bytes < GROUP_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.transaction.bytes();
            group.push(job);
        }
        let durable = group.is_empty() || group.iter().any(|job| job.durable);
        commit(shared, group, durable);
        unsynced = !durable;
    }
}

/// Makes a group of transactions, tells watchers, and then those who asked.
fn commit(shared: &Shared, group: Vec<Job>, durable: bool) {
    let Made { outcomes, changes, .. } = attempt(shared, &group, durable).unwrap_or_else(|error| {
        tracing::error!(%error, "changes of the registry were not kept");
        Made { outcomes: group.iter().map(|_| Err(error.clone())).collect(), ..Made::default() }
    });
    shared.history.push(changes);
    for (job, outcome) in group.into_iter().zip(outcomes) {
        // Who does not wait any more is not told.
        let _ = job.reply.send(outcome);
    }
}

/// What became of a group.
#[derive(Default)]
struct Made {
    /// What each transaction is answered.
    outcomes: Vec<Result<Revision, Error>>,
    /// What watchers are told.
    changes: Vec<Change>,
    /// The store's revision, once it is committed.
    revision: Option<Revision>,
}

/// After an error nothing has changed.
fn attempt(shared: &Shared, group: &[Job], durable: bool) -> Result<Made, Error> {
    let is_open = shared.database.read().unwrap_or_else(PoisonError::into_inner).is_some();
    if !is_open {
        reopen(shared)?;
    }
    let mut made = Made::default();
    let written = {
        let database = shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| shared.place.lost())?;
        write(database, group, durable, &mut made)
    };
    let Err(error) = written else { return Ok(made) };
    // After an error of the disk the database takes no more transactions, and whether this one is there is seen by opening it again.
    match (made.revision, reopen(shared)) {
        (Some(revision), Ok(found)) if revision == found => Ok(made),
        _ => Err(shared.place.error(&error)),
    }
}

fn reopen(shared: &Shared) -> Result<Revision, Error> {
    let mut database = shared.database.write().unwrap_or_else(PoisonError::into_inner);
    // First: the old one holds the lock of the file.
    *database = None;
    let opened = shared.place.reopen()?;
    let found = revision(&opened).map_err(|error| shared.place.error(&error))?;
    *database = Some(opened);
    Ok(found)
}

fn write(database: &Database, group: &[Job], durable: bool, made: &mut Made) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    if !durable {
        transaction.set_durability(Durability::None)?;
    }
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut about = transaction.open_table(ABOUT)?;
    let before = about.get(REVISION_KEY)?.map_or(0, |found| found.value());
    let mut last = before;
    for job in group {
        let outcome = match broken(&entries, &job.transaction.conditions)? {
            Some(key) => Err(Error::Conflict(key)),
            None => {
                let known = made.changes.len();
                apply(&mut entries, &job.transaction.operations, last + 1, &mut made.changes)?;
                last += u64::from(made.changes.len() > known);
                Ok(Revision(last))
            }
        };
        made.outcomes.push(outcome);
    }
    if last == before && !group.is_empty() {
        drop((entries, about));
        return Ok(transaction.abort()?);
    }
    about.insert(REVISION_KEY, last)?;
    drop((entries, about));
    made.revision = (last != before).then_some(Revision(last));
    Ok(transaction.commit()?)
}

/// The first condition that does not hold.
fn broken(entries: &Entries<'_>, conditions: &[Condition]) -> Result<Option<String>, redb::Error> {
    for condition in conditions {
        let (key, holds) = match condition {
            Condition::At(key, expected) => {
                let found = entries.get(key.as_str())?.map_or(0, |found| found.value().0);
                (key, found == expected.0)
            }
            Condition::Present(key) => (key, entries.get(key.as_str())?.is_some()),
            Condition::NoneUnder(prefix) => (prefix, keys_under(entries, prefix, 1)?.is_empty()),
        };
        if !holds {
            return Ok(Some(key.clone()));
        }
    }
    Ok(None)
}

fn apply(
    entries: &mut Entries<'_>,
    operations: &[Operation],
    revision: u64,
    changes: &mut Vec<Change>,
) -> Result<(), redb::Error> {
    let deleted = |key: &str| Change::Delete { key: key.to_owned(), revision: Revision(revision) };
    for operation in operations {
        match operation {
            Operation::Put(key, value) => {
                entries.insert(key.as_str(), (revision, value.as_slice()))?;
                changes.push(Change::Put { key: key.clone(), revision: Revision(revision) });
            }
            Operation::Delete(key) => {
                if entries.remove(key.as_str())?.is_some() {
                    changes.push(deleted(key));
                }
            }
            Operation::DeleteUnder(prefix) => {
                for key in keys_under(entries, prefix, usize::MAX)? {
                    entries.remove(key.as_str())?;
                    changes.push(deleted(&key));
                }
            }
        }
    }
    Ok(())
}

/// Keys that begin so, in order; at most so many.
fn keys_under(entries: &Entries<'_>, prefix: &str, most: usize) -> Result<Vec<String>, redb::Error> {
    let mut keys = Vec::new();
    for found in entries.range(prefix..)?.take(most) {
        let (key, _) = found?;
        if !key.value().starts_with(prefix) {
            break;
        }
        keys.push(key.value().to_owned());
    }
    Ok(keys)
}
