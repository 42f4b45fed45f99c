//! `lnic rollback`: an earlier generation of a lambda again.

use std::io::Write as _;
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::name::InNamespace;
use super::table::json;

/// Make an earlier generation of a lambda the current one, while packets flow
///
/// `lnic describe` lists the generations. Exit code 1 if there is no such lambda or generation.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the lambda: NAME, or NAME.NAMESPACE
    name: String,
    /// Number of the generation [default: the one deployed before the current]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    namespace: InNamespace,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic rollback`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = args.namespace.key(&args.name)?;
    let client = args.connection.client()?;
    let lambda = block_on(async { Ok(client.rollback(&key, args.to).await?) })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        json(&mut out, &lambda)?;
    } else {
        writeln!(out, "{key}: generation {} runs", lambda.generation)?;
    }
    Ok(ExitCode::SUCCESS)
}
