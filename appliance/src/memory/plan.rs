//! Is this plan one that memories can be made by? And where in them hugepages fit.

use std::ops::Range;

use lnic_compiler::{MemoryPlan, Sharing, Tier, Window};

use super::GRANULE_BYTES;
use super::pages::{GIGANTIC_BYTES, HUGE_BYTES, Pages};

/// Most bytes of a 32-bit memory.
const MEMORY_BYTES: u64 = 1 << 32;
/// Most windows of a plan: each is a memory mapping for every instance.
const WINDOWS: usize = 64;

/// Why there can be no memory by a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is too many pieces.
    #[error("memory plan of {0} windows: 1–{WINDOWS} are possible")]
    Windows(usize),
    /// Not whole pages, or nothing at all.
    #[error("window {window} of the memory plan has {bytes} bytes: a multiple of {GRANULE_BYTES} is needed")]
    Granule {
        /// Its place.
        window: usize,
        /// Its bytes.
        bytes: u64,
    },
    /// More than a 32-bit memory has.
    #[error("memory plan of {0} bytes: {MEMORY_BYTES} are possible")]
    TooLarge(u64),
    /// Stack and I/O area would be shared.
    #[error("window 0 of the memory plan is shared: stack and I/O area lie there")]
    FirstIsShared,
    /// An NPU's memory cannot be all islands', for one.
    #[error("window {window} of the memory plan is shared wider than {tier} reaches")]
    Reach {
        /// Its place.
        window: usize,
        /// Its tier.
        tier: Tier,
    },
    /// The module's memory has another size.
    #[error("memory plan of {plan} bytes for a module whose memory has {module}")]
    OtherSize {
        /// The plan's.
        plan: u64,
        /// The module's.
        module: u64,
    },
    /// Data outside the memory, or across windows.
    #[error("memory plan: initial data of {bytes} bytes at {address} lies in no window")]
    InitialOutside {
        /// Its address.
        address: u32,
        /// Its length.
        bytes: usize,
    },
    /// The dense layout leaves initial data to the module.
    #[error("memory plan: initial data in the dense layout, which has the module's data segments")]
    InitialInDense,
    /// The segment would run for every instance and overwrite what others share.
    #[error(
        "the module has active data segments in windows that others share, where each instance would write them anew"
    )]
    ActiveSegments,
    /// Instances on several NPUs would write the I/O area, or the stack, of each other.
    #[error("stack or I/O area end at {end}, beyond the first window's {first} bytes")]
    FirstTooSmall {
        /// Where they end.
        end: u64,
        /// Bytes of the first window.
        first: u64,
    },
}

/// Judges a plan by itself.
pub(crate) fn judge(plan: &MemoryPlan) -> Result<(), PlanError> {
    if !(1..=WINDOWS).contains(&plan.windows.len()) {
        return Err(PlanError::Windows(plan.windows.len()));
    }
    let mut sum = 0u64;
    for (window, Window { tier, sharing, bytes }) in plan.windows.iter().copied().enumerate() {
        if bytes == 0 || bytes % GRANULE_BYTES as u64 != 0 {
            return Err(PlanError::Granule { window, bytes });
        }
        let reaches = match tier {
            Tier::Local => sharing <= Sharing::Npu,
            Tier::Ctm => sharing <= Sharing::Island,
            Tier::Imem | Tier::Emem => true,
        };
        if !reaches {
            return Err(PlanError::Reach { window, tier });
        }
        sum = sum.saturating_add(bytes);
    }
    if sum > MEMORY_BYTES {
        return Err(PlanError::TooLarge(sum));
    }
    if plan.windows[0].sharing != Sharing::Instance {
        return Err(PlanError::FirstIsShared);
    }
    if plan.is_dense() && !plan.initial.is_empty() {
        return Err(PlanError::InitialInDense);
    }
    for initial in &plan.initial {
        let range = u64::from(initial.address)..u64::from(initial.address) + initial.bytes.len() as u64;
        if !ranges(plan).any(|window| window.start <= range.start && range.end <= window.end) {
            return Err(PlanError::InitialOutside { address: initial.address, bytes: initial.bytes.len() });
        }
    }
    Ok(())
}

/// Where each window lies.
pub(super) fn ranges(plan: &MemoryPlan) -> impl Iterator<Item = Range<u64>> + '_ {
    plan.windows.iter().scan(0, |next, window| {
        let start = *next;
        *next += window.bytes;
        Some(start..*next)
    })
}

/// Initial data of a window, with its place there.
pub(super) fn initial(plan: &MemoryPlan, window: Range<u64>) -> impl Iterator<Item = (usize, &[u8])> {
    plan.initial.iter().filter_map(move |initial| {
        let at = u64::from(initial.address).checked_sub(window.start)?;
        (u64::from(initial.address) < window.end).then(|| (at as usize, &*initial.bytes))
    })
}

/// How a plan's memories lie in the address space, so that hugepages can be mapped into them: hugepages begin at multiples of
/// their size, and windows where the last one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Multiple of what …
    pub(super) align_bytes: usize,
    /// … the memory's start and this together are.
    pub(super) phase: usize,
}

impl Alignment {
    /// The largest window begins with a hugepage, if it has one.
    pub(super) fn of(plan: &MemoryPlan) -> Self {
        let largest = plan.windows.iter().zip(ranges(plan)).max_by_key(|(window, _)| window.bytes);
        let (bytes, start) = largest.map_or((0, 0), |(window, range)| (window.bytes, range.start));
        let align_bytes = match hugest(bytes as usize) {
            Some(pages) => pages.granule_bytes(),
            None => GRANULE_BYTES,
        };
        Self { align_bytes, phase: if align_bytes == GRANULE_BYTES { 0 } else { start as usize } }
    }

    /// The part of a window that can be hugepages: those before and behind it are too short for one.
    pub(super) fn huge_part(&self, window: &Range<u64>, pages: Pages) -> Option<Range<u64>> {
        let page = pages.granule_bytes() as u64;
        if self.align_bytes < page as usize {
            return None;
        }
        // `phase` from the start is a multiple of the page.
        let before = (self.phase as u64) % page;
        let start = (window.start + page - before).next_multiple_of(page) + before - page;
        let end = window.end.checked_sub(start)? / page * page + start;
        (end > start).then_some(start..end)
    }
}

/// The largest pages that this many bytes fill.
pub(super) fn hugest(bytes: usize) -> Option<Pages> {
    match bytes {
        GIGANTIC_BYTES.. => Some(Pages::Gigantic),
        HUGE_BYTES.. => Some(Pages::Huge),
        _ => None,
    }
}
