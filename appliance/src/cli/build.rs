//! `lnic build`: compiles lambdas.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::control::build::{self, BuildError, BuildReport};

/// Compiles the C files, or the crate in Rust, of a folder to a lambda
///
/// Needs clang and lld for C; for Rust lld and a compiler that has the target wasm32-unknown-unknown, rustup's or Debian's, with its cargo.
/// The SDK is part of lnic: for a crate it is written to DIR/.lnic. The environment variables CLANG, RUSTC and WASM_LD name others than
/// those that are found. Exit code 1 if the compiler or the linker finds mistakes, which are printed as they wrote them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with the lambda's C files or its Cargo.toml; several for several lambdas
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// Where the module goes [default: DIR/NAME.wasm with the folder's name]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Folder of files that become part of the module, for lambdas that serve them [default: DIR/content, if there is one]
    #[arg(long, value_name = "FOLDER")]
    pub content: Option<PathBuf>,
    /// What to optimise for
    #[arg(long, value_enum, default_value_t = Optimise::Speed)]
    pub optimise: Optimise,
    /// Keep names and line tables
    #[arg(long)]
    pub debug: bool,
    /// Bytes of the lambda's stack
    #[arg(long, value_name = "BYTES", default_value_t = build::STACK_BYTES)]
    pub stack_bytes: u32,
    /// Print a JSON object per lambda
    #[arg(long)]
    pub json: bool,
}

/// What the compiler optimises for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Optimise {
    /// Fewest cycles
    Speed,
    /// Fewest bytes
    Size,
    /// Nothing
    None,
}

impl From<Optimise> for build::Optimise {
    fn from(optimise: Optimise) -> Self {
        match optimise {
            Optimise::Speed => Self::Speed,
            Optimise::Size => Self::Size,
            Optimise::None => Self::None,
        }
    }
}

/// Builds every folder; stops at the first that fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.output.is_none() || args.dirs.len() == 1,
        "--output names one file: build one folder at a time"
    );
    anyhow::ensure!(
        args.content.is_none() || args.dirs.len() == 1,
        "--content is of one lambda: build one folder at a time"
    );
    let options = build::Options {
        output: args.output.clone(),
        content: args.content.clone(),
        optimise: args.optimise.into(),
        debug: args.debug,
        stack_bytes: args.stack_bytes,
        ..build::Options::from_environment()
    };
    for dir in &args.dirs {
        match build::build(dir, &options) {
            Ok(report) => {
                io::stderr().write_all(report.warnings.as_bytes())?;
                print(&report, args.json)?;
            }
            Err(BuildError::Diagnosed { diagnostics, .. }) => {
                io::stderr().write_all(diagnostics.as_bytes())?;
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &BuildReport, json: bool) -> anyhow::Result<()> {
    let text = if json {
        format!("{}\n", serde_json::to_string(report).context("report")?)
    } else {
        format!(
            "{}\n  entries  {}\n  module   {} bytes\n  memory   {} bytes\n  data     {} bytes\n  stack    {} bytes\n",
            report.file.display(),
            report.entries.join(", "),
            report.module_bytes,
            report.memory_bytes,
            report.data_bytes,
            report.stack_bytes,
        )
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
