//! Compiling apart: modules are compiled by another process, and what it makes is authenticated before anything runs it.
//!
//! ```text
//! module, entry, wishes ─► Compiler: loaded already? ─► kept in a file? ─► a job for the compile server ─► sealed ─► loaded
//!                                    `loaded.rs`          `files.rs`         `link.rs`, `serve.rs`       `artifact.rs`
//! ```
//!
//! A module is a stranger's, and a compiler that reads it is a large program. So it runs in a child that has the module and one socket,
//! may open, run and signal nothing, has bounded memory and time, and does one job (`sandbox.rs`). The packet process parses no
//! module: it takes what the child answers, judges what can be judged without the module — memory plan, sizes, slots — and has its
//! engine refuse code of another version, of other settings or for another CPU. (Verifying the module here once more would take 10–30 µs,
//! and prove nothing about the code that comes with it.)
//!
//! What remains is that the code itself is believed: machine code cannot be judged. **A module that takes over its compiler** can answer
//! with any machine code, and that runs in the packet process once the module's lambda is deployed. It can not reach another module's
//! job or artifact, the key, files, the network or other processes, and does not outlive its job. An author can always run code on
//! an NPU; taking over the compiler is what it takes to run code that is not bounded by the sandbox of WebAssembly.
//!
//! **Artifacts** in files are sealed with a key that is in the state folder and never leaves the control plane: the compile server does not
//! have it. A file that is cut off, changed, another's, sealed with another key or made by another program is counted, named in the log,
//! deleted, and its module compiled again; no byte of it is interpreted. Who can read the key can run code here, as can who can
//! write to the program's file.

mod artifact;
mod configured;
mod error;
mod files;
mod job;
mod link;
mod loaded;
mod made;
mod process;
mod sandbox;
mod serve;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use lnic_registry::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};
use tracing::warn;

use super::appliance::{Bounds, Ready, Wishes};
use super::topology::Control;
use crate::lambda::{ArtifactKey, Engine};
use artifact::Program;
pub use error::CompileError;
use files::{Bound, Files};
use job::{Key, Request};
use link::Link;
use loaded::Loaded;
pub use serve::serve;

/// What a compiler may use.
#[derive(Clone, Debug)]
pub struct CompileSettings {
    /// The program that has `compile --serve`: ours.
    pub program: PathBuf,
    /// Folder that compiled code is kept in; `None` keeps it as long as somebody runs it.
    pub state: Option<PathBuf>,
    /// Most MiB of memory that a job may take.
    pub compile_mib: u32,
    /// Most seconds of CPU time that a job may take.
    pub compile_s: u32,
    /// Jobs at a time.
    pub jobs: usize,
    /// CPUs that jobs run on, so that they keep away from lcores that poll; any if empty.
    pub cpus: Vec<u32>,
    /// Artifacts that are kept.
    pub files: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// What the program is told instead, by tests.
    #[cfg(test)]
    pub(crate) command: Vec<String>,
}

impl Default for CompileSettings {
    /// This program, as many jobs as there are CPUs, and nothing kept.
    fn default() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            state: None,
            compile_mib: 1024,
            compile_s: 10,
            jobs: thread::available_parallelism().map_or(1, NonZero::get),
            cpus: Vec::new(),
            files: 65_536,
            bytes: 4 << 30,
            #[cfg(test)]
            command: Vec::new(),
        }
    }
}

impl CompileSettings {
    /// What a configuration says.
    #[must_use]
    pub fn of(control: &Control) -> Self {
        Self {
            state: control.state.clone(),
            compile_mib: control.compile_mib,
            compile_s: control.compile_s,
            ..Self::default()
        }
    }

    /// How the program is asked to serve.
    fn arguments(&self) -> Vec<String> {
        #[cfg(test)]
        if !self.command.is_empty() {
            return self.command.clone();
        }
        let mut arguments = vec!["compile".to_owned(), "--serve".to_owned()];
        arguments.push(format!("--compile-mib={}", self.compile_mib));
        arguments.push(format!("--compile-s={}", self.compile_s));
        let cpus: Vec<_> = self.cpus.iter().map(u32::to_string).collect();
        if !cpus.is_empty() {
            arguments.push(format!("--cpus={}", cpus.join(",")));
        }
        arguments
    }
}

