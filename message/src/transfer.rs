//! One message on its way: what its receiver has and grants, what its sender has sent and must send again.

use lnic_wire::rpc::Header;

use crate::bitmap::Bitmap;
use crate::head::Missing;
use crate::{CREDIT, FRAGMENTS, MESSAGE_BYTES};

/// Length of a message and of its fragments; the same in every fragment of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the message.
    pub message_bytes: u32,
    /// Bytes of every fragment but the last.
    pub fragment_bytes: u16,
}

impl Shape {
    /// What a header says; `None` if no message has that shape.
    #[must_use]
    pub fn of(header: &Header) -> Option<Self> {
        Self { message_bytes: header.message_length, fragment_bytes: header.fragment_bytes }.checked()
    }

    /// Itself, if a message can have it: at most [`MESSAGE_BYTES`] and [`FRAGMENTS`].
    #[must_use]
    pub fn checked(self) -> Option<Self> {
        let sized = self.message_bytes == 0 || self.fragment_bytes > 0;
        (sized && self.message_bytes <= MESSAGE_BYTES && self.fragments() <= FRAGMENTS).then_some(self)
    }

    /// How many fragments: at least one.
    #[must_use]
    pub fn fragments(self) -> u32 {
        self.message_bytes.div_ceil(u32::from(self.fragment_bytes).max(1)).max(1)
    }

    /// Where a fragment lies in the message, and its bytes.
    #[must_use]
    pub fn span(self, index: u32) -> (u32, u32) {
        let size = u32::from(self.fragment_bytes);
        let offset = index.saturating_mul(size).min(self.message_bytes);
        (offset, size.min(self.message_bytes - offset))
    }
}

/// The receiver's side.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    shape: Shape,
    have: Bitmap,
    /// Every fragment below is there.
    low: u32,
    /// One past the highest fragment that came.
    high: u32,
    /// How many fragments the sender has been told it may have sent, in all.
    granted: u32,
}

impl Incoming {
    pub(crate) fn with_capacity(fragments: u32) -> Self {
        Self { have: Bitmap::with_capacity(fragments), ..Self::default() }
    }

    pub(crate) fn reset(&mut self, shape: Shape) {
        self.have.reset(shape.fragments());
        (self.shape, self.low, self.high) = (shape, 0, 0);
        self.granted = CREDIT.min(shape.fragments());
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Notes a fragment; whether it is new.
    pub(crate) fn take(&mut self, index: u32) -> bool {
        let new = self.have.set(index);
        if new {
            self.high = self.high.max(index + 1);
        }
        new
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.have.ones() == self.shape.fragments()
    }

    /// A grant that is worth a frame: half the credit more than the last one, or the last one of all.
    pub(crate) fn grant(&mut self) -> Option<u32> {
        let fragments = self.shape.fragments();
        let total = self.have.ones().saturating_add(CREDIT).min(fragments);
        let worth = total >= self.granted + CREDIT / 2 || total == fragments && total > self.granted;
        worth.then(|| {
            self.granted = total;
            total
        })
    }

    /// How many fragments the sender may have sent, in all.
    pub(crate) fn granted(&self) -> u32 {
        self.granted
    }

    /// The first missing fragment among those that may have been sent, and which are missing from there on.
    ///
    /// With `tail` also those after the highest that came: they may only be late.
    pub(crate) fn missing(&mut self, tail: bool) -> Option<(u32, Missing)> {
        let end = if tail { self.granted } else { self.high };
        self.low = self.have.next_clear(self.low).unwrap_or(self.shape.fragments());
        let first = self.low;
        let mut missing = Missing::NONE;
        let mut next = Some(first);
        while let Some(index) = next.filter(|&index| index < end) {
            if !missing.add(index - first) {
                break;
            }
            next = self.have.next_clear(index + 1);
        }
        (first < end).then_some((first, missing))
    }
}

/// The sender's side.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    shape: Shape,
    /// Sent, and to be sent again.
    again: Bitmap,
    /// The first that was never sent.
    next: u32,
    /// How many may have been sent, in all.
    granted: u32,
}

impl Outgoing {
    pub(crate) fn with_capacity(fragments: u32) -> Self {
        Self { again: Bitmap::with_capacity(fragments), ..Self::default() }
    }

