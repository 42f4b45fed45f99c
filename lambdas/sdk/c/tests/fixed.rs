//! Fixed point against exact arithmetic with 128 bits.
#![allow(missing_docs)]

mod support;

use proptest::prelude::*;
use support::{Program, have_tools};

thread_local! {
    static PROGRAM: std::cell::RefCell<Option<Program>> = const { std::cell::RefCell::new(None) };
}

/// Numbers of all magnitudes, and those at the edges.
fn any_i64() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => (any::<i64>(), 0..64u32).prop_map(|(number, shift)| number >> shift),
        1 => prop::sample::select(vec![0, 1, -1, i64::MIN, i64::MAX, 1 << 32, -1 << 32, (1 << 32) - 1, i64::MIN + 1]),
    ]
}

fn any_i32() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => (any::<i32>(), 0..32u32).prop_map(|(number, shift)| number >> shift),
        1 => prop::sample::select(vec![0, 1, -1, i32::MIN, i32::MAX, 1 << 16, -1 << 16, i32::MIN + 1]),
    ]
}

fn clamp32(exact: i128) -> i32 {
    exact.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

fn clamp64(exact: i128) -> i64 {
    exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// A quotient with so many binary digits behind the point; by 0 it is beyond every range.
fn quotient(dividend: i128, divisor: i128, bits: u32) -> i128 {
    if divisor == 0 { dividend.signum() << 100 } else { (dividend << bits) / divisor }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn q16_is_exact_and_clamped(left in any_i32(), right in any_i32(), shift in 0..32u32) {
        if !have_tools_once() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("fixed.c"));
            let (a, b) = (i128::from(left), i128::from(right));
            let mut call = |name, expected| {
                prop_assert_eq!(program.call::<_, i32>(name, (left, right)), clamp32(expected), "{} {} {}", left, name, right);
                Ok(())
            };
            call("q16_add", a + b)?;
            call("q16_subtract", a - b)?;
            call("q16_multiply", a * b / (1 << 16))?;
            call("q16_divide", quotient(a, b, 16))?;
            prop_assert_eq!(program.call::<_, i32>("q16_average", (left, right, shift)), clamp32(a + ((b - a) >> shift)));
            prop_assert_eq!(program.call::<_, i32>("q16_root", left), clamp32((a.max(0) << 16).isqrt()));
            prop_assert_eq!(program.call::<_, i32>("q16_from", left), clamp32(a << 16));
            prop_assert_eq!(program.call::<_, i32>("q16_whole", left), clamp32(a / (1 << 16)));
            let half = if a < 0 { -(1 << 15) } else { 1 << 15 };
            prop_assert_eq!(program.call::<_, i32>("q16_round", left), clamp32((a + half) / (1 << 16)));
            prop_assert_eq!(program.call::<_, i64>("q32_from_q16", left), left as i64 * 65536);
            prop_assert_eq!(program.call::<_, i64>("q32_from", left), (left as i64) << 32);
            let (part, whole) = (left.cast_unsigned(), right.cast_unsigned());
            let ratio = if whole == 0 { i128::MAX } else { (i128::from(part) << 32) / i128::from(whole) };
            prop_assert_eq!(program.call::<_, i64>("q32_ratio", (part, whole)), clamp64(ratio));
            Ok(())
        })?;
    }

    #[test]
    fn q32_is_exact_and_clamped(left in any_i64(), right in any_i64(), shift in 0..64u32) {
        if !have_tools_once() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("fixed.c"));
            let (a, b) = (i128::from(left), i128::from(right));
            let mut call = |name, expected| {
                prop_assert_eq!(program.call::<_, i64>(name, (left, right)), clamp64(expected), "{} {} {}", left, name, right);
                Ok(())
            };
            call("q32_add", a + b)?;
            call("q32_subtract", a - b)?;
            // Towards zero, and the product may have 127 bits.
            call("q32_multiply", a * b / (1 << 32))?;
            call("q32_divide", quotient(a, b, 32))?;
            prop_assert_eq!(program.call::<_, i64>("q32_root", left), clamp64((a.max(0) << 32).isqrt()));
            prop_assert_eq!(program.call::<_, i32>("q32_whole", left), (left / (1 << 32)) as i32);
            prop_assert_eq!(program.call::<_, i32>("q16_from_q32", left), clamp32(a / (1 << 16)));
            let (near, other) = (left >> 2, right >> 2);
            let average = i128::from(near) + ((i128::from(other) - i128::from(near)) >> shift);
            prop_assert_eq!(program.call::<_, i64>("q32_average", (near, other, shift)), clamp64(average));
            Ok(())
        })?;
    }
}

/// Asked for each case: tools do not come and go.
fn have_tools_once() -> bool {
    static HAVE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAVE.get_or_init(have_tools)
}

#[test]
fn constants_are_fractions() {
    if have_tools() {
        assert_eq!(Program::of("fixed.c").call::<(), i32>("constants", ()), 1);
    }
}
