//! Rust: cargo compiles the folder's crate to a static library for wasm32, against the SDK of this program's version.
//!
//! The SDK is written to `DIR/.lnic`, where the crate's `lnic-lambda = { path = ".lnic/sdk/rust" }` and editors find it. What the linker has to
//! know besides, the library's objects say by the names of their symbols: see `objects`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{BuildError, Compiled, Optimise, Options, diagnosed, file, run};

mod archive;
mod objects;
mod sdk;
mod toolchain;

pub(super) use toolchain::Toolchain;

/// What makes a folder a crate.
pub(super) const MANIFEST: &str = "Cargo.toml";
const TARGET: &str = "wasm32-unknown-unknown";
/// What the engine runs beyond what all compilers assume. Without `atomics`, atomic operations become plain loads and stores.
const FEATURES: &str =
    "-Ctarget-feature=+simd128,+bulk-memory,+atomics,+mutable-globals,+nontrapping-fptoint";
/// What newer compilers say of these features, though they are what they were.
const UNSTABLE_FEATURE: &str = "warning: unstable feature specified for `-Ctarget-feature`: `atomics`";
/// Of this environment, what would make another compiler, other flags, or another place for the result.
const FORGOTTEN: [&str; 12] = [
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "MAKEFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
];

/// What cargo makes of the crate, in `scratch`.
pub(super) fn compile(
    dir: &Path,
    scratch: &Path,
    options: &Options,
    toolchain: &Toolchain,
) -> Result<Compiled, BuildError> {
    let real = dir.canonicalize().map_err(file("read", dir))?;
    let manifest = real.join(MANIFEST);
    let said = std::fs::read_to_string(&manifest).map_err(file("read", &dir.join(MANIFEST)))?;
    if said.contains(sdk::FOLDER) {
        sdk::write(&real)?;
    }
    let output = run(cargo(&real, options, toolchain).arg("--target-dir").arg(target_folder(
        &real,
        options.rust_cache.as_deref(),
        scratch,
    )))?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut compiled =
        Compiled { warnings: without_unstable_feature(&diagnosed("cargo", output)?), ..Compiled::default() };
    let library = library(&messages, &manifest).ok_or_else(|| BuildError::Crate {
        path: dir.join(MANIFEST),
        reason: "makes no static library: [lib] needs crate-type = [\"staticlib\"]",
    })?;
    objects::unpack(&library, scratch, &mut compiled)?;
    Ok(compiled)
}

/// The command, but for where it compiles to.
fn cargo(dir: &Path, options: &Options, toolchain: &Toolchain) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    command.current_dir(dir).env("RUSTC", &toolchain.rustc);
    for variable in FORGOTTEN {
        command.env_remove(variable);
    }
    command.args(["build", "--lib", "--release", "--quiet", "--target", TARGET]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let level = match options.optimise {
        Optimise::Speed => "3",
        Optimise::Size => "s",
        Optimise::None => "0",
    };
    let lto = if options.optimise == Optimise::None { "off" } else { "fat" };
    let debug = if options.debug { "2" } else { "0" };
    for (key, value) in [
        ("OPT_LEVEL", level),
        ("LTO", lto),
        ("DEBUG", debug),
        ("PANIC", "abort"),
        ("CODEGEN_UNITS", "1"),
        ("INCREMENTAL", "false"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    let mut flags = OsString::from(FEATURES);
    // Of several that fit, the last counts.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let above = dir.parent().filter(|above| above.parent().is_some());
    for (path, name) in [(home.as_deref(), "/cargo"), (above, ".."), (Some(dir), ".")] {
        let Some(path) = path else { continue };
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    command
}

/// A folder of the crate's own in the cache, so that two of the same name do not compile each other's.
fn target_folder(dir: &Path, cache: Option<&Path>, scratch: &Path) -> PathBuf {
    let user = || {
        let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        named
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .map(|cache| cache.join("lnic/rust"))
    };
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    match cache.map(Path::to_path_buf).or_else(user).map(|cache| cache.join(name)) {
        Some(folder) if std::fs::create_dir_all(&folder).is_ok() => folder,
        _ => scratch.join("target"),
    }
}

/// What cargo says of each crate that it has compiled.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The static library of the crate with this manifest.
fn library(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let mut own =
        messages.filter(|message| message.reason == "compiler-artifact" && message.manifest_path == manifest);
    own.find_map(|message| {
        message.filenames.into_iter().find(|file| file.extension() == Some(OsStr::new("a")))
    })
}

/// Without the paragraph about [`FEATURES`] that no author can do anything about.
fn without_unstable_feature(diagnostics: &str) -> String {
    let mut kept = String::with_capacity(diagnostics.len());
    let mut skips = false;
    for line in diagnostics.split_inclusive('\n') {
        skips |= line.starts_with(UNSTABLE_FEATURE);
        if !skips {
            kept.push_str(line);
        }
        // The empty line after a paragraph is a part of it.
        skips &= !line.trim().is_empty();
    }
    if kept.trim().is_empty() { String::new() } else { kept }
}

#[cfg(test)]
mod tests;
