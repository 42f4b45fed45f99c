//! From a key's hash to the entries of a table that may have it: chains over a fixed number of entries.

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// Chains of entry numbers by hash. The table compares keys.
#[derive(Debug)]
pub(super) struct Index {
    /// First entry of each chain; as many as a power of two.
    heads: Box<[u32]>,
    /// Next entry of the same chain.
    next: Box<[u32]>,
}

impl Index {
    /// For this many entries.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            heads: vec![NONE; entries.next_power_of_two().max(2)].into_boxed_slice(),
            next: vec![NONE; entries].into_boxed_slice(),
        }
    }

    /// The first entry with this hash that `matches`.
    pub(super) fn find(&self, hash: u64, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut entry = self.heads[self.bucket(hash)];
        while entry != NONE {
            if matches(entry) {
                return Some(entry);
            }
            entry = self.next[entry as usize];
        }
        None
    }

    /// Adds an entry that is in no chain.
    pub(super) fn insert(&mut self, hash: u64, entry: u32) {
        let bucket = self.bucket(hash);
        self.next[entry as usize] = self.heads[bucket];
        self.heads[bucket] = entry;
    }

    /// Removes an entry that was added with this hash.
    pub(super) fn remove(&mut self, hash: u64, entry: u32) {
        let bucket = self.bucket(hash);
        let after = self.next[entry as usize];
        let mut before = self.heads[bucket];
        if before == entry {
            self.heads[bucket] = after;
            return;
        }
        while before != NONE {
            let next = &mut self.next[before as usize];
            if *next == entry {
                *next = after;
                return;
            }
            before = *next;
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_whatever_collides() {
        let mut index = Index::new(8);
        for entry in 0..8 {
            index.insert(u64::from(entry % 2), entry);
        }
        for removed in [6, 0, 7] {
            assert_eq!(index.find(u64::from(removed % 2), |entry| entry == removed), Some(removed));
            index.remove(u64::from(removed % 2), removed);
            assert_eq!(index.find(u64::from(removed % 2), |entry| entry == removed), None);
        }
        let mut found = Vec::new();
        index.find(0, |entry| {
            found.push(entry);
            false
        });
        found.sort_unstable();
        assert_eq!(found, [2, 4]);
    }
}
