//! At most once: for each session of a source, what became of its last [`WINDOW`] sequences.

use super::cache::CacheId;
use super::cookie::Secret;
use super::index::Index;
use super::list::{Links, List};
use super::{Server, Source};
use crate::WINDOW;

/// How many of the least recently used sessions are looked at for one that may be forgotten.
const CANDIDATES: usize = 8;

/// What is known of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Record {
    /// It has not run.
    #[default]
    Unseen,
    /// It runs, or its fragments are coming, or those of its reply are on their way.
    Open,
    /// It has run, and its reply is here.
    Replied(CacheId),
    /// It has run or was cancelled: it will not run again, and its reply is not here any more.
    Done,
    /// Below the window.
    Stale,
}

/// A session that is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionRef {
    pub(super) entry: u32,
    generation: u32,
}

#[derive(Clone, Debug)]
struct Session {
    source: Source,
    number: u32,
    generation: u32,
    /// The highest sequence seen; the window ends with it.
    highest: u32,
    records: [Record; WINDOW as usize],
    /// Records that are open. A session with such is not forgotten.
    open: u32,
    /// It began with a cookie, or has shown one since.
    validated: bool,
    used_us: u64,
}

/// The sessions of all sources.
#[derive(Debug)]
pub(super) struct Sessions {
    entries: Box<[Session]>,
    index: Index,
    links: Links,
    free: List,
    /// Least recently used first.
    ages: List,
    used: u32,
    unvalidated: u32,
}

impl Sessions {
    /// Room for so many.
    pub(super) fn new(sessions: usize) -> Self {
        let (links, free) = Links::full(sessions);
        let vacant = Session {
            source: Source::default(),
            number: 0,
            generation: 0,
            highest: 0,
            records: [Record::Unseen; WINDOW as usize],
            open: 0,
            validated: false,
            used_us: 0,
        };
        Self {
            entries: vec![vacant; sessions].into_boxed_slice(),
            index: Index::new(sessions),
            links,
            free,
            ages: List::EMPTY,
            used: 0,
            unvalidated: 0,
        }
    }

    /// How many there are.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// How many there are whose source has shown no cookie.
    pub(super) fn unvalidated(&self) -> u32 {
        self.unvalidated
    }

    /// A session that is known; it counts as used now.
    pub(super) fn find(
        &mut self,
        secret: &Secret,
        source: &Source,
        number: u32,
        validated: bool,
        now_us: u64,
    ) -> Option<SessionRef> {
        let entries = &mut self.entries;
        let entry = self.index.find(secret.hash((source, number)), |entry| {
            let session = &entries[entry as usize];
            session.number == number && session.source == *source
        })?;
        let session = &mut entries[entry as usize];
        session.used_us = now_us;
        if validated && !session.validated {
            session.validated = true;
            self.unvalidated -= 1;
        }
        self.links.remove(&mut self.ages, entry);
        self.links.push(&mut self.ages, entry);
        Some(SessionRef { entry, generation: self.entries[entry as usize].generation })
    }

    /// Begins a session in a free entry.
    pub(super) fn insert(
        &mut self,
        secret: &Secret,
        source: &Source,
        number: u32,
        sequence: u32,
        validated: bool,
        now_us: u64,
    ) -> Option<SessionRef> {
        let entry = self.links.pop(&mut self.free)?;
        let session = &mut self.entries[entry as usize];
        let generation = session.generation.wrapping_add(1);
        *session = Session {
            source: *source,
            number,
            generation,
            highest: sequence,
            records: [Record::Unseen; WINDOW as usize],
            open: 0,
            validated,
            used_us: now_us,
        };
        self.index.insert(secret.hash((source, number)), entry);
        self.links.push(&mut self.ages, entry);
        self.used += 1;
        self.unvalidated += u32::from(!validated);
        Some(SessionRef { entry, generation })
    }

    /// A session that nobody has used for `hold_us`, nor has anything open.
    fn forgettable(&self, now_us: u64, hold_us: u64) -> Option<u32> {
        std::iter::successors(self.ages.first(), |&entry| self.links.after(entry)).take(CANDIDATES).find(
            |&entry| {
                let session = &self.entries[entry as usize];
                session.open == 0 && now_us.saturating_sub(session.used_us) >= hold_us
            },
        )
    }

    /// Forgets a session. Its records must not hold replies.
    fn remove(&mut self, secret: &Secret, entry: u32) -> Source {
        let session = &self.entries[entry as usize];
        let source = session.source;
        self.index.remove(secret.hash((&source, session.number)), entry);
        self.unvalidated -= u32::from(!session.validated);
        self.links.remove(&mut self.ages, entry);
        self.links.push(&mut self.free, entry);
        self.used -= 1;
        source
    }

    /// What is known of a sequence.
    pub(super) fn record(&self, entry: u32, sequence: u32) -> Record {
        let session = &self.entries[entry as usize];
        if sequence > session.highest {
            Record::Unseen
        } else if session.highest - sequence >= WINDOW {
            Record::Stale
        } else {
            session.records[(sequence % WINDOW) as usize]
        }
    }

