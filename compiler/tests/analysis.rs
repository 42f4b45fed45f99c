//! What the analysis finds out, construct by construct.
#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges that have one")]

mod analysis_support;

use analysis_support::*;
use lnic_compiler::analysis::{AnalysisError, Incomplete, Lost, MATCH_DATA_BYTES, Options, Place, analyse};
use lnic_compiler::module::Module;

/// Runs a check at every level.
fn at_all_levels(source: &str, check: impl Fn(&Found<'_>, &str)) {
    if !have_clang() {
        return;
    }
    for level in LEVELS {
        let wasm = compile(source, level);
        let found = Found::new(&wasm, &["f"]);
        found.assert_attributed(level);
        check(&found, level);
    }
}

#[test]
fn the_lambdas_of_the_tree_are_understood_wholly() {
    if !have_clang() {
        return;
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    // Without any optimisation, following the web server's values through memory is more work than is allowed; -Oz makes functions of
    // what copies from constants and what copies to the payload alike. `lnic build` optimises by -O3 or -Os.
    let optimised = &LEVELS[1..5];
    let echo = ("lambdas/echo/echo.c", "echo", &LEVELS[..]);
    for (file, entry, levels) in [echo, ("compiler/tests/web_server.c", "web_server", optimised)] {
        for level in levels {
            let wasm = compile_file(&std::path::Path::new(root).join(file), level, true);
            let found = Found::new(&wasm, &[entry]);
            found.assert_attributed(&format!("{file} {level}"));
            let analysis = &found.analysis;
            assert!(analysis.sites.len() > 10, "{file} {level}: {}", analysis.sites.len());
            assert!(!analysis.headers.read.is_empty() && !analysis.headers.written.is_empty());
            // One has no variables, the other counts.
            let names = found.module.objects().iter().map(|object| object.name.as_ref());
            let written = names.zip(&analysis.objects).filter(|(_, object)| object.written);
            let expected: &[&str] = if entry == "echo" { &[] } else { &["file_requests", "requests"] };
            let mut written: Vec<&str> = written.map(|(name, _)| name).collect();
            written.sort_unstable();
            assert_eq!(written, expected, "{file} {level}");
            // A reply does not look at TCP.
            assert!(!analysis.headers.read.intersects(144..160), "{file} {level}: {:?}", analysis.headers);
        }
    }
}

#[test]
fn header_bytes_are_exact() {
    let source = r"#include <lnic.h>
        LAMBDA(f) {
            headers->ipv4.ttl = 3;
            if (headers->udp.source_port == 53) headers->meta.egress_port = match_data->parameters[2];
            match_data->length = 0;
            return FORWARD;
        }";
    at_all_levels(source, |found, level| {
        assert_eq!(found.headers_read(), [138..140], "{level}");
        assert_eq!(found.headers_written(), [14..16, 74..75], "{level}");
        let bytes = |set: lnic_compiler::analysis::MatchDataBytes| {
            (0..88).filter(|&at| set.contains(at)).collect::<Vec<_>>()
        };
        assert_eq!(bytes(found.analysis.match_data.read), [26], "{level}");
        assert_eq!(bytes(found.analysis.match_data.written), [4, 5, 6, 7], "{level}");
        assert!(!found.analysis.entries[0].reads_payload && !found.analysis.entries[0].writes_payload);
    });
}

#[test]
fn a_variable_offset_is_all_headers_and_no_more() {
    let source = r"#include <lnic.h>
        static int table[16];
        LAMBDA(f) { return ((uint8_t *)headers)[match_data->rule] + table[3]; }";
    at_all_levels(source, |found, level| {
        assert_eq!(found.headers_read(), [0..160], "{level}");
        assert!(found.headers_written().is_empty(), "{level}");
        assert!(found.touched().1.is_empty(), "{level}");
    });
}

#[test]
fn the_payload_is_told_from_the_rest() {
    let source = r"#include <lnic.h>
        LAMBDA(f) {
            uint8_t *payload = lnic_payload(match_data);
            for (uint32_t at = 0; at < match_data->length; at++) payload[at] ^= 1;
            return FORWARD;
        }";
    at_all_levels(source, |found, level| {
        let entry = &found.analysis.entries[0];
        assert!(entry.reads_payload && entry.writes_payload, "{level}");
        assert!(found.headers_read().is_empty() && found.headers_written().is_empty(), "{level}");
        assert!(
            (MATCH_DATA_BYTES - 80..MATCH_DATA_BYTES).all(|at| !entry.match_data.read.contains(at)),
            "{level}"
        );
    });
}

#[test]
fn shared_helpers_do_not_mix_up_their_callers() {
    let source = r#"#include <lnic.h>
        uint8_t source[64], target[64], untouched[64];
        __attribute__((noinline)) static void move(uint8_t *to, const uint8_t *from, uint32_t bytes) {
            while (bytes--) *to++ = *from++;
        }
        __attribute__((noinline)) static void twice(uint8_t *to, const uint8_t *from, uint32_t bytes) {
            move(to, from, bytes); move(to, from, bytes);
        }
        __attribute__((export_name("keep"))) uint8_t *keep(void) { return untouched; }
        LAMBDA(f) {
            twice(target, source, match_data->rule & 63);
            twice(headers->ethernet.source, headers->ipv6.source, 6);
            return 0;
        }"#;
    at_all_levels(source, |found, level| {
        assert_eq!(found.touched(), (vec!["source", "target"], vec!["target"]), "{level}");
        assert!(found.analysis.objects[found.object("untouched")].entries.is_empty(), "{level}");
    });
}

#[test]
fn pointers_are_followed_through_memory() {
    let source = r"#include <lnic.h>
        struct node { struct node *next; uint32_t *counter; };
        static uint32_t first, second, third;
        static struct node tail = { 0, &second }, head = { &tail, &first };
        static uint32_t *volatile spare = &third;
        LAMBDA(f) {
            for (struct node *node = &head; node; node = node->next) (*node->counter)++;
            return (int)(*spare & 1);
        }";
    at_all_levels(source, |found, level| {
        let written = found.touched().1;
        assert!(written.contains(&"first") && written.contains(&"second"), "{level}: {written:?}");
        assert!(
            !written.contains(&"third") && !written.contains(&"head") && !written.contains(&"tail"),
            "{level}: {written:?}"
        );
        assert!(found.analysis.objects[found.object("first")].address_escapes, "{level}");
        assert!(found.analysis.objects[found.object("third")].reads >= 1.0, "{level}");
    });
}

#[test]
fn pointers_that_are_stored_at_run_time_are_followed() {
    let source = r"#include <lnic.h>
        static volatile uint32_t one[4], two[4], three[4];
        static struct { uint32_t count; volatile uint32_t *volatile where[2]; } book;
        LAMBDA_INIT { book.where[0] = one; book.where[1] = two; }
        LAMBDA(f) {
            book.where[match_data->rule & 1][match_data->lambda_id & 3] += three[1];
            return 0;
        }";
    at_all_levels(source, |found, level| {
        assert_eq!(found.touched().1, ["book", "one", "two"], "{level}");
        let book = &found.analysis.objects[found.object("book")];
        // Only init writes it.
        assert_eq!((book.writers.as_slice(), book.writes), ([1].as_slice(), 0.0), "{level}");
        assert!(found.analysis.entries[1].is_init);
    });
}

#[test]
fn functions_in_tables_are_reached_by_type() {
    let source = r"#include <lnic.h>
        static int a, b, c;
        static int set_a(int by) { return a += by; }
        static int set_b(int by) { return b -= by; }
        static void other(void) { c++; }
        static int (*const table[])(int) = { set_a, set_b };
        static void (*volatile unused)(void) = other;
        LAMBDA(f) { return (void *)unused ? table[match_data->rule & 1](3) : 0; }";
    at_all_levels(source, |found, level| {
        let written = found.touched().1;
        assert!(
            written.contains(&"a") && written.contains(&"b") && !written.contains(&"c"),
            "{level}: {written:?}"
        );
        assert!(found.analysis.entries[0].calls_through_tables, "{level}");
    });
}

#[test]
fn recursion_comes_to_an_end() {
    let source = r"#include <lnic.h>
        static int sorted[64];
        __attribute__((noinline)) static int depth(int *from, int count) {
            if (count < 2) return 1;
            int half = count / 2;
            int left = depth(from, half);
            from[0] += left;
            return left + depth(from + half, count - half) + 1;
        }
        LAMBDA(f) { return depth(sorted, 64); }";
    if !have_clang() {
        return;
    }
    for level in LEVELS {
        let wasm = compile(source, level);
        let found = Found::new(&wasm, &["f"]);
        assert!(found.touched().1.contains(&"sorted"), "{level}");
        assert!(found.analysis.entries[0].is_recursive, "{level}");
        // Without optimisation pointers are spilled into frames that nobody can tell apart.
        if level != "-O0" {
            found.assert_attributed(level);
            assert!(found.headers_written().is_empty(), "{level}");
        }
    }
}

#[test]
fn loops_weigh_more() {
    let source = r"#include <lnic.h>
        static volatile int once, often, most;
        LAMBDA(f) {
            once++;
            for (uint32_t i = 0; i < match_data->rule; i++) {
                often++;
                for (uint32_t j = 0; j < i; j++) most = often;
            }
            return 0;
        }";
    at_all_levels(source, |found, level| {
        let uses = |name| &found.analysis.objects[found.object(name)];
        assert_eq!((uses("once").reads, uses("once").writes), (1.0, 1.0), "{level}");
        assert_eq!(uses("most").reads, 0.0, "{level}");
        assert!(uses("often").writes >= 10.0 && uses("most").writes >= 100.0, "{level}");
        assert!(uses("often").writes < uses("most").writes, "{level}");
    });
}

#[test]
fn atomics_are_told_from_plain_accesses() {
    let source = r"#include <lnic.h>
        static uint32_t counter, mixed; static uint64_t wide;
        LAMBDA(f) {
            __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
            uint64_t expected = 0;
            __atomic_compare_exchange_n(&wide, &expected, 5, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
            __atomic_fetch_add(&mixed, 1, __ATOMIC_SEQ_CST);
            *(volatile uint32_t *)&mixed = 0;
            return (int)__atomic_load_n(&counter, __ATOMIC_SEQ_CST);
        }";
    at_all_levels(source, |found, level| {
        for (name, atomic) in [("counter", true), ("wide", true), ("mixed", false)] {
            let uses = &found.analysis.objects[found.object(name)];
            assert!(uses.atomic_only == atomic && uses.written, "{level} {name}: {uses:?}");
        }
    });
}

#[test]
fn the_host_reads_and_writes_what_it_is_given() {
    let source = r#"#include <lnic.h>
        static uint8_t request[32], reply[64], other[8];
        __attribute__((export_name("keep"))) uint8_t *keep(void) { return other; }
        LAMBDA(f) {
            lnic_log(headers->ethernet.source, 6);
            return lnic_call(7, request, sizeof request, reply, sizeof reply, 100);
        }"#;
    at_all_levels(source, |found, level| {
        assert_eq!(found.touched(), (vec!["reply", "request"], vec!["reply"]), "{level}");
        assert_eq!(found.headers_read(), [54..60], "{level}");
        let entry = &found.analysis.entries[0];
        assert!(entry.calls_lambdas && entry.logs && !entry.calls_through_tables, "{level}");
    });
}

#[test]
fn values_go_where_they_are_asked_to() {
    let source = r#"#include <lnic.h>
        static uint8_t greeting[32], token[64], other[8];
        __attribute__((export_name("keep"))) uint8_t *keep(void) { return other; }
        LAMBDA(f) {
            int32_t bytes = lnic_environment(headers->ethernet.source, 6, greeting, sizeof greeting);
            return lnic_secret_text("TOKEN", token, sizeof token) + bytes;
        }"#;
    at_all_levels(source, |found, level| {
        let (touched, written) = found.touched();
        assert!(["greeting", "token"].iter().all(|name| touched.contains(name)), "{level}: {touched:?}");
        assert!(!touched.contains(&"other"), "{level}: {touched:?}");
        assert_eq!(written, ["greeting", "token"], "{level}");
        assert_eq!(found.headers_read(), [54..60], "{level}");
        let entry = &found.analysis.entries[0];
        assert!(!entry.calls_lambdas && !entry.logs, "{level}");
    });
}

#[test]
fn bulk_memory_has_a_range() {
    let source = r"#include <lnic.h>
        uint8_t page[4096];
        LAMBDA(f) {
            memset(&headers->rpc, 0, sizeof headers->rpc);
            memcpy(page, match_data->parameters, PARAMETERS_CAPACITY);
            return 0;
        }";
    at_all_levels(source, |found, level| {
        assert_eq!(found.headers_written(), [16..48], "{level}");
        assert_eq!(found.touched().1, ["page"], "{level}");
        assert!((24..88).all(|at| found.analysis.match_data.read.contains(at)), "{level}");
        assert!(!found.analysis.match_data.read.contains(23), "{level}");
    });
}

#[test]
fn every_lambda_of_a_module_has_its_own() {
    let source = r"#include <lnic.h>
        static int shared; static volatile int ones, twos;
        LAMBDA(one) { ones = headers->udp.valid; return shared++; }
        LAMBDA(two) { twos = headers->tcp.valid; return shared++; }";
    if !have_clang() {
        return;
    }
    for level in LEVELS {
        let wasm = compile(source, level);
        let found = Found::new(&wasm, &["one", "two"]);
        let entries = |name| found.analysis.objects[found.object(name)].entries.clone();
        assert_eq!(
            (entries("shared"), entries("ones"), entries("twos")),
            (vec![0, 1], vec![0], vec![1]),
            "{level}"
        );
        let [one, two] = found.analysis.entries.as_slice() else { panic!("{level}") };
        assert!(one.headers.read.contains(136) && !one.headers.read.contains(144), "{level}");
        assert!(two.headers.read.contains(144) && !two.headers.read.contains(136), "{level}");
    }
}

#[test]
fn stack_frames_have_a_bound() {
    let source = r"#include <lnic.h>
        __attribute__((noinline)) static int inner(volatile int *to) { volatile int more[100]; more[*to & 63] = 1; return more[3]; }
        LAMBDA(f) { volatile int some[10]; some[match_data->rule & 7] = 1; return inner(some); }";
    at_all_levels(source, |found, level| {
        let bytes = found.analysis.entries[0].stack_bytes.expect("a bound");
        assert!((440..600).contains(&bytes), "{level}: {bytes}");
        assert!(found.sites_of(Place::Stack).count() >= 3, "{level}");
    });
}

/// A module in text, with what every lambda has.
fn text(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 2 2)
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 16384))
            (data (i32.const 20000) "0123456789abcdef")
            {body})"#
    );
    wat::parse_str(text).expect("text")
}

