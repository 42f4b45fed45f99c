//! A lambda that looks everywhere finds nothing of others, and nothing that it writes is found there.

use std::sync::Arc;

use super::layouts::{self, Tool};
use super::*;
use crate::ids::{IslandId, NpuId};
use crate::memory::{Account, Deployment, MemoryPlan, NpuPlace, RegionSettings, Regions};

const SECRET: u8 = 0xA5;
const NOISE: u8 = 0x11;
const BYTES: usize = 65_536;
/// Enough for a unit a byte of 4 GiB.
const FUEL: u64 = 1 << 40;

/// Two islands of one NPU each.
fn regions() -> Regions {
    let npu = |island| NpuPlace { island: IslandId::new(island), numa_node: None };
    Regions::new(&RegionSettings::default(), &[npu(0), npu(1)])
}

struct Deployed {
    image: Image,
    deployment: Deployment,
}

impl Deployed {
    fn new(name: &str, plan: &Arc<MemoryPlan>, regions: &Regions) -> Self {
        let image = layouts::tool(plan);
        let deployment = image.deploy(regions, Account::unlimited(name)).unwrap();
        Self { image, deployment }
    }

    fn on(&self, npu: u16) -> Instance {
        let seat = self.deployment.seat(NpuId::new(npu));
        Instance::new(&self.image, FUEL, &HostSide::detached(), &seat).unwrap()
    }

    /// One whose memory is the secret all over, but for what tells it what to do.
    fn with_secret(&self, npu: u16) -> Instance {
        let mut instance = self.on(npu);
        Tool::Fill { at: 0, value: SECRET, bytes: BYTES }.value(&mut instance);
        assert_eq!(secrets(&mut instance), BYTES as u32 - 16);
        instance
    }
}

fn secrets(instance: &mut Instance) -> u32 {
    Tool::Count { value: SECRET }.value(instance)
}

/// Reads and writes all that it can name, and never sees the secret.
fn rummage(instance: &mut Instance) {
    assert_eq!(secrets(instance), 0);
    assert_eq!(
        Tool::Count { value: 0 }.value(instance),
        BYTES as u32 - 2,
        "it began with zeros, but for its arguments"
    );
    for address in (BYTES..1 << 32).step_by(1 << 20).chain(BYTES..BYTES + 9000) {
        assert_eq!(Tool::Load { at: address }.run(instance), Run::Failed(Failure::Trap));
    }
    for (to, from, bytes) in
        [(0, BYTES, 1), (0, BYTES - 1, 2), (BYTES - 1, 0, 2), (0, 1 << 31, 4096), (0, (1 << 32) - 4096, 4096)]
    {
        assert_eq!(Tool::Copy { to, from, bytes }.run(instance), Run::Failed(Failure::Trap));
    }
    for (at, bytes) in
        [(BYTES, 1), (BYTES - 1, 2), (0, BYTES + 4096), (1 << 31, 4096), (4096, (1 << 32) - 4096)]
    {
        assert_eq!(Tool::Fill { at, value: NOISE, bytes }.run(instance), Run::Failed(Failure::Trap));
    }
    for half in [0, BYTES / 2] {
        Tool::Copy { to: half, from: BYTES / 2 - half, bytes: BYTES / 2 }.value(instance);
        assert_eq!(secrets(instance), 0);
    }
    Tool::Fill { at: 0, value: NOISE, bytes: BYTES }.value(instance);
}

#[test]
fn neighbours_other_islands_and_those_who_were_there_before() {
    for plan in layouts::layouts() {
        for victims in layouts::layouts() {
            let regions = regions();
            let victim = |name: &str| Deployed::new(name, &victims, &regions);
            let (before, gone, after) = (victim("before"), victim("gone"), victim("after"));
            let intruder = Deployed::new("intruder", &plan, &regions);
            let mut witnesses = vec![before.with_secret(0), before.with_secret(1)];
            // It leaves a hole that the intruder gets; its windows go with it.
            let hole = [gone.with_secret(0), gone.with_secret(1)];
            witnesses.extend([after.with_secret(0), after.with_secret(1)]);
            drop((hole, gone));
            let seen: Vec<u32> = witnesses.iter_mut().map(secrets).collect();
            // Each of its instances in turn: what they share among themselves is theirs, and starts over with each deployment.
            rummage(&mut intruder.on(0));
            drop(intruder);
            rummage(&mut Deployed::new("again", &plan, &regions).on(1));
            let after: Vec<u32> = witnesses.iter_mut().map(secrets).collect();
            assert_eq!(after, seen);
            for witness in &mut witnesses {
                assert_eq!(Tool::Count { value: NOISE }.value(witness), 0);
            }
        }
    }
}

#[test]
fn a_slice_that_is_handed_on_is_the_same_and_is_zero() {
    for plan in layouts::layouts() {
        let regions = regions();
        let used = || regions.usage().iter().map(|usage| usage.used_bytes).sum::<u64>();
        let taken = || regions.usage().iter().map(|usage| usage.slab_bytes).sum::<u64>();
        let first = Deployed::new("first", &plan, &regions);
        let instance = first.with_secret(0);
        let (at_first, slabs) = (used(), taken());
        assert_eq!(at_first, BYTES as u64);
        drop((instance, first));
        assert_eq!((used(), taken()), (0, slabs));
        let second = Deployed::new("second", &plan, &regions);
        let mut instance = second.on(0);
        // No more slabs than before: what it has, the first had.
        assert_eq!((used(), taken()), (at_first, slabs));
        assert_eq!(secrets(&mut instance), 0);
        assert_eq!(Tool::Count { value: 0 }.value(&mut instance), BYTES as u32 - 2);
    }
}
