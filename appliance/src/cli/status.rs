//! `lnic status`: what an appliance is, and whether traffic may be sent to it.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value};

use super::connection::{Connection, block_on};
use super::table::{Side, Table, json, plain};
use crate::control::plane::{Readiness, Stuck};

/// Show what an appliance is, and whether traffic may be sent to it
///
/// Exit code 1 if it is not ready, or does not answer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Status {
    info: Map<String, Value>,
    readiness: Readiness,
}

/// Runs `lnic status`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let status =
        block_on(async { Ok(Status { info: client.info().await?, readiness: client.readiness().await? }) })?;
    let mut out = io::stdout().lock();
    if args.json {
        json(&mut out, &status)?;
    } else {
        write(&mut out, &status)?;
    }
    Ok(if status.readiness.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(out: &mut impl Write, status: &Status) -> io::Result<()> {
    for (key, value) in &status.info {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        writeln!(out, "{:<12} {}", plain(key).replace('_', " "), plain(&text))?;
    }
    let Readiness { ready, problems, ports, lcores } = &status.readiness;
    writeln!(out, "{:<12} {}", "ready", if *ready { "yes" } else { "no" })?;
    for problem in problems {
        writeln!(out, "  {}", plain(problem))?;
    }
    if !ports.is_empty() {
        writeln!(out)?;
        let mut table = Table::new(&[("PORT", Side::Left), ("LINK", Side::Left)]);
        for port in ports {
            table.row([port.name.clone(), if port.up { "up" } else { "down" }.into()]);
        }
        table.write(out)?;
    }
    if !lcores.is_empty() {
        writeln!(out)?;
        let columns = [
            ("LCORE", Side::Right),
            ("ROLES", Side::Left),
            ("SILENT ms", Side::Right),
            ("STATE", Side::Left),
        ];
        let mut table = Table::new(&columns);
        for lcore in lcores {
            let state = match lcore.stuck {
                None => "well",
                Some(Stuck::Silent) => "stuck",
                Some(Stuck::Ended) => "ended",
            };
            table.row([
                lcore.lcore.to_string(),
                lcore.roles.clone(),
                lcore.silent_ms.to_string(),
                state.into(),
            ]);
        }
        table.write(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::plane::{PortReadiness, WorkerReadiness};

    #[test]
    fn what_is_well_and_what_is_not() {
        let lcore = |lcore, silent_ms, stuck| WorkerReadiness {
            lcore,
            roles: "poller, NPU".into(),
            silent_ms,
            stuck,
        };
        let status = Status {
            info: serde_json::json!({ "name": "nic", "api_version": "1", "gone": null, "lambdas": 3 })
                .as_object()
                .unwrap()
                .clone(),
            readiness: Readiness {
                ready: false,
                problems: vec!["port \"p0\": its link is down".into()],
                ports: vec![PortReadiness { name: "p0".into(), up: false }],
                lcores: vec![lcore(1, 3, None), lcore(2, 1500, Some(Stuck::Silent))],
            },
        };
        let mut out = Vec::new();
        write(&mut out, &status).unwrap();
        let expected = "\
api version  1
lambdas      3
name         nic
ready        no
  port \"p0\": its link is down

PORT  LINK
p0    down

LCORE  ROLES        SILENT ms  STATE
    1  poller, NPU          3  well
    2  poller, NPU       1500  stuck
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
