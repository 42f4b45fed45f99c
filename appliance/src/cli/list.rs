//! `lnic list`: the lambdas of a running appliance.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::connection::{Connection, block_on};
use super::table::{Side, Table, json};
use crate::control::plane::{Lambda, LambdaKey, Phase};
use crate::control::stats::LambdaStats;

/// List the lambdas of a running appliance, with their state
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only those of this namespace [default: of all]
    #[arg(long, short, value_name = "NS")]
    namespace: Option<String>,
    /// Only those in this state
    #[arg(long, value_parser = ["active", "asleep", "quarantined", "lost", "failed"])]
    state: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `lnic list`. Exit code 1 if no appliance answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let (mut lambdas, counted) = block_on(async {
        let lambdas = client.lambdas(args.namespace.as_deref()).await?;
        match client.stats().await {
            Ok(stats) => Ok((lambdas, stats.lambdas)),
            // Counters are of all namespaces, and not everybody's.
            Err(error) if error.is_forbidden() => Ok((lambdas, Vec::new())),
            Err(error) => Err(error.into()),
        }
    })?;
    if let Some(state) = &args.state {
        lambdas.retain(|lambda| phase_name(lambda.phase) == state);
    }
    let counted: Vec<_> = counted.iter().map(counters).collect();
    let mut out = io::stdout().lock();
    if args.json {
        let rows: Vec<_> = lambdas.iter().map(|lambda| merged(lambda, &counted)).collect();
        json(&mut out, &rows)?;
    } else {
        write(&mut out, &lambdas, &counted)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As JSON has it.
pub(super) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Active => "active",
        Phase::Asleep => "asleep",
        Phase::Quarantined => "quarantined",
        Phase::Lost => "lost",
        Phase::Failed => "failed",
    }
}

type Counters = (LambdaKey, Map<String, Value>);

/// A lambda's counters, and whose they are.
fn counters(stats: &LambdaStats) -> Counters {
    let map = match serde_json::to_value(stats) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let namespace = map.get("namespace").and_then(Value::as_str).unwrap_or(LambdaKey::DEFAULT_NAMESPACE);
    (LambdaKey::new(namespace, &stats.name), map)
}

fn of<'a>(lambda: &Lambda, counted: &'a [Counters]) -> Option<&'a Map<String, Value>> {
    counted.iter().find(|(key, _)| *key == lambda.key).map(|(_, map)| map)
}

/// Everything that is known of it: counters, and over them what the plane says.
fn merged(lambda: &Lambda, counted: &[Counters]) -> Map<String, Value> {
    let mut row = of(lambda, counted).cloned().unwrap_or_default();
    if let Ok(Value::Object(said)) = serde_json::to_value(lambda) {
        row.extend(said);
    }
    row.insert("state".into(), phase_name(lambda.phase).into());
    row
}

fn write(out: &mut impl Write, lambdas: &[Lambda], counted: &[Counters]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("NAME", Side::Left),
        ("ID", Side::Right),
        ("GENERATION", Side::Right),
        ("STATE", Side::Left),
        ("NPUS", Side::Right),
        ("WEIGHT", Side::Right),
        ("BUDGET µs", Side::Right),
        ("CONCURRENCY", Side::Left),
        ("ISLANDS", Side::Left),
        ("INVOCATIONS", Side::Right),
        ("FAILURES", Side::Right),
    ]);
    for lambda in lambdas {
        let stats = of(lambda, counted);
        let number = |key: &str| stats.and_then(|stats| stats.get(key)).and_then(Value::as_u64);
        let shown = |number: Option<u64>| number.map_or_else(|| "-".into(), |number| number.to_string());
        let islands = stats.and_then(|stats| stats.get("islands")).and_then(Value::as_array);
        let islands: Option<Vec<&str>> =
            islands.map(|names| names.iter().filter_map(Value::as_str).collect());
        table.row([
            lambda.key.to_string(),
            lambda.id.to_string(),
            lambda.generation.to_string(),
            phase_name(lambda.phase).into(),
            npus(lambda),
            shown(number("weight").or(lambda.manifest.weight.map(u64::from))),
            shown(number("budget_us").or(lambda.manifest.budget_us.map(u64::from))),
            lambda.concurrency.clone(),
            islands
                .or(lambda.manifest.islands.as_ref().map(|names| names.iter().map(String::as_str).collect()))
                .map_or_else(|| "-".into(), |names| names.join(" ")),
            lambda.invocations.to_string(),
            shown(number("traps").zip(number("exhausted")).map(|(traps, exhausted)| traps + exhausted)),
        ]);
    }
    table.write(out)
}

/// How many NPUs run it, and how many it may have at most if somebody said so.
pub(super) fn npus(lambda: &Lambda) -> String {
    match lambda.replicas {
        Some(replicas) if replicas != lambda.available_replicas => {
            format!("{}/{replicas}", lambda.available_replicas)
        }
        _ => lambda.available_replicas.to_string(),
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests;
