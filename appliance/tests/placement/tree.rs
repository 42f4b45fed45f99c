//! Every lambda of the tree: the analysis knows of each access what it touches.

use std::path::{Path, PathBuf};

use lnic::control::build;
use lnic::lambda::Engine;

use super::npus::{Islands, compile, wishes};

/// Folders with C files, below one.
fn sources(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let is_c = |path: &Path| path.extension().is_some_and(|extension| extension == "c");
    let files = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.expect("a readable folder").path()).collect()
    };
    let mut found = files(&folder);
    found.retain(|path| files(path).iter().any(|file| is_c(file)));
    found.sort();
    found
}

#[test]
fn every_access_of_every_lambda_is_attributed() {
    let engine = Engine::new().expect("engine");
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut seen = Vec::new();
    for source in [sources("../lambdas"), sources("tests/e2e/lambdas")].concat() {
        let output = folder.path().join("module.wasm");
        let options = build::Options { output: Some(output.clone()), ..build::Options::default() };
        let report = build::build(&source, &options).expect("lambda builds");
        assert_eq!(report.warnings, "", "{}", source.display());
        let wasm = std::fs::read(output).expect("built module");
        for entry in &report.entries {
            let ready = compile(&engine, &wasm, entry, &wishes(Islands::One)).expect("compiles");
            let sites = &ready.inspection.sites;
            assert_eq!(sites.lost, [], "{entry}");
            assert_eq!(sites.incomplete, None, "{entry}");
            assert_eq!(sites.attributed, sites.total, "{entry}");
            // Without objects there is nothing to move.
            assert!(ready.inspection.objects.is_empty() || ready.inspection.unmoved.is_none(), "{entry}");
            seen.push((entry.clone(), sites.total));
        }
    }
    for known in ["echo", "web_server", "image_transformer", "counter", "caller"] {
        assert!(seen.iter().any(|(entry, sites)| entry == known && *sites > 0), "{known} is not in {seen:?}");
    }
}
