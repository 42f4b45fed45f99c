//! The compiler with its server, which is this test program itself: see [`serve`].

mod cache;
mod files;
mod hostile;
mod limits;
mod measure;

use std::path::Path;

use lnic_compiler::placement::{Concurrency, LayoutWish};
use lnic_registry::Digest;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::*;
use crate::lambda::{HostSide, Instance, Limits, Run};
use crate::memory::TierBytes;

pub(super) use hostile::probe;

/// What a child does instead of compiling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::control::compile) enum Probe {
    /// Tries what it may not, and answers what worked.
    Escape,
    /// Takes memory until there is none.
    Allocate,
    /// Uses CPU time.
    Spin,
    /// Does nothing, for ever.
    Park,
    /// Panics.
    Panic,
    /// Calls itself for ever.
    Recurse,
    /// Reaches for memory that is not there.
    Abort,
}

/// The compile server of the other tests: each starts this program with nothing but this test. Limits come as filters that match
/// no other.
#[test]
#[ignore = "the compile server of the other tests"]
fn serve() {
    let number = |name: &str| {
        std::env::args().find_map(|argument| argument.strip_prefix(name)?.parse::<u32>().ok()).unwrap()
    };
    super::serve(number("mib="), number("seconds="), &[]).unwrap();
}

fn settings(state: Option<&Path>) -> CompileSettings {
    limited(state, 512, 20)
}

fn limited(state: Option<&Path>, mib: u32, seconds: u32) -> CompileSettings {
    let command = ["--exact", "--ignored", "--nocapture", "control::compile::tests::serve"];
    let mut command = command.map(str::to_owned).to_vec();
    command.extend([format!("mib={mib}"), format!("seconds={seconds}")]);
    CompileSettings {
        state: state.map(Path::to_owned),
        compile_mib: mib,
        compile_s: seconds,
        jobs: 4,
        command,
        ..CompileSettings::default()
    }
}

const WISHES: Wishes = Wishes {
    concurrency: Concurrency::Auto,
    layout: LayoutWish::Auto,
    npus: 2,
    islands: 1,
    in_flight: 1,
    slots: None,
};

fn bounds() -> Bounds {
    Bounds { tier_bytes: TierBytes::UNLIMITED, limits: Limits::default() }
}

/// A module whose entries `one` and `two` return this number.
fn module(number: u32) -> Vec<u8> {
    wat::parse_str(module_of(&format!("i32.const {number}"))).unwrap()
}

/// The text of a module whose entries `one` and `two` have this body.
fn module_of(body: &str) -> String {
    let entry = |name| format!("(func (export \"{name}\") (param i32 i32) (result i32) {body})");
    format!(
        r#"(module
            (memory (export "memory") 1 1)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            {}
            {})"#,
        entry("one"),
        entry("two")
    )
}

/// A compiler with a runtime to wait for it in.
struct Bench {
    compiler: Compiler,
    runtime: Runtime,
    _engine: Engine,
}

impl Bench {
    fn new(settings: &CompileSettings) -> Self {
        let engine = Engine::new().unwrap();
        engine.prepare_thread();
        let compiler = Compiler::start(settings, &engine).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { compiler, runtime, _engine: engine }
    }

    /// The process ID of the server.
    fn server(&self) -> u32 {
        limits::children(self.compiler.0.link.process_id())[0].cast_unsigned()
    }

    fn compile(&self, wasm: &[u8]) -> Result<Ready, CompileError> {
        self.compile_as(wasm, "one", &WISHES)
    }

    fn compile_as(&self, wasm: &[u8], entry: &str, wishes: &Wishes) -> Result<Ready, CompileError> {
        let compile =
            async { self.compiler.compile(&Digest::of(wasm), wasm, entry, wishes, &bounds()).await };
        self.runtime.block_on(compile)
    }

    fn cached(&self, wasm: &[u8]) -> Option<Ready> {
        self.compiler.cached(&Digest::of(wasm), "one", &WISHES, &bounds())
    }

    fn probe(&self, probe: Probe) -> Result<Vec<u8>, CompileError> {
        let mut request = Request::new("one", &WISHES, &bounds());
        request.probe = Some(probe);
        self.runtime.block_on(self.compiler.0.link.run(&request, &[]))
    }

    fn statistics(&self) -> CompileStatistics {
        self.compiler.statistics()
    }

    /// It still compiles.
    fn works(&self, number: u32) {
        assert_eq!(verdict(&self.compile(&module(number)).unwrap()), Run::Verdict(number.cast_signed()));
    }
}

fn verdict(ready: &Ready) -> Run {
    let image = &ready.image;
    let seat = image.detached_seat().unwrap();
    Instance::new(image, 100_000, &HostSide::detached(), &seat).unwrap().run(0)
}

fn key_of(wasm: &[u8]) -> Key {
    Key::of(&Digest::of(wasm), &Request::new("one", &WISHES, &bounds()))
}

/// The same comes out if it is made here.
fn same_as_here(wasm: &[u8], entry: &str, wishes: &Wishes, there: &Ready) {
    let engine = Engine::new().unwrap();
    let here =
        crate::control::appliance::ready(&engine, wasm, entry, wishes, &bounds(), &mut HashMap::default())
            .unwrap();
    assert_eq!(there.image.artifact().code(), here.image.artifact().code());
    assert_eq!((there.image.shape(), there.image.plan()), (here.image.shape(), here.image.plan()));
    assert_eq!((there.slots, there.runs), (here.slots, here.runs));
    assert_eq!(there.inspection.to_string(), here.inspection.to_string());
}
