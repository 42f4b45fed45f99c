//! A hash map of fixed size.

use core::fmt;
use core::hash::{Hash, Hasher};

/// Places in a row that a key may be in, of two rows: all that a look-up takes, however full the map, whatever keys somebody sends.
const ROW: usize = 4;

/// There was no room in the places that the key may be in.
///
/// ```
/// assert_eq!(lnic_lambda::Full.to_string(), "the map has no room for this key");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the map has no room for this key")
    }
}

/// A hash map with `N` places, of which each key may be in eight: every operation takes a bounded time. Up to 3 of 4 places in use, new
/// keys find one free but for two in a hundred at most; such a key is refused, or takes the place of another.
///
/// Who may choose keys should not know the seed: [`set_seed`](Self::set_seed) with [`host::random`](crate::host::random) in
/// [`init!`](crate::init).
///
/// ```
/// use lnic_lambda::{emem, Map, Pinned};
///
/// emem! {
///     static SEEN: Pinned<Map<[u8; 4], u32, 1024>> = Pinned::new(Map::new());
/// }
/// let count = SEEN.with(|seen| {
///     let count = seen.get_or_insert([10, 0, 0, 1], 0)?;
///     *count += 1;
///     Ok::<u32, lnic_lambda::Full>(*count)
/// });
/// assert_eq!(count, Ok(1));
/// ```
#[derive(Clone)]
pub struct Map<K, V, const N: usize> {
    slots: [Option<(K, V)>; N],
    used: usize,
    seed: u64,
}

impl<K, V, const N: usize> Map<K, V, N> {
    const EMPTY: Option<(K, V)> = None;

    /// An empty one.
    ///
    /// ```
    /// assert!(lnic_lambda::Map::<u32, u32, 16>::new().is_empty());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [Self::EMPTY; N], used: 0, seed: 0 }
    }

    /// Keys in it.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Map::<u32, u32, 16>::new().len(), 0);
    /// ```
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// True if there are none.
    ///
    /// ```
    /// assert!(lnic_lambda::Map::<u32, u32, 16>::new().is_empty());
    /// ```
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Removes everything.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// map.insert(1, 2).unwrap();
    /// map.clear();
    /// assert_eq!(map.get(&1), None);
    /// ```
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            *slot = None;
        }
        self.used = 0;
    }

    /// All keys with their values, in no order.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// map.insert(1, 2).unwrap();
    /// assert_eq!(map.iter().next(), Some((&1, &2)));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + '_ {
        self.slots.iter().flatten().map(|(key, value)| (key, value))
    }
}

impl<K: Eq + Hash, V, const N: usize> Map<K, V, N> {
    /// Makes places depend on this. Removes everything.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// map.set_seed(lnic_lambda::host::random());
    /// ```
    pub fn set_seed(&mut self, seed: u64) {
        self.clear();
        self.seed = seed;
    }

