//! One instance of a tier: an NPU's Local, an island's CTM, IMEM or EMEM.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lnic_compiler::Tier;

use super::mapping::Mapping;
use super::quota::{Account, Charge};
use super::{Extents, Hugepages, MemoryError, Pages};
use crate::ids::{IslandId, NpuId};

/// Bytes of a region's first slab of each kind. Each next one is as large as those before together, so that few lambdas take little;
/// a slice that is larger has a slab of its own.
const LEAST_PRIVATE_BYTES: usize = 4 << 20;
const LEAST_SHARED_BYTES: usize = 1 << 20;
/// Most bytes of a slab for several slices.
const SLAB_BYTES: usize = 64 << 20;

/// Whose a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An NPU's.
    Npu(NpuId),
    /// An island's.
    Island(IslandId),
    /// All islands'.
    All,
}

/// What slices of a slab are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// Memories in dense layout.
    Private,
    /// Windows, in these pages.
    Shared(Pages),
}

impl Backing {
    fn granule_bytes(self) -> usize {
        match self {
            Self::Private => super::GRANULE_BYTES,
            Self::Shared(pages) => pages.granule_bytes(),
        }
    }
}

/// A memory of the card, made of slabs.
pub struct Region {
    /// Its place among all regions.
    index: usize,
    tier: Tier,
    owner: Owner,
    limit_bytes: u64,
    hugepages: Hugepages,
    /// Where its pages shall come from, if that makes a difference.
    node: Option<u32>,
    slabs: Mutex<Vec<Slab>>,
}

/// One mapping and what of it is free.
struct Slab {
    mapping: Arc<Mapping>,
    backing: Backing,
    extents: Extents,
}

/// What a region holds.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionUsage {
    /// Its tier.
    pub tier: Tier,
    /// Whose it is.
    pub owner: Owner,
    /// Bytes that it may have.
    pub limit_bytes: u64,
    /// Bytes of its slabs.
    pub slab_bytes: u64,
    /// Of those, bytes in use.
    pub used_bytes: u64,
    /// Bytes of the largest range that is free.
    pub largest_free_bytes: u64,
    /// Bytes of its slabs by what pages they are made of.
    pub pages: Vec<(Pages, u64)>,
    /// The NUMA node that its pages were asked from.
    pub numa_node: Option<u32>,
    /// False if the kernel refused to take them from there.
    pub is_on_node: bool,
}

impl RegionUsage {
    /// How scattered free memory is: 0 if it is one range.
    #[must_use]
    pub fn fragmentation(&self) -> f64 {
        match self.slab_bytes - self.used_bytes {
            0 => 0.0,
            free => 1.0 - self.largest_free_bytes as f64 / free as f64,
        }
    }
}

impl Region {
    pub(super) fn new(
        index: usize,
        tier: Tier,
        owner: Owner,
        limit_bytes: u64,
        hugepages: Hugepages,
        node: Option<u32>,
    ) -> Arc<Self> {
        Arc::new(Self { index, tier, owner, limit_bytes, hugepages, node, slabs: Mutex::default() })
    }

