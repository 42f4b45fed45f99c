//! Judges what concerns the appliance as a whole: names, lcores, idling, budgets.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;

use super::{Budget, DEFAULT_SOCKET, Idle, Lcore, Lcores, Sleep, Topology, lambdas, memory, ports, rules};
use crate::control::config::raw::{self, Scalar, Value};
use crate::control::config::{Cpu, Machine, Problems};
use crate::ids::LcoreId;

/// Longest path that a unix socket can have, without its final zero.
const SOCKET_PATH_BYTES: usize = 107;
/// DPDK's lcores (`RTE_MAX_LCORE`), less the main one.
const WORKERS: usize = 127;
/// UDP port that λ-RPC has if nothing else is said.
const RPC_PORT: u16 = 4793;

/// Judges all of a configuration.
pub(super) fn topology(
    raw: &raw::Configuration,
    folder: &Path,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Topology {
    let memory = memory::memory(&raw.memory, problems);
    let lcores = lcores(&raw.lcores, machine, problems);
    let budget = budget(&raw.budget, problems);
    let workers = lcores.workers.len() as u16;
    let ports = ports::ports(raw, &ports::Context { folder, machine, memory: &memory, workers }, problems);
    let lambdas = lambdas::lambdas(&raw.lambdas, folder, &budget, problems);
    let rules = rules::rules(&raw.rules, &ports, &lambdas, problems);
    Topology {
        name: name(&raw.name, problems),
        socket: socket(&raw.socket, folder, problems),
        memory,
        eal_extra_args: extra_args(&raw.eal, problems),
        lcores,
        idle: idle(&raw.idle, problems),
        rpc_port: problems.integer("[rpc] port", &raw.rpc.port, 1..=u16::MAX, RPC_PORT),
        budget,
        ports,
        lambdas,
        rules,
    }
}

/// A relative path starts at the configuration's folder. `configs/../lambdas` becomes `lambdas`, unless `configs` is a symbolic
/// link, whose parent is another's.
pub(super) fn resolve(folder: &Path, path: &str) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in folder.join(path).components() {
        let last = resolved.components().next_back();
        if component == Component::ParentDir
            && matches!(last, Some(Component::Normal(_)))
            && !resolved.is_symlink()
        {
            resolved.pop();
        } else {
            resolved.push(component);
        }
    }
    resolved
}

