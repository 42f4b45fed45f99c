//! What stays of a module for deployment, and how large its memory is.

use wasmparser::{BinaryReader, BinaryReaderError, KnownCustom, Linking, Name, Parser, Payload, SymbolInfo};

use super::BuildError;

mod data;
mod linking;
mod symbol;

use data::{Contents, Data};

const CODE_SECTION: u8 = 10;
const DATA_SECTION: u8 = 11;
/// Limits of a memory: a maximum and a page size are given.
const HAS_MAXIMUM_AND_PAGE_SIZE: u8 = 0x01 | 0x08;
/// The part of the section "name" that names data segments.
const DATA_NAMES: u8 = 9;

/// Gives the module a memory of exactly so many bytes, by the custom-page-sizes proposal: in pages of 64 KiB, ten thousand small
/// lambdas would use a third of what they have. Leaves out zeros that variables begin with, as memory begins with zeros anyway,
/// and everything that does not run, unless it is to be debugged, but
/// - the names of the data segments: by them the verifier knows constants from variables;
/// - symbols, and relocations of code and data: by them objects are moved.
pub(super) fn finish(module: &[u8], memory_bytes: u64, debug: bool) -> Result<Vec<u8>, BuildError> {
    let found = Found::read(module)?;
    let data = found.data.as_ref();
    let mut stripped = Vec::with_capacity(module.len());
    // New place of each section among all: what relocation sections count by.
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut written = 0;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(unreadable)?;
        let Some((id, range)) = payload.as_section() else {
            if let Payload::Version { range, .. } = payload {
                stripped.extend_from_slice(&module[range]);
            }
            continue;
        };
        let content = match payload {
            Payload::MemorySection(_) => {
                // One memory of pages of 2^0 bytes.
                let mut content = vec![1, HAS_MAXIMUM_AND_PAGE_SIZE];
                content.extend(leb128(memory_bytes as usize));
                content.extend(leb128(memory_bytes as usize));
                content.push(0);
                Some(content)
            }
            Payload::DataSection(_) => data.map(|data| data.content.clone()),
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::Name(_) => names(section.data(), &found, debug),
                KnownCustom::Linking(linking) => Some(linking::linking(module, linking, data)?),
                KnownCustom::Reloc(relocations) => {
                    let target = relocations.section_index() as usize;
                    let kind = found.ids.get(target).copied();
                    let stays = debug || matches!(kind, Some(CODE_SECTION | DATA_SECTION));
                    match places.get(target).copied().flatten() {
                        Some(place) if stays => {
                            let data = data.filter(|_| kind == Some(DATA_SECTION));
                            Some(linking::relocations(section.name(), relocations, place, data)?)
                        }
                        _ => None,
                    }
                }
                _ => debug.then(|| module[range].to_vec()),
            },
            _ => Some(module[range].to_vec()),
        };
        places.push(content.is_some().then_some(written));
        if let Some(content) = content {
            stripped.push(id);
            put_bytes(&mut stripped, &content);
            written += 1;
        }
    }
    Ok(stripped)
}

/// What sections depend on that stands behind them, or in others.
struct Found {
    /// Kinds of all sections.
    ids: Vec<u8>,
    /// Names of data segments, by their place in the module.
    names: Vec<String>,
    data: Option<Data>,
}

