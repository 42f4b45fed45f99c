//! All regions of an appliance.

use std::sync::Arc;

use lnic_compiler::Tier;

use super::{Hugepages, Owner, Region, RegionUsage, TierBytes};
use crate::ids::{IslandId, NpuId};

/// How regions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSettings {
    /// Most bytes of each region, by tier.
    pub limits: TierBytes,
    /// Whether they take reserved hugepages.
    pub hugepages: Hugepages,
}

impl Default for RegionSettings {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            limits: TierBytes([4096 * MIB, 4096 * MIB, 4096 * MIB, 16_384 * MIB]),
            hugepages: Hugepages::Auto,
        }
    }
}

/// Where an NPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NpuPlace {
    /// Its island.
    pub island: IslandId,
    /// NUMA node of its CPU, where there are several.
    pub numa_node: Option<u32>,
}

/// IMEM, EMEM, a CTM for each island, a Local for each NPU. They take nothing until they are used. Clones are the same.
#[derive(Clone)]
pub struct Regions(Arc<Inner>);

struct Inner {
    imem: Arc<Region>,
    emem: Arc<Region>,
    /// By island.
    ctm: Vec<Arc<Region>>,
    /// By NPU.
    local: Vec<Arc<Region>>,
    npus: Vec<NpuPlace>,
}

impl Regions {
    /// Regions for these NPUs. An island's memory comes from the node of its NPUs if they have one in common.
    #[must_use]
    pub fn new(settings: &RegionSettings, npus: &[NpuPlace]) -> Self {
        let mut index = 0;
        let mut region = |tier: Tier, owner, node| {
            index += 1;
            Region::new(index - 1, tier, owner, settings.limits.of(tier), settings.hugepages, node)
        };
        let islands = npus.iter().map(|npu| npu.island.raw() + 1).max().unwrap_or(0);
        let node = |island: IslandId| {
            let mut nodes = npus.iter().filter(|npu| npu.island == island).map(|npu| npu.numa_node);
            let first = nodes.next().flatten();
            first.filter(|_| nodes.all(|node| node == first))
        };
        let imem = region(Tier::Imem, Owner::All, None);
        let emem = region(Tier::Emem, Owner::All, None);
        let ctm = (0..islands).map(IslandId::new);
        let ctm = ctm.map(|island| region(Tier::Ctm, Owner::Island(island), node(island))).collect();
        let local = (0..).map(NpuId::new).zip(npus);
        let local = local.map(|(npu, place)| region(Tier::Local, Owner::Npu(npu), place.numa_node)).collect();
        Self(Arc::new(Inner { imem, emem, ctm, local, npus: npus.to_vec() }))
    }

    /// Regions of a single NPU, as the default configuration has them: for tests and benchmarks.
    #[must_use]
    pub fn standalone() -> Self {
        Self::new(&RegionSettings::default(), &[NpuPlace::default()])
    }

    /// Where an NPU is; `None` if there is no such NPU.
    pub(super) fn place(&self, npu: NpuId) -> Option<NpuPlace> {
        self.0.npus.get(npu.index()).copied()
    }

    /// The one that an NPU finds under the name of a tier.
    pub(super) fn region(&self, tier: Tier, npu: NpuId) -> Option<&Arc<Region>> {
        match tier {
            Tier::Imem => Some(&self.0.imem),
            Tier::Emem => Some(&self.0.emem),
            Tier::Ctm => self.0.ctm.get(self.place(npu)?.island.index()),
            Tier::Local => self.0.local.get(npu.index()),
        }
    }

    /// What each holds now, nearest tier first.
    #[must_use]
    pub fn usage(&self) -> Vec<RegionUsage> {
        let Inner { imem, emem, ctm, local, .. } = &*self.0;
        local.iter().chain(ctm).chain([imem, emem]).map(|region| region.usage()).collect()
    }
}
