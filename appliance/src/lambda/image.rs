//! A lambda's compiled code, shared by all NPUs that run it.

use std::sync::{Arc, Weak};

use lnic_compiler::HeaderUse;
use lnic_compiler::compile::CompileError;
use wasmtime::InstancePre;

use super::artifact::{self, Artifact, Code};
use super::host::Host;
use super::{Engine, Limits, Shape, VerifyError};
use crate::ids::NpuId;
use crate::memory::{Account, Deployment, MemoryError, MemoryPlan, PlanError, Regions, Seat};

/// Why a lambda cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The module is not a lambda.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Its memory cannot be as it was asked for.
    #[error(transparent)]
    Place(Box<CompileError>),
    /// The compiler refused it.
    #[error("compiling: {0}")]
    Compile(String),
    /// No memory for its code, or it was compiled by an engine with other settings.
    #[error("loading: {0}")]
    Load(String),
    /// No memory can be made by its plan, or not for this module.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is no memory for it.
    #[error(transparent)]
    Memory(Box<MemoryError>),
    /// It was to sit where the memory is another's.
    #[error("its seat is for a memory of {seat} bytes by another plan than its own of {own}")]
    OtherPlan {
        /// Bytes by the seat's plan.
        seat: u64,
        /// Bytes by its own.
        own: u64,
    },
    /// Its parts could not be put together, or its data does not fit.
    #[error("instantiating: {0}")]
    Instantiate(String),
    /// The host's area does not fit behind `__heap_base`.
    #[error(
        "memory of {memory_bytes} bytes cannot hold {needed} bytes of I/O area behind __heap_base {heap_base}: build it with `lnic build`"
    )]
    NoRoom {
        /// Bytes of its memory.
        memory_bytes: u64,
        /// Its `__heap_base`.
        heap_base: u32,
        /// Bytes that the host needs behind it.
        needed: u64,
    },
    /// `init` trapped or ran out of budget.
    #[error("init: {0}")]
    Init(String),
}

impl From<MemoryError> for PrepareError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(Box::new(error))
    }
}

/// Verified and compiled code of one lambda. Cheap to clone.
#[derive(Clone)]
pub struct Image(Arc<Inner>);

struct Inner {
    entry: String,
    shape: Shape,
    plan: Arc<MemoryPlan>,
    loaded: LoadedCode,
}

/// Machine code that is ready to run. Several lambdas have it in common: deployments of one module, or entries of one whose objects
/// lie alike. Cheap to clone.
#[derive(Clone)]
pub struct LoadedCode(Arc<Loaded>);

struct Loaded {
    engine: Engine,
    // Dropped before the code that it refers to.
    prepared: InstancePre<Host>,
    code: Code,
}

/// An image, as long as somebody else has it.
#[derive(Clone)]
pub struct WeakImage(Weak<Inner>);

/// Loaded code, as long as somebody else has it.
#[derive(Clone)]
pub struct WeakCode(Weak<Loaded>);

impl WeakImage {
    /// The image, if it is still there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Image> {
        self.0.upgrade().map(Image)
    }
}

impl WeakCode {
    /// The code, if it is still there.
    #[must_use]
    pub fn upgrade(&self) -> Option<LoadedCode> {
        self.0.upgrade().map(LoadedCode)
    }
}

impl LoadedCode {
    fn load(engine: &Engine, artifact: &Artifact) -> Result<Self, PrepareError> {
        let code = artifact.load(engine)?;
        let prepared = engine
            .linker()
            .instantiate_pre(&code.module)
            .map_err(|error| PrepareError::Load(format!("{error:#}")))?;
        Ok(Self(Arc::new(Loaded { engine: engine.clone(), prepared, code })))
    }

    /// The code, as long as somebody else has it.
    #[must_use]
    pub fn downgrade(&self) -> WeakCode {
        WeakCode(Arc::downgrade(&self.0))
    }

    /// An image of an artifact with this very code, which need not be loaded again; `None` if its code is another.
    #[must_use]
    pub fn image(&self, artifact: &Artifact) -> Option<Image> {
        (self.0.code.slice.as_slice() == artifact.code()).then(|| Image::new(self.clone(), artifact))
    }
}