impl Found {
    fn read(module: &[u8]) -> Result<Self, BuildError> {
        let mut found = Self { ids: Vec::new(), names: Vec::new(), data: None };
        let mut section = None;
        let mut contents = Contents::default();
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.map_err(unreadable)?;
            found.ids.extend(payload.as_section().map(|(id, _)| id));
            match payload {
                Payload::DataSection(data) => section = Some(data),
                Payload::CustomSection(custom) => match custom.as_known() {
                    KnownCustom::Name(parts) => {
                        for part in parts {
                            let Name::Data(segments) = part.map_err(unreadable)? else { continue };
                            for segment in segments {
                                let segment = segment.map_err(unreadable)?;
                                // The linker names all of them in their order.
                                if segment.index as usize == found.names.len() {
                                    found.names.push(segment.name.to_owned());
                                }
                            }
                        }
                    }
                    KnownCustom::Linking(parts) => {
                        for part in parts {
                            let Linking::SymbolTable(symbols) = part.map_err(unreadable)? else { continue };
                            for symbol in symbols {
                                let SymbolInfo::Data { symbol: Some(place), .. } =
                                    symbol.map_err(unreadable)?
                                else {
                                    continue;
                                };
                                let place = (place.index, place.offset, place.size);
                                contents.symbols.push((place.0 as usize, place.1 as usize, place.2 as usize));
                            }
                        }
                    }
                    KnownCustom::Reloc(relocations)
                        if found.ids.get(relocations.section_index() as usize) == Some(&DATA_SECTION) =>
                    {
                        for entry in relocations.entries() {
                            let range =
                                entry.and_then(|entry| entry.relocation_range()).map_err(unreadable)?;
                            contents.address_ends.push(range.end);
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        contents.sort();
        found.data = section.map(|section| Data::trim(section, &found.names, &contents)).transpose()?;
        Ok(found)
    }
}

/// The section "name", with the data segments that there are now; the other names only if they are to be kept.
fn names(old: &[u8], found: &Found, debug: bool) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    put_bytes(&mut content, b"name");
    let empty = content.len();
    let mut reader = BinaryReader::new(old, 0);
    while debug && !reader.eof() {
        // It was read before.
        let part = (|| Ok::<_, BinaryReaderError>((reader.read_u8()?, reader.read_reader()?)))();
        let Ok((id, mut part)) = part else { break };
        if id != DATA_NAMES
            && let Ok(part) = part.read_bytes(part.bytes_remaining())
        {
            content.push(id);
            put_bytes(&mut content, part);
        }
    }
    let mut list = Vec::new();
    let mut count = 0;
    for (at, name) in found.names.iter().enumerate() {
        for _ in 0..found.data.as_ref().map_or(1, |data| data.count(at)) {
            list.extend(leb128(count));
            put_bytes(&mut list, name.as_bytes());
            count += 1;
        }
    }
    if count > 0 {
        content.push(DATA_NAMES);
        put_bytes(&mut content, &leb128(count).chain(list).collect::<Vec<u8>>());
    }
    (content.len() > empty).then_some(content)
}

fn unreadable(error: wasmparser::BinaryReaderError) -> BuildError {
    BuildError::Module(error.to_string())
}

/// A vector of bytes as modules have it: its length, then the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(leb128(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A number as modules have it: seven bits a byte, the low ones first.
pub(super) fn leb128(value: usize) -> impl Iterator<Item = u8> {
    std::iter::successors(Some(value), |rest| (*rest >= 128).then_some(rest >> 7))
        .map(|rest| (rest & 127) as u8 | if rest >= 128 { 128 } else { 0 })
}

/// The same with a sign, which is the second highest bit of the last byte.
fn signed_leb128(value: i64) -> impl Iterator<Item = u8> {
    let fits = |rest: i64| (-64..64).contains(&rest);
    std::iter::successors(Some(value), move |rest| (!fits(*rest)).then_some(rest >> 7))
        .map(move |rest| (rest & 127) as u8 | if fits(rest) { 0 } else { 128 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{DataKind, Operator};

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        for (number, bytes) in
            [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (300, &[172, 2]), (1 << 21, &[128, 128, 128, 1])]
        {
            assert_eq!(leb128(number).collect::<Vec<_>>(), bytes, "{number}");
        }
        for number in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 16_384, -8193, 1 << 31, -(1 << 31), i64::MIN] {
            let bytes: Vec<u8> = signed_leb128(number).collect();
            let mut reader = wasmparser::BinaryReader::new(&bytes, 0);
            assert_eq!(reader.read_var_i64().unwrap(), number);
            assert!(reader.eof(), "{number} has {} bytes", bytes.len());
        }
    }

    #[test]
    fn only_names_of_data_segments_are_left_and_the_rest_is_the_same() {
        let text = |name: &str, data: &str| {
            format!(
                "(module (memory 1 1) (func ${name} (export \"f\")) (data ${data} (i32.const 0) \"{}\"))",
                "x".repeat(300)
            )
        };
        let module = wat::parse_str(text("private_helper", ".rodata")).unwrap();
        let stripped = finish(&module, 4096, false).unwrap();
        // What runs comes first, unchanged but for the memory.
        let small = text("f", "d").replace("(memory 1 1)", "(memory 4096 4096 (pagesize 1))");
        let small = wat::parse_str(small).unwrap();
        let runs = |module: &[u8]| {
            let names = module.windows(4).position(|window| window == b"name").unwrap() - 3;
            module[..names].to_vec()
        };
        assert_eq!(runs(&small), runs(&stripped));
        let has = |name: &str| stripped.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(has(".rodata") && !has("private_helper"));
        assert_eq!(finish(&stripped, 4096, false).unwrap(), stripped);
        assert!(finish(&module[..module.len() / 2], 4096, false).is_err());
        let debuggable = finish(&module, 4096, true).unwrap();
        assert!(debuggable.windows(14).any(|window| window == b"private_helper"));
    }

    #[test]
    fn variables_lose_the_zeros_at_their_end_and_constants_do_not() {
        let module = |name: &str| {
            let text = format!(
                r#"(module (memory 1) (data ${name} (i32.const 512) "\00\01\00\00") (data $.data (i32.const 600) "\00"))"#
            );
            finish(&wat::parse_str(text).unwrap(), 4096, false).unwrap()
        };
        let address = |expression: &wasmparser::ConstExpr<'_>| {
            let Ok(Operator::I32Const { value }) = expression.get_operators_reader().read() else {
                panic!("no constant")
            };
            value
        };
        let segments = |module: &[u8]| {
            let mut segments = Vec::new();
            for payload in Parser::new(0).parse_all(module) {
                if let Payload::DataSection(section) = payload.unwrap() {
                    segments.extend(section.into_iter().map(|segment| {
                        let segment = segment.unwrap();
                        let DataKind::Active { offset_expr, .. } = segment.kind else { panic!("passive") };
                        (address(&offset_expr), segment.data.to_vec())
                    }));
                }
            }
            segments
        };
        assert_eq!(segments(&module(".emem")), [(512, vec![0, 1]), (600, vec![])]);
        for constants in [".rodata", ".rodata.cst16", ".emem.const"] {
            assert_eq!(segments(&module(constants)), [(512, vec![0, 1, 0, 0]), (600, vec![])], "{constants}");
        }
    }
}
