//! Where each object goes.

use lnic_abi as abi;

use super::{Assignment, Layout, MoveError, Sharing, Tier, Window};
use crate::module::{Kind, Object};

/// What windows are multiples of: a page of the machine's.
const PAGE_BYTES: u64 = 4_096;
/// From here on a window is a multiple of a huge page.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// Alignment of `__heap_base`, as the linker has it.
const HEAP_ALIGNMENT: u64 = 16;
/// Most bytes of a memory that 32 bits can address, in whole pages.
const ADDRESSABLE_BYTES: u64 = (1 << 32) - PAGE_BYTES;

/// The new layout.
pub(super) struct Places {
    /// New address of each object.
    pub(super) addresses: Vec<u32>,
    /// Windows in the order of addresses.
    pub(super) windows: Vec<Window>,
    /// First byte behind the first window's objects.
    pub(super) heap_base: u32,
    /// First byte behind the data. In a memory of several windows only variables count: its module has no data segments, and the
    /// verifier takes what lies between stack and this address for zeroed variables.
    pub(super) data_end: u32,
}

impl Places {
    pub(super) fn choose(
        objects: &[Object],
        order: &[usize],
        layout: Layout<'_>,
        stack_top: u32,
        limit_bytes: u64,
    ) -> Result<Self, MoveError> {
        let own = match layout {
            Layout::Dense { tier } => Assignment { tier, sharing: Sharing::Instance },
            Layout::Windows { .. } => Assignment { tier: Tier::Local, sharing: Sharing::Instance },
        };
        let assignment = |object: usize| match layout {
            Layout::Dense { .. } => own,
            Layout::Windows { assignments } => assignments[object],
        };
        if let Layout::Windows { assignments } = layout
            && assignments.len() != objects.len()
        {
            return Err(MoveError::Assignments { given: assignments.len(), objects: objects.len() });
        }
        let limit_bytes = limit_bytes.min(ADDRESSABLE_BYTES);
        let too_large = |bytes: u64| MoveError::TooLarge { bytes, limit_bytes };

        let mut addresses = vec![0; objects.len()];
        // Sums of fewer than 2^32 terms, each of fewer than 33 bits.
        let mut fill = |from: u64, of: Assignment| -> Result<u64, MoveError> {
            let mut end = from;
            for &object in order.iter().filter(|&&object| assignment(object) == of) {
                let address = place(end, &objects[object]);
                end = address + u64::from(objects[object].bytes);
                if end > limit_bytes {
                    return Err(too_large(end));
                }
                addresses[object] = u32::try_from(address).map_err(|_| too_large(end))?;
            }
            Ok(end)
        };
        let first_end = fill(stack_top.into(), own)?;
        let heap_base = first_end.next_multiple_of(HEAP_ALIGNMENT);
        let io = heap_base.next_multiple_of(abi::IO_ALIGN as u64);
        let mut end = (io + abi::IO_BYTES as u64).next_multiple_of(PAGE_BYTES);
        let mut windows = vec![Window { tier: own.tier, sharing: own.sharing, bytes: end }];
        for of in others(objects, order, layout, own) {
            let filled = fill(end, of)? - end;
            let granule = if filled < HUGE_PAGE_BYTES { PAGE_BYTES } else { HUGE_PAGE_BYTES };
            let bytes = filled.next_multiple_of(granule);
            windows.push(Window { tier: of.tier, sharing: of.sharing, bytes });
            end += bytes;
        }
        if end > limit_bytes {
            return Err(too_large(end));
        }
        let heap_base = u32::try_from(heap_base).map_err(|_| too_large(end))?;
        let variables = objects.iter().zip(&addresses);
        let variables = variables.filter(|(object, _)| object.kind == Kind::Variable && object.bytes > 0);
        let variables_end = variables.map(|(object, address)| address + object.bytes).max();
        let data_end = match windows.len() {
            1 => u32::try_from(first_end).map_err(|_| too_large(end))?,
            _ => variables_end.unwrap_or(stack_top),
        };
        Ok(Self { addresses, windows, heap_base, data_end })
    }

    /// Is there one window only, as in the dense layout?
    pub(super) fn is_dense(&self) -> bool {
        self.windows.len() == 1
    }

    /// Bytes of the whole memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.windows.iter().map(|window| window.bytes).sum()
    }
}

/// Where an object can begin, from here on: it keeps its address' remainder by its alignment.
fn place(from: u64, object: &Object) -> u64 {
    let alignment = u64::from(object.alignment.max(1));
    let remainder = u64::from(object.address) % alignment;
    from + (remainder + alignment - from % alignment) % alignment
}

/// Windows behind the first one: few see the same bytes, then many; in huge pages last.
fn others(objects: &[Object], order: &[usize], layout: Layout<'_>, own: Assignment) -> Vec<Assignment> {
    let Layout::Windows { assignments } = layout else { return Vec::new() };
    let mut others: Vec<(Assignment, u64)> = Vec::new();
    for &object in order.iter().filter(|&&object| assignments[object] != own) {
        let at = others.iter().position(|other| other.0 == assignments[object]).unwrap_or_else(|| {
            others.push((assignments[object], 0));
            others.len() - 1
        });
        // As if the window began at 0: the remainders by a page are the same.
        others[at].1 = place(others[at].1, &objects[object]) + u64::from(objects[object].bytes);
    }
    others.sort_by_key(|(of, bytes)| (*bytes >= HUGE_PAGE_BYTES, of.sharing, of.tier));
    others.into_iter().map(|other| other.0).collect()
}
