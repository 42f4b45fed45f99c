//! What a value of the program may be: numbers, and addresses by where they come from.

use std::rc::Rc;

use super::interval::Interval;

/// What an address points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Region {
    /// An object of the module.
    Object(u32),
    /// One of the objects, nobody knows which.
    AnyObject,
    Headers,
    MatchData,
    Payload,
    /// The shadow stack; offsets count from where it is when the entry begins.
    Stack,
}

/// A region, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) region: Region,
    pub(super) offset: Interval,
}

/// More pointers than these in one value become [`Region::AnyObject`].
const POINTERS: usize = 128;

/// Offsets farther than this are any: addresses have 32 bits.
const FAR: i64 = 1 << 33;

/// The pointers that a value may be, at most one into each region, by region.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Pointers {
    #[default]
    None,
    One(Pointer),
    Many(Rc<Vec<Pointer>>),
}

impl Pointers {
    pub(super) fn as_slice(&self) -> &[Pointer] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    fn from_sorted(mut list: Vec<Pointer>) -> Self {
        if list.len() > POINTERS || list.iter().any(|it| it.region == Region::AnyObject) {
            list.retain(|it| !matches!(it.region, Region::Object(_) | Region::AnyObject));
            list.insert(0, Pointer { region: Region::AnyObject, offset: Interval::FULL });
        }
        match list.as_slice() {
            [] => Self::None,
            [one] => Self::One(*one),
            _ => Self::Many(Rc::new(list)),
        }
    }

    /// Those of them that a condition holds for.
    pub(super) fn retain(&self, keep: impl Fn(&Pointer) -> bool) -> Self {
        Self::from_sorted(self.as_slice().iter().filter(|it| keep(it)).copied().collect())
    }

    fn map(&self, change: impl Fn(Interval) -> Interval) -> Self {
        let changed = |it: &Pointer| {
            let offset = change(it.offset);
            let far = offset.low < -FAR || offset.high > FAR;
            Pointer { region: it.region, offset: if far { Interval::FULL } else { offset } }
        };
        match self {
            Self::None => Self::None,
            Self::One(one) => Self::One(changed(one)),
            Self::Many(many) => Self::Many(Rc::new(many.iter().map(changed).collect())),
        }
    }

    /// The union; offsets that meet are merged by `merge`.
    fn union(&self, other: &Self, merge: fn(Interval, Interval) -> Interval) -> Self {
        match (self, other) {
            (_, Self::None) => return self.clone(),
            (Self::None, _) => return other.clone(),
            _ if self == other => return self.clone(),
            _ => {}
        }
        let (mut left, mut right) = (self.as_slice().iter().peekable(), other.as_slice().iter().peekable());
        let mut list = Vec::new();
        loop {
            match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.region == b.region => {
                    list.push(Pointer { region: a.region, offset: merge(a.offset, b.offset) });
                    left.next();
                    right.next();
                }
                (Some(a), Some(b)) if a.region > b.region => list.extend(right.next()),
                (Some(_), _) => list.extend(left.next()),
                (None, Some(_)) => list.extend(right.next()),
                (None, None) => return Self::from_sorted(list),
            }
        }
    }
}

/// What a value may be. All of it at once: a number, one of the pointers, or what was read from memory that is not known.
///
/// A value *may be* a pointer if it was computed from one, in whatever way. This is how C sees it: what is not derived from an
/// object's address is no address of that object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) pointers: Pointers,
    /// It may be one of these numbers, which were not computed from addresses.
    pub(super) number: Option<Interval>,
    /// It may be anything that can be found in memory.
    pub(super) unknown: bool,
    /// Addresses took part in it, but not as C allows: added to a pointer it may lead into another object.
    pub(super) computed: bool,
}

impl Value {
    pub(super) const fn number(interval: Interval) -> Self {
        Self { pointers: Pointers::None, number: Some(interval), unknown: false, computed: false }
    }

    pub(super) const fn constant(value: i64) -> Self {
        Self::number(Interval::constant(value))
    }

