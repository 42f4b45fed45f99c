//! `lnic build`: a folder of C files, or a crate in Rust, becomes one lambda module that a deployment will accept.
//!
//! A compiler makes objects of it against the SDK, which is part of this program: clang of every `*.c` (`c`), cargo of a folder with a
//! `Cargo.toml` (`rust`). Then all is the same. wasm-ld links twice: once to learn where the data ends, then with a memory of just the pages that data, stack and I/O area need, and with the
//! relocations by which a deployment moves each object to the memory where it belongs. The same sources give the same bytes: no
//! paths or dates are left in the module, and no names but those of its symbols.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::lambda::{Limits, VerifyError, verify};
use layout::Layout;
use serde::Serialize;

/// Bytes of a lambda's stack unless [`Options`] say otherwise.
pub const STACK_BYTES: u32 = 16_384;

/// Bytes of a WebAssembly page.
const PAGE_BYTES: u64 = 65_536;
/// What the compiler optimises for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimise {
    /// Fewest cycles (`-O3`).
    #[default]
    Speed,
    /// Fewest bytes (`-Os`).
    Size,
    /// Nothing (`-O0`): to read what the compiler made.
    None,
}

/// How to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the module goes; `DIR/NAME.wasm` with the folder's name if absent.
    pub output: Option<PathBuf>,
    /// Folder of files that become part of the module; `DIR/content` if absent, and if there is one. For lambdas in C: a crate has
    /// `include_bytes!`.
    pub content: Option<PathBuf>,
    /// What to optimise for.
    pub optimise: Optimise,
    /// Keep names and line tables.
    pub debug: bool,
    /// Bytes of the stack, a multiple of 16.
    pub stack_bytes: u32,
    /// The C compiler; the first of `clang`, `clang-19` … `clang-14` if absent.
    pub clang: Option<OsString>,
    /// The Rust compiler, with its cargo beside it; the first on PATH that compiles for WebAssembly if absent.
    pub rustc: Option<OsString>,
    /// Where cargo keeps what it has compiled, to compile less the next time; the user's cache if absent.
    pub rust_cache: Option<PathBuf>,
    /// The linker; the one that the compiler would use if absent.
    pub wasm_ld: Option<OsString>,
}

impl Options {
    /// With the tools that the environment names: CLANG, RUSTC, WASM_LD.
    #[must_use]
    pub fn from_environment() -> Self {
        let tool = |variable| std::env::var_os(variable).filter(|name| !name.is_empty());
        Self { clang: tool("CLANG"), rustc: tool("RUSTC"), wasm_ld: tool("WASM_LD"), ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            output: None,
            content: None,
            optimise: Optimise::default(),
            debug: false,
            stack_bytes: STACK_BYTES,
            clang: None,
            rustc: None,
            rust_cache: None,
            wasm_ld: None,
        }
    }
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildReport {
    /// The module.
    pub file: PathBuf,
    /// Its bytes.
    pub module_bytes: u64,
    /// Bytes of linear memory: stack, data and the I/O area.
    pub memory_bytes: u64,
    /// Bytes of globals and constants.
    pub data_bytes: u32,
    /// Bytes of stack.
    pub stack_bytes: u32,
    /// Entry functions, in the module's order.
    pub entries: Vec<String>,
    /// The compiler's warnings, as it wrote them.
    #[serde(skip)]
    pub warnings: String,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The files that shall become part of it.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Nothing to compile.
    #[error("{}: neither C files (*.c) nor a crate in Rust (Cargo.toml)", .0.display())]
    NoSources(PathBuf),
    /// No Rust compiler that makes WebAssembly.
    #[error(
        "no Rust compiler for wasm32-unknown-unknown: rustup target add wasm32-unknown-unknown, or on Debian apt-get install cargo rustc \
         libstd-rust-dev-wasm32 lld{tried}"
    )]
    NoRust {
        /// Compilers that cannot, in a sentence.
        tried: String,
    },
    /// The crate is not one that a lambda can be made of.
    #[error("{}: {reason}", path.display())]
    Crate {
        /// Its Cargo.toml.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The stack is not usable.
    #[error("stack of {0} bytes: must be a multiple of 16, from 1024 to 1048576")]
    Stack(u32),
    /// No compiler.
    #[error("{tool} not found: apt-get install clang lld, or name it in the environment variable {variable}")]
    ToolMissing {
        /// What was looked for.
        tool: String,
        /// What names another one.
        variable: &'static str,
    },
    /// A tool did not start.
    #[error("cannot run {tool}: {source}")]
    Tool {
        /// Which.
        tool: String,
        /// Why.
        source: io::Error,
    },
    /// The compiler refused a file, or the linker the objects.
    #[error("{tool} failed:\n{diagnostics}")]
    Diagnosed {
        /// `clang`, `cargo` or `wasm-ld`.
        tool: &'static str,
        /// What it wrote.
        diagnostics: String,
    },
    /// No function is exported as an entry.
    #[error("{}: no entry: define one with {how}", path.display())]
    NoEntry {
        /// The folder.
        path: PathBuf,
        /// How its language does.
        how: &'static str,
    },
    /// The linker's output cannot be read.
    #[error("wasm-ld wrote a module that cannot be read: {0}")]
    Module(String),
    /// A deployment would refuse it.
    #[error("\"{entry}\": {source}")]
    Refused {
        /// Entry that was judged.
        entry: String,
        /// Why.
        source: VerifyError,
    },
}

