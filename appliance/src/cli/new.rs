//! `lnic new`: a folder to begin a lambda with.

#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::control::manifest;
use crate::control::plane::Manifest;

/// Make a folder with a lambda that builds, is tested and can be deployed
///
/// It has the code, lambda.toml, a packet script and a README. Nothing is overwritten: a folder that is there already has to be empty.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The lambda's name: lower-case letters, digits and, between them, "-", a letter first
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// The folder [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// What a lambda is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// C: needs clang and lld to build
    C,
    /// Rust: needs cargo, a compiler for wasm32-unknown-unknown and lld to build
    Rust,
}

/// A file of the new folder: `@NAME@` stands for the lambda's name, `@ENTRY@` for its function.
type Template = (&'static str, &'static str);

const COMMON: [Template; 2] =
    [("lambda.toml", include_str!("new/lambda.toml")), ("tests/first.toml", include_str!("new/first.toml"))];
const C: [Template; 3] = [
    ("@ENTRY@.c", include_str!("new/c/lambda.c")),
    ("README.md", include_str!("new/c/README.md")),
    (".gitignore", "*.wasm\n"),
];
const RUST: [Template; 4] = [
    // No Cargo.toml here: cargo would take its folder for a package.
    ("Cargo.toml", include_str!("new/rust/Cargo.toml.in")),
    ("src/lib.rs", include_str!("new/rust/lib.rs.in")),
    ("README.md", include_str!("new/rust/README.md")),
    (".gitignore", "/.lnic\n/target\n*.wasm\n"),
];

/// What a lambda's function cannot be called, in either language: keywords of C and Rust, and what has a meaning in C or in a module.
const TAKEN: &str = "\
    abstract alignas alignof as asm async auto await become bool box break case char const constexpr \
    continue crate default do double dyn else enum extern false final float fn for gen goto if impl in \
    init inline int let long loop macro main match memory mod move mut nullptr override priv pub ref \
    register restrict return self short signed sizeof static static_assert struct super switch \
    thread_local trait true try type typedef typeof typeof_unqual union unsafe unsigned unsized use \
    virtual void volatile where while yield";

/// The function of a lambda that is called so.
fn entry(name: &str) -> String {
    let entry = name.replace('-', "_");
    if TAKEN.split(' ').any(|taken| taken == entry) { entry + "_lambda" } else { entry }
}

impl Language {
    fn templates(self) -> impl Iterator<Item = &'static Template> {
        let own: &[Template] = match self {
            Self::C => &C,
            Self::Rust => &RUST,
        };
        own.iter().chain(&COMMON)
    }
}

/// Runs `lnic new`. Exit code 1 if the folder cannot be made, 2 if the name cannot be a lambda's.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let manifest = Manifest { name: args.name.clone(), ..Manifest::default() };
    if let Err(lines) = manifest::check(&manifest) {
        writeln!(io::stderr(), "{}", lines.join("\n"))?;
        return Ok(ExitCode::from(2));
    }
    let folder = args.path.clone().unwrap_or_else(|| args.name.clone().into());
    make(&args.name, args.lang, &folder)?;
    let shown = folder.display();
    writeln!(
        io::stdout(),
        "{shown}: a lambda that greets. Next:\n  lnic build {shown}\n  lnic test {shown}\n  lnic deploy {shown}"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the files.
fn make(name: &str, language: Language, folder: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => {
            anyhow::ensure!(
                entries.next().is_none(),
                "{}: is there already, and is not empty",
                folder.display()
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    }
    let entry = entry(name);
    let filled = |text: &str| text.replace("@NAME@", name).replace("@ENTRY@", &entry);
    for (file, text) in language.templates() {
        let path = folder.join(filled(file));
        let mut text = filled(text);
        // It is called by its name unless the manifest says otherwise.
        if *file == manifest::FILE && entry != name.replace('-', "_") {
            let line = format!("name = \"{name}\"\n");
            text = text.replacen(&line, &format!("{line}entry = \"{entry}\"\n"), 1);
        }
        write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file that must not be there yet.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create_new(path)?.write_all(text.as_bytes())
}
