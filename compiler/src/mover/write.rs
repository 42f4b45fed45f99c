//! Writes the moved module.

use wasm_encoder::{
    ConstExpr, DataSection, GlobalSection, GlobalType, MemorySection, MemoryType, NameMap, NameSection,
    RawSection, ValType,
};
use wasmparser::{BinaryReader, Parser, Payload};

use super::bytes::Run;
use super::outline::Outline;
use super::{MoveError, Places, invalid};

/// The part of the section "name" that names data segments.
const DATA_NAMES: u8 = 9;
/// The section that names functions and segments.
const NAMES: &str = "name";

/// The module `wasm`, in its `patched` form, with this memory and this data. Of what does not run only names are left: relocations,
/// symbols and what a debugger knows of addresses would be wrong.
pub(super) fn module(
    wasm: &[u8],
    patched: &[u8],
    outline: &Outline,
    places: &Places,
    segments: &[Run],
) -> Result<Vec<u8>, MoveError> {
    let mut written = wasm_encoder::Module::new();
    let mut names = NameSection::new();
    // The original is parsed: what is patched in it may be anything but sections.
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::MemorySection(_) => {
                written.section(&memory(places.memory_bytes()));
            }
            Payload::GlobalSection(section) => {
                written.section(&globals(wasm, section, outline, places)?);
            }
            Payload::DataSection(_) | Payload::DataCountSection { .. } => {}
            Payload::CustomSection(section) => {
                if section.name() == NAMES {
                    keep_names(section.data(), &mut names);
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    written.section(&RawSection { id, data: &patched[range] });
                }
            }
        }
    }
    let mut segment_names = NameMap::new();
    let mut data = DataSection::new();
    for (at, segment) in (0u32..).zip(segments) {
        data.active(0, &ConstExpr::i32_const(segment.address.cast_signed()), segment.bytes.iter().copied());
        segment_names.append(
            at,
            match segment {
                Run { constant: true, .. } => ".rodata",
                Run { bytes, .. } if bytes.is_empty() => ".bss",
                Run { .. } => ".data",
            },
        );
    }
    if !data.is_empty() {
        written.section(&data);
        names.data(&segment_names);
    }
    if !names.as_custom().data.is_empty() {
        written.section(&names);
    }
    Ok(written.finish())
}

/// Exactly so many bytes, by the custom-page-sizes proposal.
fn memory(bytes: u64) -> MemorySection {
    let mut section = MemorySection::new();
    section.memory(MemoryType {
        minimum: bytes,
        maximum: Some(bytes),
        memory64: false,
        shared: false,
        page_size_log2: Some(0),
    });
    section
}

/// The same globals, but for the two that say where data ends.
fn globals(
    wasm: &[u8],
    section: wasmparser::GlobalSectionReader<'_>,
    outline: &Outline,
    places: &Places,
) -> Result<GlobalSection, MoveError> {
    let end = section.range().end;
    let starts: Vec<usize> = section
        .into_iter_with_offsets()
        .map(|global| global.map(|(start, _)| start))
        .collect::<Result<_, _>>()
        .map_err(invalid)?;
    let ends = starts.iter().copied().skip(1).chain([end]);
    let mut written = GlobalSection::new();
    for ((index, start), end) in (0u32..).zip(starts.iter().copied()).zip(ends) {
        let value = if index == outline.heap_base {
            places.heap_base
        } else if Some(index) == outline.data_end {
            places.data_end
        } else {
            written.raw(&wasm[start..end]);
            continue;
        };
        let global = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
        written.global(global, &ConstExpr::i32_const(value.cast_signed()));
    }
    Ok(written)
}

/// All names but those of data segments. Nobody has validated them: from the first one on that does not parse they are left out.
fn keep_names(data: &[u8], names: &mut NameSection) {
    let mut reader = BinaryReader::new(data, 0);
    while !reader.eof() {
        let (Ok(id), Ok(length)) = (reader.read_u8(), reader.read_var_u32()) else { return };
        let Ok(content) = reader.read_bytes(length as usize) else { return };
        if id != DATA_NAMES {
            names.raw(id, content);
        }
    }
}
