//! Compiled code as bytes: compiled once, loaded in microseconds as often as it is needed.
//!
//! What the engine loads, it believes: it runs it as machine code of this process. So an [`Artifact`] is made in two ways only: out of a
//! module, compiled here, or out of bytes that the [`ArtifactKey`](super::ArtifactKey) vouches for.

#![allow(unsafe_code, reason = "the engine runs what is loaded here")]

use std::fmt;
use std::sync::Arc;

use lnic_compiler::HeaderUse;
use wasmparser::{Data, DataKind, Operator, Payload};
use wasmtime::Module;

use super::code::CodeSlice;
use super::{Engine, Limits, PrepareError, Shape, Vouched, verify};
use crate::memory::{self, MemoryPlan, PlanError, Tier};

/// Compiled code of a lambda with its entry and shape. Cheap to clone.
#[derive(Clone)]
pub struct Artifact(Arc<Compiled>);

struct Compiled {
    code: Vec<u8>,
    entry: String,
    shape: Shape,
    plan: Arc<MemoryPlan>,
}

impl Artifact {
    /// Verifies and compiles; takes milliseconds, never on an lcore. Its memory is dense, in EMEM.
    pub fn compile(engine: &Engine, wasm: &[u8], entry: &str, limits: &Limits) -> Result<Self, PrepareError> {
        let shape = verify(wasm, entry, limits)?;
        let plan = Arc::new(MemoryPlan::dense(Tier::Emem, planned_bytes(&shape)));
        Ok(Self::new(compile(engine, wasm)?, entry, shape, &plan))
    }

    /// The same, with a memory by plan.
    pub fn compile_with(
        engine: &Engine,
        wasm: &[u8],
        entry: &str,
        limits: &Limits,
        plan: &Arc<MemoryPlan>,
    ) -> Result<Self, PrepareError> {
        let shape = judge(wasm, entry, limits, plan)?;
        Ok(Self::new(compile(engine, wasm)?, entry, shape, plan))
    }

    /// Code that somebody with the key has vouched for, and what goes with it. A plan that no memory can be made by, or not for such
    /// a module, is refused here; an entry that the code does not have, when an instance is made.
    pub fn vouched(
        code: Vouched<'_>,
        entry: &str,
        shape: Shape,
        plan: &Arc<MemoryPlan>,
    ) -> Result<Self, PrepareError> {
        memory::judge(plan)?;
        fits(plan, &shape)?;
        Ok(Self::new(code.bytes().to_vec(), entry, shape, plan))
    }

    pub(super) fn new(code: Vec<u8>, entry: &str, shape: Shape, plan: &Arc<MemoryPlan>) -> Self {
        Self(Arc::new(Compiled { code, entry: entry.to_owned(), shape, plan: Arc::clone(plan) }))
    }

    /// With what an analysis found about the headers that the lambda touches. It need not be believed: a lambda that touches
    /// others sees zeros there, and what it writes there counts for nothing.
    #[must_use]
    pub fn with_header_use(self, header_use: HeaderUse) -> Self {
        let shape = Shape { header_use, ..self.0.shape };
        let compiled = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Compiled {
            code: shared.code.clone(),
            entry: shared.entry.clone(),
            shape,
            plan: Arc::clone(&shared.plan),
        });
        Self(Arc::new(Compiled { shape, ..compiled }))
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

    /// These bytes.
    #[must_use]
    pub fn code(&self) -> &[u8] {
        &self.0.code
    }

    /// Its entry.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.0.entry
    }

    /// What memories for it are made by.
    #[must_use]
    pub fn plan(&self) -> &Arc<MemoryPlan> {
        &self.0.plan
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

/// Judges a module, and whether its memory can be by this plan.
pub(super) fn judge(
    wasm: &[u8],
    entry: &str,
    limits: &Limits,
    plan: &MemoryPlan,
) -> Result<Shape, PrepareError> {
    let shape = verify(wasm, entry, limits)?;
    memory::judge(plan)?;
    fits(plan, &shape)?;
    if !plan.is_dense() && has_active_segments(wasm, plan.windows[0].bytes) {
        return Err(PlanError::ActiveSegments.into());
    }
    Ok(shape)
}

/// Is the plan for a module of this shape?
fn fits(plan: &MemoryPlan, shape: &Shape) -> Result<(), PlanError> {
    if plan.bytes() == planned_bytes(shape) {
        Ok(())
    } else {
        Err(PlanError::OtherSize { plan: plan.bytes(), module: shape.memory_bytes })
    }
}

/// Bytes of a plan for a module.
fn planned_bytes(shape: &Shape) -> u64 {
    shape.memory_bytes.max(1).next_multiple_of(memory::GRANULE_BYTES as u64)
}

/// Does a module that was verified have data segments behind the first `own_bytes`, which are each instance's own? What cannot be
/// read, or has no constant address, counts as yes.
fn has_active_segments(wasm: &[u8], own_bytes: u64) -> bool {
    let is_own = |data: &Data<'_>| match &data.kind {
        DataKind::Passive => true,
        DataKind::Active { offset_expr, .. } => match offset_expr.get_operators_reader().read() {
            Ok(Operator::I32Const { value }) => {
                u64::from(value.cast_unsigned()) + data.data.len() as u64 <= own_bytes
            }
            _ => false,
        },
    };
    wasmparser::Parser::new(0).parse_all(wasm).any(|payload| match payload {
        Ok(Payload::DataSection(segments)) => {
            segments.into_iter().any(|segment| !segment.is_ok_and(|segment| is_own(&segment)))
        }
        Ok(_) => false,
        Err(_) => true,
    })
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
    // SAFETY: `code` came out of `compile`: an `Artifact` is only made in this process, by compiling or out of `Vouched` bytes, and those
    // are what somebody with the key has sealed. Only `control/compile` seals, and only what its own compile process made of one
    // module. The slice does not change while it is there, and `Code` drops the module before it; who clones the module holds on
    // to its `Code`.
    let module = unsafe { Module::deserialize_raw(engine.raw(), slice.pointer()) };
    let module = module.map_err(|error| PrepareError::Load(format!("{error:#}")))?;
    Ok(Code { module, slice })
}

/// Compiles and loads a module of our own.
pub(super) fn own(engine: &Engine, wasm: &[u8]) -> Result<Code, PrepareError> {
    load(engine, &compile(engine, wasm)?)
}
