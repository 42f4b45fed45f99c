//! A queue of fixed size.

/// First in, first out: at most `N` elements.
///
/// ```
/// use lnic_lambda::Ring;
/// let mut recent = Ring::<u32, 2>::new();
/// assert_eq!(recent.push(1), Ok(()));
/// assert_eq!(recent.push(2), Ok(()));
/// assert_eq!(recent.push(3), Err(3));
/// assert_eq!(recent.push_over(3), Some(1));
/// assert_eq!(recent.iter().copied().collect::<Vec<_>>(), [2, 3]);
/// ```
#[derive(Clone, Debug)]
pub struct Ring<T, const N: usize> {
    slots: [Option<T>; N],
    first: usize,
    length: usize,
}

impl<T, const N: usize> Ring<T, N> {
    const EMPTY: Option<T> = None;

    /// An empty one.
    ///
    /// ```
    /// assert!(lnic_lambda::Ring::<u8, 4>::new().is_empty());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [Self::EMPTY; N], first: 0, length: 0 }
    }

    /// Elements in it.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Ring::<u8, 4>::new().len(), 0);
    /// ```
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// True if there are none.
    ///
    /// ```
    /// assert!(lnic_lambda::Ring::<u8, 4>::new().is_empty());
    /// ```
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends an element; gives it back if there is no room.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Ring::<u8, 0>::new().push(5), Err(5));
    /// ```
    pub fn push(&mut self, element: T) -> Result<(), T> {
        if self.length == N {
            return Err(element);
        }
        let at = self.place(self.length);
        self.slots[at] = Some(element);
        self.length += 1;
        Ok(())
    }

    /// Appends an element, in the place of the oldest if there is no room, which it returns.
    ///
    /// ```
    /// let mut ring = lnic_lambda::Ring::<u8, 1>::new();
    /// assert_eq!((ring.push_over(1), ring.push_over(2)), (None, Some(1)));
    /// ```
    pub fn push_over(&mut self, element: T) -> Option<T> {
        let oldest = if self.length == N { self.pop() } else { None };
        // A ring without room at all hands it back at once.
        self.push(element).err().or(oldest)
    }

    /// Takes the oldest element out.
    ///
    /// ```
    /// let mut ring = lnic_lambda::Ring::<u8, 2>::new();
    /// ring.push(1).unwrap();
    /// assert_eq!((ring.pop(), ring.pop()), (Some(1), None));
    /// ```
    pub fn pop(&mut self) -> Option<T> {
        if self.length == 0 {
            return None;
        }
        let element = self.slots[self.first].take();
        self.first = self.place(1);
        self.length -= 1;
        element
    }

    /// All elements, the oldest first.
    ///
    /// ```
    /// let mut ring = lnic_lambda::Ring::<u8, 2>::new();
    /// ring.push(1).unwrap();
    /// assert_eq!(ring.iter().next(), Some(&1));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        (0..self.length).filter_map(move |at| self.slots[self.place(at)].as_ref())
    }

    /// Where the element so far behind the oldest lies.
    fn place(&self, behind: usize) -> usize {
        let at = self.first + behind;
        if at < N {
            at
        } else {
            at - N
        }
    }
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_is_what_a_deque_is() {
        let (mut ring, mut deque) = (Ring::<u32, 5>::new(), VecDeque::new());
        let mut state = 1u32;
        for step in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 30 {
                0 | 1 => {
                    let fits = deque.len() < 5;
                    assert_eq!(ring.push(step).is_ok(), fits);
                    if fits {
                        deque.push_back(step);
                    }
                }
                2 => {
                    let oldest = if deque.len() == 5 { deque.pop_front() } else { None };
                    deque.push_back(step);
                    assert_eq!(ring.push_over(step), oldest);
                }
                _ => assert_eq!(ring.pop(), deque.pop_front()),
            }
            assert!(ring.iter().eq(deque.iter()) && ring.len() == deque.len());
        }
    }
}
