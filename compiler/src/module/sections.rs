//! A module's sections as they come, and what its relocations make of them.

use std::ops::Range;

use wasmparser::{
    ConstExpr, DataKind, DefinedDataSymbol, Encoding as Binary, KnownCustom, Linking, Name, Operator, Parser,
    Payload, RelocationEntry, RelocationType, SymbolFlags, SymbolInfo,
};

use super::encoding::decode;
use super::objects::Objects;
use super::{Encoding, Module, ModuleError, Reference, Segment, Unplaced, inconsistent, invalid};

const CODE_SECTION: u8 = 10;
const DATA_SECTION: u8 = 11;
/// As many as engines take.
const MAX_SEGMENTS: usize = 100_000;

/// A data symbol.
pub(super) struct Symbol {
    pub(super) name: String,
    /// Where it lies in which segment; `None` for what is defined nowhere, and for addresses that belong to no segment.
    pub(super) place: Option<DefinedDataSymbol>,
    /// Nobody defines it: a weak symbol, whose address is 0.
    undefined: bool,
}

/// A relocation of code or data.
struct Relocation {
    /// The section that it changes, and where that lies in the file.
    section: u8,
    within: Range<usize>,
    entry: RelocationEntry,
}

/// Sections as they come.
#[derive(Default)]
pub(super) struct Sections {
    data: Vec<(Option<u32>, Range<usize>)>,
    names: Vec<(u32, String)>,
    /// Names and alignments of segments; more than there are in `data`, if the last ones are zeros.
    info: Vec<(String, u32)>,
    /// By symbol index; `None` for what is not data.
    pub(super) symbols: Vec<Option<Symbol>>,
    relocations: Vec<Relocation>,
    has_relocations: bool,
}

