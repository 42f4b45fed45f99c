//! C: clang compiles every `*.c` of a folder against the SDK's headers, which are part of this program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, Compiled, Optimise, Options, content, diagnosed, file, run};

/// The SDK's headers: `lnic.h`, the C side of the ABI, and helpers.
pub const SDK_HEADERS: [(&str, &str); 12] = lnic_sdk_c::HEADERS;

/// Tried in this order if no compiler is named.
const COMPILERS: [&str; 7] =
    ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];
pub(super) const TARGET: &str = "--target=wasm32-unknown-unknown";
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

/// What clang makes of the folder, in `scratch`.
pub(super) fn compile(
    dir: &Path,
    scratch: &Path,
    options: &Options,
    clang: &OsStr,
) -> Result<Compiled, BuildError> {
    let mut sources = sources(dir).map_err(file("read", dir))?;
    let sdk = scratch.join("sdk");
    std::fs::create_dir(&sdk).map_err(file("create", &sdk))?;
    for (name, text) in SDK_HEADERS {
        let header = sdk.join(name);
        std::fs::write(&header, text).map_err(file("write", &header))?;
    }
    sources.extend(content::prepare(dir, options.content.as_deref(), &sdk, scratch)?);
    let mut compiled = Compiled::default();
    for source in &sources {
        let object = Path::new(".").join(source.file_name().unwrap_or_default()).with_extension("o");
        let path = scratch.join(&object);
        compiled.warnings.push_str(&compile_file(clang, dir, source, &path, scratch, options)?);
        compiled.objects.push(object);
    }
    Ok(compiled)
}

/// The folder's C files by name; hidden ones are an editor's.
pub(super) fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let path = dir.join(&name);
        if path.extension() == Some(OsStr::new("c"))
            && !name.as_encoded_bytes().starts_with(b".")
            && path.is_file()
        {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

/// The compiler.
pub(super) fn find(named: Option<&OsStr>) -> Result<OsString, BuildError> {
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

/// Compiles one file; returns the warnings.
fn compile_file(
    clang: &OsStr,
    dir: &Path,
    source: &Path,
    object: &Path,
    scratch: &Path,
    options: &Options,
) -> Result<String, BuildError> {
    let mut command = Command::new(clang);
    command.args(COMPILE_FLAGS).args(WARNING_FLAGS).arg(flag(options.optimise));
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

const fn flag(optimise: Optimise) -> &'static str {
    match optimise {
        Optimise::Speed => "-O3",
        Optimise::Size => "-Os",
        Optimise::None => "-O0",
    }
}
