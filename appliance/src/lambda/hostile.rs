//! Modules that try to break out, hang or kill the process. Each case names what it tries.

use lnic_abi as abi;
use lnic_compiler::HeaderUse;

use super::*;

mod calls;
mod isolation;
mod layouts;
mod outside;
mod sharing;
mod values;

/// A module with the lambda exports, one page of memory with room for the I/O area, and `body` as its entry.
fn lambda(body: &str) -> String {
    module(body, "", "(memory (export \"memory\") 1 1)")
}

fn module(body: &str, extra: &str, memory: &str) -> String {
    format!(
        r#"(module
            {memory}
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            {extra}
            (func (export "entry") (param $headers i32) (param $match i32) (result i32)
                {body}))"#
    )
}

fn judge(wat: &str) -> Result<Shape, VerifyError> {
    verify(&wat::parse_str(wat).unwrap(), "entry", &Limits::default())
}

fn instance(wat: &str, fuel: u64) -> Instance {
    let engine = Engine::new().unwrap();
    engine.prepare_thread();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    made(&image, fuel).unwrap()
}

fn made(image: &Image, fuel: u64) -> Result<Instance, PrepareError> {
    Instance::new(image, fuel, &HostSide::detached(), &image.detached_seat().unwrap())
}

#[test]
fn a_plain_lambda_runs_and_its_fuel_is_counted() {
    let mut instance = instance(&lambda("i32.const -1"), 1000);
    assert_eq!(instance.run(0), Run::Verdict(abi::DROP));
    assert!((1..10).contains(&instance.fuel_used()), "{}", instance.fuel_used());
}

#[test]
fn an_endless_loop_ends_with_its_budget() {
    let mut instance = instance(&lambda("(loop $again (br $again)) i32.const 0"), 100_000);
    for _ in 0..3 {
        assert_eq!(instance.run(0), Run::Failed(Failure::Budget));
        assert!(instance.fuel_used() >= 99_000);
    }
}

#[test]
fn endless_recursion_traps() {
    let wat = module(
        "(call $deeper)",
        "(func $deeper (result i32) (i32.add (call $deeper) (i32.const 1)))",
        MEMORY,
    );
    let mut instance = instance(&wat, u64::MAX / 2);
    assert_eq!(instance.run(0), Run::Failed(Failure::Trap));
    assert_eq!(instance.run(0), Run::Failed(Failure::Trap));
}

const MEMORY: &str = "(memory (export \"memory\") 1 1)";

#[test]
fn accesses_out_of_bounds_trap_at_every_distance() {
    for address in [65_536u32, 65_533, 131_072, 1 << 30, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] {
        for body in [
            format!("(i32.load (i32.const {}))", address.cast_signed()),
            format!("(i32.store (i32.const {}) (i32.const 7)) i32.const 0", address.cast_signed()),
            format!("(i32.load offset={address} (i32.const 65535))"),
        ] {
            assert_eq!(instance(&lambda(&body), 1000).run(0), Run::Failed(Failure::Trap), "{body}");
        }
    }
}

#[test]
fn bulk_memory_out_of_bounds_traps_and_never_faults_in_the_host() {
    for body in [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65537)) i32.const 0",
        "(memory.fill (i32.const 65535) (i32.const 1) (i32.const 2)) i32.const 0",
        "(memory.fill (i32.const -1) (i32.const 1) (i32.const -1)) i32.const 0",
        "(memory.copy (i32.const 65000) (i32.const 0) (i32.const 4096)) i32.const 0",
        "(memory.copy (i32.const 0) (i32.const -4096) (i32.const 4096)) i32.const 0",
    ] {
        // Enough fuel for a unit a byte of 4 GiB.
        assert_eq!(instance(&lambda(body), 1 << 40).run(0), Run::Failed(Failure::Trap), "{body}");
    }
}

#[test]
fn bulk_memory_is_charged_by_the_byte() {
    let body = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) i32.const 0";
    assert_eq!(instance(&lambda(body), 60_000).run(0), Run::Failed(Failure::Budget));
    let mut rich = instance(&lambda(body), 100_000);
    assert_eq!(rich.run(0), Run::Verdict(0));
    assert!(rich.fuel_used() >= 65_536);
}

