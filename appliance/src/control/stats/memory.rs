//! Memory of lambdas, by region.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::memory::{Owner, RegionUsage, Regions};

/// A region: an NPU's Local, an island's CTM, IMEM or EMEM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RegionStats {
    /// `local`, `ctm`, `imem` or `emem`.
    pub tier: String,
    /// Its NPU or island; none if it is all islands'.
    pub owner: Option<String>,
    /// Bytes that it may have.
    pub limit_bytes: u64,
    /// Bytes that it has taken from the system.
    pub slab_bytes: u64,
    /// Of those, bytes in use.
    pub used_bytes: u64,
    /// Bytes of the largest range that is free.
    pub largest_free_bytes: u64,
    /// 1 − the largest range that is free / all that is free.
    pub fragmentation: f64,
    /// Bytes by the pages that they are made of.
    pub pages: BTreeMap<String, u64>,
    /// The NUMA node that they were asked from, where there are several.
    pub numa_node: Option<u32>,
    /// False if the kernel refused to take them from there.
    pub is_on_node: bool,
}

/// Regions that have memory.
pub(super) fn stats(regions: &Regions, islands: &[String]) -> Vec<RegionStats> {
    let used = regions.usage().into_iter().filter(|usage| usage.slab_bytes > 0);
    used.map(|usage| region(&usage, islands)).collect()
}

fn region(usage: &RegionUsage, islands: &[String]) -> RegionStats {
    RegionStats {
        tier: usage.tier.name().to_owned(),
        owner: match usage.owner {
            Owner::Npu(npu) => Some(npu.to_string()),
            Owner::Island(island) => {
                Some(islands.get(island.index()).cloned().unwrap_or_else(|| island.to_string()))
            }
            Owner::All => None,
        },
        limit_bytes: usage.limit_bytes,
        slab_bytes: usage.slab_bytes,
        used_bytes: usage.used_bytes,
        largest_free_bytes: usage.largest_free_bytes,
        fragmentation: usage.fragmentation(),
        pages: usage.pages.iter().map(|(pages, bytes)| (pages.name().to_owned(), *bytes)).collect(),
        numa_node: usage.numa_node,
        is_on_node: usage.is_on_node,
    }
}

/// As a table for people.
pub(super) fn print(f: &mut fmt::Formatter<'_>, regions: &[RegionStats]) -> fmt::Result {
    if regions.is_empty() {
        return Ok(());
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    writeln!(
        f,
        "\n{:<8} {:<12} {:>10} {:>10} {:>10} {:>12} {:>11}  PAGES",
        "MEMORY", "OF", "LIMIT MIB", "SLABS MIB", "USED MIB", "LARGEST FREE", "FRAGMENTED"
    )?;
    for region in regions {
        let pages: Vec<String> =
            region.pages.iter().map(|(pages, bytes)| format!("{:.1} MiB in {pages}", mib(*bytes))).collect();
        let node = match region.numa_node {
            Some(node) if region.is_on_node => format!(", NUMA node {node}"),
            Some(node) => format!(", not from NUMA node {node} as asked"),
            None => String::new(),
        };
        writeln!(
            f,
            "{:<8} {:<12} {:>10.1} {:>10.1} {:>10.1} {:>12.1} {:>10.0}%  {}{node}",
            region.tier,
            region.owner.as_deref().unwrap_or("all"),
            mib(region.limit_bytes),
            mib(region.slab_bytes),
            mib(region.used_bytes),
            mib(region.largest_free_bytes),
            region.fragmentation * 100.0,
            pages.join(", ")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::{IslandId, NpuId};
    use crate::memory::{
        Account, Deployment, Hugepages, MemoryPlan, NpuPlace, RegionSettings, Sharing, Tier, Window,
    };

    struct Table<'a>(&'a [RegionStats]);

    impl fmt::Display for Table<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            print(f, self.0)
        }
    }

    #[test]
    fn regions_that_have_memory_are_shown() {
        let settings = RegionSettings { hugepages: Hugepages::Off, ..RegionSettings::default() };
        let npu = NpuPlace { island: IslandId::new(0), numa_node: None };
        let regions = Regions::new(&settings, &[npu, npu]);
        let islands = ["near".to_owned()];
        assert_eq!(stats(&regions, &islands), []);
        assert_eq!(Table(&[]).to_string(), "");
        let window = |tier, sharing| Window { tier, sharing, bytes: 256 << 10 };
        let windows = vec![
            window(Tier::Local, Sharing::Instance),
            window(Tier::Ctm, Sharing::Island),
            window(Tier::Emem, Sharing::All),
        ];
        let plan = Arc::new(MemoryPlan { windows, initial: vec![] });
        let deployment = Deployment::new(&regions, &plan, Account::unlimited("it")).unwrap();
        let memories = [0, 0, 1].map(|npu| deployment.seat(NpuId::new(npu)).memory().unwrap());
        let shown = stats(&regions, &islands);
        let used: Vec<(&str, Option<&str>, u64)> = shown
            .iter()
            .map(|region| (region.tier.as_str(), region.owner.as_deref(), region.used_bytes >> 10))
            .collect();
        assert_eq!(
            used,
            [
                ("local", Some("NPU 0"), 512),
                ("local", Some("NPU 1"), 256),
                ("ctm", Some("near"), 256),
                ("emem", None, 256)
            ]
        );
        drop((memories, deployment));
        let text = Table(&shown).to_string();
        let line = "local    NPU 0            4096.0        1.0        0.5          0.5          0%  1.0 MiB in 4 KiB pages\n";
        assert!(text.contains(line), "{text}");
        assert!(stats(&regions, &islands).iter().all(|region| region.used_bytes == 0));
    }
}
