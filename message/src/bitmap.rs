//! A bitmap that is allocated once and then serves messages of any length up to its capacity.

const WORD_BITS: u32 = u64::BITS;

/// Bits 0 to `bits`, and how many of them are set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    words: Box<[u64]>,
    bits: u32,
    ones: u32,
}

impl Bitmap {
    /// Room for this many bits; none so far.
    pub(crate) fn with_capacity(bits: u32) -> Self {
        Self { words: vec![0; bits.div_ceil(WORD_BITS) as usize].into_boxed_slice(), bits: 0, ones: 0 }
    }

    /// All clear, with this many bits.
    ///
    /// # Panics
    /// If they are more than its capacity.
    pub(crate) fn reset(&mut self, bits: u32) {
        self.words[..bits.div_ceil(WORD_BITS) as usize].fill(0);
        self.bits = bits;
        self.ones = 0;
    }

    /// How many bits are set.
    pub(crate) fn ones(&self) -> u32 {
        self.ones
    }

    /// Whether a bit is set; one past the end is not.
    pub(crate) fn get(&self, bit: u32) -> bool {
        bit < self.bits && self.words[(bit / WORD_BITS) as usize] >> (bit % WORD_BITS) & 1 != 0
    }

    /// Sets a bit. Whether that changed anything: not if it is past the end.
    pub(crate) fn set(&mut self, bit: u32) -> bool {
        if bit >= self.bits || self.get(bit) {
            return false;
        }
        self.words[(bit / WORD_BITS) as usize] |= 1 << (bit % WORD_BITS);
        self.ones += 1;
        true
    }

    /// Clears a bit that is set.
    pub(crate) fn clear(&mut self, bit: u32) {
        if self.get(bit) {
            self.words[(bit / WORD_BITS) as usize] &= !(1 << (bit % WORD_BITS));
            self.ones -= 1;
        }
    }

    /// The first set bit from here on.
    pub(crate) fn next_set(&self, from: u32) -> Option<u32> {
        self.scan(from, 0)
    }

    /// The first clear bit from here on.
    pub(crate) fn next_clear(&self, from: u32) -> Option<u32> {
        self.scan(from, u64::MAX)
    }

    /// The first bit from here on that is set in its word xor `flip`.
    fn scan(&self, from: u32, flip: u64) -> Option<u32> {
        let mut bit = from;
        while bit < self.bits {
            let word = (self.words[(bit / WORD_BITS) as usize] ^ flip) >> (bit % WORD_BITS);
            if word != 0 {
                let found = bit + word.trailing_zeros();
                return (found < self.bits).then_some(found);
            }
            bit = (bit / WORD_BITS + 1) * WORD_BITS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_vector(
            rounds in proptest::collection::vec((0..300_u32, proptest::collection::vec((any::<bool>(), 0..320_u32), 0..80)), 1..4),
        ) {
            let mut bitmap = Bitmap::with_capacity(300);
            for (bits, changes) in rounds {
                bitmap.reset(bits);
                let mut reference = vec![false; bits as usize];
                for (set, bit) in changes {
                    let before = reference.get(bit as usize).copied();
                    if set {
                        prop_assert_eq!(bitmap.set(bit), before == Some(false));
                    } else {
                        bitmap.clear(bit);
                    }
                    if let Some(value) = reference.get_mut(bit as usize) {
                        *value = set;
                    }
                }
                prop_assert_eq!(bitmap.ones() as usize, reference.iter().filter(|&&bit| bit).count());
                for from in 0..320 {
                    let next = |wanted: bool| {
                        (from..bits).find(|&bit| reference[bit as usize] == wanted)
                    };
                    prop_assert_eq!(bitmap.next_set(from), next(true));
                    prop_assert_eq!(bitmap.next_clear(from), next(false));
                    prop_assert_eq!(bitmap.get(from), reference.get(from as usize) == Some(&true));
                }
            }
        }
    }
}
