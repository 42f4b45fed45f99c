//! The compiler half of λ-NIC (Choi et al., ICDCS'20, section IV): authors write against one flat memory; from the module
//! alone this crate finds out which objects it has, who touches them, and which header bytes it needs, and decides where each
//! object lives.
//!
//! ```text
//! wasm ─► Module: objects, relocations ─► analysis: who touches what ─► placement: a tier for each object ─► mover: wasm
//! ```
//!
//! Nothing here is trusted by the packet path: what the mover makes is verified and bounds-checked like any other module.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod compile;
#[cfg(test)]
mod fixture;
mod header_fields;
mod header_use;
mod memory_plan;
pub mod module;
pub mod mover;
pub mod placement;
pub mod slots;

pub use header_fields::{HeaderField, header_fields, headers};
pub use header_use::{HEADER_BYTES, HeaderBytes, HeaderUse};
pub use memory_plan::{InitialData, MemoryPlan, Sharing, Tier, Window};
