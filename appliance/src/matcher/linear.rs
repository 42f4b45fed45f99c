//! The reference: scans every rule. It is what `Table` is tested against, and short enough to be checked by eye.

use super::{Match, Rule};
use crate::parser::Key;

/// The first of the matching rules with the highest priority.
#[must_use]
pub fn lookup<'a>(rules: &'a [Rule], key: &Key) -> Option<Match<'a>> {
    let mut best: Option<Match<'a>> = None;
    for (index, rule) in rules.iter().enumerate() {
        if rule.matches(key) && best.is_none_or(|best| rule.priority > best.rule.priority) {
            best = Some(Match { rule, index: index as u32 });
        }
    }
    best
}
