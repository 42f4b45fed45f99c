//! `lnic compile`: the program, and the server that it starts of itself.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A module with the entries `good` and `other`.
fn module(folder: &Path, body: &str) -> PathBuf {
    module_with(folder, body, "")
}

fn module_with(folder: &Path, body: &str, more: &str) -> PathBuf {
    let wasm = wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 1 1)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            (func (export "good") (param i32 i32) (result i32) i32.const 7)
            (func (export "other") (param i32 i32) (result i32) {body})
            {more})"#
    ))
    .unwrap();
    let file = folder.join("lambda.wasm");
    std::fs::write(&file, wasm).unwrap();
    file
}

fn compile(file: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lnic")).arg("compile").arg(file).args(arguments).output().unwrap()
}

#[test]
fn what_came_out_is_said_to_people_and_to_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = module(folder.path(), "i32.const 1");
    let output = compile(&file, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("sha256:"), "{text}");
    for entry in ["good: good; ", "other: good; "] {
        assert!(text.lines().any(|line| line.starts_with(entry)), "{text}");
    }
    let output = compile(&file, &["--json", "--entry", "other"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["digest"], text.split(',').next().unwrap());
    assert_eq!(json["entries"][0]["entry"], "other");
    assert!(json["entries"][0]["inspection"]["code"]["native_bytes"].as_u64().unwrap() > 0);
    let code = folder.path().join("code.o");
    assert!(compile(&file, &["--entry", "good", "--output", code.to_str().unwrap()]).status.success());
    assert!(std::fs::read(code).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn what_cannot_be_deployed_is_named_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = module(folder.path(), "i32.const 1");
    let output = compile(&file, &["--entry", "absent"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("absent: does not export \"absent\""), "{text}");
    std::fs::write(&file, b"no module").unwrap();
    assert_eq!(compile(&file, &[]).status.code(), Some(1));
    assert_eq!(compile(&folder.path().join("absent"), &[]).status.code(), Some(1));
}

/// Functions nearly as long as they may be.
fn heavy(functions: usize) -> String {
    let mut body = String::from("(local $x i64) (local.set $x (i64.extend_i32_u (local.get 0)))");
    for at in 0..2_000 {
        body.push_str(&format!(
            "(if (i64.eqz (i64.and (local.get $x) (i64.const {at})))
                (then (local.set $x (i64.mul (local.get $x) (i64.load offset={at} (i32.const 0))))))"
        ));
    }
    format!("(func (param i32 i32) (result i32) {body} (i32.wrap_i64 (local.get $x)))").repeat(functions)
}

#[test]
fn a_module_that_eats_memory_or_time_in_the_compiler_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = module_with(folder.path(), "i32.const 1", &heavy(60));
    for (limits, expected) in [
        (["--compile-mib=16", "--compile-s=60"], "good: compiling it takes more than 16 MiB of memory"),
        (["--compile-mib=1024", "--compile-s=1"], "good: compiling it takes more than 1 s of CPU time"),
    ] {
        let output = compile(&file, &[&limits[..], &["--entry", "good"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    // Neither limit is met by what is not so much.
    let file = module_with(folder.path(), "i32.const 1", &heavy(1));
    let output = compile(&file, &["--compile-mib=64", "--entry", "good"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_server_whose_owner_is_gone_ends() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_lnic"))
        .args(["compile", "--serve"])
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    drop(ours);
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_server_that_nobody_owns_says_so() {
    let server = Command::new(env!("CARGO_BIN_EXE_lnic"))
        .args(["compile", "--serve"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    // Standard input is no socket: it says so and ends.
    assert_eq!(server.status.code(), Some(1), "{}", String::from_utf8_lossy(&server.stderr));
}
