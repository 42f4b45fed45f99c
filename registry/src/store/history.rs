//! The last changes of a store, for those who watch it.
//!
//! Nobody waits for a slow watcher and nothing is queued for it: each reads on from where it was, and one that fell behind the changes
//! that are kept is told so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::Change;
use crate::Revision;

/// Changes that are kept.
const CHANGES: usize = 4096;

/// The last changes of a store.
#[derive(Debug)]
pub(super) struct History {
    kept: Arc<Mutex<Kept>>,
    /// Position of the next change; ends with the store.
    end: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    changes: VecDeque<Change>,
    /// Position of the oldest.
    first: u64,
    /// Changes up to this revision may be forgotten.
    floor: Revision,
    /// Why the store cannot be reached.
    away: Option<String>,
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }
}

impl History {
    /// Of a store that has this revision; what came before is not known.
    pub(super) fn new(floor: Revision) -> Self {
        let kept = Kept { changes: VecDeque::new(), first: 0, floor, away: None };
        Self { kept: Arc::new(Mutex::new(kept)), end: watch::Sender::new(0) }
    }

    /// Tells watchers.
    pub(super) fn push(&self, changes: impl IntoIterator<Item = Change>) {
        let mut kept = lock(&self.kept);
        for change in changes {
            match &change {
                Change::Unavailable(reason) => kept.away = Some(reason.clone()),
                Change::Available => kept.away = None,
                Change::Put { .. } | Change::Delete { .. } | Change::Resync => {}
            }
            kept.changes.push_back(change);
            if kept.changes.len() > CHANGES {
                if let Some(revision) = kept.changes.pop_front().and_then(|change| change.revision()) {
                    kept.floor = revision;
                }
                kept.first += 1;
            }
        }
        let end = kept.end();
        drop(kept);
        self.end.send_replace(end);
    }

    /// Forgets everything: the store is another one now, with this revision.
    pub(super) fn reset(&self, floor: Revision) {
        let mut kept = lock(&self.kept);
        kept.first = kept.end();
        kept.changes.clear();
        kept.floor = floor;
        drop(kept);
        self.push([Change::Resync]);
    }

    /// Why the store cannot be reached, if it cannot.
    pub(super) fn away(&self) -> Option<String> {
        lock(&self.kept).away.clone()
    }

    /// Changes of keys that begin so.
    pub(super) fn watch(&self, prefix: &str, after: Option<Revision>) -> BoxStream<'static, Change> {
        let end = self.end.subscribe();
        let kept = lock(&self.kept);
        let mut first = VecDeque::new();
        let next = match after {
            None => kept.end(),
            Some(after) if after < kept.floor => {
                first.push_back(Change::Resync);
                kept.end()
            }
            Some(after) => {
                let later = |change: &Change| change.revision().is_some_and(|revision| revision > after);
                kept.changes
                    .iter()
                    .zip(kept.first..)
                    .find_map(|(change, position)| later(change).then_some(position))
                    .unwrap_or_else(|| kept.end())
            }
        };
        first.extend(kept.away.clone().map(Change::Unavailable));
        drop(kept);
        let reader = Reader { kept: self.kept.clone(), end, prefix: prefix.to_owned(), next, ready: first };
        stream::unfold(reader, |mut reader| async { Some((reader.next().await?, reader)) }).boxed()
    }
}

/// One watcher's place.
struct Reader {
    kept: Arc<Mutex<Kept>>,
    end: watch::Receiver<u64>,
    prefix: String,
    /// Position of the change that it reads next.
    next: u64,
    /// Read, and not told yet.
    ready: VecDeque<Change>,
}

impl Reader {
    /// Changes that are read at a time.
    const BATCH: usize = 64;

    async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            if !self.read() {
                self.end.changed().await.ok()?;
            }
        }
    }

    /// Reads on; whether there was anything.
    fn read(&mut self) -> bool {
        // Before the changes: one that comes in between is read now and found again as no news.
        self.end.borrow_and_update();
        let kept = lock(&self.kept);
        if self.next < kept.first {
            self.next = kept.end();
            self.ready.push_back(Change::Resync);
            self.ready.extend(kept.away.clone().map(Change::Unavailable));
            return true;
        }
        let from = usize::try_from(self.next - kept.first).unwrap_or(usize::MAX);
        let batch: Vec<&Change> = kept.changes.iter().skip(from).take(Self::BATCH).collect();
        self.next += batch.len() as u64;
        let wanted = |change: &&Change| match change {
            Change::Put { key, .. } | Change::Delete { key, .. } => key.starts_with(&self.prefix),
            Change::Resync | Change::Unavailable(_) | Change::Available => true,
        };
        self.ready.extend(batch.iter().copied().filter(wanted).cloned());
        !batch.is_empty()
    }
}

/// Nothing that holds it can panic half-way.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn put(revision: u64) -> Change {
        Change::Put { key: format!("a/{revision}"), revision: Revision(revision) }
    }

    fn now(stream: &mut BoxStream<'static, Change>) -> Vec<Change> {
        std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn from_a_revision_or_from_now() {
        let history = History::new(Revision(2));
        history.push([put(3), put(4)]);
        let mut late = history.watch("", None);
        let mut later = history.watch("", Some(Revision(3)));
        let mut all = history.watch("", Some(Revision(2)));
        let mut lost = history.watch("", Some(Revision(1)));
        let mut other = history.watch("b/", Some(Revision(2)));
        history.push([put(5)]);
        assert_eq!(now(&mut late), [put(5)]);
        assert_eq!(now(&mut later), [put(4), put(5)]);
        assert_eq!(now(&mut all), [put(3), put(4), put(5)]);
        assert_eq!(now(&mut lost), [Change::Resync, put(5)]);
        assert_eq!(now(&mut other), []);
        drop(history);
        assert_eq!(late.next().now_or_never(), Some(None), "it ends with the store");
    }

    #[test]
    fn a_slow_watcher_is_told_that_it_missed_changes() {
        let history = History::new(Revision(0));
        let mut slow = history.watch("", None);
        let mut keeps_up = history.watch("", None);
        for revision in 1..=CHANGES as u64 {
            history.push([put(revision)]);
        }
        assert_eq!(now(&mut keeps_up).len(), CHANGES);
        history.push([put(9_000)]);
        assert_eq!(now(&mut keeps_up), [put(9_000)]);
        assert_eq!(now(&mut slow), [Change::Resync]);
        history.push([put(9_001)]);
        assert_eq!(now(&mut slow), [put(9_001)]);
        assert_eq!(now(&mut history.watch("", Some(Revision(0)))), [Change::Resync]);
        assert_eq!(now(&mut history.watch("", Some(Revision(2)))).len(), CHANGES);
    }

    #[test]
    fn who_comes_while_the_store_is_away_is_told() {
        let history = History::new(Revision(0));
        history.push([Change::Unavailable("gone".into())]);
        let mut late = history.watch("", None);
        assert_eq!(now(&mut late), [Change::Unavailable("gone".into())]);
        history.push([Change::Available]);
        assert_eq!(now(&mut late), [Change::Available]);
        assert_eq!(now(&mut history.watch("", None)), []);
    }
}
