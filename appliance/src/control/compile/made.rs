//! What a job made, as bytes: in a child's answer, and in an artifact's file.
//!
//! ```text
//! │ bytes of head: u32 │ bytes of data: u32 │ head │ data │ code, to the end │
//! ```
//!
//! The head is the code's entry, shape, memory plan, slots and inspection; the data is what windows begin with.

use std::ops::Range;
use std::sync::Arc;

use lnic_compiler::placement::Runs;
use lnic_compiler::slots::SlotArea;
use lnic_compiler::{HeaderBytes, HeaderUse};
use serde::{Deserialize, Serialize};

use crate::control::appliance::Made;
use crate::control::inspect::Inspection;
use crate::lambda::{Artifact, Shape, Vouched};
use crate::memory::{InitialData, MemoryPlan, Sharing, Tier, Window};

/// Who may see a window, in the order of its number.
const SHARINGS: [Sharing; 4] = [Sharing::Instance, Sharing::Npu, Sharing::Island, Sharing::All];

#[derive(Serialize, Deserialize)]
struct Head {
    entry: String,
    memory_bytes: u64,
    has_init: bool,
    suspends: bool,
    writable_globals: bool,
    headers_read: Vec<Range<usize>>,
    headers_written: Vec<Range<usize>>,
    windows: Vec<HeadWindow>,
    /// Address and bytes of each; the bytes lie in the data, one after the other.
    initial: Vec<(u32, u32)>,
    /// Window, address, bytes of a slot, count.
    slots: Option<(usize, u32, u32, u32)>,
    runs_anywhere: bool,
    inspection: Inspection,
}

#[derive(Serialize, Deserialize)]
struct HeadWindow {
    tier: usize,
    sharing: usize,
    bytes: u64,
}

/// Appends what was made.
pub(super) fn encode(made: Made, into: &mut Vec<u8>) -> serde_json::Result<()> {
    let Made { artifact, slots, runs, inspection } = made;
    let (shape, plan) = (artifact.shape(), artifact.plan());
    let ranges = |bytes: &HeaderBytes| bytes.ranges().collect();
    let head = Head {
        entry: artifact.entry().to_owned(),
        memory_bytes: shape.memory_bytes,
        has_init: shape.has_init,
        suspends: shape.suspends,
        writable_globals: shape.writable_globals,
        headers_read: ranges(&shape.header_use.read),
        headers_written: ranges(&shape.header_use.written),
        windows: plan
            .windows
            .iter()
            .map(|window| HeadWindow {
                tier: window.tier.index(),
                sharing: SHARINGS.iter().position(|&known| known == window.sharing).unwrap_or_default(),
                bytes: window.bytes,
            })
            .collect(),
        initial: plan.initial.iter().map(|initial| (initial.address, initial.bytes.len() as u32)).collect(),
        slots: slots.map(|area| (area.window, area.address, area.slot_bytes, area.count)),
        runs_anywhere: runs == Runs::Anywhere,
        inspection: finite(inspection),
    };
    let head = serde_json::to_vec(&head)?;
    let data_bytes: usize = plan.initial.iter().map(|initial| initial.bytes.len()).sum();
    into.reserve_exact(8 + head.len() + data_bytes + artifact.bytes());
    into.extend_from_slice(&(head.len() as u32).to_le_bytes());
    into.extend_from_slice(&(data_bytes as u32).to_le_bytes());
    into.extend_from_slice(&head);
    for initial in &plan.initial {
        into.extend_from_slice(&initial.bytes);
    }
    into.extend_from_slice(artifact.code());
    Ok(())
}

/// Reads what was made. What can be judged without the module is judged again: whoever made it was another process.
pub(super) fn decode(bytes: Vouched<'_>) -> Result<Made, String> {
    let short = || "it is too short".to_owned();
    let (lengths, rest) = bytes.split_at(8).ok_or_else(short)?;
    let length = |at: usize| {
        let bytes = lengths.bytes().get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes) as usize)
    };
    let (head, rest) = length(0).and_then(|bytes| rest.split_at(bytes)).ok_or_else(short)?;
    let (data, code) = length(4).and_then(|bytes| rest.split_at(bytes)).ok_or_else(short)?;
    let head: Head = serde_json::from_slice(head.bytes()).map_err(|error| error.to_string())?;
    let plan = plan(&head, data.bytes())?;
    let slots = slots(&head, &plan)?;
    let shape = Shape {
        memory_bytes: head.memory_bytes,
        has_init: head.has_init,
        suspends: head.suspends,
        writable_globals: head.writable_globals,
        header_use: HeaderUse {
            read: header_bytes(head.headers_read),
            written: header_bytes(head.headers_written),
        },
    };
    let artifact = Artifact::vouched(code, &head.entry, shape, &Arc::new(plan));
    Ok(Made {
        artifact: artifact.map_err(|error| error.to_string())?,
        slots,
        runs: if head.runs_anywhere { Runs::Anywhere } else { Runs::OnOneNpu },
        inspection: head.inspection,
    })
}

fn header_bytes(ranges: Vec<Range<usize>>) -> HeaderBytes {
    let mut bytes = HeaderBytes::NONE;
    ranges.into_iter().for_each(|range| bytes.insert(range));
    bytes
}

fn plan(head: &Head, mut data: &[u8]) -> Result<MemoryPlan, String> {
    let window = |window: &HeadWindow| {
        let tier = *Tier::ALL.get(window.tier).ok_or("a tier that is not there")?;
        let sharing = *SHARINGS.get(window.sharing).ok_or("a window that is shared by nobody known")?;
        Ok::<_, String>(Window { tier, sharing, bytes: window.bytes })
    };
    let windows = head.windows.iter().map(window).collect::<Result<_, _>>()?;
    let mut initial = Vec::with_capacity(head.initial.len());
    for &(address, bytes) in &head.initial {
        let (own, rest) = data.split_at_checked(bytes as usize).ok_or("its data is too short")?;
        initial.push(InitialData { address, bytes: own.into() });
        data = rest;
    }
    if data.is_empty() { Ok(MemoryPlan { windows, initial }) } else { Err("its data is too long".to_owned()) }
}

/// Slots lie in one window that all instances see.
fn slots(head: &Head, plan: &MemoryPlan) -> Result<Option<SlotArea>, String> {
    let Some((window, address, slot_bytes, count)) = head.slots else { return Ok(None) };
    let before: u64 = plan.windows.iter().take(window).map(|window| window.bytes).sum();
    let end = u64::from(address) + u64::from(slot_bytes) * u64::from(count);
    match plan.windows.get(window) {
        Some(found)
            if found.sharing == Sharing::All
                && before <= u64::from(address)
                && end <= before + found.bytes =>
        {
            Ok(Some(SlotArea { window, address, slot_bytes, count }))
        }
        _ => Err("its message slots lie outside their window".to_owned()),
    }
}

/// JSON has no infinity, which is what loops within loops within loops come to.
fn finite(mut inspection: Inspection) -> Inspection {
    let numbers = inspection
        .objects
        .iter_mut()
        .flat_map(|object| [&mut object.reads, &mut object.writes, &mut object.cost_ns])
        .chain([
            &mut inspection.code.fuel,
            &mut inspection.stratification.before,
            &mut inspection.stratification.after,
        ]);
    for number in numbers {
        *number = if number.is_nan() { 0.0 } else { number.clamp(f64::MIN, f64::MAX) };
    }
    inspection
}
