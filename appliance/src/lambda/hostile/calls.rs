//! Attacks through the host's functions, and on suspended lambdas.

use super::*;
use crate::ids::LambdaId;

const IMPORTS: &str = r#"
    (import "lnic" "call" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "lnic" "log" (func $log (param i32 i32)))"#;

/// A lambda that imports both functions.
pub(super) fn calling(body: &str, extra: &str) -> String {
    module(body, extra, MEMORY).replacen("(module", &format!("(module {IMPORTS}"), 1)
}

/// `$call` of lambda 7 with these bytes of request and reply at 1024 and 2048.
pub(super) fn call(request_bytes: i64, reply_capacity: i64) -> String {
    format!(
        "(call $call (i32.const 7) (i32.const 1024) (i32.const {request_bytes}) (i32.const 2048) (i32.const {reply_capacity}) (i32.const 500))"
    )
}

fn with_host(wat: &str, fuel: u64, host: &HostSide) -> Instance {
    let engine = Engine::new().unwrap();
    engine.prepare_thread();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    Instance::new(&image, fuel, host, &image.detached_seat().unwrap()).unwrap()
}

fn status(number: i32) -> Run {
    Run::Verdict(-number)
}

#[test]
fn a_call_suspends_and_its_answer_resumes() {
    let body = format!(
        "(i32.store (i32.const 1024) (i32.const 0x64636261)) (drop {}) (i32.load (i32.const 2048))",
        call(4, 64)
    );
    let mut instance = instance(&calling(&body, ""), 100_000);
    for round in 0..100u32 {
        assert_eq!((instance.is_suspended(), instance.pending()), (false, None));
        assert_eq!(instance.run(0), Run::Suspended);
        let expected =
            PendingCall { target: Target::Lambda(LambdaId::new(7)), timeout_us: 500, request: b"abcd" };
        assert_eq!((instance.is_suspended(), instance.pending()), (true, Some(expected)));
        assert!((2_000..2_100).contains(&instance.fuel_used()), "{}", instance.fuel_used());
        assert_eq!(instance.resume(Answer::Reply(&round.to_le_bytes())), Run::Verdict(round.cast_signed()));
        assert!((2_000..2_100).contains(&instance.fuel_used()), "{}", instance.fuel_used());
    }
}

#[test]
fn the_io_area_of_a_suspended_lambda_is_out_of_reach() {
    let mut instance = instance(&calling(&call(0, 0), ""), 100_000);
    assert!(instance.io().is_some());
    assert_eq!(instance.run(0), Run::Suspended);
    assert!(instance.io().is_none());
    // Neither does another run start over the one that waits.
    assert_eq!(instance.run(0), Run::Suspended);
    assert!(instance.pending().is_some());
    assert_eq!(instance.resume(Answer::Reply(b"")), Run::Verdict(0));
    assert!(instance.io().is_some());
    assert_eq!(instance.resume(Answer::Reply(b"")), Run::Failed(Failure::Trap));
    assert_eq!(instance.run(0), Run::Suspended);
}

#[test]
fn answers_are_bytes_or_a_negative_status() {
    let mut instance = instance(&calling(&call(9, 8), ""), 100_000);
    let longest = [1u8; abi::PAYLOAD_CAPACITY + 1];
    for (answer, expected) in [
        (Answer::Reply(b""), Run::Verdict(0)),
        (Answer::Reply(b"12345678"), Run::Verdict(8)),
        (Answer::Reply(b"123456789"), status(11)),
        (Answer::Reply(&longest), status(11)),
        (Answer::Failed(4), status(4)),
        (Answer::Failed(32), status(32)),
        (Answer::Failed(255), status(255)),
        // OK is no failure.
        (Answer::Failed(0), status(2)),
    ] {
        assert_eq!(instance.run(0), Run::Suspended);
        assert_eq!(instance.resume(answer), expected);
    }
    // The reply that did not fit has left no byte behind its buffer.
    let after = "(i32.load8_u (i32.const 2056))";
    let mut instance = super::instance(&calling(&format!("(drop {}) {after}", call(9, 8)), ""), 100_000);
    assert_eq!(instance.run(0), Run::Suspended);
    assert_eq!(instance.resume(Answer::Reply(b"123456789")), Run::Verdict(0));
}

