//! Keys and values that survive: the same promises from an embedded store and from etcd.
//!
//! A transaction is made as a whole or not at all, and is durable once [`Store::commit`] has returned. Its conditions are judged in the
//! same moment: nobody comes between. Who has committed, or was told of a conflict, then reads what is there now. A watcher sees every
//! change once, in order, or a [`Change::Resync`] in the place of those that it missed.

mod embedded;
mod etcd;
mod folder;
mod history;
mod trial;

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use zeroize::Zeroizing;

use crate::{Error, Revision};

pub use embedded::Embedded;
pub use etcd::{ApplianceRecord, Etcd, EtcdSettings};
pub use folder::StateFolder;
pub(crate) use folder::{create_private_folder, private, sync_folder};

/// Most bytes of a key.
pub const KEY_BYTES: usize = 512;
/// Most bytes of a value.
pub const VALUE_BYTES: usize = 1 << 20;
/// Most bytes of a transaction's keys and values: etcd takes 1.5 MiB, all included.
pub const TRANSACTION_BYTES: usize = VALUE_BYTES + (128 << 10);
/// Most operations of a transaction, and most conditions: etcd's limit.
pub const TRANSACTION_OPERATIONS: usize = 128;
/// Larger things are kept in pieces of so many bytes.
pub(crate) const CHUNK_BYTES: usize = 512 << 10;
/// Format of all that is kept; it grows with each change that older versions would misread.
pub(crate) const FORMAT: u64 = 1;

/// Keys and values that survive.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What is under a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error>;
    /// All that is under keys that begin so, by key, as of one moment.
    async fn list(&self, prefix: &str) -> Result<Listing, Error>;
    /// Makes a transaction. [`Error::Conflict`] names the first condition that did not hold. Answers the store's revision, which entries
    /// that were put have from now on.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error>;
    /// Changes of keys that begin so: those after a revision, or from now on. Ends with the store.
    fn watch(&self, prefix: &str, after: Option<Revision>) -> BoxStream<'static, Change>;
}

/// What is under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value; zeroed when dropped, for it may be a secret.
    pub value: Zeroizing<Vec<u8>>,
    /// Revision of the transaction that put it.
    pub revision: Revision,
}

impl fmt::Debug for Entry {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}: {} bytes", self.key, self.revision.0, self.value.len())
    }
}

/// Entries as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// By key.
    pub entries: Vec<Entry>,
    /// The store's revision then.
    pub revision: Revision,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something was put.
    Put {
        /// Where.
        key: String,
        /// Its revision.
        revision: Revision,
    },
    /// Something was deleted.
    Delete {
        /// Where.
        key: String,
        /// Revision of the transaction, or of the moment when it was found to be gone.
        revision: Revision,
    },
    /// Changes were missed: read everything again.
    Resync,
    /// The store cannot be reached. What was read last can still be read.
    Unavailable(String),
    /// It can be reached again. The changes that were missed come next.
    Available,
}

impl Change {
    /// The revision that something was changed by.
    #[must_use]
    pub const fn revision(&self) -> Option<Revision> {
        match self {
            Self::Put { revision, .. } | Self::Delete { revision, .. } => Some(*revision),
            Self::Resync | Self::Unavailable(_) | Self::Available => None,
        }
    }
}

/// What must hold for a transaction to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key's entry has this revision; 0: there is none.
    At(String, Revision),
    /// The key has an entry.
    Present(String),
    /// No key begins so.
    NoneUnder(String),
}

/// What a transaction does.
#[derive(Clone, PartialEq, Eq)]
pub enum Operation {
    /// Puts a value under a key.
    Put(String, Zeroizing<Vec<u8>>),
    /// Deletes a key's entry, if there is one.
    Delete(String),
    /// Deletes all entries whose keys begin so.
    DeleteUnder(String),
}

impl Operation {
    /// The key, or how keys begin.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::DeleteUnder(key) => key,
        }
    }
}

impl fmt::Debug for Operation {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, value) => write!(f, "put {key}: {} bytes", value.len()),
            Self::Delete(key) => write!(f, "delete {key}"),
            Self::DeleteUnder(prefix) => write!(f, "delete {prefix}*"),
        }
    }
}

/// Changes that are made together, if all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold before.
    pub conditions: Vec<Condition>,
    /// What is done; no key twice.
    pub operations: Vec<Operation>,
}

impl Transaction {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key's entry has this revision.
    #[must_use]
    pub fn at(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.conditions.push(Condition::At(key.into(), revision));
        self
    }

    /// Only if the key has an entry.
    #[must_use]
    pub fn present(mut self, key: impl Into<String>) -> Self {
        self.conditions.push(Condition::Present(key.into()));
        self
    }

    /// Only if no key begins so.
    #[must_use]
    pub fn none_under(mut self, prefix: impl Into<String>) -> Self {
        self.conditions.push(Condition::NoneUnder(prefix.into()));
        self
    }

    /// Puts a value.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.operations.push(Operation::Put(key.into(), Zeroizing::new(value.into())));
        self
    }

    /// Deletes an entry.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.operations.push(Operation::Delete(key.into()));
        self
    }

    /// Deletes all entries whose keys begin so.
    #[must_use]
    pub fn delete_under(mut self, prefix: impl Into<String>) -> Self {
        self.operations.push(Operation::DeleteUnder(prefix.into()));
        self
    }

    /// Bytes of its keys and values.
    pub(crate) fn bytes(&self) -> usize {
        let size = |operation: &Operation| match operation {
            Operation::Put(key, value) => key.len() + value.len(),
            Operation::Delete(key) | Operation::DeleteUnder(key) => key.len(),
        };
        self.operations.iter().map(size).sum()
    }

    /// Could every store make it?
    fn check(&self) -> Result<(), Error> {
        let too_large = |what: &str, bytes, most| Err(Error::TooLarge { what: what.to_owned(), bytes, most });
        if self.operations.len().max(self.conditions.len()) > TRANSACTION_OPERATIONS {
            return Err(Error::Transaction(format!("more than {TRANSACTION_OPERATIONS} operations")));
        }
        for condition in &self.conditions {
            let (Condition::At(key, _) | Condition::Present(key) | Condition::NoneUnder(key)) = condition;
            check_key(key)?;
        }
        let mut keys = BTreeSet::new();
        for operation in &self.operations {
            check_key(operation.key())?;
            if !keys.insert(operation.key()) {
                return Err(Error::Transaction(format!("\"{}\" is changed twice", operation.key())));
            }
            if let Operation::Put(key, value) = operation
                && value.len() > VALUE_BYTES
            {
                return too_large(key, value.len(), VALUE_BYTES);
            }
        }
        for prefix in &self.operations {
            let Operation::DeleteUnder(prefix) = prefix else { continue };
            let under = |operation: &&Operation| {
                !matches!(operation, Operation::DeleteUnder(own) if own == prefix)
                    && operation.key().starts_with(prefix)
            };
            if let Some(twice) = self.operations.iter().find(under) {
                return Err(Error::Transaction(format!("\"{}\" is changed twice", twice.key())));
            }
        }
        match self.bytes() {
            bytes if bytes > TRANSACTION_BYTES => too_large("the transaction", bytes, TRANSACTION_BYTES),
            _ => Ok(()),
        }
    }
}

/// An empty key is none, and an empty prefix is everything: neither is meant.
fn check_key(key: &str) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::Transaction("an empty key".to_owned())),
        bytes if bytes > KEY_BYTES => {
            Err(Error::TooLarge { what: "the key".to_owned(), bytes, most: KEY_BYTES })
        }
        _ => Ok(()),
    }
}
