//! `lnic describe`: one lambda of a running appliance.

use std::io::{self, Write};
use std::process::ExitCode;

use super::connection::{Connection, block_on};
use super::list::{npus, phase_name};
use super::name::InNamespace;
use super::table::{Side, Table, bytes, json, plain, short, time};
use crate::control::plane::{Lambda, Origin};
use crate::control::stats::ServiceStats;

/// Show a lambda: its state, its generations, what its manifest says
///
/// Exit code 1 if there is no such lambda, or no appliance answers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the lambda: NAME, or NAME.NAMESPACE
    name: String,
    #[command(flatten)]
    namespace: InNamespace,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic describe`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = args.namespace.key(&args.name)?;
    let client = args.connection.client()?;
    let lambda = block_on(async { Ok(client.lambda(&key).await?) })?;
    let mut out = io::stdout().lock();
    if args.json {
        json(&mut out, &lambda)?;
    } else {
        write(&mut out, &lambda)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, lambda: &Lambda) -> anyhow::Result<()> {
    let line = |out: &mut dyn Write, key: &str, value: &str| {
        if value.is_empty() { Ok(()) } else { writeln!(out, "{key:<12} {}", plain(value)) }
    };
    let origin = match lambda.origin {
        Origin::Configuration => "the configuration file",
        Origin::Registry => "deployed",
    };
    let memory: Vec<String> =
        lambda.memory_bytes.iter().map(|(tier, size)| format!("{tier} {}", bytes(*size))).collect();
    line(out, "name", &lambda.key.name)?;
    line(out, "namespace", &lambda.key.namespace)?;
    line(out, "origin", origin)?;
    line(out, "ID", &lambda.id.to_string())?;
    line(out, "state", phase_name(lambda.phase))?;
    line(out, "problem", lambda.problem.as_deref().unwrap_or_default())?;
    line(out, "generation", &lambda.generation.to_string())?;
    line(out, "NPUs", &npus(lambda))?;
    line(out, "concurrency", &lambda.concurrency)?;
    line(out, "memory", &memory.join(", "))?;
    line(out, "invocations", &lambda.invocations.to_string())?;
    line(out, "created", &time(lambda.created_at_ms))?;
    if !lambda.generations.is_empty() {
        writeln!(out, "\ngenerations; * runs")?;
        generations(out, lambda)?;
    }
    if !lambda.services.is_empty() {
        writeln!(out, "\nservices")?;
        services(out, lambda)?;
    }
    let manifest = toml::to_string(&lambda.manifest)?;
    writeln!(out, "\nmanifest")?;
    for text in manifest.lines().filter(|text| !text.is_empty()) {
        writeln!(out, "  {}", plain(text))?;
    }
    Ok(())
}

fn generations(out: &mut impl Write, lambda: &Lambda) -> io::Result<()> {
    let columns = [
        ("", Side::Left),
        ("NUMBER", Side::Right),
        ("DEPLOYED", Side::Left),
        ("MODULE", Side::Left),
        ("IMAGE", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for generation in &lambda.generations {
        table.row([
            if generation.number == lambda.generation { "*" } else { " " }.into(),
            generation.number.to_string(),
            time(generation.deployed_at_ms),
            short(&generation.module),
            generation.image.clone(),
        ]);
    }
    table.write(out)
}

/// Where requests go, and by which way.
fn services(out: &mut impl Write, lambda: &Lambda) -> io::Result<()> {
    let columns = ["NAME", "ADDRESS", "FRAMING", "PORT", "NEXT HOP"].map(|title| (title, Side::Left));
    let mut table = Table::new(&columns);
    for service in &lambda.services {
        let ServiceStats { name, address, framing, port, next_hop } = service;
        table.row([name, address, framing, port, next_hop].map(Clone::clone));
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_known() {
        let mut lambda = super::super::list::tests::lambda("acme", "echo");
        lambda.manifest.environment.insert("A".into(), "x\u{1b}y".into());
        lambda.services.push(ServiceStats {
            name: "cache".into(),
            address: "192.0.2.7:11211".into(),
            framing: "memcached".into(),
            port: "wire".into(),
            next_hop: "10.77.0.254".into(),
        });
        let mut out = Vec::new();
        write(&mut out, &lambda).unwrap();
        let expected = "\
name         echo
namespace    acme
origin       deployed
ID           7
state        active
generation   2
NPUs         1/3
concurrency  replicated
memory       ctm 4096 B, emem 64 KiB
invocations  42
created      2017-07-14T02:40:00.000Z

generations; * runs
   NUMBER  DEPLOYED                  MODULE               IMAGE
        1  2017-07-14T02:40:00.000Z  sha256:010101010101  lambdas/echo
*       2  2017-07-14T02:40:01.000Z  sha256:020202020202  lambdas/echo

services
NAME   ADDRESS          FRAMING    PORT  NEXT HOP
cache  192.0.2.7:11211  memcached  wire  10.77.0.254

manifest
  name = \"echo\"
  weight = 4
  [environment]
  A = \"x\\u001By\"
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
