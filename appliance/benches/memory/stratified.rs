//! A lambda with a placed memory against the same one as the linker made it, all of it in EMEM.
//!
//! Its 64 hot objects of 16 bytes, which each run reads and writes, lie among large ones that runs hardly ever touch: as linked each
//! has a cache line and a page to itself, together they have 16 lines. *dense* has 256 KiB, one slice, where placement gathers
//! what is hot; *windows* has 1 MiB, and gets a window for each tier.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use lnic::control::build::{self, BuildError};
use lnic::control::topology::Memory;
use lnic::ids::NpuId;
use lnic::lambda::{Engine, HostSide, Image, Instance, Limits, Run, verify};
use lnic::memory::{Account, Hugepages, NpuPlace, RegionSettings, Regions};
use lnic_compiler::HeaderUse;
use lnic_compiler::analysis;
use lnic_compiler::compile::{Compiled, Source, compile};
use lnic_compiler::module::Object;
use lnic_compiler::placement::{Concurrency, CostModel, LayoutWish, Request};

use crate::Bench;

/// Hot objects, and as many cold ones among them.
const OBJECTS: usize = 64;
const LAMBDAS: usize = 1_000;
/// Bytes of a memory that is dense unless it is asked for.
const DENSE_BYTES: u64 = 1 << 20;

/// Where its objects are.
#[derive(Clone, Copy)]
enum Way {
    /// Where the linker put them, in one slice of EMEM.
    Linked,
    /// By the model, as it is deployed.
    Stratified,
    /// In EMEM, hot ones first: Local has no room but for stack and I/O area, the others none.
    Emem,
}

/// False if there is no compiler for lambdas.
pub fn run(bench: &mut Bench) -> bool {
    for (name, cold_bytes) in [("dense", 4 << 10), ("windows", 16 << 10)] {
        let wasm = match built(cold_bytes) {
            Ok(wasm) => wasm,
            Err(error @ BuildError::ToolMissing { .. }) => {
                println!("stratified and all/… skipped: {error}");
                return false;
            }
            Err(error) => panic!("the lambda does not build: {error}"),
        };
        let ways = [("linked", Way::Linked), ("stratified", Way::Stratified), ("all_emem", Way::Emem)];
        for count in [1, LAMBDAS] {
            let rounds = match (count, bench.quick) {
                (1, true) => 200,
                (1, false) => 2_000,
                (_, true) => 5,
                (_, false) => 41,
            };
            let mut sets: Vec<_> = ways
                .iter()
                .map(|(_, way)| (instances(&bench.engine, &wasm, *way, count), Vec::new()))
                .collect();
            let repeats = (LAMBDAS / count).min(100);
            for round in 0..=rounds {
                for (instances, values) in &mut sets {
                    let start = Instant::now();
                    for _ in 0..repeats {
                        for instance in &mut *instances {
                            assert!(matches!(instance.run(0), Run::Verdict(_)));
                        }
                    }
                    // The first round warms up.
                    if round > 0 {
                        values.push(start.elapsed().as_nanos() as f64 / (repeats * count) as f64);
                    }
                }
            }
            let heat = if count == 1 { "hot".to_owned() } else { format!("{count}_lambdas") };
            for ((way, _), (_, values)) in ways.iter().zip(&sets) {
                bench.push(&format!("{name}/{way}_{heat}"), "ns/run", values);
            }
        }
    }
    true
}

