//! Which bytes of `EXTRACTED_HEADERS_T` a lambda touches.

use std::fmt;
use std::ops::Range;

/// Bytes of `EXTRACTED_HEADERS_T`.
pub const HEADER_BYTES: usize = size_of::<lnic_abi::Headers>();
const WORDS: usize = HEADER_BYTES.div_ceil(64);

/// A set of bytes of `EXTRACTED_HEADERS_T`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct HeaderBytes([u64; WORDS]);

impl HeaderBytes {
    /// No byte.
    pub const NONE: Self = Self([0; WORDS]);

    /// Every byte.
    #[must_use]
    pub fn all() -> Self {
        let mut all = Self::NONE;
        all.insert(0..HEADER_BYTES);
        all
    }

    /// Adds a range; what lies behind the headers is left out.
    pub fn insert(&mut self, bytes: Range<usize>) {
        for at in bytes.start..bytes.end.min(HEADER_BYTES) {
            self.0[at / 64] |= 1 << (at % 64);
        }
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// True if it has one of these bytes.
    #[must_use]
    pub fn intersects(&self, bytes: Range<usize>) -> bool {
        (bytes.start..bytes.end.min(HEADER_BYTES)).any(|at| self.contains(at))
    }

    /// True if it has this byte.
    #[must_use]
    pub fn contains(&self, at: usize) -> bool {
        at < HEADER_BYTES && self.0[at / 64] >> (at % 64) & 1 != 0
    }

    /// True if it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// The bytes as ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let set = *self;
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = (at..HEADER_BYTES).find(|&at| set.contains(at))?;
            at = (start..HEADER_BYTES).find(|&at| !set.contains(at)).unwrap_or(HEADER_BYTES);
            Some(start..at)
        })
    }
}

impl fmt::Debug for HeaderBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

/// Header bytes that a lambda may read and may write. What could not be followed counts as all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderUse {
    /// It may read these.
    pub read: HeaderBytes,
    /// It may write these.
    pub written: HeaderBytes,
}

impl HeaderUse {
    /// Nothing is known: all of them.
    #[must_use]
    pub fn all() -> Self {
        Self { read: HeaderBytes::all(), written: HeaderBytes::all() }
    }
}

impl Default for HeaderUse {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_was_inserted() {
        let mut set = HeaderBytes::NONE;
        assert!(set.is_empty() && set.ranges().next().is_none());
        set.insert(60..70);
        set.insert(70..72);
        set.insert(128..HEADER_BYTES + 40);
        assert_eq!(set.ranges().collect::<Vec<_>>(), [60..72, 128..HEADER_BYTES]);
        assert!(set.intersects(0..61) && !set.intersects(0..60) && !set.contains(HEADER_BYTES));
        set.add(&HeaderBytes::all());
        assert_eq!(set, HeaderBytes::all());
    }
}
