//! From modules to lambdas that are ready to run: compiled once, an instance for each NPU that may run them.

use std::collections::BTreeSet;
use std::sync::Arc;

use lnic_compiler::placement::Runs;
use lnic_compiler::slots::SlotArea;

use super::StartError;
use super::coalesce::{self, Bounds, Coalesced, Source, Wishes};
use crate::control::config::Machine;
use crate::control::inspect::Inspection;
use crate::control::topology::{HugepageMode, LambdaSpec, Topology};
use crate::ids::{LambdaRef, NpuId};
use crate::island::{Budget, Loaded};
use crate::lambda::{Engine, HostSide, Image, Instance, PrepareError};
use crate::memory::{Account, Deployment, Hugepages, NpuPlace, RegionSettings, Regions, Tenant};
use crate::parser::HeaderSet;

/// A lambda, compiled.
pub(super) struct Prepared {
    spec: LambdaSpec,
    image: Image,
    /// Its memory: what its instances share stays when one is made again.
    deployment: Deployment,
    /// What the compiler found and decided; the same for those that share it.
    inspection: Arc<Inspection>,
    /// Where its message slots are.
    slots: Option<SlotArea>,
    /// How it is called now.
    pub(super) reference: LambdaRef,
    /// It runs on one NPU at a time.
    pub(super) pinned: bool,
    /// NPUs of its islands.
    pub(super) npus: Vec<NpuId>,
    budget: Budget,
    host: HostSide,
}

impl Prepared {
    /// It calls others, and waits for their answers.
    pub(super) fn suspends(&self) -> bool {
        self.image.shape().suspends
    }

    /// Headers that it touches.
    pub(super) fn headers(&self) -> HeaderSet {
        HeaderSet::of(&self.image.shape().header_use)
    }

    /// Requests of it that may be under way on one NPU.
    pub(super) fn in_flight(&self) -> u32 {
        // Several at a time have a memory each: one that is pinned because of its globals has one.
        if self.suspends() && !self.pinned { self.spec.in_flight } else { 1 }
    }

    /// Where its message slots are, and its memory.
    pub(super) fn slots(&self) -> Option<(SlotArea, &Deployment)> {
        Some((self.slots?, &self.deployment))
    }

    /// Its instances see the same variables.
    pub(super) fn is_shared(&self) -> bool {
        // A window of message slots is shared too, but they are no variables.
        self.image.plan().windows.len() > 1 + usize::from(self.slots.is_some())
    }

    /// What the compiler found and decided.
    pub(super) fn inspection(&self) -> &Arc<Inspection> {
        &self.inspection
    }

    pub(super) fn spec(&self) -> &LambdaSpec {
        &self.spec
    }

    /// A fresh one for an NPU.
    pub(super) fn load(&self, npu: NpuId) -> Result<Box<Loaded>, StartError> {
        let seat = self.deployment.seat(npu);
        let instance = || {
            Instance::new(&self.image, self.budget.fuel, &self.host, &seat).map_err(|source| {
                StartError::Lambda { name: self.spec.name.clone(), file: self.spec.file.clone(), source }
            })
        };
        let more = (1..self.in_flight()).map(|_| instance()).collect::<Result<_, _>>()?;
        Ok(Loaded::new(self.spec.id, self.reference.generation, self.budget, instance()?, more))
    }
}

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

/// Makes every lambda ready to run, and says what coalescing their code has saved.
pub(super) fn prepare(
    topology: &Topology,
    engine: &Engine,
    host: &HostSide,
    regions: &Regions,
    fuel_per_us: u32,
) -> Result<(Vec<Prepared>, Coalesced), StartError> {
    let specs = &topology.lambdas;
    let npus = |spec: &LambdaSpec| -> Vec<NpuId> {
        let own = topology.npus.iter().filter(|npu| spec.islands.contains(&npu.island));
        own.map(|npu| npu.id).collect()
    };
    let sources: Vec<Source<'_>> = specs
        .iter()
        .map(|spec| Source {
            name: &spec.name,
            file: &spec.file,
            entry: &spec.entry,
            wishes: Wishes::of(spec, topology),
        })
        .collect();
    let tiers = &topology.memory.tiers;
    let bounds = Bounds::of(topology);
    let (ready, coalesced) = coalesce::compile(engine, &sources, &bounds)?;
    let references = topology.references();
    let tenants: Vec<Tenant> =
        topology.tenants.iter().map(|tenant| Tenant::new(&tenant.name, tenant.quota)).collect();
    let lambdas = specs
        .iter()
        .zip(ready)
        .zip(references)
        .map(|((spec, ready), reference)| {
            let account = Account::new(&spec.name, tiers.lambda, &tenants[spec.tenant]);
            let deployment = ready.image.deploy(regions, account).map_err(|error| StartError::Lambda {
                name: spec.name.clone(),
                file: spec.file.clone(),
                source: PrepareError::Plan(error),
            })?;
            Ok(Prepared {
                pinned: ready.runs == Runs::OnOneNpu,
                npus: npus(spec),
                reference,
                budget: Budget {
                    fuel: u64::from(spec.budget_us) * u64::from(fuel_per_us),
                    // Configured fuel reaches equally far whatever time it takes.
                    time_ns: match topology.budget.fuel_per_us {
                        Some(_) => u64::MAX,
                        None => u64::from(spec.budget_us) * 1000,
                    },
                },
                host: host.of(spec.id),
                spec: spec.clone(),
                inspection: ready.inspection,
                slots: ready.slots,
                deployment,
                image: ready.image,
            })
        })
        .collect::<Result<_, StartError>>()?;
    Ok((lambdas, coalesced))
}
