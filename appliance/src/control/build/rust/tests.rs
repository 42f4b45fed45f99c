use super::*;

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::control::appliance::{self, Bounds, Wishes};
use crate::control::build::{BuildReport, STACK_BYTES, build};
use crate::control::inspect::Inspection;
use crate::control::topology::{Concurrency, LayoutWish, Memory};
use crate::lambda::{Engine, Failure, HostSide, Image, Instance, Limits, Run, verify};

const CARGO_TOML: &str = "[package]\nname = \"it\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
    [lib]\ncrate-type = [\"staticlib\"]\n[dependencies]\nlnic-lambda = { path = \".lnic/sdk/rust\" }\n\
    [workspace]\nexclude = [\".lnic\"]\n";

/// A crate, and a cache of its own.
struct Crate {
    folder: tempfile::TempDir,
    options: Options,
}

impl Crate {
    fn new(source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir_all(path.join("it/src")).unwrap();
        std::fs::write(path.join("it/Cargo.toml"), CARGO_TOML).unwrap();
        let prelude = "#![no_std]\n#![deny(unsafe_code)]\n#![allow(unused_imports)]\nuse lnic_lambda::prelude::*;\n\
            use core::sync::atomic::{AtomicU32, Ordering};\n";
        std::fs::write(path.join("it/src/lib.rs"), format!("{prelude}{source}")).unwrap();
        let options = Options {
            output: Some(path.join("it.wasm")),
            rust_cache: Some(path.join("cache")),
            ..Options::default()
        };
        Self { folder, options }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("it")
    }

    fn build(&self) -> Result<(BuildReport, Vec<u8>), BuildError> {
        let report = build(&self.dir(), &self.options)?;
        let wasm = std::fs::read(&report.file).unwrap();
        Ok((report, wasm))
    }
}

/// True if the tools are there; says so otherwise.
fn have_tools() -> bool {
    let linker = |toolchain: Toolchain| super::super::link::checked(toolchain.wasm_ld()).map(drop);
    let found = Toolchain::find(Path::new("."), None).and_then(linker);
    if let Err(error) = &found {
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
    }
    found.is_ok()
}

fn inspection(wasm: &[u8], entry: &str) -> Inspection {
    let bounds = Bounds { tier_bytes: Memory::default().tiers.objects, limits: Limits::default() };
    let (concurrency, layout) = (Concurrency::Auto, LayoutWish::Auto);
    let wishes = Wishes { concurrency, layout, npus: 2, islands: 1, in_flight: 1, slots: None };
    let engine = Engine::new().unwrap();
    let ready = appliance::ready(&engine, wasm, entry, &wishes, &bounds, &mut HashMap::new()).unwrap();
    (*ready.inspection).clone()
}

fn instance(wasm: &[u8], entry: &str) -> Instance {
    let engine = Engine::new().unwrap();
    engine.prepare_thread();
    let image = Image::compile(&engine, wasm, entry, &Limits::default()).unwrap();
    Instance::new(&image, 1_000_000, &HostSide::detached(), &image.detached_seat().unwrap()).unwrap()
}

/// Runs it on a λ-RPC request with this payload; returns what it leaves.
fn run_on(instance: &mut Instance, payload: &[u8]) -> (Run, Vec<u8>) {
    let io = instance.io().unwrap();
    *io.headers = lnic_abi::Headers::default();
    io.headers.rpc.valid = 1;
    io.payload[..payload.len()].copy_from_slice(payload);
    *io.match_data = lnic_abi::MatchData {
        payload: io.payload_address,
        length: payload.len() as u32,
        capacity: 1000,
        ..lnic_abi::MatchData::default()
    };
    let run = instance.run(0);
    let io = instance.io().unwrap();
    (run, io.payload[..io.match_data.length as usize].to_vec())
}

#[test]
fn a_crate_becomes_a_lambda_whose_objects_lie_where_they_shall() {
    if !have_tools() {
        return;
    }
    let (report, wasm) = Crate::new(
        "emem! { static TABLE: Pinned<Map<u32, u32, 4096>> = Pinned::new(Map::new()); }\n\
         local! { static SEEN: Pinned<u32> = Pinned::new(0); }\n\
         imem! { static NAMES: [u32; 4] = [3, 1, 4, 1]; }\n\
         static HITS: AtomicU32 = AtomicU32::new(7);\n\
         lambda! { pub fn tables(headers: &mut Headers, message: &mut Message) -> Verdict {\n\
            let seen = SEEN.update(|seen| seen + NAMES[message.payload().len() & 3]);\n\
            let key = headers.ipv4.source;\n\
            let known = TABLE.with(|table| table.insert(key, seen).is_ok());\n\
            message.reply(headers, if known { Status::OK } else { Status::UNAVAILABLE }, 0)\n\
         } }\n\
         lambda! { pub fn counts(headers: &mut Headers, message: &mut Message) -> Verdict {\n\
            SEEN.update(|seen| seen + 1);\n\
            message.reply_with(headers, Status::OK, &HITS.fetch_add(1, Ordering::Relaxed).to_le_bytes())\n\
         } }\n",
    )
    .build()
    .unwrap();
    let entries: BTreeSet<&str> = report.entries.iter().map(String::as_str).collect();
    assert_eq!((entries, report.warnings.as_str()), (BTreeSet::from(["counts", "tables"]), ""));
    assert_eq!((report.memory_bytes % 4096, report.stack_bytes), (0, STACK_BYTES));
    // What begins as zeros costs no bytes.
    assert!(report.module_bytes < 32 << 10, "{report:?}");
    let shape = verify(&wasm, "tables", &Limits::default()).unwrap();
    assert!(shape.writable_globals && !shape.suspends && !shape.has_init, "{shape:?}");

    let tables = inspection(&wasm, "tables");
    assert_eq!(tables.runs, "one NPU at a time");
    assert!(tables.because.contains("it::TABLE"), "{}", tables.because);
    let counts = inspection(&wasm, "counts");
    assert_eq!(counts.runs, "any NPU", "{}", counts.because);
    let object = |inspection: &Inspection, name: &str| {
        let found = inspection.objects.iter().find(|object| object.name == name);
        found.cloned().unwrap_or_else(|| panic!("{name} is not in {:?}", inspection.objects))
    };
    for (name, tier, kind) in [
        ("it::TABLE", "emem", "variable"),
        ("it::SEEN", "local", "variable"),
        ("it::NAMES", "imem", "constant"),
    ] {
        // A dense memory is one piece: `tables` has all of them in one tier.
        let object = object(&counts, name);
        assert_eq!((object.tier.as_str(), object.kind.as_str()), (tier, kind), "{object:?}");
    }
    let hits = object(&counts, "it::HITS");
    assert!(hits.atomic && hits.reads >= 1.0 && hits.writes >= 1.0, "{hits:?}");

    let mut instance = instance(&wasm, "counts");
    for expected in 7u32..9 {
        assert_eq!(run_on(&mut instance, b""), (Run::Verdict(0), expected.to_le_bytes().to_vec()));
    }
}

#[test]
fn what_a_run_that_trapped_has_borrowed_is_given_back() {
    if !have_tools() {
        return;
    }
    let (_, wasm) = Crate::new(
        "static COUNT: Pinned<[u32; 4]> = Pinned::new([0; 4]);\n\
         lambda! { pub fn it(headers: &mut Headers, message: &mut Message) -> Verdict {\n\
            let what = message.payload().first().copied().unwrap_or_default();\n\
            let count = COUNT.with(|count| {\n\
                count[usize::from(what)] += 1;\n\
                if what == 2 { COUNT.with(|count| count[0] += 100); }\n\
                while what == 3 { core::hint::spin_loop(); }\n\
                count[0]\n\
            });\n\
            message.reply_with(headers, Status::OK, &count.to_le_bytes())\n\
         } }\n",
    )
    .build()
    .unwrap();
    let mut it = instance(&wasm, "it");
    assert_eq!(run_on(&mut it, &[0]), (Run::Verdict(0), vec![1, 0, 0, 0]));
    // Out of bounds, borrowed twice, out of budget: each in the middle of a borrow.
    for (payload, failure) in [(9, Failure::Trap), (2, Failure::Trap), (3, Failure::Budget)] {
        assert_eq!(run_on(&mut it, &[payload]).0, Run::Failed(failure));
    }
    assert_eq!(run_on(&mut it, &[0]), (Run::Verdict(0), vec![2, 0, 0, 0]));
}

#[test]
fn vectors_find_and_grey_as_bytes_do() {
    if !have_tools() {
        return;
    }
    let (_, wasm) = Crate::new(
        "use lnic_lambda::simd;\n\
         lambda! { pub fn it(headers: &mut Headers, message: &mut Message) -> Verdict {\n\
            let found = simd::find(message.payload(), 255).map_or(255, |at| at as u8);\n\
            let grey = simd::rgba_to_grey(message.payload_mut());\n\
            message.buffer_mut()[grey] = found;\n\
            message.reply(headers, Status::OK, grey + 1)\n\
         } }\n",
    )
    .build()
    .unwrap();
    let mut it = instance(&wasm, "it");
    for length in (0..=200).step_by(4) {
        let mut pixels: Vec<u8> = (0..length).map(|at| (at * 37 % 251) as u8).collect();
        if let Some(byte) = pixels.get_mut(length * 2 / 3) {
            *byte = 255;
        }
        let luma = |rgba: &[u8]| {
            let [red, green, blue] = [0, 1, 2].map(|at| u32::from(rgba[at]));
            ((red * 19_595 + green * 38_470 + blue * 7_471 + 32_768) >> 16) as u8
        };
        let mut expected: Vec<u8> = pixels.chunks_exact(4).map(luma).collect();
        expected.push(pixels.iter().position(|byte| *byte == 255).map_or(255, |at| at as u8));
        assert_eq!(run_on(&mut it, &pixels), (Run::Verdict(0), expected), "{length} bytes");
    }
}

const MINIMAL: &str = "lambda! { pub fn it(headers: &mut Headers, message: &mut Message) -> Verdict {\n\
    let length = message.payload().len();\n\
    log!(\"{} bytes\", length);\n\
    message.reply_fmt(headers, Status::OK, format_args!(\"{}\", length)) } }\n";

#[test]
fn the_same_sources_make_the_same_bytes_wherever_they_lie() {
    if !have_tools() {
        return;
    }
    let first =
        Crate::new("lambda! { pub fn it(_: &mut Headers, _: &mut Message) -> Verdict { Verdict::Drop } }\n");
    assert!(
        matches!(first.build(), Err(BuildError::Diagnosed { tool: "cargo", .. })),
        "patterns are no names"
    );
    let source = "static COUNT: Pinned<u32> = Pinned::new(0);\n\
        lambda! { pub fn it(headers: &mut Headers, message: &mut Message) -> Verdict {\n\
        let (first, count) = (message.payload()[0], COUNT.update(|count| count + 1));\n\
        message.reply_fmt(headers, Status::OK, format_args!(\"{} {}\", first, count)) } }\n";
    let (first, second) = (Crate::new(source), Crate::new(source));
    let (_, module) = first.build().unwrap();
    assert_eq!(second.build().unwrap().1, module);
    let path = first.folder.path().to_str().unwrap();
    assert!(!module.windows(path.len()).any(|window| window == path.as_bytes()));
    // Again, from the cache; and without anything of rustc's hashes.
    assert_eq!(first.build().unwrap().1, module);
    assert!(!String::from_utf8_lossy(&module).contains("17h"));
}

#[test]
fn all_ways_to_optimise_make_lambdas() {
    if !have_tools() {
        return;
    }
    let mut it = Crate::new(MINIMAL);
    let mut sizes = Vec::new();
    for (optimise, debug) in
        [(Optimise::Speed, false), (Optimise::Size, false), (Optimise::None, false), (Optimise::Size, true)]
    {
        (it.options.optimise, it.options.debug) = (optimise, debug);
        let (report, wasm) = it.build().unwrap();
        assert_eq!(report.warnings, "");
        assert_eq!(run_on(&mut instance(&wasm, "it"), b"hello").1, b"5", "{optimise:?}");
        sizes.push(report.module_bytes);
    }
    assert!(sizes[1] <= sizes[0] && sizes[0] < sizes[2] && sizes[1] < sizes[3], "{sizes:?}");
}

#[test]
fn what_cargo_says_passes_through() {
    if !have_tools() {
        return;
    }
    let error =
        Crate::new("lambda! { pub fn it(h: &mut Headers, m: &mut Message) -> Verdict { missing() } }\n");
    let error = error.build().unwrap_err();
    let BuildError::Diagnosed { tool: "cargo", diagnostics } = error else { panic!("{error}") };
    assert!(diagnostics.starts_with("error[E0425]: cannot find function `missing`"), "{diagnostics}");
    assert!(diagnostics.contains("--> src/lib.rs:6:"), "{diagnostics}");

    let (report, _) = Crate::new(&format!("{MINIMAL}fn idle() {{}}\n")).build().unwrap();
    // Which of the two words comes first depends on the compiler's age.
    assert!(
        report.warnings.contains("never used") && report.warnings.contains("`idle`"),
        "{}",
        report.warnings
    );
}

#[test]
fn what_is_no_lambda_is_refused() {
    if !have_tools() {
        return;
    }
    let error = Crate::new("pub fn helper() {}\n").build().unwrap_err();
    assert!(error.to_string().contains("no entry: define one with lambda!"), "{error}");

    let it = Crate::new(MINIMAL);
    std::fs::write(it.dir().join(MANIFEST), CARGO_TOML.replace("staticlib", "lib")).unwrap();
    std::fs::write(it.dir().join("src/lib.rs"), "#![no_std]\n").unwrap();
    let error = it.build().unwrap_err().to_string();
    assert!(
        error.ends_with("/Cargo.toml: makes no static library: [lib] needs crate-type = [\"staticlib\"]"),
        "{error}"
    );
}

#[test]
fn the_rate_limiter_of_the_tree_builds_and_is_understood() {
    if !have_tools() {
        return;
    }
    let it = Crate::new("");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambdas/rate-limiter");
    for file in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "src/bucket.rs"] {
        std::fs::copy(tree.join(file), it.dir().join(file)).unwrap();
    }
    let (report, wasm) = it.build().unwrap();
    assert_eq!((report.entries, report.warnings), (vec!["rate_limiter".to_owned()], String::new()));
    let inspection = inspection(&wasm, "rate_limiter");
    let buckets = inspection.objects.iter().find(|object| object.name == "rate_limiter::BUCKETS").unwrap();
    assert_eq!((buckets.tier.as_str(), inspection.runs.as_str()), ("emem", "one NPU at a time"));
    assert!(
        inspection.sites.incomplete.is_none() && inspection.sites.lost.is_empty(),
        "{:?}",
        inspection.sites
    );
}

