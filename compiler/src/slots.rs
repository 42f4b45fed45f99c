//! Room for message slots behind a lambda's memory: a window that all instances see, where multi-packet messages are placed.

use wasm_encoder::{MemorySection, MemoryType, Module, RawSection};
use wasmparser::{Parser, Payload};

use crate::module::ModuleError;
use crate::{MemoryPlan, Sharing, Tier, Window};

/// What windows are multiples of.
const GRANULE_BYTES: u64 = 4096;
/// Windows of hugepages and more are multiples of these.
const HUGE_BYTES: u64 = 2 << 20;
/// Bytes of a WebAssembly page, unless the memory says otherwise, as a power of two.
const PAGE_BYTES_LOG2: u32 = 16;

/// Where a lambda's message slots lie in its linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotArea {
    /// Its window's place in the plan.
    pub window: usize,
    /// Address of the first slot.
    pub address: u32,
    /// Bytes of each.
    pub slot_bytes: u32,
    /// How many.
    pub count: u32,
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Not a module with a memory of fixed size.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Addresses have 32 bits.
    #[error("memory of {memory_bytes} bytes and message slots of {slot_bytes}: over 4 GiB together")]
    TooLarge {
        /// Bytes without slots.
        memory_bytes: u64,
        /// Bytes of all slots.
        slot_bytes: u64,
    },
}

/// Adds `count` slots of `slot_bytes`, a multiple of 64, behind the memory of a module, which its plan describes. The module's own
/// addresses stay; only its memory grows.
pub fn add_slots(
    wasm: &[u8],
    plan: &MemoryPlan,
    count: u32,
    slot_bytes: u32,
) -> Result<(Vec<u8>, MemoryPlan, SlotArea), SlotError> {
    let invalid = |error: wasmparser::BinaryReaderError| ModuleError::Invalid(error.to_string());
    let memory_bytes = plan.bytes();
    let bytes = u64::from(count) * u64::from(slot_bytes);
    let too_large = || SlotError::TooLarge { memory_bytes, slot_bytes: bytes };
    let mut grown = Module::new();
    let mut added = None;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::MemorySection(memories) => {
                let mut memories = memories.into_iter();
                let (Some(memory), None) = (memories.next(), memories.next()) else {
                    return Err(ModuleError::Invalid("it has several memories".to_owned()).into());
                };
                let memory = memory.map_err(invalid)?;
                let page_log2 = memory.page_size_log2.unwrap_or(PAGE_BYTES_LOG2).min(PAGE_BYTES_LOG2);
                let page = 1u64 << page_log2;
                // The plan is whole pages of the machine's; the module's own have to fill it.
                let multiple = page.max(if bytes >= HUGE_BYTES { HUGE_BYTES } else { GRANULE_BYTES });
                let window = bytes.next_multiple_of(multiple).max(multiple);
                let all = memory_bytes + window;
                // The last address has to be one, and a memory of 4 GiB has 2^32 bytes.
                if all > 1 << 32 || !all.is_multiple_of(page) {
                    return Err(too_large());
                }
                added = Some(window);
                let mut section = MemorySection::new();
                section.memory(MemoryType {
                    minimum: all >> page_log2,
                    maximum: Some(all >> page_log2),
                    memory64: false,
                    shared: false,
                    page_size_log2: memory.page_size_log2,
                });
                grown.section(&section);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    grown.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    let window = added.ok_or_else(|| ModuleError::Invalid("it has no memory".to_owned()))?;
    let address = u32::try_from(memory_bytes).map_err(|_| too_large())?;
    let mut plan = plan.clone();
    plan.windows.push(Window { tier: Tier::Emem, sharing: Sharing::All, bytes: window });
    let area = SlotArea { window: plan.windows.len() - 1, address, slot_bytes, count };
    Ok((grown.finish(), plan, area))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(memory: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {memory} (func (export \"f\")) (data (i32.const 8) \"abc\"))"))
            .unwrap()
    }

    /// Bytes of a module's memory, its least and its most.
    fn memory(wasm: &[u8]) -> (u64, u64) {
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(wasm).unwrap();
        let memories = Parser::new(0).parse_all(wasm).find_map(|payload| match payload.unwrap() {
            Payload::MemorySection(memories) => Some(memories),
            _ => None,
        });
        let memory = memories.unwrap().into_iter().next().unwrap().unwrap();
        let page = 1 << memory.page_size_log2.unwrap_or(16);
        (memory.initial * page, memory.maximum.unwrap() * page)
    }

    #[test]
    fn slots_lie_behind_the_memory_and_everything_else_stays() {
        let wasm = module("(memory 8192 8192 (pagesize 1))");
        let plan = MemoryPlan::dense(Tier::Local, 8192);
        let (grown, with_slots, area) = add_slots(&wasm, &plan, 3, 1024).unwrap();
        assert_eq!(memory(&grown), (8192 + 4096, 8192 + 4096));
        assert_eq!(with_slots.bytes(), 8192 + 4096);
        assert_eq!(area, SlotArea { window: 1, address: 8192, slot_bytes: 1024, count: 3 });
        assert_eq!(with_slots.windows[0], plan.windows[0]);
        // The same but for the memory's size.
        assert_eq!(add_slots(&wasm, &plan, 3, 1024).unwrap().0, grown);
        let text = "(memory 12288 12288 (pagesize 1))";
        let by_hand: Vec<u8> = module(text);
        assert_eq!(grown, by_hand);
    }

    #[test]
    fn large_ones_are_hugepages_and_linkers_pages_stay_whole() {
        let wasm = module("(memory 1 1)");
        let plan = MemoryPlan::dense(Tier::Local, 65_536);
        let (grown, with_slots, area) = add_slots(&wasm, &plan, 1, 64).unwrap();
        assert_eq!((memory(&grown).0, with_slots.bytes(), area.address), (2 * 65_536, 2 * 65_536, 65_536));
        let (grown, with_slots, _) = add_slots(&wasm, &plan, 3, 1 << 20).unwrap();
        assert_eq!(with_slots.windows[1].bytes, 4 << 20);
        assert_eq!(memory(&grown).0, with_slots.bytes());
    }

    #[test]
    fn too_much_is_refused() {
        let wasm = module("(memory 1 1)");
        let plan = MemoryPlan::dense(Tier::Local, 65_536);
        let error = add_slots(&wasm, &plan, 1024, 4 << 20).unwrap_err();
        assert!(error.to_string().contains("over 4 GiB"), "{error}");
        assert!(add_slots(&wasm[..wasm.len() - 3], &plan, 1, 64).is_err());
        assert!(add_slots(&wat::parse_str("(module)").unwrap(), &plan, 1, 64).is_err());
    }
}
