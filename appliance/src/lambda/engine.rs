//! The one wasmtime engine of the process, and why it is configured as it is.

use wasmtime::{Config, OperatorCost, OptLevel, WasmBacktraceDetails};

/// The machine cannot run the engine.
#[derive(Debug, thiserror::Error)]
#[error("lambda engine: {0}")]
pub struct EngineError(String);

/// Fuel of operators that leave the sandbox for the host's code: about 25 ns each, where a unit otherwise stands for about 0.2 ns.
/// Bytes and elements that they touch are charged besides.
fn operator_cost() -> OperatorCost {
    const HOST_CALL: u8 = 200;
    OperatorCost {
        MemoryFill: HOST_CALL,
        MemoryCopy: HOST_CALL,
        MemoryInit: HOST_CALL,
        DataDrop: HOST_CALL,
        TableFill: HOST_CALL,
        TableCopy: HOST_CALL,
        TableInit: HOST_CALL,
        ElemDrop: HOST_CALL,
        MemoryAtomicNotify: HOST_CALL,
        MemoryAtomicWait32: HOST_CALL,
        MemoryAtomicWait64: HOST_CALL,
        ..OperatorCost::new()
    }
}

/// Compiles lambdas and owns their settings. Cheap to clone.
#[derive(Clone)]
pub struct Engine(wasmtime::Engine);

impl Engine {
    /// Makes the engine. Once per process is enough.
    pub fn new() -> Result<Self, EngineError> {
        let mut config = Config::new();
        // Fuel, not epochs: it is deterministic, and it is charged up front for memory.fill and memory.copy, which an
        // epoch cannot interrupt.
        config.consume_fuel(true);
        config.operator_cost(operator_cost());
        config.cranelift_opt_level(OptLevel::Speed);
        config.wasm_simd(true);
        config.wasm_threads(true);
        // Dense layout: no reservation and no guard, so a thousand lambdas cost a thousand small mappings, every access is
        // checked against the bound, and there is no gap inside a memory where a host-side memory.fill could fault.
        config.memory_reservation(0);
        config.memory_reservation_for_growth(0);
        config.memory_guard_size(0);
        config.guard_before_linear_memory(false);
        config.memory_may_move(false);
        config.memory_init_cow(false);
        // The Spectre mask on heap accesses needs signals-based traps.
        config.signals_based_traps(true);
        config.max_wasm_stack(64 << 10);
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
        wasmtime::Engine::new(&config).map(Self).map_err(|error| EngineError(format!("{error:#}")))
    }

    /// Prepares the calling thread to take traps. Each lcore calls it once before its first packet, so that the first
    /// trap allocates nothing.
    pub fn prepare_thread(&self) {
        wasmtime::Engine::tls_eager_initialize();
    }

    pub(super) fn raw(&self) -> &wasmtime::Engine {
        &self.0
    }
}
