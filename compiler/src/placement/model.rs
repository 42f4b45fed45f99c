//! What an access costs, and what is known of an object's accesses.

use crate::Tier;

/// What is known of one object's accesses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectFacts {
    /// Reads in a run, weighted by loops.
    pub reads: f64,
    /// Writes in a run, weighted by loops.
    pub writes: f64,
    /// May a run write it?
    pub written: bool,
    /// May `init` write it, which every instance runs? If runs do not, each instance has its own: they are all the same.
    pub initialised: bool,
    /// Is every access atomic?
    pub atomic_only: bool,
}

impl ObjectFacts {
    /// Nothing is known: it may be written, and is no better or worse than others.
    pub const UNKNOWN: Self =
        Self { reads: 1.0, writes: 1.0, written: true, initialised: true, atomic_only: false };

    /// Accesses in a run.
    #[must_use]
    pub fn accesses(&self) -> f64 {
        self.reads + self.writes
    }
}

/// Time of an access by tier, in ns, by [`Tier::index`].
///
/// On a host all tiers are the same DRAM. What tells them apart is how large they are, so in which cache a lambda that fills its
/// share of one finds it again, how many pages that is, and who else writes there. The defaults are what `scripts/bench.sh memory`
/// measured on a virtual machine's two CPUs (Xeon, 48 KiB, 2 MiB and 480 MiB of caches); measure again with it: it prints
/// these figures next to its own. A memory that is out of all caches costs 110, 160, 300 and 430 ns a read; one that is in the
/// first level 2 ns, whatever the tier. A card's vendor puts the card's own latencies here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// A read that the next one depends on, anywhere in as much as objects of a lambda may fill of the tier.
    pub read_ns: [f64; 4],
    /// A write there that no other NPU sees: nobody waits for it.
    pub write_ns: [f64; 4],
    /// A write, or a read of what others write, that moves a cache line between NPUs: the mean of a read and an atomic, but not
    /// less than a read, since the line need not be with another. Nothing in Local is shared so.
    pub shared_ns: [f64; 4],
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            read_ns: [2.0, 5.0, 38.0, 160.0],
            write_ns: [0.2, 0.2, 3.0, 9.0],
            shared_ns: [2.0, 45.0, 50.0, 160.0],
        }
    }
}

impl CostModel {
    /// Cost of a run's accesses to an object in `tier`; `shared` if several NPUs may write it at once.
    #[must_use]
    pub fn cost_ns(&self, facts: &ObjectFacts, tier: Tier, shared: bool) -> f64 {
        let at = tier.index();
        if shared && facts.written {
            facts.accesses() * self.shared_ns[at]
        } else {
            facts.reads * self.read_ns[at] + facts.writes * self.write_ns[at]
        }
    }
}
