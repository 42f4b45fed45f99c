//! The shadow stack: what the compiler spilled is found again.

use std::collections::BTreeMap;

use super::interval::Interval;
use super::value::Value;

/// Bytes that were stored together.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    bytes: u32,
    value: Value,
}

/// Stored somewhere between two offsets.
#[derive(Clone, Debug, PartialEq)]
struct Smear {
    low: i64,
    high: i64,
    value: Value,
}

/// Smears more than these are merged.
const SMEARS: usize = 12;
/// Bytes up to which a copy is kept word by word.
const COPY_BYTES: i64 = 512;

/// What lies at offsets of the stack. A byte that was never stored to holds some number: C does not let a program rely on more.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stack {
    /// By offset; they do not overlap.
    cells: BTreeMap<i64, Cell>,
    /// What cells that are not there may hold.
    smears: Vec<Smear>,
}

impl Stack {
    /// How much it is to copy or to compare.
    pub(super) fn size(&self) -> usize {
        self.cells.len() + self.smears.len()
    }

    fn overlapping(&self, low: i64, high: i64) -> impl Iterator<Item = (i64, &Cell)> {
        // No cell is wider than a vector or a word of a copy.
        let range = low.saturating_sub(16)..high;
        let cells = if range.start < range.end { Some(self.cells.range(range)) } else { None };
        cells
            .into_iter()
            .flatten()
            .filter(move |(at, cell)| *at + i64::from(cell.bytes) > low)
            .map(|(&at, cell)| (at, cell))
    }

    /// What bytes without a cell may hold.
    fn background(&self, low: i64, high: i64) -> Value {
        let smears = self.smears.iter().filter(|smear| smear.low < high && low < smear.high);
        smears.fold(Value::any_number(), |all, smear| all.join(&smear.value))
    }

    /// What a load at one offset gives.
    pub(super) fn load(&self, at: i64, bytes: u32) -> Value {
        let end = at.saturating_add(i64::from(bytes));
        let mut covered = at;
        let mut all: Option<Value> = None;
        for (start, cell) in self.overlapping(at, end) {
            if start == at && cell.bytes == bytes {
                return cell.value.clone();
            }
            // A word of a wider cell, or a wider load of words, has pointers as they are; any other part of one has not.
            let whole = (start - at) % 4 == 0 && bytes.is_multiple_of(4) && cell.bytes.is_multiple_of(4);
            let value =
                if whole { cell.value.clone() } else { cell.value.blurred() }.with_number(Interval::FULL);
            all = Some(all.map_or_else(|| value.clone(), |all| all.join(&value)));
            covered = if start <= covered { covered.max(start + i64::from(cell.bytes)) } else { covered };
        }
        match all {
            Some(all) if covered >= end => all,
            Some(all) => all.join(&self.background(at, end)),
            None => self.background(at, end),
        }
    }

    /// What a load somewhere between two offsets gives.
    pub(super) fn load_somewhere(&self, low: i64, high: i64) -> Value {
        let cells = self.overlapping(low, high);
        cells.fold(self.background(low, high), |all, (_, cell)| all.join(&cell.value))
    }

    /// Forgets what lies between two offsets, but for the parts of cells that stick out.
    fn clear(&mut self, low: i64, high: i64) {
        let found: Vec<i64> = self.overlapping(low, high).map(|(at, _)| at).collect();
        for at in found {
            let Some(cell) = self.cells.remove(&at) else { continue };
            let end = at + i64::from(cell.bytes);
            for (from, to) in [(at, low.min(end)), (high.max(at), end)] {
                if from < to {
                    let words = (to - from) % 4 == 0 && (from - at) % 4 == 0;
                    let value = if words { cell.value.clone() } else { cell.value.blurred() };
                    let value = value.with_number(Interval::FULL);
                    self.cells.insert(from, Cell { bytes: (to - from) as u32, value });
                }
            }
        }
    }

    /// A store at one offset.
    pub(super) fn store(&mut self, at: i64, bytes: u32, value: Value) {
        if let Some(cell) = self.cells.get_mut(&at).filter(|cell| cell.bytes == bytes) {
            cell.value = value;
            return;
        }
        self.clear(at, at.saturating_add(i64::from(bytes)));
        self.cells.insert(at, Cell { bytes, value });
    }

    /// A store that may happen, somewhere between two offsets.
    pub(super) fn store_somewhere(&mut self, low: i64, high: i64, value: &Value) {
        let found: Vec<i64> = self.overlapping(low, high).map(|(at, _)| at).collect();
        for at in found {
            if let Some(cell) = self.cells.get_mut(&at) {
                cell.value = cell.value.join(value).with_number(Interval::FULL);
            }
        }
        self.smear(low, high, value);
    }

    fn smear(&mut self, low: i64, high: i64, value: &Value) {
        if value.is_number() && !value.computed {
            return;
        }
        if let Some(same) = self.smears.iter_mut().find(|smear| smear.low <= low && high <= smear.high) {
            same.value = same.value.join(value);
            return;
        }
        self.smears.push(Smear { low, high, value: value.clone() });
        if self.smears.len() > SMEARS {
            let all = self.smears.drain(..).reduce(|a, b| Smear {
                low: a.low.min(b.low),
                high: a.high.max(b.high),
                value: a.value.join(&b.value),
            });
            self.smears.extend(all);
        }
    }

