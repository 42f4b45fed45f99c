//! `lnic remove`: takes lambdas away.

use std::io::Write as _;
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::name::InNamespace;

/// Remove lambdas, with all their generations
///
/// Later requests get what requests for unknown lambdas get; what is under way ends. Exit code 1 if one of them is not there; those
/// before it are removed then.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names of the lambdas: NAME, or NAME.NAMESPACE
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    namespace: InNamespace,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic remove`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let keys: Result<Vec<_>, _> = args.names.iter().map(|name| args.namespace.key(name)).collect();
    let client = args.connection.client()?;
    block_on(async {
        for key in keys? {
            client.remove(&key).await?;
            writeln!(std::io::stdout(), "{key} removed")?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
