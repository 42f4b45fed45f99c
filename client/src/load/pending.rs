//! Requests in flight, by sequence number.

use std::time::Duration;

/// What became of the request in a place of the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The place was never used.
    Empty,
    Waiting,
    Answered,
    Lost,
}

#[derive(Clone, Copy)]
struct Entry {
    sequence: u32,
    state: State,
    /// Times that it was sent again.
    again: u8,
    due: Duration,
    sent: Duration,
}

/// What a reply with a sequence number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The first reply to a request that was due at this time.
    Answer(Duration),
    /// A reply to a request that was answered.
    Duplicate,
    /// A reply to a request that was given up, or is no longer remembered.
    Late,
    /// No such request.
    Foreign,
}

/// A ring of requests. Sequence numbers grow; a number whose place still waits is skipped.
pub(super) struct Pending {
    entries: Box<[Entry]>,
    waiting: usize,
    /// Sequence of the next request.
    next: u32,
    /// Everything before it is answered or lost.
    oldest: u32,
}

impl Pending {
    /// Room for at least so many requests in flight.
    pub(super) fn new(requests: usize) -> Self {
        let empty =
            Entry { sequence: 0, state: State::Empty, again: 0, due: Duration::ZERO, sent: Duration::ZERO };
        let places = (requests * 4 / 3 + 1).next_power_of_two().max(64);
        Self { entries: vec![empty; places].into_boxed_slice(), waiting: 0, next: 1, oldest: 1 }
    }

    /// Most requests in flight.
    pub(super) fn capacity(&self) -> usize {
        self.entries.len() / 4 * 3
    }

    /// Requests in flight.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether another would make it slow to find a free place.
    pub(super) fn is_full(&self) -> bool {
        self.waiting >= self.capacity()
    }

    /// Adds a request; its sequence number. Call only if not full.
    pub(super) fn insert(&mut self, due: Duration, now: Duration) -> u32 {
        while self.entry(self.next).state == State::Waiting {
            self.next = self.next.wrapping_add(1);
        }
        let sequence = self.next;
        *self.entry(sequence) = Entry { sequence, state: State::Waiting, again: 0, due, sent: now };
        self.next = sequence.wrapping_add(1);
        self.waiting += 1;
        sequence
    }

    /// Whether a request waits, and is to be sent again: not more often than this.
    pub(super) fn send_again(&mut self, sequence: u32, most: u8) -> bool {
        let entry = self.entry(sequence);
        let again = entry.sequence == sequence && entry.state == State::Waiting && entry.again < most;
        entry.again += u8::from(again);
        again
    }

    /// Whether a request waits.
    pub(super) fn is_waiting(&mut self, sequence: u32) -> bool {
        let entry = self.entry(sequence);
        entry.sequence == sequence && entry.state == State::Waiting
    }

    /// Sequence of the next request, or one before it.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Matches a reply.
    pub(super) fn answer(&mut self, sequence: u32) -> Match {
        let next = self.next;
        let entry = self.entry(sequence);
        if entry.sequence != sequence || entry.state == State::Empty {
            // Overwritten since, or skipped, or not sent yet: half of the numbers are past.
            return if next.wrapping_sub(sequence).wrapping_sub(1) < 1 << 31 {
                Match::Late
            } else {
                Match::Foreign
            };
        }
        match entry.state {
            State::Waiting => {
                entry.state = State::Answered;
                let due = entry.due;
                self.waiting -= 1;
                Match::Answer(due)
            }
            State::Answered => Match::Duplicate,
            State::Lost | State::Empty => Match::Late,
        }
    }

    /// Gives up the oldest request if it left before `limit`; when it was due.
    pub(super) fn expire(&mut self, limit: Duration) -> Option<Duration> {
        let at = self.oldest_waiting()?;
        let entry = self.entry(at);
        if entry.sent >= limit {
            return None;
        }
        entry.state = State::Lost;
        let due = entry.due;
        self.waiting -= 1;
        Some(due)
    }

    /// When the oldest request left.
    pub(super) fn oldest_sent(&mut self) -> Option<Duration> {
        let at = self.oldest_waiting()?;
        Some(self.entry(at).sent)
    }

    fn oldest_waiting(&mut self) -> Option<u32> {
        if self.waiting == 0 {
            self.oldest = self.next;
            return None;
        }
        loop {
            let oldest = self.oldest;
            let entry = self.entry(oldest);
            if entry.state == State::Waiting && entry.sequence == oldest {
                return Some(oldest);
            }
            self.oldest = oldest.wrapping_add(1);
        }
    }

    fn entry(&mut self, sequence: u32) -> &mut Entry {
        let mask = self.entries.len() - 1;
        &mut self.entries[sequence as usize & mask]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_request_is_answered_once() {
        let mut pending = Pending::new(4);
        let first = pending.insert(at(1), at(2));
        assert_eq!(pending.answer(first), Match::Answer(at(1)));
        assert_eq!(pending.answer(first), Match::Duplicate);
        assert_eq!(pending.answer(first + 1), Match::Foreign);
        assert_eq!(pending.answer(0), Match::Late, "before the first: indistinguishable from long ago");
        assert_eq!(pending.waiting(), 0);
    }

    #[test]
    fn expires_in_order_of_sending() {
        let mut pending = Pending::new(4);
        let sequences: Vec<u32> = (0..4).map(|ms| pending.insert(at(ms), at(ms))).collect();
        assert_eq!(pending.answer(sequences[1]), Match::Answer(at(1)));
        assert_eq!(pending.expire(at(0)), None);
        assert_eq!(pending.expire(at(3)), Some(at(0)));
        assert_eq!(pending.expire(at(3)), Some(at(2)));
        assert_eq!(pending.expire(at(3)), None);
        assert_eq!(pending.oldest_sent(), Some(at(3)));
        assert_eq!(pending.answer(sequences[0]), Match::Late);
        assert_eq!(pending.waiting(), 1);
    }

    #[test]
    fn skips_places_that_wait() {
        let mut pending = Pending::new(8);
        let stuck = pending.insert(at(0), at(0));
        for ms in 1..10_000 {
            let sequence = pending.insert(at(ms), at(ms));
            assert_eq!(pending.answer(sequence), Match::Answer(at(ms)));
        }
        assert_eq!(pending.oldest_sent(), Some(at(0)));
        assert_eq!(pending.answer(stuck), Match::Answer(at(0)));
        assert_eq!(pending.oldest_sent(), None);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut pending = Pending::new(8);
        (pending.next, pending.oldest) = (u32::MAX - 1, u32::MAX - 1);
        let sequences: Vec<u32> = (0..4).map(|ms| pending.insert(at(ms), at(ms))).collect();
        assert_eq!(sequences, [u32::MAX - 1, u32::MAX, 0, 1]);
        assert_eq!(pending.expire(at(1)), Some(at(0)));
        assert_eq!(pending.answer(0), Match::Answer(at(2)));
        assert_eq!(pending.expire(at(9)), Some(at(1)));
        assert_eq!(pending.expire(at(9)), Some(at(3)));
        assert_eq!(pending.waiting(), 0);
    }

    #[test]
    fn a_full_ring_says_so() {
        let mut pending = Pending::new(100);
        let mut held = 0;
        while !pending.is_full() {
            pending.insert(at(0), at(0));
            held += 1;
        }
        assert!((100..=256).contains(&held), "{held}");
    }
}
