//! The table that lcores look up: λ-RPC lambda IDs by one hash lookup, everything else by tuple-space search.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::tuple::{Seeds, Tuple, words};
use super::{Effect, Error, Reduction, Rule, Side, derive, reduce};
use crate::parser::{Key, Plan, Present};

/// No rule: behind every rank.
const NONE: u32 = u32::MAX;

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its place in the order that the table was built from.
    pub index: u32,
    /// Its place in the table.
    pub rank: u32,
}

impl Match<'_> {
    /// What it gives its lambda, also when the table is gone.
    #[inline]
    #[must_use]
    pub fn effect(&self) -> Effect {
        Effect { index: self.index, egress: self.rule.egress, parameters: self.rule.parameters }
    }
}

/// An immutable set of rules. Lookups neither allocate nor lock.
pub struct Table {
    /// In order of precedence: a rule's place here is its rank.
    rules: Box<[Rule]>,
    /// Rank to place in the source order.
    indexes: Box<[u32]>,
    lambdas: LambdaIds,
    /// Best rank first.
    tuples: Box<[Tuple]>,
    seeds: Seeds,
    plan: Plan,
    host_plan: Option<Plan>,
}

impl Table {
    /// Most rules in a table.
    pub const CAPACITY: usize = 1 << 20;

    /// Builds the table; rules may be given in any order.
    pub fn build(rules: Vec<Rule>) -> Result<Self, Error> {
        Ok(Self::of(ranked(rules)?))
    }

    /// A table in which nothing matches.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(Vec::new())
    }

    /// Builds a table of fewer rules where that means the same: every frame gets the same lambda, parameters and egress. Of
    /// rules that were merged, [`Match::index`] names the first.
    pub fn reduced(rules: Vec<Rule>) -> Result<(Self, Reduction), Error> {
        let (rules, reduction) = reduce::reduce(ranked(rules)?);
        Ok((Self::of(rules), reduction))
    }

    /// Builds it of rules in order of precedence, each with its place in the source order.
    fn of(ranked: Vec<(u32, Rule)>) -> Self {
        let (indexes, rules): (Vec<u32>, Vec<Rule>) = ranked.into_iter().unzip();
        let random = RandomState::new();
        let mut draw = 0u64;
        let seeds = Seeds::new(|| {
            draw += 1;
            random.hash_one(draw)
        });
        let (by_lambda, general): (Vec<_>, Vec<_>) =
            (0..).zip(&rules).partition(|(_, rule)| rule.is_rpc_only());
        let lambdas = LambdaIds::build(&by_lambda, &seeds);
        let tuples = Tuple::group(general.into_iter(), &seeds);
        let of_side = |side| rules.iter().filter(move |rule| rule.side == side);
        let plan = derive::plan(of_side(Side::Wire));
        let host_plan = of_side(Side::Host).next().map(|_| derive::plan(of_side(Side::Host)));
        Self { rules: rules.into(), indexes: indexes.into(), lambdas, tuples, seeds, plan, host_plan }
    }

    /// The rule that a frame with this key gets. Costs nanoseconds: the figures and how to measure them stand at
    /// `matcher::tests::cost`.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: &Key) -> Option<Match<'_>> {
        let mut best = NONE;
        // Such rules are for the wire.
        if key.present.has(Present::RPC) && !key.present.has(Present::HOST) {
            best = self.lambdas.lookup(key.lambda, &self.seeds);
        }
        if self.tuples.first().is_some_and(|tuple| tuple.best_rank() < best) {
            best = self.search(key, best);
        }
        self.at(best)
    }

    /// The rule of a rank.
    #[inline]
    fn at(&self, rank: u32) -> Option<Match<'_>> {
        let rule = self.rules.get(rank as usize)?;
        Some(Match { rule, index: self.indexes[rank as usize], rank })
    }

    fn search(&self, key: &Key, mut best: u32) -> u32 {
        let words = words(key);
        for tuple in &self.tuples {
            if tuple.best_rank() >= best {
                break;
            }
            let matches = |rank: u32| self.rules[rank as usize].matches(key);
            if let Some(rank) = tuple.lookup(key, &words, &self.seeds, best, matches) {
                best = rank;
            }
        }
        best
    }

    /// What the parser has to decode of frames from the wire for it: the two belong together.
    #[inline]
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The same of frames from the host's side; `None` if no rule is for them, and none has to be looked at.
    #[inline]
    #[must_use]
    pub fn host_plan(&self) -> Option<&Plan> {
        self.host_plan.as_ref()
    }

    /// Rules in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True if nothing can match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Combinations of tested bits among the general rules: each costs a lookup one hash at most.
    #[must_use]
    pub fn tuples(&self) -> usize {
        self.tuples.len()
    }

    /// All rules in order of precedence, each with its place in the source order.
    pub fn iter(&self) -> impl Iterator<Item = Match<'_>> {
        (0..).zip(&self.rules).zip(&self.indexes).map(|((rank, rule), &index)| Match { rule, index, rank })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("rules", &self.len())
            .field("tuples", &self.tuples())
            .finish_non_exhaustive()
    }
}

/// Rules in order of precedence, each with its place in the source order.
fn ranked(rules: Vec<Rule>) -> Result<Vec<(u32, Rule)>, Error> {
    if rules.len() > Table::CAPACITY {
        return Err(Error::TooMany { rules: rules.len(), limit: Table::CAPACITY });
    }
    for (index, rule) in rules.iter().enumerate() {
        rule.check(index)?;
    }
    let mut ranked: Vec<(u32, Rule)> = (0..).zip(rules).collect();
    ranked.sort_by_key(|(_, rule)| std::cmp::Reverse(rule.priority));
    Ok(ranked)
}

/// Rules whose only condition is a lambda ID.
struct LambdaIds {
    /// ID and rank; power of two, at most half full.
    slots: Box<[(u32, u32)]>,
}

impl LambdaIds {
    /// Of several rules for one ID only the first, which comes first in precedence, can ever match.
    fn build(rules: &[(u32, &Rule)], seeds: &Seeds) -> Self {
        let mut slots = vec![(0, NONE); (rules.len() * 2).next_power_of_two()];
        let last = slots.len() - 1;
        for &(rank, rule) in rules {
            let Some(id) = rule.rpc_lambda else { continue };
            let mut at = seeds.lambda(id.raw()) as usize & last;
            while slots[at].1 != NONE && slots[at].0 != id.raw() {
                at = (at + 1) & last;
            }
            if slots[at].1 == NONE {
                slots[at] = (id.raw(), rank);
            }
        }
        Self { slots: slots.into() }
    }

    /// Rank of the rule for this ID, or [`NONE`].
    #[inline]
    fn lookup(&self, id: u32, seeds: &Seeds) -> u32 {
        let last = self.slots.len() - 1;
        let mut at = seeds.lambda(id) as usize & last;
        loop {
            let (found, rank) = self.slots[at];
            if rank == NONE || found == id {
                return rank;
            }
            at = (at + 1) & last;
        }
    }
}
