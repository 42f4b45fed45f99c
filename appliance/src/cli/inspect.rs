//! `lnic inspect`: what the compiler found out about a lambda and decided for it.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::connection::{Connection, block_on};
use super::name::InNamespace;
use crate::control::appliance::{self, Bounds, Wishes};
use crate::control::build;
use crate::control::inspect::Inspection;
use crate::control::topology::{Concurrency, LayoutWish, Memory};
use crate::lambda::{Engine, Limits};

/// Show a lambda's memory objects and where they are placed, the headers that it touches, and its code
///
/// For a file: each of its entries, as it would be deployed on so many NPUs and islands. For a name: the lambda of a running
/// appliance, with what that derived from all its lambdas and rules together.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Module that `lnic build` has made, or the name of a lambda of the running appliance: NAME, or NAME.NAMESPACE
    #[arg(value_name = "FILE|NAME")]
    target: String,
    /// For a file: only this entry
    #[arg(long)]
    entry: Option<String>,
    /// For a file: NPUs that would run it
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=128))]
    npus: u32,
    /// For a file: islands that these would belong to
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=128))]
    islands: u32,
    /// For a file: who may run it at once: auto, pinned, shared or replicated
    #[arg(long, default_value = "auto", value_parser = concurrency)]
    concurrency: Concurrency,
    /// For a file: its memory's layout: auto, dense or windows
    #[arg(long, default_value = "auto", value_parser = layout)]
    layout: LayoutWish,
    #[command(flatten)]
    namespace: InNamespace,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn concurrency(word: &str) -> Result<Concurrency, String> {
    let known = Concurrency::ALL.into_iter().find(|known| known.name() == word);
    known.ok_or_else(|| format!("one of {}", Concurrency::ALL.map(Concurrency::name).join(", ")))
}

fn layout(word: &str) -> Result<LayoutWish, String> {
    let known = LayoutWish::ALL.into_iter().find(|known| known.name() == word);
    known.ok_or_else(|| format!("one of {}", LayoutWish::ALL.map(LayoutWish::name).join(", ")))
}

/// Runs `lnic inspect`. Exit code 1 if there is no such lambda, or it is none.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = Path::new(&args.target);
    // Names of lambdas have no slash.
    let is_file =
        path.is_file() || args.target.contains('/') || path.extension().is_some_and(|end| end == "wasm");
    let inspections = if is_file { of_file(path, args)? } else { vec![of_name(args)?] };
    let mut out = std::io::stdout().lock();
    if args.json {
        match (is_file, inspections.as_slice()) {
            (false, [inspection]) => serde_json::to_writer_pretty(&mut out, inspection)?,
            _ => serde_json::to_writer_pretty(&mut out, &inspections)?,
        }
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (at, inspection) in inspections.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        write!(out, "{inspection}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_name(args: &Args) -> anyhow::Result<Inspection> {
    let key = args.namespace.key(&args.target)?;
    let client = args.connection.client()?;
    block_on(async { Ok(client.inspection(&key).await?) })
}

fn of_file(path: &Path, args: &Args) -> anyhow::Result<Vec<Inspection>> {
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let entries = match &args.entry {
        Some(entry) => vec![entry.clone()],
        None => build::entries(&wasm).with_context(|| path.display().to_string())?,
    };
    anyhow::ensure!(!entries.is_empty(), "{}: has no entry: see lnic build", path.display());
    let engine = Engine::new()?;
    let wishes = Wishes {
        concurrency: args.concurrency,
        layout: args.layout,
        npus: args.npus.max(args.islands),
        islands: args.islands,
        in_flight: 8,
        slots: None,
    };
    let bounds = Bounds { tier_bytes: Memory::default().tiers.objects, limits: Limits::default() };
    let mut known = HashMap::new();
    let inspect = |entry: &String| {
        let ready = appliance::ready(&engine, &wasm, entry, &wishes, &bounds, &mut known)
            .with_context(|| format!("{}: \"{entry}\"", path.display()))?;
        Ok((*ready.inspection).clone())
    };
    entries.iter().map(inspect).collect()
}
