//! Opening the database, and what is in it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase as _, StorageBackend, TableDefinition};

use crate::store::FORMAT;
use crate::store::folder::{private, sync_folder};
use crate::store::trial::Trial;
use crate::{Error, Revision};

/// All entries: by key, their revision and value.
pub(super) const ENTRIES: TableDefinition<'static, &str, (u64, &[u8])> = TableDefinition::new("entries");
/// What is known of the store itself.
pub(super) const ABOUT: TableDefinition<'static, &str, u64> = TableDefinition::new("about");
/// In [`ABOUT`]: the format of everything.
const FORMAT_KEY: &str = "format";
/// In [`ABOUT`]: the revision of the last transaction.
pub(super) const REVISION_KEY: &str = "revision";
/// Pages that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Memory,
    File(PathBuf),
}

impl Place {
    /// Opens it, or makes it. A damaged file is found to be so before anything is written to it.
    pub(super) fn open(&self) -> Result<Database, Error> {
        let Self::File(file) = self else {
            let database = builder().create_with_backend(InMemoryBackend::new());
            let database = database.map_err(|error| self.error(&error.into()))?;
            initialize(&database).map_err(|error| self.error(&error))?;
            return Ok(database);
        };
        if !file.try_exists().map_err(|error| Error::file(file, &error))? {
            self.create(file)?;
        }
        let failed = |error: io::Error| Error::file(file, &error);
        fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(failed)?;
        let trial = OpenOptions::new().read(true).open(file).and_then(Trial::new).map_err(failed)?;
        if StorageBackend::len(&trial).map_err(failed)? == 0 {
            return Err(self.corrupted("it is empty"));
        }
        // What damage does to the library that reads it is not known: it ends here.
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(trial)));
        judged.unwrap_or_else(|_| Err(self.corrupted("it makes no sense")))?;
        self.reopen()
    }

    /// Opens it again, after the disk failed.
    pub(super) fn reopen(&self) -> Result<Database, Error> {
        let Self::File(file) = self else { return Err(self.lost()) };
        let failed = |error: io::Error| Error::file(file, &error);
        let opened = OpenOptions::new().read(true).write(true).open(file).map_err(failed)?;
        let backend = FileBackend::new(opened).map_err(|error| self.error(&error.into()))?;
        builder().create_with_backend(backend).map_err(|error| self.error(&error.into()))
    }

    fn judge(&self, trial: Trial) -> Result<(), Error> {
        let database = builder().create_with_backend(trial).map_err(|error| self.error(&error.into()))?;
        let format = about(&database, FORMAT_KEY).map_err(|error| self.error(&error))?;
        match format {
            Some(FORMAT) => read(&database, |_| Ok(())).map(|_| ()).map_err(|error| self.error(&error)),
            Some(found) => Err(Error::Format { place: self.name(), found, known: FORMAT }),
            None => Err(self.corrupted("it has no format")),
        }
    }

    /// Under another name first: what has the name is whole.
    fn create(&self, file: &Path) -> Result<(), Error> {
        let new = file.with_extension("new");
        let failed = |error: io::Error| Error::file(&new, &error);
        let opened = private().read(true).truncate(true).open(&new).map_err(failed)?;
        let made = (|| {
            let backend = FileBackend::new(opened)?;
            let database = builder().create_with_backend(backend)?;
            initialize(&database)
        })();
        made.map_err(|error| self.error(&error))?;
        File::open(&new).and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(&new, file).map_err(failed)?;
        file.parent().map_or(Ok(()), sync_folder)
    }

    /// What an error of the library means.
    pub(super) fn error(&self, error: &redb::Error) -> Error {
        let Self::File(file) = self else { return Error::Transaction(error.to_string()) };
        match error {
            redb::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                self.corrupted(&error.to_string())
            }
            redb::Error::Io(error) => Error::file(file, error),
            redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::RepairAborted
            | redb::Error::UpgradeRequired(_) => self.corrupted(&error.to_string()),
            _ => Error::File { path: file.clone(), reason: error.to_string() },
        }
    }

    /// It failed, and could not be opened again.
    pub(super) fn lost(&self) -> Error {
        Error::File { path: self.name().into(), reason: "failed, and cannot be opened again".to_owned() }
    }

    fn corrupted(&self, reason: &str) -> Error {
        Error::Corrupted { file: self.name().into(), reason: reason.to_owned() }
    }

    fn name(&self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::File(file) => file.display().to_string(),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn initialize(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(ENTRIES)?;
    let mut about = transaction.open_table(ABOUT)?;
    about.insert(FORMAT_KEY, FORMAT)?;
    about.insert(REVISION_KEY, 0)?;
    drop(about);
    Ok(transaction.commit()?)
}

/// Reads entries, and the revision that they are of.
pub(super) fn read<T>(
    database: &Database,
    read: impl FnOnce(&ReadOnlyTable<&'static str, (u64, &'static [u8])>) -> Result<T, redb::Error>,
) -> Result<(T, Revision), redb::Error> {
    let transaction = database.begin_read()?;
    let revision = transaction.open_table(ABOUT)?.get(REVISION_KEY)?.map_or(0, |found| found.value());
    Ok((read(&transaction.open_table(ENTRIES)?)?, Revision(revision)))
}

/// Revision of the last transaction.
pub(super) fn revision(database: &Database) -> Result<Revision, redb::Error> {
    Ok(Revision(about(database, REVISION_KEY)?.unwrap_or_default()))
}

fn about(database: &Database, key: &str) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(ABOUT) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    Ok(table.get(key)?.map(|found| found.value()))
}
