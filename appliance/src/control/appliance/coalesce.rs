//! Lambda coalescing: deployments of the same code share it. It is compiled once and loaded once, however many there are;
//! each has instances, and so memory, of its own.
//!
//! The same code is the same bytes, compared as they are: of the module that was deployed, and of what placement made of it.
//! Several entries of one module share its code too, if their objects lie alike: each is verified for itself.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lnic_compiler::analysis;
use lnic_compiler::compile::{self as compiler, Compiled};
use lnic_compiler::placement::{Concurrency, CostModel, LayoutWish, Request, Runs};
use lnic_compiler::slots::SlotArea;
use serde::{Deserialize, Serialize};

use super::StartError;
use crate::control::inspect::Inspection;
use crate::control::topology::{LambdaSpec, Topology};
use crate::lambda::{Artifact, Engine, Image, Limits, PrepareError, Shape, verify};
use crate::memory::TierBytes;

/// Bytes of the largest memory that is dense unless it is asked for.
pub(crate) const DENSE_BYTES: u64 = 1 << 20;

/// What coalescing saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Coalesced {
    /// Lambdas that are deployed.
    pub deployments: usize,
    /// Modules that were compiled for them.
    pub modules: usize,
    /// Bytes of compiled code if each lambda had its own.
    pub code_bytes_before: u64,
    /// Bytes of compiled code.
    pub code_bytes: u64,
}

impl Coalesced {
    /// Of these deployments.
    pub(crate) fn of<'a>(images: impl Iterator<Item = &'a Image>) -> Self {
        let mut code: HashMap<*const (), u64> = HashMap::new();
        let mut all = Self::default();
        for image in images {
            let bytes = image.code_bytes() as u64;
            code.insert(image.code_identity(), bytes);
            all.deployments += 1;
            all.code_bytes_before += bytes;
        }
        Self { modules: code.len(), code_bytes: code.values().sum(), ..all }
    }
}

/// Code to deploy.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Name of the lambda.
    pub name: &'a str,
    /// Its module.
    pub file: &'a Path,
    /// Function of it to call.
    pub entry: &'a str,
    /// What its memory and who runs it depend on.
    pub wishes: Wishes,
}

/// What its memory and who runs it depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wishes {
    /// Who may run it at once.
    pub concurrency: Concurrency,
    /// How its memory is laid out.
    pub layout: LayoutWish,
    /// NPUs that may run it.
    pub npus: u32,
    /// Islands of these.
    pub islands: u32,
    /// Requests under way on one NPU; counts only if it calls others.
    pub in_flight: u32,
    /// Message slots, and bytes of each.
    pub slots: Option<(u32, u32)>,
}

impl Wishes {
    /// What a configuration says for a lambda.
    #[must_use]
    pub fn of(spec: &LambdaSpec, topology: &Topology) -> Self {
        Self {
            concurrency: spec.concurrency,
            layout: spec.layout,
            npus: topology.npus.iter().filter(|npu| spec.islands.contains(&npu.island)).count() as u32,
            islands: spec.islands.len() as u32,
            in_flight: spec.in_flight,
            slots: (spec.message_slots > 0)
                .then(|| (spec.message_slots * topology.pollers().len() as u32, spec.message_bytes)),
        }
    }
}

/// What any lambda may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of each tier, for its objects.
    pub tier_bytes: TierBytes,
    /// Of the module.
    pub limits: Limits,
}

impl Bounds {
    /// What a configuration says for all of them.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        Self { tier_bytes: topology.memory.tiers.objects, limits: Limits::default() }
    }
}

/// A lambda's code, ready to be deployed.
#[derive(Clone)]
pub struct Ready {
    /// Verified, its objects where they were placed, and compiled.
    pub image: Image,
    /// Where its message slots are.
    pub slots: Option<SlotArea>,
    /// Who may run it at once.
    pub runs: Runs,
    /// Why, and what else was found out.
    pub inspection: Arc<Inspection>,
}

