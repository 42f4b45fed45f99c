//! Rules that can never be the first to match.

use std::collections::HashMap;

use super::{Numbered, Work, retain};
use crate::matcher::tuple::{Words, mask_and_value};

/// Most combinations of tested bits whose rules are looked up as those that cover others.
const SHAPES: usize = 512;

/// Rules so far, by the bits that they test and what these must be. A rule can only cover another if it tests no other bits.
#[derive(Default)]
struct Seen {
    shapes: Vec<Words>,
    by_mask: HashMap<Words, usize>,
    /// For each shape, those that test no bits that it does not.
    coarser: Vec<Vec<usize>>,
    rules: HashMap<(usize, Words), Vec<u32>>,
}

impl Seen {
    /// The number of a shape; `None` if there are too many.
    fn shape(&mut self, mask: &Words) -> Option<usize> {
        if let Some(&known) = self.by_mask.get(mask) {
            return Some(known);
        }
        let new = self.shapes.len();
        if new == SHAPES {
            return None;
        }
        let is_coarser = |of: &Words, than: &Words| of.iter().zip(than).all(|(a, b)| a & !b == 0);
        for (at, shape) in self.shapes.iter().enumerate() {
            if is_coarser(mask, shape) {
                self.coarser[at].push(new);
            }
        }
        let mut coarser: Vec<usize> = (0..new).filter(|&at| is_coarser(&self.shapes[at], mask)).collect();
        coarser.push(new);
        self.coarser.push(coarser);
        self.shapes.push(*mask);
        self.by_mask.insert(*mask, new);
        Some(new)
    }
}

/// Drops rules, in order of precedence, that an earlier one covers.
pub(super) fn drop_shadowed(rules: &mut Vec<Numbered>, work: &mut Work) -> usize {
    let mut seen = Seen::default();
    let mut kept = vec![true; rules.len()];
    for (at, (_, rule)) in rules.iter().enumerate() {
        let (mask, value) = mask_and_value(rule);
        let Some(shape) = seen.shape(&mask) else { continue };
        let covered = seen.coarser[shape].iter().any(|&coarser| {
            if !work.take() {
                return false;
            }
            let shape = &seen.shapes[coarser];
            let masked: Words = std::array::from_fn(|word| value[word] & shape[word]);
            let candidates = seen.rules.get(&(coarser, masked)).map_or(&[][..], Vec::as_slice);
            candidates.iter().any(|&other| work.take() && rules[other as usize].1.covers(rule))
        });
        if covered {
            kept[at] = false;
        } else {
            seen.rules.entry((shape, value)).or_default().push(at as u32);
        }
    }
    retain(rules, &kept)
}
