//! What memory a configuration takes, line by line, and which limits it comes up against.

use std::collections::BTreeSet;

use serde::Serialize;

use super::code::{Code, Known};
use super::missing::Missing;
use super::roles;
use crate::control::config::Machine;
use crate::control::topology::{LambdaSpec, Pages, Topology};
use crate::ids::{IslandId, NpuId};
use crate::memory::{MemoryPlan, Sharing, Tier, TierBytes, Window};

#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) lines: Vec<MemoryLine>,
    pub(super) total_bytes: u64,
    pub(super) available_bytes: u64,
    pub(super) page_bytes: u64,
    pub(super) pages: String,
    pub(super) hugepages: Vec<HugepageSize>,
    /// The tiers that lambdas' memory comes from.
    pub(super) tiers: Vec<TierLine>,
}

#[derive(Debug, Serialize)]
pub(super) struct MemoryLine {
    pub(super) what: String,
    pub(super) bytes: u64,
    pub(super) how: String,
}

#[derive(Debug, Serialize)]
pub(super) struct HugepageSize {
    pub(super) page_bytes: u64,
    pub(super) reserved: u64,
    pub(super) free: u64,
}

/// A tier: one region of it is like the other.
#[derive(Debug, Serialize)]
pub(super) struct TierLine {
    pub(super) tier: &'static str,
    /// Regions of it.
    pub(super) regions: u64,
    /// Most bytes of each.
    pub(super) limit_bytes: u64,
    /// Bytes that lambdas take of the fullest.
    pub(super) planned_bytes: u64,
    /// Most bytes of each that one lambda may have.
    pub(super) lambda_bytes: u64,
}

/// Sums up.
pub(super) fn memory(topology: &Topology, machine: &Machine, codes: &[Known]) -> Memory {
    let spec = &topology.memory;
    let (page_bytes, pages) = match spec.pages(machine) {
        Ok(pages @ Pages::Huge { page_bytes, pages: count }) => {
            (pages.page_bytes(), format!("{count} hugepages of {} KiB", page_bytes / 1024))
        }
        Ok(pages @ Pages::Small) => (pages.page_bytes(), "4 KiB pages".into()),
        Ok(pages @ Pages::SmallForWant(want)) => (pages.page_bytes(), format!("4 KiB pages: {want}")),
        Err(want) => (want.page_kib * 1024, want.to_string()),
    };
    let pool = spec.pool_bytes(page_bytes).min(spec.eal_bytes());
    let waiting = match roles::waiting_frames(topology) {
        0 => String::new(),
        frames => {
            let mib = pool as f64 * frames as f64 / f64::from(spec.pool_frames) / f64::from(1 << 20);
            format!(", of which {frames} ({mib:.1} MiB) may wait in queues")
        }
    };
    let mut lines = vec![
        MemoryLine {
            what: "frame pool".into(),
            bytes: pool,
            how: format!("{} frames of {} bytes{waiting}", spec.pool_frames, spec.frame_bytes),
        },
        MemoryLine {
            what: "rest of DPDK".into(),
            bytes: spec.eal_bytes() - pool,
            how: format!("eal_mib {} less the pool", spec.eal_mib),
        },
    ];
    lines.extend(codes.iter().enumerate().map(|(at, known)| line(topology, at, known)));
    let demand = Demand::of(topology, &Deployed::all(topology, codes)).fullest();
    let regions = |tier| match tier {
        Tier::Local => topology.npus.len() as u64,
        Tier::Ctm => topology.islands.len() as u64,
        Tier::Imem | Tier::Emem => 1,
    };
    let tier = |tier: Tier| TierLine {
        tier: tier.name(),
        regions: regions(tier),
        limit_bytes: spec.tiers.regions.of(tier),
        planned_bytes: demand.of(tier),
        lambda_bytes: spec.tiers.lambda.of(tier),
    };
    let sizes = machine.hugepages.iter();
    Memory {
        total_bytes: lines.iter().map(|line| line.bytes).sum(),
        lines,
        available_bytes: machine.available_bytes,
        page_bytes,
        pages,
        hugepages: sizes
            .map(|size| HugepageSize {
                page_bytes: size.page_bytes,
                reserved: size.reserved,
                free: size.free,
            })
            .collect(),
        tiers: Tier::ALL.map(tier).into(),
    }
}

/// A lambda whose code can be deployed, and who has instances of it.
struct Deployed<'a> {
    spec: &'a LambdaSpec,
    plan: &'a MemoryPlan,
    npus: Vec<NpuId>,
    /// Instances on each of these.
    each: u64,
}

impl<'a> Deployed<'a> {
    fn new(topology: &'a Topology, at: usize, code: &'a Code) -> Self {
        let spec = &topology.lambdas[at];
        let (npus, each) = code.instances(topology, spec, at);
        Self { spec, plan: &code.plan, npus, each }
    }

    /// All that can be deployed.
    fn all(topology: &'a Topology, codes: &'a [Known]) -> Vec<Self> {
        let good = |(at, known): (usize, &'a Known)| match known {
            Some(Ok(code)) => Some(Self::new(topology, at, code)),
            _ => None,
        };
        codes.iter().enumerate().filter_map(good).collect()
    }

    fn islands(&self, topology: &Topology) -> BTreeSet<IslandId> {
        self.npus.iter().map(|npu| topology.npus[npu.index()].island).collect()
    }

    /// How often a window is there.
    fn copies(&self, sharing: Sharing, topology: &Topology) -> u64 {
        match sharing {
            Sharing::Instance => self.npus.len() as u64 * self.each,
            Sharing::Npu => self.npus.len() as u64,
            Sharing::Island => self.islands(topology).len() as u64,
            Sharing::All => 1,
        }
    }

