//! NPUs and their islands: as `[[islands]]` says, or one island for each NUMA node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use toml::Spanned;

use super::{Lcores, lcores, ports};
use crate::control::config::raw;
use crate::control::config::{Cpu, Machine, Problems};
use crate::ids::{IslandId, LcoreId, NpuId};

/// A group of NPUs that share memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IslandSpec {
    /// Its place in the list of islands.
    pub id: IslandId,
    /// Its name.
    pub name: String,
    /// NUMA node of its NPUs; `None` if they are on several, or the kernel does not tell.
    pub numa_node: Option<u32>,
    /// Its NPUs; never empty.
    pub npus: Vec<NpuId>,
}

/// One NPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpuSpec {
    /// Its place in the list of NPUs, which counts over all islands.
    pub id: NpuId,
    /// The island that it belongs to.
    pub island: IslandId,
    /// The lcore that hosts it.
    pub lcore: LcoreId,
    /// NUMA node of its CPU, if the kernel tells.
    pub numa_node: Option<u32>,
}

/// An island by its CPUs, before lcores and NPUs have numbers.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) cpus: Vec<Cpu>,
    /// Where it was written, if it was.
    pub(super) span: Option<Range<usize>>,
}

/// Judges `[[islands]]`.
pub(super) fn written(
    raw: &[Spanned<raw::Island>],
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Vec<Draft> {
    let mut names = BTreeSet::new();
    let mut taken: HashMap<Cpu, String> = HashMap::new();
    let mut drafts = Vec::new();
    for (at, island) in raw.iter().enumerate() {
        let draft = one(at, island, &mut taken, machine, problems);
        if let Some(name) = &island.get_ref().name
            && !names.insert(name.get_ref())
        {
            let text = format!("island \"{}\": there is another island of this name", draft.name);
            problems.wrong(Some(name.span()), text);
        }
        drafts.push(draft);
    }
    drafts
}

fn one(
    at: usize,
    raw: &Spanned<raw::Island>,
    taken: &mut HashMap<Cpu, String>,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Draft {
    let span = Some(raw.span());
    let raw = raw.get_ref();
    let name = raw.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
    let place =
        if name.is_empty() { format!("[[islands]] number {}", at + 1) } else { format!("island \"{name}\"") };
    ports::judge_name(&place, &raw.name, span.clone(), problems);
    let mut cpus = Vec::new();
    match &raw.npus {
        Some(numbers) if !numbers.get_ref().is_empty() => {
            for number in numbers.get_ref() {
                let here = format!("{place}: npus");
                let given = lcores::given(&here, *number.get_ref(), number.span(), machine, problems);
                let Some(cpu) = given else { continue };
                if cpus.contains(&cpu) {
                    problems.wrong(Some(number.span()), format!("{here}: {cpu} is listed twice"));
                } else if let Some(other) = taken.get(&cpu) {
                    problems.wrong(Some(number.span()), format!("{here}: {cpu} is in {other} already"));
                } else {
                    cpus.push(cpu);
                }
            }
        }
        other => {
            let span = other.as_ref().map(Spanned::span).or_else(|| span.clone());
            problems.wrong(span, format!("{place}: has no npus, a list of CPUs such as [1, 2]"));
        }
    }
    taken.extend(cpus.iter().map(|&cpu| (cpu, place.clone())));
    Draft { name, cpus, span }
}

/// One island for each NUMA node that has some of these CPUs, named "island0" and so on.
pub(super) fn by_numa_node(cpus: impl Iterator<Item = Cpu>, machine: &Machine) -> Vec<Draft> {
    let mut nodes: BTreeMap<Option<u32>, Vec<Cpu>> = BTreeMap::new();
    for cpu in cpus {
        nodes.entry(machine.numa_node(cpu)).or_default().push(cpu);
    }
    let draft = |(at, cpus)| Draft { name: format!("island{at}"), cpus, span: None };
    nodes.into_values().enumerate().map(draft).collect()
}

/// Gives islands and NPUs their numbers, and NPUs their lcores.
pub(super) fn number(
    drafts: &[Draft],
    lcores: &Lcores,
    machine: &Machine,
) -> (Vec<IslandSpec>, Vec<NpuSpec>) {
    let (mut islands, mut npus): (Vec<IslandSpec>, Vec<NpuSpec>) = (Vec::new(), Vec::new());
    for (id, draft) in (0..).map(IslandId::new).zip(drafts) {
        let hosts = draft.cpus.iter().filter_map(|&cpu| Some((cpu, lcores.worker(cpu)?)));
        let first = npus.len();
        npus.extend((0..).skip(first).map(NpuId::new).zip(hosts).map(|(npu, (cpu, lcore))| NpuSpec {
            id: npu,
            island: id,
            lcore,
            numa_node: machine.numa_node(cpu),
        }));
        let nodes: BTreeSet<Option<u32>> = draft.cpus.iter().map(|&cpu| machine.numa_node(cpu)).collect();
        islands.push(IslandSpec {
            id,
            name: draft.name.clone(),
            numa_node: if nodes.len() == 1 { nodes.into_iter().flatten().next() } else { None },
            npus: npus[first..].iter().map(|npu| npu.id).collect(),
        });
    }
    (islands, npus)
}
