//! `lnic release`: ends a lambda's quarantine.

use std::io::Write as _;
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::name::InNamespace;

/// Let a quarantined lambda run again
///
/// A lambda that traps or exhausts its budget too often (table `quarantine` in the configuration) is not run any more; its callers are
/// answered UNAVAILABLE. Exit code 1 if there is no such lambda, or no appliance answers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the lambda: NAME, or NAME.NAMESPACE
    name: String,
    #[command(flatten)]
    namespace: InNamespace,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic release`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = args.namespace.key(&args.name)?;
    let client = args.connection.client()?;
    let released = block_on(async { Ok(client.release(&key).await?) })?;
    let what = if released { "released" } else { "was not quarantined" };
    writeln!(std::io::stdout(), "{key} {what}")?;
    Ok(ExitCode::SUCCESS)
}
