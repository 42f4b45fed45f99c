//! What a lambda may call: `lnic.log`, `lnic.environment`, `lnic.secret`, `lnic.service` and `lnic.random`; and `lnic.call` and
//! `lnic.request`, which suspend it (`fiber.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use lnic_abi as abi;
use wasmtime::{Caller, Linker, Memory, StoreLimits, Trap};

use super::environment::Environment;
use super::fiber::{self, Exchange};
use super::linear::Span;
use crate::ids::LambdaId;
use crate::outside::{Random, Service, Services};

/// Fuel of a call of `lnic.log`: about what it takes.
pub(super) const LOG_FUEL: u64 = 300;
/// Fuel of a call of `lnic.call` or `lnic.request`: about what it takes to suspend and to resume.
pub(super) const CALL_FUEL: u64 = 2_000;
/// Fuel of a call of `lnic.environment`, `lnic.secret` or `lnic.service`: about what finding a value takes. Bytes are charged besides, a
/// unit each.
pub(super) const VALUE_FUEL: u64 = 500;
/// Fuel of a call of `lnic.random`: about what it takes.
pub(super) const RANDOM_FUEL: u64 = 300;
/// What those three return if there is nothing of that name.
const NO_VALUE: i32 = -1;
/// Lines that an instance may log at once.
const LOG_BURST: u64 = 16;
/// Time in which it earns one more.
const LOG_INTERVAL_NS: u64 = 1_000_000_000 / 16;

/// A line that a lambda has logged. Its bytes are the lambda's: whoever prints them escapes control characters.
#[derive(Clone, Copy)]
pub struct LogLine {
    /// ID of the lambda.
    pub lambda: u32,
    bytes: u8,
    text: [u8; abi::LOG_CAPACITY],
}

impl LogLine {
    fn new(lambda: LambdaId, text: &[u8]) -> Self {
        let mut line = Self { lambda: lambda.raw(), bytes: 0, text: [0; abi::LOG_CAPACITY] };
        for (place, byte) in line.text.iter_mut().zip(text) {
            *place = *byte;
            line.bytes += 1;
        }
        line
    }

    /// What it logged, cut off after [`abi::LOG_CAPACITY`] bytes.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.bytes)]
    }
}

/// The host as instances see it: where their log lines go. Clones share one queue.
#[derive(Clone)]
pub struct HostSide {
    lambda: LambdaId,
    environment: Environment,
    services: Services,
    shared: Arc<Shared>,
}

struct Shared {
    lines: ArrayQueue<LogLine>,
    limited: AtomicU64,
    lost: AtomicU64,
}

impl HostSide {
    /// A host whose log holds this many lines until somebody reads them, at least one.
    #[must_use]
    pub fn new(log_lines: usize) -> Self {
        let lines = ArrayQueue::new(log_lines.max(1));
        Self {
            lambda: LambdaId::default(),
            environment: Environment::default(),
            services: Services::default(),
            shared: Arc::new(Shared { lines, limited: AtomicU64::new(0), lost: AtomicU64::new(0) }),
        }
    }

    /// A host of its own with a short log: for tests and benchmarks.
    #[must_use]
    pub fn detached() -> Self {
        Self::new(64)
    }

    /// The same host for the instances of this lambda: its log lines carry the ID.
    #[must_use]
    pub fn of(&self, lambda: LambdaId) -> Self {
        Self { lambda, ..self.clone() }
    }

    /// The same host with this environment.
    #[must_use]
    pub fn with_environment(&self, environment: Environment) -> Self {
        Self { environment, ..self.clone() }
    }

    /// The same host with these services outside.
    #[must_use]
    pub fn with_services(&self, services: Services) -> Self {
        Self { services, ..self.clone() }
    }

    /// The oldest line that nobody has read.
    #[must_use]
    pub fn next_line(&self) -> Option<LogLine> {
        self.shared.lines.pop()
    }

    /// Lines that were not logged because their instance logs too much.
    #[must_use]
    pub fn lines_limited(&self) -> u64 {
        self.shared.limited.load(Ordering::Relaxed)
    }

    /// Lines that were not logged because the log was full.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The host's part of an instance; lies in its store.
pub(super) struct Host {
    pub(super) limits: StoreLimits,
    /// Set as soon as there is an instance.
    pub(super) memory: Option<Memory>,
    /// When the run began, for the log's limit.
    pub(super) time_ns: u64,
    /// What a request is handed over in; only a lambda that suspends has one, and not before its `init` is done.
    pub(super) exchange: Option<Box<Exchange>>,
    side: HostSide,
    random: Random,
    /// When a log line would be the burst's last but none (GCRA's theoretical arrival time).
    log_due_ns: u64,
}

impl Host {
    pub(super) fn new(limits: StoreLimits, side: HostSide) -> Self {
        Self { limits, memory: None, time_ns: 0, exchange: None, side, random: Random::new(), log_due_ns: 0 }
    }

    /// The service with this handle.
    pub(super) fn service(&self, handle: u32) -> Option<Service> {
        self.side.services.get(handle)
    }

