//! The way of one lambda through the compiler: read, analyse, place, move.

use lnic_abi as abi;
use wasmparser::{ExternalKind, Operator, Parser, Payload};

use crate::analysis::{self, Analysis, AnalysisError, Options};
use crate::module::{Module, ModuleError, Object};
use crate::mover::{self, Assignment, MoveError};
use crate::placement::{self, Layout, ObjectFacts, PlaceError, Placement, Request};
use crate::slots::{self, SlotArea, SlotError};
use crate::{HeaderUse, MemoryPlan};

/// What windows and memories are multiples of.
const GRANULE_BYTES: u64 = 4096;

/// A lambda that was verified.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The module.
    pub wasm: &'a [u8],
    /// Its entry.
    pub entry: &'a str,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// It may have variables; asked only where the module does not say which objects it has.
    pub may_have_variables: bool,
    /// Most bytes that its memory may have, without message slots.
    pub limit_bytes: u64,
    /// Message slots, and bytes of each: a multiple of 64. None: it takes messages of one frame.
    pub slots: Option<(u32, u32)>,
}

/// A lambda as it is deployed, and why so.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The module, its objects where they were placed.
    pub wasm: Vec<u8>,
    /// What its memory is made of.
    pub plan: MemoryPlan,
    /// Where its message slots are.
    pub slots: Option<SlotArea>,
    /// Header bytes that it touches.
    pub headers: HeaderUse,
    /// Its objects, as the module came.
    pub objects: Vec<Object>,
    /// Where each of them is now.
    pub addresses: Vec<u32>,
    /// Who touches what.
    pub analysis: Analysis,
    /// Where everything went.
    pub placement: Placement,
    /// Why its objects are where the linker had put them, if they are.
    pub unmoved: Option<MoveError>,
}

/// Why a lambda cannot be deployed as it was asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompileError {
    /// Its objects are not known.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// What it does is not known.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// It cannot be placed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Its objects cannot be moved to where they have to be.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// There is no room for its message slots.
    #[error(transparent)]
    Slots(#[from] SlotError),
}

/// Compiles a lambda. `request.own_bytes` is found out here.
pub fn compile(source: &Source<'_>, request: &Request, options: Options) -> Result<Compiled, CompileError> {
    let module = Module::read(source.wasm)?;
    let analysis = analysis::analyse(&module, &[source.entry], options)?;
    let objects = module.objects();
    let object_bytes: u64 = objects.iter().map(|object| u64::from(object.bytes)).sum();
    let request = Request { own_bytes: source.memory_bytes.saturating_sub(object_bytes), ..*request };
    let globals =
        has_variables_outside_memory(source.wasm)? || (!module.is_movable() && source.may_have_variables);
    let placement = placement::place(&module, &facts(&analysis), globals, &request)?;
    let assignments: Vec<Assignment> = placement
        .objects
        .iter()
        .map(|placed| Assignment { tier: placed.tier, sharing: placed.sharing })
        .collect();
    let layout = match placement.layout {
        Layout::Dense(tier) => mover::Layout::Dense { tier },
        Layout::Windows => mover::Layout::Windows { assignments: &assignments },
    };
    let headers = analysis.headers;
    let (moved, unmoved) = match mover::relocate(&module, &placement.order, layout, source.limit_bytes) {
        Ok(moved) => (moved, None),
        // A dense memory is good as the linker made it; only what is hot lies no nearer.
        Err(error) => match placement.layout {
            Layout::Windows => return Err(error.into()),
            Layout::Dense(tier) => {
                let plan = MemoryPlan::dense(tier, source.memory_bytes.next_multiple_of(GRANULE_BYTES));
                let addresses = objects.iter().map(|object| object.address).collect();
                (mover::Moved { wasm: source.wasm.to_vec(), plan, addresses }, Some(error))
            }
        },
    };
    let (wasm, plan, slots) = match source.slots {
        None => (moved.wasm, moved.plan, None),
        Some((count, bytes)) => {
            let (wasm, plan, area) = slots::add_slots(&moved.wasm, &moved.plan, count, bytes)?;
            (wasm, plan, Some(area))
        }
    };
    Ok(Compiled {
        wasm,
        plan,
        slots,
        headers,
        objects: objects.to_vec(),
        addresses: moved.addresses,
        analysis,
        placement,
        unmoved,
    })
}

/// What placement asks of an analysis.
#[must_use]
pub fn facts(analysis: &Analysis) -> Vec<ObjectFacts> {
    let is_init = |entry: &usize| analysis.entries[*entry].is_init;
    let written = |object: &analysis::ObjectUse| object.writers.iter().any(|entry| !is_init(entry));
    // Every instance runs init; if that looks at what runs have written, each would make something else of it.
    let init_depends =
        analysis.objects.iter().any(|object| written(object) && object.entries.iter().any(is_init));
    let objects = analysis.objects.iter();
    let facts = objects.map(|object| {
        let initialised = object.writers.iter().any(is_init);
        ObjectFacts {
            reads: object.reads,
            writes: object.writes,
            written: written(object) || (initialised && init_depends),
            initialised,
            atomic_only: object.atomic_only,
        }
    });
    facts.collect()
}

/// True if a run can leave something behind that is not in memory: in a global that is not the stack's pointer, in a table, or by
/// dropping a segment.
fn has_variables_outside_memory(wasm: &[u8]) -> Result<bool, ModuleError> {
    let invalid = |error: wasmparser::BinaryReaderError| ModuleError::Invalid(error.to_string());
    let (mut mutable, mut stack_pointer) = (Vec::new(), None);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::GlobalSection(section) => {
                for (at, global) in (0u32..).zip(section) {
                    if global.map_err(invalid)?.ty.mutable {
                        mutable.push(at);
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    if export.kind == ExternalKind::Global && export.name == abi::EXPORT_STACK_POINTER {
                        stack_pointer = Some(export.index);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader().map_err(invalid)? {
                    if matches!(
                        operator.map_err(invalid)?,
                        Operator::TableSet { .. }
                            | Operator::TableFill { .. }
                            | Operator::TableCopy { .. }
                            | Operator::TableInit { .. }
                            | Operator::ElemDrop { .. }
                            | Operator::DataDrop { .. }
                    ) {
                        return Ok(true);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(mutable.iter().any(|at| Some(*at) != stack_pointer))
}
