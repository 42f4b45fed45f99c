//! What happens to the folder: other processes, other users, damage, a full disk.
#![allow(clippy::print_stderr, reason = "skipped tests say so")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};

use common::lambda;
use lnic_registry::{Backend, Digest, Error, LambdaKey, Registry, Revision};
use redb::TableDefinition;
use tempfile::TempDir;

const ABSENT: Revision = Revision(0);
const FILE: &str = "registry.redb";

fn backend(folder: &TempDir) -> Backend {
    Backend::Folder(folder.path().to_owned())
}

fn key(number: u32) -> LambdaKey {
    LambdaKey::new("default", &format!("lambda-{number}"))
}

/// A folder with some lambdas in it.
async fn filled(lambdas: u32) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::open(backend(&folder)).await.expect("open");
    let module = registry.put_module(b"wasm").await.expect("put");
    for number in 0..lambdas {
        registry.put_lambda(&lambda(&key(number), number, 1, module), ABSENT).await.expect("put");
    }
    folder
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = filled(1).await;
    let first = Registry::open(backend(&folder)).await.expect("open");
    let process = format!("process {}", std::process::id());
    let in_use = Error::InUse { folder: folder.path().to_owned(), process };
    assert_eq!(Registry::open(backend(&folder)).await.err(), Some(in_use));
    assert_eq!(first.lambdas().await.expect("list").len(), 1, "the first one goes on");
    drop(first);
    Registry::open(backend(&folder)).await.expect("open");
}

#[tokio::test]
async fn nobody_else_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("a/state");
    let registry = Registry::open(Backend::Folder(state.clone())).await.expect("open");
    let module = registry.put_module(b"wasm").await.expect("put");
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("modules")), 0o700);
    for file in [FILE.to_owned(), "lock".to_owned(), format!("modules/{}.wasm", module.hex())] {
        assert_eq!(mode(&state.join(&file)), 0o600, "{file}");
    }
    drop(registry);
    fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("changed");
    fs::set_permissions(state.join(FILE), Permissions::from_mode(0o644)).expect("changed");
    Registry::open(Backend::Folder(state.clone())).await.expect("open");
    assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));

    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("made");
    fs::write(shared.join("somebody's"), "").expect("written");
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).expect("changed");
    let refused = Registry::open(Backend::Folder(shared.clone())).await.err();
    assert_eq!(refused, Some(Error::OpenToOthers(shared.clone())));
    assert_eq!(mode(&shared), 0o777);
}

/// Either all is there, or the file is said to be damaged and left as it is.
async fn damaged(folder: &TempDir, bytes: &[u8], lambdas: usize) -> bool {
    let file = folder.path().join(FILE);
    fs::write(&file, bytes).expect("written");
    match Registry::open(backend(folder)).await {
        Ok(registry) => {
            assert_eq!(registry.lambdas().await.expect("list").len(), lambdas);
            false
        }
        Err(Error::Corrupted { file: named, .. }) => {
            assert_eq!(named, file);
            assert!(fs::read(&file).expect("read") == bytes, "it was left as it is");
            true
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone() {
    let folder = filled(30).await;
    let whole = fs::read(folder.path().join(FILE)).expect("read");
    for bytes in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        assert!(damaged(&folder, &whole[..bytes], 30).await, "cut to {bytes} bytes");
    }
    assert!(damaged(&folder, &vec![0; whole.len()], 30).await);
    assert!(damaged(&folder, b"not a registry", 30).await);
    let mut found = 0;
    for page in 0..whole.len() / 4096 {
        let mut flipped = whole.clone();
        flipped[page * 4096 + 200] ^= 0x10;
        flipped[page * 4096 + 9] ^= 0x01;
        found += usize::from(damaged(&folder, &flipped, 30).await);
    }
    assert!(found > 3, "damage was found in {found} pages");
    assert!(!damaged(&folder, &whole, 30).await);
}

#[tokio::test]
async fn a_newer_format_is_not_touched() {
    let folder = filled(1).await;
    let file = folder.path().join(FILE);
    let database = redb::Database::open(&file).expect("open");
    let transaction = database.begin_write().expect("begun");
    let about = TableDefinition::<&str, u64>::new("about");
    transaction.open_table(about).expect("a table").insert("format", 2).expect("put");
    transaction.commit().expect("committed");
    drop(database);
    let bytes = fs::read(&file).expect("read");
    let newer = Error::Format { place: file.display().to_string(), found: 2, known: 1 };
    assert_eq!(Registry::open(backend(&folder)).await.err(), Some(newer));
    assert!(fs::read(&file).expect("read") == bytes);
}

#[tokio::test]
async fn a_damaged_module_is_named_until_it_is_put_again() {
    let folder = filled(0).await;
    let registry = Registry::open(backend(&folder)).await.expect("open");
    let digest = Digest::of(b"wasm");
    let file = folder.path().join(format!("modules/{}.wasm", digest.hex()));
    for damage in [&b"wasn"[..], b"", b"wasm and more"] {
        fs::write(&file, damage).expect("written");
        assert_eq!(registry.module(&digest).await, Err(Error::ModuleDamaged(file.clone())));
        registry.put_module(b"wasm").await.expect("put");
        assert_eq!(registry.module(&digest).await, Ok(Some(b"wasm".to_vec())));
    }
    fs::write(file.with_extension("new"), "half").expect("written");
    drop(registry);
    Registry::open(backend(&folder)).await.expect("open");
    assert!(!file.with_extension("new").exists(), "what was half written is removed");
}

/// A small disk, gone when dropped.
struct Disk(TempDir);

impl Disk {
    fn mount(mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "lnic"]).arg(folder.path()).status();
        match mounted.as_ref().is_ok_and(ExitStatus::success) {
            true => Some(Self(folder)),
            false => {
                eprintln!("SKIPPED: no permission to mount a small disk");
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn a_full_disk_changes_nothing() {
    let Some(disk) = Disk::mount(8) else { return };
    let state = disk.0.path().join("state");
    let registry = Registry::open(Backend::Folder(state.clone())).await.expect("open");
    registry.put_secret("default", "first", &[1; 1000], None).await.expect("put");
    let (mut kept, mut refused) = (1, 0);
    for number in 0..40 {
        match registry.put_secret("default", &format!("s{number}"), &vec![2; 500_000], None).await {
            Ok(_) => kept += 1,
            Err(error) => {
                assert_eq!(error, Error::NoRoom(state.join(FILE)));
                refused += 1;
            }
        }
        let names = registry.secret_names("default").await.expect("it can be read");
        assert_eq!(names.len(), kept, "after {number}");
    }
    assert!(refused > 0);
    let module = vec![3; 8 << 20];
    assert!(matches!(registry.put_module(&module).await, Err(Error::NoRoom(_))));
    assert_eq!(registry.module(&Digest::of(&module)).await, Ok(None));
    drop(registry);
    let registry = Registry::open(Backend::Folder(state)).await.expect("a full disk can be read");
    assert_eq!(registry.secret_names("default").await.expect("list").len(), kept);
    let first = registry.secret("default", "first").await.expect("read").expect("there");
    assert_eq!(first.value.bytes(), [1; 1000]);
}