/// What a compiler has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CompileStatistics {
    /// Asked for and loaded already.
    pub memory_hits: u64,
    /// Asked for and loaded from a file.
    pub file_hits: u64,
    /// Asked for and compiled, or tried to.
    pub misses: u64,
    /// Files that were not what they should be, and are deleted.
    pub rejected: u64,
    /// Jobs that made nothing.
    pub failures: u64,
    /// Longest time of a job that made something, ms.
    pub longest_ms: u64,
    /// Times that the compile server's program was started again; a server that dies is replaced without that.
    pub restarts: u64,
    /// Artifacts in files.
    pub files: u64,
    /// Bytes of these.
    pub file_bytes: u64,
    /// Artifacts that could not be kept: a full disk, or a slow one.
    pub not_kept: u64,
}

/// Compiles modules, and keeps what came out. Cheap to clone; the last clone ends the compile server.
#[derive(Clone)]
pub struct Compiler(Arc<Inner>);

/// What all who want the same thing at once wait for.
type Flight = Arc<OnceCell<Result<Ready, CompileError>>>;

struct Inner {
    engine: Engine,
    program: Program,
    seal: ArtifactKey,
    files: Option<Files>,
    loaded: Loaded,
    link: Link,
    turns: Semaphore,
    jobs: usize,
    flights: Mutex<HashMap<Key, Flight>>,
    count: Count,
}

#[derive(Default)]
struct Count {
    memory_hits: AtomicU64,
    file_hits: AtomicU64,
    misses: AtomicU64,
    rejected: AtomicU64,
    failures: AtomicU64,
    longest_ms: AtomicU64,
}

impl Compiler {
    /// Starts the compile server, and finds what was compiled before. Before the process gives up the right to start others, and before
    /// it keeps to CPUs of its own: the server inherits both.
    pub fn start(settings: &CompileSettings, engine: &Engine) -> Result<Self, CompileError> {
        let (seal, files) = match &settings.state {
            Some(state) => {
                let failed = |error| CompileError::State { path: state.clone(), source: Arc::new(error) };
                let bound = Bound { files: settings.files, bytes: settings.bytes };
                (files::key(state).map_err(failed)?, Some(Files::open(state, bound).map_err(failed)?))
            }
            None => {
                let failed =
                    |error| CompileError::State { path: "/dev/urandom".into(), source: Arc::new(error) };
                (files::fresh_key().map_err(failed)?, None)
            }
        };
        let jobs = settings.jobs.max(1);
        Ok(Self(Arc::new(Inner {
            engine: engine.clone(),
            program: Program::of(engine),
            seal,
            files,
            loaded: Loaded::default(),
            link: Link::start(settings)?,
            turns: Semaphore::new(jobs),
            jobs,
            flights: Mutex::default(),
            count: Count::default(),
        })))
    }

    /// Jobs at a time.
    fn jobs(&self) -> usize {
        self.0.jobs
    }

    /// A lambda's code from memory or from a file; `None` if it has to be compiled. Takes microseconds, or about 100 if it is in a file.
    #[must_use]
    pub fn cached(&self, module: &Digest, entry: &str, wishes: &Wishes, bounds: &Bounds) -> Option<Ready> {
        self.find(Key::of(module, &Request::new(entry, wishes, bounds)))
    }

    /// A lambda's code from memory, from a file, or compiled. Those who ask for the same thing at once share one job. Needs a
    /// runtime with I/O and time.
    pub async fn compile(
        &self,
        module: &Digest,
        wasm: &[u8],
        entry: &str,
        wishes: &Wishes,
        bounds: &Bounds,
    ) -> Result<Ready, CompileError> {
        let request = Request::new(entry, wishes, bounds);
        let key = Key::of(module, &request);
        let flight = Arc::clone(self.flights().entry(key).or_default());
        let passenger = Passenger { compiler: self, key, flight };
        passenger.flight.get_or_init(|| self.find_or_make(key, &request, module, wasm)).await.clone()
    }