impl Image {
    /// Verifies, compiles and loads; takes milliseconds, never on an lcore. Its memory is dense, in EMEM.
    pub fn compile(engine: &Engine, wasm: &[u8], entry: &str, limits: &Limits) -> Result<Self, PrepareError> {
        Self::load(engine, &Artifact::compile(engine, wasm, entry, limits)?)
    }

    /// The same, with a memory by plan, and for a lambda of which it is known which header bytes it touches.
    pub fn compile_with(
        engine: &Engine,
        wasm: &[u8],
        entry: &str,
        limits: &Limits,
        plan: &Arc<MemoryPlan>,
        header_use: HeaderUse,
    ) -> Result<Self, PrepareError> {
        let artifact = Artifact::compile_with(engine, wasm, entry, limits, plan)?;
        Self::load(engine, &artifact.with_header_use(header_use))
    }

    /// Loads what was compiled before; takes microseconds.
    pub fn load(engine: &Engine, artifact: &Artifact) -> Result<Self, PrepareError> {
        Ok(Self::new(LoadedCode::load(engine, artifact)?, artifact))
    }

    fn new(loaded: LoadedCode, artifact: &Artifact) -> Self {
        Self(Arc::new(Inner {
            entry: artifact.entry().to_owned(),
            shape: artifact.shape(),
            plan: Arc::clone(artifact.plan()),
            loaded,
        }))
    }

    /// Its code, which others may have too.
    #[must_use]
    pub fn loaded(&self) -> &LoadedCode {
        &self.0.loaded
    }

    /// The image, as long as somebody else has it.
    #[must_use]
    pub fn downgrade(&self) -> WeakImage {
        WeakImage(Arc::downgrade(&self.0))
    }

    /// The same code with another of its module's functions as entry. `wasm` is the module that it was compiled from, which is
    /// verified for that entry and not compiled again.
    pub fn with_entry(
        &self,
        wasm: &[u8],
        entry: &str,
        limits: &Limits,
        plan: &Arc<MemoryPlan>,
        header_use: HeaderUse,
    ) -> Result<Self, PrepareError> {
        let shape = Shape { header_use, ..artifact::judge(wasm, entry, limits, plan)? };
        Ok(Self(Arc::new(Inner {
            entry: entry.to_owned(),
            shape,
            plan: Arc::clone(plan),
            loaded: self.0.loaded.clone(),
        })))
    }

    /// True if both run the very same compiled code.
    #[must_use]
    pub fn shares_code(&self, other: &Self) -> bool {
        self.code_identity() == other.code_identity()
    }

    /// The same for images that share their code, and for no others.
    #[must_use]
    pub fn code_identity(&self) -> *const () {
        Arc::as_ptr(&self.0.loaded.0).cast()
    }

    /// Bytes of compiled code, and what the engine keeps beside it.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.code().len()
    }

    /// The compiled code, to load it again: a copy of it.
    #[must_use]
    pub fn artifact(&self) -> Artifact {
        Artifact::new(self.code().to_vec(), &self.0.entry, self.0.shape, &self.0.plan)
    }

    /// What the verifier found.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// What its memories are made by.
    #[must_use]
    pub fn plan(&self) -> &Arc<MemoryPlan> {
        &self.0.plan
    }

    /// The memory of a deployment of it.
    pub fn deploy(&self, regions: &Regions, account: Account) -> Result<Deployment, PlanError> {
        Deployment::new(regions, &self.0.plan, account)
    }

    /// A seat in regions that nobody else uses: for tests and benchmarks.
    pub fn detached_seat(&self) -> Result<Seat, PlanError> {
        let deployment = self.deploy(&Regions::standalone(), Account::unlimited(&self.0.entry))?;
        Ok(deployment.seat(NpuId::new(0)))
    }

    fn code(&self) -> &[u8] {
        self.0.loaded.0.code.slice.as_slice()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.loaded.0.engine
    }

    /// Its instances hold on to the image.
    pub(super) fn prepared(&self) -> &InstancePre<Host> {
        &self.0.loaded.0.prepared
    }

    pub(super) fn entry(&self) -> &str {
        &self.0.entry
    }
}
