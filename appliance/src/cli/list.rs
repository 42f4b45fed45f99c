//! `lnic list`: the lambdas of a running appliance.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::control::server;

/// List the lambdas of a running appliance, with their state
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Control socket of the appliance
    #[arg(long, default_value = "/run/lnic/lnic.sock")]
    socket: PathBuf,
    /// Only those in this state
    #[arg(long, value_parser = ["active", "quarantined", "lost"])]
    state: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `lnic list`. Exit code 1 if no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut lambdas = runtime.block_on(server::fetch_stats(&args.socket))?.lambdas;
    if let Some(state) = &args.state {
        lambdas.retain(|lambda| lambda.state == *state);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &lambdas)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{:<32} {:>10} {:<12} {:>6} {:>9} {:<11} {:<16} {:>12} {:>9}",
        "NAME", "ID", "STATE", "WEIGHT", "BUDGET µs", "CONCURRENCY", "ISLANDS", "INVOCATIONS", "FAILURES"
    )?;
    for lambda in &lambdas {
        writeln!(
            out,
            "{:<32} {:>10} {:<12} {:>6} {:>9} {:<11} {:<16} {:>12} {:>9}",
            lambda.name,
            lambda.id,
            lambda.state,
            lambda.weight,
            lambda.budget_us,
            lambda.concurrency,
            lambda.islands.join(" "),
            lambda.invocations,
            lambda.traps + lambda.exhausted
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
