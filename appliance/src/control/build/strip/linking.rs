//! The linker's sections, with the segments and offsets that there are now.

use wasmparser::{
    Linking, LinkingSectionReader, RelocAddendKind, RelocSectionReader, SymbolFlags, SymbolInfo,
};

use super::data::Data;
use super::{leb128, put_bytes, signed_leb128, unreadable};
use crate::control::build::BuildError;

/// Of the conventions that this is written by.
const VERSION: u8 = 2;
const SEGMENT_INFO: u8 = 5;
const SYMBOL_TABLE: u8 = 8;
const FUNCTION_SYMBOL: u8 = 0;
const DATA_SYMBOL: u8 = 1;

/// The section "linking": symbols and segments; the rest is for linkers.
pub(super) fn linking(
    module: &[u8],
    section: LinkingSectionReader<'_>,
    data: Option<&Data>,
) -> Result<Vec<u8>, BuildError> {
    let mut content = Vec::new();
    put_bytes(&mut content, b"linking");
    content.push(VERSION);
    for part in section {
        let (id, list) = match part.map_err(unreadable)? {
            Linking::SymbolTable(symbols) => (SYMBOL_TABLE, symbol_table(module, symbols, data)?),
            Linking::SegmentInfo(segments) => (SEGMENT_INFO, segment_info(segments, data)?),
            _ => continue,
        };
        content.push(id);
        put_bytes(&mut content, &list);
    }
    Ok(content)
}

fn symbol_table(
    module: &[u8],
    symbols: wasmparser::SymbolInfoMap<'_>,
    data: Option<&Data>,
) -> Result<Vec<u8>, BuildError> {
    let mut list: Vec<u8> = leb128(symbols.count() as usize).collect();
    let end = symbols.range().end;
    let found: Vec<(usize, SymbolInfo<'_>)> =
        symbols.into_iter_with_offsets().collect::<Result<_, _>>().map_err(unreadable)?;
    let ends = found.iter().map(|symbol| symbol.0).skip(1).chain([end]).collect::<Vec<_>>();
    for ((start, symbol), end) in found.into_iter().zip(ends) {
        match (symbol, data) {
            (SymbolInfo::Data { flags, name, symbol: Some(place) }, Some(data))
                if !flags.contains(SymbolFlags::ABSOLUTE) =>
            {
                let (segment, offset) = data.place(place.index as usize, place.offset as usize);
                list.push(DATA_SYMBOL);
                list.extend(leb128(flags.bits() as usize));
                put_bytes(&mut list, super::symbol::readable(name).as_bytes());
                for number in [segment, offset, place.size as usize] {
                    list.extend(leb128(number));
                }
            }
            (SymbolInfo::Func { flags, index, name: Some(name) }, _) => {
                list.push(FUNCTION_SYMBOL);
                list.extend(leb128(flags.bits() as usize));
                list.extend(leb128(index as usize));
                put_bytes(&mut list, super::symbol::readable(name).as_bytes());
            }
            _ => list.extend_from_slice(&module[start..end]),
        }
    }
    Ok(list)
}

fn segment_info(segments: wasmparser::SegmentMap<'_>, data: Option<&Data>) -> Result<Vec<u8>, BuildError> {
    let mut count = 0;
    let mut list = Vec::new();
    for (at, segment) in segments.into_iter().enumerate() {
        let segment = segment.map_err(unreadable)?;
        for _ in 0..data.map_or(1, |data| data.count(at)) {
            put_bytes(&mut list, segment.name.as_bytes());
            list.extend(leb128(segment.alignment as usize));
            list.extend(leb128(segment.flags.bits() as usize));
            count += 1;
        }
    }
    Ok(leb128(count).chain(list).collect())
}

/// A relocation section, of the section that is now at `place`. With `data` it is about data, and addresses lie elsewhere now.
pub(super) fn relocations(
    name: &str,
    section: RelocSectionReader<'_>,
    place: usize,
    data: Option<&Data>,
) -> Result<Vec<u8>, BuildError> {
    let mut content = Vec::new();
    put_bytes(&mut content, name.as_bytes());
    content.extend(leb128(place));
    let entries = section.entries();
    content.extend(leb128(entries.count() as usize));
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let offset = entry.offset as usize;
        let offset = data.map_or(Some(offset), |data| data.moved(offset)).ok_or_else(|| {
            BuildError::Module(format!("a relocation of byte {offset} of the data, outside all segments"))
        })?;
        content.push(entry.ty as u8);
        content.extend(leb128(offset));
        content.extend(leb128(entry.index as usize));
        if entry.ty.addend_kind() != RelocAddendKind::None {
            content.extend(signed_leb128(entry.addend));
        }
    }
    Ok(content)
}
