//! Modules that nobody compiled: no panic, no endless work.

mod analysis_support;

use analysis_support::*;
use lnic_compiler::analysis::{Options, analyse};
use lnic_compiler::module::Module;

/// Reads and analyses a module, if that is what it is; within bounds.
fn try_all(wasm: &[u8], entries: &[&str]) -> bool {
    let Ok(module) = Module::read(wasm) else { return false };
    let options = Options { work: 200_000, ..Options::default() };
    let Ok(analysis) = analyse(&module, entries, options) else { return false };
    assert_eq!(analysis.objects.len(), module.objects().len());
    assert!(analysis.work < 1_000_000, "{}", analysis.work);
    true
}

#[test]
fn mutated_modules_do_no_harm() {
    if !have_clang() {
        return;
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web_server.c");
    let mut random = fastrand::Rng::with_seed(7);
    let mut analysed = 0;
    for level in ["-O0", "-O3"] {
        let original = compile_file(source.as_ref(), level, true);
        assert!(try_all(&original, &["web_server"]));
        for _ in 0..4_000 {
            let mut wasm = original.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..wasm.len());
                wasm[at] = if random.bool() { random.u8(..) } else { wasm[at] ^ 1 << random.u8(..8) };
            }
            analysed += u32::from(try_all(&wasm, &["web_server"]));
        }
    }
    assert!(analysed > 500, "{analysed}");
}

#[test]
fn random_code_does_no_harm() {
    // Straight-line and looping code from pieces that leave one number on the operand stack.
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..300 {
        let mut body = String::new();
        for _ in 0..random.usize(1..60) {
            let mut expression = String::from("(local.get 0)");
            for _ in 0..random.usize(1..6) {
                let number = [0, 1, -1, 16, i32::MAX, i32::MIN, -64][random.usize(..7)];
                let local = random.usize(..4);
                expression = match random.usize(..12) {
                    0 => format!("(i32.add {expression} (i32.const {number}))"),
                    1 => format!("(i32.sub (local.get {local}) {expression})"),
                    2 => format!("(i32.load offset=8 {expression})"),
                    3 => format!("(i32.and {expression} (i32.const {number}))"),
                    4 => format!("(i32.mul {expression} (local.get {local}))"),
                    5 => format!(
                        "(i32.wrap_i64 (i64.add (i64.extend_i32_s {expression}) (i64.const {})))",
                        i64::MAX
                    ),
                    6 => format!("(i32.wrap_i64 (i64.load {expression}))"),
                    7 => format!("(select {expression} (local.get {local}) (i32.const 1))"),
                    8 => format!(
                        "(i32x4.extract_lane 1 (i32x4.add (v128.load {expression}) (i32x4.splat (local.get {local}))))"
                    ),
                    9 => format!("(i32.xor {expression} (global.get $sp))"),
                    10 => format!("(i32.shl {expression} (local.get {local}))"),
                    _ => format!("(call $g {expression} (local.get {local}))"),
                };
            }
            let local = random.usize(..4);
            body.push_str(&match random.usize(..8) {
                0 => format!("(i32.store offset=4 (local.get {local}) {expression})"),
                1 => format!("(i64.store (local.get {local}) (i64.extend_i32_u {expression}))"),
                2 => format!("(global.set $sp {expression})"),
                3 => format!("(memory.copy (local.get {local}) {expression} (local.get {local}))"),
                4 => format!("(loop (local.set {local} {expression}) (br_if 0 (local.get {local})))"),
                5 => format!("(if {expression} (then (local.set {local} (global.get $sp))) (else (return (local.get 1))))"),
                6 => format!("(memory.fill {expression} (i32.const 0) (i32.const 64))"),
                _ => format!("(local.set {local} {expression})"),
            });
        }
        let text = format!(
            r#"(module (memory 2 2) (global $sp (export "__stack_pointer") (mut i32) (i32.const 16384))
                (data (i32.const 20000) "0123456789abcdef")
                (func $g (param i32 i32) (result i32)
                    (if (local.get 1) (then (return (call $f (local.get 1) (local.get 0))))) (i32.load (local.get 0)))
                (func $f (export "f") (param i32 i32) (result i32) (local i32 i32) {body} (local.get 2)))"#
        );
        assert!(try_all(&wat::parse_str(&text).expect("text"), &["f"]), "{text}");
    }
}

#[test]
fn deep_and_wide_functions_do_no_harm() {
    let inner = "local.get 0 local.get 1 i32.load i32.add local.set 0 ";
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let bodies = [
        nested("block ", "end ", 15_000),
        nested("loop ", "local.get 0 br_if 0 end ", 5_000),
        nested("local.get 0 if ", "end ", 10_000),
        format!("block {} end", "local.get 0 local.get 1 i32.store local.get 0 br_if 0 ".repeat(4_000)),
        format!("(local {}) block {} end", "i32 ".repeat(40_000), "local.get 0 br_if 0 ".repeat(9_000)),
    ];
    for body in bodies {
        let text = format!(
            r#"(module (memory 2 2) (global (export "__stack_pointer") (mut i32) (i32.const 16384))
                (func (export "f") (param i32 i32) (result i32) {body} local.get 0))"#
        );
        assert!(try_all(&wat::parse_str(&text).expect("text"), &["f"]), "{}", &body[..40]);
    }
}
