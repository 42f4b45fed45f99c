//! The one wasmtime engine of the process, and why it is configured as it is.

use std::hash::Hash;
use std::sync::Arc;

use wasmtime::{Config, Linker, OptLevel, WasmBacktraceDetails};

use super::code::CodeSlabs;
use super::cost;
use super::host::{self, Host};
use super::linear::Offered;

/// The machine cannot run the engine.
#[derive(Debug, thiserror::Error)]
#[error("lambda engine: {0}")]
pub struct EngineError(String);

/// Compiles lambdas and owns their settings, and the slabs that their code lies in. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    linker: Linker<Host>,
    code: CodeSlabs,
    engine: wasmtime::Engine,
}

impl Engine {
    /// Makes the engine. Once per process is enough.
    pub fn new() -> Result<Self, EngineError> {
        let mut config = Config::new();
        // Fuel, not epochs: it is deterministic, and it is charged up front for memory.fill and memory.copy, which an
        // epoch cannot interrupt.
        config.consume_fuel(true);
        config.operator_cost(cost::operators());
        config.cranelift_opt_level(OptLevel::Speed);
        config.wasm_simd(true);
        config.wasm_threads(true);
        // Memories of just the bytes that a lambda needs.
        config.wasm_custom_page_sizes(true);
        // No reservation and no guard: memories lie side by side in slabs, and every access is checked against the bound. There is
        // no gap inside a memory, of windows neither, where a host-side memory.fill could fault.
        config.memory_reservation(0);
        config.memory_reservation_for_growth(0);
        config.memory_guard_size(0);
        config.guard_before_linear_memory(false);
        config.memory_may_move(false);
        config.memory_init_cow(false);
        // The Spectre mask on heap accesses needs signals-based traps.
        config.signals_based_traps(true);
        config.max_wasm_stack(64 << 10);
        // A fiber's stack: the lambda's part, and as much for the host's functions that it calls.
        config.async_stack_size(128 << 10);
        // Nothing that a lambda does not need: each is attack surface.
        config.wasm_multi_memory(false);
        config.wasm_memory64(false);
        config.wasm_relaxed_simd(false);
        config.concurrency_support(false);
        // A trap costs its lambda microseconds as it is; no backtrace is made from hostile code.
        config.wasm_backtrace_max_frames(None);
        config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
        config.native_unwind_info(false);
        config.generate_address_map(false);
        // Tens of mappings for all lambdas, not two or three for each.
        let code = CodeSlabs::new();
        config.with_host_memory(Arc::new(Offered));
        config.with_custom_code_memory(Some(Arc::new(code.clone())));
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        host::link(&mut linker).map_err(failed)?;
        Ok(Self(Arc::new(Inner { linker, code, engine })))
    }

    /// Prepares the calling thread to take traps. Each lcore calls it once before its first packet, so that the first
    /// trap allocates nothing.
    pub fn prepare_thread(&self) {
        wasmtime::Engine::tls_eager_initialize();
    }

    /// What compiled code depends on: it can be loaded by an engine that says the same and by no other. Stands for the engine's version,
    /// its settings and the features of the CPU.
    pub fn compatibility(&self) -> impl Hash + '_ {
        self.0.engine.precompile_compatibility_hash()
    }

    pub(super) fn raw(&self) -> &wasmtime::Engine {
        &self.0.engine
    }

    pub(super) fn linker(&self) -> &Linker<Host> {
        &self.0.linker
    }

    pub(super) fn code(&self) -> &CodeSlabs {
        &self.0.code
    }
}