fn name(value: &Value<String>, problems: &mut Problems<'_>) -> String {
    let Some(value) = value else { return "lnic".into() };
    let name = value.get_ref();
    let fits = (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !fits {
        problems.wrong(
            Some(value.span()),
            format!("name: \"{name}\": allowed are 1–32 letters, digits, - and _"),
        );
    }
    name.clone()
}

fn socket(value: &Value<String>, folder: &Path, problems: &mut Problems<'_>) -> PathBuf {
    let Some(value) = value else { return DEFAULT_SOCKET.into() };
    let path = resolve(folder, value.get_ref());
    let bytes = path.as_os_str().len();
    if value.get_ref().is_empty() || bytes > SOCKET_PATH_BYTES {
        problems.wrong(
            Some(value.span()),
            format!("socket: a path of {bytes} bytes; a unix socket's has 1–{SOCKET_PATH_BYTES}"),
        );
    }
    path
}

/// Arguments that this configuration has keys for would contradict them.
fn extra_args(raw: &raw::Eal, problems: &mut Problems<'_>) -> Vec<String> {
    const OWNED: [(&str, &str); 9] = [
        ("-l", "[lcores]"),
        ("-c", "[lcores]"),
        ("--lcores", "[lcores]"),
        ("--main-lcore", "[lcores] main"),
        ("-m", "[memory] eal_mib"),
        ("--no-huge", "[memory] hugepages"),
        ("--vdev", "[[ports]] devargs"),
        ("-a", "[[ports]] devargs"),
        ("--allow", "[[ports]] devargs"),
    ];
    for argument in &raw.extra_args {
        let text = argument.get_ref();
        // Short options may have their value attached: -l0-1.
        let short = text.get(..2).filter(|_| text.starts_with('-') && !text.starts_with("--"));
        let option = short.unwrap_or_else(|| text.split('=').next().unwrap_or(text));
        if ["-h", "--help", "-v"].contains(&option) {
            let text = format!(
                "[eal] extra_args: \"{option}\" would end the appliance: `lnic run --help` is its own"
            );
            problems.wrong(Some(argument.span()), text);
        }
        if let Some((_, key)) = OWNED.iter().find(|(owned, _)| *owned == option) {
            problems.wrong(
                Some(argument.span()),
                format!("[eal] extra_args: \"{option}\" is not allowed here: use {key}"),
            );
        }
    }
    raw.extra_args.iter().map(|argument| argument.get_ref().clone()).collect()
}

fn idle(raw: &raw::Idle, problems: &mut Problems<'_>) -> Idle {
    let default = Idle::default();
    let ways = [
        ("auto", Sleep::Auto),
        ("descriptor", Sleep::Descriptor),
        ("timer", Sleep::Timer),
        ("never", Sleep::Never),
    ];
    Idle {
        spin_polls: problems.integer(
            "[idle] spin_polls",
            &raw.spin_polls,
            0..=1_000_000_000,
            default.spin_polls,
        ),
        yield_polls: problems.integer(
            "[idle] yield_polls",
            &raw.yield_polls,
            0..=1_000_000_000,
            default.yield_polls,
        ),
        sleep: problems.choice("[idle] sleep", &raw.sleep, &ways, default.sleep),
        timer_us: problems.integer("[idle] timer_us", &raw.timer_us, 1..=1_000_000, default.timer_us),
        max_sleep_ms: problems.integer(
            "[idle] max_sleep_ms",
            &raw.max_sleep_ms,
            1..=10_000,
            default.max_sleep_ms,
        ),
    }
}

fn budget(raw: &raw::Budget, problems: &mut Problems<'_>) -> Budget {
    let default = Budget::default();
    let range = 1..=1_000_000_000_000;
    let max_fuel = problems.integer("[budget] max_fuel", &raw.max_fuel, range.clone(), default.max_fuel);
    let default_fuel = problems.integer(
        "[budget] default_fuel",
        &raw.default_fuel,
        range,
        default.default_fuel.min(max_fuel),
    );
    if default_fuel > max_fuel {
        let span = raw.default_fuel.as_ref().map(Spanned::span);
        problems.wrong(span, format!("[budget] default_fuel: {default_fuel}, over max_fuel {max_fuel}"));
    }
    Budget { default_fuel, max_fuel }
}

/// Main takes the first CPU and workers the others, unless the configuration says which.
fn lcores(raw: &raw::Lcores, machine: &Machine, problems: &mut Problems<'_>) -> Lcores {
    let main = main_cpu(&raw.main, machine, problems);
    let workers = worker_cpus(&raw.workers, machine, problems);
    if let (Some(main), Some(workers), Some(place)) = (main, &workers, &raw.main)
        && workers.contains(&main)
    {
        problems.wrong(
            Some(place.span()),
            format!("[lcores] main: {main} is a worker's too: a worker would starve the control threads"),
        );
    }
    let first = machine.cpus.first().copied().unwrap_or_default();
    let (main, workers) = match (main, workers) {
        (Some(main), Some(workers)) => (main, workers),
        (None, Some(workers)) => {
            let free = machine.cpus.iter().copied().find(|cpu| !workers.contains(cpu));
            (free.unwrap_or(first), workers)
        }
        (main, None) => {
            let main = main.unwrap_or(first);
            let others: Vec<Cpu> =
                machine.cpus.iter().copied().filter(|&cpu| cpu != main).take(WORKERS).collect();
            (main, if others.is_empty() { vec![main] } else { others })
        }
    };
    let lcore = |(id, cpu)| Lcore { id: LcoreId::new(id), cpu };
    Lcores { main: lcore((0, main)), workers: (1..).zip(workers).map(lcore).collect() }
}

/// The CPU that was named; `None` for `"auto"`.
fn main_cpu(value: &Value<Scalar>, machine: &Machine, problems: &mut Problems<'_>) -> Option<Cpu> {
    let value = value.as_ref()?;
    match value.get_ref() {
        Scalar::Text(text) if text == "auto" => None,
        Scalar::Integer(number) => given("main", *number, value, machine, problems),
        other => {
            problems.wrong(
                Some(value.span()),
                format!("[lcores] main: {other}: allowed are \"auto\" and the number of a CPU"),
            );
            None
        }
    }
}

/// The CPUs that were named; `None` for `"auto"`.
fn worker_cpus(value: &Value<Scalar>, machine: &Machine, problems: &mut Problems<'_>) -> Option<Vec<Cpu>> {
    let value = value.as_ref()?;
    let mut refuse = |what: String| {
        problems.wrong(
            Some(value.span()),
            format!("[lcores] workers: {what}: allowed are \"auto\" and a list of CPUs such as [1, 2]"),
        );
        None
    };
    let numbers = match value.get_ref() {
        Scalar::Text(text) if text == "auto" => return None,
        Scalar::Integers(numbers) if (1..=WORKERS).contains(&numbers.len()) => numbers,
        Scalar::Integers(numbers) => return refuse(format!("{} CPUs, not 1–{WORKERS}", numbers.len())),
        other => return refuse(other.to_string()),
    };
    let mut seen = BTreeSet::new();
    let mut cpus = Vec::new();
    for &number in numbers {
        if !seen.insert(number) {
            problems.wrong(Some(value.span()), format!("[lcores] workers: CPU {number} is listed twice"));
        } else if let Some(cpu) = given("workers", number, value, machine, problems) {
            cpus.push(cpu);
        }
    }
    if cpus.is_empty() { None } else { Some(cpus) }
}

/// The CPU, if this process may run on it.
fn given(
    key: &str,
    number: i64,
    value: &Spanned<Scalar>,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Option<Cpu> {
    let cpu = u32::try_from(number).ok().map(Cpu::new).filter(|cpu| machine.cpus.contains(cpu));
    if cpu.is_none() {
        problems.wrong(
            Some(value.span()),
            format!(
                "[lcores] {key}: CPU {number} was not given to this process: it may use {}",
                machine.cpu_list()
            ),
        );
    }
    cpu
}
