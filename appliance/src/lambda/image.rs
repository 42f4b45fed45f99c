//! A lambda's compiled code, shared by all NPUs that run it.

use std::sync::Arc;

use wasmtime::Module;

use super::{Engine, Limits, Shape, VerifyError, verify};

/// Why a lambda cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The module is not a lambda.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The compiler refused it.
    #[error("compiling: {0}")]
    Compile(String),
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

/// Verified and compiled code of one lambda.
#[derive(Clone)]
pub struct Image(Arc<Inner>);

struct Inner {
    engine: Engine,
    module: Module,
    entry: String,
    shape: Shape,
}

impl Image {
    /// Verifies and compiles; takes milliseconds, never on an lcore.
    pub fn compile(engine: &Engine, wasm: &[u8], entry: &str, limits: &Limits) -> Result<Self, PrepareError> {
        let shape = verify(wasm, entry, limits)?;
        let module =
            Module::new(engine.raw(), wasm).map_err(|error| PrepareError::Compile(format!("{error:#}")))?;
        Ok(Self(Arc::new(Inner { engine: engine.clone(), module, entry: entry.into(), shape })))
    }

    /// What the verifier found.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn module(&self) -> &Module {
        &self.0.module
    }

    pub(super) fn entry(&self) -> &str {
        &self.0.entry
    }
}
