//! Match reduction: fewer rules with the same meaning, before a table is built of them.
//!
//! - *Shadowed* rules go: those that an earlier rule covers, so that they can never be the first to match. Duplicates are among
//!   them.
//! - Rules of one *effect* (lambda, parameters, egress) that differ in one condition are *merged* if that condition can be
//!   widened to hold for both and nothing else: halves of a prefix, adjacent or overlapping port ranges. One of the two has to
//!   give up its place in the order of precedence for that, and may only do so if no rule of another effect lies between the
//!   two that it overlaps with.
//!
//! Every frame gets the same lambda, parameters and egress as before; property tests hold this to the linear reference. The
//! rule's number in match data is that of the first, in source order, of those that were merged into it.
//!
//! The work is bounded: thousands of unrelated rules are told apart by hashes, and what has to be compared one by one stops at
//! a budget. Rules that were not compared stay as they are.

use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;

use super::tuple;
use super::{Egress, Parameters, PortRange, Rule};
use crate::ids::LambdaRef;

mod merge;
mod shadow;

/// Most comparisons of two rules, or look-ups of one: tens of milliseconds.
const WORK: u32 = 1 << 21;
/// Most turns: a merged prefix may shadow another rule, or be half of a larger one.
const TURNS: u32 = 8;

/// What reduction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reduction {
    /// Rules as they were written.
    pub rules_before: usize,
    /// Rules in the table.
    pub rules: usize,
    /// Rules that could never match.
    pub shadowed: usize,
    /// Rules that went into others.
    pub merged: usize,
    /// Tuples of the rules as they were written.
    pub tuples_before: usize,
    /// Tuples of the table; each costs a look-up a hash at most.
    pub tuples: usize,
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rules_before, rules, shadowed, merged, tuples_before, tuples } = self;
        write!(f, "{rules_before} rules in {tuples_before} tuples reduced to {rules} in {tuples}: ")?;
        write!(f, "{shadowed} shadowed, {merged} merged")
    }
}

/// A rule with its number, the place that it had in the source order.
pub(super) type Numbered = (u32, Rule);

/// Reduces rules that are in order of precedence, and keeps them in it.
pub(super) fn reduce(mut rules: Vec<Numbered>) -> (Vec<Numbered>, Reduction) {
    let mut reduction =
        Reduction { rules_before: rules.len(), tuples_before: tuple::count(&rules), ..Reduction::default() };
    for (_, rule) in &mut rules {
        rule.source_port = simplified(rule.source_port);
        rule.destination_port = simplified(rule.destination_port);
    }
    let mut work = Work(WORK);
    let random = RandomState::new();
    for _ in 0..TURNS {
        let shadowed = shadow::drop_shadowed(&mut rules, &mut work);
        let merged = merge::merge(&mut rules, &random, &mut work);
        reduction.shadowed += shadowed;
        reduction.merged += merged;
        if merged == 0 {
            break;
        }
    }
    (reduction.rules, reduction.tuples) = (rules.len(), tuple::count(&rules));
    (rules, reduction)
}

/// A range of one port is that port.
fn simplified(range: PortRange) -> PortRange {
    match range {
        PortRange::Inclusive(first, last) if first == last => PortRange::Exact(first),
        other => other,
    }
}

/// Comparisons that are left.
struct Work(u32);

impl Work {
    /// Takes one; false once there are none left.
    fn take(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

/// What a frame gets that matches, as a small number: equal for rules that differ in conditions and priority only.
fn effects(rules: &[Numbered]) -> Vec<u32> {
    let mut known: HashMap<(LambdaRef, Parameters, Egress), u32> = HashMap::new();
    rules
        .iter()
        .map(|(_, rule)| {
            let next = known.len() as u32;
            *known.entry((rule.lambda, rule.parameters, rule.egress)).or_insert(next)
        })
        .collect()
}

/// Removes the rules that are not kept. Returns how many there were.
fn retain(rules: &mut Vec<Numbered>, kept: &[bool]) -> usize {
    let before = rules.len();
    let mut kept = kept.iter();
    rules.retain(|_| kept.next().copied().unwrap_or(true));
    before - rules.len()
}
