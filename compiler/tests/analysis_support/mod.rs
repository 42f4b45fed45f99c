//! Modules from C, as `lnic build` makes them, and what is asked of their analysis.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stderr,
    reason = "each test uses a part; a skipped test says why"
)]

use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use lnic_compiler::analysis::{Analysis, Options, Place, Site, analyse};
use lnic_compiler::module::Module;

/// Optimisation levels that everything is tried at.
pub const LEVELS: [&str; 6] = ["-O0", "-O1", "-O2", "-O3", "-Os", "-Oz"];

/// Is there a compiler? Where tests must not be skipped, that is an error.
pub fn have_clang() -> bool {
    let found = Command::new("clang").arg("--version").output().is_ok_and(|version| version.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "clang is missing");
    if !found {
        eprintln!("skipped: clang is missing");
    }
    found
}

fn sdk() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../lambdas/sdk/c"))
}

fn run(command: &mut Command) {
    let output = command.output().expect("the tool runs");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles one file and links it with relocations kept.
pub fn compile_file(source: &Path, level: &str, relocations: bool) -> Vec<u8> {
    let scratch = tempfile::tempdir().expect("a folder");
    let (object, module) = (scratch.path().join("code.o"), scratch.path().join("module.wasm"));
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-unknown-unknown", "-std=gnu17", "-ffreestanding", "-nostdlibinc"]);
    clang.args(["-fvisibility=hidden", "-msimd128", "-mbulk-memory", "-msign-ext", "-mnontrapping-fptoint"]);
    clang.args(["-mmutable-globals", "-matomics", level]).arg("-isystem").arg(sdk());
    run(clang.arg("-c").arg("-o").arg(&object).arg(source));
    let mut linker = Command::new("wasm-ld");
    linker.args(["--no-entry", "--stack-first", "-O2", "-z", "stack-size=16384", "--export=__stack_pointer"]);
    linker.args(["--export=__heap_base", "--initial-memory=131072", "--max-memory=131072"]);
    if relocations {
        linker.arg("--emit-relocs");
    }
    run(linker.arg("-o").arg(&module).arg(&object));
    std::fs::read(&module).expect("a module")
}

/// Compiles a text.
pub fn compile(source: &str, level: &str) -> Vec<u8> {
    let mut file = tempfile::Builder::new().suffix(".c").tempfile().expect("a file");
    file.write_all(source.as_bytes()).expect("written");
    compile_file(file.path(), level, true)
}

/// A module and what was found out about it.
pub struct Found<'a> {
    pub module: Module<'a>,
    pub analysis: Analysis,
}

impl<'a> Found<'a> {
    pub fn new(wasm: &'a [u8], entries: &[&str]) -> Self {
        let module = Module::read(wasm).expect("a module");
        let analysis = analyse(&module, entries, Options::default()).expect("an analysis");
        assert_eq!(analysis.incomplete, None);
        Self { module, analysis }
    }

    /// An object's place by its name.
    pub fn object(&self, name: &str) -> usize {
        let objects = self.module.objects();
        let names = || objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>();
        objects
            .iter()
            .position(|object| object.name == name)
            .unwrap_or_else(|| panic!("{name} in {:?}", names()))
    }

    /// Objects that may be touched, and those that may be written, by name.
    pub fn touched(&self) -> (Vec<&str>, Vec<&str>) {
        let names = |wanted: fn(&lnic_compiler::analysis::ObjectUse) -> bool| {
            let all = self.module.objects().iter().zip(&self.analysis.objects);
            let mut names: Vec<&str> =
                all.filter(|(_, found)| wanted(found)).map(|(object, _)| object.name.as_str()).collect();
            names.sort_unstable();
            names
        };
        (names(|found| !found.entries.is_empty()), names(|found| found.written))
    }

    pub fn headers_read(&self) -> Vec<Range<usize>> {
        self.analysis.headers.read.ranges().collect()
    }

    pub fn headers_written(&self) -> Vec<Range<usize>> {
        self.analysis.headers.written.ranges().collect()
    }

    /// Every site is known.
    #[track_caller]
    pub fn assert_attributed(&self, what: &str) {
        let lost: Vec<&Site> = self.analysis.unattributed().collect();
        let lost: Vec<String> = lost
            .iter()
            .map(|it| {
                format!(
                    "{} at {} in {}: {}",
                    it.operator,
                    it.position,
                    it.function,
                    it.lost.map_or_else(String::new, |why| why.to_string())
                )
            })
            .collect();
        assert!(lost.is_empty(), "{what}: {lost:#?}");
    }

    /// Sites that may touch a place.
    pub fn sites_of(&self, place: Place) -> impl Iterator<Item = &Site> {
        self.analysis.sites.iter().filter(move |site| site.targets.iter().any(|target| target.place == place))
    }
}
