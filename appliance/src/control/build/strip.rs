//! What stays of a module for deployment.

use wasmparser::{KnownCustom, Name, Parser, Payload};

use super::BuildError;

/// A section that engines skip.
const CUSTOM_SECTION: u8 = 0;
/// The part of the section "name" that names data segments.
const DATA_NAMES: u8 = 9;

/// Leaves out everything that does not run, but the names of the data segments: by them the verifier knows constants from
/// variables.
pub(super) fn strip(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let unreadable = |error: wasmparser::BinaryReaderError| BuildError::Module(error.to_string());
    let mut stripped = Vec::with_capacity(module.len());
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(unreadable)? {
            Payload::Version { range, .. } => stripped.extend_from_slice(&module[range]),
            Payload::CustomSection(section) => {
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
        let stripped = strip(&module).unwrap();
        // What runs comes first, unchanged.
        let sections = stripped.windows(4).position(|window| window == b"name").unwrap() - 3;
        assert_eq!(stripped[..sections], module[..sections]);
        let has = |name: &str| stripped.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(has(".rodata") && !has("private_helper"));
        assert_eq!(strip(&stripped).unwrap(), stripped);
        assert!(strip(&module[..module.len() / 2]).is_err());
    }
}
