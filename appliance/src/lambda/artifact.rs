//! Compiled code as bytes: compiled once, loaded in microseconds as often as it is needed.

#![allow(unsafe_code, reason = "the engine runs what is loaded here")]

use std::fmt;
use std::sync::Arc;

use wasmtime::Module;

use super::slab::CodeSlice;
use super::{Engine, Limits, PrepareError, Shape, verify};

/// Compiled code of a lambda with its entry and shape. Cheap to clone.
///
/// Only bytes that this process has compiled are ever in one: what the engine loads, it believes.
#[derive(Clone)]
pub struct Artifact(Arc<Compiled>);

struct Compiled {
    code: Vec<u8>,
    entry: String,
    shape: Shape,
}

impl Artifact {
    /// Verifies and compiles; takes milliseconds, never on an lcore.
    pub fn compile(engine: &Engine, wasm: &[u8], entry: &str, limits: &Limits) -> Result<Self, PrepareError> {
        let shape = verify(wasm, entry, limits)?;
        Ok(Self::new(compile(engine, wasm)?, entry, shape))
    }

    pub(super) fn new(code: Vec<u8>, entry: &str, shape: Shape) -> Self {
        Self(Arc::new(Compiled { code, entry: entry.to_owned(), shape }))
    }

    /// What the verifier found.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// Bytes of code and what the engine keeps beside it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.code.len()
    }

    pub(super) fn entry(&self) -> &str {
        &self.0.entry
    }

    pub(super) fn load(&self, engine: &Engine) -> Result<Code, PrepareError> {
        load(engine, &self.0.code)
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({:?}, {} bytes)", self.0.entry, self.0.code.len())
    }
}

/// A module and the memory that its code lies in.
///
/// Whoever clones the module, or makes an instance of it, holds on to this for as long.
pub(super) struct Code {
    // Dropped in this order: the module refers to the slice.
    pub(super) module: Module,
    pub(super) slice: CodeSlice,
}

/// Compiles a module that was verified, or is our own.
pub(super) fn compile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, PrepareError> {
    engine.raw().precompile_module(wasm).map_err(|error| PrepareError::Compile(format!("{error:#}")))
}

/// Loads what [`compile`] made: private to this module and its callers here, so that nothing else is ever loaded.
fn load(engine: &Engine, code: &[u8]) -> Result<Code, PrepareError> {
    let slice = engine.code().publish(code).map_err(|error| PrepareError::Load(error.to_string()))?;
    // SAFETY: `code` came out of `compile` in this process: an `Artifact` has no other constructor. The slice does not change
    // while it is there, and `Code` drops the module before it; who clones the module holds on to its `Code`.
    let module = unsafe { Module::deserialize_raw(engine.raw(), slice.pointer()) };
    let module = module.map_err(|error| PrepareError::Load(format!("{error:#}")))?;
    Ok(Code { module, slice })
}

/// Compiles and loads a module of our own.
pub(super) fn own(engine: &Engine, wasm: &[u8]) -> Result<Code, PrepareError> {
    load(engine, &compile(engine, wasm)?)
}
