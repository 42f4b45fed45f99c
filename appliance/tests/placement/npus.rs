//! Two NPUs, each a thread, and the lambdas that are deployed on them.

use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;

use lnic::control::appliance::{self, Bounds, Ready, Wishes};
use lnic::control::inspect::ObjectInspection;
use lnic::control::topology::{Concurrency, LayoutWish, Memory};
use lnic::ids::{IslandId, NpuId};
use lnic::lambda::{Engine, HostSide, Instance, Limits, PrepareError, Run};
use lnic::memory::{Account, Deployment, NpuPlace, RegionSettings, RegionUsage, Regions};
use lnic_compiler::placement::Runs;

use crate::support::lab::built_from;

/// Runs of each NPU.
pub(crate) const RUNS: i32 = 100_000;
/// Fuel of a run, and of `init`.
const FUEL: u64 = 20_000;

/// How the two NPUs are grouped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Islands {
    /// Both are of one island.
    One,
    /// Each is an island.
    Two,
}

pub(crate) const NPUS: [NpuId; 2] = [NpuId::new(0), NpuId::new(1)];

/// A lambda on two NPUs.
pub(crate) struct OnTwo {
    pub(crate) engine: Engine,
    pub(crate) ready: Ready,
    regions: Regions,
    deployment: Deployment,
}

/// What a configuration that says nothing wishes for.
pub(crate) fn wishes(islands: Islands) -> Wishes {
    Wishes {
        concurrency: Concurrency::Auto,
        layout: LayoutWish::Auto,
        npus: 2,
        islands: match islands {
            Islands::One => 1,
            Islands::Two => 2,
        },
        in_flight: 1,
        slots: None,
    }
}

/// The way of a deployment, from the module on.
pub(crate) fn compile(
    engine: &Engine,
    wasm: &[u8],
    entry: &str,
    wishes: &Wishes,
) -> Result<Ready, PrepareError> {
    let bounds = Bounds { tier_bytes: Memory::default().tiers.objects, limits: Limits::default() };
    appliance::ready(engine, wasm, entry, wishes, &bounds, &mut HashMap::new())
}

/// Builds the C source of a lambda `it`, which has lnic.h already, and deploys it.
pub(crate) fn deploy(source: &str, islands: Islands, adjust: impl Fn(&mut Wishes)) -> OnTwo {
    let wasm = built_from(&format!("#include <lnic.h>\n{source}"), "it");
    deploy_module(&wasm, "it", islands, adjust)
}

/// Deploys a module.
pub(crate) fn deploy_module(
    wasm: &[u8],
    entry: &str,
    islands: Islands,
    adjust: impl Fn(&mut Wishes),
) -> OnTwo {
    let mut wishes = wishes(islands);
    adjust(&mut wishes);
    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let ready = compile(&engine, wasm, entry, &wishes).expect("compiles");
    let place = |island| NpuPlace { island: IslandId::new(island), numa_node: None };
    let places = match islands {
        Islands::One => [place(0), place(0)],
        Islands::Two => [place(0), place(1)],
    };
    let regions = Regions::new(&RegionSettings::default(), &places);
    let deployment = ready.image.deploy(&regions, Account::unlimited("it")).expect("deploys");
    OnTwo { engine, ready, regions, deployment }
}

impl OnTwo {
    /// A fresh instance on an NPU.
    pub(crate) fn instance(&self, npu: NpuId) -> Instance {
        Instance::new(&self.ready.image, FUEL, &HostSide::detached(), &self.deployment.seat(npu))
            .expect("instantiates")
    }

    pub(crate) fn runs(&self) -> Runs {
        self.ready.runs
    }

    pub(crate) fn layout(&self) -> &str {
        &self.ready.inspection.layout
    }

    pub(crate) fn object(&self, name: &str) -> &ObjectInspection {
        let mut objects = self.ready.inspection.objects.iter();
        objects.find(|object| object.name == name).expect("an object of this name")
    }

    /// Where an object is, and who sees the same.
    pub(crate) fn place(&self, name: &str) -> (&str, &str) {
        let object = self.object(name);
        (&object.tier, &object.shared_by)
    }

    /// What the regions hold.
    pub(crate) fn usage(&self) -> Vec<RegionUsage> {
        self.regions.usage()
    }

    /// Runs an instance on each of these NPUs at once, [`RUNS`] times, each on a thread of its own; what they returned.
    pub(crate) fn run_on(&self, npus: &[NpuId]) -> Vec<Vec<i32>> {
        let barrier = Barrier::new(npus.len());
        thread::scope(|scope| {
            let threads: Vec<_> = npus
                .iter()
                .map(|&npu| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        self.engine.prepare_thread();
                        let mut instance = self.instance(npu);
                        barrier.wait();
                        (0..RUNS).map(|_| run(&mut instance)).collect::<Vec<i32>>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }
}

/// One run that has to return.
pub(crate) fn run(instance: &mut Instance) -> i32 {
    match instance.run(0) {
        Run::Verdict(value) => value,
        other => panic!("{other:?}"),
    }
}
