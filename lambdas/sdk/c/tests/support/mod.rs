//! C against this SDK, compiled with the flags of `lnic build` and run.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lnic_abi as abi;
use wasmtime::{
    Config, Engine, Global, Instance, Linker, Memory, Module, OptLevel, Store, Val, WasmParams, WasmResults,
};

const COMPILE_FLAGS: [&str; 15] = [
    "--target=wasm32-unknown-unknown",
    "-std=gnu17",
    "-ffreestanding",
    "-nostdlibinc",
    "-fvisibility=hidden",
    "-fno-ident",
    "-msimd128",
    "-mbulk-memory",
    "-matomics",
    "-msign-ext",
    "-mnontrapping-fptoint",
    "-mmutable-globals",
    "-Wall",
    "-Wextra",
    "-Werror",
];
const LINK_FLAGS: [&str; 11] = [
    "--no-entry",
    "--stack-first",
    "--fatal-warnings",
    "-O2",
    "-z",
    "stack-size=16384",
    "--initial-memory=1048576",
    "--max-memory=1048576",
    "--export=__heap_base",
    "--export=__data_end",
    "--export=__stack_pointer",
];
/// Fuel that every call has unless a test gives less.
const PLENTY: u64 = 1 << 40;

/// True if the tools are there. Without them tests are skipped, and say so; where the environment says `CI` they fail instead.
pub fn have_tools() -> bool {
    let starts = |tool: &str| {
        let mut command = Command::new(tool);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = ["clang", "wasm-ld"].into_iter().filter(|tool| !starts(tool)).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "not found: {missing:?}");
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: no {missing:?}\n"));
    }
    missing.is_empty()
}

/// The folder of the headers.
pub fn sdk() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The module of a file beside the tests, relocations kept.
pub fn build(source: &str, level: &str) -> Vec<u8> {
    build_file(&sdk().join("tests").join(source), level)
}

/// The module of C text.
pub fn build_text(text: &str, level: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.c");
    std::fs::write(&source, text).unwrap();
    build_file(&source, level)
}

fn build_file(source: &Path, level: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (object, module) = (folder.path().join("source.o"), folder.path().join("module.wasm"));
    let mut clang = Command::new("clang");
    clang.args(COMPILE_FLAGS).arg(level).arg("-isystem").arg(sdk());
    run(clang.arg("-c").arg("-o").arg(&object).arg(source));
    let mut wasm_ld = Command::new("wasm-ld");
    run(wasm_ld.args(LINK_FLAGS).arg("--emit-relocs").arg("-o").arg(&module).arg(&object));
    std::fs::read(&module).unwrap()
}

/// Runs a tool; what it wrote, if it failed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&said));
}

/// What the host has for a program.
pub struct Host {
    random: u64,
    /// Lines that it has logged.
    pub lines: Vec<Vec<u8>>,
}

/// A program in C, whose exports tests call. It exports `io`, the address of its scratch memory.
pub struct Program {
    store: Store<Host>,
    instance: Instance,
    memory: Memory,
    stack: Global,
    stack_top: Val,
    io: usize,
}

impl Program {
    /// From a file beside the tests.
    pub fn of(source: &str) -> Self {
        Self::new(&build(source, "-O3"))
    }

    pub fn new(wasm: &[u8]) -> Self {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None).consume_fuel(true).memory_reservation(0);
        config.memory_guard_size(0).memory_reservation_for_growth(0);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, Host { random: 1, lines: Vec::new() });
        store.set_fuel(PLENTY).unwrap();
        let mut linker: Linker<Host> = Linker::new(&engine);
        linker
            .func_wrap(abi::IMPORT_MODULE, abi::IMPORT_RANDOM, |mut caller: wasmtime::Caller<'_, Host>| {
                // splitmix64
                let host = caller.data_mut();
                host.random = host.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (host.random ^ host.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed ^ mixed >> 27
            })
            .unwrap();
        linker
            .func_wrap(
                abi::IMPORT_MODULE,
                abi::IMPORT_LOG,
                |mut caller: wasmtime::Caller<'_, Host>, text: u32, bytes: u32| {
                    let memory = caller.get_export(abi::EXPORT_MEMORY).unwrap().into_memory().unwrap();
                    let line = memory.data(&caller)[text as usize..][..bytes as usize].to_vec();
                    caller.data_mut().lines.push(line);
                },
            )
            .unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, abi::EXPORT_MEMORY).unwrap();
        let stack = instance.get_global(&mut store, abi::EXPORT_STACK_POINTER).unwrap();
        let stack_top = stack.get(&mut store);
        let mut program = Self { store, instance, memory, stack, stack_top, io: 0 };
        program.io = program.call::<(), u32>("io", ()) as usize;
        program
    }

    /// Calls an export.
    pub fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, arguments: P) -> R {
        self.call_within(name, arguments, PLENTY).unwrap_or_else(|| panic!("{name} trapped"))
    }

    /// The same with so much fuel; `None` if that was not enough, or it trapped.
    pub fn call_within<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
        arguments: P,
        fuel: u64,
    ) -> Option<R> {
        let function = self.instance.get_typed_func::<P, R>(&mut self.store, name).unwrap();
        self.store.set_fuel(fuel).unwrap();
        let result = function.call(&mut self.store, arguments).ok();
        if result.is_none() {
            // As the host does after a trap.
            self.stack.set(&mut self.store, self.stack_top).unwrap();
        }
        result
    }

    /// Writes into the scratch memory.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.memory.data_mut(&mut self.store)[self.io + at..][..bytes.len()].copy_from_slice(bytes);
    }

    /// What is in the scratch memory.
    pub fn get(&self, at: usize, bytes: usize) -> &[u8] {
        &self.memory.data(&self.store)[self.io + at..][..bytes]
    }

    /// Fuel that the last call has used.
    pub fn used(&self) -> u64 {
        PLENTY - self.store.get_fuel().unwrap()
    }

    /// Lines that were logged since the last time.
    pub fn lines(&mut self) -> Vec<String> {
        let lines = std::mem::take(&mut self.store.data_mut().lines);
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }
}
