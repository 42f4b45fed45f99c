//! Files that are not what they should be are never loaded.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::control::compile::artifact::{self, HEADER_BYTES, Rejected};
use crate::control::compile::files;
use crate::lambda::TAG_BYTES;

fn artifact_file(state: &Path, wasm: &[u8]) -> PathBuf {
    state.join("artifacts").join(key_of(wasm).hex())
}

/// A state folder with the artifact of a module, and its bytes.
fn kept(wasm: &[u8]) -> (tempfile::TempDir, Vec<u8>) {
    let state = tempfile::tempdir().unwrap();
    let bench = Bench::new(&settings(Some(state.path())));
    bench.compile(wasm).unwrap();
    drop(bench);
    let file = fs::read(artifact_file(state.path(), wasm)).unwrap();
    (state, file)
}

/// What is in the file is rejected, deleted, and replaced by what was compiled again.
fn is_rejected(state: &Path, wasm: &[u8], what: &str) {
    let bench = Bench::new(&settings(Some(state)));
    assert!(bench.cached(wasm).is_none(), "{what}");
    assert!(!artifact_file(state, wasm).exists(), "{what}");
    assert_eq!((bench.statistics().rejected, bench.statistics().files), (1, 0), "{what}");
    assert_eq!(verdict(&bench.compile(wasm).unwrap()), Run::Verdict(4), "{what}");
    assert_eq!((bench.statistics().misses, bench.statistics().file_hits), (1, 0), "{what}");
    drop(bench);
    let bench = Bench::new(&settings(Some(state)));
    assert!(bench.cached(wasm).is_some(), "{what}");
}

#[test]
fn no_byte_can_be_changed_and_none_be_missing() {
    let wasm = module(4);
    let (state, file) = kept(&wasm);
    let engine = Engine::new().unwrap();
    let (seal, program) = (files::key(state.path()).unwrap(), Program::of(&engine));
    let open = |file: &[u8]| artifact::open(&seal, &program, &key_of(&wasm), file).map(drop);
    assert_eq!(open(&file), Ok(()));
    let mut changed = file.clone();
    for at in 0..file.len() {
        changed[at] ^= 1 << (at % 8);
        let expected = if at < 8 { Rejected::NoArtifact } else { Rejected::NotSealed };
        assert_eq!(open(&changed), Err(expected), "byte {at} of {}", file.len());
        changed[at] = file[at];
    }
    for bytes in (0..file.len()).filter(|bytes| *bytes < 300 || bytes % 97 == 0) {
        let expected = if bytes < 8 { Rejected::NoArtifact } else { Rejected::NotSealed };
        assert_eq!(open(&file[..bytes]), Err(expected), "{bytes} of {}", file.len());
    }
    assert_eq!(open(&[&file[..], &[0]].concat()), Err(Rejected::NotSealed));
}

#[test]
fn what_is_sealed_by_others_or_for_others_is_rejected() {
    let wasm = module(4);
    let (state, file) = kept(&wasm);
    let (seal, program) = (files::key(state.path()).unwrap(), Program::of(&Engine::new().unwrap()));
    let key = key_of(&wasm);
    let open = |seal: &ArtifactKey, program: &Program, key: &Key, file: &[u8]| {
        artifact::open(seal, program, key, file).map(drop).unwrap_err()
    };
    assert_eq!(open(&ArtifactKey::new([1; 32]), &program, &key, &file), Rejected::NotSealed);
    assert_eq!(open(&seal, &program.other(), &key, &file), Rejected::OtherProgram);
    assert_eq!(open(&seal, &program, &key_of(&module(5)), &file), Rejected::OtherKey);
    // What is sealed and makes no sense.
    let made = &file[HEADER_BYTES..file.len() - TAG_BYTES];
    for wrong in [&[][..], &[0; 7], &[255; 8], &made[..made.len() / 2], &[0; 100]] {
        let sealed = artifact::seal(&seal, &program, &key, wrong);
        let why = artifact::open(&seal, &program, &key, &sealed).map(drop);
        // Half of the code is the engine's to refuse.
        assert!(why.is_ok() == (wrong.len() == made.len() / 2), "{} bytes: {why:?}", wrong.len());
    }
    let text = String::from_utf8_lossy(made).into_owned();
    assert!(text.contains("\"memory_bytes\":65536"), "{text}");
    let other_size = String::from_utf8_lossy(&made[8..]).find("\"memory_bytes\":65536").unwrap();
    let mut wrong = made.to_vec();
    wrong[8 + other_size + 15] = b'7';
    let sealed = artifact::seal(&seal, &program, &key, &wrong);
    assert!(matches!(open(&seal, &program, &key, &sealed), Rejected::Malformed(_)));
}

