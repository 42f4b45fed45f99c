//! Which ranges of a slab are free.

use std::collections::BTreeMap;

/// Free ranges by offset, neighbours merged. First fit, so that low ranges fill up and slabs can empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    bytes: usize,
    free: BTreeMap<usize, usize>,
}

impl Extents {
    /// All of `bytes` are free.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, free: BTreeMap::from([(0, bytes)]) }
    }

    /// Offset of `bytes` that were free and are not any more. Nobody wants no bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&offset, &free) = self.free.iter().find(|range| *range.1 >= bytes.max(1))?;
        self.free.remove(&offset);
        if free > bytes {
            self.free.insert(offset + bytes, free - bytes);
        }
        Some(offset)
    }

    /// Frees what was taken.
    pub(crate) fn give_back(&mut self, mut offset: usize, mut bytes: usize) {
        if let Some(after) = self.free.remove(&(offset + bytes)) {
            bytes += after;
        }
        if let Some((&before, &length)) = self.free.range(..offset).next_back()
            && before + length == offset
        {
            self.free.remove(&before);
            offset = before;
            bytes += length;
        }
        self.free.insert(offset, bytes);
    }

    /// Is nothing taken?
    pub(crate) fn is_unused(&self) -> bool {
        self.free.get(&0) == Some(&self.bytes)
    }

    /// Bytes that are free.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.values().sum()
    }

    /// Bytes of the largest free range.
    pub(crate) fn largest_free_bytes(&self) -> usize {
        self.free.values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: usize = 64;

    proptest! {
        /// Against a reference that looks at every unit.
        #[test]
        fn it_takes_the_first_range_that_fits(
            steps in prop::collection::vec((any::<bool>(), 1usize..20, any::<prop::sample::Index>()), 1..200)
        ) {
            let mut extents = Extents::new(UNITS);
            let mut taken = [false; UNITS];
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (give_back, bytes, which) in steps {
                if give_back && !held.is_empty() {
                    let (offset, bytes) = held.swap_remove(which.index(held.len()));
                    taken[offset..offset + bytes].fill(false);
                    extents.give_back(offset, bytes);
                } else {
                    let expected = taken.windows(bytes).position(|range| range.iter().all(|taken| !taken));
                    let offset = extents.take(bytes);
                    prop_assert_eq!(offset, expected);
                    if let Some(offset) = offset {
                        taken[offset..offset + bytes].fill(true);
                        held.push((offset, bytes));
                    }
                }
                prop_assert_eq!(extents.free_bytes(), taken.iter().filter(|taken| !**taken).count());
                let runs = taken.split(|taken| *taken).map(<[bool]>::len);
                prop_assert_eq!(extents.largest_free_bytes(), runs.max().unwrap_or(0));
                prop_assert_eq!(extents.is_unused(), held.is_empty());
            }
            for (offset, bytes) in held {
                extents.give_back(offset, bytes);
            }
            prop_assert_eq!(extents, Extents::new(UNITS));
        }
    }

    #[test]
    fn more_than_there_is_is_not_there() {
        let mut extents = Extents::new(UNITS);
        assert_eq!(extents.take(UNITS + 1), None);
        assert_eq!(extents.take(usize::MAX), None);
        assert_eq!(extents.take(UNITS), Some(0));
        assert_eq!((extents.take(1), extents.take(0)), (None, None));
        assert_eq!((extents.largest_free_bytes(), extents.is_unused()), (0, false));
    }
}