    pub(super) fn hugepages(&self) -> Hugepages {
        self.hugepages
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slab>> {
        // What a panic leaves behind is consistent: each change is one call on a list or a map.
        self.slabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A zero-filled slice of at least `bytes`.
    pub(super) fn take(
        self: &Arc<Self>,
        backing: Backing,
        bytes: usize,
        account: &Account,
    ) -> Result<Slice, MemoryError> {
        let out_of_memory = || MemoryError::System {
            lambda: account.name().to_owned(),
            region: self.to_string(),
            wanted: bytes as u64,
            source: std::io::ErrorKind::OutOfMemory.into(),
        };
        let bytes =
            bytes.max(1).checked_next_multiple_of(backing.granule_bytes()).ok_or_else(out_of_memory)?;
        let charge = account.charge(self.index, self.tier, bytes as u64, || self.to_string())?;
        let mut slabs = self.lock();
        let found = slabs
            .iter_mut()
            .filter(|slab| slab.backing == backing)
            .find_map(|slab| Some((slab.extents.take(bytes)?, Arc::clone(&slab.mapping))));
        let (offset, mapping) = match found {
            Some(found) => found,
            None => self.grow(&mut slabs, backing, bytes, account)?,
        };
        Ok(Slice { region: Arc::clone(self), mapping, offset, bytes, _charge: charge })
    }

    /// Makes a slab, and takes from it.
    fn grow(
        &self,
        slabs: &mut Vec<Slab>,
        backing: Backing,
        bytes: usize,
        account: &Account,
    ) -> Result<(usize, Arc<Mapping>), MemoryError> {
        let lambda = || account.name().to_owned();
        let sum = |slabs: &[Slab]| slabs.iter().map(|slab| slab.mapping.bytes()).sum::<usize>();
        let limit = usize::try_from(self.limit_bytes).unwrap_or(usize::MAX);
        if limit.saturating_sub(sum(slabs)) < bytes {
            // Slabs for something else may be all free.
            slabs.retain(|slab| !slab.extents.is_unused());
        }
        let room = limit.saturating_sub(sum(slabs));
        if room < bytes {
            return Err(MemoryError::Full {
                lambda: lambda(),
                region: self.to_string(),
                wanted: bytes as u64,
                limit: self.limit_bytes,
                used: slabs.iter().map(Slab::used_bytes).sum::<usize>() as u64,
            });
        }
        let same: usize =
            slabs.iter().filter(|slab| slab.backing == backing).map(|slab| slab.mapping.bytes()).sum();
        let granule = backing.granule_bytes();
        let least = match backing {
            Backing::Private => LEAST_PRIVATE_BYTES,
            Backing::Shared(Pages::Small | Pages::Transparent) => LEAST_SHARED_BYTES,
            // Hugepages are few: no more than are needed.
            Backing::Shared(Pages::Huge | Pages::Gigantic) => bytes,
        };
        let wanted = bytes.max(same.clamp(least, SLAB_BYTES.max(least)));
        let wanted = wanted.min(room / granule * granule);
        let mapping = match backing {
            Backing::Private => Mapping::private(wanted, room, self.hugepages, self.node),
            Backing::Shared(pages) => Mapping::shared(wanted, pages, self.node),
        };
        let mapping = mapping.map_err(|source| MemoryError::System {
            lambda: lambda(),
            region: self.to_string(),
            wanted: wanted as u64,
            source,
        })?;
        let mut slab = Slab { extents: Extents::new(mapping.bytes()), mapping: Arc::new(mapping), backing };
        // It is at least as large.
        let offset = slab.extents.take(bytes).unwrap_or_default();
        let mapping = Arc::clone(&slab.mapping);
        slabs.push(slab);
        Ok((offset, mapping))
    }

    /// Takes a slice back. Nobody uses it any more.
    fn give_back(&self, mapping: &Arc<Mapping>, offset: usize, bytes: usize) {
        let find = |slabs: &[Slab]| slabs.iter().position(|slab| Arc::ptr_eq(&slab.mapping, mapping));
        let is_last =
            |slabs: &[Slab], at: usize| slabs.iter().filter(|s| s.backing == slabs[at].backing).count() == 1;
        {
            let mut slabs = self.lock();
            let Some(at) = find(&slabs) else { return };
            // A slab of its own goes as a whole.
            if bytes == mapping.bytes() && !is_last(&slabs, at) {
                slabs.swap_remove(at);
                return;
            }
        }
        // Without the lock: nobody else gets the range yet.
        mapping.zero(offset, bytes);
        let mut slabs = self.lock();
        let Some(at) = find(&slabs) else { return };
        slabs[at].extents.give_back(offset, bytes);
        if slabs[at].extents.is_unused() && !is_last(&slabs, at) {
            slabs.swap_remove(at);
        }
    }

    /// What it holds now.
    #[must_use]
    pub fn usage(&self) -> RegionUsage {
        let slabs = self.lock();
        let mut pages: Vec<(Pages, u64)> = Vec::new();
        for slab in slabs.iter() {
            let (kind, bytes) = (slab.mapping.pages(), slab.mapping.bytes() as u64);
            match pages.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, sum)) => *sum += bytes,
                None => pages.push((kind, bytes)),
            }
        }
        pages.sort_unstable();
        RegionUsage {
            tier: self.tier,
            owner: self.owner,
            limit_bytes: self.limit_bytes,
            slab_bytes: slabs.iter().map(|slab| slab.mapping.bytes() as u64).sum(),
            used_bytes: slabs.iter().map(|slab| slab.used_bytes() as u64).sum(),
            largest_free_bytes: slabs
                .iter()
                .map(|slab| slab.extents.largest_free_bytes() as u64)
                .max()
                .unwrap_or(0),
            pages,
            numa_node: self.node,
            is_on_node: slabs.iter().all(|slab| slab.mapping.is_on_node),
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Owner::Npu(npu) => write!(f, "{} of {npu}", self.tier),
            Owner::Island(island) => write!(f, "{} of {island}", self.tier),
            Owner::All => write!(f, "{}", self.tier),
        }
    }
}

impl Slab {
    fn used_bytes(&self) -> usize {
        self.mapping.bytes() - self.extents.free_bytes()
    }
}

/// A range of a slab that belongs to one owner. Zero-filled at first; when it is dropped, nobody uses it any more.
pub(super) struct Slice {
    region: Arc<Region>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) offset: usize,
    pub(super) bytes: usize,
    _charge: Charge,
}

impl Slice {
    /// Writes at a place in it, before anybody else knows it. False if it does not fit.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= self.bytes);
        if fits {
            self.mapping.write(self.offset + at, bytes);
        }
        fits
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.region.give_back(&self.mapping, self.offset, self.bytes);
    }
}
