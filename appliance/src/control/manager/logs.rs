//! Lines that lambdas logged: the last of each are kept, and go to those who follow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use lnic_registry::LambdaKey;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::control::plane::{LogLine, LogQuery};

/// Lines that a follower may be behind; one that is slower misses some.
const BEHIND: usize = 1024;

/// The log of all lambdas.
pub(super) struct LogBook {
    kept: Mutex<BTreeMap<LambdaKey, VecDeque<LogLine>>>,
    lines: usize,
    news: broadcast::Sender<LogLine>,
}

impl LogBook {
    /// Keeps so many lines of each lambda.
    pub(super) fn new(lines: usize) -> Self {
        Self { kept: Mutex::default(), lines, news: broadcast::channel(BEHIND).0 }
    }

    /// A line was logged. Bytes that are no printable text are escaped: they are a stranger's.
    pub(super) fn push(&self, lambda: LambdaKey, generation: u64, time_ms: u64, text: &[u8]) {
        let line = LogLine { lambda, generation, time_ms, text: printable(text) };
        if self.lines > 0 {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = kept.entry(line.lambda.clone()).or_default();
            if lines.len() == self.lines {
                lines.pop_front();
            }
            lines.push_back(line.clone());
        }
        // Nobody may be listening.
        let _ = self.news.send(line);
    }

    /// A lambda was removed.
    pub(super) fn forget(&self, lambda: &LambdaKey) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(lambda);
    }

    /// What is kept and wanted, and then, if asked for, what comes.
    pub(super) fn read(&self, query: LogQuery) -> BoxStream<'static, LogLine> {
        // Before the lines are taken, so that none falls between.
        let news = query.follow.then(|| self.news.subscribe());
        let mut lines: Vec<LogLine> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter()
                .filter(|(key, _)| is_wanted(&query, key))
                .flat_map(|(_, lines)| lines.iter().filter(|line| is_recent(&query, line)).cloned())
                .collect()
        };
        lines.sort_by_key(|line| line.time_ms);
        if let Some(tail) = query.tail {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let kept = stream::iter(lines);
        match news {
            None => kept.boxed(),
            Some(news) => {
                let later = BroadcastStream::new(news).filter_map(move |line| {
                    let wanted = line.ok().filter(|line| is_wanted(&query, &line.lambda));
                    std::future::ready(wanted)
                });
                kept.chain(later).boxed()
            }
        }
    }
}

fn is_wanted(query: &LogQuery, key: &LambdaKey) -> bool {
    query.name.as_ref().is_none_or(|name| *name == key.name)
        && query.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
}

fn is_recent(query: &LogQuery, line: &LogLine) -> bool {
    query.since_ms.is_none_or(|since| line.time_ms >= since)
}

/// Text with control characters escaped; bytes that are no UTF-8 become U+FFFD.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> LogBook {
        let book = LogBook::new(3);
        for at in 0..5 {
            book.push(LambdaKey::new("default", "echo"), 1, at, format!("line {at}").as_bytes());
        }
        book.push(LambdaKey::new("team-a", "echo"), 2, 10, b"a\x1b[2J\xff\n");
        book
    }

    fn texts(book: &LogBook, query: LogQuery) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(book.read(query).map(|line| line.text).collect())
    }

    #[test]
    fn the_last_lines_are_kept_and_escaped() {
        let book = book();
        let all = texts(&book, LogQuery::default());
        assert_eq!(all, ["line 2", "line 3", "line 4", "a\\u{1b}[2J\u{fffd}\\n"]);
        let query = LogQuery { namespace: Some("default".into()), tail: Some(2), ..LogQuery::default() };
        assert_eq!(texts(&book, query), ["line 3", "line 4"]);
        let query = LogQuery { name: Some("echo".into()), since_ms: Some(4), ..LogQuery::default() };
        assert_eq!(texts(&book, query).len(), 2);
        book.forget(&LambdaKey::new("default", "echo"));
        assert_eq!(texts(&book, LogQuery::default()).len(), 1);
    }

    #[test]
    fn followers_get_what_is_kept_and_then_what_comes() {
        let book = book();
        let query = LogQuery { namespace: Some("team-a".into()), follow: true, ..LogQuery::default() };
        let mut lines = book.read(query);
        book.push(LambdaKey::new("default", "echo"), 1, 11, b"not this one");
        book.push(LambdaKey::new("team-a", "other"), 1, 12, b"this one");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got: Vec<String> = runtime.block_on(async {
            let mut got = Vec::new();
            while got.len() < 2 {
                got.push(lines.next().await.unwrap().text);
            }
            got
        });
        assert_eq!(got[1], "this one");
    }
}