    /// Any number.
    pub(super) const fn any_number() -> Self {
        Self::number(Interval::FULL)
    }

    pub(super) const fn pointer(region: Region, offset: i64) -> Self {
        let offset = Interval::constant(offset);
        Self {
            pointers: Pointers::One(Pointer { region, offset }),
            number: None,
            unknown: false,
            computed: false,
        }
    }

    /// Nothing at all: joins to whatever it is joined with.
    pub(super) const fn nothing() -> Self {
        Self { pointers: Pointers::None, number: None, unknown: false, computed: false }
    }

    /// It is an address for certain.
    pub(super) fn is_address(&self) -> bool {
        !self.pointers.is_empty() && self.number.is_none() && !self.unknown && !self.computed
    }

    /// It is a number for certain.
    pub(super) fn is_number(&self) -> bool {
        self.pointers.is_empty() && !self.unknown
    }

    /// The numbers that it may be, if nothing else.
    pub(super) fn as_number(&self) -> Interval {
        self.number.filter(|_| self.is_number()).unwrap_or(Interval::FULL)
    }

    fn merge(&self, other: &Self, merge: fn(Interval, Interval) -> Interval) -> Self {
        Self {
            pointers: self.pointers.union(&other.pointers, merge),
            number: match (self.number, other.number) {
                (Some(a), Some(b)) => Some(merge(a, b)),
                (a, b) => a.or(b),
            },
            unknown: self.unknown || other.unknown,
            computed: self.computed || other.computed,
        }
    }

    pub(super) fn join(&self, other: &Self) -> Self {
        self.merge(other, Interval::join)
    }

    /// Takes in another; true if that changed it. `widen` makes chains of such changes short.
    pub(super) fn absorb(&mut self, other: &Self, widen: bool) -> bool {
        if self == other {
            return false;
        }
        let merged = self.merge(other, if widen { Interval::widen } else { Interval::join });
        let changed = merged != *self;
        *self = merged;
        changed
    }

    /// The same pointers, wherever into their regions.
    pub(super) fn blurred(&self) -> Self {
        Self { pointers: self.pointers.map(|_| Interval::FULL), ..self.clone() }
    }

    /// The same without its numbers, or with others.
    pub(super) fn with_number(&self, number: Interval) -> Self {
        Self { number: Some(number), ..self.clone() }
    }

    /// Whatever an operator makes of operands: a number, and if addresses took part maybe one of them still.
    pub(super) fn combined(operands: &[Self]) -> Self {
        let mut all = Self::any_number();
        for operand in operands {
            all = all.join(operand);
        }
        all.computed |= !all.pointers.is_empty();
        all.blurred()
    }

