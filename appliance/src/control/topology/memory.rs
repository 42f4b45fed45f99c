//! Memory of the data path, and which pages it is made of.

use crate::control::config::machine::{Hugepages, Machine};
use crate::control::config::{Problems, raw};
use crate::memory::{RegionSettings, Tier, TierBytes};

/// Bytes that DPDK keeps before a frame's data (`RTE_PKTMBUF_HEADROOM`).
pub(super) const HEADROOM_BYTES: u64 = 128;
/// Bytes of an mbuf itself, and of the mempool's header before it.
const MBUF_BYTES: u64 = 128 + 64;
/// Cache line: every mbuf starts at one.
const LINE_BYTES: u64 = 64;
/// Room that DPDK needs beside the pool: rings, queues, per-lcore caches. With the default pool and two net_null ports,
/// `dpdk-testpmd --no-huge -m 48 -- --total-num-mbufs=8191` starts, and with `-m 40` it does not.
const EAL_OVERHEAD_BYTES: u64 = 16 << 20;
/// Ethernet header, FCS and VLAN tag around the largest IP packet.
pub(super) const FRAMING_BYTES: u32 = 18 + 4;

const MIB: u64 = 1 << 20;

/// Bytes of a page that is not a hugepage.
pub const SMALL_PAGE_BYTES: u64 = 4096;

/// Memory of the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Whether hugepages are used.
    pub hugepages: HugepageMode,
    /// MiB given to DPDK; the frames' pool is part of it.
    pub eal_mib: u32,
    /// Frames in the pool.
    pub pool_frames: u32,
    /// Bytes that one frame may have, its framing included.
    pub frame_bytes: u16,
    /// Memory of lambdas.
    pub tiers: Tiers,
}

/// Memory of lambdas: of each NPU's Local, each island's CTM, IMEM and EMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Most bytes of each region.
    pub regions: TierBytes,
    /// Most bytes of each region that one lambda may have.
    pub lambda: TierBytes,
    /// Most bytes of each tier that placement gives to the objects of one lambda.
    pub objects: TierBytes,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            hugepages: HugepageMode::Auto,
            eal_mib: 128,
            pool_frames: 8191,
            frame_bytes: 2048,
            tiers: Tiers {
                regions: RegionSettings::default().limits,
                lambda: TierBytes([64 * MIB, 256 * MIB, 256 * MIB, 4096 * MIB]),
                // As on the card: 64 KiB of cluster local scratch, 256 KiB of CTM, 4 MiB of IMEM.
                objects: TierBytes([64 << 10, 256 << 10, 4 * MIB, 4096 * MIB]),
            },
        }
    }
}

/// Whether hugepages are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugepageMode {
    /// If enough of them are free.
    Auto,
    /// Or nothing starts.
    Required,
    /// Never.
    Off,
}

/// The pages that memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Hugepages of one size.
    Huge {
        /// Bytes of a page.
        page_bytes: u64,
        /// Pages needed.
        pages: u64,
    },
    /// 4 KiB pages, by choice.
    Small,
    /// 4 KiB pages, because hugepages are short.
    SmallForWant(NoHugepages),
}

/// Hugepages are not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} hugepages of {page_kib} KiB needed, {free} of {reserved} reserved are free")]
pub struct NoHugepages {
    /// KiB of a page.
    pub page_kib: u64,
    /// Pages needed.
    pub needed: u64,
    /// Pages that nobody uses.
    pub free: u64,
    /// Pages reserved.
    pub reserved: u64,
}

impl Pages {
    /// Bytes of one page.
    #[must_use]
    pub const fn page_bytes(self) -> u64 {
        match self {
            Self::Huge { page_bytes, .. } => page_bytes,
            Self::Small | Self::SmallForWant(_) => SMALL_PAGE_BYTES,
        }
    }
}

impl Memory {
    /// Bytes of the frames' pool. DPDK lets no frame cross a page if it can help it, so small pages waste a lot: at 2,048 bytes a
    /// frame, each takes a page of 4 KiB.
    #[must_use]
    pub fn pool_bytes(&self, page_bytes: u64) -> u64 {
        let frame = (MBUF_BYTES + HEADROOM_BYTES + u64::from(self.frame_bytes)).next_multiple_of(LINE_BYTES);
        let frames = u64::from(self.pool_frames);
        if frame > page_bytes {
            frames * frame.next_multiple_of(page_bytes)
        } else {
            frames.div_ceil(page_bytes / frame) * page_bytes
        }
    }

    /// Frames that may wait in dispatchers' queues; the ports need the others.
    #[must_use]
    pub const fn queueable_frames(&self) -> u32 {
        self.pool_frames.div_ceil(2)
    }