#[test]
fn what_cannot_be_followed_is_everything() {
    // A number as an address: no object's, as far as anybody knows.
    let wasm = text(
        r#"(func (export "f") (param i32 i32) (result i32)
            (i32.store (i32.load (local.get 0)) (i32.const 1)) (i32.const 0))"#,
    );
    let found = Found::new(&wasm, &["f"]);
    let lost: Vec<_> = found.analysis.unattributed().collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(
        (lost[0].lost, lost[0].operator.as_str(), lost[0].writes),
        (Some(Lost::Number), "I32Store", true)
    );
    assert_eq!(found.headers_written(), [0..160]);
    assert_eq!(found.headers_read(), [0..4]);
    assert!(found.analysis.objects[0].written);
}

#[test]
fn an_unknown_store_may_have_changed_what_is_loaded() {
    // The headers' address goes nobody knows where, and comes back from the stack.
    let wasm = text(
        r#"(func (export "f") (param i32 i32) (result i32)
            (i32.store (i32.sub (global.get $sp) (i32.const 16)) (local.get 1))
            (i32.store (i32.load (local.get 0)) (local.get 0))
            (i32.load offset=4 (i32.load (i32.sub (global.get $sp) (i32.const 16)))))"#,
    );
    let found = Found::new(&wasm, &["f"]);
    assert!(found.analysis.headers.read.contains(4));
    assert!(found.analysis.match_data.read.contains(4));
}

