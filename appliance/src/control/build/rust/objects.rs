//! What the objects of a static library tell the linker, beyond what objects can.
//!
//! rustc hands a list of exports to the linker that it starts itself, and cannot place a static: on wasm32 its `link_section` makes a section of
//! the file. So the SDK's macros leave names in the objects, which here become what clang writes at once: a symbol `lnic_export.NAME`
//! for each function to export, and `lnic_emem` or its like as the last part of a placed static's path.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use lnic_abi as abi;
use wasmparser::{BinaryReader, BinaryReaderError, KnownCustom, Linking, Parser, Payload, SymbolInfo};

use super::super::strip::{leb128, put_bytes};
use super::super::{BuildError, Compiled, file};
use super::archive;

/// The symbol that asks for an export.
const EXPORT: &str = "lnic_export.";
/// The part of the section "linking" that names segments.
const SEGMENT_INFO: u8 = 5;
const CUSTOM_SECTION: u8 = 0;
/// A part of a symbol's path, as rustc mangles it, and the section of variables and of constants that it asks for.
const PLACES: [(&str, &str, &str); 4] = [
    ("10lnic_local", abi::SECTION_LOCAL, abi::SECTION_LOCAL_CONST),
    ("8lnic_ctm", abi::SECTION_CTM, abi::SECTION_CTM_CONST),
    ("9lnic_imem", abi::SECTION_IMEM, abi::SECTION_IMEM_CONST),
    ("9lnic_emem", abi::SECTION_EMEM, abi::SECTION_EMEM_CONST),
];

/// Puts the library into `scratch`, and in front of it those of its objects that say something: the linker takes what it finds first.
pub(super) fn unpack(library: &Path, scratch: &Path, compiled: &mut Compiled) -> Result<(), BuildError> {
    let bytes = std::fs::read(library).map_err(file("read", library))?;
    let unreadable = |why: &str| BuildError::Module(format!("{}: {why}", library.display()));
    let objects = archive::files(&bytes).ok_or_else(|| unreadable("not an archive"))?;
    let put = |name: PathBuf, bytes: &[u8], compiled: &mut Compiled| {
        let path = scratch.join(&name);
        std::fs::write(&path, bytes).map_err(file("write", &path))?;
        compiled.objects.push(name);
        Ok(())
    };
    // Other members are the compiler's own: metadata.
    for (at, object) in objects.into_iter().filter(|object| object.starts_with(b"\0asm")).enumerate() {
        let said = Said::read(object).map_err(|error| unreadable(&error.to_string()))?;
        if said.exports.is_empty() && matches!(said.object, Cow::Borrowed(_)) {
            continue;
        }
        compiled.exports.extend(said.exports);
        put(format!("object-{at}.o").into(), &said.object, compiled)?;
    }
    put("library.a".into(), &bytes, compiled)
}

/// An object, and what it says.
struct Said<'a> {
    exports: Vec<String>,
    /// With segments renamed, if it has some that are placed.
    object: Cow<'a, [u8]>,
}

impl<'a> Said<'a> {
    fn read(object: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut said = Self { exports: Vec::new(), object: Cow::Borrowed(object) };
        // Where the section before ends; a length may have more bytes than it needs, so it cannot be counted back from the content.
        let mut before = 0;
        for payload in Parser::new(0).parse_all(object) {
            let payload = payload?;
            let end = match &payload {
                Payload::Version { range, .. } => range.end,
                _ => payload.as_section().map_or(before, |(_, range)| range.end),
            };
            let start = std::mem::replace(&mut before, end);
            let Payload::CustomSection(section) = payload else { continue };
            let KnownCustom::Linking(parts) = section.as_known() else { continue };
            for part in parts {
                let Linking::SymbolTable(symbols) = part? else { continue };
                for symbol in symbols {
                    if let SymbolInfo::Data { name, symbol: Some(_), .. } = symbol? {
                        said.exports.extend(name.strip_prefix(EXPORT).map(str::to_owned));
                    }
                }
            }
            if let Some(content) = placed(section.data())? {
                let mut renamed = object[..start].to_vec();
                renamed.push(CUSTOM_SECTION);
                let mut named = Vec::new();
                put_bytes(&mut named, section.name().as_bytes());
                named.extend(content);
                put_bytes(&mut renamed, &named);
                renamed.extend_from_slice(&object[end..]);
                said.object = Cow::Owned(renamed);
            }
        }
        Ok(said)
    }
}