#[test]
fn overwriting_its_own_io_area_and_stack_harms_only_itself() {
    let body = "(memory.fill (i32.const 0) (i32.const 255) (i32.const 65536)) i32.const 0";
    let mut instance = instance(&lambda(body), 100_000);
    assert_eq!(instance.run(0), Run::Verdict(0));
    assert_eq!(instance.io().unwrap().match_data.length, u32::MAX);
    assert_eq!(instance.io().unwrap().headers.ethernet.valid, 255);
}

#[test]
fn the_shadow_stack_does_not_leak_through_traps_and_globals_persist() {
    // Takes 1 KiB of stack, counts its runs at address 0, and traps without giving the stack back.
    let body = "(global.set $sp (i32.sub (global.get $sp) (i32.const 1024)))
                (i32.store (global.get $sp) (i32.const 1))
                (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                unreachable";
    let mut trapping = instance(&lambda(body), 1000);
    for _ in 0..100 {
        assert_eq!(trapping.run(0), Run::Failed(Failure::Trap));
    }
    let counting =
        "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (i32.load (i32.const 0))";
    let mut counting = instance(&lambda(counting), 1000);
    assert_eq!(
        (counting.run(0), counting.run(0), counting.run(0)),
        (Run::Verdict(1), Run::Verdict(2), Run::Verdict(3))
    );
}

#[test]
fn memory_and_tables_do_not_grow() {
    let memory = lambda("(memory.grow (i32.const 1))");
    assert_eq!(judge(&memory), Err(VerifyError::Grows("memory.grow")));
    let table = module("(table.grow 0 (ref.null func) (i32.const 1))", "(table 1 funcref)", MEMORY);
    assert_eq!(judge(&table), Err(VerifyError::Grows("table.grow")));
}

#[test]
fn calls_into_the_host_are_charged_what_they_cost() {
    for body in [
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))",
        "(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))",
        "(drop (memory.atomic.notify (i32.const 0) (i32.const 0)))",
        "(table.copy (i32.const 0) (i32.const 0) (i32.const 0))",
    ] {
        let wat = module(&format!("{body} i32.const 0"), "(table 1 funcref)", MEMORY);
        let mut instance = instance(&wat, 100_000);
        assert_eq!(instance.run(0), Run::Verdict(0), "{body}");
        assert!(instance.fuel_used() >= 200, "{body}: {}", instance.fuel_used());
    }
}

#[test]
fn straight_code_between_two_looks_at_the_fuel_is_short() {
    let body = format!("{} i32.const 0", "(i32.store (i32.const 0) (i32.const 1)) ".repeat(10_000));
    let error = judge(&lambda(&body)).unwrap_err();
    assert!(error.to_string().contains("bytes of a function"), "{error}");
}

#[test]
fn vector_code_compiles() {
    let body = "(i32x4.extract_lane 0 (i32x4.add (v128.const i32x4 1 2 3 4) (v128.load (i32.const 0))))";
    assert_eq!(instance(&lambda(body), 1000).run(0), Run::Verdict(1));
}

#[test]
fn waiting_on_an_atomic_traps_instead_of_blocking_the_lcore() {
    let body = "(memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))";
    assert_eq!(instance(&lambda(body), 1000).run(0), Run::Failed(Failure::Trap));
}

#[test]
fn division_by_zero_and_bad_indirect_calls_trap() {
    assert_eq!(
        instance(&lambda("(i32.div_u (i32.const 1) (i32.const 0))"), 1000).run(0),
        Run::Failed(Failure::Trap)
    );
    let body = "(call_indirect (type $t) (i32.const 0))";
    let wat = module(body, "(type $t (func (result i32))) (table 1 1 funcref)", MEMORY);
    assert_eq!(instance(&wat, 1000).run(0), Run::Failed(Failure::Trap));
}

#[test]
fn an_init_that_never_ends_is_refused() {
    let wat = module("i32.const 0", "(func (export \"init\") (loop $again (br $again)))", MEMORY);
    let engine = Engine::new().unwrap();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    assert!(matches!(made(&image, 10_000), Err(PrepareError::Init(_))));
}

#[test]
fn a_memory_without_room_for_the_io_area_is_refused() {
    let wat = lambda("i32.const 0").replace("(i32.const 8192)", "(i32.const 60000)");
    let engine = Engine::new().unwrap();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    let error = made(&image, 1000).err().unwrap();
    assert!(matches!(error, PrepareError::NoRoom { heap_base: 60_000, .. }), "{error}");
    // A heap base that would wrap round is no way in.
    let wat = lambda("i32.const 0").replace("(i32.const 8192)", "(i32.const -64)");
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    assert!(matches!(made(&image, 1000), Err(PrepareError::NoRoom { .. })));
}