    pub(crate) fn reset(&mut self, shape: Shape) {
        self.again.reset(shape.fragments());
        (self.shape, self.next) = (shape, 0);
        self.granted = CREDIT.min(shape.fragments());
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Only the first fragment, until the receiver asks for more.
    pub(crate) fn hold_back(&mut self) {
        self.granted = 1;
    }

    /// Takes a GRANT; whether it is one.
    pub(crate) fn grant(&mut self, total: u32) -> bool {
        let more = total > self.granted && total <= self.shape.fragments();
        if more {
            self.granted = total;
        }
        more
    }

    /// Takes a NACK. What was sent is sent again; what was not may be sent: a receiver misses only what it has granted.
    pub(crate) fn nack(&mut self, first: u32, missing: &Missing) {
        let fragments = self.shape.fragments();
        let mut mark = |index: u32| {
            if index < self.next {
                self.again.set(index);
            } else if index < fragments {
                self.granted = self.granted.max(index + 1);
            }
        };
        mark(first);
        missing.distances().for_each(|distance| mark(first.saturating_add(distance)));
    }

    /// The last fragment that was sent is sent again.
    pub(crate) fn repeat(&mut self) {
        if let Some(last) = self.next.checked_sub(1) {
            self.again.set(last);
        }
    }

    /// Whether there is something to send now.
    pub(crate) fn is_ready(&self) -> bool {
        self.again.ones() > 0 || self.next < self.granted
    }

    /// The fragment to send now, and whether it was sent before.
    pub(crate) fn take(&mut self) -> Option<(u32, bool)> {
        if self.again.ones() > 0
            && let Some(index) = self.again.next_set(0)
        {
            self.again.clear(index);
            return Some((index, true));
        }
        (self.next < self.granted).then(|| {
            self.next += 1;
            (self.next - 1, false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(fragments: u32) -> Shape {
        Shape { message_bytes: fragments * 100 - 1, fragment_bytes: 100 }
    }

    #[test]
    fn shapes_are_bounded() {
        let check = |message_bytes, fragment_bytes| Shape { message_bytes, fragment_bytes }.checked();
        assert!(check(0, 0).is_some() && check(MESSAGE_BYTES, 1024).is_some());
        assert!(check(1, 0).is_none(), "bytes without fragments");
        assert!(check(MESSAGE_BYTES, 1023).is_none(), "too many fragments");
        assert!(check(MESSAGE_BYTES + 1, 9000).is_none(), "too long");
        assert_eq!(shape(3).span(2), (200, 99));
        assert_eq!(shape(3).span(u32::MAX), (299, 0));
    }

    #[test]
    fn a_sender_never_exceeds_its_grant() {
        let mut outgoing = Outgoing::with_capacity(1000);
        outgoing.reset(shape(1000));
        let drain = |outgoing: &mut Outgoing| std::iter::from_fn(|| outgoing.take()).collect::<Vec<_>>();
        assert_eq!(drain(&mut outgoing).len(), CREDIT as usize);
        assert!(!outgoing.grant(CREDIT) && !outgoing.grant(1001), "no more, or more than there are");
        assert!(outgoing.grant(CREDIT + 2));
        assert_eq!(drain(&mut outgoing), [(64, false), (65, false)]);
        let mut missing = Missing::NONE;
        assert!(missing.add(0) && missing.add(1) && missing.add(64));
        outgoing.nack(2, &missing);
        assert_eq!(drain(&mut outgoing), [(2, true), (3, true), (66, false)], "what is missed was granted");
        outgoing.nack(1000, &missing);
        assert!(!outgoing.is_ready(), "past the end");
        outgoing.repeat();
        assert_eq!(drain(&mut outgoing), [(66, true)]);
    }

    #[test]
    fn a_receiver_asks_for_holes_first() {
        let mut incoming = Incoming::with_capacity(1000);
        incoming.reset(shape(1000));
        for index in [0, 1, 3, 6] {
            assert!(incoming.take(index));
        }
        assert!(!incoming.take(3) && !incoming.take(1000));
        let (first, missing) = incoming.missing(false).expect("holes");
        assert_eq!((first, missing.distances().collect::<Vec<_>>()), (2, vec![0, 2, 3]));
        let (_, missing) = incoming.missing(true).expect("holes");
        assert_eq!(missing.distances().last(), Some(CREDIT - 1 - 2));
    }

    #[test]
    fn grants_come_by_the_half_credit() {
        let mut incoming = Incoming::with_capacity(1000);
        incoming.reset(shape(200));
        let mut grants = Vec::new();
        for index in 0..200 {
            assert!(incoming.take(index));
            grants.extend(incoming.grant().map(|total| (index, total)));
        }
        assert_eq!(grants, [(31, 96), (63, 128), (95, 160), (127, 192), (135, 200)]);
        assert!(incoming.is_complete() && incoming.missing(true).is_none());
    }
}