    /// What it has done.
    #[must_use]
    pub fn statistics(&self) -> CompileStatistics {
        let Count { memory_hits, file_hits, misses, rejected, failures, longest_ms } = &self.0.count;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (files, file_bytes) = self.0.files.as_ref().map_or((0, 0), Files::usage);
        CompileStatistics {
            memory_hits: read(memory_hits),
            file_hits: read(file_hits),
            misses: read(misses),
            rejected: read(rejected),
            failures: read(failures),
            longest_ms: read(longest_ms),
            restarts: self.0.link.restarts(),
            files: files as u64,
            file_bytes,
            not_kept: self.0.files.as_ref().map_or(0, Files::not_kept),
        }
    }

    /// What keeps it from compiling, if nothing but a restart of the appliance helps. What was compiled before can be deployed all the same.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.link.problem()
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Flight>> {
        // Each change is one call on the map.
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: Key) -> Option<Ready> {
        let inner = &*self.0;
        if let Some(ready) = inner.loaded.find(&key) {
            add(&inner.count.memory_hits);
            return Some(ready);
        }
        let files = inner.files.as_ref()?;
        let file = files.read(&key)?;
        let opened = artifact::open(&inner.seal, &inner.program, &key, &file)
            .map_err(|why| why.to_string())
            .and_then(|made| inner.loaded.load(&inner.engine, key, made).map_err(|why| why.to_string()));
        match opened {
            Ok(ready) => {
                add(&inner.count.file_hits);
                Some(ready)
            }
            Err(why) => {
                add(&inner.count.rejected);
                warn!("artifact {} is not used, and deleted: {why}", files.path(&key).display());
                files.remove(&key);
                None
            }
        }
    }

    async fn find_or_make(
        &self,
        key: Key,
        request: &Request,
        module: &Digest,
        wasm: &[u8],
    ) -> Result<Ready, CompileError> {
        if let Some(ready) = self.find(key) {
            return Ok(ready);
        }
        add(&self.0.count.misses);
        let made = self.make(key, request, module, wasm).await;
        if made.is_err() {
            add(&self.0.count.failures);
        }
        made
    }

    async fn make(
        &self,
        key: Key,
        request: &Request,
        module: &Digest,
        wasm: &[u8],
    ) -> Result<Ready, CompileError> {
        let inner = &*self.0;
        // Else one module's code would be kept under another's name.
        if Digest::of(wasm) != *module {
            return Err(CompileError::OtherModule(*module));
        }
        let turn = inner.turns.acquire().await;
        let started = Instant::now();
        let answer = inner.link.run(request, wasm).await?;
        drop(turn);
        let file = artifact::seal(&inner.seal, &inner.program, &key, &answer);
        drop(answer);
        let wrong = |why: &dyn std::fmt::Display| CompileError::Answer(why.to_string());
        let made = artifact::open(&inner.seal, &inner.program, &key, &file).map_err(|why| wrong(&why))?;
        let ready = inner.loaded.load(&inner.engine, key, made).map_err(|why| wrong(&why))?;
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.count.longest_ms.fetch_max(ms, Ordering::Relaxed);
        if let Some(files) = &inner.files {
            files.keep(key, file).await;
        }
        Ok(ready)
    }
}

/// Somebody who waits, or has given up to.
struct Passenger<'a> {
    compiler: &'a Compiler,
    key: Key,
    flight: Flight,
}

impl Drop for Passenger<'_> {
    /// A flight that is over, or that nobody else waits for, is forgotten: what it made is with what is loaded.
    fn drop(&mut self) {
        let mut flights = self.compiler.flights();
        let is_current = flights.get(&self.key).is_some_and(|current| Arc::ptr_eq(current, &self.flight));
        // One is the map's, one ours.
        if is_current && (self.flight.initialized() || Arc::strong_count(&self.flight) == 2) {
            flights.remove(&self.key);
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
