//! `lnic test`: plays the packet scripts of lambdas.

mod print;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use super::deploy::refuse;
use super::deploy::source::{self, Prepared, SourceError};
use super::progress::Progress;
use crate::control::config;
use crate::control::plane::Manifest;
use crate::control::script::{self, Bench, Companion, Module, Report, Script};

/// Exit code: a manifest or a script is wrong.
const WRONG: u8 = 2;

/// Play the packet scripts of lambdas: what they are sent, and what has to come of it
///
/// A folder is built as `lnic deploy` does it; its scripts are tests/*.toml beside the code. Packets go through the real parser, matcher,
/// sandbox and deparser on simulated ports, in virtual time: no root, no devices, no hugepages.
/// Exit code 1 if something does not build or does not come out as a script says, 2 if a manifest or a script is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folders of lambdas, or modules
    #[arg(value_name = "DIR|FILE.wasm", default_value = ".")]
    sources: Vec<PathBuf>,
    /// Play this script instead of those beside the code; several for several
    #[arg(long, value_name = "FILE")]
    script: Vec<PathBuf>,
    /// Report only packets whose name, or whose script's path, has this in it. Those before them in a script are sent too
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show every frame
    #[arg(long, short)]
    verbose: bool,
    /// Print a JSON object per script
    #[arg(long)]
    json: bool,
}

/// What has come out so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    scripts: usize,
    passed: usize,
    failed: usize,
    /// Scripts that are wrong.
    wrong: usize,
}

/// Runs `lnic test`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let progress = Progress::new(!args.json);
    let mut bench = Bench::new()?;
    let mut tally = Tally::default();
    for path in &args.sources {
        let scripts = if args.script.is_empty() { scripts_of(path)? } else { args.script.clone() };
        if scripts.is_empty() {
            progress.aside(|| writeln!(io::stderr(), "{}: no packet scripts", path.display()))?;
            continue;
        }
        progress.step(format!("building {}", path.display()));
        let prepared = match source::prepare(path, None, None, |_| {}) {
            Ok(prepared) => prepared,
            Err(error) => {
                drop(progress);
                return refuse(error);
            }
        };
        progress.aside(|| io::stderr().write_all(prepared.warnings.as_bytes()))?;
        for file in &scripts {
            progress.step(format!("{}", file.display()));
            let played = one(&mut bench, file, &prepared, args);
            progress.aside(|| tell(file, played, args, &mut tally))?;
        }
    }
    drop(progress);
    finish(args, tally)
}

/// Prints what came of a script, and adds it up.
fn tell(
    file: &Path,
    played: Result<Option<(Report, f64)>, Failure>,
    args: &Args,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match played {
        Ok(None) => {}
        Ok(Some((report, took_ms))) => {
            tally.scripts += 1;
            tally.passed += report.passed();
            tally.failed += report.failed();
            print::report(out, &report, took_ms, args.verbose, args.json)?;
        }
        Err(Failure::Script(script::Error::Invalid(error @ config::Error::Invalid { .. }))) => {
            tally.wrong += 1;
            writeln!(io::stderr(), "{error}")?;
        }
        Err(Failure::Script(script::Error::Manifest(lines))) => {
            tally.wrong += 1;
            for line in lines {
                writeln!(io::stderr(), "{}: {line}", file.display())?;
            }
        }
        Err(Failure::Script(error)) => return Err(error).with_context(|| file.display().to_string()),
        Err(Failure::Companion { line, source }) => {
            tally.wrong += 1;
            writeln!(io::stderr(), "{}:{line}: {source}", file.display())?;
        }
    }
    Ok(())
}

fn finish(args: &Args, tally: Tally) -> anyhow::Result<ExitCode> {
    if tally.scripts + tally.wrong == 0 {
        writeln!(
            io::stderr(),
            "lnic: nothing was tested: packet scripts are the files DIR/{}/*.toml",
            script::FOLDER
        )?;
        return Ok(ExitCode::FAILURE);
    }
    if !args.json {
        print::tally(&mut io::stdout().lock(), &tally)?;
    }
    Ok(match tally {
        Tally { wrong: 1.., .. } => ExitCode::from(WRONG),
        Tally { failed: 1.., .. } => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Why a script was not played.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It, or its lambda.
    #[error(transparent)]
    Script(#[from] script::Error),
    /// A lambda beside it.
    #[error("line {line}: {source}")]
    Companion {
        /// Where it is named.
        line: usize,
        /// What is wrong.
        source: SourceError,
    },
}

/// Plays a script, unless the filter has nothing of it; with the milliseconds that it took.
fn one(
    bench: &mut Bench,
    file: &Path,
    prepared: &Prepared,
    args: &Args,
) -> Result<Option<(Report, f64)>, Failure> {
    let script = script::read(file, &prepared.manifest)?;
    let wanted = |name: &str| args.filter.as_ref().is_none_or(|text| name.contains(text.as_str()));
    let whole = wanted(&file.display().to_string());
    if !whole && !script.packets().any(wanted) {
        return Ok(None);
    }
    let companions = companions(&script)?;
    let start = Instant::now();
    let mut report = script::play(bench, &script, &prepared.wasm, &companions, args.verbose)?;
    let took_ms = start.elapsed().as_secs_f64() * 1e3;
    if !whole {
        report.packets.retain(|packet| wanted(&packet.name));
    }
    Ok(Some((report, took_ms)))
}

/// Builds the lambdas that a script names besides.
fn companions(script: &Script) -> Result<Vec<Module>, Failure> {
    let one = |companion: &Companion| {
        let change = |manifest: &mut Manifest| {
            manifest.id = companion.id.or(manifest.id);
            manifest.environment.extend(companion.environment.clone());
            if let Some(name) = &companion.name {
                manifest.name.clone_from(name);
            }
        };
        let prepared = source::prepare(&companion.source, None, None, change)
            .map_err(|source| Failure::Companion { line: companion.line, source })?;
        Ok(Module { manifest: prepared.manifest, wasm: prepared.wasm })
    };
    script.companions().iter().map(one).collect()
}

/// The scripts beside a lambda's code, by name.
fn scripts_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let folder = folder.join(script::FOLDER);
    let mut scripts = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "toml") {
                scripts.push(file);
            }
        }
    }
    scripts.sort();
    Ok(scripts)
}
