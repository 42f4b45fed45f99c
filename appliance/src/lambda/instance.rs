//! One NPU's copy of a lambda, ready to run.

use lnic_abi as abi;
use wasmtime::{Global, Memory, Store, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc, Val};

use super::{Image, PrepareError};

/// Why a run gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It trapped: out of bounds, division by zero, unreachable, stack overflow.
    Trap,
    /// It used up its fuel.
    Budget,
}

/// A lambda's memory and globals on one NPU. Globals persist between runs; the stack does not, not even after a trap.
pub struct Instance {
    store: Store<StoreLimits>,
    entry: TypedFunc<(u32, u32), i32>,
    memory: Memory,
    stack_pointer: Global,
    stack_top: i32,
    io: usize,
    budget_fuel: u64,
    fuel_used: u64,
}

impl Instance {
    /// Makes an instance and runs its `init`, if it has one, within the budget of one invocation.
    pub fn new(image: &Image, budget_fuel: u64) -> Result<Self, PrepareError> {
        let instantiate = |error: wasmtime::Error| PrepareError::Instantiate(format!("{error:#}"));
        let shape = image.shape();
        let limits = StoreLimitsBuilder::new()
            .instances(1)
            .memories(1)
            .memory_size(usize::try_from(shape.memory_bytes).unwrap_or(usize::MAX))
            .table_elements(10_000)
            .build();
        let mut store = Store::new(image.engine().raw(), limits);
        store.limiter(|limits| limits);
        store.set_fuel(budget_fuel).map_err(instantiate)?;
        let instance = wasmtime::Instance::new(&mut store, image.module(), &[]).map_err(instantiate)?;
        let missing = |name: &str| PrepareError::Instantiate(format!("export \"{name}\" is missing"));
        let memory =
            instance.get_memory(&mut store, abi::EXPORT_MEMORY).ok_or_else(|| missing(abi::EXPORT_MEMORY))?;
        let global_i32 = |store: &mut Store<StoreLimits>, name: &str| {
            let global = instance.get_global(&mut *store, name).ok_or_else(|| missing(name))?;
            let value = global.get(&mut *store).i32().ok_or_else(|| missing(name))?;
            Ok::<_, PrepareError>((global, value))
        };
        let (stack_pointer, stack_top) = global_i32(&mut store, abi::EXPORT_STACK_POINTER)?;
        let (_, heap_base) = global_i32(&mut store, abi::EXPORT_HEAP_BASE)?;
        let heap_base = heap_base.cast_unsigned();
        let io = u64::from(heap_base).next_multiple_of(abi::IO_ALIGN as u64);
        if io + abi::IO_BYTES as u64 > shape.memory_bytes {
            return Err(PrepareError::NoRoom {
                memory_bytes: shape.memory_bytes,
                heap_base,
                needed: abi::IO_BYTES as u64,
            });
        }
        let entry = instance.get_typed_func(&mut store, image.entry()).map_err(instantiate)?;
        if shape.has_init {
            let init =
                instance.get_typed_func::<(), ()>(&mut store, abi::EXPORT_INIT).map_err(instantiate)?;
            init.call(&mut store, ()).map_err(|error| PrepareError::Init(format!("{error:#}")))?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "io is below 4 GiB: the memory is 32-bit")]
        let io = io as usize;
        Ok(Self { store, entry, memory, stack_pointer, stack_top, io, budget_fuel, fuel_used: 0 })
    }

    /// The I/O area of the lambda's memory: headers, match data, payload. The host writes it before a run and reads it after.
    #[must_use]
    #[inline]
    pub fn io(&mut self) -> Io<'_> {
        let area = &mut self.memory.data_mut(&mut self.store)[self.io..self.io + abi::IO_BYTES];
        let (headers, rest) = area.split_at_mut(abi::IO_MATCH_DATA);
        let (match_data, payload) = rest.split_at_mut(abi::IO_PAYLOAD - abi::IO_MATCH_DATA);
        Io {
            headers: bytemuck::from_bytes_mut(&mut headers[..size_of::<abi::Headers>()]),
            match_data: bytemuck::from_bytes_mut(&mut match_data[..size_of::<abi::MatchData>()]),
            payload,
            #[expect(clippy::cast_possible_truncation, reason = "the memory is 32-bit")]
            payload_address: (self.io + abi::IO_PAYLOAD) as u32,
        }
    }

    /// Runs the lambda once on what lies in its I/O area. Benchmark: `path/npu`.
    ///
    /// Bounded by the budget. After a failure the stack is as before the first run; globals and memory stay.
    #[inline]
    pub fn run(&mut self) -> Result<i32, Failure> {
        // Setting fuel fails only in an engine that does not meter.
        let _ = self.store.set_fuel(self.budget_fuel);
        #[expect(clippy::cast_possible_truncation, reason = "the memory is 32-bit")]
        let io = self.io as u32;
        let headers = io + abi::IO_HEADERS as u32;
        let match_data = io + abi::IO_MATCH_DATA as u32;
        match self.entry.call(&mut self.store, (headers, match_data)) {
            Ok(verdict) => {
                self.fuel_used = self.budget_fuel - self.store.get_fuel().unwrap_or(0);
                Ok(verdict)
            }
            Err(error) => Err(self.recover(&error)),
        }
    }

    /// Fuel that the last run used.
    #[must_use]
    #[inline]
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// After a trap the shadow stack has leaked (the epilogues did not run): put its pointer back.
    #[cold]
    fn recover(&mut self, error: &wasmtime::Error) -> Failure {
        self.fuel_used = self.budget_fuel - self.store.get_fuel().unwrap_or(0);
        // Setting fails only for an immutable global or another type, and the verifier has refused both.
        let _ = self.stack_pointer.set(&mut self.store, Val::I32(self.stack_top));
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Failure::Budget,
            _ => Failure::Trap,
        }
    }
}

/// The lambda's I/O area, borrowed between runs.
pub struct Io<'a> {
    /// `EXTRACTED_HEADERS_T`.
    pub headers: &'a mut abi::Headers,
    /// `MATCH_DATA_T`.
    pub match_data: &'a mut abi::MatchData,
    /// [`abi::PAYLOAD_CAPACITY`] bytes.
    pub payload: &'a mut [u8],
    /// Where `payload` is in linear memory.
    pub payload_address: u32,
}
