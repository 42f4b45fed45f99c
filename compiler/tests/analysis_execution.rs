//! Soundness: every access that a running program makes is one that the analysis said it may make.
#![allow(clippy::print_stderr, reason = "says how much was followed")]

mod analysis_support;
#[path = "analysis_support/program.rs"]
mod program;
#[path = "analysis_support/trace.rs"]
mod trace;

use std::collections::HashMap;

use analysis_support::*;
use lnic_compiler::analysis::{Place, Site, Target};
use program::program;
use trace::{RECORD_BYTES, traced};
use wasmtime::{Config, Engine, Instance, Module, Store};

/// Bytes of stack, as linked.
const STACK_BYTES: i64 = 16_384;

/// Where things are in memory.
struct Layout {
    headers: i64,
    match_data: i64,
    payload: i64,
}

/// May this site touch these bytes?
fn allowed(found: &Found<'_>, layout: &Layout, site: &Site, at: i64, end: i64) -> bool {
    let within = |start: i64, size: i64, target: &Target| {
        let bytes = target.bytes.clone().unwrap_or(0..size);
        start <= at && end <= start + size && start + bytes.start <= at && end <= start + bytes.end
    };
    site.targets.iter().any(|target| match target.place {
        Place::Object(object) => {
            let object = &found.module.objects()[object];
            within(object.address.into(), object.bytes.into(), target)
        }
        Place::AnyObject => found
            .module
            .objects()
            .iter()
            .any(|object| i64::from(object.address) <= at && end <= i64::from(object.range().end)),
        Place::Headers => within(layout.headers, 160, target),
        Place::MatchData => within(layout.match_data, 88, target),
        Place::Payload => within(layout.payload, 9_216, target),
        Place::Stack => {
            let bytes = target.bytes.clone().unwrap_or(-STACK_BYTES..0);
            STACK_BYTES + bytes.start <= at && end <= STACK_BYTES + bytes.end
        }
    })
}

/// Runs a module with random packets and checks each access. Gives how many there were.
fn check(engine: &Engine, wasm: &[u8], seed: u64, what: &str) -> usize {
    let found = Found::new(wasm, &["f"]);
    let sites: HashMap<usize, &Site> =
        found.analysis.sites.iter().map(|site| (site.position, site)).collect();
    let module = Module::new(engine, traced(wasm)).expect("a module");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
    let memory = instance.get_memory(&mut store, "memory").expect("memory");
    let log = instance.get_memory(&mut store, "log").expect("the log");
    let log_end = instance.get_global(&mut store, "log_end").expect("its end");
    let heap = instance.get_global(&mut store, "__heap_base").expect("the heap").get(&mut store).unwrap_i32();
    let entry = instance.get_typed_func::<(i32, i32), i32>(&mut store, "f").expect("the entry");
    let headers = (heap + 63) & !63;
    let layout = Layout {
        headers: headers.into(),
        match_data: i64::from(headers) + 256,
        payload: i64::from(headers) + 512,
    };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut accesses = 0;
    for _ in 0..12 {
        let data = &mut memory.data_mut(&mut store)[headers as usize..headers as usize + 512 + 9_216];
        random.fill(&mut data[..512 + 1_024]);
        data[256..260].copy_from_slice(&(headers + 512).to_le_bytes());
        data[260..268].copy_from_slice(&[0, 1, 0, 0, 0, 4, 0, 0]);
        log_end.set(&mut store, 0.into()).expect("set");
        entry.call(&mut store, (headers, headers + 256)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let bytes = log_end.get(&mut store).unwrap_i32() as usize;
        for record in log.data(&store)[..bytes].chunks_exact(RECORD_BYTES) {
            let word =
                |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
            let (position, at, bytes) = (word(0) as usize, i64::from(word(4)), i64::from(word(8)));
            if bytes == 0 {
                continue;
            }
            let site = sites.get(&position).unwrap_or_else(|| panic!("{what}: no site at {position}"));
            if !allowed(&found, &layout, site, at, at + bytes) {
                let object = found.module.object_at(at as u32).map(|it| &found.module.objects()[it]);
                panic!(
                    "{what}: {bytes} bytes at {at} ({object:?}; headers {}, stack {})\n{site:#?}",
                    at - layout.headers,
                    at - STACK_BYTES
                );
            }
            for byte in
                (at..at + bytes).map(|byte| byte - layout.headers).filter(|byte| (0..160).contains(byte))
            {
                let listed = found.analysis.headers;
                assert!(
                    !site.reads || site.writes || listed.read.contains(byte as usize),
                    "{what}: byte {byte}"
                );
                assert!(
                    !site.writes || site.reads || listed.written.contains(byte as usize),
                    "{what}: byte {byte}"
                );
            }
            accesses += 1;
        }
    }
    accesses
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_multi_memory(true);
    Engine::new(&config).expect("an engine")
}

/// Programs to try; the environment may ask for more.
fn programs() -> u64 {
    std::env::var("ANALYSIS_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

#[test]
fn programs_do_what_was_found_out() {
    if !have_clang() {
        return;
    }
    let engine = engine();
    let (mut lost, mut sites, mut accesses) =
        (HashMap::<&str, usize>::new(), HashMap::<&str, usize>::new(), 0);
    let first: u64 = std::env::var("ANALYSIS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + programs() {
        let source = program(seed);
        for level in LEVELS {
            let wasm = compile(&source, level);
            accesses += check(&engine, &wasm, seed, &format!("seed {seed} {level}"));
            let found = Found::new(&wasm, &["f"]);
            *lost.entry(level).or_default() += found.analysis.unattributed().count();
            *sites.entry(level).or_default() += found.analysis.sites.len();
            let untouched = &found.analysis.objects[found.object("untouched")];
            assert!(
                untouched.entries.is_empty() || found.analysis.unattributed().count() > 0,
                "seed {seed} {level}"
            );
        }
    }
    eprintln!("{accesses} accesses; sites {sites:?}, of them not followed {lost:?}");
    assert!(accesses > 10_000, "{accesses}");
    for level in LEVELS {
        assert!(lost[level] * 50 <= sites[level], "{level}: {} of {}", lost[level], sites[level]);
    }
}

#[test]
fn a_wrong_claim_is_noticed() {
    if !have_clang() {
        return;
    }
    let source = "#include <lnic.h>\nint data[4];\nLAMBDA(f) { data[match_data->rule & 3] = headers->udp.valid; return 0; }";
    let wasm = compile(source, "-O2");
    let found = Found::new(&wasm, &["f"]);
    let layout = Layout { headers: 40_000, match_data: 40_256, payload: 40_512 };
    let store = found.analysis.sites.iter().find(|site| site.writes).expect("a store");
    let data = i64::from(found.module.objects()[found.object("data")].address);
    assert!(allowed(&found, &layout, store, data + 12, data + 16));
    assert!(
        !allowed(&found, &layout, store, data + 14, data + 18)
            && !allowed(&found, &layout, store, 40_136, 40_137)
    );
    assert!(check(&engine(), &wasm, 1, "one store") > 0);
}
