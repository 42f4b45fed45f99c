//! Why the registry does not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, LambdaKey};

/// Why the registry does not do what it was asked. Nothing has changed then, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody else changed it first: read it again.
    #[error("{0} was changed by somebody else at the same time")]
    Conflict(String),
    /// A λ-RPC ID belongs to one lambda.
    #[error("λ-RPC ID {id} belongs to lambda \"{by}\"")]
    IdTaken {
        /// The ID.
        id: u32,
        /// Whose it is.
        by: LambdaKey,
    },
    /// Every ID that the registry gives out is taken.
    #[error("no λ-RPC ID is free")]
    NoId,
    /// There is no such module.
    #[error("no module {0}: upload it first")]
    NoModule(Digest),
    /// All modules together take what they may.
    #[error(
        "modules take {bytes} of {most} bytes: there is no room for one of {more}; those that no lambda names go after an hour"
    )]
    ModulesFull {
        /// What those take that are there.
        bytes: u64,
        /// What one more would take.
        more: u64,
        /// The most.
        most: u64,
    },
    /// There is no such namespace.
    #[error("no namespace \"{0}\"")]
    NoNamespace(String),
    /// A namespace with lambdas stays.
    #[error("namespace \"{namespace}\" has lambdas, such as \"{lambda}\": remove them first")]
    NamespaceInUse {
        /// The namespace.
        namespace: String,
        /// The name of one of its lambdas.
        lambda: String,
    },
    /// The namespace of those who name none stays.
    #[error("namespace \"{}\" is always there", LambdaKey::DEFAULT_NAMESPACE)]
    DefaultNamespace,
    /// A name that is none.
    #[error("{what} \"{name}\": allowed are {allowed}")]
    Name {
        /// What it should name.
        what: &'static str,
        /// The name; its first characters.
        name: String,
        /// What names are.
        allowed: &'static str,
    },
    /// It is longer than the registry takes.
    #[error("{what} has {bytes} bytes: at most {most} are kept")]
    TooLarge {
        /// What.
        what: String,
        /// Its length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// A transaction that cannot be made anywhere.
    #[error("transaction: {0}")]
    Transaction(String),
    /// etcd does not answer.
    #[error("etcd at {endpoints} is unavailable: {reason}")]
    Unavailable {
        /// Where it was looked for.
        endpoints: String,
        /// What happened.
        reason: String,
    },
    /// etcd was asked for a change and did not say whether it made it.
    #[error(
        "etcd at {endpoints} did not answer ({reason}): whether the change was made is not known, read it again"
    )]
    Uncertain {
        /// Who was asked.
        endpoints: String,
        /// What happened.
        reason: String,
    },
    /// Two processes never share a state folder.
    #[error("state folder {} is in use by {process}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who has it: "process 123".
        process: String,
    },
    /// A state folder that others may write to.
    #[error("state folder {} is not empty, and others may write to it: chmod 0700 it, or name another one", .0.display())]
    OpenToOthers(PathBuf),
    /// The file is damaged.
    #[error("{} is damaged ({reason}); it was left as it is: put a backup in its place, or move it away to start empty", file.display())]
    Corrupted {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version wrote it.
    #[error("{place} has registry format {found}; this version knows {known}: use a newer version")]
    Format {
        /// The file, or etcd's endpoints.
        place: String,
        /// Its format.
        found: u64,
        /// The newest that this version knows.
        known: u64,
    },
    /// The disk is full.
    #[error("no room on the disk of {}", .0.display())]
    NoRoom(PathBuf),
    /// A file or folder cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A module is not what its name says.
    #[error("module {} is damaged: upload it again", .0.display())]
    ModuleDamaged(PathBuf),
    /// What is kept under a key means nothing.
    #[error("what is kept under \"{key}\" cannot be read: {reason}")]
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry is closing.
    #[error("the registry is closed")]
    Closed,
}

impl Error {
    /// What the system said about a file. A full disk has a name of its own.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::NoRoom(path.to_owned());
        }
        Self::File { path: path.to_owned(), reason: error.to_string() }
    }
}
