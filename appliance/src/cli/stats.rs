//! `lnic stats`: what a running appliance counts.

use std::io::Write as _;
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::table::json;

/// Show what a running appliance counts.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic stats`. Exit code 1 if no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let snapshot = block_on(async { Ok(client.stats().await?) })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        json(&mut out, &snapshot)?;
    } else {
        write!(out, "{snapshot}")?;
    }
    Ok(ExitCode::SUCCESS)
}
