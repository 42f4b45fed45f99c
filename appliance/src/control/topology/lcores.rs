//! Which CPUs the appliance uses: `[lcores]`, and what `[[islands]]` and `[[dispatchers]]` say of them.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::{dispatchers, islands};
use crate::control::config::raw::{self, Scalar, Value};
use crate::control::config::{Cpu, Machine, Problems};
use crate::ids::LcoreId;

/// DPDK's lcores (`RTE_MAX_LCORE`), less the main one.
const WORKERS: usize = 127;

/// CPUs and their lcores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcores {
    /// Sleeps; the control threads run on its CPU too. It is lcore 0.
    pub main: Lcore,
    /// Poll ports, run lambdas or both; lcores 1 and up. Never empty. A worker shares the main lcore's CPU only if there is no
    /// other.
    pub workers: Vec<Lcore>,
}

/// One lcore and its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lcore {
    /// The lcore.
    pub id: LcoreId,
    /// The CPU that it is pinned to.
    pub cpu: Cpu,
}

impl Lcores {
    /// The lcore of the worker on a CPU.
    pub(super) fn worker(&self, cpu: Cpu) -> Option<LcoreId> {
        self.workers.iter().find(|worker| worker.cpu == cpu).map(|worker| worker.id)
    }
}

/// Main takes the first CPU and workers the others, unless the configuration says which.
pub(super) fn lcores(
    raw: &raw::Configuration,
    islands: &[islands::Draft],
    dispatchers: &[dispatchers::Draft<'_>],
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Lcores {
    let main = main_cpu(&raw.lcores.main, machine, problems);
    let mut workers = worker_cpus(&raw.lcores.workers, machine, problems);
    let role = if islands.is_empty() { "[[dispatchers]]" } else { "[[islands]]" };
    if let (Some(_), Some(value), false) =
        (&workers, &raw.lcores.workers, islands.is_empty() && dispatchers.is_empty())
    {
        let text = format!("[lcores] workers: not beside {role}: leave it out or \"auto\"");
        problems.wrong(Some(value.span()), text);
        workers = None;
    }
    separate(main, &raw.lcores.main, workers.as_deref(), islands, dispatchers, machine, problems);

    let dispatching: BTreeSet<Cpu> = dispatchers.iter().filter_map(|draft| draft.cpu).collect();
    let npus = islands.iter().flat_map(|draft| &draft.cpus).copied();
    let roles: BTreeSet<Cpu> = npus.chain(dispatching.iter().copied()).collect();
    if roles.len() > WORKERS {
        let text = format!("{} CPUs of NPUs and dispatchers, over the limit of {WORKERS}", roles.len());
        let span = raw.islands.first().map(Spanned::span);
        problems.wrong(span.or_else(|| raw.dispatchers.first().map(Spanned::span)), text);
    }
    if !islands.iter().all(|draft| draft.cpus.is_empty()) {
        workers = Some(roles.iter().copied().take(WORKERS).collect());
    }

    let first = machine.cpus.first().copied().unwrap_or_default();
    let free = |taken: &dyn Fn(&Cpu) -> bool| machine.cpus.iter().copied().find(|cpu| !taken(cpu));
    let (main, workers) = match (main, workers) {
        (Some(main), Some(workers)) => (main, workers),
        (None, Some(workers)) => (free(&|cpu| workers.contains(cpu)).unwrap_or(first), workers),
        (main, None) => {
            let main = main.or_else(|| free(&|cpu| dispatching.contains(cpu))).unwrap_or(first);
            (main, others(main, dispatching, machine))
        }
    };
    let lcore = |(id, cpu)| Lcore { id: LcoreId::new(id), cpu };
    Lcores { main: lcore((0, main)), workers: (1..).zip(workers).map(lcore).collect() }
}

/// The CPUs that dispatch and all that are not main's, ascending; main's own if there is no other.
fn others(main: Cpu, dispatching: BTreeSet<Cpu>, machine: &Machine) -> Vec<Cpu> {
    let mut cpus = dispatching;
    let free: Vec<Cpu> =
        machine.cpus.iter().copied().filter(|cpu| *cpu != main && !cpus.contains(cpu)).collect();
    cpus.extend(free.into_iter().take(WORKERS.saturating_sub(cpus.len())));
    if cpus.is_empty() { vec![main] } else { cpus.into_iter().take(WORKERS).collect() }
}

/// Notes that somebody spins on the CPU that was chosen for the control threads, unless there is no other.
fn separate(
    main: Option<Cpu>,
    place: &Value<Scalar>,
    workers: Option<&[Cpu]>,
    islands: &[islands::Draft],
    dispatchers: &[dispatchers::Draft<'_>],
    machine: &Machine,
    problems: &mut Problems<'_>,
) {
    let (Some(main), Some(place)) = (main, place) else { return };
    if machine.cpus.len() == 1 {
        return;
    }
    let mut refuse = |whose: String, who: &str| {
        let text = format!("[lcores] main: {main} is {whose} too: {who} would starve the control threads");
        problems.wrong(Some(place.span()), text);
    };
    if workers.is_some_and(|workers| workers.contains(&main)) {
        refuse("a worker's".into(), "a worker");
    }
    if let Some(island) = islands.iter().find(|island| island.cpus.contains(&main)) {
        refuse(format!("an NPU's of island \"{}\"", island.name), "an NPU");
    }
    if dispatchers.iter().any(|dispatcher| dispatcher.cpu == Some(main)) {
        refuse("a dispatcher's".into(), "a dispatcher");
    }
}

/// The CPU that was named; `None` for `"auto"`.
fn main_cpu(value: &Value<Scalar>, machine: &Machine, problems: &mut Problems<'_>) -> Option<Cpu> {
    let value = value.as_ref()?;
    match value.get_ref() {
        Scalar::Text(text) if text == "auto" => None,
        Scalar::Integer(number) => given("[lcores] main", *number, value.span(), machine, problems),
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
        } else if let Some(cpu) = given("[lcores] workers", number, value.span(), machine, problems) {
            cpus.push(cpu);
        }
    }
    if cpus.is_empty() { None } else { Some(cpus) }
}

/// The CPU, if this process may run on it.
pub(super) fn given(
    place: &str,
    number: i64,
    span: Range<usize>,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Option<Cpu> {
    let cpu = u32::try_from(number).ok().map(Cpu::new).filter(|cpu| machine.cpus.contains(cpu));
    if cpu.is_none() {
        let list = machine.cpu_list();
        let text = format!("{place}: CPU {number} was not given to this process: it may use {list}");
        problems.wrong(Some(span), text);
    }
    cpu
}
