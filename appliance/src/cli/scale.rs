//! `lnic scale`: how many NPUs run a lambda.

use std::io::Write as _;
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::list::npus;
use super::name::InNamespace;
use super::table::json;

/// Run a lambda on at most so many NPUs; with 0 it sleeps until a request comes
///
/// A lambda that sleeps has no memory on the appliance. Exit code 1 if there is no such lambda.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the lambda: NAME, or NAME.NAMESPACE
    name: String,
    /// NPUs that run it at once, at most
    #[arg(value_name = "REPLICAS")]
    replicas: u32,
    #[command(flatten)]
    namespace: InNamespace,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic scale`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = args.namespace.key(&args.name)?;
    let client = args.connection.client()?;
    let lambda = block_on(async { Ok(client.scale(&key, args.replicas).await?) })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        json(&mut out, &lambda)?;
    } else if args.replicas == 0 {
        writeln!(out, "{key} sleeps until a request comes")?;
    } else {
        writeln!(out, "{key} runs on {} NPUs", npus(&lambda))?;
    }
    Ok(ExitCode::SUCCESS)
}