/// What a compiler made for the linker.
#[derive(Default)]
struct Compiled {
    /// Objects and archives, relative to the scratch folder.
    objects: Vec<PathBuf>,
    /// Functions to export that do not say so themselves.
    exports: Vec<String>,
    /// The compiler's, as it wrote them.
    warnings: String,
}

/// What a folder's code is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C files.
    C,
    /// A crate.
    Rust,
}

impl Language {
    /// By what lies in the folder: a `Cargo.toml` makes it a crate, a `*.c` makes it C. `None` if neither is there.
    pub fn of(dir: &Path) -> io::Result<Option<Self>> {
        if dir.join(rust::MANIFEST).is_file() {
            return Ok(Some(Self::Rust));
        }
        Ok(c::sources(dir)?.first().map(|_| Self::C))
    }

    /// What its SDK has for entries.
    const fn how_to_enter(self) -> &'static str {
        match self {
            Self::C => "LAMBDA(name) of <lnic.h>",
            Self::Rust => "lambda! { fn name(…) … } of lnic-lambda",
        }
    }
}

/// Compiles and links what is in `dir`, and writes the module.
pub fn build(dir: &Path, options: &Options) -> Result<BuildReport, BuildError> {
    if !(1024..=1 << 20).contains(&options.stack_bytes) || !options.stack_bytes.is_multiple_of(16) {
        return Err(BuildError::Stack(options.stack_bytes));
    }
    // Without a trailing slash, so that the prefix in file names can be mapped away.
    let dir: PathBuf = if dir.as_os_str().is_empty() { ".".into() } else { dir.components().collect() };
    let language = Language::of(&dir).map_err(file("read", &dir))?;
    let language = language.ok_or_else(|| BuildError::NoSources(dir.clone()))?;
    let output = match &options.output {
        Some(output) => output.clone(),
        None => default_output(&dir)?,
    };
    let scratch = tempfile::Builder::new()
        .prefix("lnic-build-")
        .tempdir()
        .map_err(file("create", Path::new("a temporary folder")))?;
    let (mut compiled, wasm_ld) = match language {
        Language::C => {
            let clang = c::find(options.clang.as_deref())?;
            let named = options.wasm_ld.clone();
            let wasm_ld = link::checked(named.map_or_else(|| link::of_clang(&clang), Ok)?)?;
            (c::compile(&dir, scratch.path(), options, &clang)?, wasm_ld)
        }
        Language::Rust => {
            if options.content.is_some() {
                let reason = "a crate takes its files in by include_bytes!, and no content";
                return Err(BuildError::Crate { path: dir.join(rust::MANIFEST), reason });
            }
            let toolchain = rust::Toolchain::find(&dir, options.rustc.as_deref())?;
            let wasm_ld = link::checked(options.wasm_ld.clone().unwrap_or_else(|| toolchain.wasm_ld()))?;
            (rust::compile(&dir, scratch.path(), options, &toolchain)?, wasm_ld)
        }
    };

    // The first link has as much memory as a lambda may have at all; the verifier judges everything but that.
    let limits = Limits::default();
    let mut linker = link::Linker::new(&wasm_ld, scratch.path(), options);
    let module = linker.link(&mut compiled, limits.memory_bytes)?;
    let layout = Layout::read(&module)?;
    if layout.entries.is_empty() {
        return Err(BuildError::NoEntry { path: dir, how: language.how_to_enter() });
    }
    judge(&strip::finish(&module, limits.memory_bytes, options.debug)?, &layout.entries, &limits)?;
    // The linker knows whole pages only.
    let module = linker.link(&mut compiled, layout.memory_bytes().next_multiple_of(PAGE_BYTES))?;
    let module = strip::finish(&module, layout.memory_bytes(), options.debug)?;
    judge(&module, &layout.entries, &limits)?;
    write(&output, &module)?;
    Ok(BuildReport {
        file: output,
        module_bytes: module.len() as u64,
        memory_bytes: layout.memory_bytes(),
        data_bytes: layout.heap_base.saturating_sub(layout.stack_top),
        stack_bytes: layout.stack_top,
        entries: layout.entries,
        warnings: compiled.warnings,
    })
}

