//! `lnic release`: ends a lambda's quarantine.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::control::server;

/// Let a quarantined lambda run again
///
/// A lambda that traps or exhausts its budget too often (table `quarantine` in the configuration) is not run any more; its callers are
/// answered UNAVAILABLE. Exit code 1 if there is no such lambda, or no appliance answers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the lambda
    name: String,
    /// Control socket of the appliance
    #[arg(long, default_value = "/run/lnic/lnic.sock")]
    socket: PathBuf,
}

/// Runs `lnic release`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let released = runtime.block_on(server::release(&args.socket, &args.name))?;
    let what = if released { "released" } else { "was not quarantined" };
    writeln!(std::io::stdout(), "{} {what}", args.name)?;
    Ok(ExitCode::SUCCESS)
}
