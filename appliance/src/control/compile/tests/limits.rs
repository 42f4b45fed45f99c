//! What takes too much, or kills its compiler, costs an error that says so; never the server. (A module that takes too much memory is in
//! `tests/compile.rs`: a thread of this program has memory put by, which the limit comes on top of.)

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

#[test]
fn a_job_that_takes_too_much_is_ended_and_the_limit_is_named() {
    let bench = Bench::new(&limited(None, 64, 1));
    for (probe, expected) in [
        (Probe::Allocate, "more than 64 MiB of memory: see compile_mib"),
        (Probe::Spin, "more than 1 s of CPU time: see compile_s"),
        (Probe::Park, "longer than 9 s"),
    ] {
        let error = bench.probe(probe).unwrap_err();
        assert!(error.to_string().contains(expected), "{probe:?}: {error}");
        assert_eq!(error.is_the_modules_fault(), probe != Probe::Park);
        bench.works(probe as u32);
    }
    assert_eq!(bench.statistics().restarts, 0);
}

#[test]
fn a_job_that_dies_says_how() {
    let bench = Bench::new(&settings(None));
    for (probe, expected) in [
        (Probe::Panic, "as it was asked to"),
        (Probe::Recurse, "overflowed its stack"),
        (Probe::Abort, "SIGABRT"),
    ] {
        let error = bench.probe(probe).unwrap_err();
        assert!(matches!(error, CompileError::Crashed(_)), "{probe:?}: {error}");
        assert!(error.to_string().contains(expected), "{probe:?}: {error}");
        bench.works(probe as u32);
    }
    assert_eq!(bench.statistics().restarts, 0);
}

/// Functions as long as they may be, of the operators that keep a compiler busy.
fn heavy(functions: usize) -> Vec<u8> {
    let mut body = String::from("(local $x i64) (local.set $x (i64.extend_i32_u (local.get 0)))");
    for at in 0..2_000 {
        body.push_str(&format!(
            "(if (i64.eqz (i64.and (local.get $x) (i64.const {at})))
                (then (local.set $x (i64.mul (i64.rotl (local.get $x) (i64.const 7)) (i64.load offset={} (i32.const 0))))))",
            at % 1000
        ));
    }
    body.push_str("(i32.wrap_i64 (local.get $x))");
    let more: String =
        (0..functions).map(|_| format!("(func (param i32 i32) (result i32) {body})")).collect();
    wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 1 1)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            (func (export "one") (param i32 i32) (result i32) i32.const 1)
            {more})"#
    ))
    .unwrap()
}

#[test]
fn a_module_that_eats_time_in_the_compiler_is_refused() {
    let bench = Bench::new(&limited(None, 1024, 1));
    let error = bench.compile(&heavy(60)).err().unwrap();
    assert!(matches!(error, CompileError::CpuTime { seconds: 1 }), "{error}");
    assert_eq!(bench.statistics().failures, 1);
    bench.works(1);
}

#[test]
fn what_is_no_lambda_is_refused_with_the_verifiers_words() {
    let bench = Bench::new(&settings(None));
    let error = bench.compile(b"no module").err().unwrap();
    assert!(error.to_string().contains("not a WebAssembly module"), "{error}");
    let error = bench.compile_as(&module(1), "three", &WISHES).err().unwrap();
    assert!(error.to_string().contains("does not export \"three\""), "{error}");
    assert!(error.is_the_modules_fault());
    let too_long = vec![0; Limits::default().module_bytes + 1];
    assert!(bench.compile(&too_long).is_err());
    let other = Digest::of(b"another");
    let bounds = bounds();
    let compile = bench.compiler.compile(&other, b"one", "one", &WISHES, &bounds);
    let error = bench.runtime.block_on(compile).err().unwrap();
    assert!(matches!(error, CompileError::OtherModule(_)), "{error}");
    bench.works(1);
}

