//! What stays of a module for deployment, and how large its memory is.

use wasmparser::{KnownCustom, Name, Parser, Payload};

use super::BuildError;

/// A section that engines skip.
const CUSTOM_SECTION: u8 = 0;
const MEMORY_SECTION: u8 = 5;
/// Limits of a memory: a maximum and a page size are given.
const HAS_MAXIMUM_AND_PAGE_SIZE: u8 = 0x01 | 0x08;
/// The part of the section "name" that names data segments.
const DATA_NAMES: u8 = 9;

/// Gives the module a memory of exactly so many bytes, by the custom-page-sizes proposal: in pages of 64 KiB, ten thousand small
/// lambdas would use a third of what they have. Leaves out everything that does not run, unless it is to be debugged, but the names
/// of the data segments: by them the verifier knows constants from variables.
pub(super) fn finish(module: &[u8], memory_bytes: u64, debug: bool) -> Result<Vec<u8>, BuildError> {
    let unreadable = |error: wasmparser::BinaryReaderError| BuildError::Module(error.to_string());
    let mut stripped = Vec::with_capacity(module.len());
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(unreadable)? {
            Payload::Version { range, .. } => stripped.extend_from_slice(&module[range]),
            Payload::MemorySection(_) => {
                // One memory of pages of 2^0 bytes.
                let mut content = vec![1, HAS_MAXIMUM_AND_PAGE_SIZE];
                content.extend(leb128(memory_bytes as usize));
                content.extend(leb128(memory_bytes as usize));
                content.push(0);
                stripped.push(MEMORY_SECTION);
                put_bytes(&mut stripped, &content);
            }
            Payload::CustomSection(section) if !debug => {
                let KnownCustom::Name(names) = section.as_known() else { continue };
                for name in names {
                    let Name::Data(segments) = name.map_err(unreadable)? else { continue };
                    let mut list: Vec<u8> = leb128(segments.count() as usize).collect();
                    for segment in segments.clone() {
                        let segment = segment.map_err(unreadable)?;
                        list.extend(leb128(segment.index as usize));
                        put_bytes(&mut list, segment.name.as_bytes());
                    }
                    let mut content = Vec::new();
                    put_bytes(&mut content, b"name");
                    content.push(DATA_NAMES);
                    put_bytes(&mut content, &list);
                    stripped.push(CUSTOM_SECTION);
                    put_bytes(&mut stripped, &content);
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    stripped.push(id);
                    put_bytes(&mut stripped, &module[range]);
                }
            }
        }
    }
    Ok(stripped)
}

/// A vector of bytes as modules have it: its length, then the bytes.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(leb128(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A number as modules have it: seven bits a byte, the low ones first.
fn leb128(value: usize) -> impl Iterator<Item = u8> {
    std::iter::successors(Some(value), |rest| (*rest >= 128).then_some(rest >> 7))
        .map(|rest| (rest & 127) as u8 | if rest >= 128 { 128 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        for (number, bytes) in
            [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (300, &[172, 2]), (1 << 21, &[128, 128, 128, 1])]
        {
            assert_eq!(leb128(number).collect::<Vec<_>>(), bytes, "{number}");
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
}
