//! Prometheus' text format, family by family.
//!
//! Help, types and escapes are the exporter's. Its recorder is not used: what is published here was counted elsewhere, on lcores, and a
//! recorder would keep series of lambdas that were removed, and has no counters of seconds. Nor are its lines, which escape all labels
//! anew for each sample: with a thousand lambdas that is most of a scrape's time.

use std::fmt::{Display, Write};

use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};

/// A text that grows.
#[derive(Default)]
pub(super) struct Exposition(String);

/// A family's name, its help, and how its value is read from what it is about.
pub(super) type Field<T, V = u64> = (&'static str, &'static str, fn(&T) -> V);

/// Labels of a series, as they are written.
pub(super) struct Labels(String);

/// One family: its samples follow its help and type, which are not written if there are none.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    is_begun: bool,
}

impl Exposition {
    /// A family of counters.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// A family of gauges.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// A family of histograms.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &'static str, help: &'static str) -> Family<'_> {
        Family { text: &mut self.0, name, kind, help, is_begun: false }
    }
}

impl Family<'_> {
    /// A number: a whole one, or an `f64` that is finite.
    pub(super) fn sample(&mut self, labels: &Labels, value: impl Display) {
        self.line("", labels, "", "", value);
    }

    /// The same, with a label more, whose value needs no escapes: it is one of our own words.
    pub(super) fn sample_of(&mut self, labels: &Labels, (label, word): (&str, &str), value: impl Display) {
        self.line("", labels, label, word, value);
    }

    /// A histogram: upper ends, the counts of each bucket alone and of what lies above, and the sum.
    pub(super) fn distribution(&mut self, labels: &Labels, uppers: &[f64], counts: &[u64], sum: f64) {
        let mut below = 0;
        for (upper, count) in uppers.iter().zip(counts) {
            below += count;
            self.line("_bucket", labels, "le", upper, below);
        }
        let all: u64 = counts.iter().sum();
        self.line("_bucket", labels, "le", "+Inf", all);
        self.line("_sum", labels, "", "", sum);
        self.line("_count", labels, "", "", all);
    }

    fn line(&mut self, suffix: &str, labels: &Labels, label: &str, word: impl Display, value: impl Display) {
        if !std::mem::replace(&mut self.is_begun, true) {
            write_help_line(self.text, self.name, None, None, self.help);
            write_type_line(self.text, self.name, None, None, self.kind);
        }
        let (name, labels) = (self.name, &labels.0);
        // Writing to a String cannot fail.
        let _ = match (labels.is_empty(), label.is_empty()) {
            (true, true) => writeln!(self.text, "{name}{suffix} {value}"),
            (false, true) => writeln!(self.text, "{name}{suffix}{{{labels}}} {value}"),
            (true, false) => writeln!(self.text, "{name}{suffix}{{{label}=\"{word}\"}} {value}"),
            (false, false) => writeln!(self.text, "{name}{suffix}{{{labels},{label}=\"{word}\"}} {value}"),
        };
    }
}

/// Labels of a series.
pub(super) fn labels(labels: &[(&str, &str)]) -> Labels {
    let text: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", sanitize_label_value(value))).collect();
    Labels(text.join(","))
}
