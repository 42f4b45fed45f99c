//! `lnic compile`: a module through the compiler, apart and bounded, as a deployment would go.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::control::appliance::{Bounds, Wishes};
use crate::control::build;
use crate::control::compile::{self, CompileSettings, Compiler};
use crate::control::inspect::Inspection;
use crate::control::topology::{Concurrency, LayoutWish, Memory};
use crate::lambda::{Engine, Limits};
use lnic_registry::Digest;

/// Compile a module as a deployment would, in a process of its own with limits, and say what came out
///
/// Exit code 1 if one of its entries could not be deployed: the line says why.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Module that `lnic build` has made
    #[arg(value_name = "FILE", required_unless_present = "serve")]
    file: Option<PathBuf>,
    /// Only this entry
    #[arg(long)]
    entry: Option<String>,
    /// NPUs that would run it
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=128))]
    npus: u32,
    /// Most MiB of memory that compiling may take
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    compile_mib: u32,
    /// Most seconds of CPU time that compiling may take
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    compile_s: u32,
    /// Write the machine code to this file, to look at it with objdump; nothing loads it again
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Serve the appliance that holds the other end of standard input
    #[arg(long, hide = true)]
    serve: bool,
    /// CPUs to keep to
    #[arg(long, hide = true, value_delimiter = ',')]
    cpus: Vec<u32>,
}

/// What came of an entry.
#[derive(Serialize)]
struct Report {
    entry: String,
    /// Milliseconds until its code was loaded.
    ms: f64,
    /// Why it cannot be deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inspection: Option<Inspection>,
}

/// What came of a module.
#[derive(Serialize)]
struct Reports {
    digest: Digest,
    bytes: usize,
    entries: Vec<Report>,
}

/// Runs `lnic compile`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = match &args.file {
        Some(path) if !args.serve => path,
        _ => {
            compile::serve(args.compile_mib, args.compile_s, &args.cpus)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let entries = match &args.entry {
        Some(entry) => vec![entry.clone()],
        None => build::entries(&wasm).with_context(|| path.display().to_string())?,
    };
    anyhow::ensure!(!entries.is_empty(), "{}: has no entry: see lnic build", path.display());
    anyhow::ensure!(
        args.output.is_none() || entries.len() == 1,
        "{}: has several entries: name one with --entry for --output",
        path.display()
    );
    let settings = CompileSettings {
        compile_mib: args.compile_mib,
        compile_s: args.compile_s,
        ..CompileSettings::default()
    };
    let compiler = Compiler::start(&settings, &Engine::new()?)?;
    let digest = Digest::of(&wasm);
    let wishes = Wishes {
        concurrency: Concurrency::Auto,
        layout: LayoutWish::Auto,
        npus: args.npus,
        islands: 1,
        in_flight: 8,
        slots: None,
    };
    let bounds = Bounds { tier_bytes: Memory::default().tiers.objects, limits: Limits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut reports = Reports { digest, bytes: wasm.len(), entries: Vec::new() };
    for entry in entries {
        let started = Instant::now();
        let made = runtime.block_on(compiler.compile(&digest, &wasm, &entry, &wishes, &bounds));
        let ms = started.elapsed().as_secs_f64() * 1e3;
        if let (Some(output), Ok(ready)) = (&args.output, &made) {
            std::fs::write(output, ready.image.artifact().code())
                .with_context(|| format!("cannot write {}", output.display()))?;
        }
        let (inspection, error) = match made {
            Ok(ready) => (Some((*ready.inspection).clone()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        reports.entries.push(Report { entry, ms, error, inspection });
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &reports)?;
        writeln!(out)?;
    } else {
        print(&mut out, &reports)?;
    }
    let good = reports.entries.iter().all(|report| report.error.is_none());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut impl std::io::Write, reports: &Reports) -> std::io::Result<()> {
    writeln!(out, "{}, {} bytes", reports.digest, reports.bytes)?;
    for report in &reports.entries {
        write!(out, "{}: ", report.entry)?;
        match (&report.inspection, &report.error) {
            (Some(found), _) => writeln!(
                out,
                "good; {} bytes of machine code, {} KiB of memory, {}, {}; {:.1} ms",
                found.code.native_bytes,
                found.memory_bytes >> 10,
                found.layout,
                found.runs,
                report.ms
            )?,
            (None, error) => writeln!(out, "{}", error.as_deref().unwrap_or_default())?,
        }
    }
    Ok(())
}
