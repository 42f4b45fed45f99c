//! Artifacts in files, `state/artifacts/HEX`, and the key that they are sealed with, `state/artifact.key`.
//!
//! Files are a cache: what is not there is compiled again. They are written by a thread of their own, to another name first, so that a file
//! is whole or not there; the least recently used ones go when there are too many.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::warn;
use zeroize::Zeroizing;

use super::artifact::HEADER_BYTES;
use super::job::{ANSWER_BYTES, Key};
use crate::lambda::{ArtifactKey, TAG_BYTES};

/// Artifacts that wait to be written.
const WAITING: usize = 64;
/// How long one more waits for room among them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Ends the name of a file that is not whole yet.
const PART: &str = "part";

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// The folder.
pub(super) struct Files {
    shared: Arc<Shared>,
    /// Gone when the thread is to end.
    queue: Option<Sender<(Key, Vec<u8>)>>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    bound: Bound,
    index: Mutex<Index>,
    not_kept: AtomicU64,
}

#[derive(Default)]
struct Index {
    files: HashMap<String, Entry>,
    bytes: u64,
    /// Grows with each use.
    clock: u64,
}

struct Entry {
    bytes: u64,
    used: u64,
}

impl Files {
    /// Opens the folder, makes it if it is not there, and finds what is in it.
    pub(super) fn open(state: &Path, bound: Bound) -> io::Result<Self> {
        let folder = state.join("artifacts");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let index = Mutex::new(Index::read(&folder)?);
        let shared = Arc::new(Shared { folder, bound, index, not_kept: AtomicU64::new(0) });
        shared.evict();
        let (queue, waiting) = channel(WAITING);
        let of_thread = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("lnic-artifacts".to_owned())
            .spawn(move || of_thread.write_all(waiting))?;
        Ok(Self { shared, queue: Some(queue), writer: Some(writer) })
    }

    /// Where an artifact is, or would be.
    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.shared.folder.join(key.hex())
    }

    /// The bytes of an artifact. What cannot be read is not there.
    pub(super) fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let name = key.hex();
        if !self.shared.lock().touch(&name) {
            return None;
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.shared.folder.join(&name))
            .ok()?;
        let longest = ANSWER_BYTES + (HEADER_BYTES + TAG_BYTES) as u64;
        let metadata = file.metadata().ok().filter(|found| found.is_file() && found.len() <= longest)?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
        (&file).take(longest).read_to_end(&mut bytes).ok()?;
        // So that the order of use outlives this process; not worth a word if it does not.
        let _ = file.set_modified(SystemTime::now());
        Some(bytes)
    }

    /// Takes an artifact away.
    pub(super) fn remove(&self, key: &Key) {
        self.shared.remove(&key.hex());
    }

    /// Keeps an artifact, soon. Waits a little if many come at once, and keeps it not if the disk stands still.
    pub(super) async fn keep(&self, key: Key, bytes: Vec<u8>) {
        let Some(queue) = &self.queue else { return };
        if queue.send_timeout((key, bytes), PATIENCE).await.is_err()
            && self.shared.not_kept.fetch_add(1, Ordering::Relaxed) == 0
        {
            warn!(
                "{}: artifacts come faster than they can be written; some will be compiled again",
                self.shared.folder.display()
            );
        }
    }

    /// How many there are, and their bytes.
    pub(super) fn usage(&self) -> (usize, u64) {
        let index = self.shared.lock();
        (index.files.len(), index.bytes)
    }

    /// How many could not be kept.
    pub(super) fn not_kept(&self) -> u64 {
        self.shared.not_kept.load(Ordering::Relaxed)
    }
}