    /// Bytes of all its instances.
    fn bytes(&self, topology: &Topology) -> u64 {
        let windows = self.plan.windows.iter();
        windows.map(|window| window.bytes * self.copies(window.sharing, topology)).sum()
    }

    /// Memory mappings of all its instances: dense memories lie in slabs that others have too; a window can be a piece of
    /// hugepages between two of small ones.
    fn mappings(&self) -> u64 {
        let windows = self.plan.windows.len() as u64;
        if self.plan.is_dense() { 0 } else { self.npus.len() as u64 * self.each * (1 + 3 * windows) }
    }

    /// Its windows in words.
    fn how(&self, topology: &Topology) -> String {
        let part = |window: &Window| {
            let (kib, tier) = (window.bytes / 1024, window.tier);
            match (window.sharing, self.copies(window.sharing, topology)) {
                (Sharing::Instance, 1) => format!("{kib} KiB of {tier} on one NPU"),
                (Sharing::Instance, count) if self.each > 1 => {
                    format!("{kib} KiB of {tier} for each of {count} instances")
                }
                (Sharing::Instance | Sharing::Npu, count) => {
                    format!("{kib} KiB of {tier} for each of {count} NPUs")
                }
                (Sharing::Island, 1) => format!("{kib} KiB of {tier} for its island"),
                (Sharing::Island, count) => format!("{kib} KiB of {tier} for each of {count} islands"),
                (Sharing::All, _) => format!("{kib} KiB of {tier} for all"),
            }
        };
        self.plan.windows.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

fn line(topology: &Topology, at: usize, known: &Known) -> MemoryLine {
    let what = format!("lambda {}", topology.lambdas[at].name);
    match known {
        Some(Ok(code)) => {
            let deployed = Deployed::new(topology, at, code);
            MemoryLine { what, bytes: deployed.bytes(topology), how: deployed.how(topology) }
        }
        Some(Err(_)) => MemoryLine { what, bytes: 0, how: "none: it cannot be deployed".into() },
        None => MemoryLine { what, bytes: 0, how: "not known: its module cannot be read".into() },
    }
}

/// Memory mappings that lambdas need.
pub(super) fn mappings(topology: &Topology, codes: &[Known]) -> u64 {
    Deployed::all(topology, codes).iter().map(Deployed::mappings).sum()
}

/// Bytes that lambdas take of each region.
struct Demand {
    local: Vec<u64>,
    ctm: Vec<u64>,
    imem: u64,
    emem: u64,
}

impl Demand {
    fn of<'a>(topology: &Topology, lambdas: impl IntoIterator<Item = &'a Deployed<'a>>) -> Self {
        let (npus, islands) = (topology.npus.len(), topology.islands.len());
        let mut demand = Self { local: vec![0; npus], ctm: vec![0; islands], imem: 0, emem: 0 };
        for lambda in lambdas {
            lambda.plan.windows.iter().for_each(|window| demand.add(window, topology, lambda));
        }
        demand
    }

    fn add(&mut self, window: &Window, topology: &Topology, lambda: &Deployed<'_>) {
        let on_npu =
            if window.sharing == Sharing::Instance { window.bytes * lambda.each } else { window.bytes };
        match (window.tier, window.sharing) {
            (Tier::Local, _) => {
                lambda.npus.iter().for_each(|npu| self.local[npu.index()] += on_npu);
            }
            (Tier::Ctm, Sharing::Instance | Sharing::Npu) => {
                for npu in &lambda.npus {
                    self.ctm[topology.npus[npu.index()].island.index()] += on_npu;
                }
            }
            (Tier::Ctm, _) => {
                let islands = lambda.islands(topology);
                islands.iter().for_each(|island| self.ctm[island.index()] += window.bytes);
            }
            (Tier::Imem, sharing) => self.imem += window.bytes * lambda.copies(sharing, topology),
            (Tier::Emem, sharing) => self.emem += window.bytes * lambda.copies(sharing, topology),
        }
    }

    /// The fullest region of each tier.
    fn fullest(&self) -> TierBytes {
        let most = |regions: &[u64]| regions.iter().copied().max().unwrap_or(0);
        TierBytes([most(&self.local), most(&self.ctm), self.imem, self.emem])
    }
}

/// Limits and quotas that are too small for what is configured.
pub(super) fn missing(topology: &Topology, codes: &[Known]) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut judge = |whose: &str, demand: &Demand, most: TierBytes, fix: &dyn Fn(Tier) -> String| {
        for tier in Tier::ALL {
            let (wanted, limit) = (demand.fullest().of(tier), most.of(tier));
            if wanted > limit {
                missing.push(Missing {
                    what: format!("{whose}: {wanted} bytes of {tier} needed, {limit} allowed"),
                    fix: format!("raise {} to {}", fix(tier), wanted.div_ceil(1 << 20)),
                });
            }
        }
    };
    let tiers = &topology.memory.tiers;
    let lambdas = Deployed::all(topology, codes);
    judge("lambdas", &Demand::of(topology, &lambdas), tiers.regions, &|tier| {
        format!("[memory.tiers] {tier}_mib")
    });
    for (at, tenant) in topology.tenants.iter().enumerate() {
        if tenant.quota != TierBytes::UNLIMITED {
            let theirs = lambdas.iter().filter(|lambda| lambda.spec.tenant == at);
            let whose = format!("tenant \"{}\"", tenant.name);
            judge(&whose, &Demand::of(topology, theirs), tenant.quota, &|tier| format!("its {tier}_mib"));
        }
    }
    for lambda in &lambdas {
        let whose = format!("lambda \"{}\"", lambda.spec.name);
        judge(&whose, &Demand::of(topology, [lambda]), tiers.lambda, &|tier| {
            format!("[memory.tiers] lambda_{tier}_mib")
        });
    }
    missing
}
