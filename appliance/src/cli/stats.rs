//! `lnic stats`: what a running appliance counts.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::control::server;

/// Show what a running appliance counts.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Control socket of the appliance.
    #[arg(long, default_value = "/run/lnic/lnic.sock")]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `lnic stats`. Exit code 1 if no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let snapshot = runtime.block_on(server::fetch_stats(&args.socket))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &snapshot)?;
        writeln!(out)?;
    } else {
        write!(out, "{snapshot}")?;
    }
    Ok(ExitCode::SUCCESS)
}
