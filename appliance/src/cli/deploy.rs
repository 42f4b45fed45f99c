//! `lnic deploy`: lambdas onto a running appliance, new or as an upgrade.
//!
//! Everything that can be wrong here is found before anything is deployed: all sources are built and all manifests read first.

mod settings;
pub(super) mod source;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::connection::{Connection, block_on};
use super::name::InNamespace;
use super::progress::Progress;
use super::table::{json_line, plain, short};
use crate::control::build::BuildError;
use crate::control::client::{Client, DeployRequest, Error};
use crate::control::config;
use crate::control::plane::{Lambda, LambdaKey, Manifest};
use source::{Prepared, SourceError};

/// Exit code: a manifest or a setting is wrong.
const WRONG: u8 = 2;

/// Deploy lambdas, or new generations of them, while packets flow
///
/// A folder with C files is built first; one without has a single module. lambda.toml beside the code says the rest, as far as it is not
/// the default; configs/lambda.toml explains every key. Several folders are deployed one after the other, once all of them are built
/// and their manifests read.
/// Exit code 1 if something does not build or the appliance refuses it, 2 if a manifest is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with C files or a module, or a module
    #[arg(value_name = "DIR|FILE.wasm", required = true)]
    sources: Vec<PathBuf>,
    /// Name of the lambda [default: the manifest's, or that of the folder or file]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    namespace: InNamespace,
    /// Manifest [default: lambda.toml beside the code, if there is one]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Folder of files that become part of the module [default: DIR/content, if there is one]
    #[arg(long, value_name = "FOLDER")]
    content: Option<PathBuf>,
    /// A key of the manifest, such as weight=4 or environment.GREETING=hello; several for several keys
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// NPUs that run it at once; 0 lets it sleep until a request comes
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Only as an upgrade: it must be there already
    #[arg(long, conflicts_with = "new")]
    existing: bool,
    /// Only as a new one: it must not be there
    #[arg(long)]
    new: bool,
    /// Build and judge, and print what would be deployed; the appliance is not asked
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object per lambda
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What came of a deployment.
#[derive(Serialize)]
struct Deployed<'a> {
    #[serde(flatten)]
    lambda: &'a Lambda,
    module: String,
    /// The appliance did not have the module.
    uploaded: bool,
    took_ms: f64,
}

/// What would be deployed.
#[derive(Serialize)]
struct Planned<'a> {
    namespace: &'a str,
    module: String,
    module_bytes: usize,
    manifest: &'a Manifest,
}