#[test]
fn calls_that_make_no_sense_are_refused_without_suspending() {
    let arguments = |bytes: i32, capacity: i32, timeout_us: i32| {
        format!(
            "(call $call (i32.const 7) (i32.const 0) (i32.const {bytes}) (i32.const 0) (i32.const {capacity}) (i32.const {timeout_us}))"
        )
    };
    for (bytes, capacity, timeout_us, expected) in [
        (9216, 9216, 1, Run::Suspended),
        (9217, 0, 1, status(3)),
        (0, 9217, 1, status(3)),
        (0, 0, 0, status(3)),
        (0, 0, -1, status(3)),
        (0, 0, i32::MIN, status(3)),
    ] {
        let mut instance = instance(&calling(&arguments(bytes, capacity, timeout_us), ""), 100_000);
        assert_eq!(instance.run(0), expected, "{bytes} {capacity} {timeout_us}");
    }
}

#[test]
fn ranges_outside_the_memory_trap() {
    for (address, bytes) in
        [(65_536, 1), (65_535, 2), (-1, 1), (-1, -1), (1, -1), (0, 65_537), (i32::MIN, i32::MIN)]
    {
        for body in [
            format!(
                "(call $call (i32.const 7) (i32.const {address}) (i32.const {bytes}) (i32.const 0) (i32.const 0) (i32.const 1))"
            ),
            format!(
                "(call $call (i32.const 7) (i32.const 0) (i32.const 0) (i32.const {address}) (i32.const {bytes}) (i32.const 1))"
            ),
            format!("(call $log (i32.const {address}) (i32.const {bytes})) i32.const 0"),
        ] {
            let mut instance = instance(&calling(&body, ""), 100_000);
            assert_eq!(instance.run(0), Run::Failed(Failure::Trap), "{body}");
            assert_eq!(instance.run(0), Run::Failed(Failure::Trap), "{body}");
        }
    }
    // The end of the memory is inside.
    let body =
        "(call $log (i32.const 65536) (i32.const 0)) (call $log (i32.const 65535) (i32.const 1)) i32.const 0";
    assert_eq!(instance(&calling(body, ""), 100_000).run(0), Run::Verdict(0));
}

#[test]
fn calls_in_a_loop_end_with_the_budget_of_one_invocation() {
    let mut instance = instance(
        &calling(&format!("(loop $again (drop {}) (br $again)) i32.const 0", call(8, 8)), ""),
        100_000,
    );
    for _ in 0..3 {
        let mut run = instance.run(0);
        let mut calls = 0;
        while run == Run::Suspended {
            calls += 1;
            run = instance.resume(Answer::Reply(b"again"));
        }
        assert_eq!(run, Run::Failed(Failure::Budget));
        assert!((40..=50).contains(&calls), "{calls} calls");
        assert!(instance.fuel_used() >= 98_000, "{}", instance.fuel_used());
    }
}

#[test]
fn a_new_budget_is_that_of_the_next_invocation() {
    let mut instance = instance(&calling(&format!("(drop {}) {}", call(8, 8), call(8, 8)), ""), 100_000);
    assert_eq!(instance.run(0), Run::Suspended);
    instance.set_budget(3_000);
    assert_eq!(instance.budget(), 3_000);
    assert_eq!(instance.resume(Answer::Reply(b"")), Run::Suspended);
    assert_eq!(instance.resume(Answer::Reply(b"")), Run::Verdict(0));
    assert!(instance.fuel_used() > 4_000);
    assert_eq!(instance.run(0), Run::Suspended);
    assert_eq!(instance.resume(Answer::Reply(b"")), Run::Failed(Failure::Budget));
    assert_eq!(instance.fuel_used(), 3_000);
}

#[test]
fn a_trap_after_a_resume_leaves_the_stack_as_it_was() {
    // Takes 1 KiB of a 4 KiB stack, waits, and traps if it was told to. The stack pointer itself is what it returns else.
    let body = format!(
        "(local $bytes i32)
         (global.set $sp (i32.sub (global.get $sp) (i32.const 1024)))
         (local.set $bytes {})
         (if (local.get $bytes) (then unreachable))
         (global.set $sp (i32.add (global.get $sp) (i32.const 1024)))
         (global.get $sp)",
        call(0, 64)
    );
    let mut instance = instance(&calling(&body, ""), 100_000);
    for _ in 0..10 {
        assert_eq!(instance.run(0), Run::Suspended);
        assert_eq!(instance.resume(Answer::Reply(b"trap")), Run::Failed(Failure::Trap));
        assert_eq!(instance.run(0), Run::Suspended);
        assert_eq!(instance.resume(Answer::Reply(b"")), Run::Verdict(4096));
    }
}