    /// A run of bytes is written at one offset, by what may hold `value`.
    pub(super) fn fill(&mut self, at: i64, bytes: i64, value: &Value) {
        self.clear(at, at.saturating_add(bytes));
        if bytes > COPY_BYTES {
            return self.smear(at, at.saturating_add(bytes), value);
        }
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(4);
            self.cells.insert(at + done, Cell { bytes: part as u32, value: value.clone() });
            done += part;
        }
    }

    /// A run of bytes is copied from one offset to another.
    pub(super) fn copy(&mut self, to: i64, from: i64, bytes: i64) {
        if bytes > COPY_BYTES {
            let value = self.load_somewhere(from, from.saturating_add(bytes)).blurred();
            return self.fill(to, bytes, &value);
        }
        let mut words = Vec::new();
        let mut done = 0;
        while done < bytes {
            // Cells go over as they are; what is between them by words.
            let part = match self.cells.get(&(from + done)) {
                Some(cell) if i64::from(cell.bytes) <= bytes - done => i64::from(cell.bytes),
                _ => {
                    let next = self
                        .cells
                        .range(from + done + 1..from + bytes)
                        .next()
                        .map_or(bytes, |(at, _)| at - from);
                    (next - done).min(4)
                }
            };
            words.push((to + done, part as u32, self.load(from + done, part as u32)));
            done += part;
        }
        for (at, bytes, value) in words {
            self.store(at, bytes, value);
        }
    }

    /// Forgets what lies below the stack pointer.
    pub(super) fn drop_below(&mut self, low: i64) {
        self.cells = self.cells.split_off(&low);
        self.smears.retain_mut(|smear| {
            smear.low = smear.low.max(low);
            smear.low < smear.high
        });
    }

    /// Takes in what another way to the same place left; true if that changed anything.
    pub(super) fn absorb(&mut self, other: &Self, widen: bool) -> bool {
        if self == other {
            return false;
        }
        let mut changed = false;
        for (at, cell) in &mut self.cells {
            changed |= cell.value.absorb(&other.load(*at, cell.bytes), widen);
        }
        for (&at, cell) in &other.cells {
            let end = at + i64::from(cell.bytes);
            if self.overlapping(at, end).next().is_some() {
                // Loaded above, by this one's cells; what sticks out of them is smeared.
                let covered: i64 = self
                    .overlapping(at, end)
                    .map(|(from, own)| (from + i64::from(own.bytes)).min(end) - from.max(at))
                    .sum();
                if covered < end - at {
                    changed |= self.absorb_smear(at, end, &cell.value.blurred());
                }
                continue;
            }
            // Not stored here: a number, or what was smeared over it.
            let value = cell.value.join(&self.background(at, end)).with_number(Interval::FULL);
            self.cells.insert(at, Cell { bytes: cell.bytes, value });
            changed = true;
        }
        for smear in &other.smears {
            changed |= self.absorb_smear(smear.low, smear.high, &smear.value);
        }
        changed
    }

    fn absorb_smear(&mut self, low: i64, high: i64, value: &Value) -> bool {
        if value.is_number() && !value.computed {
            return false;
        }
        let known = self.smears.iter().filter(|smear| smear.low <= low && high <= smear.high);
        if known.clone().any(|smear| smear.value.join(value) == smear.value) {
            return false;
        }
        // Chains of growth are short: what grows at all is blurred.
        let value = if known.count() > 0 { value.blurred() } else { value.clone() };
        self.smear(low, high, &value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::value::Region;

    fn object(at: u32) -> Value {
        Value::pointer(Region::Object(at), 0)
    }

    #[test]
    fn spilled_words_are_found_again() {
        let mut stack = Stack::default();
        stack.store(-16, 4, object(1));
        stack.store(-12, 4, Value::constant(7));
        assert_eq!(stack.load(-16, 4), object(1));
        // Both together are carried by a wide load, and come out of it.
        let both = stack.load(-16, 8);
        assert_eq!(both.pointers, object(1).pointers);
        stack.store(-32, 8, both);
        assert_eq!(stack.load(-32, 4).pointers, object(1).pointers);
        // A byte in the midst of the pointer makes it point elsewhere.
        stack.store(-15, 1, Value::constant(0));
        assert_ne!(stack.load(-16, 4).pointers, object(1).pointers);
    }

    #[test]
    fn a_store_somewhere_adds_to_what_was_there() {
        let mut stack = Stack::default();
        stack.store(-8, 4, object(1));
        stack.store_somewhere(-64, 0, &object(2));
        assert_eq!(stack.load(-8, 4).pointers.as_slice().len(), 2);
        assert_eq!(stack.load(-40, 4).pointers.as_slice().len(), 1);
        stack.store(-40, 4, Value::constant(1));
        assert!(stack.load(-40, 4).is_number());
        stack.drop_below(-4);
        assert!(stack.load(-40, 4).is_number());
    }

    #[test]
    fn copies_keep_words() {
        let mut stack = Stack::default();
        stack.store(-24, 4, object(1));
        stack.store(-20, 8, Value::constant(3));
        stack.copy(-48, -24, 12);
        assert_eq!((stack.load(-48, 4), stack.load(-44, 8)), (object(1), Value::constant(3)));
        stack.copy(-44, -48, 8);
        assert_eq!(stack.load(-44, 4), object(1));
    }

    #[test]
    fn joining_forgets_nothing_and_ends() {
        let mut one = Stack::default();
        one.store(-8, 8, object(1));
        let mut other = Stack::default();
        other.store(-8, 4, object(2));
        other.store(-2, 4, object(3));
        other.store_somewhere(-100, -50, &object(4));
        assert!(one.absorb(&other, false));
        while one.absorb(&other, true) {}
        let found = one.load(-8, 4);
        for wanted in [1, 2] {
            assert!(found.pointers.as_slice().iter().any(|it| it.region == Region::Object(wanted)));
        }
        assert!(one.load(-2, 4).pointers.as_slice().iter().any(|it| it.region == Region::Object(3)));
        assert!(one.load(-60, 4).pointers.as_slice().iter().any(|it| it.region == Region::Object(4)));
    }
}
