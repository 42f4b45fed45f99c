//! kill −9 at any moment: what was acknowledged is there, and everything is as it was before or after, never between.
#![allow(clippy::print_stdout, reason = "the child says what was acknowledged")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::lambda;
use lnic_registry::{Backend, Digest, Error, LambdaKey, Registry, Revision};

const FOLDER: &str = "LNIC_REGISTRY_TEST_FOLDER";
const KILLS: u32 = 200;
const LAMBDAS: u32 = 6;

fn key(number: u32) -> LambdaKey {
    LambdaKey::new("default", &format!("lambda-{number}"))
}

/// The code of a lambda's generation.
fn wasm(number: u32, generation: u64) -> Vec<u8> {
    format!("{number}/{generation} ").repeat(2000).into_bytes()
}

/// The next generation of a lambda; each has another ID.
async fn deploy(registry: &Registry, number: u32) {
    let before = registry.lambda(&key(number)).await.expect("read");
    let (current, revision) =
        before.map_or((0, Revision(0)), |before| (before.value.current, before.revision));
    let generation = current + 1;
    let module = registry.put_module(&wasm(number, generation)).await.expect("put");
    let id = number * 1000 + u32::try_from(generation % 1000).expect("small");
    registry.put_lambda(&lambda(&key(number), id, generation, module), revision).await.expect("put");
    println!("deployed {number} {generation}");
}

#[test]
#[ignore = "a part of what_was_acknowledged_is_there, which runs it in a process of its own and kills it"]
fn child() {
    let folder = std::env::var(FOLDER).expect("a folder");
    common::runtime().block_on(async {
        let registry = Registry::open(Backend::Folder(folder.into())).await.expect("open");
        println!("opened");
        let deployer = async |number| {
            loop {
                deploy(&registry, number).await;
            }
        };
        futures_util::future::join_all((0..LAMBDAS).map(deployer)).await;
    });
}

/// Runs the child and kills it after some time; what it said that it had deployed.
fn run_and_kill(folder: &Path, after: Duration) -> BTreeMap<u32, u64> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    lines.find(|line| line.ends_with("opened")).expect("it opens what the last one left");
    std::thread::sleep(after);
    child.kill().and_then(|()| child.wait()).expect("killed");
    let mut acknowledged = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        // The last line may be cut short, and then nobody was told.
        if let ["deployed", number, generation] = words[..] {
            acknowledged.insert(number.parse().expect("a number"), generation.parse().expect("a number"));
        }
    }
    acknowledged
}

#[test]
fn what_was_acknowledged_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = fastrand::Rng::with_seed(1);
    let mut acknowledged = BTreeMap::new();
    let mut deployments = 0;
    for _ in 0..KILLS {
        let before = acknowledged.clone();
        let told = run_and_kill(folder.path(), Duration::from_micros(random.u64(..60_000)));
        acknowledged.extend(told);
        common::runtime().block_on(async {
            let registry = Registry::open(Backend::Folder(folder.path().to_owned())).await.expect("open");
            let mut ids = BTreeSet::new();
            for number in 0..LAMBDAS {
                let told = acknowledged.get(&number).copied().unwrap_or(0);
                let Some(found) = registry.lambda(&key(number)).await.expect("read") else {
                    assert_eq!(told, 0, "lambda {number} is lost");
                    continue;
                };
                let record = found.value;
                let current = record.current;
                // The one that was under way when it was killed may be there, or not.
                assert!((told..=told + 1).contains(&current), "lambda {number}: {current}, not {told}");
                let module = Digest::of(&wasm(number, current));
                let id = number * 1000 + u32::try_from(current % 1000).expect("small");
                assert!(record == lambda(&key(number), id, current, module), "lambda {number} is whole");
                assert!(registry.module(&module).await.expect("read") == Some(wasm(number, current)));
                ids.insert(id);
                acknowledged.insert(number, current);
            }
            let module = registry.put_module(b"").await.expect("put");
            // The index of IDs belongs to the same moment: exactly these are taken.
            for id in ids {
                let other = lambda(&LambdaKey::new("default", "other"), id, 1, module);
                let taken = registry.put_lambda(&other, Revision(0)).await;
                assert!(matches!(taken, Err(Error::IdTaken { .. })), "ID {id}: {taken:?}");
                let before = id.checked_sub(1).filter(|before| before % 1000 != 999);
                if let Some(before) = before {
                    let other = lambda(&other.key, before, 1, module);
                    let revision =
                        registry.put_lambda(&other, Revision(0)).await.expect("the ID before is free");
                    registry.remove_lambda(&other.key, revision).await.expect("removed");
                }
            }
        });
        deployments +=
            acknowledged.iter().map(|(number, now)| now - before.get(number).unwrap_or(&0)).sum::<u64>();
    }
    assert!(deployments > u64::from(KILLS), "{deployments} deployments were made");
}