/// The section "linking" with segments of placed statics renamed; `None` if there are none.
fn placed(content: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let mut reader = BinaryReader::new(content, 0);
    let mut written: Vec<u8> = leb128(reader.read_var_u32()? as usize).collect();
    let mut renames = false;
    while !reader.eof() {
        let (id, mut part) = (reader.read_u8()?, reader.read_reader()?);
        written.push(id);
        if id != SEGMENT_INFO {
            put_bytes(&mut written, part.read_bytes(part.bytes_remaining())?);
            continue;
        }
        let count = part.read_var_u32()?;
        let mut list: Vec<u8> = leb128(count as usize).collect();
        for _ in 0..count {
            let name = part.read_string()?;
            let section = section(name);
            renames |= section.is_some();
            put_bytes(&mut list, section.unwrap_or(name).as_bytes());
            // Alignment and flags.
            for _ in 0..2 {
                list.extend(leb128(part.read_var_u32()? as usize));
            }
        }
        put_bytes(&mut written, &list);
    }
    Ok(renames.then_some(written))
}

/// The section that a segment, which rustc makes for each static, asks for.
fn section(segment: &str) -> Option<&'static str> {
    let (_, variables, constants) = PLACES.iter().find(|(part, ..)| segment.contains(part))?;
    Some(if segment.starts_with(".rodata") { constants } else { variables })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_asks_by_the_last_part_of_its_path() {
        for (segment, wanted) in [
            (".bss._ZN7limiter5TABLE9lnic_emem17hdd31a9ac3974fc75E", Some(".emem")),
            (".data._RNvNvCs4fqI2P2rA04_7limiter4SEEN10lnic_local", Some(".local")),
            (".rodata._ZN7limiter5NAMES9lnic_imem17hc8e9e5756217ac37E", Some(".imem.const")),
            (".bss._ZN7limiter4NEXT8lnic_ctm17hc8e9e5756217ac37E.0", Some(".ctm")),
            (".bss._ZN7limiter4HITS17hc5be1db8156f00a6E", None),
        ] {
            assert_eq!(section(segment), wanted, "{segment}");
        }
    }

    #[test]
    fn segments_are_renamed_and_all_else_stays() {
        let mut linking = Vec::new();
        put_bytes(&mut linking, b"linking");
        linking.push(2);
        let names = [".bss._ZN1a1B9lnic_ememE", ".data.other"];
        let mut list = vec![2];
        for (at, name) in names.iter().enumerate() {
            put_bytes(&mut list, name.as_bytes());
            list.extend([at as u8 + 2, 0]);
        }
        // A comdat list, as a part that is none of ours.
        linking.extend([7, 1, 0, SEGMENT_INFO]);
        put_bytes(&mut linking, &list);
        let mut object = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\0".to_vec();
        // LLVM leaves room for any length.
        object.extend([linking.len() as u8 | 0x80, 0x80, 0x80, 0x80, 0]);
        object.extend(&linking);
        object.extend(b"\0\x05\x04last");
        let said = Said::read(&object).unwrap();
        let renamed = String::from_utf8_lossy(&said.object).into_owned();
        assert!(
            renamed.contains("\u{5}.emem\u{2}\0\u{b}.data.other\u{3}\0") && renamed.ends_with("\u{4}last"),
            "{renamed:?}"
        );
        assert_eq!(said.object[..15], object[..15]);
        assert!(matches!(Said::read(&said.object).unwrap().object, Cow::Borrowed(_)));
        for end in 16..object.len() - 7 {
            assert!(Said::read(&object[..end]).is_err(), "{end}");
        }
    }
}
