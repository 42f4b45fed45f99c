//! Lambdas of the simulated appliance: from sources to instances.

use std::path::PathBuf;
use std::sync::Arc;

use lnic::control::build;
use lnic::ids::{Generation, LambdaId, LambdaRef, LambdaSlot, NpuId};
use lnic::island::{Budget, Loaded};
use lnic::lambda::{Artifact, Engine, HostSide, Image, Instance, Limits, verify};
use lnic::matcher::{Egress, Rule};
use lnic::memory::{Account, Deployment, NpuPlace, RegionSettings, Regions};
use lnic_compiler::slots::{SlotArea, add_slots};
use lnic_compiler::{HeaderUse, MemoryPlan, Tier};

/// What windows of a memory are multiples of.
const PAGE_BYTES: u64 = 4096;

/// A lambda to deploy; its ID on the wire is its place, from 1.
#[derive(Clone)]
pub struct Deployed {
    pub wasm: Vec<u8>,
    pub entry: &'static str,
    pub fuel: u64,
    /// NPU time that the fuel stands for.
    pub budget_ns: u64,
    pub egress: Egress,
    pub parameters: Vec<u8>,
    /// Rules besides its λ-RPC ID.
    pub rules: Vec<fn(Rule) -> Rule>,
    pub weight: u32,
    pub queue: u32,
    /// Requests of it that may be under way, if it calls others.
    pub in_flight: u32,
    pub pinned: bool,
    /// Header bytes that it touches.
    pub header_use: HeaderUse,
    /// Slots for messages, and bytes of each.
    pub slots: (u32, u32),
}

impl Deployed {
    pub fn new(wasm: Vec<u8>, entry: &'static str) -> Self {
        Self {
            wasm,
            entry,
            fuel: 1_000_000,
            budget_ns: 1_000_000_000,
            egress: Egress::Reply,
            parameters: Vec::new(),
            rules: Vec::new(),
            weight: 1,
            queue: 256,
            in_flight: 1,
            pinned: false,
            header_use: HeaderUse::all(),
            slots: (0, 0),
        }
    }

    /// One of the lambdas of the tree, built from its C source.
    pub fn from_tree(folder: &str, entry: &'static str) -> Self {
        Self::new(built(folder), entry)
    }

    pub fn wat(text: &str) -> Self {
        Self::new(wat::parse_str(text).expect("test module"), "entry")
    }
}

/// Builds a lambda of the tree with clang, as `lnic build` does.
pub fn built(folder: &str) -> Vec<u8> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../lambdas").join(folder);
    let output = tempfile::NamedTempFile::new().expect("temporary file");
    let options = build::Options { output: Some(output.path().into()), ..build::Options::default() };
    build::build(&source, &options).expect("lambda builds");
    std::fs::read(output.path()).expect("built module")
}

/// Builds a lambda named `entry` from C.
pub fn built_from(source: &str, entry: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join(format!("{entry}.c")), source).expect("source");
    let output = folder.path().join("module.wasm");
    let options = build::Options { output: Some(output.clone()), ..build::Options::default() };
    build::build(folder.path(), &options).expect("lambda builds");
    std::fs::read(output).expect("built module")
}

/// A lambda that turns a loop so many times and answers with what it was sent.
pub fn spinner(turns: u32) -> Vec<u8> {
    built_from(
        &format!(
            "#include <lnic.h>
             LAMBDA(spin) {{
                 /* Each turn waits for the one before: neither unrolling nor where the code lies changes its pace. */
                 uint32_t state = match_data->length | 1;
                 for (uint32_t turn = 0; turn < {turns}; turn++) {{
                     state ^= state << 13;
                     state ^= state >> 17;
                     state ^= state << 5;
                 }}
                 headers->rpc.credit = (uint8_t)state;
                 return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
             }}"
        ),
        "spin",
    )
}

/// A module whose entry has this body.
pub fn module(body: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1 1)
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            (func (export "entry") (param $headers i32) (param $match i32) (result i32) {body}))"#
    )
}

/// A deployed lambda, to make more instances of.
pub struct Made {
    pub image: Image,
    pub deployment: Deployment,
    pub reference: LambdaRef,
    pub id: LambdaId,
    pub lambda: Deployed,
    host: HostSide,
    /// Where its message slots are.
    pub area: Option<SlotArea>,
}

impl Made {
    /// Requests of it that may be under way on one NPU.
    pub fn in_flight(&self) -> u32 {
        if self.image.shape().suspends && !self.lambda.pinned { self.lambda.in_flight } else { 1 }
    }

    pub fn load(&self, npu: NpuId) -> Box<Loaded> {
        let seat = self.deployment.seat(npu);
        let instance =
            || Instance::new(&self.image, self.lambda.fuel, &self.host, &seat).expect("instantiates");
        let more = (1..self.in_flight()).map(|_| instance()).collect();
        let budget = Budget { fuel: self.lambda.fuel, time_ns: self.lambda.budget_ns };
        Loaded::new(self.id, self.reference.generation, budget, instance(), more)
    }
}

/// Compiles lambdas and deploys them in memory for so many NPUs; with the rules that lead to them.
pub fn compile(lambdas: Vec<Deployed>, host: &HostSide, npus: usize) -> (Vec<Made>, Vec<Rule>) {
    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let regions = Regions::new(&RegionSettings::default(), &vec![NpuPlace::default(); npus]);
    let mut all = Vec::new();
    let mut rules = Vec::new();
    for (slot, lambda) in (0u32..).zip(lambdas) {
        let reference = LambdaRef { slot: LambdaSlot::new(slot), generation: Generation::new(1) };
        let id = LambdaId::new(slot + 1);
        let (artifact, area) = artifact(&engine, &lambda);
        let image = Image::load(&engine, &artifact.with_header_use(lambda.header_use)).expect("loads");
        let deployment = image.deploy(&regions, Account::unlimited(lambda.entry)).expect("deploys");
        let parameters = lnic::matcher::Parameters::new(&lambda.parameters).expect("parameters");
        let base = Rule { egress: lambda.egress, parameters, ..Rule::any(reference) };
        rules.push(Rule { rpc_lambda: Some(id), ..base.clone() });
        rules.extend(lambda.rules.iter().map(|rule| rule(base.clone())));
        all.push(Made { image, deployment, reference, id, lambda, host: host.of(id), area });
    }
    (all, rules)
}

/// A lambda's code; with slots behind its memory, if it has some.
fn artifact(engine: &Engine, lambda: &Deployed) -> (Artifact, Option<SlotArea>) {
    let limits = Limits::default();
    let (count, slot_bytes) = lambda.slots;
    if count == 0 {
        return (Artifact::compile(engine, &lambda.wasm, lambda.entry, &limits).expect("compiles"), None);
    }
    let shape = verify(&lambda.wasm, lambda.entry, &limits).expect("a lambda");
    let plan = MemoryPlan::dense(Tier::Emem, shape.memory_bytes.next_multiple_of(PAGE_BYTES));
    let (wasm, plan, area) = add_slots(&lambda.wasm, &plan, count, slot_bytes).expect("room for slots");
    let artifact = Artifact::compile_with(engine, &wasm, lambda.entry, &limits, &Arc::new(plan));
    (artifact.expect("compiles"), Some(area))
}