#[test]
fn deep_recursion_on_a_fiber_traps() {
    let deeper = "(func $deeper (result i32) (i32.add (call $deeper) (i32.const 1)))";
    let wat = calling(&format!("(drop {}) (call $deeper)", call(0, 0)), deeper);
    let mut instance = instance(&wat, u64::MAX / 2);
    for _ in 0..3 {
        assert_eq!(instance.run(0), Run::Suspended);
        assert_eq!(instance.resume(Answer::Failed(14)), Run::Failed(Failure::Trap));
    }
    // At its deepest it calls the host, whose frames have their own part of the stack.
    let wat = calling(
        "(call $deeper)",
        &format!(
            "(func $deeper (result i32) (drop {}) (i32.add (call $deeper) (i32.const 1)))",
            call(9216, 9216)
        ),
    );
    let mut instance = super::instance(&wat, u64::MAX / 2);
    let mut run = instance.run(0);
    let mut depth = 0;
    while run == Run::Suspended {
        depth += 1;
        run = instance.resume(Answer::Reply(&[1; 9216]));
    }
    assert_eq!(run, Run::Failed(Failure::Trap));
    assert!(depth > 100, "{depth}");
}

/// Mappings of this process that are as long as a fiber's stack.
fn fiber_stacks() -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    maps.lines().filter(|line| line.starts_with("Size:") && line.contains(" 128 kB")).count()
}

#[test]
fn a_suspended_instance_may_be_dropped_and_moved() {
    let engine = Engine::new().unwrap();
    let wasm = wat::parse_str(calling(&call(8, 8), "")).unwrap();
    let image = Image::compile(&engine, &wasm, "entry", &Limits::default()).unwrap();
    let before = fiber_stacks();
    let mut waiting: Vec<_> = (0..200)
        .map(|_| {
            let mut instance = made(&image, 100_000).unwrap();
            assert_eq!(instance.run(0), Run::Suspended);
            instance
        })
        .collect();
    // What is suspended here may go on elsewhere, even when nothing else holds on to its code.
    let mut last = waiting.pop().unwrap();
    drop(image);
    let moved = std::thread::spawn(move || last.resume(Answer::Reply(b"12345678")));
    assert_eq!(moved.join().unwrap(), Run::Verdict(8));
    assert!(fiber_stacks() >= before + 150, "{} stacks before, {} now", before, fiber_stacks());
    drop(waiting);
    // Other tests have a few stacks at a time.
    assert!(fiber_stacks() <= before + 50, "{} stacks before, {} now", before, fiber_stacks());
}

#[test]
fn init_cannot_wait() {
    let init = format!("(func (export \"init\") (i32.store (i32.const 512) {}))", call(8, 8));
    let mut instance = instance(&calling("(i32.load (i32.const 512))", &init), 100_000);
    assert_eq!(instance.run(0), status(14));
}

#[test]
fn only_what_calls_has_a_fiber() {
    let wasm = |wat: &str| judge(wat).unwrap().suspends;
    assert!(wasm(&calling("i32.const 0", "")));
    assert!(!wasm(&lambda("i32.const 0")));
    let log = module("i32.const 0", "", MEMORY).replacen(
        "(module",
        r#"(module (import "lnic" "log" (func (param i32 i32)))"#,
        1,
    );
    assert!(!wasm(&log));
}