    /// `add`: a pointer and a number, or else anything that both may be.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let number = match (self.number, other.number) {
            (Some(a), Some(b)) => Some(a.plus(b)),
            _ => None,
        };
        if self.is_number() && other.is_number() {
            return Self { number, computed: self.computed || other.computed, ..Self::nothing() };
        }
        match (self.is_address(), other.is_address()) {
            (true, true) => return Self::combined(&[self.clone(), other.clone()]),
            // What else it could be would be two addresses added.
            (true, false) if !other.computed => return self.moved(other),
            (false, true) if !self.computed => return other.moved(self),
            _ => {}
        }
        let (left, right) = (self.moved(other), other.moved(self));
        Self {
            pointers: left.pointers.union(&right.pointers, Interval::join),
            number: if self.unknown || other.unknown { Some(Interval::FULL) } else { number },
            unknown: self.unknown || other.unknown,
            computed: self.computed || other.computed,
        }
    }

    /// Its pointers, moved on by what another value is as a number.
    fn moved(&self, by: &Self) -> Self {
        let by = by.as_number();
        Self { pointers: self.pointers.map(|offset| offset.plus(by)), ..self.clone() }
    }

    /// `sub`: numbers, a pointer and a number, or the distance of two pointers into one object.
    pub(super) fn minus(&self, other: &Self) -> Self {
        if other.is_number() && !other.computed {
            let by = other.as_number();
            return Self {
                pointers: self.pointers.map(|offset| offset.minus(by)),
                number: self.number.map(|number| number.minus(by)),
                ..self.clone()
            };
        }
        match (self.pointers.as_slice(), other.pointers.as_slice()) {
            ([a], [b]) if a.region == b.region && self.is_address() && other.is_address() => {
                Self::number(a.offset.minus(b.offset))
            }
            // One minuend's pointers stay, the other's cancel out: C has no difference of pointers into two objects.
            _ if !(self.computed
                || other.computed
                || self.is_number()
                || self.is_address() && other.is_address()) =>
            {
                Self { number: Some(Interval::FULL), ..self.blurred() }
            }
            _ => Self::combined(&[self.clone(), other.clone()]),
        }
    }

    /// An operator on numbers. What small numbers it gives are no addresses any more, wherever they come from.
    pub(super) fn arithmetic(&self, other: &Self, apply: impl Fn(Interval, Interval) -> Interval) -> Self {
        let number = apply(self.as_number(), other.as_number());
        if self.is_number() && other.is_number() {
            return Self {
                number: Some(number),
                computed: self.computed || other.computed,
                ..Self::nothing()
            };
        }
        if 0 <= number.low && number.high <= i64::from(u16::MAX) {
            return Self::number(number);
        }
        Self { number: Some(number), ..Self::combined(&[self.clone(), other.clone()]) }
    }

    /// `and` with a mask that clears low bits: an address rounded down, if it is one.
    pub(super) fn aligned(&self, mask: i64) -> Self {
        let by = Interval::new(-(!mask), 0);
        Self {
            pointers: self.pointers.map(|offset| offset.plus(by)),
            number: self.number.map(|number| number.and(Interval::constant(mask), 32)),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(at: u32) -> Value {
        Value::pointer(Region::Object(at), 0)
    }

    #[test]
    fn a_pointer_and_a_number_is_that_pointer() {
        let index = Value::number(Interval::new(0, 255));
        let sum = object(1).plus(&index);
        assert_eq!(
            sum.pointers.as_slice(),
            [Pointer { region: Region::Object(1), offset: Interval::new(0, 255) }]
        );
        assert!(sum.is_address());
        // A field that may hold a pointer too: here it is the index.
        let field = object(2).join(&Value::any_number());
        assert_eq!(object(1).plus(&field).pointers.as_slice().len(), 1);
        assert_eq!(field.plus(&index).pointers.as_slice()[0].region, Region::Object(2));
    }

    #[test]
    fn distances_are_numbers_within_one_object_only() {
        let end = object(1).plus(&Value::constant(40));
        assert_eq!(end.minus(&object(1)), Value::constant(40));
        // Of two objects: added to the one it leads to the other.
        let distance = object(2).minus(&object(1));
        let sum = object(1).plus(&distance);
        let regions: Vec<Region> = sum.pointers.as_slice().iter().map(|it| it.region).collect();
        assert_eq!(regions, [Region::Object(1), Region::Object(2)]);
    }

    #[test]
    fn encoded_pointers_are_found_again() {
        let (a, b) = (object(1), object(2));
        let list = a.arithmetic(&b, |a, b| a.or(b, 32));
        let back = list.arithmetic(&a, |a, b| a.or(b, 32));
        assert!(back.pointers.as_slice().iter().any(|it| it.region == Region::Object(2)));
        // A hash of one is an index.
        assert!(a.arithmetic(&Value::constant(63), |a, b| a.and(b, 32)).is_number());
    }

    #[test]
    fn too_many_pointers_are_any() {
        let all = (0..POINTERS as u32 + 1)
            .fold(Value::pointer(Region::Headers, 4), |all, at| all.join(&object(at)));
        let regions: Vec<Region> = all.pointers.as_slice().iter().map(|it| it.region).collect();
        assert_eq!(regions, [Region::AnyObject, Region::Headers]);
    }
}
