//! Regions and deployments without lambdas in them.

use std::sync::Arc;

use proptest::prelude::*;

use super::pages::{GIGANTIC_BYTES, HUGE_BYTES};
use super::plan::Alignment;
use super::region::{Backing, Slice};
use super::*;
use crate::ids::{IslandId, NpuId};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn region(limit_bytes: u64) -> Arc<Region> {
    Region::new(0, Tier::Emem, Owner::All, limit_bytes, Hugepages::Off, None)
}

fn take(region: &Arc<Region>, backing: Backing, bytes: u64) -> Result<Slice, MemoryError> {
    region.take(backing, bytes as usize, &Account::unlimited("it"))
}

const SMALL: Backing = Backing::Shared(Pages::Small);

#[test]
fn a_region_grows_slab_by_slab_and_keeps_one() {
    let region = region(1 << 30);
    assert_eq!((region.usage().slab_bytes, region.usage().fragmentation()), (0, 0.0));
    let small = take(&region, Backing::Private, 1).unwrap();
    let usage = region.usage();
    assert_eq!(
        (usage.slab_bytes, usage.used_bytes, usage.largest_free_bytes),
        (4 * MIB, 4096, 4 * MIB - 4096)
    );
    let shared = take(&region, SMALL, 5000).unwrap();
    assert_eq!((region.usage().slab_bytes, region.usage().used_bytes), (5 * MIB, 3 * 4096));
    // The next slab is as large as those before; one that needs more has its own.
    let next: Vec<Slice> = (0..2).map(|_| take(&region, Backing::Private, 3 * MIB).unwrap()).collect();
    assert_eq!(region.usage().slab_bytes, 9 * MIB);
    let large = take(&region, Backing::Private, 100 * MIB).unwrap();
    assert_eq!(region.usage().slab_bytes, 109 * MIB);
    drop(large);
    assert_eq!(region.usage().slab_bytes, 9 * MIB);
    drop((small, next, shared));
    let usage = region.usage();
    assert_eq!((usage.slab_bytes, usage.used_bytes, usage.fragmentation()), (5 * MIB, 0, 1.0 - 4.0 / 5.0));
    assert!(matches!(take(&region, Backing::Private, u64::MAX), Err(MemoryError::System { .. })));
}

#[test]
fn a_region_has_no_more_than_its_limit() {
    let region = region(6 * MIB);
    let first = take(&region, Backing::Private, 3 * MIB).unwrap();
    // A slab of 4 MiB would be too much now; one of 2 MiB is not.
    let second = take(&region, Backing::Private, 2 * MIB).unwrap();
    assert_eq!(region.usage().slab_bytes, 6 * MIB);
    let error = take(&region, SMALL, 4096).err().unwrap().to_string();
    assert_eq!(
        error,
        "lambda \"it\": 4096 bytes of emem wanted: 5242880 of its 6291456 are used, none that is free is so large"
    );
    // What is free of one kind makes room for another.
    drop(first);
    let third = take(&region, SMALL, 4096).unwrap();
    assert_eq!(region.usage().used_bytes, 2 * MIB + 4096);
    drop((second, third));
}

#[test]
fn fragmentation_is_what_the_largest_range_leaves() {
    let region = region(4 * MIB);
    let mut slices: Vec<Slice> = (0..4).map(|_| take(&region, Backing::Private, MIB).unwrap()).collect();
    slices.remove(2);
    slices.remove(0);
    let usage = region.usage();
    assert_eq!((usage.used_bytes, usage.largest_free_bytes), (2 * MIB, MIB));
    assert!((usage.fragmentation() - 0.5).abs() < 1e-9);
    assert!(matches!(take(&region, Backing::Private, 2 * MIB), Err(MemoryError::Full { .. })));
}

