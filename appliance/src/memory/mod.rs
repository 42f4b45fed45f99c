//! Station 5's memory: the card's tiers as regions of the host's, and lambdas' linear memories made of them.
//!
//! ```text
//! Regions: Local for each NPU, CTM for each island, IMEM, EMEM ─► slabs ─► slices
//! MemoryPlan + Account ─► Deployment: the windows that instances share ─► Seat: one NPU's ─► LinearBytes
//! ```
//!
//! A [`Region`] grows slab by slab up to its limit. Every page of a slab is there before a lambda sees it, and no file under a slab
//! ever shrinks, so nothing that a lambda touches can be missing (SIGBUS). Slices are zero-filled when they are handed out.
//!
//! A memory in *dense* layout is one slice of a private slab. One in *windows* layout is a reservation, over all of which slices of
//! files are mapped side by side: whoever shares a window maps the same slice.

mod deployment;
mod extents;
mod linear;
mod mapping;
mod pages;
mod plan;
mod quota;
mod region;
mod regions;
mod view;

#[cfg(test)]
mod tests;

pub use deployment::{Deployment, Seat};
pub(crate) use extents::Extents;
pub use linear::LinearBytes;
pub use mapping::gather_heap;
pub use pages::{Hugepages, Pages};
pub use plan::PlanError;
pub(crate) use plan::judge;
pub use quota::{Account, Tenant, TierBytes};
pub use region::{Owner, Region, RegionUsage};
pub use regions::{NpuPlace, RegionSettings, Regions};
pub use view::View;

pub use lnic_compiler::{InitialData, MemoryPlan, Sharing, Tier, Window};

/// What windows and slices are multiples of.
pub const GRANULE_BYTES: usize = 4 << 10;

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The lambda has as much as it may.
    #[error(
        "lambda \"{lambda}\": {wanted} bytes of {region} wanted: {used} of its quota of {quota} are used"
    )]
    Quota {
        /// Its name.
        lambda: String,
        /// Where.
        region: String,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes that it may have there.
        quota: u64,
        /// Bytes that it has there.
        used: u64,
    },
    /// The lambda has as much in all as its manifest allows.
    #[error(
        "lambda \"{lambda}\": {wanted} bytes of {region} wanted: {used} of the {limit} that it may have in all (memory_mib) are used"
    )]
    Total {
        /// Its name.
        lambda: String,
        /// Where.
        region: String,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes that it may have, of all tiers together.
        limit: u64,
        /// Bytes that it has.
        used: u64,
    },
    /// Its tenant has as much as it may.
    #[error(
        "lambda \"{lambda}\": {wanted} bytes of {region} wanted: tenant \"{tenant}\" uses {used} of its quota of {quota}"
    )]
    TenantQuota {
        /// The lambda's name.
        lambda: String,
        /// The tenant's name.
        tenant: String,
        /// Where.
        region: String,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes that all lambdas of the tenant may have there.
        quota: u64,
        /// Bytes that they have there.
        used: u64,
    },
    /// The region cannot grow any more.
    #[error(
        "lambda \"{lambda}\": {wanted} bytes of {region} wanted: {used} of its {limit} are used, none that is free is so large"
    )]
    Full {
        /// The lambda's name.
        lambda: String,
        /// The region.
        region: String,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes that the region may have.
        limit: u64,
        /// Bytes in use.
        used: u64,
    },
    /// The system has none, or not of the pages that the configuration requires.
    #[error("lambda \"{lambda}\": {wanted} bytes of {region} wanted: {source}")]
    System {
        /// The lambda's name.
        lambda: String,
        /// The region.
        region: String,
        /// Bytes wanted.
        wanted: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// Windows that cannot be mapped.
    #[error("lambda \"{lambda}\": mapping its windows: {source}")]
    Windows {
        /// The lambda's name.
        lambda: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no such NPU.
    #[error("lambda \"{lambda}\": a seat on {npu}, which is not there")]
    NoNpu {
        /// The lambda's name.
        lambda: String,
        /// The NPU.
        npu: crate::ids::NpuId,
    },
}
