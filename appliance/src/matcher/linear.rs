//! The reference: scans every rule. It is what `Table` is tested against, and short enough to be checked by eye.

use super::{Match, Rule};
use crate::parser::Key;

/// The first of the matching rules with the highest priority.
#[must_use]
pub fn lookup<'a>(rules: &'a [Rule], key: &Key) -> Option<Match<'a>> {
    let mut best: Option<Match<'a>> = None;
    for (index, rule) in rules.iter().enumerate() {
        if rule.matches(key) && best.is_none_or(|best| rule.priority > best.rule.priority) {
            best = Some(Match { rule, index: index as u32, rank: rank(rules, index) });
        }
    }
    best
}

/// How many rules come before this one: those of higher priority, and earlier ones of its own.
fn rank(rules: &[Rule], index: usize) -> u32 {
    let priority = rules[index].priority;
    let before =
        |(at, rule): (usize, &Rule)| rule.priority > priority || (rule.priority == priority && at < index);
    rules.iter().enumerate().filter(|&other| before(other)).count() as u32
}
