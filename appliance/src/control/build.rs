//! `lnic build`: a folder of C files becomes one lambda module that a deployment will accept.
//!
//! clang compiles every `*.c` of the folder against the SDK's headers, which are part of this program. wasm-ld links twice:
//! once to learn where the data ends, then with a memory of just the pages that data, stack and I/O area need, and with the
//! relocations by which a deployment moves each object to the memory where it belongs. The same sources give the same bytes: no
//! paths or dates are left in the module, and no names but those of its symbols.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::lambda::{Limits, VerifyError, verify};
use layout::Layout;
use lnic_abi as abi;
use serde::Serialize;

/// The SDK's headers: `lambda.h`, the C side of the ABI, and helpers.
pub const SDK_HEADERS: [(&str, &str); 2] = [
    ("lambda.h", include_str!("../../../lambdas/sdk/lambda.h")),
    ("lambda_simd.h", include_str!("../../../lambdas/sdk/lambda_simd.h")),
];
/// Bytes of a lambda's stack unless [`Options`] say otherwise.
pub const STACK_BYTES: u32 = 16_384;

/// Bytes of a WebAssembly page.
const PAGE_BYTES: u64 = 65_536;
/// Tried in this order if no compiler is named.
const COMPILERS: [&str; 7] =
    ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];
const TARGET: &str = "--target=wasm32-unknown-unknown";
/// The language and the machine: what the engine runs, and nothing of the host's C library.
const COMPILE_FLAGS: [&str; 12] = [
    TARGET,
    "-std=gnu17",
    "-ffreestanding",
    "-nostdlibinc",
    "-fvisibility=hidden",
    "-fno-ident",
    "-msimd128",
    "-mbulk-memory",
    // Without, __atomic_fetch_add and its like become plain loads and stores.
    "-matomics",
    "-msign-ext",
    "-mnontrapping-fptoint",
    "-mmutable-globals",
];
/// Warnings; those that are always mistakes, or would make the output differ from day to day, are errors.
const WARNING_FLAGS: [&str; 7] = [
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion",
    "-Werror=return-type",
    "-Werror=date-time",
];

/// Said of a module without relocations.
const UNMOVABLE: &str = "warning: wasm-ld cannot keep relocations: all objects stay where they are. Does the code take the \
                         address of __heap_base, __data_end or another symbol of the linker's?\n";

/// What the linker leaves in a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Nothing,
    /// Its symbols, and where their addresses are.
    Relocations,
}

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

impl Optimise {
    const fn flag(self) -> &'static str {
        match self {
            Self::Speed => "-O3",
            Self::Size => "-Os",
            Self::None => "-O0",
        }
    }
}

/// How to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the module goes; `DIR/NAME.wasm` with the folder's name if absent.
    pub output: Option<PathBuf>,
    /// What to optimise for.
    pub optimise: Optimise,
    /// Keep names and line tables.
    pub debug: bool,
    /// Bytes of the stack, a multiple of 16.
    pub stack_bytes: u32,
    /// The compiler; the first of `clang`, `clang-19` … `clang-14` if absent.
    pub clang: Option<OsString>,
    /// The linker; the one that the compiler would use if absent.
    pub wasm_ld: Option<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            output: None,
            optimise: Optimise::default(),
            debug: false,
            stack_bytes: STACK_BYTES,
            clang: None,
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
    /// Nothing to compile.
    #[error("{}: no C files (*.c)", .0.display())]
    NoSources(PathBuf),
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
        /// `clang` or `wasm-ld`.
        tool: &'static str,
        /// What it wrote.
        diagnostics: String,
    },
    /// No function is exported as an entry.
    #[error("{}: no entry: define one with LAMBDA(name) of <lambda.h>", .0.display())]
    NoEntry(PathBuf),
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

