//! Ranges of numbers.

/// Numbers between two, both included. A 32-bit value equals one of them modulo 2³², a 64-bit one modulo 2⁶⁴; what would be as
/// wide as all 32-bit values is [`FULL`](Self::FULL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Interval {
    /// Any number.
    pub(super) const FULL: Self = Self { low: i64::MIN, high: i64::MAX };
    /// A truth value.
    pub(super) const TRUTH: Self = Self { low: 0, high: 1 };

    pub(super) const fn constant(value: i64) -> Self {
        Self { low: value, high: value }
    }

    /// Between two, which are in order.
    pub(super) fn new(low: i64, high: i64) -> Self {
        match high.checked_sub(low) {
            Some(width) if (0..1 << 32).contains(&width) => Self { low, high },
            _ => Self::FULL,
        }
    }

    /// What a load of so many bytes may give that extends them with zeros.
    pub(super) fn zero_extended(bits: u32) -> Self {
        if bits > 32 { Self::FULL } else { Self::new(0, (1 << bits) - 1) }
    }

    /// The same for one that extends their sign.
    pub(super) fn sign_extended(bits: u32) -> Self {
        if bits > 32 { Self::FULL } else { Self::new(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
    }

    pub(super) fn single(self) -> Option<i64> {
        (self.low == self.high).then_some(self.low)
    }

    pub(super) fn is_full(self) -> bool {
        self == Self::FULL
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    pub(super) fn join(self, other: Self) -> Self {
        if self.is_full() || other.is_full() {
            return Self::FULL;
        }
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    /// Like [`join`](Self::join), but what grows grows without bounds: chains of these are short.
    pub(super) fn widen(self, other: Self) -> Self {
        if self.contains(other) { self } else { Self::FULL }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        if self.is_full() || other.is_full() {
            return Self::FULL;
        }
        match (self.low.checked_add(other.low), self.high.checked_add(other.high)) {
            (Some(low), Some(high)) => Self::new(low, high),
            _ => Self::FULL,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        match (other.high.checked_neg(), other.low.checked_neg()) {
            (Some(low), Some(high)) if !other.is_full() => self.plus(Self { low, high }),
            _ => Self::FULL,
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        if self.is_full() || other.is_full() {
            return Self::FULL;
        }
        let ends =
            [(self.low, other.low), (self.low, other.high), (self.high, other.low), (self.high, other.high)];
        let products = ends.map(|(a, b)| i128::from(a) * i128::from(b));
        let (low, high) =
            products.iter().fold((i128::MAX, i128::MIN), |(low, high), &it| (low.min(it), high.max(it)));
        match (i64::try_from(low), i64::try_from(high)) {
            (Ok(low), Ok(high)) => Self::new(low, high),
            _ => Self::FULL,
        }
    }

    /// Its values read as unsigned numbers of so many bits.
    pub(super) fn unsigned(self, bits: u32) -> (u64, u64) {
        let most = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        if let Some(value) = self.single() {
            let value = value.cast_unsigned() & most;
            return (value, value);
        }
        match (u64::try_from(self.low), u64::try_from(self.high)) {
            (Ok(low), Ok(high)) if high <= most => (low, high),
            _ => (0, most),
        }
    }

    /// The other way round; what is over the range of `i64` is any number.
    pub(super) fn from_unsigned(low: u64, high: u64) -> Self {
        match (i64::try_from(low), i64::try_from(high)) {
            (Ok(low), Ok(high)) => Self::new(low, high),
            _ => Self::FULL,
        }
    }

    /// `and`: no more than the smaller of two.
    pub(super) fn and(self, other: Self, bits: u32) -> Self {
        let ((a_low, a), (b_low, b)) = (self.unsigned(bits), other.unsigned(bits));
        if a_low == a && b_low == b {
            return Self::from_unsigned(a & b, a & b);
        }
        Self::from_unsigned(0, a.min(b))
    }

    /// `or` and `xor`: no more than all bits below the highest.
    pub(super) fn or(self, other: Self, bits: u32) -> Self {
        let most = self.unsigned(bits).1 | other.unsigned(bits).1;
        Self::from_unsigned(
            0,
            most.checked_add(1).and_then(u64::checked_next_power_of_two).map_or(u64::MAX, |it| it - 1),
        )
    }

    pub(super) fn shift_left(self, other: Self, bits: u32) -> Self {
        match other.single() {
            Some(by) if by.cast_unsigned() % u64::from(bits) < 40 => {
                self.times(Self::constant(1 << (by.cast_unsigned() % u64::from(bits))))
            }
            _ => Self::FULL,
        }
    }

    pub(super) fn shift_right_unsigned(self, other: Self, bits: u32) -> Self {
        let (low, high) = self.unsigned(bits);
        match other.single() {
            Some(by) => {
                let by = by.cast_unsigned() % u64::from(bits);
                Self::from_unsigned(low >> by, high >> by)
            }
            None => Self::from_unsigned(0, high),
        }
    }

    pub(super) fn shift_right_signed(self, other: Self, bits: u32) -> Self {
        let inside = self.narrowed(bits);
        match other.single() {
            Some(by) if !inside.is_full() => {
                let by = by.cast_unsigned() % u64::from(bits);
                Self::new(inside.low >> by, inside.high >> by)
            }
            _ => Self::FULL,
        }
    }

    pub(super) fn divide_unsigned(self, other: Self, bits: u32) -> Self {
        let ((low, high), (least, most)) = (self.unsigned(bits), other.unsigned(bits));
        // A division by zero traps: what goes on divided by one at least.
        Self::from_unsigned(low / most.max(1), high / least.max(1))
    }

    pub(super) fn remainder_unsigned(self, other: Self, bits: u32) -> Self {
        let (high, most) = (self.unsigned(bits).1, other.unsigned(bits).1);
        Self::from_unsigned(0, high.min(most.max(1) - 1))
    }

    /// As a signed number of so many bits: itself if that is what it is, else any.
    pub(super) fn narrowed(self, bits: u32) -> Self {
        if bits >= 64 || Self::sign_extended(bits.min(32)).contains(self) {
            return self;
        }
        Self::sign_extended(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation against all pairs of a few numbers.
    #[test]
    fn results_are_within() {
        let points = [-70_000i64, -300, -17, -1, 0, 1, 2, 31, 63, 255, 4_096, 65_535, 1 << 31, (1 << 32) - 1];
        type Apply = fn(Interval, Interval) -> Interval;
        type Concrete = fn(u32, u32) -> Option<u32>;
        let operations: [(&str, Apply, Concrete); 9] = [
            ("add", Interval::plus, |a, b| Some(a.wrapping_add(b))),
            ("sub", Interval::minus, |a, b| Some(a.wrapping_sub(b))),
            ("mul", Interval::times, |a, b| Some(a.wrapping_mul(b))),
            ("and", |a, b| a.and(b, 32), |a, b| Some(a & b)),
            ("or", |a, b| a.or(b, 32), |a, b| Some(a | b)),
            ("shl", |a, b| a.shift_left(b, 32), |a, b| Some(a.wrapping_shl(b))),
            ("shr_u", |a, b| a.shift_right_unsigned(b, 32), |a, b| Some(a.wrapping_shr(b))),
            (
                "shr_s",
                |a, b| a.shift_right_signed(b, 32),
                |a, b| Some((a.cast_signed() >> (b % 32)).cast_unsigned()),
            ),
            ("rem_u", |a, b| a.remainder_unsigned(b, 32), u32::checked_rem),
        ];
        for (name, apply, concrete) in operations {
            for pair in 0..points.len().pow(4) {
                let point = |at: u32| points[pair / points.len().pow(at) % points.len()];
                let (a_low, a_high, b_low, b_high) = (point(0), point(1), point(2), point(3));
                if a_low > a_high || b_low > b_high {
                    continue;
                }
                let result = apply(Interval::new(a_low, a_high), Interval::new(b_low, b_high));
                for (a, b) in [(a_low, b_low), (a_low, b_high), (a_high, b_low), (a_high, b_high)] {
                    let Some(value) = concrete(a as u32, b as u32) else { continue };
                    let within = result.is_full()
                        || (-3..=3).any(|turn| {
                            let value = i64::from(value) + turn * (1 << 32);
                            result.low <= value && value <= result.high
                        })
                        || result.low.rem_euclid(1 << 32) <= i64::from(value)
                            && i64::from(value) - result.low.rem_euclid(1 << 32) <= result.high - result.low;
                    assert!(within, "{name} {a:#x} {b:#x} = {value:#x}, not in {result:?}");
                }
            }
        }
    }

    #[test]
    fn what_grows_has_no_bounds() {
        let start = Interval::new(0, 10);
        assert_eq!(start.widen(Interval::new(2, 9)), start);
        assert!(start.widen(Interval::new(0, 11)).is_full());
        assert!(Interval::new(0, 1 << 32).is_full());
    }
}
