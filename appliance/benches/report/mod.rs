//! What every suite of `scripts/bench.sh` prints: a table for people, and a JSON file with one schema.

use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

/// Command line of a suite.
pub struct Options {
    /// Finish within 40 s.
    pub quick: bool,
    /// Where to write the JSON.
    pub json: Option<PathBuf>,
}

impl Options {
    /// Reads `[--quick] [--json FILE]`; `cargo bench` adds `--bench`, which is ignored.
    #[allow(dead_code, reason = "some binaries have several suites")]
    pub fn from_args() -> Self {
        Self::from(std::env::args().skip(1))
    }

    /// Reads `SUITE [--quick] [--json FILE]`.
    #[allow(dead_code, reason = "some binaries have one suite")]
    pub fn with_suite() -> (String, Self) {
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        (args.next().expect("SUITE [--quick] [--json FILE]"), Self::from(args))
    }

    fn from(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self { quick: false, json: None };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = Some(args.next().expect("--json needs a FILE").into()),
                "--bench" => {}
                other => panic!("unknown option {other}: [--quick] [--json FILE]"),
            }
        }
        options
    }
}

/// Which way a figure should go.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    #[allow(dead_code, reason = "suites use what they need")]
    Higher,
}

/// One measured figure.
#[derive(Clone, Serialize)]
pub struct Figure {
    pub name: String,
    /// Median over the rounds.
    pub value: f64,
    /// Smallest and largest round.
    pub min: f64,
    pub max: f64,
    pub unit: &'static str,
    pub better: Better,
    /// What it is held to.
    pub bar: Option<f64>,
}

impl Figure {
    /// From one value a round.
    pub fn of_rounds(name: impl Into<String>, unit: &'static str, better: Better, rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let name = name.into();
        Self {
            name,
            value: sorted[sorted.len() / 2],
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            unit,
            better,
            bar: None,
        }
    }

    /// Of one measurement.
    #[allow(dead_code, reason = "suites use what they need")]
    pub fn single(name: impl Into<String>, unit: &'static str, better: Better, value: f64) -> Self {
        Self::of_rounds(name, unit, better, &[value])
    }

    #[allow(dead_code, reason = "suites use what they need")]
    pub fn with_bar(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self
    }

    fn verdict(&self) -> String {
        let Some(bar) = self.bar else { return String::new() };
        let (sign, met) = match self.better {
            Better::Lower => ("≤", self.value <= bar),
            Better::Higher => ("≥", self.value >= bar),
        };
        format!("{sign} {bar} {}", if met { "met" } else { "MISSED" })
    }
}

#[derive(Serialize)]
struct Report<'a> {
    suite: &'a str,
    commit: String,
    machine: String,
    figures: &'a [Figure],
}

/// Prints the table and writes the JSON.
pub fn report(suite: &str, options: &Options, figures: &[Figure]) {
    let width = figures.iter().map(|figure| figure.name.chars().count()).fold(34, usize::max);
    println!("\n{:<width$} {:>10} {:>10} {:>10}  {:<12} BAR", "FIGURE", "MEDIAN", "MIN", "MAX", "UNIT");
    for figure in figures {
        println!(
            "{:<width$} {:>10.1} {:>10.1} {:>10.1}  {:<12} {}",
            figure.name,
            figure.value,
            figure.min,
            figure.max,
            figure.unit,
            figure.verdict()
        );
    }
    if let Some(path) = &options.json {
        let report = Report { suite, commit: commit(), machine: machine(), figures };
        let text = serde_json::to_string_pretty(&report).expect("figures are plain values");
        std::fs::write(path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|pair| pair.1));
    let count = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{count} × {}", model.unwrap_or("unknown CPU"))
}