/// Children of a process.
fn running(server: u32) -> Vec<i32> {
    std::fs::read_dir(format!("/proc/{server}/task"))
        .unwrap()
        .flat_map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

/// Children of a process, once there is one.
pub(super) fn children(server: u32) -> Vec<i32> {
    let started = Instant::now();
    loop {
        let found = running(server);
        if !found.is_empty() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no job has begun");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a process has ended with who made it.
fn ends(process: u32) {
    let started = Instant::now();
    while std::fs::exists(format!("/proc/{process}/task/{process}/children")).unwrap() {
        assert!(started.elapsed() < Duration::from_secs(10), "it outlives who made it");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_child_that_is_killed_is_an_error_and_the_next_job_works() {
    let bench = Bench::new(&settings(None));
    bench.works(1);
    let server = bench.server();
    let killer = std::thread::spawn(move || {
        children(server).into_iter().for_each(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap());
    });
    let error = bench.probe(Probe::Park).unwrap_err();
    killer.join().unwrap();
    assert!(matches!(&error, CompileError::Crashed(how) if how.contains("SIGKILL")), "{error}");
    bench.works(2);
    assert_eq!(bench.statistics().restarts, 0);
}

#[test]
fn a_job_that_nobody_waits_for_is_ended() {
    let bench = Bench::new(&settings(None));
    bench.works(1);
    let server = bench.server();
    let mut request = Request::new("one", &WISHES, &bounds());
    request.probe = Some(Probe::Park);
    let given_up = async {
        tokio::select! {
            done = bench.compiler.0.link.run(&request, &[]) => panic!("it parks: {:?}", done.err()),
            begun = tokio::task::spawn_blocking(move || children(server)) => begun.unwrap(),
        }
    };
    assert_eq!(bench.runtime.block_on(given_up).len(), 1);
    let started = Instant::now();
    while !running(server).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "the job goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.works(2);
    assert_eq!(bench.statistics().restarts, 0);
}

#[test]
fn a_server_that_is_killed_is_started_again() {
    let bench = Bench::new(&settings(None));
    for round in 1..=3 {
        bench.works(round);
        let server = bench.server();
        kill(Pid::from_raw(server.cast_signed()), Signal::SIGKILL).unwrap();
        bench.works(10 + round);
        // Nobody needed to start a program, which a confined appliance cannot do.
        assert_eq!(bench.statistics().restarts, 0);
    }
    // Killed during a job: its child goes with it, and the job is done by the next server.
    let server = bench.server();
    let killer = std::thread::spawn(move || {
        let job = children(server)[0];
        kill(Pid::from_raw(server.cast_signed()), Signal::SIGKILL).unwrap();
        ends(job.cast_unsigned());
    });
    bench.compile(&heavy(10)).unwrap();
    killer.join().unwrap();
}

#[test]
fn a_program_that_is_killed_is_started_again_as_long_as_programs_can_be() {
    let bench = Bench::new(&settings(None));
    bench.works(1);
    let (keeper, server) = (bench.compiler.0.link.process_id(), bench.server());
    kill(Pid::from_raw(keeper.cast_signed()), Signal::SIGKILL).unwrap();
    bench.works(2);
    assert_eq!((bench.statistics().restarts, bench.compiler.problem()), (1, None));
    ends(server);
}

#[test]
fn a_server_that_cannot_be_started_is_an_error() {
    let engine = Engine::new().unwrap();
    let absent = CompileSettings { program: "/nonexistent/lnic".into(), ..settings(None) };
    let error = Compiler::start(&absent, &engine).err().unwrap();
    assert!(matches!(error, CompileError::Server(_)), "{error}");
    let ends_at_once = CompileSettings { program: "/bin/true".into(), ..settings(None) };
    let bench = Bench::new(&ends_at_once);
    let error = bench.compile(&module(1)).err().unwrap();
    assert!(matches!(error, CompileError::Gone(_) | CompileError::Server(_)), "{error}");
    assert!(!error.is_the_modules_fault());
}

#[test]
fn the_server_ends_with_the_last_compiler() {
    let bench = Bench::new(&settings(None));
    bench.works(1);
    let server = bench.server();
    assert!(std::fs::exists(format!("/proc/{server}")).unwrap());
    drop(bench);
    ends(server);
}
