//! Who may import whom: ARCHITECTURE.md's rules, read from the `use` lines and paths of the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the appliance may use of the others. A module that is not here is a new station: give it its line.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("ids", &[][..]),
        ("frame", &["ids"]),
        ("observe", &["ids"]),
        ("port", &["ids", "frame", "observe"]),
        ("parser", &["ids", "frame", "observe"]),
        ("local", &["ids", "frame", "observe", "parser"]),
        ("message", &["ids", "frame", "observe", "parser"]),
        ("matcher", &["ids", "frame", "observe", "parser"]),
        ("memory", &["ids"]),
        ("outside", &["ids", "frame", "observe", "parser"]),
        ("lambda", &["ids", "frame", "observe", "parser", "memory", "outside"]),
        ("island", &["ids", "frame", "observe", "parser", "message", "matcher", "outside", "lambda"]),
        ("dispatcher", &["ids"]),
        ("handoff", &["ids", "frame", "observe", "parser", "message", "matcher", "outside", "island"]),
        ("deparser", &["ids", "frame", "observe", "parser", "matcher"]),
        (
            "path",
            &[
                "ids",
                "frame",
                "observe",
                "port",
                "parser",
                "local",
                "message",
                "matcher",
                "outside",
                "lambda",
                "island",
                "deparser",
                "dispatcher",
                "handoff",
            ],
        ),
        ("breath", &["ids", "frame", "observe", "handoff", "path"]),
        (
            "control",
            &[
                "ids",
                "frame",
                "observe",
                "port",
                "parser",
                "message",
                "matcher",
                "dispatcher",
                "handoff",
                "memory",
                "outside",
                "lambda",
                "island",
                "path",
                "breath",
            ],
        ),
        ("cli", &["ids", "matcher", "memory", "lambda", "control"]),
    ])
}

/// Outside crates that only some modules may name, or single files. `message/copy/dma.rs`: what a DMA engine reads and writes is DPDK's
/// buffers and memory; the station's other files know its trait only.
fn crate_owners() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("dpdk_bindings", &["port", "handoff", "control", "message/copy/dma.rs"]),
        // What is kept is control's business.
        ("lnic_registry", &["control", "cli"]),
        ("serde", &["control", "cli"]),
        ("serde_json", &["control", "cli"]),
        ("toml", &["control", "cli"]),
        ("tokio", &["control", "cli"]),
        ("axum", &["control"]),
        ("hyper", &["control"]),
        ("tracing", &["control", "cli"]),
        ("wasmtime", &["lambda"]),
        ("memmap2", &["memory"]),
        ("lnic_client", &["cli"]),
    ]
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("source folder").map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names that follow `prefix` in the code, comments excluded: `crate::a::b` and `crate::{a, b}` give a and b.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(word(std::mem::take(&mut item).trim_start())),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            names.push(word(item.trim_start()));
        } else {
            names.push(word(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The code without comments and without its test module, whose imports are free.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("source file");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_follow_the_architecture() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "{} files", files.len());
    let (allowed, owners) = (allowed(), crate_owners());
    let mut broken = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&root).unwrap();
        let name = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = name.trim_end_matches(".rs");
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if ["lib", "main"].contains(&module) || ["tests", "hostile", "properties"].contains(&stem) {
            continue;
        }
        let Some(may) = allowed.get(module) else {
            broken.push(format!("{}: module `{module}` has no line in this test", relative.display()));
            continue;
        };
        let code = code_of(file);
        for used in names_after(&code, "crate::") {
            if used != module && allowed.contains_key(used.as_str()) && !may.contains(&used.as_str()) {
                broken.push(format!("{}: `{module}` may not use `{used}`", relative.display()));
            }
        }
        for (outside, who) in &owners {
            if !names_after(&code, &format!("{outside}::")).is_empty()
                && !who.contains(&module)
                && !who.iter().any(|file| relative == Path::new(file))
            {
                broken.push(format!("{}: `{module}` may not use the crate `{outside}`", relative.display()));
            }
        }
    }
    broken.sort();
    broken.dedup();
    assert!(broken.is_empty(), "edges that break ARCHITECTURE.md:\n{}", broken.join("\n"));
}

#[test]
fn unsafe_stays_where_it_is_allowed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in
        ["appliance/src", "client/src", "compiler/src", "message/src", "wire/src", "lambdas/abi/src"]
    {
        sources(&root.join(folder), &mut files);
    }
    // Memory mapping and code loading: the engine's interfaces for both are unsafe. Vouching to DPDK for slots' memory.
    let allowed = [
        "memory/mapping.rs",
        "lambda/linear.rs",
        "lambda/code.rs",
        "lambda/artifact.rs",
        "control/appliance/messages.rs",
        // Forks, and takes descriptors that come by message.
        "control/compile/process.rs",
    ];
    let offenders: Vec<_> = files
        .iter()
        .filter(|file| !allowed.iter().any(|allowed| file.ends_with(allowed)))
        .filter(|file| {
            let code = code_of(file);
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        })
        .collect();
    assert!(offenders.is_empty(), "unsafe outside dpdk-bindings: {offenders:?}");
}

#[test]
fn the_reader_of_imports_reads_them() {
    let code = "use crate::{frame::Frame, ids::{A, B}};\nlet x = crate::port::open();\nmycrate::no;";
    assert_eq!(names_after(code, "crate::"), ["frame", "ids", "port"]);
}