/// Compiles and links the C files of `dir`, and writes the module.
pub fn build(dir: &Path, options: &Options) -> Result<BuildReport, BuildError> {
    if !(1024..=1 << 20).contains(&options.stack_bytes) || !options.stack_bytes.is_multiple_of(16) {
        return Err(BuildError::Stack(options.stack_bytes));
    }
    // Without a trailing slash, so that the prefix in file names can be mapped away.
    let dir: PathBuf = if dir.as_os_str().is_empty() { ".".into() } else { dir.components().collect() };
    let sources = sources(&dir)?;
    let output = match &options.output {
        Some(output) => output.clone(),
        None => default_output(&dir)?,
    };
    let clang = find_clang(options.clang.as_deref())?;
    let wasm_ld = find_wasm_ld(options.wasm_ld.as_deref(), &clang)?;
    let scratch = tempfile::Builder::new()
        .prefix("lnic-build-")
        .tempdir()
        .map_err(file("create", Path::new("a temporary folder")))?;

    let mut warnings = String::new();
    let mut objects = Vec::with_capacity(sources.len());
    let sdk = scratch.path().join("sdk");
    std::fs::create_dir(&sdk).map_err(file("create", &sdk))?;
    for (name, text) in SDK_HEADERS {
        let header = sdk.join(name);
        std::fs::write(&header, text).map_err(file("write", &header))?;
    }
    for source in &sources {
        let object = Path::new(".").join(source.file_name().unwrap_or_default()).with_extension("o");
        warnings.push_str(&compile(
            &clang,
            &dir,
            source,
            &scratch.path().join(&object),
            scratch.path(),
            options,
        )?);
        objects.push(object);
    }

    // The first link has as much memory as a lambda may have at all; the verifier judges everything but that.
    let limits = Limits::default();
    let mut keeps = Keeps::Relocations;
    let mut linked_with = |memory_bytes: u64| {
        let mut linked = link(&wasm_ld, scratch.path(), &objects, memory_bytes, keeps, options);
        if keeps == Keeps::Relocations && matches!(linked, Err(BuildError::Diagnosed { .. })) {
            // The linker of LLVM 14 cannot keep the relocation of an address of its own; if it is not that, it fails again.
            linked = link(&wasm_ld, scratch.path(), &objects, memory_bytes, Keeps::Nothing, options);
            if linked.is_ok() {
                keeps = Keeps::Nothing;
                warnings.push_str(UNMOVABLE);
            }
        }
        linked
    };
    let module = linked_with(limits.memory_bytes)?;
    let layout = Layout::read(&module)?;
    if layout.entries.is_empty() {
        return Err(BuildError::NoEntry(dir));
    }
    judge(&strip::finish(&module, limits.memory_bytes, options.debug)?, &layout.entries, &limits)?;
    // The linker knows whole pages only.
    let module = linked_with(layout.memory_bytes().next_multiple_of(PAGE_BYTES))?;
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
        warnings,
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

/// The folder's C files by name; hidden ones are an editor's.
fn sources(dir: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(file("read", dir))? {
        let name = entry.map_err(file("read", dir))?.file_name();
        let path = dir.join(&name);
        if path.extension() == Some(OsStr::new("c"))
            && !name.as_encoded_bytes().starts_with(b".")
            && path.is_file()
        {
            sources.push(path);
        }
    }
    if sources.is_empty() {
        return Err(BuildError::NoSources(dir.into()));
    }
    sources.sort();
    Ok(sources)
}

fn default_output(dir: &Path) -> Result<PathBuf, BuildError> {
    // "." and ".." have a name too.
    let real = dir.canonicalize().map_err(file("read", dir))?;
    let mut name = real.file_name().unwrap_or(OsStr::new("lambda")).to_os_string();
    name.push(".wasm");
    Ok(dir.join(name))
}

fn find_clang(named: Option<&OsStr>) -> Result<OsString, BuildError> {
    let candidates = match named {
        Some(named) => vec![named],
        None => COMPILERS.iter().map(OsStr::new).collect(),
    };
    for candidate in &candidates {
        match Command::new(candidate).arg("--version").output() {
            Ok(version) if version.status.success() => return Ok(candidate.into()),
            Ok(version) => {
                let source = io::Error::other(format!("--version ended with {}", version.status));
                return Err(BuildError::Tool { tool: candidate.display().to_string(), source });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(BuildError::Tool { tool: candidate.display().to_string(), source }),
        }
    }
    Err(BuildError::ToolMissing { tool: candidates[0].display().to_string(), variable: "CLANG" })
}

fn find_wasm_ld(named: Option<&OsStr>, clang: &OsStr) -> Result<OsString, BuildError> {
    let wasm_ld = match named {
        Some(named) => named.into(),
        // The linker of the compiler's own version; its bare name if there is none.
        None => {
            let printed = run(Command::new(clang).args([TARGET, "-print-prog-name=wasm-ld"]))?.stdout;
            OsString::from(String::from_utf8_lossy(&printed).trim())
        }
    };
    match Command::new(&wasm_ld).arg("--version").output() {
        Ok(_) => Ok(wasm_ld),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BuildError::ToolMissing { tool: wasm_ld.display().to_string(), variable: "WASM_LD" })
        }
        Err(source) => Err(BuildError::Tool { tool: wasm_ld.display().to_string(), source }),
    }
}

/// Compiles one file; returns the warnings.
fn compile(
    clang: &OsStr,
    dir: &Path,
    source: &Path,
    object: &Path,
    scratch: &Path,
    options: &Options,
) -> Result<String, BuildError> {
    let mut command = Command::new(clang);
    command.args(COMPILE_FLAGS).args(WARNING_FLAGS).arg(options.optimise.flag());
    if options.debug {
        command.args(["-g", "-fdebug-compilation-dir=."]);
    }
    command.arg("-isystem").arg(scratch.join("sdk"));
    for (path, name) in [(dir, "."), (scratch, "/lnic")] {
        let mut map = OsString::from("-ffile-prefix-map=");
        map.push(path);
        map.push("=");
        map.push(name);
        command.arg(map);
    }
    command.arg("-c").arg("-o").arg(object).arg("--").arg(source);
    // Would bring in the host's headers.
    command.env_remove("CPATH").env_remove("C_INCLUDE_PATH");
    diagnosed("clang", run(&mut command)?)
}

/// Links with a memory of exactly `memory_bytes`; returns the module.
fn link(
    wasm_ld: &OsStr,
    scratch: &Path,
    objects: &[PathBuf],
    memory_bytes: u64,
    keeps: Keeps,
    options: &Options,
) -> Result<Vec<u8>, BuildError> {
    let mut command = Command::new(wasm_ld);
    command.args(["--no-entry", "--stack-first", "--fatal-warnings", "-O2", "-z"]);
    command.arg(format!("stack-size={}", options.stack_bytes));
    command.arg(format!("--initial-memory={memory_bytes}")).arg(format!("--max-memory={memory_bytes}"));
    for name in [abi::EXPORT_HEAP_BASE, abi::EXPORT_DATA_END, abi::EXPORT_STACK_POINTER] {
        command.arg(format!("--export={name}"));
    }
    if keeps == Keeps::Relocations {
        command.arg("--emit-relocs");
    }
    // Relative names: the linker's messages then say `echo.o`.
    command.args(["-o", "module.wasm"]).args(objects).current_dir(scratch);
    diagnosed("wasm-ld", run(&mut command)?)?;
    let module = scratch.join("module.wasm");
    std::fs::read(&module).map_err(file("read", &module))
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

mod layout;
mod strip;

#[cfg(test)]
mod tests;
