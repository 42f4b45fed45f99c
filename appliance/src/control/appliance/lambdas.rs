//! Lambdas of the configuration: compiled, and as what they are deployed.

use std::collections::BTreeSet;

use lnic_registry::LambdaKey;

use super::StartError;
use super::coalesce::{Bounds, Coalesced, Ready, Source, Wishes};
use super::live::Wanted;
use crate::control::config::Machine;
use crate::control::topology::{HugepageMode, LambdaSpec, Topology};
use crate::ids::LambdaRef;
use crate::lambda::Environment;
use crate::matcher::Rule;
use crate::memory::{Hugepages, NpuPlace, RegionSettings, Regions};

/// The tiers' regions; they take nothing yet.
pub(super) fn regions(topology: &Topology, machine: &Machine) -> Regions {
    // On a single node there is nothing to choose.
    let several = machine.numa_nodes.values().collect::<BTreeSet<_>>().len() > 1;
    let place = |numa_node: Option<u32>| numa_node.filter(|_| several);
    let npus: Vec<NpuPlace> = topology
        .npus
        .iter()
        .map(|npu| NpuPlace { island: npu.island, numa_node: place(npu.numa_node) })
        .collect();
    let hugepages = match topology.memory.hugepages {
        HugepageMode::Auto => Hugepages::Auto,
        HugepageMode::Required => Hugepages::Required,
        HugepageMode::Off => Hugepages::Off,
    };
    Regions::new(&RegionSettings { limits: topology.memory.tiers.regions, hugepages }, &npus)
}

/// Where a rule stands among those of the same priority.
type Order = (u64, u32);
/// A lambda of the configuration with its rules.
pub(super) type Configured = (Wanted, Vec<(Order, Rule)>);

/// The key of a lambda of the configuration: its namespace is its tenant.
pub(super) fn key(topology: &Topology, spec: &LambdaSpec) -> LambdaKey {
    LambdaKey::new(&topology.tenants[spec.tenant].name, &spec.name)
}

/// Makes every lambda ready to be deployed, with its rules where the configuration has them.
pub(super) fn configured(
    topology: &Topology,
    compile: impl FnOnce(&[Source<'_>], &Bounds) -> Result<(Vec<Ready>, Coalesced), StartError>,
) -> Result<Vec<Configured>, StartError> {
    let specs = &topology.lambdas;
    let sources: Vec<Source<'_>> = specs
        .iter()
        .map(|spec| Source {
            name: &spec.name,
            file: &spec.file,
            entry: &spec.entry,
            wishes: Wishes::of(spec, topology),
        })
        .collect();
    let (ready, _) = compile(&sources, &Bounds::of(topology))?;
    let mut rules: Vec<Vec<(Order, Rule)>> = vec![Vec::new(); specs.len()];
    for ((at, spec), rules) in (0..).zip(specs).zip(&mut rules) {
        if spec.rpc {
            let rule = Rule { egress: spec.egress, ..Rule::rpc(spec.id, LambdaRef::default()) };
            rules.push(((0, at), rule));
        }
    }
    for (at, rule) in (0..).zip(&topology.rules) {
        if let Some(rules) = rules.get_mut(rule.lambda.slot.index()) {
            rules.push(((1, at), rule.clone()));
        }
    }
    let wanted = |(spec, ready): (&LambdaSpec, _)| Wanted {
        key: key(topology, spec),
        spec: spec.clone(),
        ready,
        rules: Vec::new(),
        environment: Environment::default(),
        replicas: None,
        generation: 1,
    };
    Ok(specs.iter().zip(ready).map(wanted).zip(rules).collect())
}
