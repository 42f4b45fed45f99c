//! What is wrong with a configuration: one clear line each, with the place, the thing and what is allowed.

use std::fmt::{Display, Write as _};
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use serde::Serialize;
use toml::Spanned;

/// Whether the configuration or the machine has to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The configuration says something that cannot be.
    Wrong,
    /// The configuration names something that is not there.
    Absent {
        /// How to get it.
        fix: String,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line of the file, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// Who has to change.
    pub kind: Kind,
}

/// Problems, one a line, as compilers print them.
pub(super) fn lines(path: &Path, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let separator = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{separator}{}:", path.display());
        if let Some(line) = problem.line {
            let _ = write!(text, "{line}:");
        }
        let _ = write!(text, " {}", problem.message);
        if let Kind::Absent { fix } = &problem.kind {
            let _ = write!(text, ": {fix}");
        }
    }
    text
}

/// Collects problems while a configuration is judged.
pub(crate) struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    /// None so far; `text` is the file's.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Everything found, in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.line);
        self.found
    }

    /// Notes a mistake of the configuration.
    pub(crate) fn wrong(&mut self, span: Option<Range<usize>>, message: impl Into<String>) {
        self.note(span, message.into(), Kind::Wrong);
    }

    /// Notes that something is not there.
    pub(crate) fn absent(
        &mut self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.note(span, message.into(), Kind::Absent { fix: fix.into() });
    }

    fn note(&mut self, span: Option<Range<usize>>, message: String, kind: Kind) {
        let line = span.map(|span| {
            let before = self.text.get(..span.start.min(self.text.len())).unwrap_or(self.text);
            before.bytes().filter(|&byte| byte == b'\n').count() + 1
        });
        self.found.push(Problem { line, message, kind });
    }

    /// The integer, `default` if absent; noted and `default` if out of range.
    pub(crate) fn integer<T>(
        &mut self,
        place: &str,
        value: &Option<Spanned<i64>>,
        range: RangeInclusive<T>,
        default: T,
    ) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let Some(value) = value else { return default };
        match T::try_from(*value.get_ref()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let allowed = format!("{}–{}", range.start(), range.end());
                self.wrong(Some(value.span()), format!("{place}: {} is not in {allowed}", value.get_ref()));
                default
            }
        }
    }

    /// The choice that the text names, `default` if absent; noted and `default` if it names none.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        place: &str,
        value: &Option<Spanned<String>>,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(value) = value else { return default };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| name == value.get_ref()) {
            return *choice;
        }
        let names = choices.iter().map(|(name, _)| *name);
        self.wrong(
            Some(value.span()),
            format!("{place}: {:?}: allowed are {}", value.get_ref(), quoted(names)),
        );
        default
    }

    /// The place of a name in a list; noted, with the nearest name, if it is not there. `what` is the kind of thing named.
    pub(crate) fn named<'n>(
        &mut self,
        place: &str,
        what: &str,
        value: &Spanned<String>,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<usize> {
        let wanted = value.get_ref();
        let found = names.clone().position(|name| name == wanted);
        if found.is_none() {
            let hint = match nearest(wanted, names.clone()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None if names.clone().next().is_none() => "there is none".into(),
                None => format!("there are {}", quoted(names.take(20))),
            };
            self.wrong(Some(value.span()), format!("{place}: no {what} {wanted:?}: {hint}"));
        }
        found
    }
}

/// Names in quotes, with commas.
pub(crate) fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// Puts the deserializer's message about `key`, in the table `place`, into words of the file.
pub(super) fn explain(message: &str, place: &[String], key: Option<&str>) -> String {
    let table = if place.is_empty() { String::new() } else { format!("[{}] ", place.join(".")) };
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let (true, [unknown, known @ ..]) = (message.starts_with("unknown field"), names.as_slice()) {
        let shown = unknown.escape_debug();
        return match nearest(unknown, known.iter().copied()) {
            Some(name) => format!("{table}{shown}: unknown key: did you mean \"{name}\"?"),
            None => format!("{table}{shown}: unknown key: known are {}", quoted(known.iter().copied())),
        };
    }
    let place = key.map_or(table.clone(), |key| format!("{table}{key}: "));
    let Some((found, expected)) = message.split_once(", expected ") else {
        return format!("{place}{message}");
    };
    let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    let expected = match expected {
        "i64" => "an integer",
        "f64" => "a number",
        "a sequence" => "a list",
        other => other.strip_prefix("struct ").map_or(other, |_| "a table"),
    };
    format!("{place}{}: expected {expected}", found.replace('`', ""))
}

/// The name that was most likely meant.
pub(crate) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (wrong.chars().count() / 3).max(1);
    names
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions and substitutions between two words (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
