//! What it costs. `cargo test --release -p lnic --lib compile::tests::measure -- --ignored --nocapture`; modules that are built first:
//! `LNIC_MODULES=echo.wasm,web-server.wasm`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::*;

/// Prints median, 99th percentile and maximum.
fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    let _ = writeln!(
        std::io::stderr(),
        "{what}: p50 {:?}, p99 {:?}, max {:?} of {}",
        at(50),
        at(99),
        at(100),
        times.len()
    );
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed(), result)
}

/// A module that does the same and has other bytes: a custom section in front of it.
fn variant(wasm: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = wasm.to_vec();
    bytes.extend_from_slice(&[0, 6, 1, b'v']);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

#[test]
#[ignore = "measures"]
fn modules_through_the_server() {
    let Ok(files) = std::env::var("LNIC_MODULES") else { return };
    for file in files.split(',') {
        let wasm = std::fs::read(file).unwrap();
        let entry = crate::control::build::entries(&wasm).unwrap().remove(0);
        let state = tempfile::tempdir().unwrap();
        let (start, bench) = timed(|| Bench::new(&settings(Some(state.path()))));
        let (first, _) = timed(|| bench.compile_as(&wasm, &entry, &WISHES).unwrap());
        let variants: Vec<_> = (0..100).map(|number| variant(&wasm, number)).collect();
        print(
            &format!("{file}: compiled (server started in {start:?}, first {first:?})"),
            variants
                .iter()
                .map(|wasm| timed(|| bench.compile_as(wasm, &entry, &WISHES).unwrap()).0)
                .collect(),
        );
        let _ready = bench.compile_as(&wasm, &entry, &WISHES).unwrap();
        print(
            &format!("{file}: from memory"),
            (0..1000).map(|_| timed(|| bench.compile_as(&wasm, &entry, &WISHES).unwrap()).0).collect(),
        );
        drop((_ready, bench));
        let bench = Bench::new(&settings(Some(state.path())));
        print(
            &format!("{file}: from a file"),
            variants
                .iter()
                .map(|wasm| timed(|| bench.compile_as(wasm, &entry, &WISHES).unwrap()).0)
                .collect(),
        );
        assert_eq!(bench.statistics().misses, 0);
        let engine = Engine::new().unwrap();
        print(
            &format!("{file}: verified alone"),
            (0..100)
                .map(|_| timed(|| crate::lambda::verify(&wasm, &entry, &Limits::default()).unwrap()).0)
                .collect(),
        );
        print(
            &format!("{file}: in this process"),
            (0..50)
                .map(|_| {
                    let here = || {
                        crate::control::appliance::make(&engine, &wasm, &entry, &WISHES, &bounds()).unwrap()
                    };
                    timed(here).0
                })
                .collect(),
        );
    }
}

#[test]
#[ignore = "measures"]
fn a_thousand_artifacts_load_in_well_under_a_second() {
    let state = tempfile::tempdir().unwrap();
    let modules: Vec<_> = (0..1000).map(module).collect();
    let bench = Bench::new(&settings(Some(state.path())));
    let (time, _) = timed(|| {
        modules.iter().for_each(|wasm| drop(bench.compile(wasm).unwrap()));
    });
    let _ = writeln!(std::io::stderr(), "1,000 modules compiled, one after the other: {time:?}");
    drop(bench);
    let bench = Bench::new(&settings(Some(state.path())));
    assert_eq!(bench.statistics().files, 1000);
    let (time, ready) = timed(|| modules.iter().map(|wasm| bench.cached(wasm).unwrap()).collect::<Vec<_>>());
    let _ = writeln!(std::io::stderr(), "1,000 artifacts from files: {time:?}");
    let (again, _) = timed(|| modules.iter().map(|wasm| bench.cached(wasm).unwrap()).collect::<Vec<_>>());
    let _ = writeln!(std::io::stderr(), "1,000 artifacts from memory: {again:?}");
    assert_eq!(ready.len(), 1000);
    assert!(time < Duration::from_secs(1), "{time:?}");
}
