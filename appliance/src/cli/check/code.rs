//! What the compiler makes of each lambda: verified, analysed and placed as at the start, without machine code.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lnic_compiler::placement::Runs;

use crate::control::appliance::{self, Bounds, Wishes};
use crate::control::topology::{LambdaSpec, Topology};
use crate::ids::NpuId;
use crate::lambda::Limits;
use crate::memory::MemoryPlan;

/// A lambda as it would be deployed.
#[derive(Debug)]
pub(super) struct Code {
    /// What the memory of an instance is made of.
    pub(super) plan: MemoryPlan,
    /// Who may run it at once.
    pub(super) runs: Runs,
    /// Why.
    pub(super) because: String,
    /// It calls others, and waits for their answers.
    suspends: bool,
}

/// A lambda's code; or why it cannot be deployed; or nothing, if its file cannot be read, which is said elsewhere.
pub(super) type Known = Option<Result<Arc<Code>, Arc<str>>>;

/// A module, an entry and what is wished for it, all of which decide what comes of it.
type Key<'a> = (usize, &'a str, Wishes);

/// Of every lambda, in order. Files of the same bytes are one module, and lambdas of one module that wish for the same are
/// compiled once.
pub(super) fn all(topology: &Topology) -> Vec<Known> {
    let (modules, of_lambda) = read(&topology.lambdas);
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    let mut keys: Vec<Key<'_>> = Vec::new();
    let chosen: Vec<Option<usize>> = topology
        .lambdas
        .iter()
        .zip(of_lambda)
        .map(|(spec, module)| {
            let key = (module?, spec.entry.as_str(), Wishes::of(spec, topology));
            Some(*places.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            }))
        })
        .collect();
    let bounds = Bounds::of(topology);
    let made = in_parallel(&keys, |(module, entry, wishes)| place(&modules[*module], entry, wishes, &bounds));
    chosen.into_iter().map(|at| made.get(at?).cloned()).collect()
}

/// The modules, each once, and whose is which.
fn read(lambdas: &[LambdaSpec]) -> (Vec<Vec<u8>>, Vec<Option<usize>>) {
    let mut by_file: HashMap<&Path, Option<usize>> = HashMap::new();
    let mut by_bytes: HashMap<Vec<u8>, usize> = HashMap::new();
    let limit = Limits::default().module_bytes as u64;
    let of_lambda = lambdas
        .iter()
        .map(|spec| {
            *by_file.entry(&spec.file).or_insert_with(|| {
                // One that is too large is judged by as much as shows that.
                let mut wasm = Vec::new();
                File::open(&spec.file).ok()?.take(limit + 1).read_to_end(&mut wasm).ok()?;
                let next = by_bytes.len();
                Some(*by_bytes.entry(wasm).or_insert(next))
            })
        })
        .collect();
    let mut modules = vec![Vec::new(); by_bytes.len()];
    by_bytes.into_iter().for_each(|(wasm, at)| modules[at] = wasm);
    (modules, of_lambda)
}

fn place(wasm: &[u8], entry: &str, wishes: &Wishes, bounds: &Bounds) -> Result<Arc<Code>, Arc<str>> {
    let (shape, compiled) =
        appliance::place(wasm, entry, wishes, bounds).map_err(|error| error.to_string())?;
    Ok(Arc::new(Code {
        plan: compiled.plan,
        runs: compiled.placement.runs,
        because: compiled.placement.because.to_string(),
        suspends: shape.suspends,
    }))
}

/// Does the same with all of them, on as many threads as there are CPUs for it.
fn in_parallel<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(all.len());
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let worker = || {
            let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            turns.map_while(|at| Some((at, work(all.get(at)?)))).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

impl Code {
    /// Instances on each NPU that has any.
    fn each(&self, spec: &LambdaSpec) -> u64 {
        // Several requests under way have an instance each; one whose variables nobody else sees has one.
        if self.suspends && self.runs == Runs::Anywhere { u64::from(spec.in_flight) } else { 1 }
    }

    /// NPUs that have instances of lambda number `at`, and how many each.
    pub(super) fn instances(&self, topology: &Topology, spec: &LambdaSpec, at: usize) -> (Vec<NpuId>, u64) {
        let mut npus: Vec<NpuId> =
            topology.npus.iter().filter(|npu| spec.islands.contains(&npu.island)).map(|npu| npu.id).collect();
        if self.runs == Runs::OnOneNpu {
            npus = home(topology, &npus, at).into_iter().collect();
        }
        (npus, self.each(spec))
    }
}

/// Where a lambda that runs on one NPU at a time is made: such lambdas are dealt out in turn.
fn home(topology: &Topology, npus: &[NpuId], at: usize) -> Option<NpuId> {
    let turn = |count: usize| at.checked_rem(count);
    if topology.dispatchers.is_empty() {
        let mut npus = npus.to_vec();
        npus.sort_unstable_by_key(|npu| topology.npus[npu.index()].lcore);
        return npus.get(turn(npus.len())?).copied();
    }
    let mut dispatchers: Vec<_> = topology
        .dispatchers
        .iter()
        .filter(|dispatcher| npus.iter().any(|npu| dispatcher.npus.contains(npu)))
        .collect();
    dispatchers.sort_unstable_by_key(|dispatcher| dispatcher.lcore);
    let own = dispatchers.get(turn(dispatchers.len())?)?;
    npus.iter().copied().find(|npu| own.npus.contains(npu))
}