#[test]
fn files_that_were_tampered_with_are_deleted_and_made_again() {
    let wasm = module(4);
    let (state, file) = kept(&wasm);
    let (state, path) = (state.path(), artifact_file(state.path(), &wasm));
    let flipped = |at: usize| {
        let mut bytes = file.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    let middle = file.len() / 2;
    for (what, bytes) in [
        ("magic", flipped(0)),
        ("program", flipped(20)),
        ("key", flipped(50)),
        ("head", flipped(HEADER_BYTES + 20)),
        ("code", flipped(middle)),
        ("tag", flipped(file.len() - 1)),
        ("empty", Vec::new()),
        ("truncated", file[..middle].to_vec()),
        ("another's", fs::read(artifact_file(kept(&module(5)).0.path(), &module(5))).unwrap()),
    ] {
        fs::write(&path, bytes).unwrap();
        is_rejected(state, &wasm, what);
    }
    // Sealed with the key, and not what the engine loads.
    let engine = Engine::new().unwrap();
    let (seal, program) = (files::key(state).unwrap(), Program::of(&engine));
    let made = &file[HEADER_BYTES..file.len() - TAG_BYTES];
    fs::write(&path, artifact::seal(&seal, &program, &key_of(&wasm), &made[..made.len() - 1000])).unwrap();
    is_rejected(state, &wasm, "half of the code");
    fs::write(&path, artifact::seal(&seal, &program.other(), &key_of(&wasm), made)).unwrap();
    is_rejected(state, &wasm, "another program");
    fs::write(state.join("artifact.key"), [9; 32]).unwrap();
    is_rejected(state, &wasm, "another key");
    // A link, or a folder, is no file.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let bench = Bench::new(&settings(Some(state)));
    assert!(bench.cached(&wasm).is_none());
    bench.works(4);
}

#[test]
fn the_key_is_made_once_and_nobody_else_reads_it() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("new/artifact.key");
    let folder = path.parent().unwrap();
    let opens = |key: &ArtifactKey, other: &ArtifactKey| {
        let mut sealed = b"code".to_vec();
        key.seal(&mut sealed);
        other.open(&sealed).is_some()
    };
    let first = files::key(folder).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&path).unwrap().len(), 32);
    assert!(opens(&first, &files::key(folder).unwrap()));
    // Somebody may have read it.
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let second = files::key(folder).unwrap();
    assert!(!opens(&first, &second));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, b"short").unwrap();
    assert!(!opens(&second, &files::key(folder).unwrap()));
    assert!(!opens(&files::fresh_key().unwrap(), &files::fresh_key().unwrap()));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing but the key is left");
}

#[test]
fn the_least_recently_used_go_when_there_are_too_many() {
    let state = tempfile::tempdir().unwrap();
    let kept = || fs::read_dir(state.path().join("artifacts")).unwrap().count();
    let modules: Vec<_> = (0..5).map(module).collect();
    let bench = Bench::new(&settings(Some(state.path())));
    for wasm in &modules[..3] {
        bench.compile(wasm).unwrap();
        // Times of files tell which was used last.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(bench);
    assert_eq!(kept(), 3);
    let bench = Bench::new(&CompileSettings { files: 3, ..settings(Some(state.path())) });
    // The first is used again, and that is remembered.
    assert!(bench.cached(&modules[0]).is_some());
    drop(bench);
    let bench = Bench::new(&CompileSettings { files: 3, ..settings(Some(state.path())) });
    bench.compile(&modules[3]).unwrap();
    drop(bench);
    assert_eq!(kept(), 3);
    let bench = Bench::new(&CompileSettings { files: 2, ..settings(Some(state.path())) });
    assert_eq!((kept(), bench.statistics().files), (2, 2));
    let found = modules.iter().map(|wasm| bench.cached(wasm).is_some());
    assert_eq!(found.collect::<Vec<_>>(), [true, false, false, true, false]);
    drop(bench);
    let bench = Bench::new(&CompileSettings { bytes: 1, ..settings(Some(state.path())) });
    assert_eq!((kept(), bench.statistics().file_bytes), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_but_time() {
    let state = tempfile::tempdir().unwrap();
    let bench = Bench::new(&settings(Some(state.path())));
    fs::remove_dir_all(state.path().join("artifacts")).unwrap();
    bench.works(1);
    let ready = bench.compile(&module(2)).unwrap();
    assert_eq!(verdict(&ready), Run::Verdict(2));
    let started = std::time::Instant::now();
    while bench.statistics().not_kept < 2 {
        assert!(started.elapsed().as_secs() < 30);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(bench.statistics().files, 0);
    drop(bench);
    // What was left half written is cleared away.
    fs::create_dir(state.path().join("artifacts")).unwrap();
    fs::write(state.path().join("artifacts/00.part"), b"half").unwrap();
    fs::write(state.path().join("artifacts/README"), b"ours").unwrap();
    let bench = Bench::new(&settings(Some(state.path())));
    assert_eq!(bench.statistics().files, 0);
    let left: Vec<_> = fs::read_dir(state.path().join("artifacts")).unwrap().collect();
    assert_eq!(left.len(), 1);
}
