//! The command line. Each subcommand is a file; each prints tables for people and, with `--json`, JSON for programs.
//!
//! Exit codes: 0 done; 1 it did not work out (the error is on standard error); 2 the command line, the configuration
//! or a manifest is wrong. `lnic invoke` adds 3: no reply.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bench;
pub mod build;
pub mod check;
pub mod compile;
pub mod completions;
mod connection;
pub mod deploy;
pub mod describe;
pub mod inspect;
pub mod invoke;
pub mod list;
pub mod logs;
mod name;
pub mod namespaces;
pub mod new;
mod progress;
pub mod release;
pub mod remove;
pub mod rollback;
pub mod rules;
pub mod run;
pub mod scale;
pub mod secrets;
pub mod stats;
pub mod status;
mod table;
pub mod test;

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
    New(new::Args),
    Build(build::Args),
    Test(test::Args),
    Deploy(deploy::Args),
    Compile(compile::Args),
    Invoke(invoke::Args),
    List(list::Args),
    Describe(describe::Args),
    Logs(logs::Args),
    Rollback(rollback::Args),
    Scale(scale::Args),
    Remove(remove::Args),
    Release(release::Args),
    Secrets(secrets::Args),
    Namespaces(namespaces::Args),
    Rules(rules::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "info")]
    Status(status::Args),
    Stats(stats::Args),
    Bench(bench::Args),
    Completions(completions::Args),
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::New(args) => new::run(args),
        Command::Build(args) => build::run(args),
        Command::Test(args) => test::run(args),
        Command::Deploy(args) => deploy::run(args),
        Command::Compile(args) => compile::run(args),
        Command::Invoke(args) => invoke::run(args),
        Command::List(args) => list::run(args),
        Command::Describe(args) => describe::run(args),
        Command::Logs(args) => logs::run(args),
        Command::Rollback(args) => rollback::run(args),
        Command::Scale(args) => scale::run(args),
        Command::Remove(args) => remove::run(args),
        Command::Release(args) => release::run(args),
        Command::Secrets(args) => secrets::run(args),
        Command::Namespaces(args) => namespaces::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Status(args) => status::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => completions::run(args),
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
