//! The mover: gives each object of a module the place that was chosen for it, and patches every address of it, in code and in
//! data. What the code computes stays the same, unless it depends on where an object lies.
//!
//! ```text
//! dense     │ stack │ objects, hot ones first │ I/O area │                    one window, data segments in the module
//! windows   │ stack │ objects of this instance │ I/O area ║ of this NPU ║ of this island ║ IMEM ║ EMEM │
//! ```

use wasmparser::BinaryReaderError;

use crate::module::{Encoding, Module, encode};
use crate::{InitialData, MemoryPlan, Sharing, Tier, Window};

mod bytes;
mod outline;
mod places;
#[cfg(test)]
mod tests;
mod write;

use bytes::Runs;
use outline::Outline;
use places::Places;

/// Where an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// Where its bytes lie.
    pub tier: Tier,
    /// Who sees the same bytes.
    pub sharing: Sharing,
}

/// How a memory is laid out.
#[derive(Clone, Copy, Debug)]
pub enum Layout<'a> {
    /// Everything in one window of each instance's own.
    Dense {
        /// Where it lies.
        tier: Tier,
    },
    /// A window for each pair of tier and sharing that is assigned. What is local to an instance shares the first window with
    /// stack and I/O area; if nothing else is assigned, this is the dense layout.
    Windows {
        /// One for each object.
        assignments: &'a [Assignment],
    },
}

/// A module whose objects were moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The module, without what linkers and debuggers keep in it.
    pub wasm: Vec<u8>,
    /// What its memory is made of.
    pub plan: MemoryPlan,
    /// New address of each object.
    pub addresses: Vec<u32>,
}

/// Why objects were not moved.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoveError {
    /// Nobody knows where its addresses are.
    #[error("its objects cannot be moved: link with --emit-relocs")]
    NoRelocations,
    /// Not a module.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// The order does not have each object once.
    #[error("the order does not name each of {objects} objects once")]
    Order {
        /// Objects that there are.
        objects: usize,
    },
    /// Too few or too many assignments.
    #[error("{given} assignments for {objects} objects")]
    Assignments {
        /// Assignments that were given.
        given: usize,
        /// Objects that there are.
        objects: usize,
    },
    /// An export is absent, or something else.
    #[error("export \"{0}\" is missing, or is no global with a constant of type i32")]
    Export(&'static str),
    /// Two exports that change differently are the same global.
    #[error("exports \"{0}\" and \"{1}\" are the same global")]
    SameGlobal(&'static str, &'static str),
    /// No memory, or several, or a shared or 64-bit one.
    #[error("needs exactly one 32-bit unshared memory of its own")]
    Memory,
    /// A global from outside.
    #[error("imports a global")]
    ImportedGlobal,
    /// The stack would run into data.
    #[error("\"{0}\" lies below the top of the stack: link with --stack-first")]
    StackNotFirst(String),
    /// A symbol that moving leaves without a meaning.
    #[error("takes the address of \"{0}\", which is no object: where it lies changes when objects move")]
    LinkerSymbol(String),
    /// Data segments are merged and left out.
    #[error("uses {0}: data segments do not keep their numbers when objects move")]
    DataSegments(&'static str),
    /// An address that an instruction cannot have.
    #[error(
        "an access to \"{object}\" has an offset of {addend}, which at address {address:#x} lies outside the memory"
    )]
    Unreachable {
        /// The object.
        object: String,
        /// Distance from its first byte.
        addend: i64,
        /// Its new address.
        address: u32,
    },
    /// Too much memory.
    #[error("memory of {bytes} bytes, over the limit of {limit_bytes}")]
    TooLarge {
        /// Bytes that it would have.
        bytes: u64,
        /// Bytes that it may have.
        limit_bytes: u64,
    },
}

/// Moves a module's objects: into their windows, and in each one in this order, which has every object once. The memory has at
/// most `limit_bytes`.
pub fn relocate(
    module: &Module<'_>,
    order: &[usize],
    layout: Layout<'_>,
    limit_bytes: u64,
) -> Result<Moved, MoveError> {
    let objects = module.objects();
    if !module.is_movable() {
        return Err(MoveError::NoRelocations);
    }
    if let Some(unplaced) = module.unplaced().first() {
        return Err(MoveError::LinkerSymbol(unplaced.name.clone()));
    }
    let mut seen = vec![false; objects.len()];
    for &object in order {
        match seen.get_mut(object) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(MoveError::Order { objects: objects.len() }),
        }
    }
    if order.len() != objects.len() {
        return Err(MoveError::Order { objects: objects.len() });
    }
    let outline = Outline::read(module.wasm())?;
    if let Some(low) = module.segments().iter().find(|segment| segment.address < outline.stack_top) {
        return Err(MoveError::StackNotFirst(low.name.clone()));
    }

    let places = Places::choose(objects, order, layout, outline.stack_top, limit_bytes)?;
    let patched = patch(module, &places)?;
    // Where nothing is shared, windows are the dense layout: data segments overwrite nobody's variables.
    let runs = Runs::of(module, &patched, &places, places.is_dense()).list;
    let (segments, initial) = if places.is_dense() { (runs, Vec::new()) } else { (Vec::new(), runs) };
    let initial = initial
        .into_iter()
        .map(|run| InitialData { address: run.address, bytes: run.bytes.into() })
        .collect();
    let wasm = write::module(module.wasm(), &patched, &outline, &places, &segments)?;
    Ok(Moved { wasm, plan: MemoryPlan { windows: places.windows, initial }, addresses: places.addresses })
}

/// The module's file with its objects' new addresses in it.
fn patch(module: &Module<'_>, places: &Places) -> Result<Vec<u8>, MoveError> {
    let mut patched = module.wasm().to_vec();
    for reference in module.references() {
        let address = places.addresses[reference.object];
        let value = i64::from(address) + reference.addend;
        // An instruction adds its offset to an index without wrapping around; pointers are added as numbers of 32 bits.
        let is_reachable = u64::try_from(value).is_ok_and(|value| value <= places.memory_bytes());
        if reference.encoding == Encoding::Leb && !is_reachable {
            return Err(MoveError::Unreachable {
                object: module.objects()[reference.object].name.clone(),
                addend: reference.addend,
                address,
            });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^32")]
        let value = value as u32;
        if encode(&mut patched, reference.position, reference.encoding, value).is_none() {
            return Err(MoveError::Invalid(format!("no address at byte {}", reference.position)));
        }
    }
    Ok(patched)
}

fn invalid(error: BinaryReaderError) -> MoveError {
    MoveError::Invalid(error.to_string())
}
