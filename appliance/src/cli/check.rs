//! `lnic check`: what becomes of a configuration on this machine, and what is missing. Starts nothing.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::control::config::{Error, Machine};
use crate::control::topology::Topology;

mod code;
mod memory;
mod missing;
mod print;
mod report;
mod roles;

#[cfg(test)]
mod tests;

use report::Report;

/// Exit code: something is missing.
const MISSING: u8 = 1;
/// Exit code: the configuration is wrong.
const WRONG: u8 = 2;

/// Show what a configuration makes of this machine, and what is missing
///
/// Prints cores and what each does, memory, ports, lambdas, rules and privileges without starting anything, then what is missing and how to get it.
/// Run it with the same rights and CPUs as `lnic run` will have: in the container, as the service's user.
/// What only DPDK knows, such as the MTUs of a device, shows at the start.
/// Exit code 0 if nothing is missing, 1 if something is, 2 if the configuration is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `lnic check`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let machine = Machine::read()?;
    let (topology, absent) = match Topology::examine(&args.config, &machine) {
        Ok(examined) => examined,
        Err(error) => return refuse(args, &error),
    };
    let report = Report::new(&args.config, &topology, &machine, absent);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(if report.ready { ExitCode::SUCCESS } else { ExitCode::from(MISSING) })
}

/// Says what is wrong with the configuration.
fn refuse(args: &Args, error: &Error) -> anyhow::Result<ExitCode> {
    if args.json {
        let problems = match error {
            Error::Invalid { problems, .. } => serde_json::to_value(problems)?,
            other => serde_json::json!([{ "line": null, "message": other.to_string(), "kind": "wrong" }]),
        };
        let refused =
            serde_json::json!({ "configuration": args.config, "ready": false, "problems": problems });
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&refused)?)?;
    } else {
        writeln!(std::io::stderr(), "{error}")?;
    }
    Ok(ExitCode::from(WRONG))
}
