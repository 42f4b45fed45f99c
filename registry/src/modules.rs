//! Modules by content: one file each, judged against its name whenever it is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{create_private_folder, private, sync_folder};
use crate::{Digest, Error};

/// Most bytes of a module.
pub(crate) const MODULE_BYTES: usize = 16 << 20;
/// Folder of the files.
const FOLDER: &str = "modules";
/// How their names end.
const EXTENSION: &str = "wasm";
/// Files that were begun: two that write the same module at once each have their own.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Modules in a folder, or in memory.
#[derive(Clone, Debug)]
pub(crate) enum Modules {
    Memory(Arc<Mutex<BTreeMap<Digest, Arc<[u8]>>>>),
    Folder(Arc<Path>),
}

impl Modules {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// In a state folder. What was being written when the power failed is removed.
    pub(crate) fn open(state: &Path) -> Result<Self, Error> {
        let folder = state.join(FOLDER);
        create_private_folder(&folder)?;
        for file in files(&folder)? {
            if file.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&file).map_err(|error| Error::file(&file, &error))?;
            }
        }
        Ok(Self::Folder(folder.into()))
    }

    /// Keeps a module. One that is there and whole is left alone.
    pub(crate) async fn put(&self, digest: Digest, wasm: &[u8]) -> Result<(), Error> {
        match self {
            Self::Memory(kept) => {
                lock(kept).entry(digest).or_insert_with(|| wasm.into());
                Ok(())
            }
            Self::Folder(folder) => {
                let (folder, wasm) = (folder.clone(), wasm.to_vec());
                blocking(move || write(&folder, digest, &wasm)).await
            }
        }
    }

    /// Whether it is there; nothing judges what it has become.
    pub(crate) async fn contains(&self, digest: Digest) -> Result<bool, Error> {
        match self {
            Self::Memory(kept) => Ok(lock(kept).contains_key(&digest)),
            Self::Folder(folder) => {
                let file = file(folder, digest);
                blocking(move || file.try_exists().map_err(|error| Error::file(&file, &error))).await
            }
        }
    }

    /// A module's bytes.
    pub(crate) async fn get(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Memory(kept) => Ok(lock(kept).get(&digest).map(|wasm| wasm.to_vec())),
            Self::Folder(folder) => {
                let file = file(folder, digest);
                blocking(move || read(&file, digest)).await
            }
        }
    }

    /// All of them and their lengths, by name.
    pub(crate) async fn list(&self) -> Result<BTreeMap<Digest, u64>, Error> {
        match self {
            Self::Memory(kept) => {
                Ok(lock(kept).iter().map(|(digest, wasm)| (*digest, wasm.len() as u64)).collect())
            }
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || list(&folder)).await
            }
        }
    }

    /// Forgets one.
    pub(crate) async fn remove(&self, digest: Digest) -> Result<(), Error> {
        match self {
            Self::Memory(kept) => {
                lock(kept).remove(&digest);
                Ok(())
            }
            Self::Folder(folder) => {
                let file = file(folder, digest);
                blocking(move || match fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(&file, &error)),
                    _ => Ok(()),
                })
                .await
            }
        }
    }
}

fn file(folder: &Path, digest: Digest) -> PathBuf {
    folder.join(digest.hex()).with_extension(EXTENSION)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error: io::Error| Error::file(folder, &error);
    fs::read_dir(folder).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

/// Under another name first: what has the name of a digest is whole, or was damaged since.
fn write(folder: &Path, digest: Digest, wasm: &[u8]) -> Result<(), Error> {
    let file = file(folder, digest);
    if matches!(read(&file, digest), Ok(Some(_))) {
        return Ok(());
    }
    let new = file.with_extension(format!("{}.new", BEGUN.fetch_add(1, Ordering::Relaxed)));
    let written = (|| {
        let mut opened = private().truncate(true).open(&new)?;
        opened.write_all(wasm)?;
        opened.sync_all()?;
        fs::rename(&new, &file)
    })();
    if let Err(error) = written {
        // It is removed at the next start if it cannot be now.
        let _ = fs::remove_file(&new);
        return Err(Error::file(&new, &error));
    }
    sync_folder(folder)
}

fn read(file: &Path, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
    let failed = |error: io::Error| Error::file(file, &error);
    let bytes = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.and_then(|opened| opened.metadata()).map_err(failed)?.len(),
    };
    // Before it is read: damage may have made it longer than memory.
    if bytes > MODULE_BYTES as u64 {
        return Err(Error::ModuleDamaged(file.to_owned()));
    }
    let wasm = fs::read(file).map_err(failed)?;
    match Digest::of(&wasm) == digest {
        true => Ok(Some(wasm)),
        false => Err(Error::ModuleDamaged(file.to_owned())),
    }
}

/// Files whose name is that of a module; others are nobody's.
fn list(folder: &Path) -> Result<BTreeMap<Digest, u64>, Error> {
    let mut modules = BTreeMap::new();
    for file in files(folder)? {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let Ok(digest) = format!("sha256:{name}").parse() else { continue };
        if file.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        match fs::metadata(&file) {
            Ok(found) => modules.insert(digest, found.len()),
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::file(&file, &error)),
        };
    }
    Ok(modules)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_several_write_at_once_is_there_for_all_of_them() {
        let state = tempfile::tempdir().expect("a folder");
        Modules::open(state.path()).expect("open");
        let folder = state.path().join(FOLDER);
        for round in 0..50_u32 {
            let wasm: Vec<u8> = round.to_le_bytes().repeat(50_000);
            let digest = Digest::of(&wasm);
            let written = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| write(&folder, digest, &wasm))).collect();
                writers.into_iter().try_for_each(|writer| writer.join().expect("joined"))
            });
            assert_eq!(written, Ok(()));
            assert_eq!(read(&file(&folder, digest), digest), Ok(Some(wasm)));
        }
        assert_eq!(files(&folder).expect("list").len(), 50, "nothing half-written is left");
    }
}
