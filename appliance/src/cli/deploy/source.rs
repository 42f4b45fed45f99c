//! What is to be deployed: a module, built if need be, and the manifest beside it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::control::build::{self, BuildError};
use crate::control::plane::{Digest, Manifest};
use crate::control::{config, manifest};
use crate::lambda::{Limits, VerifyError, verify};

/// A lambda, ready to be sent.
#[derive(Debug)]
pub(in crate::cli) struct Prepared {
    /// What its author says, with a name and an entry.
    pub(in crate::cli) manifest: Manifest,
    /// Its code.
    pub(in crate::cli) wasm: Vec<u8>,
    /// The code's name.
    pub(in crate::cli) digest: Digest,
    /// Where it came from, for people.
    pub(in crate::cli) image: String,
    /// The compiler's, as it wrote them.
    pub(in crate::cli) warnings: String,
}

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum SourceError {
    /// A file or folder.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Neither a folder nor a module.
    #[error("{}: deploy a folder with C files, a crate in Rust or a module, or a .wasm file", .0.display())]
    Kind(PathBuf),
    /// No code in a folder.
    #[error("{}: neither C files (*.c), a crate in Rust (Cargo.toml) nor a module (*.wasm)", .0.display())]
    NoCode(PathBuf),
    /// Files for a module that is built already.
    #[error("{}: is built already: --content is for folders with C files", .0.display())]
    Content(PathBuf),
    /// Too much of it.
    #[error("{}: has several modules ({names}): name one of them", path.display())]
    Several {
        /// The folder.
        path: PathBuf,
        /// Its modules.
        names: String,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(config::Error),
    /// The code does not build.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The module is none, or no lambda.
    #[error("{}: {reason}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `--set`: a line for each mistake.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// The manifest and the command line together: a line for each mistake.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
}

/// Code, and where it was.
struct Code {
    wasm: Vec<u8>,
    /// For messages and as the image's name.
    path: PathBuf,
    /// The folder's or the file's.
    name: String,
    warnings: String,
}

/// Builds or reads what is at `path`, reads its manifest, and lets `change` have its way with that before it is judged.
pub(in crate::cli) fn prepare(
    path: &Path,
    named_manifest: Option<&Path>,
    content: Option<&Path>,
    change: impl FnOnce(&mut Manifest),
) -> Result<Prepared, SourceError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| SourceError::Read { path: path.into(), source })?;
    let folder = if metadata.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    // Mistakes in a manifest are told before a compiler takes its time.
    let beside = folder.join(manifest::FILE);
    let mut said = match named_manifest {
        Some(named) => manifest::read(named).map_err(SourceError::Manifest)?,
        None if beside.is_file() => manifest::read(&beside).map_err(SourceError::Manifest)?,
        None => Manifest::default(),
    };
    change(&mut said);
    let code = if metadata.is_dir() { of_folder(path, content)? } else { of_file(path, content)? };
    if said.name.is_empty() {
        said.name = code.name.replace('_', "-");
    }
    manifest::check(&said).map_err(SourceError::Wrong)?;
    judge(&code, &mut said)?;
    let digest = Digest::of(&code.wasm);
    // "." says nothing to others.
    let image = code.path.file_name().map_or_else(|| code.name.clone(), |_| code.path.display().to_string());
    Ok(Prepared { manifest: said, wasm: code.wasm, digest, image, warnings: code.warnings })
}

fn of_folder(path: &Path, content: Option<&Path>) -> Result<Code, SourceError> {
    let failed = |source| SourceError::Read { path: path.into(), source };
    let name = path.canonicalize().map_err(failed)?.file_name().map(lossy).unwrap_or_default();
    if build::Language::of(path).map_err(failed)?.is_some() {
        return built(path, content, name);
    }
    let mut modules = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension() == Some(OsStr::new("wasm")) {
            modules.push(file);
        }
    }
    modules.sort();
    match modules.as_slice() {
        [] => Err(SourceError::NoCode(path.into())),
        [module] => Ok(Code { name, ..of_file(module, content)? }),
        several => {
            let names: Vec<String> = several.iter().filter_map(|file| file.file_name().map(lossy)).collect();
            Err(SourceError::Several { path: path.into(), names: names.join(", ") })
        }
    }
}

/// Builds beside the folder's own files: what is deployed leaves nothing behind.
fn built(path: &Path, content: Option<&Path>, name: String) -> Result<Code, SourceError> {
    let failed = |source| SourceError::Read { path: path.into(), source };
    let folder = tempfile::tempdir().map_err(failed)?;
    let output = folder.path().join("lambda.wasm");
    let options = build::Options {
        output: Some(output.clone()),
        content: content.map(Path::to_path_buf),
        ..build::Options::from_environment()
    };
    let report = build::build(path, &options)?;
    let wasm = std::fs::read(&output).map_err(failed)?;
    Ok(Code { wasm, path: path.into(), name, warnings: report.warnings })
}

fn of_file(path: &Path, content: Option<&Path>) -> Result<Code, SourceError> {
    if content.is_some() {
        return Err(SourceError::Content(path.into()));
    }
    if path.extension().is_none_or(|extension| extension != "wasm") {
        return Err(SourceError::Kind(path.into()));
    }
    let wasm = std::fs::read(path).map_err(|source| SourceError::Read { path: path.into(), source })?;
    let name = path.file_stem().map(lossy).unwrap_or_default();
    Ok(Code { wasm, path: path.into(), name, warnings: String::new() })
}

/// What the appliance would refuse anyhow. A module with one entry need not have it named.
fn judge(code: &Code, manifest: &mut Manifest) -> Result<(), SourceError> {
    let wrong = |reason: String| SourceError::Module { path: code.path.clone(), reason };
    let refused = |entry: &str, error: VerifyError| wrong(format!("\"{entry}\": {error}"));
    let verify = |entry: &str| verify(&code.wasm, entry, &Limits::default());
    if let Some(entry) = &manifest.entry {
        return verify(entry).map(drop).map_err(|error| refused(entry, error));
    }
    let default = manifest.name.replace('-', "_");
    let Err(error) = verify(&default) else { return Ok(()) };
    // Another entry may be meant.
    let Ok(entries) = build::entries(&code.wasm) else { return Err(refused(&default, error)) };
    match entries.as_slice() {
        [] => Err(wrong(
            "has no entry: define one with LAMBDA(name) of <lnic.h>, or lambda! of lnic-lambda".into(),
        )),
        entries if entries.contains(&default) => Err(refused(&default, error)),
        [only] => {
            verify(only).map_err(|error| refused(only, error))?;
            manifest.entry = Some(only.clone());
            Ok(())
        }
        several => {
            let several = several.join(", ");
            Err(wrong(format!("has several entries ({several}): name one with --set entry=NAME")))
        }
    }
}

fn lossy(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}
