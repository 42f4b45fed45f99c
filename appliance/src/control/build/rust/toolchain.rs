//! Which Rust compiler there is for WebAssembly.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::BuildError;
use super::TARGET;

/// Where Debian has its own, whatever else is on PATH.
const SYSTEM: &str = "/usr/bin";

/// A compiler that has the target's library, with its cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Toolchain {
    /// The compiler.
    pub(super) rustc: PathBuf,
    /// cargo of the same folder: a newer one may ask the compiler for what it does not know.
    pub(super) cargo: PathBuf,
    /// The target's libraries.
    libraries: PathBuf,
}

impl Toolchain {
    /// The one that is `named`, or the first on PATH. `dir` may say by `rust-toolchain.toml` which of rustup's toolchains it wants.
    pub(in super::super) fn find(dir: &Path, named: Option<&OsStr>) -> Result<Self, BuildError> {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":");
        path.push(SYSTEM);
        Self::find_on(dir, named, &path)
    }

    pub(super) fn find_on(dir: &Path, named: Option<&OsStr>, path: &OsStr) -> Result<Self, BuildError> {
        let folders = || std::env::split_paths(path);
        let candidates: Vec<PathBuf> = match named {
            Some(named) if Path::new(named).components().count() > 1 => vec![named.into()],
            Some(named) => folders().map(|folder| folder.join(named)).collect(),
            None => folders().map(|folder| folder.join("rustc")).collect(),
        };
        let mut seen = HashSet::new();
        let mut tried = Vec::new();
        for rustc in candidates {
            // The same one under two names need not be asked twice.
            let Ok(real) = rustc.canonicalize() else { continue };
            let cargo = rustc.with_file_name("cargo");
            if !seen.insert((real, cargo.is_file())) {
                continue;
            }
            match libraries(&rustc, dir) {
                Some(libraries) if cargo.is_file() => return Ok(Self { rustc, cargo, libraries }),
                _ => tried.push(rustc.display().to_string()),
            }
        }
        let tried = match named {
            _ if !tried.is_empty() => format!("; {} cannot, or has no cargo beside it", tried.join(", ")),
            Some(named) => format!("; {} is not there", named.display()),
            None => String::new(),
        };
        Err(BuildError::NoRust { tried })
    }

    /// The linker that came with the compiler, which knows what the compiler writes; else the system's.
    pub(in super::super) fn wasm_ld(&self) -> OsString {
        self.own_wasm_ld().map_or_else(|| "wasm-ld".into(), PathBuf::into_os_string)
    }

    /// `lib/rustlib/HOST/bin/gcc-ld/wasm-ld`, beside `lib/rustlib/TARGET/lib`.
    fn own_wasm_ld(&self) -> Option<PathBuf> {
        let hosts = std::fs::read_dir(self.libraries.parent()?.parent()?).ok()?;
        hosts
            .filter_map(Result::ok)
            .map(|host| host.path().join("bin/gcc-ld/wasm-ld"))
            .find(|linker| linker.is_file())
    }
}

/// Where the compiler has the target's `core`; `None` if it does not.
fn libraries(rustc: &Path, dir: &Path) -> Option<PathBuf> {
    let printed = Command::new(rustc)
        .current_dir(dir)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .ok()?;
    let folder = PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim());
    let mut files = std::fs::read_dir(&folder).ok()?.filter_map(Result::ok);
    files.any(|file| file.file_name().as_encoded_bytes().starts_with(b"libcore-")).then_some(folder)
}
