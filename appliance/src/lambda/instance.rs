//! One NPU's copy of a lambda, ready to run.

use lnic_abi as abi;
use wasmtime::{Global, Store, StoreLimitsBuilder, Trap, TypedFunc, Val};

use super::fiber::{self, Answer, Fiber, PendingCall};
use super::host::{Host, HostSide};
use super::linear::{Offer, Window};
use super::{Image, PrepareError};
use crate::memory::{PlanError, Seat};
use crate::parser::HeaderSet;

/// Why a run gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It trapped: out of bounds, division by zero, unreachable, stack overflow.
    Trap,
    /// It used up its fuel.
    Budget,
}

/// What came of a run, or of a resumed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Run {
    /// It returned; what it says lies in its I/O area.
    Verdict(i32),
    /// It did not return. Its stack is as before the run; globals and memory stay.
    Failed(Failure),
    /// It waits for an answer: see [`Instance::pending`] and [`Instance::resume`].
    Suspended,
}

/// A lambda's memory and globals on one NPU. Globals persist between runs; the stack does not, not even after a trap.
pub struct Instance {
    /// Not here while the lambda is suspended: it waits with its fiber.
    store: Option<Store<Host>>,
    /// Only of lambdas that suspend.
    fiber: Option<Fiber>,
    entry: TypedFunc<(u32, u32), i32>,
    /// Borrowed only while the lambda does not run.
    window: Window,
    stack_pointer: Global,
    stack_top: i32,
    io: usize,
    budget_fuel: u64,
    /// Budget of the invocation that runs or ran last.
    granted_fuel: u64,
    fuel_used: u64,
    /// Headers that it touches.
    headers: HeaderSet,
    /// Its code; dropped after what runs it.
    _image: Image,
}

impl Instance {
    /// Makes an instance with a memory from its seat, and runs its `init`, if it has one, within the budget of one invocation.
    /// `init` does not suspend: a `call` in it is answered UNAVAILABLE at once.
    pub fn new(image: &Image, budget_fuel: u64, host: &HostSide, seat: &Seat) -> Result<Self, PrepareError> {
        let plan = image.plan();
        if seat.plan() != plan {
            return Err(PrepareError::OtherPlan { seat: seat.plan().bytes(), own: plan.bytes() });
        }
        let instantiate = |error: wasmtime::Error| PrepareError::Instantiate(format!("{error:#}"));
        let shape = image.shape();
        let limits = StoreLimitsBuilder::new()
            .instances(1)
            .memories(1)
            .memory_size(usize::try_from(shape.memory_bytes).unwrap_or(usize::MAX))
            .table_elements(10_000)
            .build();
        let mut store = Store::new(image.engine().raw(), Host::new(limits, host.clone()));
        store.limiter(|host| &mut host.limits);
        // Only data segments run now, which are no larger than the module; init has a budget.
        store.set_fuel(u64::MAX).map_err(instantiate)?;
        let waits = || PrepareError::Instantiate("it waits".to_owned());
        let offer = Offer::new(seat.memory()?);
        let instance = if shape.suspends {
            fiber::at_once(image.prepared().instantiate_async(&mut store)).ok_or_else(waits)?
        } else {
            image.prepared().instantiate(&mut store)
        }
        .map_err(instantiate)?;
        drop(offer);
        store.set_fuel(budget_fuel).map_err(instantiate)?;
        let missing = |name: &str| PrepareError::Instantiate(format!("export \"{name}\" is missing"));
        let memory =
            instance.get_memory(&mut store, abi::EXPORT_MEMORY).ok_or_else(|| missing(abi::EXPORT_MEMORY))?;
        store.data_mut().memory = Some(memory);
        let global_i32 = |store: &mut Store<Host>, name: &str| {
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
        // What lies there is written from outside the lambda's code: by the host, and by each instance on its own NPU.
        let first = plan.windows.first().map_or(0, |window| window.bytes);
        let end = (io + abi::IO_BYTES as u64).max(u64::from(stack_top.cast_unsigned()));
        if !plan.is_dense() && end > first {
            return Err(PlanError::FirstTooSmall { end, first }.into());
        }
        let window =
            usize::try_from(io)
                .ok()
                .and_then(|io| Window::of(&memory, &store, io, abi::IO_BYTES))
                .ok_or_else(|| PrepareError::Instantiate("its memory is smaller than it says".to_owned()))?;
        let entry = instance.get_typed_func(&mut store, image.entry()).map_err(instantiate)?;
        if shape.has_init {
            let init =
                instance.get_typed_func::<(), ()>(&mut store, abi::EXPORT_INIT).map_err(instantiate)?;
            if shape.suspends {
                fiber::at_once(init.call_async(&mut store, ())).ok_or_else(waits)?
            } else {
                init.call(&mut store, ())
            }
            .map_err(|error| PrepareError::Init(format!("{error:#}")))?;
        }
        let fiber = shape.suspends.then(|| {
            let (fiber, exchange) = Fiber::new();
            store.data_mut().exchange = Some(exchange);
            fiber
        });
        #[expect(clippy::cast_possible_truncation, reason = "io is below 4 GiB: the memory is 32-bit")]
        let io = io as usize;
        Ok(Self {
            store: Some(store),
            fiber,
            entry,
            window,
            stack_pointer,
            stack_top,
            io,
            budget_fuel,
            granted_fuel: budget_fuel,
            fuel_used: 0,
            headers: HeaderSet::of(&shape.header_use),
            _image: image.clone(),
        })
    }

    /// Sets the budget of the invocations that begin from now on.
    pub fn set_budget(&mut self, fuel: u64) {
        self.budget_fuel = fuel;
    }

    /// The budget of one invocation.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.budget_fuel
    }