    /// Bytes of everything that DPDK gets.
    #[must_use]
    pub fn eal_bytes(&self) -> u64 {
        u64::from(self.eal_mib) * MIB
    }

    /// The pages to use on this machine: hugepages if the mode allows and enough are free.
    pub fn pages(&self, machine: &Machine) -> Result<Pages, NoHugepages> {
        if self.hugepages == HugepageMode::Off {
            return Ok(Pages::Small);
        }
        let needed = |size: &Hugepages| self.eal_bytes().div_ceil(size.page_bytes);
        if let Some(size) = machine.hugepages.iter().find(|size| size.free >= needed(size)) {
            return Ok(Pages::Huge { page_bytes: size.page_bytes, pages: needed(size) });
        }
        let none = Hugepages { page_bytes: 2 * MIB, reserved: 0, free: 0 };
        let size =
            machine.hugepages.iter().rev().max_by_key(|size| size.free * size.page_bytes).unwrap_or(&none);
        let want = NoHugepages {
            page_kib: size.page_bytes / 1024,
            needed: needed(size),
            free: size.free,
            reserved: size.reserved,
        };
        if self.hugepages == HugepageMode::Required { Err(want) } else { Ok(Pages::SmallForWant(want)) }
    }
}

/// Judges `[memory]`.
pub(super) fn memory(raw: &raw::Memory, problems: &mut Problems<'_>) -> Memory {
    let default = Memory::default();
    let modes =
        [("auto", HugepageMode::Auto), ("required", HugepageMode::Required), ("off", HugepageMode::Off)];
    let memory = Memory {
        hugepages: problems.choice("[memory] hugepages", &raw.hugepages, &modes, default.hugepages),
        eal_mib: problems.integer("[memory] eal_mib", &raw.eal_mib, 32..=1 << 20, default.eal_mib),
        pool_frames: problems.integer(
            "[memory] pool_frames",
            &raw.pool_frames,
            512..=1 << 24,
            default.pool_frames,
        ),
        frame_bytes: problems.integer(
            "[memory] frame_bytes",
            &raw.frame_bytes,
            512..=16_384,
            default.frame_bytes,
        ),
        tiers: tiers(&raw.tiers, default.tiers, problems),
    };
    let page_bytes = if memory.hugepages == HugepageMode::Required { 2 * MIB } else { SMALL_PAGE_BYTES };
    let needed = memory.pool_bytes(page_bytes) + EAL_OVERHEAD_BYTES;
    if needed > memory.eal_bytes() {
        let key = [&raw.eal_mib, &raw.pool_frames].into_iter().flatten().next();
        let span = key.or(raw.frame_bytes.as_ref()).map(toml::Spanned::span);
        problems.wrong(
            span,
            format!(
                "[memory] eal_mib: {} do not hold {} frames of {} bytes: at least {} are needed",
                memory.eal_mib,
                memory.pool_frames,
                memory.frame_bytes,
                needed.div_ceil(MIB)
            ),
        );
    }
    memory
}

/// Judges `[memory.tiers]`.
fn tiers(raw: &raw::Tiers, default: Tiers, problems: &mut Problems<'_>) -> Tiers {
    let regions = [&raw.local_mib, &raw.ctm_mib, &raw.imem_mib, &raw.emem_mib];
    let lambda = [&raw.lambda_local_mib, &raw.lambda_ctm_mib, &raw.lambda_imem_mib, &raw.lambda_emem_mib];
    let lambda = tier_bytes("[memory.tiers] lambda_", lambda, default.lambda, problems);
    let objects = [&raw.objects_local_kib, &raw.objects_ctm_kib, &raw.objects_imem_kib];
    let kib = |tier: Tier, problems: &mut Problems<'_>| match objects.get(tier.index()) {
        Some(value) => {
            let name = format!("[memory.tiers] objects_{tier}_kib");
            let default = (default.objects.of(tier) >> 10) as u32;
            u64::from(problems.integer(&name, value, 0..=u32::MAX, default)) << 10
        }
        None => u64::MAX,
    };
    let objects = TierBytes(Tier::ALL.map(|tier| kib(tier, problems).min(lambda.of(tier))));
    let regions = tier_bytes("[memory.tiers] ", regions, default.regions, problems);
    Tiers { regions, lambda, objects }
}

/// Judges a number of MiB for each tier; those that are not said are as `default`.
pub(super) fn tier_bytes(
    place: &str,
    mib: [&raw::Value<i64>; 4],
    default: TierBytes,
    problems: &mut Problems<'_>,
) -> TierBytes {
    TierBytes(Tier::ALL.map(|tier| {
        let value = mib[tier.index()];
        if value.is_none() {
            return default.of(tier);
        }
        problems.integer(&format!("{place}{tier}_mib"), value, 1..=1u64 << 24, 1) * MIB
    }))
}