/// Runs `lnic deploy`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.sources.len() > 1 {
        anyhow::ensure!(args.name.is_none(), "--name names one lambda: deploy one folder at a time");
        anyhow::ensure!(args.manifest.is_none(), "--manifest is of one lambda: deploy one folder at a time");
        anyhow::ensure!(args.content.is_none(), "--content is of one lambda: deploy one folder at a time");
    }
    let progress = Progress::new(!args.json);
    let mut prepared = Vec::new();
    for path in &args.sources {
        progress.step(format!("building {}", path.display()));
        match prepare(path, args) {
            Ok(ready) => {
                progress.aside(|| io::stderr().write_all(ready.warnings.as_bytes()))?;
                prepared.push(ready);
            }
            Err(error) => {
                drop(progress);
                return refuse(error);
            }
        }
    }
    let mut out = io::stdout().lock();
    if args.dry_run {
        drop(progress);
        for ready in &prepared {
            plan(&mut out, ready, args)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let client = args.connection.client()?;
    block_on(async {
        for ready in &prepared {
            let name = &ready.manifest.name;
            progress.step(format!("deploying {name}"));
            let start = Instant::now();
            let (lambda, uploaded) = deploy(&client, ready, args).await?;
            let took = start.elapsed();
            progress.aside(|| print(&mut out, &lambda, ready, uploaded, took, args.json))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn prepare(path: &std::path::Path, args: &Args) -> Result<Prepared, SourceError> {
    let set = settings::parse(&args.set).map_err(SourceError::Settings)?;
    source::prepare(path, args.manifest.as_deref(), args.content.as_deref(), |manifest| {
        settings::apply(manifest, &set);
        manifest.replicas = args.replicas.or(manifest.replicas);
        if let Some(name) = &args.name {
            manifest.name.clone_from(name);
        }
    })
}

/// Prints what is wrong with a source, and says how the process exits.
pub(super) fn refuse(error: SourceError) -> anyhow::Result<ExitCode> {
    let mut stderr = io::stderr();
    match error {
        SourceError::Build(BuildError::Diagnosed { diagnostics, .. }) => {
            stderr.write_all(diagnostics.as_bytes())?;
            Ok(ExitCode::FAILURE)
        }
        SourceError::Manifest(error @ config::Error::Invalid { .. }) => {
            writeln!(stderr, "{error}")?;
            Ok(ExitCode::from(WRONG))
        }
        SourceError::Settings(lines) | SourceError::Wrong(lines) => {
            for line in lines {
                writeln!(stderr, "lnic: {line}")?;
            }
            Ok(ExitCode::from(WRONG))
        }
        error => Err(error.into()),
    }
}

/// Uploads what the appliance does not have, and deploys it. Whether it had to be uploaded.
async fn deploy(client: &Client, ready: &Prepared, args: &Args) -> Result<(Lambda, bool), Error> {
    let namespace = args.namespace.name();
    let existing = if args.existing { Some(true) } else { args.new.then_some(false) };
    let digest = ready.digest.to_string();
    // Who may deploy in one namespace may not see all modules; then it is sent once more.
    let known = client.modules().await.is_ok_and(|all| all.iter().any(|module| module.digest == digest));
    let request = DeployRequest { manifest: &ready.manifest, module: ready.digest, image: &ready.image };
    if known {
        match client.deploy(namespace, &request, existing).await {
            // Nothing named it, and it was collected in between; or what is not there is something else, which is said again.
            Err(error) if error.is_not_found() => {}
            result => return Ok((result?, false)),
        }
    }
    client.upload(ready.wasm.clone().into()).await?;
    Ok((client.deploy(namespace, &request, existing).await?, true))
}

fn plan(out: &mut impl Write, ready: &Prepared, args: &Args) -> anyhow::Result<()> {
    let namespace = args.namespace.name();
    let (module, module_bytes) = (ready.digest.to_string(), ready.wasm.len());
    if args.json {
        json_line(out, &Planned { namespace, module, module_bytes, manifest: &ready.manifest })?;
        return Ok(());
    }
    let key = LambdaKey::new(namespace, &ready.manifest.name);
    writeln!(out, "# {key}: {module}, {module_bytes} bytes, of {}", ready.image)?;
    writeln!(out, "{}", toml::to_string(&ready.manifest)?)?;
    Ok(())
}

fn print(
    out: &mut impl Write,
    lambda: &Lambda,
    ready: &Prepared,
    uploaded: bool,
    took: Duration,
    json: bool,
) -> io::Result<()> {
    let module = ready.digest.to_string();
    if json {
        let took_ms = took.as_secs_f64() * 1e3;
        return json_line(out, &Deployed { lambda, module, uploaded, took_ms });
    }
    let key = &lambda.key;
    write!(out, "{key}: generation {}, ID {}, {}", lambda.generation, lambda.id, short(&module))?;
    match lambda.available_replicas {
        0 => write!(out, ", asleep until a request comes")?,
        1 => write!(out, ", on 1 NPU")?,
        npus => write!(out, ", on {npus} NPUs")?,
    }
    writeln!(out, ", in {:.0} ms", took.as_secs_f64() * 1e3)?;
    if let Some(problem) = &lambda.problem {
        writeln!(out, "  but: {}", plain(problem))?;
    }
    writeln!(out, "  try it: lnic invoke {key} --data hello")
}

#[cfg(test)]
mod tests;
