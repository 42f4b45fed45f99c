//! Doubly linked lists of entry numbers over one array of links: queues, ages and free lists of fixed tables.

use super::index::NONE;

/// First and last entry of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// A list without entries.
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE };

    /// The entry that was pushed first.
    pub(super) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }
}

/// The links of all entries. An entry is in one list at most; which one, its table knows.
#[derive(Debug)]
pub(super) struct Links(Box<[List]>);

impl Links {
    /// For this many entries, none of them in a list.
    pub(super) fn new(entries: usize) -> Self {
        Self(vec![List::EMPTY; entries].into_boxed_slice())
    }

    /// For this many entries, and a list of all of them.
    pub(super) fn full(entries: usize) -> (Self, List) {
        let (mut links, mut list) = (Self::new(entries), List::EMPTY);
        (0..entries as u32).for_each(|entry| links.push(&mut list, entry));
        (links, list)
    }

    /// Appends an entry that is in no list.
    pub(super) fn push(&mut self, list: &mut List, entry: u32) {
        // Of an entry, `head` is the one before it and `tail` the one after.
        self.0[entry as usize] = List { head: list.tail, tail: NONE };
        if list.tail == NONE {
            list.head = entry;
        } else {
            self.0[list.tail as usize].tail = entry;
        }
        list.tail = entry;
    }

    /// Removes an entry of this list.
    pub(super) fn remove(&mut self, list: &mut List, entry: u32) {
        let List { head: before, tail: after } = self.0[entry as usize];
        if before == NONE {
            list.head = after;
        } else {
            self.0[before as usize].tail = after;
        }
        if after == NONE {
            list.tail = before;
        } else {
            self.0[after as usize].head = before;
        }
    }

    /// Removes the first entry.
    pub(super) fn pop(&mut self, list: &mut List) -> Option<u32> {
        let first = list.first()?;
        self.remove(list, first);
        Some(first)
    }

    /// The entry after this one, in its list.
    pub(super) fn after(&self, entry: u32) -> Option<u32> {
        let after = self.0[entry as usize].tail;
        (after != NONE).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_arrival() {
        let (mut links, mut list) = Links::full(6);
        for entry in [0, 3, 5] {
            links.remove(&mut list, entry);
        }
        links.push(&mut list, 3);
        assert_eq!(links.after(4), Some(3));
        assert_eq!(std::iter::from_fn(|| links.pop(&mut list)).collect::<Vec<_>>(), [1, 2, 4, 3]);
        assert_eq!(list.first(), None);
        links.push(&mut list, 5);
        assert_eq!((list.first(), links.after(5)), (Some(5), None));
    }
}