proptest! {
    /// Slices never overlap, and what a region says it has in use is what they have.
    #[test]
    fn slices_are_apart_and_add_up(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 1u64..800_000, any::<prop::sample::Index>()), 1..60)
    ) {
        const LIMIT: u64 = 8 * MIB;
        let region = region(LIMIT);
        let mut held: Vec<Slice> = Vec::new();
        for (give_back, shared, bytes, which) in steps {
            if give_back && !held.is_empty() {
                held.swap_remove(which.index(held.len()));
            } else {
                match take(&region, if shared { SMALL } else { Backing::Private }, bytes) {
                    Ok(slice) => {
                        prop_assert_eq!(slice.bytes as u64, bytes.next_multiple_of(4096));
                        held.push(slice);
                    }
                    Err(error) => prop_assert!(matches!(error, MemoryError::Full { .. }), "{}", error),
                }
            }
            let mut ranges: Vec<(usize, usize)> = held
                .iter()
                .map(|slice| (slice.mapping.pointer(slice.offset).addr().get(), slice.bytes))
                .collect();
            ranges.sort_unstable();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
            let usage = region.usage();
            prop_assert_eq!(usage.used_bytes, held.iter().map(|slice| slice.bytes as u64).sum::<u64>());
            prop_assert!(usage.slab_bytes <= LIMIT && usage.used_bytes <= usage.slab_bytes);
            prop_assert!(usage.largest_free_bytes <= usage.slab_bytes - usage.used_bytes);
        }
    }

    /// Hugepages lie where the kernel can map them: each part begins and ends at multiples of its pages.
    #[test]
    fn hugepages_are_aligned(windows in prop::collection::vec(1u64..2000, 1..6), base in 0u64..1000) {
        let window = |pages: u64| Window { tier: Tier::Emem, sharing: Sharing::All, bytes: pages * 4096 };
        let plan = MemoryPlan { windows: windows.into_iter().map(window).collect(), initial: vec![] };
        let alignment = Alignment::of(&plan);
        // Any address that a reservation may give.
        let start = (1 + base) * alignment.align_bytes as u64 - alignment.phase as u64 % alignment.align_bytes as u64;
        let largest = plan.windows.iter().map(|window| window.bytes).max().unwrap_or(0);
        let mut most = 0;
        for range in plan::ranges(&plan) {
            prop_assert_eq!(alignment.huge_part(&range, Pages::Gigantic), None);
            let Some(part) = alignment.huge_part(&range, Pages::Huge) else { continue };
            prop_assert!(range.start <= part.start && part.start < part.end && part.end <= range.end);
            prop_assert_eq!(((start + part.start) % HUGE_BYTES as u64, (part.end - part.start) % HUGE_BYTES as u64), (0, 0));
            // As many as fit.
            prop_assert!(part.start - range.start < HUGE_BYTES as u64 && range.end - part.end < HUGE_BYTES as u64);
            most = most.max(part.end - part.start);
        }
        prop_assert_eq!(most, largest / HUGE_BYTES as u64 * HUGE_BYTES as u64);
    }
}

#[test]
fn gigantic_pages_are_for_windows_of_a_gigabyte() {
    let window = |bytes| Window { tier: Tier::Emem, sharing: Sharing::All, bytes };
    let plan = MemoryPlan { windows: vec![window(28 * KIB), window(1536 * MIB)], initial: vec![] };
    let alignment = Alignment::of(&plan);
    assert_eq!(alignment, Alignment { align_bytes: GIGANTIC_BYTES, phase: 28 << 10 });
    let range = 28 * KIB..28 * KIB + 1536 * MIB;
    assert_eq!(alignment.huge_part(&range, Pages::Gigantic), Some(28 * KIB..28 * KIB + 1024 * MIB));
    assert_eq!(alignment.huge_part(&range, Pages::Huge), Some(range));
    assert_eq!(alignment.huge_part(&(0..28 * KIB), Pages::Huge), None);
}