    /// The key's value.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<&str, u32, 16>::new();
    /// map.insert("one", 1).unwrap();
    /// assert_eq!((map.get(&"one"), map.get(&"two")), (Some(&1), None));
    /// ```
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.find(key)?;
        self.slots[at].as_ref().map(|(_, value)| value)
    }

    /// The same, to change.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// map.insert(1, 2).unwrap();
    /// *map.get_mut(&1).unwrap() += 1;
    /// assert_eq!(map.get(&1), Some(&3));
    /// ```
    #[must_use]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key)?;
        self.slots[at].as_mut().map(|(_, value)| value)
    }

    /// Sets the key's value; returns the one that it had.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// assert_eq!(map.insert(1, 2), Ok(None));
    /// assert_eq!(map.insert(1, 3), Ok(Some(2)));
    /// ```
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full> {
        let at = self.find(&key).or_else(|| self.find_free(&key)).ok_or(Full)?;
        Ok(self.put(at, key, value).map(|(_, value)| value))
    }

    /// The key's value; this one, if it has none.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// *map.get_or_insert(1, 10).unwrap() += 1;
    /// assert_eq!(map.get(&1), Some(&11));
    /// ```
    pub fn get_or_insert(&mut self, key: K, value: V) -> Result<&mut V, Full> {
        let at = match self.find(&key) {
            Some(at) => at,
            None => {
                let at = self.find_free(&key).ok_or(Full)?;
                self.put(at, key, value);
                at
            }
        };
        self.slots[at].as_mut().map(|(_, value)| value).ok_or(Full)
    }

    /// The same; where there is no room, the key takes the place of the one with the smallest `rank`, such as the time of its last use.
    /// [`Full`] only if the map has no places at all.
    ///
    /// ```
    /// let mut last_seen = lnic_lambda::Map::<u32, u64, 1>::new();
    /// last_seen.get_or_replace(1, 100, |time| *time).unwrap();
    /// last_seen.get_or_replace(2, 200, |time| *time).unwrap();
    /// assert_eq!((last_seen.get(&1), last_seen.get(&2)), (None, Some(&200)));
    /// ```
    pub fn get_or_replace<R: Ord>(
        &mut self,
        key: K,
        value: V,
        rank: impl Fn(&V) -> R,
    ) -> Result<&mut V, Full> {
        let at = match self.find(&key) {
            Some(at) => at,
            None => {
                let free = self.find_free(&key);
                let at = free.or_else(|| self.smallest(&key, rank)).ok_or(Full)?;
                self.put(at, key, value);
                at
            }
        };
        self.slots[at].as_mut().map(|(_, value)| value).ok_or(Full)
    }

    /// Removes the key; returns its value.
    ///
    /// ```
    /// let mut map = lnic_lambda::Map::<u32, u32, 16>::new();
    /// map.insert(1, 2).unwrap();
    /// assert_eq!((map.remove(&1), map.remove(&1)), (Some(2), None));
    /// ```
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key)?;
        let (_, value) = self.slots[at].take()?;
        self.used -= 1;
        Some(value)
    }

    fn put(&mut self, at: usize, key: K, value: V) -> Option<(K, V)> {
        let before = self.slots[at].replace((key, value));
        self.used += usize::from(before.is_none());
        before
    }

    fn find(&self, key: &K) -> Option<usize> {
        self.places(key).find(|at| matches!(&self.slots[*at], Some((own, _)) if own == key))
    }

    /// A free place, in the row that has more of them.
    fn find_free(&self, key: &K) -> Option<usize> {
        let free = |row: usize| Self::row(row).filter(|at| self.slots[*at].is_none());
        let [first, second] = self.rows(key);
        let row = if free(first).count() >= free(second).count() { first } else { second };
        free(row).next()
    }

    fn smallest<R: Ord>(&self, key: &K, rank: impl Fn(&V) -> R) -> Option<usize> {
        self.places(key).min_by_key(|at| self.slots[*at].as_ref().map(|(_, value)| rank(value)))
    }

    /// The places that a key may be in.
    fn places(&self, key: &K) -> impl Iterator<Item = usize> {
        let [first, second] = self.rows(key);
        Self::row(first).chain(Self::row(second))
    }

    /// The places from `first` on.
    fn row(first: usize) -> impl Iterator<Item = usize> {
        (first..first + ROW.min(N)).map(|at| if at < N { at } else { at - N })
    }

    /// Where the two rows of a key begin.
    fn rows(&self, key: &K) -> [usize; 2] {
        let mut hasher = Fold(self.seed);
        key.hash(&mut hasher);
        let hash = hasher.finish();
        // The upper half of the product: as even as a division, and cheaper.
        [hash >> 32, hash & u64::from(u32::MAX)].map(|half| ((half * N as u64) >> 32) as usize)
    }
}

impl<K, V, const N: usize> Default for Map<K, V, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug, const N: usize> fmt::Debug for Map<K, V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A multiplication and a shift for each word: quick, and good enough where a look-up is bounded anyway.
struct Fold(u64);

impl Fold {
    fn word(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut number = [0; 8];
            number.copy_from_slice(word);
            self.word(u64::from_le_bytes(number));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut number = [0; 8];
            number[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(number));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.word(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.word(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.word(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.word(number as u64);
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_is_what_the_standard_one_is() {
        let (mut map, mut reference) = (Map::<u16, u32, 64>::new(), HashMap::new());
        map.set_seed(12);
        let mut state = 1u32;
        let mut refused = 0;
        for step in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (state >> 16) as u16 % 80;
            match state >> 14 & 3 {
                0 => assert_eq!(map.remove(&key), reference.remove(&key)),
                1 => assert_eq!(map.get(&key), reference.get(&key)),
                _ => match map.insert(key, step) {
                    Ok(before) => assert_eq!(before, reference.insert(key, step)),
                    Err(Full) => {
                        refused += 1;
                        assert!(!reference.contains_key(&key));
                    }
                },
            }
            assert_eq!(map.len(), reference.len());
        }
        assert!(refused > 0 && refused < 30_000, "{}", refused);
        assert!(map.iter().all(|(key, value)| reference.get(key) == Some(value)));
    }

    #[test]
    fn three_quarters_are_used_almost_without_refusals_whatever_the_keys() {
        for step in [1u32, 256, 4096, 65_536] {
            let mut map = Map::<u32, (), 4096>::new();
            let refused = (0..3072).filter(|at| map.insert(at * step, ()).is_err()).count();
            assert!(refused < 62, "{} of 3072 keys {} apart", refused, step);
        }
    }

    #[test]
    fn a_map_without_places_refuses() {
        let mut map = Map::<u32, u32, 0>::new();
        assert_eq!(map.insert(1, 1), Err(Full));
        assert_eq!(map.get_or_replace(1, 1, |value| *value), Err(Full));
        assert_eq!(map.get(&1), None);
        assert_eq!(map.remove(&1), None);
    }
}