impl Drop for Files {
    /// What waits is written first.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Index> {
        // Each change is complete in itself; a panic elsewhere leaves nothing half done.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut waiting: Receiver<(Key, Vec<u8>)>) {
        while let Some((key, bytes)) = waiting.blocking_recv() {
            let name = key.hex();
            match self.write(&name, &bytes) {
                Ok(()) => {
                    self.lock().insert(name, bytes.len() as u64);
                    self.evict();
                }
                // A full disk costs time at the next start, and nothing now.
                Err(error) => {
                    self.not_kept.fetch_add(1, Ordering::Relaxed);
                    warn!("artifact {} is not kept: {error}", self.folder.join(name).display());
                }
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let part = self.folder.join(name).with_extension(PART);
        let written = write_new(&part, bytes).and_then(|()| fs::rename(&part, self.folder.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.folder.join(name));
        self.lock().forget(name);
    }

    /// Removes those that have not been used for longest, as long as there are too many.
    fn evict(&self) {
        let mut index = self.lock();
        while index.files.len() > self.bound.files || index.bytes > self.bound.bytes {
            let oldest = index.files.iter().min_by_key(|(_, entry)| entry.used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            let _ = fs::remove_file(self.folder.join(&name));
            index.forget(&name);
        }
    }
}

impl Index {
    /// What is in a folder, in the order of its last use. Files that are not whole are removed, others left alone.
    fn read(folder: &Path) -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if Path::new(&name).extension().is_some_and(|extension| extension == PART) {
                let _ = fs::remove_file(entry.path());
            } else if name.len() == 64 && name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                let metadata = entry.metadata()?;
                found.push((metadata.modified()?, name, metadata.len()));
            }
        }
        found.sort();
        let mut index = Self::default();
        for (_, name, bytes) in found {
            index.insert(name, bytes);
        }
        Ok(index)
    }

    fn insert(&mut self, name: String, bytes: u64) {
        self.clock += 1;
        self.bytes += bytes;
        if let Some(before) = self.files.insert(name, Entry { bytes, used: self.clock }) {
            self.bytes -= before.bytes;
        }
    }

    /// False if it is not there.
    fn touch(&mut self, name: &str) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.files.get_mut(name).map(|entry| entry.used = clock).is_some()
    }

    fn forget(&mut self, name: &str) {
        if let Some(entry) = self.files.remove(name) {
            self.bytes -= entry.bytes;
        }
    }
}

/// Writes a file that only we can read, and does not come back before it is on the disk.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The key of a state folder; a fresh one is made if there is none, or if others could have read it.
pub(super) fn key(state: &Path) -> io::Result<ArtifactKey> {
    let path = state.join("artifact.key");
    match read_key(&path) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => {
            warn!("{}: not a key, or others may read it: a fresh one is made", path.display());
            fs::remove_file(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let bytes = random()?;
    let part = path.with_extension(PART);
    write_new(&part, bytes.as_slice())?;
    // An old part may have been readable.
    fs::set_permissions(&part, Permissions::from_mode(0o600))?;
    fs::rename(&part, &path)?;
    File::open(state)?.sync_all()?;
    Ok(ArtifactKey::new(*bytes))
}

/// A key for this life only.
pub(super) fn fresh_key() -> io::Result<ArtifactKey> {
    Ok(ArtifactKey::new(*random()?))
}

fn random() -> io::Result<Zeroizing<[u8; ArtifactKey::BYTES]>> {
    let mut bytes = Zeroizing::new([0; ArtifactKey::BYTES]);
    File::open("/dev/urandom")?.read_exact(bytes.as_mut_slice())?;
    Ok(bytes)
}

/// `None` if it is not to be used.
fn read_key(path: &Path) -> io::Result<Option<ArtifactKey>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file()
        || metadata.len() != ArtifactKey::BYTES as u64
        || metadata.permissions().mode() & 0o077 != 0
    {
        return Ok(None);
    }
    let mut bytes = Zeroizing::new([0; ArtifactKey::BYTES]);
    file.read_exact(bytes.as_mut_slice())?;
    Ok(Some(ArtifactKey::new(*bytes)))
}