#[test]
fn what_is_outside_of_its_object_is_everything() {
    for (offset, lost) in [(156, false), (157, true), (512, true)] {
        let wasm = text(&format!(
            r#"(func (export "f") (param i32 i32) (result i32) (i32.load offset={offset} (local.get 0)))"#
        ));
        let found = Found::new(&wasm, &["f"]);
        assert_eq!(found.analysis.unattributed().count() == 1, lost, "{offset}");
        assert_eq!(found.analysis.entries[0].reads_payload, lost, "{offset}");
    }
}

#[test]
fn masks_and_narrow_loads_bound_an_offset() {
    let cases = [
        ("(i32.and (i32.load offset=16 (local.get 1)) (i32.const 15))", 16),
        ("(i32.rem_u (i32.load offset=16 (local.get 1)) (i32.const 20))", 20),
        ("(i32.shr_u (i32.load8_u (local.get 0)) (i32.const 4))", 16),
        ("(i32.mul (i32.and (i32.load8_u (local.get 0)) (i32.const 3)) (i32.const 4))", 13),
        ("(select (i32.const 7) (i32.const 9) (local.get 1))", 10),
    ];
    for (index, end) in cases {
        let wasm = text(&format!(
            r#"(func (export "f") (param i32 i32) (result i32)
                (i32.store8 (i32.add (local.get 0) {index}) (i32.const 1)) (i32.const 0))"#
        ));
        let found = Found::new(&wasm, &["f"]);
        assert_eq!(found.headers_written().last().map(|it| it.end), Some(end), "{index}");
    }
}