#[test]
fn the_sdk_is_what_lies_in_the_tree() {
    let lambdas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambdas");
    let mut found = BTreeSet::new();
    let mut folders = vec![lambdas.join("sdk/rust"), lambdas.join("abi")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("Cargo.lock") {
                found.insert(path.strip_prefix(&lambdas).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.remove("abi/Cargo.toml");
    let embedded: BTreeSet<String> =
        sdk::SDK.iter().chain(&sdk::ABI).map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(embedded, found);

    let folder = tempfile::tempdir().unwrap();
    sdk::write(folder.path()).unwrap();
    let written = folder.path().join(sdk::FOLDER).join("src/lib.rs");
    let time = || std::fs::metadata(&written).unwrap().modified().unwrap();
    let first = time();
    sdk::write(folder.path()).unwrap();
    assert_eq!(time(), first, "what is there is not written again");
    std::fs::write(&written, "older").unwrap();
    sdk::write(folder.path()).unwrap();
    assert_eq!(std::fs::read(&written).unwrap(), std::fs::read(lambdas.join("sdk/rust/src/lib.rs")).unwrap());
}

/// A folder with a `rustc` that says that the target's libraries are in `libraries`, and a `cargo`.
fn toolchain(folder: &Path, name: &str, libraries: &Path) -> PathBuf {
    let bin = folder.join(name);
    std::fs::create_dir_all(&bin).unwrap();
    for (tool, text) in
        [("rustc", format!("#!/bin/sh\necho {}\n", libraries.display())), ("cargo", String::new())]
    {
        std::fs::write(bin.join(tool), text).unwrap();
        std::fs::set_permissions(bin.join(tool), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

#[test]
fn the_first_compiler_that_has_the_target_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let rustlib = path.join("sysroot/lib/rustlib");
    let libraries = rustlib.join("wasm32-unknown-unknown/lib");
    std::fs::create_dir_all(&libraries).unwrap();
    let without = toolchain(path, "without", &path.join("nowhere"));
    let with = toolchain(path, "with", &libraries);
    let find = |folders: &[&PathBuf]| Toolchain::find_on(path, None, &std::env::join_paths(folders).unwrap());
    let missing = "no Rust compiler for wasm32-unknown-unknown: rustup target add wasm32-unknown-unknown, or on Debian apt-get install cargo rustc libstd-rust-dev-wasm32 lld";
    // A folder without the library itself is left behind when the target is removed.
    assert_eq!(
        find(&[&without, &with]).unwrap_err().to_string(),
        format!(
            "{missing}; {0}/without/rustc, {0}/with/rustc cannot, or has no cargo beside it",
            path.display()
        )
    );
    assert_eq!(find(&[&path.join("empty")]).unwrap_err().to_string(), missing);

    std::fs::write(libraries.join("libcore-0123456789abcdef.rlib"), "").unwrap();
    let found = find(&[&without, &with]).unwrap();
    assert_eq!((found.rustc.clone(), found.cargo.clone()), (with.join("rustc"), with.join("cargo")));
    // Debian's has no linker of its own.
    assert_eq!(found.wasm_ld(), "wasm-ld");
    let own = rustlib.join("x86_64-unknown-linux-gnu/bin/gcc-ld");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("wasm-ld"), "").unwrap();
    assert_eq!(found.wasm_ld(), own.join("wasm-ld"));

    let named = Toolchain::find_on(path, Some(with.join("rustc").as_os_str()), OsStr::new("")).unwrap();
    assert_eq!(named, found);
    assert!(Toolchain::find_on(path, Some(without.join("rustc").as_os_str()), with.as_os_str()).is_err());
    let absent =
        Toolchain::find_on(path, Some(OsStr::new("/nonexistent/rustc")), with.as_os_str()).unwrap_err();
    assert_eq!(absent.to_string(), format!("{missing}; /nonexistent/rustc is not there"));
    std::fs::remove_file(with.join("cargo")).unwrap();
    assert!(find(&[&with]).is_err());
}

#[test]
fn a_warning_that_no_author_can_heed_is_left_out() {
    let note =
        "  |\n  = note: this feature is not stably supported; its behavior can change in the future\n\n";
    let other = "warning: unused variable: `x`\n --> src/lib.rs:1:1\n\n";
    assert_eq!(without_unstable_feature(&format!("{UNSTABLE_FEATURE}\n{note}")), "");
    assert_eq!(
        without_unstable_feature(&format!("{UNSTABLE_FEATURE}\n{note}{other}{UNSTABLE_FEATURE}\n{note}")),
        other
    );
    assert_eq!(without_unstable_feature(other), other);
}
