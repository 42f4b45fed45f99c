//! Addresses as modules write them.

use super::Encoding;

impl Encoding {
    /// Bytes that an address takes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Leb | Self::Sleb => 5,
            Self::I32 => 4,
        }
    }
}

/// Reads an address.
pub(crate) fn decode(wasm: &[u8], position: usize, encoding: Encoding) -> Option<u32> {
    let bytes = wasm.get(position..)?;
    if encoding == Encoding::I32 {
        return bytes.first_chunk().map(|four| u32::from_le_bytes(*four));
    }
    let five = bytes.first_chunk::<5>()?;
    // All five are there: the linker pads.
    if five[..4].iter().any(|byte| byte & 0x80 == 0) || five[4] & 0x80 != 0 {
        return None;
    }
    Some(five.iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7F)) as u32)
}

/// Writes an address in place of another.
pub(crate) fn encode(wasm: &mut [u8], position: usize, encoding: Encoding, value: u32) -> Option<()> {
    let bytes = wasm.get_mut(position..)?;
    match encoding {
        Encoding::I32 => *bytes.first_chunk_mut()? = value.to_le_bytes(),
        Encoding::Leb | Encoding::Sleb => {
            let five = bytes.first_chunk_mut::<5>()?;
            let mut rest = match encoding {
                Encoding::Sleb => i64::from(value.cast_signed()),
                _ => i64::from(value),
            };
            for (at, byte) in five.iter_mut().enumerate() {
                *byte = (rest & 0x7F) as u8 | if at < 4 { 0x80 } else { 0 };
                rest >>= 7;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_other_encodings_are_not_addresses() {
        for encoding in [Encoding::Leb, Encoding::Sleb, Encoding::I32] {
            for value in [0, 1, 63, 64, 127, 128, 16_384, 0x7FFF_FFFF, 0x8000_0000, u32::MAX - 99, u32::MAX] {
                let mut bytes = [0xAA; 7];
                encode(&mut bytes, 1, encoding, value).unwrap();
                assert_eq!(decode(&bytes, 1, encoding), Some(value), "{encoding:?} {value}");
                assert_eq!(bytes[0], 0xAA);
                assert!(bytes[1 + encoding.bytes()..].iter().all(|byte| *byte == 0xAA));
                // What an engine reads is the same number.
                let mut reader = wasmparser::BinaryReader::new(&bytes[1..], 0);
                match encoding {
                    Encoding::Leb => assert_eq!(reader.read_var_u32().unwrap(), value),
                    Encoding::Sleb => assert_eq!(reader.read_var_i32().unwrap().cast_unsigned(), value),
                    Encoding::I32 => assert_eq!(reader.read_u32().unwrap(), value),
                }
            }
            let mut short = [0x80; 8];
            assert_eq!(encode(&mut short, 9 - encoding.bytes(), encoding, 1), None);
            assert_eq!(encode(&mut short, usize::MAX, encoding, 1), None);
            assert_eq!(decode(&short, 9 - encoding.bytes(), encoding), None);
        }
        // Not padded to five bytes; longer than five.
        assert_eq!(decode(&[5, 0, 0, 0, 0], 0, Encoding::Leb), None);
        assert_eq!(decode(&[0x85, 0x80, 0x80, 0x80, 0x80], 0, Encoding::Sleb), None);
    }
}
