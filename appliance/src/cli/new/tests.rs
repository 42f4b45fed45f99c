use super::*;

use crate::control::build::{self, BuildError};

fn new(name: &str, language: Language) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("made");
    make(name, language, &dir).unwrap();
    (folder, dir)
}

#[test]
fn what_is_made_builds_and_has_a_manifest() {
    for (language, name, entry) in [
        (Language::C, "c-folder", "c_folder"),
        (Language::C, "init", "init_lambda"),
        (Language::C, "switch", "switch_lambda"),
        (Language::Rust, "rust-folder", "rust_folder"),
        (Language::Rust, "init", "init_lambda"),
        (Language::Rust, "match", "match_lambda"),
    ] {
        let (folder, dir) = new(name, language);
        let manifest = manifest::read(&dir.join(manifest::FILE)).unwrap();
        assert_eq!(manifest.name, name);
        let text = std::fs::read_to_string(dir.join(manifest::FILE)).unwrap();
        let says_entry = text.contains(&format!("\nentry = \"{entry}\"\n"));
        assert_eq!(says_entry, entry.ends_with("_lambda"), "{text}");
        let options =
            build::Options { rust_cache: Some(folder.path().join("cache")), ..build::Options::default() };
        match build::build(&dir, &options) {
            Ok(report) => {
                assert_eq!((report.entries, report.warnings), (vec![entry.to_owned()], String::new()));
                assert_eq!(report.file, dir.join("made.wasm"));
            }
            Err(error @ (BuildError::ToolMissing { .. } | BuildError::NoRust { .. })) => {
                let _ = writeln!(io::stderr(), "skipped: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "mine").unwrap();
    let error = make("greeter", Language::C, folder.path()).unwrap_err().to_string();
    assert_eq!(error, format!("{}: is there already, and is not empty", folder.path().display()));
    assert!(make("greeter", Language::C, &file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::remove_file(&file).unwrap();
    make("greeter", Language::C, folder.path()).unwrap();
    assert!(folder.path().join("greeter.c").is_file());
}

#[test]
fn names_that_are_taken_are_not_their_functions() {
    for name in ["init", "memory", "main", "match", "switch", "static-assert"] {
        assert_eq!(entry(name), format!("{}_lambda", name.replace('-', "_")));
    }
    for name in ["hello", "two-words", "matches", "init-2"] {
        assert_eq!(entry(name), name.replace('-', "_"));
    }
}

#[test]
fn no_placeholder_is_left() {
    for language in [Language::C, Language::Rust] {
        let (_folder, dir) = new("two-words", language);
        for (file, _) in language.templates() {
            let text = std::fs::read_to_string(dir.join(file.replace("@ENTRY@", "two_words"))).unwrap();
            assert!(!text.contains('@'), "{file}: {text}");
        }
    }
}

#[test]
fn a_name_that_cannot_be_a_lambdas_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made");
    let args = Args { name: "Not_A_Name".into(), lang: Language::C, path: Some(path.clone()) };
    assert_eq!(run(&args).unwrap(), ExitCode::from(2));
    assert!(!path.exists());
}
