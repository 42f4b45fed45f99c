//! The folder that everything is kept in: its own, one process at a time, nobody else's to read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};

use crate::Error;

/// Who holds the folder; locked as long as its process lives.
const LOCK: &str = "lock";

/// A state folder, held by this process until dropped.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// The lock goes with it.
    _lock: File,
}

impl StateFolder {
    /// Takes the folder, and makes it first if it is not there.
    pub fn open(path: &Path) -> Result<Self, Error> {
        create_private_folder(path)?;
        close_to_others(path)?;
        let name = path.join(LOCK);
        let failed = |error: &std::io::Error| Error::file(&name, error);
        let mut lock = private().read(true).truncate(false).open(&name).map_err(|error| failed(&error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Whoever takes it writes its ID a moment later.
                let process = match lock.read_to_string(&mut holder) {
                    Ok(1..) => format!("process {}", holder.trim()),
                    _ => "another process".to_owned(),
                };
                return Err(Error::InUse { folder: path.to_owned(), process });
            }
            Err(errno) => return Err(failed(&errno.into())),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", process::id())).map_err(|error| failed(&error))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Options of a file that only its owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Makes a folder that only its owner may enter.
pub(crate) fn create_private_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| Error::file(path, &error))
}

/// Names in a folder are durable only once it is synced too.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::file(path, &error))
}

/// Nobody else may look into what is ours; what is not ours stays as it is, and is refused if others may write to it.
fn close_to_others(path: &Path) -> Result<(), Error> {
    let failed = |error: &std::io::Error| Error::file(path, error);
    let mode = fs::metadata(path).map_err(|error| failed(&error))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let is_ours =
        path.join(LOCK).is_file() || fs::read_dir(path).map_err(|error| failed(&error))?.next().is_none();
    if is_ours {
        return fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|error| failed(&error));
    }
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(Error::OpenToOthers(path.to_owned())),
    }
}