/// The entries of a module that [`build`] has made, in its order.
pub fn entries(module: &[u8]) -> Result<Vec<String>, BuildError> {
    Layout::read(module).map(|layout| layout.entries)
}

/// Every entry must pass what a deployment asks.
fn judge(module: &[u8], entries: &[String], limits: &Limits) -> Result<(), BuildError> {
    entries.iter().try_for_each(|entry| {
        verify(module, entry, limits)
            .map(|_| ())
            .map_err(|source| BuildError::Refused { entry: entry.clone(), source })
    })
}

fn default_output(dir: &Path) -> Result<PathBuf, BuildError> {
    // "." and ".." have a name too.
    let real = dir.canonicalize().map_err(file("read", dir))?;
    let mut name = real.file_name().unwrap_or(OsStr::new("lambda")).to_os_string();
    name.push(".wasm");
    Ok(dir.join(name))
}

fn run(command: &mut Command) -> Result<Output, BuildError> {
    command
        .output()
        .map_err(|source| BuildError::Tool { tool: command.get_program().display().to_string(), source })
}

fn diagnosed(tool: &'static str, output: Output) -> Result<String, BuildError> {
    let diagnostics = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(diagnostics) } else { Err(BuildError::Diagnosed { tool, diagnostics }) }
}

/// Writes beside the file and renames: a running deployment never reads half a module. What is no regular file (a pipe,
/// `/dev/stdout`) is written to, not replaced; a link's target is.
fn write(output: &Path, module: &[u8]) -> Result<(), BuildError> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    let target = std::fs::canonicalize(output);
    let output = target.as_deref().unwrap_or(output);
    if std::fs::metadata(output).is_ok_and(|found| !found.is_file()) {
        return std::fs::write(output, module).map_err(file("write", output));
    }
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // The usual rights, less the umask; a temporary file has its owner's only.
    builder.prefix(".lnic-build-").permissions(std::fs::Permissions::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder).map_err(file("write", output))?;
    temporary.write_all(module).map_err(file("write", output))?;
    temporary.persist(output).map_err(|error| file("write", output)(error.error))?;
    Ok(())
}

fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_path_buf();
    move |source| BuildError::File { verb, path, source }
}

mod c;
mod content;
mod layout;
mod link;
mod rust;
mod strip;

pub use c::SDK_HEADERS;
pub use content::ContentError;

#[cfg(test)]
mod tests;
