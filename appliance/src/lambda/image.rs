//! A lambda's compiled code, shared by all NPUs that run it.

use std::sync::Arc;

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
    engine: Engine,
    entry: String,
    shape: Shape,
    plan: Arc<MemoryPlan>,
    // Dropped before the code that it refers to.
    prepared: InstancePre<Host>,
    /// Several entries of one module have it in common.
    code: Arc<Code>,
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
        let code = artifact.load(engine)?;
        let prepared = engine
            .linker()
            .instantiate_pre(&code.module)
            .map_err(|error| PrepareError::Load(format!("{error:#}")))?;
        Ok(Self(Arc::new(Inner {
            engine: engine.clone(),
            entry: artifact.entry().to_owned(),
            shape: artifact.shape(),
            plan: Arc::clone(artifact.plan()),
            prepared,
            code: Arc::new(code),
        })))
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
            engine: self.0.engine.clone(),
            entry: entry.to_owned(),
            shape,
            plan: Arc::clone(plan),
            prepared: self.0.prepared.clone(),
            code: Arc::clone(&self.0.code),
        })))
    }

    /// True if both run the very same compiled code.
    #[must_use]
    pub fn shares_code(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.code, &other.0.code)
    }

    /// The same for images that share their code, and for no others.
    #[must_use]
    pub fn code_identity(&self) -> *const () {
        Arc::as_ptr(&self.0.code).cast()
    }

    /// Bytes of compiled code, and what the engine keeps beside it.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.0.code.slice.as_slice().len()
    }

    /// The compiled code, to load it again: a copy of it.
    #[must_use]
    pub fn artifact(&self) -> Artifact {
        Artifact::new(self.0.code.slice.as_slice().to_vec(), &self.0.entry, self.0.shape, &self.0.plan)
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

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Its instances hold on to the image.
    pub(super) fn prepared(&self) -> &InstancePre<Host> {
        &self.0.prepared
    }

    pub(super) fn entry(&self) -> &str {
        &self.0.entry
    }
}