    fn log(&mut self, text: &[u8]) {
        let lambda = self.side.lambda;
        let due_ns = self.log_due_ns.max(self.time_ns);
        let shared = &self.side.shared;
        if due_ns - self.time_ns > (LOG_BURST - 1) * LOG_INTERVAL_NS {
            shared.limited.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.log_due_ns = due_ns + LOG_INTERVAL_NS;
        if shared.lines.push(LogLine::new(lambda, text)).is_err() {
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes fuel for work of the host. Out of fuel traps.
pub(super) fn charge(caller: &mut Caller<'_, Host>, fuel: u64) -> wasmtime::Result<()> {
    match caller.get_fuel()?.checked_sub(fuel) {
        Some(rest) => caller.set_fuel(rest),
        None => {
            caller.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

/// Gives lambdas what they may import; the verifier has the same list.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        abi::IMPORT_MODULE,
        abi::IMPORT_LOG,
        |mut caller: Caller<'_, Host>, text: u32, bytes: u32| -> wasmtime::Result<()> {
            charge(&mut caller, LOG_FUEL)?;
            let span = Span::of(&caller, text, bytes)?;
            let mut text = [0; abi::LOG_CAPACITY];
            let bytes = span.read(&caller, &mut text);
            caller.data_mut().log(&text[..bytes]);
            Ok(())
        },
    )?;
    linker.func_wrap(
        abi::IMPORT_MODULE,
        abi::IMPORT_ENVIRONMENT,
        |caller: Caller<'_, Host>, name: u32, name_bytes: u32, out: u32, out_bytes: u32| {
            value(caller, (name, name_bytes), (out, out_bytes), Environment::variable)
        },
    )?;
    linker.func_wrap(
        abi::IMPORT_MODULE,
        abi::IMPORT_SECRET,
        |caller: Caller<'_, Host>, name: u32, name_bytes: u32, out: u32, out_bytes: u32| {
            value(caller, (name, name_bytes), (out, out_bytes), Environment::secret)
        },
    )?;
    linker.func_wrap(abi::IMPORT_MODULE, abi::IMPORT_SERVICE, service)?;
    linker.func_wrap(
        abi::IMPORT_MODULE,
        abi::IMPORT_RANDOM,
        |mut caller: Caller<'_, Host>| -> wasmtime::Result<u64> {
            charge(&mut caller, RANDOM_FUEL)?;
            Ok(caller.data_mut().random.number())
        },
    )?;
    linker.func_wrap_async(abi::IMPORT_MODULE, abi::IMPORT_CALL, |caller, arguments| {
        Box::new(fiber::call(caller, arguments))
    })?;
    linker.func_wrap_async(abi::IMPORT_MODULE, abi::IMPORT_REQUEST, |caller, arguments| {
        Box::new(fiber::request(caller, arguments))
    })?;
    Ok(())
}

/// A name that the lambda gives; `None` if it is too long to be one, or no text. Charged for.
fn named<'b>(
    caller: &mut Caller<'_, Host>,
    (name, name_bytes): (u32, u32),
    buffer: &'b mut [u8; abi::NAME_CAPACITY],
) -> wasmtime::Result<Option<&'b str>> {
    // No name is longer, so no more of it is looked at.
    let looked_at = u64::from(name_bytes).min(abi::NAME_CAPACITY as u64);
    charge(caller, VALUE_FUEL + looked_at)?;
    let name = Span::of(caller, name, name_bytes)?;
    if name_bytes as usize > buffer.len() {
        return Ok(None);
    }
    let bytes = name.read(caller, buffer);
    Ok(std::str::from_utf8(&buffer[..bytes]).ok())
}

/// `lnic.service`: handle of the service that goes by this name; −1 if there is none.
fn service(mut caller: Caller<'_, Host>, name: u32, name_bytes: u32) -> wasmtime::Result<i32> {
    let mut buffer = [0; abi::NAME_CAPACITY];
    let Some(name) = named(&mut caller, (name, name_bytes), &mut buffer)? else { return Ok(NO_VALUE) };
    let handle = caller.data().side.services.handle(name);
    Ok(handle.and_then(|handle| i32::try_from(handle).ok()).unwrap_or(NO_VALUE))
}

/// `lnic.environment` and `lnic.secret`: bytes of the value that goes by this name, of which those that fit are copied; −1 if there is none.
fn value(
    mut caller: Caller<'_, Host>,
    name: (u32, u32),
    (out, out_bytes): (u32, u32),
    find: for<'a> fn(&'a Environment, &str) -> Option<&'a [u8]>,
) -> wasmtime::Result<i32> {
    let mut buffer = [0; abi::NAME_CAPACITY];
    let name = named(&mut caller, name, &mut buffer)?;
    let out = Span::of(&caller, out, out_bytes)?;
    let Some(name) = name else { return Ok(NO_VALUE) };
    let environment = caller.data().side.environment.clone();
    let Some(value) = find(&environment, name) else { return Ok(NO_VALUE) };
    let fits = &value[..value.len().min(out_bytes as usize)];
    charge(&mut caller, fits.len() as u64)?;
    out.write(&mut caller, fits);
    Ok(i32::try_from(value.len()).unwrap_or(i32::MAX))
}
