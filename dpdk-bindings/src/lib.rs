//! DPDK from Rust: generated [`sys`] beneath safe RAII wrappers. The only crate of the project with foreign code in it.
//!
//! Written for 22.11 and newer; built from whatever `pkg-config libdpdk` finds. DPDK is linked dynamically, and its drivers are
//! plug-ins that it loads at start.
//!
//! Ownership: an [`eal::Eal`] outlives everything made from it, because everything holds a clone; a [`mempool::Mempool`] is
//! freed when its last handle goes and no buffer is out; an [`ethdev::Device`] stops and closes when its last queue goes; a queue
//! has one owner and can be sent to an lcore; an [`mbuf::Mbuf`] goes back to its pool when dropped; an [`external::Region`] is let go
//! of when nothing points into it any more: no slot, no buffer that was attached to one, no copy under way.

pub mod clock;
pub mod dmadev;
pub mod eal;
pub mod error;
pub mod ethdev;
pub mod external;
pub mod lcore;
pub mod mbuf;
pub mod mempool;
pub mod privileges;
pub mod ring;

pub use error::Error;

/// What bindgen made of DPDK's headers. Everything in it is unsafe; use the wrappers.
#[doc(hidden)]
#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated"
)]
pub mod sys {
    include!(concat!(env!("OUT_DIR"), "/sys.rs"));
}
