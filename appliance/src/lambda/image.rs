//! A lambda's compiled code, shared by all NPUs that run it.

use std::sync::Arc;

use wasmtime::InstancePre;

use super::artifact::{Artifact, Code};
use super::host::Host;
use super::{Engine, Limits, Shape, VerifyError};

/// Why a lambda cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The module is not a lambda.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The compiler refused it.
    #[error("compiling: {0}")]
    Compile(String),
    /// No memory for its code, or it was compiled by an engine with other settings.
    #[error("loading: {0}")]
    Load(String),
    /// Its memory could not be made, or its data does not fit.
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

/// Verified and compiled code of one lambda. Cheap to clone.
#[derive(Clone)]
pub struct Image(Arc<Inner>);

struct Inner {
    engine: Engine,
    entry: String,
    shape: Shape,
    // Dropped before the code that it refers to.
    prepared: InstancePre<Host>,
    code: Code,
}

impl Image {
    /// Verifies, compiles and loads; takes milliseconds, never on an lcore.
    pub fn compile(engine: &Engine, wasm: &[u8], entry: &str, limits: &Limits) -> Result<Self, PrepareError> {
        Self::load(engine, &Artifact::compile(engine, wasm, entry, limits)?)
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
            prepared,
            code,
        })))
    }

    /// The compiled code, to load it again: a copy of it.
    #[must_use]
    pub fn artifact(&self) -> Artifact {
        Artifact::new(self.0.code.slice.as_slice().to_vec(), &self.0.entry, self.0.shape)
    }

    /// What the verifier found.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.shape
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