/// Free hugepages of 2 MiB.
fn free_hugepages() -> u64 {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn deployment(hugepages: Hugepages, emem_bytes: u64) -> (Regions, Deployment) {
    let window = |sharing, bytes| Window { tier: Tier::Emem, sharing, bytes };
    let plan = MemoryPlan {
        windows: vec![window(Sharing::Instance, 28 * KIB), window(Sharing::All, emem_bytes)],
        initial: vec![InitialData { address: 28 << 10, bytes: vec![7; 3 << 20].into() }],
    };
    let settings = RegionSettings { hugepages, ..RegionSettings::default() };
    let regions = Regions::new(&settings, &[NpuPlace::default()]);
    let deployment = Deployment::new(&regions, &Arc::new(plan), Account::unlimited("it")).unwrap();
    (regions, deployment)
}

#[test]
fn hugepages_that_are_not_there_are_an_error_or_small_pages_and_never_a_signal() {
    // More than there are, as far as the machine could have them at all.
    let want = (free_hugepages() + 2) * HUGE_BYTES as u64;
    if want > GIGANTIC_BYTES as u64 {
        return;
    }
    let (regions, required) = deployment(Hugepages::Required, want);
    let error = required.seat(NpuId::new(0)).memory().err().unwrap();
    assert!(matches!(error, MemoryError::System { .. }), "{error}");
    assert_eq!(regions.usage().last().unwrap().used_bytes, 0);
    for hugepages in [Hugepages::Auto, Hugepages::Off] {
        let (regions, deployment) = deployment(hugepages, want);
        let memory = deployment.seat(NpuId::new(0)).memory().unwrap();
        assert_eq!(memory.bytes() as u64, want + 28 * KIB);
        let usage = regions.usage().pop().unwrap();
        assert_eq!(usage.used_bytes, want + 28 * KIB);
        assert!(usage.pages.iter().all(|(pages, _)| *pages == Pages::Small), "{:?}", usage.pages);
    }
}

#[test]
fn hugepages_that_are_there_are_used() {
    if free_hugepages() < 4 {
        return;
    }
    let (regions, deployment) = deployment(Hugepages::Auto, 5 * MIB);
    let memory = deployment.seat(NpuId::new(0)).memory().unwrap();
    let usage = regions.usage().pop().unwrap();
    assert!(usage.pages.contains(&(Pages::Huge, 4 * MIB)), "{:?}", usage.pages);
    assert_eq!((memory.bytes() as u64, usage.used_bytes), (5 * MIB + 28 * KIB, 5 * MIB + 28 * KIB));
}

#[test]
fn each_npu_and_island_has_regions_of_its_own() {
    let npu = |island, numa_node| NpuPlace { island: IslandId::new(island), numa_node };
    let npus = [npu(0, Some(0)), npu(1, Some(0)), npu(1, Some(1))];
    let regions = Regions::new(&RegionSettings::default(), &npus);
    let usage = regions.usage();
    let kinds: Vec<(Tier, Owner, Option<u32>)> =
        usage.iter().map(|usage| (usage.tier, usage.owner, usage.numa_node)).collect();
    assert_eq!(
        kinds,
        [
            (Tier::Local, Owner::Npu(NpuId::new(0)), Some(0)),
            (Tier::Local, Owner::Npu(NpuId::new(1)), Some(0)),
            (Tier::Local, Owner::Npu(NpuId::new(2)), Some(1)),
            (Tier::Ctm, Owner::Island(IslandId::new(0)), Some(0)),
            (Tier::Ctm, Owner::Island(IslandId::new(1)), None),
            (Tier::Imem, Owner::All, None),
            (Tier::Emem, Owner::All, None),
        ]
    );
    // What the kernel has no node for is said, and comes from elsewhere.
    let nowhere = Region::new(0, Tier::Ctm, Owner::All, MIB, Hugepages::Off, Some(1000));
    let slices = (take(&nowhere, SMALL, 1).unwrap(), take(&nowhere, SMALL, 1).unwrap());
    assert!(!nowhere.usage().is_on_node);
    drop(slices);
}

#[test]
fn quotas_are_for_what_a_deployment_has() {
    let quota = TierBytes([u64::MAX, u64::MAX, u64::MAX, 100 * KIB]);
    let tenant = Tenant::new("acme", TierBytes([u64::MAX, u64::MAX, u64::MAX, 150 * KIB]));
    let regions = Regions::standalone();
    let deploy = |name: &str| {
        let plan = Arc::new(MemoryPlan::dense(Tier::Emem, 64 * KIB));
        Deployment::new(&regions, &plan, Account::new(name, quota, &tenant)).unwrap().seat(NpuId::new(0))
    };
    let (one, two) = (deploy("one"), deploy("two"));
    let first = one.memory().unwrap();
    assert_eq!(
        one.memory().err().unwrap().to_string(),
        "lambda \"one\": 65536 bytes of emem wanted: 65536 of its quota of 102400 are used"
    );
    let second = two.memory().unwrap();
    assert_eq!(
        deploy("three").memory().err().unwrap().to_string(),
        "lambda \"three\": 65536 bytes of emem wanted: tenant \"acme\" uses 131072 of its quota of 153600"
    );
    drop((first, second));
    drop((one.memory().unwrap(), deploy("three").memory().unwrap()));
    assert_eq!(regions.usage().last().unwrap().used_bytes, 0);
}
