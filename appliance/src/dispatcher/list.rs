//! Doubly linked lists through an array of nodes: constant-time push, pop and unlink, and no allocation.

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// A node's neighbours in the one list that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    previous: u32,
    next: u32,
}

impl Link {
    /// Of a node in no list.
    pub(super) const UNLINKED: Self = Self { previous: NONE, next: NONE };
}

/// A node with a place for its neighbours.
pub(super) trait Linked {
    fn link(&mut self) -> &mut Link;
}

impl Linked for Link {
    fn link(&mut self) -> &mut Link {
        self
    }
}

/// First and last node.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// Of no nodes.
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE };

    pub(super) const fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// The first node.
    #[inline]
    pub(super) const fn head(&self) -> Option<u32> {
        if self.head == NONE { None } else { Some(self.head) }
    }

    /// Appends a node that is in no list.
    #[inline]
    pub(super) fn push_back<N: Linked>(&mut self, nodes: &mut [N], node: u32) {
        *nodes[node as usize].link() = Link { previous: self.tail, next: NONE };
        if self.tail == NONE {
            self.head = node;
        } else {
            nodes[self.tail as usize].link().next = node;
        }
        self.tail = node;
    }

    /// Takes out a node that is in this list.
    #[inline]
    pub(super) fn unlink<N: Linked>(&mut self, nodes: &mut [N], node: u32) {
        let Link { previous, next } = std::mem::replace(nodes[node as usize].link(), Link::UNLINKED);
        if previous == NONE {
            self.head = next;
        } else {
            nodes[previous as usize].link().next = next;
        }
        if next == NONE {
            self.tail = previous;
        } else {
            nodes[next as usize].link().previous = previous;
        }
    }
}

#[cfg(test)]
impl List {
    /// All nodes in order, after a check of the links both ways.
    pub(super) fn nodes<N: Linked>(&self, nodes: &mut [N]) -> Vec<u32> {
        let (mut found, mut at, mut before) = (Vec::new(), self.head, NONE);
        while at != NONE {
            let link = *nodes[at as usize].link();
            assert_eq!(link.previous, before, "node {at} and its neighbour disagree");
            found.push(at);
            (before, at) = (at, link.next);
        }
        assert_eq!(self.tail, before, "the tail is not the last node");
        found
    }
}
