//! What NPUs share, on threads of this machine: as it is, and under ThreadSanitizer.
#![allow(missing_docs)]

mod support;

use std::process::Command;

use support::{have_tools, run, sdk};

const FLAGS: [&str; 7] = ["-std=gnu17", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-O2"];

fn compile_and_run(more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("threads");
    let mut clang = Command::new("clang");
    run(clang.args(FLAGS).args(more).arg("-o").arg(&program).arg(sdk().join("tests/threads.c")));
    run(&mut Command::new(program));
}

#[test]
fn shared_maps_and_rings_hold_under_threads() {
    if have_tools() {
        compile_and_run(&["-DROUNDS=100000"]);
    }
}

#[test]
fn shared_maps_and_rings_have_no_races() {
    if have_tools() {
        compile_and_run(&["-fsanitize=thread", "-DROUNDS=10000"]);
    }
}