#[test]
fn imports_with_another_signature_are_refused() {
    for (import, expected) in [
        (r#""lnic" "log" (func)"#, "imports \"lnic\".\"log\", which is not a function (i32, i32) -> ()"),
        (r#""lnic" "log" (global i32)"#, "imports \"lnic\".\"log\", which is not"),
        (r#""lnic" "call" (func (param i32 i32) (result i32))"#, "imports \"lnic\".\"call\", which is not"),
        (
            r#""lnic" "request" (func (param i32 i32) (result i32))"#,
            "imports \"lnic\".\"request\", which is not",
        ),
        (r#""lnic" "service" (func (param i32 i32))"#, "imports \"lnic\".\"service\", which is not"),
        (
            r#""lnic" "random" (func (result i32))"#,
            "imports \"lnic\".\"random\", which is not a function () -> i64",
        ),
        (
            r#""lnic" "exit" (func)"#,
            "imports \"lnic\".\"exit\": a lambda may import \"lnic\".\"call\", \"lnic\".\"log\", \"lnic\".\"environment\", \"lnic\".\"secret\", \"lnic\".\"service\", \"lnic\".\"request\", \"lnic\".\"random\" and nothing else",
        ),
        (r#""env" "log" (func (param i32 i32))"#, "imports \"env\".\"log\""),
    ] {
        let wat = lambda("i32.const 0").replacen("(module", &format!("(module (import {import})"), 1);
        let error = judge(&wat).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?}");
    }
    let log = r#"(import "lnic" "log" (func (param i32 i32)))"#;
    let wat = lambda("i32.const 0").replacen("(module", &format!("(module {}", log.repeat(8)), 1);
    assert_eq!(judge(&wat), Err(VerifyError::Limit { what: "imports", value: 8, limit: 7 }));
}

#[test]
fn a_log_flood_is_limited_by_rate_and_by_budget() {
    let host = HostSide::new(1_000);
    let flood = "(loop $again (call $log (i32.const 0) (i32.const 300)) (br $again)) i32.const 0";
    let fill = "(data (i32.const 0) \"";
    let wat = calling(flood, &format!("{fill}{}\")", "x".repeat(300)));
    let mut instance = with_host(&wat, 100_000, &host.of(LambdaId::new(42)));
    let lines = || std::iter::from_fn(|| host.next_line()).collect::<Vec<_>>();
    assert_eq!(instance.run(0), Run::Failed(Failure::Budget));
    let first = lines();
    assert_eq!(first.len(), 16);
    assert!(first.iter().all(|line| line.lambda == 42 && line.text() == [b'x'; abi::LOG_CAPACITY]));
    // 300 units a line, and what the loop takes.
    let calls = host.lines_limited() + 16;
    assert!((310..=333).contains(&calls), "{calls}");
    // A second earns 16 more, an hour no more than that.
    for (time_ns, expected) in [(1_000_000_000 / 16, 1), (1_062_500_000, 16), (3_600_000_000_000, 16), (0, 0)]
    {
        assert_eq!(instance.run(time_ns), Run::Failed(Failure::Budget));
        assert_eq!(lines().len(), expected, "at {time_ns} ns");
    }
    assert_eq!(host.lines_lost(), 0);
}

#[test]
fn a_full_log_loses_lines_and_counts_them() {
    let host = HostSide::new(3);
    let twice = "(call $log (i32.const 0) (i32.const 0)) (call $log (i32.const 0) (i32.const 1)) i32.const 0";
    let (mut one, mut two) =
        (with_host(&calling(twice, ""), 10_000, &host), with_host(&calling(twice, ""), 10_000, &host));
    assert_eq!((one.run(0), two.run(0)), (Run::Verdict(0), Run::Verdict(0)));
    assert_eq!(host.lines_lost(), 1);
    assert_eq!(host.next_line().unwrap().text(), b"");
    assert_eq!(host.next_line().unwrap().text(), b"\0");
}

#[test]
fn artifacts_load_as_often_as_one_likes_and_outlive_their_image() {
    let engine = Engine::new().unwrap();
    let wasm = wat::parse_str(calling(&call(8, 8), "")).unwrap();
    let image = Image::compile(&engine, &wasm, "entry", &Limits::default()).unwrap();
    let artifact = image.artifact();
    assert_eq!(artifact.shape(), image.shape());
    drop(image);
    let mut instances: Vec<_> =
        (0..50).map(|_| made(&Image::load(&engine, &artifact).unwrap(), 10_000).unwrap()).collect();
    for instance in &mut instances {
        assert_eq!(instance.run(0), Run::Suspended);
    }
    // An instance keeps its code while others give theirs back.
    instances.truncate(7);
    for instance in &mut instances {
        assert_eq!(instance.resume(Answer::Failed(4)), status(4));
    }
    // Traps find their way also in code that was loaded where other code has been.
    let trapping = Artifact::compile(
        &engine,
        &wat::parse_str(lambda("unreachable")).unwrap(),
        "entry",
        &Limits::default(),
    );
    let trapping = Image::load(&engine, &trapping.unwrap()).unwrap();
    let mut trapping = made(&trapping, 10_000).unwrap();
    assert_eq!(trapping.run(0), Run::Failed(Failure::Trap));
}