#[test]
fn without_relocations_an_address_may_be_any_objects() {
    if !have_clang() {
        return;
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages.c");
    for level in LEVELS {
        let wasm = compile_file(source.as_ref(), level, false);
        let found = Found::new(&wasm, &["pages_by_path"]);
        assert!(!found.module.is_movable());
        found.assert_attributed(level);
        assert!(found.analysis.objects.iter().any(|object| !object.entries.is_empty()), "{level}");
        assert!(!found.analysis.headers.read.intersects(144..160), "{level}: {:?}", found.analysis.headers);
    }
}

#[test]
fn work_is_bounded() {
    // Calls that double at every step, and loops within loops.
    let mut functions = String::from("(func $f0 (param i32 i32) (result i32) (i32.load (local.get 0)))");
    for at in 1..60 {
        let before = at - 1;
        functions.push_str(&format!(
            r#"(func $f{at} (param i32 i32) (result i32) (local i32)
                (loop $a (loop $b (loop $c
                (local.set 2 (i32.add (local.get 2) (i32.const 4)))
                (drop (call $f{before} (i32.add (local.get 0) (local.get 2)) (local.get 1)))
                (drop (call $f{before} (local.get 1) (local.get 0)))
                (br_if $a (local.get 0)) (br_if $b (local.get 0)) (br_if $c (local.get 0)))))
                (i32.const 0))"#
        ));
    }
    let wasm = text(&format!(r#"{functions} (export "f" (func $f59))"#));
    let module = Module::read(&wasm).expect("a module");
    let analysis = analyse(&module, &["f"], Options::default()).expect("an analysis");
    assert!(analysis.work <= Options::default().work + 1_000_000, "{}", analysis.work);
    let few = analyse(&module, &["f"], Options { work: 500, ..Options::default() }).expect("an analysis");
    assert_eq!(few.incomplete, Some(Incomplete::Work(500)));
    assert!(few.objects.iter().all(|object| object.written && object.entries == [0]));
    assert_eq!(few.headers.written.ranges().collect::<Vec<_>>(), [0..160]);
}

#[test]
fn long_chains_of_calls_are_followed() {
    // Far deeper than contexts go, and than our own stack would.
    let mut functions =
        String::from("(func $f0 (param i32 i32) (result i32) (i32.load offset=8 (local.get 0)))");
    for at in 1..2_000 {
        let before = at - 1;
        functions.push_str(&format!(
            "(func $f{at} (param i32 i32) (result i32) (call $f{before} (local.get 0) (local.get 1)))"
        ));
    }
    let wasm = text(&format!(r#"{functions} (export "f" (func $f1999))"#));
    let module = Module::read(&wasm).expect("a module");
    let analysis = analyse(&module, &["f"], Options::default()).expect("an analysis");
    assert!(
        analysis.incomplete.is_some() || analysis.headers.read.ranges().eq([8..12]),
        "{:?}",
        analysis.headers
    );
    assert!(analysis.headers.read.contains(8));
}

#[test]
fn entries_are_checked() {
    let wasm = text(r#"(func (export "f") (param i32) (result i32) (local.get 0))"#);
    let module = Module::read(&wasm).expect("a module");
    for name in ["f", "memory", "g"] {
        let error = analyse(&module, &[name], Options::default()).expect_err("no entry");
        assert!(matches!(error, AnalysisError::Entry { .. }) && error.to_string().contains(name), "{error}");
    }
    let wasm = wat::parse_str(r#"(module (import "env" "read" (func)) (memory 1 1))"#).expect("text");
    let module = Module::read(&wasm).expect("a module");
    let error = analyse(&module, &[], Options::default()).expect_err("an import");
    assert_eq!(error, AnalysisError::Import("env.read".into()));
}
