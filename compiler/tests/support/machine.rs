//! Runs a module, and compares what an original and a moved one leave behind.

use lnic_abi as abi;
use lnic_compiler::module::Module;
use lnic_compiler::mover::Moved;
use wasmtime::{Config, Engine, Instance, Linker, Memory, OptLevel, Store};

/// An instance and where its I/O area is.
pub(crate) struct Machine {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    pub(crate) io: usize,
}

/// Compiles fast; what the code computes is the same.
pub(crate) fn engine() -> Engine {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None).wasm_custom_page_sizes(true).memory_reservation(0);
    config.memory_guard_size(0).memory_reservation_for_growth(0);
    Engine::new(&config).unwrap()
}

impl Machine {
    pub(crate) fn of_original(engine: &Engine, wasm: &[u8]) -> Self {
        let module = wasmtime::Module::new(engine, wasm).unwrap();
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        linker
            .func_wrap(
                abi::IMPORT_MODULE,
                abi::IMPORT_CALL,
                |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| -14,
            )
            .unwrap();
        linker.func_wrap(abi::IMPORT_MODULE, abi::IMPORT_LOG, |_: i32, _: i32| {}).unwrap();
        for name in [abi::IMPORT_ENVIRONMENT, abi::IMPORT_SECRET] {
            linker.func_wrap(abi::IMPORT_MODULE, name, |_: i32, _: i32, _: i32, _: i32| -1).unwrap();
        }
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, abi::EXPORT_MEMORY).unwrap();
        let heap_base = instance.get_global(&mut store, abi::EXPORT_HEAP_BASE).unwrap();
        let heap_base = heap_base.get(&mut store).unwrap_i32().cast_unsigned() as usize;
        let io = heap_base.next_multiple_of(abi::IO_ALIGN);
        assert!(io + abi::IO_BYTES <= memory.data_size(&store));
        Self { store, instance, memory, io }
    }

    pub(crate) fn of_moved(engine: &Engine, moved: &Moved) -> Self {
        let mut machine = Self::of_original(engine, &moved.wasm);
        assert_eq!(machine.memory().len() as u64, moved.plan.bytes());
        for initial in &moved.plan.initial {
            let at = initial.address as usize;
            let memory = machine.memory.data_mut(&mut machine.store);
            memory[at..at + initial.bytes.len()].copy_from_slice(&initial.bytes);
        }
        machine
    }

    pub(crate) fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Runs an entry with these bytes in the I/O area; what it returned, or that it trapped, and the area.
    pub(crate) fn run(&mut self, entry: &str, io: &[u8]) -> (Option<i32>, Vec<u8>) {
        let area = self.io..self.io + abi::IO_BYTES;
        self.memory.data_mut(&mut self.store)[area.clone()].copy_from_slice(io);
        // match_data->payload is an address.
        let payload = self.io + abi::IO_MATCH_DATA;
        let address = (self.io + abi::IO_PAYLOAD) as u32;
        self.memory.data_mut(&mut self.store)[payload..payload + 4].copy_from_slice(&address.to_le_bytes());
        let function = self.instance.get_typed_func::<(u32, u32), i32>(&mut self.store, entry).unwrap();
        let arguments = ((self.io + abi::IO_HEADERS) as u32, payload as u32);
        let verdict = function.call(&mut self.store, arguments).ok();
        let mut left = self.memory()[area].to_vec();
        let found = &mut left[abi::IO_MATCH_DATA..abi::IO_MATCH_DATA + 4];
        assert_eq!(*found, address.to_le_bytes());
        found.fill(0);
        (verdict, left)
    }
}

/// Every object holds the same bytes in both. A word may differ only if it is an address: of the same byte of the same object.
pub(crate) fn compare_objects(
    module: &Module<'_>,
    moved: &Moved,
    original: &[u8],
    other: &[u8],
) -> Result<(), String> {
    for (object, &address) in module.objects().iter().zip(&moved.addresses) {
        let range = |from: u32| from as usize..from as usize + object.bytes as usize;
        let (before, after) = (&original[range(object.address)], &other[range(address)]);
        let Some(first) = before.iter().zip(after).position(|(before, after)| before != after) else {
            continue;
        };
        for at in (first & !3..before.len()).step_by(4) {
            let word =
                |bytes: &[u8]| bytes.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().unwrap()));
            if before[at..(at + 4).min(before.len())] == after[at..(at + 4).min(after.len())] {
                continue;
            }
            let explained = word(before).zip(word(after)).is_some_and(|(before, after)| {
                module.objects().iter().zip(&moved.addresses).any(|(target, &target_address)| {
                    (target.address..=target.range().end).contains(&before)
                        && after == target_address + (before - target.address)
                })
            });
            if !explained {
                return Err(format!("\"{}\" differs at {at}: {before:?} became {after:?}", object.name));
            }
        }
    }
    Ok(())
}