    /// Headers that it touches, and that are extracted for it.
    #[must_use]
    #[inline]
    pub fn headers(&self) -> HeaderSet {
        self.headers
    }

    /// The I/O area of the lambda's memory: headers, match data, payload. The host writes it before a run and reads it after.
    /// `None` while the lambda is suspended: its memory waits with it.
    #[must_use]
    #[inline]
    pub fn io(&mut self) -> Option<Io<'_>> {
        if self.is_suspended() {
            return None;
        }
        let area = self.window.bytes().first_chunk_mut::<{ abi::IO_BYTES }>()?;
        let (headers, rest) = area.split_at_mut(abi::IO_MATCH_DATA);
        let (match_data, payload) = rest.split_at_mut(abi::IO_PAYLOAD - abi::IO_MATCH_DATA);
        Some(Io {
            headers: bytemuck::from_bytes_mut(&mut headers[..size_of::<abi::Headers>()]),
            match_data: bytemuck::from_bytes_mut(&mut match_data[..size_of::<abi::MatchData>()]),
            payload,
            #[expect(clippy::cast_possible_truncation, reason = "the memory is 32-bit")]
            payload_address: (self.io + abi::IO_PAYLOAD) as u32,
        })
    }

    /// Runs the lambda once on what lies in its I/O area, until it returns or suspends. Benchmark: `path/npu`.
    ///
    /// Bounded by the budget. After a failure the stack is as before the first run; globals and memory stay. A suspended lambda
    /// stays as it is. `time_ns` is the host's time, which the log's limit goes by.
    #[inline]
    pub fn run(&mut self, time_ns: u64) -> Run {
        let Some(store) = &mut self.store else { return Run::Suspended };
        store.data_mut().time_ns = time_ns;
        self.granted_fuel = self.budget_fuel;
        // Setting fuel fails only in an engine that does not meter.
        let _ = store.set_fuel(self.granted_fuel);
        #[expect(clippy::cast_possible_truncation, reason = "the memory is 32-bit")]
        let io = self.io as u32;
        let arguments = (io + abi::IO_HEADERS as u32, io + abi::IO_MATCH_DATA as u32);
        if self.fiber.is_some() {
            return self.start(arguments);
        }
        match self.entry.call(&mut *store, arguments) {
            Ok(verdict) => {
                self.fuel_used = self.granted_fuel - store.get_fuel().unwrap_or(0);
                Run::Verdict(verdict)
            }
            Err(error) => self.recover(&error),
        }
    }

    /// What the lambda waits on, while it is suspended.
    #[must_use]
    pub fn pending(&self) -> Option<PendingCall<'_>> {
        self.fiber.as_ref()?.pending()
    }

    /// Is the lambda suspended?
    #[must_use]
    #[inline]
    pub fn is_suspended(&self) -> bool {
        self.store.is_none()
    }

    /// Continues a suspended lambda with its answer, on what is left of its budget. One that is not suspended stays as it is;
    /// that counts as a trap.
    pub fn resume(&mut self, answer: Answer<'_>) -> Run {
        match &mut self.fiber {
            Some(fiber) if self.store.is_none() => {
                let finished = fiber.resume(answer);
                self.finish(finished)
            }
            _ => Run::Failed(Failure::Trap),
        }
    }

    /// Fuel that the last invocation used, all of its parts so far.
    #[must_use]
    #[inline]
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Runs on the fiber.
    #[inline(never)]
    fn start(&mut self, arguments: (u32, u32)) -> Run {
        let (Some(fiber), Some(store)) = (&mut self.fiber, self.store.take()) else { return Run::Suspended };
        let finished = fiber.start(store, self.entry.clone(), arguments);
        self.finish(finished)
    }

    /// Takes the store back from a fiber that is done.
    fn finish(&mut self, finished: Option<(Store<Host>, wasmtime::Result<i32>)>) -> Run {
        let Some((store, result)) = finished else {
            let left = self.fiber.as_ref().map_or(0, Fiber::fuel_left);
            self.fuel_used = self.granted_fuel.saturating_sub(left);
            return Run::Suspended;
        };
        let left = store.get_fuel().unwrap_or(0);
        self.store = Some(store);
        match result {
            Ok(verdict) => {
                self.fuel_used = self.granted_fuel.saturating_sub(left);
                Run::Verdict(verdict)
            }
            Err(error) => self.recover(&error),
        }
    }

    /// After a trap the shadow stack has leaked (the epilogues did not run): put its pointer back.
    #[cold]
    fn recover(&mut self, error: &wasmtime::Error) -> Run {
        if let Some(store) = &mut self.store {
            self.fuel_used = self.granted_fuel - store.get_fuel().unwrap_or(0);
            // Setting fails only for an immutable global or another type, and the verifier has refused both.
            let _ = self.stack_pointer.set(store, Val::I32(self.stack_top));
        }
        Run::Failed(match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Failure::Budget,
            _ => Failure::Trap,
        })
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
