//! The tools that `lnic build` runs, with the same flags.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const COMPILE_FLAGS: [&str; 12] = [
    "--target=wasm32-unknown-unknown",
    "-std=gnu17",
    "-ffreestanding",
    "-nostdlibinc",
    "-fvisibility=hidden",
    "-fno-ident",
    "-msimd128",
    "-mbulk-memory",
    "-msign-ext",
    "-mnontrapping-fptoint",
    "-mmutable-globals",
    "-w",
];
const LINK_FLAGS: [&str; 11] = [
    "--no-entry",
    "--stack-first",
    "--fatal-warnings",
    "-O2",
    "-z",
    "stack-size=16384",
    "--initial-memory=16777216",
    "--max-memory=16777216",
    "--export=__heap_base",
    "--export=__data_end",
    "--export=__stack_pointer",
];

/// True if the tools are there. Without them tests are skipped, and say so; where the environment says `CI` they fail instead.
pub(crate) fn have_tools() -> bool {
    let starts = |tool: &str| {
        let mut command = Command::new(tool);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = ["clang", "wasm-ld"].into_iter().filter(|tool| !starts(tool)).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "not found: {missing:?}");
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: no {missing:?}\n"));
    }
    missing.is_empty()
}

/// Sources of the repository's lambdas.
pub(crate) fn lambdas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambdas")
}

/// Compiles one file and links it, relocations kept.
pub(crate) fn build(source: &Path, folder: &Path, level: &str) -> Vec<u8> {
    let stem = source.file_stem().unwrap().to_str().unwrap();
    let object = folder.join(format!("{stem}{level}.o"));
    let module = folder.join(format!("{stem}{level}.wasm"));
    let mut clang = Command::new("clang");
    clang.args(COMPILE_FLAGS).arg(level).arg("-isystem").arg(lambdas().join("sdk/c"));
    run(clang.arg("-c").arg("-o").arg(&object).arg(source));
    let mut wasm_ld = Command::new("wasm-ld");
    run(wasm_ld.args(LINK_FLAGS).arg("--emit-relocs").arg("-o").arg(&module).arg(&object));
    std::fs::read(&module).unwrap()
}

/// The same from text.
pub(crate) fn build_text(text: &str, level: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.c");
    std::fs::write(&source, text).unwrap();
    build(&source, folder.path(), level)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}
