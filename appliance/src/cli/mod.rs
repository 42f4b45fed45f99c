//! The command line. Each subcommand is a file; each prints tables for people and, with `--json`, JSON for programs.
//!
//! Exit codes: 0 done; 1 it did not work out (the error is on standard error); 2 the command line or the configuration is
//! wrong. `lnic invoke` adds 3: no reply.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bench;
pub mod build;
pub mod check;
pub mod inspect;
pub mod invoke;
pub mod list;
pub mod release;
pub mod run;
pub mod stats;

/// A SmartNIC in software: packets matched to sandboxed lambdas, microseconds from the wire.
#[derive(Debug, Parser)]
#[command(name = "lnic", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Build(build::Args),
    Inspect(inspect::Args),
    Invoke(invoke::Args),
    Bench(bench::Args),
    Stats(stats::Args),
    List(list::Args),
    Release(release::Args),
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Build(args) => build::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Invoke(args) => invoke::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Stats(args) => stats::run(args),
        Command::List(args) => list::run(args),
        Command::Release(args) => release::run(args),
    };
    result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        complain(&error);
        ExitCode::FAILURE
    })
}

/// One line on standard error: what failed, and why.
fn complain(error: &anyhow::Error) {
    use std::io::Write as _;
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Errors that name their cause already do not say it twice.
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    let _ = writeln!(std::io::stderr(), "lnic: {text}");
}

/// The reader of our output has gone (`lnic stats | head`): nothing to complain about.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
