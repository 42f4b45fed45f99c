//! Two rules into one that holds for both.

use std::hash::{BuildHasher as _, RandomState};

use super::{Numbered, Work, effects, retain};
use crate::matcher::{PortRange, Prefix, Rule};

/// Conditions that can be widened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Source,
    Destination,
    SourcePort,
    DestinationPort,
}

const CONDITIONS: [Condition; 4] =
    [Condition::Source, Condition::Destination, Condition::SourcePort, Condition::DestinationPort];

impl Condition {
    /// The rule's prefix in this condition, and its port range.
    fn of(self, rule: &Rule) -> (Option<Prefix>, PortRange) {
        match self {
            Self::Source => (rule.source, PortRange::Any),
            Self::Destination => (rule.destination, PortRange::Any),
            Self::SourcePort => (None, rule.source_port),
            Self::DestinationPort => (None, rule.destination_port),
        }
    }

    /// Where a rule's condition begins and how wide it is, narrow ones behind wide ones; `None` if it has none.
    fn order(self, rule: &Rule) -> Option<(u128, u32)> {
        match self.of(rule) {
            (Some(prefix), _) => Some((prefix.parts().0, prefix.bits())),
            (None, PortRange::Any) => None,
            (None, PortRange::Exact(port)) => Some((port.into(), 0)),
            (None, PortRange::Inclusive(first, last)) => Some((first.into(), u32::from(u16::MAX - last))),
        }
    }

    /// Hash of the effect and all conditions but this.
    fn others(self, rule: &Rule, effect: u32, random: &RandomState) -> u64 {
        let unless = |this: Self, prefix: Option<Prefix>| prefix.filter(|_| self != this);
        let range = |this: Self, range: PortRange| if self == this { PortRange::Any } else { range };
        random.hash_one((
            (effect, rule.side, rule.rpc_lambda, rule.port, rule.vlan, rule.protocol, rule.ether_type),
            unless(Self::Source, rule.source),
            unless(Self::Destination, rule.destination),
            range(Self::SourcePort, rule.source_port),
            range(Self::DestinationPort, rule.destination_port),
        ))
    }

    /// The first rule, widened to hold for the second too and for nothing else; `None` if that cannot be.
    fn widened(self, rule: &Rule, other: &Rule) -> Option<Rule> {
        let mut wide = rule.clone();
        match self {
            Self::Source => wide.source = Some(rule.source?.union(other.source?)?),
            Self::Destination => wide.destination = Some(rule.destination?.union(other.destination?)?),
            Self::SourcePort => wide.source_port = rule.source_port.union(other.source_port)?,
            Self::DestinationPort => {
                wide.destination_port = rule.destination_port.union(other.destination_port)?
            }
        }
        // In everything else they are the same: a hash only said so.
        let mut same = Rule { priority: rule.priority, ..other.clone() };
        match self {
            Self::Source => same.source = wide.source,
            Self::Destination => same.destination = wide.destination,
            Self::SourcePort => same.source_port = wide.source_port,
            Self::DestinationPort => same.destination_port = wide.destination_port,
        }
        (same == wide).then_some(wide)
    }
}

/// Merges rules, in order of precedence, wherever that changes nothing. Returns how many went into others.
pub(super) fn merge(rules: &mut Vec<Numbered>, random: &RandomState, work: &mut Work) -> usize {
    CONDITIONS.into_iter().map(|condition| merge_by(condition, rules, random, work)).sum()
}

fn merge_by(condition: Condition, rules: &mut Vec<Numbered>, random: &RandomState, work: &mut Work) -> usize {
    let effects = effects(rules);
    let mut candidates: Vec<(u64, (u128, u32), usize)> = rules
        .iter()
        .zip(&effects)
        .enumerate()
        .filter_map(|(at, ((_, rule), &effect))| {
            Some((condition.others(rule, effect, random), condition.order(rule)?, at))
        })
        .collect();
    candidates.sort_unstable();
    let mut merging = Merging::new(rules, effects);
    // Those of a group that are not merged yet, in the condition's order.
    let mut open: Vec<usize> = Vec::new();
    let mut group = None;
    for (hash, _, mut at) in candidates {
        if group.replace(hash) != Some(hash) {
            open.clear();
        }
        while let Some(&before) = open.last() {
            let Some(kept) = merging.try_merge(condition, before, at, work) else { break };
            open.pop();
            at = kept;
        }
        open.push(at);
    }
    let kept = merging.kept;
    retain(rules, &kept)
}

/// Rules while some of them are merged.
struct Merging<'a> {
    rules: &'a mut [Numbered],
    effects: Vec<u32>,
    /// How often the effect has changed up to each rule: between equal counts there is one effect only.
    changes: Vec<u32>,
    kept: Vec<bool>,
}

impl<'a> Merging<'a> {
    fn new(rules: &'a mut [Numbered], effects: Vec<u32>) -> Self {
        let mut count = 0;
        let mut last = effects.first().copied();
        let changes = effects
            .iter()
            .map(|&effect| {
                count += u32::from(last.replace(effect) != Some(effect));
                count
            })
            .collect();
        let kept = vec![true; rules.len()];
        Self { rules, effects, changes, kept }
    }

    /// Merges two rules if that changes nothing; returns which place is kept.
    fn try_merge(&mut self, condition: Condition, a: usize, b: usize, work: &mut Work) -> Option<usize> {
        let (early, late) = (a.min(b), a.max(b));
        let wide = condition.widened(&self.rules[early].1, &self.rules[late].1)?;
        let (keep, drop) = if self.may_move(late, early, late, work) {
            (early, late)
        } else if self.may_move(early, early, late, work) {
            (late, early)
        } else {
            return None;
        };
        let number = self.rules[early].0.min(self.rules[late].0);
        let priority = self.rules[keep].1.priority;
        self.rules[keep] = (number, Rule { priority, ..wide });
        self.kept[drop] = false;
        Some(keep)
    }

    /// True if a rule may go from one end of a stretch to the other: nothing between would decide otherwise.
    fn may_move(&self, rule: usize, early: usize, late: usize, work: &mut Work) -> bool {
        if self.changes[early] == self.changes[late] {
            return true;
        }
        let moved = &self.rules[rule].1;
        (early + 1..late).all(|between| {
            let is_other = self.kept[between] && self.effects[between] != self.effects[rule];
            work.take() && !(is_other && self.rules[between].1.overlaps(moved))
        })
    }
}
