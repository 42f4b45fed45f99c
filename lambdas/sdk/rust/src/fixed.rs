//! Numbers with a fraction, without floating point.

use core::fmt;
use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// A fixed-point number: 32 bits before the point, with a sign, and 32 behind it. What is too large stays at the largest.
///
/// ```
/// use lnic_lambda::Fixed;
/// let rate = Fixed::ratio(10, 4);
/// assert_eq!(rate.to_string(), "2.500000");
/// assert_eq!((rate * Fixed::new(3)).floor(), 7);
/// assert_eq!(Fixed::MAX + rate, Fixed::MAX);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Fixed(i64);

const FRACTION_BITS: u32 = 32;

impl Fixed {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(1 << FRACTION_BITS);
    /// The largest.
    pub const MAX: Self = Self(i64::MAX);
    /// The smallest.
    pub const MIN: Self = Self(i64::MIN);

    /// A whole number.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Fixed::new(-3).floor(), -3);
    /// ```
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self((number as i64) << FRACTION_BITS)
    }

    /// A fraction; rounded down, and by nothing divided the largest or the smallest.
    ///
    /// ```
    /// use lnic_lambda::Fixed;
    /// assert_eq!(Fixed::ratio(1, 2) + Fixed::ratio(1, 2), Fixed::ONE);
    /// assert_eq!(Fixed::ratio(-1, 0), Fixed::MIN);
    /// ```
    #[must_use]
    pub fn ratio(numerator: i64, denominator: i64) -> Self {
        if denominator == 0 {
            return if numerator < 0 { Self::MIN } else { Self::MAX };
        }
        if let (Ok(numerator), true) = (i32::try_from(numerator), denominator > 0) {
            // Most of the time, and much quicker.
            return Self((i64::from(numerator) << FRACTION_BITS).div_euclid(denominator));
        }
        let numerator = i128::from(numerator) << FRACTION_BITS;
        let denominator = i128::from(denominator);
        let quotient = numerator / denominator;
        let inexact = quotient * denominator != numerator;
        let negative = (numerator < 0) != (denominator < 0);
        Self::saturated(quotient - i128::from(inexact && negative))
    }

    /// With so many 2⁻³²s.
    ///
    /// ```
    /// use lnic_lambda::Fixed;
    /// assert_eq!(Fixed::from_bits(3 << 31), Fixed::ratio(3, 2));
    /// ```
    #[must_use]
    pub const fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    /// The number of 2⁻³²s.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Fixed::ONE.to_bits(), 1 << 32);
    /// ```
    #[must_use]
    pub const fn to_bits(self) -> i64 {
        self.0
    }

    /// The largest whole number that is not larger.
    ///
    /// ```
    /// use lnic_lambda::Fixed;
    /// assert_eq!((Fixed::ratio(7, 2).floor(), Fixed::ratio(-7, 2).floor()), (3, -4));
    /// ```
    #[must_use]
    pub const fn floor(self) -> i32 {
        (self.0 >> FRACTION_BITS) as i32
    }

    /// Times a whole number.
    ///
    /// ```
    /// use lnic_lambda::Fixed;
    /// assert_eq!(Fixed::ratio(1, 4).times(10).floor(), 2);
    /// ```
    #[must_use]
    pub fn times(self, number: u64) -> Self {
        Self::saturated(i128::from(self.0).saturating_mul(i128::from(number)))
    }

    fn saturated(bits: i128) -> Self {
        Self(bits.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
}

impl Add for Fixed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Fixed {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Fixed {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Fixed {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Fixed {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Mul for Fixed {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::saturated((i128::from(self.0) * i128::from(other.0)) >> FRACTION_BITS)
    }
}

impl Div for Fixed {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        Self::ratio(self.0, other.0)
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.unsigned_abs();
        let millionths = ((bits & u64::from(u32::MAX)) * 1_000_000) >> FRACTION_BITS;
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{}{}.{:06}", sign, bits >> FRACTION_BITS, millionths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn it_agrees_with_floating_point() {
        let near = |fixed: Fixed, float: f64| (fixed.0 as f64 / 4_294_967_296.0 - float).abs() < 1e-6;
        let mut state = 7u64;
        for _ in 0..10_000 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Fixed::from_bits(state as i64 >> 18)
            };
            let (a, b) = (next(), next());
            let (x, y) = (a.0 as f64 / 4_294_967_296.0, b.0 as f64 / 4_294_967_296.0);
            assert!(near(a + b, x + y) && near(a - b, x - y), "{} {}", a, b);
            assert!((a * b).0 as f64 / 4_294_967_296.0 - x * y < 1e-3 * (1.0 + (x * y).abs()), "{} {}", a, b);
            assert!(a.floor() == x.floor() as i32);
        }
    }

    #[test]
    fn it_saturates() {
        assert_eq!(Fixed::MAX + Fixed::ONE, Fixed::MAX);
        assert_eq!(Fixed::MIN - Fixed::ONE, Fixed::MIN);
        assert_eq!(Fixed::MAX * Fixed::new(-2), Fixed::MIN);
        assert_eq!(-Fixed::MIN, Fixed::MAX);
        assert_eq!(Fixed::MAX.times(u64::MAX), Fixed::MAX);
        assert_eq!(Fixed::ONE / Fixed::ZERO, Fixed::MAX);
        assert_eq!(Fixed::MIN.to_string(), "-2147483648.000000");
        for (numerator, denominator) in [(-1, 3), (1, -3), (-(1i64 << 40), 3 << 40), (1 << 40, -(3i64 << 40))]
        {
            assert_eq!(Fixed::ratio(numerator, denominator).to_bits(), -1_431_655_766);
        }
    }
}