#[test]
fn data_that_does_not_fit_is_an_error_not_a_crash() {
    let wat = module("i32.const 0", "(data (i32.const 65530) \"0123456789\")", MEMORY);
    let engine = Engine::new().unwrap();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    assert!(matches!(made(&image, 1000), Err(PrepareError::Instantiate(_))));
}

#[test]
fn the_verifier_names_what_is_wrong() {
    assert_eq!(
        judge(&lambda("i32.const 0")),
        Ok(Shape {
            memory_bytes: 65_536,
            has_init: false,
            suspends: false,
            writable_globals: true,
            header_use: HeaderUse::all(),
        })
    );
    let cases = [
        (lambda("i32.const 0").replace("\"entry\"", "\"other\""), "does not export \"entry\""),
        (lambda("i32.const 0").replace("\"lnic_abi_1\"", "\"lnic_abi_9\""), "built for ABI \"lnic_abi_9\""),
        (lambda("i32.const 0").replace("\"lnic_abi_1\"", "\"x\""), "does not export \"lnic_abi_1\""),
        (
            lambda("i32.const 0").replace("\"__stack_pointer\"", "\"x\""),
            "does not export \"__stack_pointer\"",
        ),
        (
            lambda("i32.const 0").replace("(mut i32) (i32.const 4096)", "i32 (i32.const 4096)"),
            "not a mutable i32",
        ),
        (lambda("i32.const 0").replace("\"__heap_base\"", "\"x\""), "does not export \"__heap_base\""),
        (lambda("i32.const 0").replace("\"memory\"", "\"x\""), "does not export \"memory\""),
        (
            module("i32.const 0", "", "(memory (export \"memory\") 1)"),
            "minimum 1 and maximum None pages differ",
        ),
        (module("i32.const 0", "", "(memory (export \"memory\") 1 2)"), "differ"),
        (module("i32.const 0", "", "(memory (export \"memory\") 1 1 shared)"), "unshared memory"),
        (module("i32.const 0", "", "(memory (export \"memory\") 2000 2000)"), "over the limit of 67108864"),
        (
            module("i32.const 0", "(table 20000 funcref)", MEMORY),
            "table elements: 20000, over the limit of 10000",
        ),
        (module("i32.const 0", "(func $boot) (start $boot)", MEMORY), "start function"),
        (module("i32.const 0", "(func (export \"init\") (param i32))", MEMORY), "export \"init\" is not"),
        (
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#.to_owned(),
            "imports \"wasi_snapshot_preview1\".\"fd_write\"",
        ),
        (r#"(module (import "env" "memory" (memory 1)))"#.to_owned(), "imports \"env\".\"memory\""),
        ("(module)".to_owned(), "exactly one 32-bit unshared memory"),
    ];
    for (wat, expected) in cases {
        let error = judge(&wat).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    }
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    let good = wat::parse_str(lambda("i32.const 0")).unwrap();
    let whole = verify(&good, "entry", &Limits::default()).unwrap();
    for length in 0..good.len() {
        // The name section at the end may be missing; anything else may not.
        if let Ok(shape) = verify(&good[..length], "entry", &Limits::default()) {
            assert!(shape == whole && length > 100, "{length}");
        }
    }
    let tiny = Limits { module_bytes: 10, ..Limits::default() };
    assert!(matches!(verify(&good, "entry", &tiny), Err(VerifyError::Limit { .. })));
}

proptest::proptest! {
    #[test]
    fn a_module_with_flipped_bytes_is_refused_or_runs_harmlessly(
        flips in proptest::collection::vec((0usize..400, proptest::prelude::any::<u8>()), 1..4)
    ) {
        let mut wasm = wat::parse_str(lambda("(i32.load (i32.const 0))")).unwrap();
        for (at, value) in flips {
            let at = at % wasm.len();
            wasm[at] = value;
        }
        let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
        if verify(&wasm, "entry", &limits).is_ok() {
            let engine = Engine::new().unwrap();
            if let Ok(image) = Image::compile(&engine, &wasm, "entry", &limits)
                && let Ok(mut instance) = made(&image, 10_000)
            {
                let _ = instance.run(0);
            }
        }
    }
}