impl Source<'_> {
    fn wrong(&self, source: PrepareError) -> StartError {
        StartError::Lambda { name: self.name.to_owned(), file: self.file.to_owned(), source }
    }
}

/// A module, and which sources it is the code of.
struct Module {
    wasm: Vec<u8>,
    users: Vec<usize>,
}

/// What a worker made: by the place of its source, or the first that failed.
type Loads = Vec<(usize, Result<Ready, StartError>)>;

/// Compiles every lambda's code once, on as many threads as there are CPUs for it. The result is in the order of the sources.
pub(super) fn compile(
    engine: &Engine,
    sources: &[Source<'_>],
    bounds: &Bounds,
) -> Result<(Vec<Ready>, Coalesced), StartError> {
    let modules = read(sources)?;
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(modules.len());
    let mut made: Loads = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = Vec::new();
                    while let Some(module) = modules.get(next.fetch_add(1, Ordering::Relaxed)) {
                        load(engine, module, sources, bounds, &mut made);
                    }
                    made
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    // By source: the first that is wrong is the one to name.
    made.sort_by_key(|(at, _)| *at);
    let ready = made.into_iter().map(|(_, ready)| ready).collect::<Result<Vec<_>, _>>()?;
    let coalesced = Coalesced::of(ready.iter().map(|ready| &ready.image));
    Ok((ready, coalesced))
}

/// Reads every file once, and finds those that are the same.
fn read(sources: &[Source<'_>]) -> Result<Vec<Module>, StartError> {
    let mut by_file: HashMap<&Path, usize> = HashMap::new();
    let mut by_bytes: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut users: Vec<Vec<usize>> = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let module = match by_file.get(source.file) {
            Some(&module) => module,
            None => {
                let wasm = std::fs::read(source.file).map_err(|error| StartError::LambdaFile {
                    name: source.name.to_owned(),
                    file: source.file.to_owned(),
                    source: error,
                })?;
                let module = *by_bytes.entry(wasm).or_insert(users.len());
                by_file.insert(source.file, module);
                module
            }
        };
        if module == users.len() {
            users.push(Vec::new());
        }
        users[module].push(at);
    }
    let mut modules: Vec<Module> = by_bytes
        .into_iter()
        .map(|(wasm, at)| Module { wasm, users: std::mem::take(&mut users[at]) })
        .collect();
    modules.sort_unstable_by_key(|module| module.users.first().copied());
    Ok(modules)
}

/// Compiles a module once for each entry and way to place it; those that come to the same bytes share machine code.
fn load(engine: &Engine, module: &Module, sources: &[Source<'_>], bounds: &Bounds, made: &mut Loads) {
    let mut known: HashMap<(&str, Wishes), Ready> = HashMap::new();
    let mut by_bytes: HashMap<Vec<u8>, Image> = HashMap::new();
    for &at in &module.users {
        let source = &sources[at];
        let key = (source.entry, source.wishes);
        let ready = match known.get(&key) {
            Some(same) => Ok(same.clone()),
            None => ready(engine, &module.wasm, source.entry, &source.wishes, bounds, &mut by_bytes),
        };
        match ready {
            Ok(ready) => {
                known.insert(key, ready.clone());
                made.push((at, Ok(ready)));
            }
            // Nothing starts then.
            Err(error) => return made.push((at, Err(source.wrong(error)))),
        }
    }
}

/// Verifies, analyses, places, and compiles a lambda unless code of the same bytes is among those that are `known`.
pub fn ready(
    engine: &Engine,
    wasm: &[u8],
    entry: &str,
    wishes: &Wishes,
    bounds: &Bounds,
    known: &mut HashMap<Vec<u8>, Image>,
) -> Result<Ready, PrepareError> {
    let (_, compiled) = place(wasm, entry, wishes, bounds)?;
    let plan = Arc::new(compiled.plan.clone());
    let limits = &limits_of(&compiled, bounds);
    let image = match known.get(&compiled.wasm) {
        Some(same) => same.with_entry(&compiled.wasm, entry, limits, &plan, compiled.headers)?,
        None => {
            let image = Image::compile_with(engine, &compiled.wasm, entry, limits, &plan, compiled.headers)?;
            known.insert(compiled.wasm.clone(), image.clone());
            image
        }
    };
    let inspection = Arc::new(Inspection::new(entry, &compiled, image.code_bytes()));
    Ok(Ready { image, slots: compiled.slots, runs: compiled.placement.runs, inspection })
}

/// A lambda's code, compiled and not loaded.
pub(crate) struct Made {
    /// Its machine code.
    pub(crate) artifact: Artifact,
    /// Where its message slots are.
    pub(crate) slots: Option<SlotArea>,
    /// Who may run it at once.
    pub(crate) runs: Runs,
    /// Why, and what else was found out.
    pub(crate) inspection: Inspection,
}

/// Verifies, analyses, places and compiles a lambda. Nothing is loaded: whoever does that may be another process.
pub(crate) fn make(
    engine: &Engine,
    wasm: &[u8],
    entry: &str,
    wishes: &Wishes,
    bounds: &Bounds,
) -> Result<Made, PrepareError> {
    let (_, compiled) = place(wasm, entry, wishes, bounds)?;
    let plan = Arc::new(compiled.plan.clone());
    let artifact =
        Artifact::compile_with(engine, &compiled.wasm, entry, &limits_of(&compiled, bounds), &plan)?
            .with_header_use(compiled.headers);
    let inspection = Inspection::new(entry, &compiled, artifact.bytes());
    Ok(Made { artifact, slots: compiled.slots, runs: compiled.placement.runs, inspection })
}

/// What a placed module may ask for: its slots come on top of what its author may.
fn limits_of(compiled: &Compiled, bounds: &Bounds) -> Limits {
    Limits { memory_bytes: bounds.limits.memory_bytes.max(compiled.plan.bytes()), ..bounds.limits }
}

/// Verifies, analyses and places a lambda, and makes no machine code of it.
pub(crate) fn place(
    wasm: &[u8],
    entry: &str,
    wishes: &Wishes,
    bounds: &Bounds,
) -> Result<(Shape, Compiled), PrepareError> {
    let limits = &bounds.limits;
    let shape = verify(wasm, entry, limits)?;
    let source = compiler::Source {
        wasm,
        entry,
        memory_bytes: shape.memory_bytes,
        may_have_variables: shape.writable_globals,
        limit_bytes: limits.memory_bytes,
        slots: wishes.slots,
    };
    let request = Request {
        concurrency: wishes.concurrency,
        layout: wishes.layout,
        npus: wishes.npus,
        islands: wishes.islands,
        in_flight: if shape.suspends { wishes.in_flight } else { 1 },
        quota_bytes: bounds.tier_bytes.0,
        dense_bytes: DENSE_BYTES,
        own_bytes: 0,
        model: CostModel::default(),
    };
    let compiled = compiler::compile(&source, &request, analysis::Options::default())
        .map_err(|error| PrepareError::Place(Box::new(error)))?;
    Ok((shape, compiled))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ids::NpuId;
    use crate::lambda::{HostSide, Instance, Run};
    use crate::memory::{Account, Regions};

    const WISHES: Wishes = Wishes {
        concurrency: Concurrency::Auto,
        layout: LayoutWish::Auto,
        npus: 1,
        islands: 1,
        in_flight: 1,
        slots: None,
    };

    fn bounds() -> Bounds {
        Bounds { tier_bytes: TierBytes::UNLIMITED, limits: Limits::default() }
    }

    /// A module with the entries `one` and `two`, which return how often they ran, and `two`.
    fn module(two: i32) -> Vec<u8> {
        wat::parse_str(format!(
            r#"(module
                (memory (export "memory") 1 1)
                (global (export "__stack_pointer") (mut i32) (i32.const 4096))
                (global (export "__heap_base") i32 (i32.const 8192))
                (func (export "lnic_abi_1"))
                (func (export "one") (param i32 i32) (result i32)
                    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
                    (i32.load (i32.const 8)))
                (func (export "two") (param i32 i32) (result i32) i32.const {two}))"#
        ))
        .unwrap()
    }

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in files {
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    fn run(ready: &Ready) -> Instance {
        let deployment = ready.image.deploy(&Regions::standalone(), Account::unlimited("test")).unwrap();
        Instance::new(&ready.image, 10_000, &HostSide::detached(), &deployment.seat(NpuId::new(0))).unwrap()
    }

    #[test]
    fn a_thousand_deployments_of_one_file_are_compiled_once() {
        let engine = Engine::new().unwrap();
        engine.prepare_thread();
        let files = Files::new(&[("a", &module(2)), ("copy", &module(2)), ("b", &module(3))]);
        let (a, copy, b) = (files.path("a"), files.path("copy"), files.path("b"));
        let mut sources = vec![Source { name: "a", file: &a, entry: "one", wishes: WISHES }; 1_000];
        sources.push(Source { name: "copy", file: &copy, entry: "one", wishes: WISHES });
        sources.push(Source { name: "b", file: &b, entry: "two", wishes: WISHES });
        let (images, coalesced) = compile(&engine, &sources, &bounds()).unwrap();
        assert_eq!((coalesced.deployments, coalesced.modules), (1_002, 2));
        assert!(images[..1_001].iter().all(|image| image.image.shares_code(&images[0].image)));
        assert!(!images[1_001].image.shares_code(&images[0].image));
        let [one, other] = [&images[0], &images[1_001]].map(|ready| ready.image.code_bytes() as u64);
        assert_eq!(coalesced.code_bytes, one + other);
        assert_eq!(coalesced.code_bytes_before, 1_001 * one + other);
        // Memory is not shared.
        let (mut first, mut second) = (run(&images[0]), run(&images[1]));
        assert_eq!([first.run(0), first.run(0), second.run(0)], [1, 2, 1].map(Run::Verdict));
        assert_eq!(run(&images[1_001]).run(0), Run::Verdict(3));
    }

    #[test]
    fn entries_of_one_module_share_its_code_and_run_their_own() {
        let engine = Engine::new().unwrap();
        engine.prepare_thread();
        let files = Files::new(&[("a", &module(7))]);
        let a = files.path("a");
        let source = |entry| Source { name: "a", file: &a, entry, wishes: WISHES };
        let (images, coalesced) =
            compile(&engine, &[source("two"), source("one"), source("two")], &bounds()).unwrap();
        assert_eq!((coalesced.modules, coalesced.deployments), (1, 3));
        assert!(images[0].image.shares_code(&images[1].image));
        // The code outlives the image that it was compiled for.
        let [_, one, two] = <[Ready; 3]>::try_from(images).ok().unwrap();
        assert_eq!((run(&one).run(0), run(&two).run(0)), (Run::Verdict(1), Run::Verdict(7)));
    }

    #[test]
    fn the_first_that_is_wrong_is_named() {
        let engine = Engine::new().unwrap();
        let files = Files::new(&[("a", &module(7)), ("none", b"no module")]);
        let (a, none, absent) = (files.path("a"), files.path("none"), files.path("absent"));
        let source = |name, file, entry| Source { name, file, entry, wishes: WISHES };
        let error = |sources: &[Source<'_>]| compile(&engine, sources, &bounds()).err().unwrap().to_string();
        let entry =
            error(&[source("good", &a, "one"), source("bad", &a, "three"), source("worse", &none, "one")]);
        assert!(entry.contains("\"bad\"") && entry.contains("does not export \"three\""), "{entry}");
        let module = error(&[source("worse", &none, "one"), source("bad", &a, "three")]);
        assert!(module.contains("\"worse\"") && module.contains("not a WebAssembly module"), "{module}");
        assert!(error(&[source("gone", &absent, "one")]).contains("\"gone\""));
        assert_eq!(compile(&engine, &[], &bounds()).unwrap().1, Coalesced::default());
    }
}