fn built(cold_bytes: usize) -> Result<Vec<u8>, BuildError> {
    let (mut objects, mut hot, mut cold) = (String::new(), String::new(), String::new());
    for at in 0..OBJECTS {
        // With an initialiser, or the compiler would order them by use.
        let _ = writeln!(objects, "uint32_t hot_{at}[4] = {{0}};\nuint8_t cold_{at}[{cold_bytes}] = {{0}};");
        let _ = writeln!(hot, "sum += hot_{at}[sum & 3]++;");
        let _ = writeln!(cold, "cold_{at}[match_data->rule & {}]++;", cold_bytes - 1);
    }
    let source = format!(
        "#include <lnic.h>\n{objects}
         LAMBDA(entry) {{
             uint32_t sum = match_data->length;
             {hot}
             if (match_data->rule != 0) {{\n{cold}\n}}
             headers->rpc.credit = (uint8_t)sum;
             return DROP;
         }}"
    );
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("entry.c"), source).expect("source");
    let output = folder.path().join("entry.wasm");
    build::build(
        folder.path(),
        &build::Options { output: Some(output.clone()), ..build::Options::default() },
    )?;
    Ok(std::fs::read(output).expect("built module"))
}

/// What a deployment does with it on one NPU.
fn placed(wasm: &[u8], quota_bytes: [u64; 4], layout: LayoutWish) -> Compiled {
    let limits = Limits::default();
    let shape = verify(wasm, "entry", &limits).expect("a lambda");
    let source = Source {
        wasm,
        entry: "entry",
        memory_bytes: shape.memory_bytes,
        may_have_variables: shape.writable_globals,
        limit_bytes: limits.memory_bytes,
        slots: None,
    };
    let request = Request {
        concurrency: Concurrency::Auto,
        layout,
        npus: 1,
        islands: 1,
        in_flight: 1,
        quota_bytes,
        dense_bytes: DENSE_BYTES,
        own_bytes: 0,
        model: CostModel::default(),
    };
    let compiled = compile(&source, &request, analysis::Options::default()).expect("it can be placed");
    assert!(compiled.unmoved.is_none(), "its objects move");
    let linked_span = span(compiled.objects.iter().map(|object| object.address).zip(&compiled.objects));
    let span = span(compiled.addresses.iter().copied().zip(&compiled.objects));
    assert!(
        linked_span > 100 * span,
        "scattered by the linker, and together as placed: {linked_span}, {span}"
    );
    compiled
}

/// Bytes from the first hot object to the last.
fn span<'a>(objects: impl Iterator<Item = (u32, &'a Object)>) -> u32 {
    let hot = objects.filter(|(_, object)| object.name.starts_with("hot_")).map(|(address, _)| address);
    let (first, last) = hot.fold((u32::MAX, 0), |(first, last), at| (first.min(at), last.max(at)));
    last.saturating_sub(first)
}

fn image(engine: &Engine, wasm: &[u8], way: Way) -> Image {
    let limits = Limits::default();
    let objects = Memory::default().tiers.objects.0;
    let compiled = match way {
        Way::Linked => return Image::compile(engine, wasm, "entry", &limits).expect("compiles"),
        Way::Stratified => placed(wasm, objects, LayoutWish::Auto),
        Way::Emem => {
            let stratified = placed(wasm, objects, LayoutWish::Auto);
            let own = stratified.plan.bytes()
                - stratified.objects.iter().map(|object| u64::from(object.bytes)).sum::<u64>();
            let layout = if stratified.plan.is_dense() { LayoutWish::Dense } else { LayoutWish::Windows };
            placed(wasm, [own, 0, 0, objects[3]], layout)
        }
    };
    let plan = Arc::new(compiled.plan);
    Image::compile_with(engine, &compiled.wasm, "entry", &limits, &plan, HeaderUse::all()).expect("compiles")
}

/// Lambdas of the same code with memories of their own.
fn instances(engine: &Engine, wasm: &[u8], way: Way, count: usize) -> Vec<Instance> {
    let image = image(engine, wasm, way);
    // Reserved hugepages would be taken by the first few only.
    let settings = RegionSettings { hugepages: Hugepages::Off, ..RegionSettings::default() };
    let regions = Regions::new(&settings, &[NpuPlace::default()]);
    let instance = |_| {
        let deployment = image.deploy(&regions, Account::unlimited("stratified")).expect("plan");
        let seat = deployment.seat(NpuId::new(0));
        Instance::new(&image, 1_000_000, &HostSide::detached(), &seat).expect("memory for it")
    };
    (0..count).map(instance).collect()
}