    /// Moves the window up to a sequence. A reply that leaves it is returned, and the call must be repeated until there is none.
    pub(super) fn slide(&mut self, entry: u32, sequence: u32) -> Option<CacheId> {
        let session = &mut self.entries[entry as usize];
        if sequence > session.highest && sequence - session.highest > WINDOW {
            session.highest = sequence - WINDOW;
        }
        while session.highest < sequence {
            session.highest += 1;
            let left = std::mem::take(&mut session.records[(session.highest % WINDOW) as usize]);
            if let Record::Replied(reply) = left {
                return Some(reply);
            }
        }
        None
    }

    /// Opens a record of the window.
    pub(super) fn open(&mut self, session: SessionRef, sequence: u32) {
        let entry = &mut self.entries[session.entry as usize];
        entry.open += 1;
        entry.records[(sequence % WINDOW) as usize] = Record::Open;
    }

    /// Closes a record that was opened; whether it is still in the window.
    pub(super) fn close(&mut self, session: SessionRef, sequence: u32, record: Record) -> bool {
        let entry = &mut self.entries[session.entry as usize];
        if entry.generation != session.generation {
            return false;
        }
        entry.open -= 1;
        self.set(session.entry, sequence, record)
    }

    /// Sets a record, if it is in the window.
    pub(super) fn set(&mut self, entry: u32, sequence: u32, record: Record) -> bool {
        let known = !matches!(self.record(entry, sequence), Record::Stale);
        let session = &mut self.entries[entry as usize];
        let inside = known && sequence <= session.highest;
        if inside {
            session.records[(sequence % WINDOW) as usize] = record;
        }
        inside
    }
}

impl<R: Copy + Default> Server<R> {
    /// Makes room for a session by forgetting one that is past its time, if there is no free entry.
    pub(super) fn make_room_for_session(&mut self, now_us: u64) {
        if self.sessions.free.first().is_some() {
            return;
        }
        let Some(entry) = self.sessions.forgettable(now_us, self.limits.hold_us) else { return };
        for at in 0..WINDOW as usize {
            if let Record::Replied(reply) =
                std::mem::take(&mut self.sessions.entries[entry as usize].records[at])
            {
                self.forget(reply);
            }
        }
        let source = self.sessions.remove(&self.secret, entry);
        self.leave(&source);
    }

    /// Marks a sequence as open: the window moves up to it, and what leaves it is forgotten.
    pub(super) fn open_record(&mut self, session: SessionRef, sequence: u32) {
        while let Some(reply) = self.sessions.slide(session.entry, sequence) {
            self.forget(reply);
        }
        self.sessions.open(session, sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Sessions, SessionRef, Secret) {
        let mut sessions = Sessions::new(2);
        let secret = Secret::new([1; 16], 1000);
        let session = sessions.insert(&secret, &Source::default(), 9, 100, true, 0).expect("room");
        (sessions, session, secret)
    }

    #[test]
    fn a_sequence_runs_once_and_never_below_the_window() {
        let (mut sessions, session, _) = table();
        assert_eq!(sessions.record(session.entry, 100), Record::Unseen);
        sessions.open(session, 100);
        assert_eq!(sessions.record(session.entry, 100), Record::Open);
        assert!(sessions.close(session, 100, Record::Done));
        assert_eq!(sessions.record(session.entry, 100), Record::Done);
        assert_eq!(sessions.record(session.entry, 100 - WINDOW), Record::Stale);
        assert_eq!(sessions.record(session.entry, 101 - WINDOW), Record::Unseen);
        assert_eq!(sessions.slide(session.entry, 100 + WINDOW), None);
        assert_eq!(sessions.record(session.entry, 100), Record::Stale);
    }

    #[test]
    fn the_window_gives_back_each_reply_that_leaves_it() {
        let (mut sessions, session, _) = table();
        for sequence in 100..110 {
            assert_eq!(sessions.slide(session.entry, sequence), None);
            sessions.open(session, sequence);
            assert!(sessions.close(session, sequence, Record::Replied(CacheId(sequence))));
        }
        let left: Vec<_> = std::iter::from_fn(|| sessions.slide(session.entry, 102 + WINDOW)).collect();
        assert_eq!(left, [100, 101, 102].map(CacheId));
        let left: Vec<_> = std::iter::from_fn(|| sessions.slide(session.entry, u32::MAX)).collect();
        assert_eq!(left.len(), 7);
        assert_eq!(sessions.record(session.entry, u32::MAX - WINDOW), Record::Stale);
    }

    #[test]
    fn a_reply_that_comes_after_its_window_is_not_recorded() {
        let (mut sessions, session, _) = table();
        sessions.open(session, 100);
        while sessions.slide(session.entry, 1000).is_some() {}
        assert!(!sessions.close(session, 100, Record::Done));
        assert_eq!(sessions.record(session.entry, 1000), Record::Unseen);
    }

    #[test]
    fn only_idle_sessions_past_their_time_are_forgotten() {
        let (mut sessions, session, secret) = table();
        sessions.open(session, 100);
        assert_eq!(sessions.forgettable(1_000_000, 1000), None, "something is open");
        sessions.close(session, 100, Record::Done);
        assert_eq!(sessions.forgettable(999, 1000), None, "too young");
        assert_eq!(sessions.find(&secret, &Source::default(), 9, true, 500), Some(session));
        assert_eq!(sessions.forgettable(1000, 1000), None, "used since");
        assert_eq!(sessions.forgettable(1500, 1000), Some(session.entry));
        sessions.remove(&secret, session.entry);
        assert_eq!(sessions.find(&secret, &Source::default(), 9, true, 500), None);
    }
}
