//! From modules to lambdas that are ready to run: compiled once, an instance for each NPU that may run them.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::StartError;
use crate::control::topology::{Concurrency, LambdaSpec, Topology};
use crate::ids::{LambdaRef, NpuId};
use crate::island::{Budget, Loaded};
use crate::lambda::{Engine, HostSide, Image, Instance, Limits};

/// A lambda, compiled.
pub(super) struct Prepared {
    spec: LambdaSpec,
    image: Image,
    /// How it is called now.
    pub(super) reference: LambdaRef,
    /// It runs on one NPU at a time.
    pub(super) pinned: bool,
    /// NPUs of its islands.
    pub(super) npus: Vec<NpuId>,
    budget: Budget,
    host: HostSide,
}

impl Prepared {
    /// It calls others, and waits for their answers.
    pub(super) fn suspends(&self) -> bool {
        self.image.shape().suspends
    }

    /// Requests of it that may be under way on one NPU.
    pub(super) fn in_flight(&self) -> u32 {
        // Several at a time have a memory each: one that is pinned because of its globals has one.
        if self.suspends() && !self.pinned { self.spec.in_flight } else { 1 }
    }

    pub(super) fn spec(&self) -> &LambdaSpec {
        &self.spec
    }

    /// A fresh one for an NPU.
    pub(super) fn load(&self) -> Result<Box<Loaded>, StartError> {
        let instance =
            || {
                Instance::new(&self.image, self.budget.fuel, &self.host).map_err(|source| {
                    StartError::Lambda { name: self.spec.name.clone(), file: self.spec.file.clone(), source }
                })
            };
        let more = (1..self.in_flight()).map(|_| instance()).collect::<Result<_, _>>()?;
        Ok(Loaded::new(self.spec.id, self.reference.generation, self.budget, instance()?, more))
    }
}

/// Compiles every lambda, on as many threads as there are CPUs for it.
pub(super) fn prepare(
    topology: &Topology,
    engine: &Engine,
    host: &HostSide,
    fuel_per_us: u32,
) -> Result<Vec<Prepared>, StartError> {
    let specs = &topology.lambdas;
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(specs.len());
    let mut compiled: Vec<(usize, Result<Image, StartError>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut compiled = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(spec) = specs.get(at) else { return compiled };
                        compiled.push((at, compile(engine, spec)));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    compiled.sort_by_key(|(at, _)| *at);
    let references = topology.references();
    compiled
        .into_iter()
        .map(|(at, image)| {
            let (spec, image) = (&specs[at], image?);
            let npus = topology.npus.iter().filter(|npu| spec.islands.contains(&npu.island));
            Ok(Prepared {
                pinned: match spec.concurrency {
                    Concurrency::Pinned => true,
                    Concurrency::Replicated => false,
                    Concurrency::Auto => image.shape().writable_globals,
                },
                npus: npus.map(|npu| npu.id).collect(),
                reference: references[at],
                budget: Budget {
                    fuel: u64::from(spec.budget_us) * u64::from(fuel_per_us),
                    // Configured fuel reaches equally far whatever time it takes.
                    time_ns: match topology.budget.fuel_per_us {
                        Some(_) => u64::MAX,
                        None => u64::from(spec.budget_us) * 1000,
                    },
                },
                host: host.of(spec.id),
                spec: spec.clone(),
                image,
            })
        })
        .collect()
}

fn compile(engine: &Engine, spec: &LambdaSpec) -> Result<Image, StartError> {
    let (name, file): (String, PathBuf) = (spec.name.clone(), spec.file.clone());
    match std::fs::read(&file) {
        Ok(wasm) => Image::compile(engine, &wasm, &spec.entry, &Limits::default())
            .map_err(|source| StartError::Lambda { name, file, source }),
        Err(source) => Err(StartError::LambdaFile { name, file, source }),
    }
}
