//! SIMD helpers against plain loops, text against Rust's formatting and parsing.
#![allow(missing_docs)]

mod support;

use std::cell::RefCell;
use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use support::{Program, have_tools};

const OTHER: usize = 8192;

thread_local! {
    static PROGRAM: RefCell<Option<Option<Program>>> = const { RefCell::new(None) };
}

/// With the program, if there are tools to build it.
fn with(test: impl FnOnce(&mut Program) -> Result<(), TestCaseError>) -> Result<(), TestCaseError> {
    PROGRAM.with_borrow_mut(|program| {
        let program = program.get_or_insert_with(|| have_tools().then(|| Program::of("bytes.c")));
        program.as_mut().map_or(Ok(()), test)
    })
}

/// Few different bytes, so that some are found.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(prop::sample::select(b"aAzZ[@{` \n".to_vec()), 0..150), vec(any::<u8>(), 0..150)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_found_counted_and_summed(data in bytes(), at in 0..20usize, one in any::<u8>(), index in any::<prop::sample::Index>()) {
        with(|program| {
            // What lies around is what is looked for, and must not be found.
            let other = if data.is_empty() { b'a' } else { data[index.index(data.len())] };
            program.put(0, &[other; 300]);
            program.put(at, &data);
            let (start, length) = (at as u32, data.len() as u32);
            let position = |wanted: &dyn Fn(u8) -> bool| data.iter().position(|byte| wanted(*byte)).unwrap_or(data.len()) as u32;
            for byte in [one, other] {
                let expected = position(&|it| it == byte);
                prop_assert_eq!(program.call::<_, u32>("find", (start, length, u32::from(byte))), expected);
                prop_assert_eq!(program.call::<_, u32>("until", (start, length, u32::from(byte))), expected);
                let count = data.iter().filter(|it| **it == byte).count() as u32;
                prop_assert_eq!(program.call::<_, u32>("count", (start, length, u32::from(byte))), count);
            }
            let either = position(&|it| it == one || it == other);
            prop_assert_eq!(program.call::<_, u32>("find_either", (start, length, u32::from(one), u32::from(other))), either);
            let sum: u64 = data.iter().map(|byte| u64::from(*byte)).sum();
            prop_assert_eq!(program.call::<_, u64>("sum", (start, length)), sum);
            // RFC 1071, word by word.
            let mut words = 0u32;
            for pair in data.chunks(2) {
                words += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
                words = (words & 0xffff) + (words >> 16);
            }
            prop_assert_eq!(program.call::<_, u32>("checksum", (start, length)), !words & 0xffff);
            Ok(())
        })?;
    }

    #[test]
    fn bytes_are_compared_and_lowered(data in bytes(), at in 0..20usize, index in any::<prop::sample::Index>(), flip in any::<u8>()) {
        with(|program| {
            let mut other = data.clone();
            if !other.is_empty() {
                other[index.index(data.len())] ^= flip;
            }
            program.put(at, &data);
            program.put(OTHER, &other);
            let (start, length) = (at as u32, data.len() as u32);
            prop_assert_eq!(program.call::<_, i32>("equal", (start, length)), i32::from(data == other));
            let same_text = i32::from(data.eq_ignore_ascii_case(&other));
            prop_assert_eq!(program.call::<_, i32>("equal_text", (start, length)), same_text);
            let order = match data.cmp(&other) { Ordering::Less => -1, Ordering::Equal => 0, Ordering::Greater => 1 };
            prop_assert_eq!(program.call::<_, i32>("compare", (start, length)).signum(), order);
            for to in [at, 4096] {
                program.put(at, &data);
                program.put(to + data.len(), b"#");
                program.call::<_, ()>("lower", (to as u32, start, length));
                prop_assert_eq!(program.get(to, data.len()), data.to_ascii_lowercase());
                prop_assert_eq!(program.get(to + data.len(), 1), b"#", "nothing behind is written");
            }
            let prefix = index.index(data.len() + 1);
            let has = program.call::<_, i32>("prefix", (0u32, prefix as u32));
            prop_assert_eq!(has, i32::from(prefix == 0), "nothing has no prefix");
            program.put(0, &data);
            let has = program.call::<_, i32>("prefix", (length, prefix as u32));
            prop_assert_eq!(has, i32::from(data.starts_with(&other[..prefix])));
            let copied = program.call::<_, u32>("copy", (4096u32, prefix as u32, 0u32, length));
            prop_assert_eq!(copied as usize, prefix.min(data.len()));
            prop_assert_eq!(program.get(4096, copied as usize), &data[..copied as usize]);
            Ok(())
        })?;
    }

    #[test]
    fn numbers_are_read(text in prop_oneof!["[0-9]{0,22}[^0-9]?.{0,3}", "[0-9a-fA-F]{0,18}[^0-9a-f]?", any::<u64>().prop_map(|it| it.to_string())]) {
        with(|program| {
            for (name, radix) in [("parse_decimal", 10), ("parse_hex", 16)] {
                program.put(0, text.as_bytes());
                program.put(text.len(), b"12");
                let digits = text.bytes().take_while(|byte| (*byte as char).is_digit(radix)).count();
                // As many hexadecimal digits as a number has: zeros before it count, if they fit.
                let value = u64::from_str_radix(&text[..digits], radix).ok();
                let (taken, value) = value.map_or((0, 0), |value| (digits as i64, value));
                prop_assert_eq!(program.call::<u32, i64>(name, text.len() as u32), taken, "{}", text);
                prop_assert_eq!(program.get(OTHER, 8), value.to_le_bytes(), "{}", text);
            }
            Ok(())
        })?;
    }

    #[test]
    fn lines_are_made_and_cut_between_pieces(number in prop_oneof![any::<u64>(), (any::<u64>(), 0..64u32).prop_map(|(it, shift)| it >> shift)], small: u32, digits in 1..17u32, capacity in 0..140u32) {
        with(|program| {
            let mac = number.to_le_bytes()[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            let q16 = i64::from(small.cast_signed());
            let magnitude = q16.unsigned_abs();
            let mask = if digits == 16 { u64::MAX } else { (1 << (4 * digits)) - 1 };
            let pieces = [
                "n=".to_owned(),
                number.to_string(),
                " ".to_owned(),
                number.cast_signed().to_string(),
                " ".to_owned(),
                format!("{:0width$x}", number & mask, width = digits as usize),
                " ".to_owned(),
                std::net::Ipv4Addr::from(small).to_string(),
                " ".to_owned(),
                mac,
                " ".to_owned(),
                format!("{}{}.{:03}", if q16 < 0 { "-" } else { "" }, magnitude >> 16, ((magnitude & 0xffff) * 1000) >> 16),
            ];
            let (mut expected, mut is_cut) = (String::new(), false);
            for piece in pieces {
                is_cut |= expected.len() + piece.len() > capacity as usize;
                if !is_cut {
                    expected.push_str(&piece);
                }
            }
            program.put(0, &[b'#'; 200]);
            let result = program.call::<_, u32>("format", (capacity, number, small, digits));
            prop_assert_eq!(result, expected.len() as u32 | u32::from(is_cut) << 31);
            prop_assert_eq!(std::str::from_utf8(program.get(0, expected.len())), Ok(&*expected));
            prop_assert!(program.get(expected.len(), 200 - expected.len()).iter().all(|byte| *byte == b'#'));
            Ok(())
        })?;
    }

    #[test]
    fn numbers_keep_their_byte_order(value: u64) {
        with(|program| {
            prop_assert_eq!(program.call::<_, i32>("order", value), 1);
            Ok(())
        })?;
    }
}

#[test]
fn log_lines_have_numbers() {
    with(|program| {
        program.lines();
        program.call::<_, ()>("log", 0xffff_ffff_ffff_00ffu64);
        assert_eq!(program.lines(), ["line 00ff", "number -65281"]);
        Ok(())
    })
    .unwrap();
}
