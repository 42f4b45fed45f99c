//! `lnic.environment` and `lnic.secret`: what a lambda can find out by them, and what it cannot.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::*;

const IMPORTS: &str = r#"
    (import "lnic" "environment" (func $environment (param i32 i32 i32 i32) (result i32)))
    (import "lnic" "secret" (func $secret (param i32 i32 i32 i32) (result i32)))"#;

/// Names lie at 1024, 16 bytes each; values go to 2048.
const NAMES: &str = r#"(data (i32.const 1024) "GREETING........EMPTY...........LONG............TOKEN...........")
    (data (i32.const 1280) "\ff\fe")"#;

fn asking(body: &str, extra: &str) -> String {
    module(body, &format!("{NAMES}{extra}"), MEMORY).replacen("(module", &format!("(module {IMPORTS}"), 1)
}

fn values() -> Environment {
    let environment = [("GREETING", b"hello".to_vec()), ("EMPTY", Vec::new()), ("LONG", vec![7; 4096])];
    let secrets = [("TOKEN", Zeroizing::new(b"\0hunter2".to_vec()))];
    Environment::new(
        environment.map(|(name, value)| (name.to_owned(), value)).into(),
        secrets.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
    )
}

fn with_values(wat: &str, fuel: u64) -> Result<Instance, PrepareError> {
    let engine = Engine::new().unwrap();
    engine.prepare_thread();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    let host = HostSide::detached().with_environment(values());
    Instance::new(&image, fuel, &host, &image.detached_seat().unwrap())
}

/// What a call of `function` returns.
fn ask(function: &str, name: u32, name_bytes: i64, out: i64, out_bytes: i64) -> Run {
    let body = format!(
        "(call ${function} (i32.const {name}) (i32.const {name_bytes}) (i32.const {out}) (i32.const {out_bytes}))"
    );
    with_values(&asking(&body, ""), 1_000_000).unwrap().run(0)
}

#[test]
fn values_are_found_by_their_whole_name_in_their_own_place() {
    for (function, name, name_bytes, expected) in [
        ("environment", 1024, 8, 5),
        ("environment", 1040, 5, 0),
        ("environment", 1056, 4, 4096),
        ("secret", 1072, 5, 8),
        // Part of a name, more than it, nothing, no text.
        ("environment", 1024, 7, -1),
        ("environment", 1024, 9, -1),
        ("environment", 1024, 0, -1),
        ("environment", 1280, 2, -1),
        // A secret is no variable, and the other way round.
        ("environment", 1072, 5, -1),
        ("secret", 1024, 8, -1),
        // The longest name, and one that is longer.
        ("environment", 1024, 255, -1),
        ("environment", 1024, 256, -1),
        ("environment", 0, 65_536, -1),
    ] {
        let found = ask(function, name, name_bytes, 2048, 64);
        assert_eq!(found, Run::Verdict(expected), "{function} {name} {name_bytes}");
    }
}

#[test]
fn what_fits_is_copied_and_not_a_byte_more() {
    for (out_bytes, expected) in [(0, 0), (4, 0x6C6C_6568), (5, 0x6C6C_6568), (64, 0x6C6C_6568)] {
        let body = format!(
            "(drop (call $environment (i32.const 1024) (i32.const 8) (i32.const 2048) (i32.const {out_bytes})))
             (i32.load (i32.const 2048))"
        );
        assert_eq!(with_values(&asking(&body, ""), 10_000).unwrap().run(0), Run::Verdict(expected));
    }
    // Four of five bytes: the fifth place is as it was.
    let behind = "(i32.store (i32.const 2048) (i32.const -1)) (i32.store (i32.const 2052) (i32.const -1))
        (drop (call $environment (i32.const 1024) (i32.const 8) (i32.const 2048) (i32.const 4)))
        (i32.load (i32.const 2052))";
    assert_eq!(with_values(&asking(behind, ""), 10_000).unwrap().run(0), Run::Verdict(-1));
    // The end of the memory is inside, and a value may lie over its own name.
    assert_eq!(ask("environment", 1024, 8, 65_531, 5), Run::Verdict(5));
    assert_eq!(ask("environment", 1024, 8, 65_536, 0), Run::Verdict(5));
    assert_eq!(ask("environment", 1024, 8, 1024, 8), Run::Verdict(5));
}

#[test]
fn ranges_outside_the_memory_trap() {
    let outside = [(65_536, 1), (65_535, 2), (-1, 1), (-1, -1), (1, -1), (0, 65_537), (65_537, 0)];
    for function in ["environment", "secret"] {
        for (address, bytes) in outside {
            let out = ask(function, 1024, 8, address, bytes);
            assert_eq!(out, Run::Failed(Failure::Trap), "{function} out {address} {bytes}");
            let name = ask(function, u32::try_from(address & 0xFFFF_FFFF).unwrap(), bytes, 2048, 64);
            assert_eq!(name, Run::Failed(Failure::Trap), "{function} name {address} {bytes}");
        }
    }
}

#[test]
fn bytes_are_charged_and_a_flood_ends_with_the_budget() {
    let fuel = |name: u32, name_bytes: u32, out_bytes: u32| {
        let body = format!(
            "(call $environment (i32.const {name}) (i32.const {name_bytes}) (i32.const 2048) (i32.const {out_bytes}))"
        );
        let mut instance = with_values(&asking(&body, ""), 100_000).unwrap();
        assert!(matches!(instance.run(0), Run::Verdict(_)));
        instance.fuel_used()
    };
    let none = fuel(1024, 1, 4096);
    assert!((500..600).contains(&none), "{none}");
    assert_eq!(fuel(1056, 4, 4096) - none, 4096 + 3);
    assert_eq!(fuel(1056, 4, 100) - none, 100 + 3);
    assert_eq!(fuel(0, 60_000, 4096) - none, abi::NAME_CAPACITY as u64 - 1);
    let flood = "(loop $again (drop (call $environment (i32.const 1056) (i32.const 4) (i32.const 2048) (i32.const 4096))) (br $again)) i32.const 0";
    let mut instance = with_values(&asking(flood, ""), 100_000).unwrap();
    assert_eq!(instance.run(0), Run::Failed(Failure::Budget));
    assert!(instance.fuel_used() >= 95_000);
}

#[test]
fn init_may_ask_too_and_a_host_without_values_has_none() {
    let init = r#"(func (export "init") (i32.store (i32.const 512)
        (call $secret (i32.const 1072) (i32.const 5) (i32.const 2048) (i32.const 64))))"#;
    let wat = asking("(i32.load (i32.const 512))", init);
    assert_eq!(with_values(&wat, 10_000).unwrap().run(0), Run::Verdict(8));
    assert_eq!(instance(&wat, 10_000).run(0), Run::Verdict(-1));
    // Out of budget in init is an error of the deployment.
    assert!(matches!(with_values(&wat, 100), Err(PrepareError::Init(_))));
}

#[test]
fn values_do_not_show_in_what_is_printed() {
    let text = format!("{:?}", values());
    assert!(text.contains("TOKEN") && text.contains("GREETING"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("hello"), "{text}");
}