impl Sections {
    pub(super) fn read(wasm: &[u8]) -> Result<Self, ModuleError> {
        let mut read = Self::default();
        // Number and contents of each section, by its place among all: what relocation sections count by.
        let mut sections: Vec<(u8, Range<usize>)> = Vec::new();
        let mut relocations = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(invalid)?;
            if let Some(section) = payload.as_section() {
                if matches!(section.0, CODE_SECTION | DATA_SECTION)
                    && sections.iter().any(|other| other.0 == section.0)
                {
                    return Err(ModuleError::Invalid(format!("two sections {}", section.0)));
                }
                sections.push(section);
            }
            match payload {
                Payload::Version { encoding: Binary::Component, .. } => {
                    return Err(ModuleError::Invalid("a component".to_owned()));
                }
                Payload::DataSection(section) => {
                    for segment in section {
                        let segment = segment.map_err(invalid)?;
                        let address = match &segment.kind {
                            DataKind::Active { memory_index: 0, offset_expr } => constant(offset_expr),
                            _ => None,
                        };
                        read.data.push((address, segment.range.end - segment.data.len()..segment.range.end));
                    }
                }
                Payload::CustomSection(section) => match section.as_known() {
                    KnownCustom::Linking(linking) => {
                        for part in linking {
                            read.link(part.map_err(invalid)?)?;
                        }
                    }
                    KnownCustom::Reloc(section) => {
                        read.has_relocations = true;
                        for entry in section.entries() {
                            relocations.push((section.section_index(), entry.map_err(invalid)?));
                        }
                    }
                    KnownCustom::Name(names) => {
                        for name in names.into_iter().map_while(Result::ok) {
                            if let Name::Data(segments) = name {
                                let named = segments.into_iter().map_while(Result::ok);
                                read.names.extend(named.map(|naming| (naming.index, naming.name.to_owned())));
                            }
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        for (section, entry) in relocations {
            let Some((number, within)) = sections.get(section as usize) else {
                return Err(inconsistent(format!("relocations of section {section}, which is not there")));
            };
            // Others are a debugger's.
            if matches!(*number, CODE_SECTION | DATA_SECTION) {
                read.relocations.push(Relocation { section: *number, within: within.clone(), entry });
            }
        }
        Ok(read)
    }

    fn link(&mut self, part: Linking<'_>) -> Result<(), ModuleError> {
        match part {
            Linking::SymbolTable(symbols) => {
                for symbol in symbols {
                    self.symbols.push(match symbol.map_err(invalid)? {
                        SymbolInfo::Data { flags, name, symbol } => Some(Symbol {
                            name: name.to_owned(),
                            place: symbol.filter(|_| !flags.contains(SymbolFlags::ABSOLUTE)),
                            undefined: symbol.is_none(),
                        }),
                        _ => None,
                    });
                }
            }
            Linking::SegmentInfo(segments) => {
                for segment in segments {
                    let segment = segment.map_err(invalid)?;
                    let alignment = 1u32.checked_shl(segment.alignment).unwrap_or(1);
                    self.info.push((segment.name.to_owned(), alignment));
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn resolve(self, wasm: &[u8]) -> Result<Module<'_>, ModuleError> {
        let segments = self.segments(wasm)?;
        let objects = Objects::of(&self.symbols, &segments, wasm)?;
        let mut references = Vec::new();
        let mut unplaced = Vec::new();
        for relocation in &self.relocations {
            let Some((encoding, symbol)) = self.target(relocation)? else { continue };
            let position = position(relocation);
            let found = self.value(relocation, encoding, wasm)?;
            let at = relocation.entry.index as usize;
            let Some((object, offset)) = objects.of_symbol.get(at).copied().flatten() else {
                // What nobody defines has no address and keeps none.
                if !(symbol.undefined && found == 0) {
                    unplaced.push(Unplaced { position, name: symbol.name.clone() });
                }
                continue;
            };
            let addend = i64::from(offset) + relocation.entry.addend;
            let expected = i64::from(objects.list[object].address) + addend;
            if i64::from(found) != expected & 0xFFFF_FFFF {
                return Err(inconsistent(format!(
                    "byte {position} holds {found:#x}, and \"{}\" is at {expected:#x}",
                    objects.list[object].name
                )));
            }
            references.push(Reference { position, encoding, object, addend });
        }
        references.sort_by_key(|reference| reference.position);
        let overlap = references.windows(2).find(|pair| {
            let [first, second] = pair else { return false };
            first.position + first.encoding.bytes() > second.position
        });
        if let Some([first, _]) = overlap {
            return Err(inconsistent(format!("two relocations of byte {}", first.position)));
        }
        let has_relocations = self.has_relocations;
        let module = Module { wasm, segments, objects: objects.list, references, unplaced, has_relocations };
        match module.references.iter().find(|reference| !is_within_object(&module, reference)) {
            Some(loose) => {
                Err(inconsistent(format!("byte {} holds an address outside all objects", loose.position)))
            }
            None => Ok(module),
        }
    }

    fn segments(&self, wasm: &[u8]) -> Result<Vec<Segment>, ModuleError> {
        let count = self.data.len().max(self.info.len());
        if count > MAX_SEGMENTS {
            return Err(inconsistent(format!("{count} segments: there may be {MAX_SEGMENTS}")));
        }
        // Bytes that the symbols of each segment need.
        let mut extents = vec![0u32; count];
        for symbol in self.symbols.iter().flatten() {
            let Some(place) = symbol.place else { continue };
            let Some(extent) = extents.get_mut(place.index as usize) else {
                return Err(inconsistent(format!(
                    "\"{}\" is in segment {}, which is not there",
                    symbol.name, place.index
                )));
            };
            let Some(end) = place.offset.checked_add(place.size) else {
                return Err(inconsistent(format!("\"{}\" ends behind 4 GiB", symbol.name)));
            };
            *extent = (*extent).max(end);
        }
        let bases = self.bases(wasm, count)?;
        let mut names = vec![None; self.data.len()];
        for (index, name) in &self.names {
            if let Some(known) = names.get_mut(*index as usize) {
                *known = Some(name);
            }
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(count);
        for at in 0..count {
            let info = self.info.get(at);
            let alignment = info.map_or(16, |info| info.1);
            let name = info.map(|info| &info.0).or(names.get(at).copied().flatten());
            // Segments of zeros are not in the data section; symbols count on from it.
            let (address, file) = match self.data.get(at) {
                Some((Some(address), file)) => (*address, file.clone()),
                Some((None, _)) => {
                    return Err(ModuleError::Unsupported(format!(
                        "data segment {at} is passive, or its address is no constant"
                    )));
                }
                None => {
                    let behind =
                        segments.last().map_or(0, |last| u64::from(last.address) + u64::from(last.bytes));
                    let guess = u32::try_from(behind.next_multiple_of(u64::from(alignment)));
                    let address = bases[at].or(guess.ok());
                    (address.ok_or_else(|| inconsistent(format!("segment {at} is behind 4 GiB")))?, 0..0)
                }
            };
            let in_file = u32::try_from(file.len()).map_err(|_| inconsistent(format!("segment {at}")))?;
            let bytes = in_file.max(extents[at]);
            if address.checked_add(bytes).is_none() {
                return Err(inconsistent(format!("segment {at} ends behind 4 GiB")));
            }
            segments.push(Segment {
                name: name.cloned().unwrap_or_default(),
                address,
                file,
                bytes,
                alignment,
            });
        }
        Ok(segments)
    }

    /// Addresses of segments, from relocations of their symbols.
    fn bases(&self, wasm: &[u8], count: usize) -> Result<Vec<Option<u32>>, ModuleError> {
        let mut bases = vec![None; count];
        for relocation in &self.relocations {
            let Some((encoding, Symbol { place: Some(place), .. })) = self.target(relocation)? else {
                continue;
            };
            let Some(base) = bases.get_mut(place.index as usize) else { continue };
            if base.is_none() {
                let value = i64::from(self.value(relocation, encoding, wasm)?);
                *base =
                    u32::try_from((value - relocation.entry.addend - i64::from(place.offset)) & 0xFFFF_FFFF)
                        .ok();
            }
        }
        Ok(bases)
    }

    /// How a relocation writes an address, and the symbol that it is about; `None` if it is not about an address.
    fn target(&self, relocation: &Relocation) -> Result<Option<(Encoding, &Symbol)>, ModuleError> {
        use RelocationType::*;

        let entry = &relocation.entry;
        let symbol = self.symbols.get(entry.index as usize).and_then(Option::as_ref);
        let encoding = match entry.ty {
            MemoryAddrLeb => Encoding::Leb,
            MemoryAddrSleb => Encoding::Sleb,
            MemoryAddrI32 => Encoding::I32,
            // With -fPIC a global holds the address.
            GlobalIndexLeb | GlobalIndexI32 => match symbol {
                Some(Symbol { name, .. }) => {
                    return Err(ModuleError::Unsupported(format!(
                        "\"{name}\" is reached through a global: compile without -fPIC"
                    )));
                }
                None => return Ok(None),
            },
            FunctionIndexLeb | FunctionIndexI32 | FunctionOffsetI32 | TableIndexSleb | TableIndexI32
            | TypeIndexLeb | TableNumberLeb | EventIndexLeb | SectionOffsetI32 => return Ok(None),
            other => return Err(ModuleError::Unsupported(format!("relocations of type {other:?}"))),
        };
        if (encoding == Encoding::I32) != (relocation.section == DATA_SECTION) {
            return Err(inconsistent(format!("{:?} in section {}", entry.ty, relocation.section)));
        }
        match symbol {
            Some(symbol) => Ok(Some((encoding, symbol))),
            None => Err(inconsistent(format!("symbol {} is not data, or not there", entry.index))),
        }
    }

    /// What stands where the relocation was applied.
    fn value(&self, relocation: &Relocation, encoding: Encoding, wasm: &[u8]) -> Result<u32, ModuleError> {
        let position = position(relocation);
        let inside = position + encoding.bytes() <= relocation.within.end;
        decode(wasm, position, encoding)
            .filter(|_| inside)
            .ok_or_else(|| inconsistent(format!("no address at byte {position}")))
    }
}

/// Where in the file.
fn position(relocation: &Relocation) -> usize {
    relocation.within.start + relocation.entry.offset as usize
}

/// Is it in code, or do all its bytes belong to one object?
fn is_within_object(module: &Module<'_>, reference: &Reference) -> bool {
    if reference.encoding != Encoding::I32 {
        return true;
    }
    let Some(segment) = module.segment_in_file(reference.position) else { return false };
    let offset = reference.position - segment.file.start;
    let Ok(address) = u32::try_from(segment.address as usize + offset) else { return false };
    let end = reference.position + reference.encoding.bytes();
    module
        .object_at(address)
        .is_some_and(|object| end <= segment.file.end && address + 4 <= module.objects[object].range().end)
}

/// The constant that an expression is.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    let mut operators = expression.get_operators_reader();
    match (operators.read().ok()?, operators.read().ok()?) {
        (Operator::I32Const { value }, Operator::End) => Some(value.cast_unsigned()),
        _ => None,
    }
}
