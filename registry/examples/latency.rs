//! How long a deployment takes to be kept, and a registry of 1,000 lambdas to be opened.
//!
//! `cargo run --release -p lnic-registry --example latency -- FOLDER`, with a folder on the disk in question.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lnic_registry::{
    Backend, Digest, Error, GenerationRecord, LambdaKey, LambdaRecord, Manifest, Registry, Revision,
};

const LAMBDAS: u32 = 1000;
const WRITERS: u32 = 8;

fn record(number: u32, generation: u64) -> LambdaRecord {
    let name = format!("lambda-{number}");
    let manifest = Manifest { name: name.clone(), ..Manifest::default() };
    let generations = (1..=generation).map(|number| GenerationRecord {
        number,
        module: Digest::of(&number.to_le_bytes()),
        manifest: manifest.clone(),
        image: "registry.example/echo:1".to_owned(),
        deployed_at_ms: 0,
    });
    LambdaRecord {
        key: LambdaKey::new("default", &name),
        id: number,
        current: generation,
        generations: generations.collect(),
        replicas: None,
        created_at_ms: 0,
    }
}

async fn put(registry: &Registry, numbers: impl Iterator<Item = u32>) -> Result<Vec<Duration>, Error> {
    let mut times = Vec::new();
    for number in numbers {
        let record = record(number, 5);
        let started = Instant::now();
        registry.put_lambda(&record, Revision(0)).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let quantile = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: p50 {:.2?}, p99 {:.2?}, max {:.2?}", quantile(50), quantile(99), quantile(100));
}

/// Puts lambdas one at a time, and after each a page of a file that is overwritten and synced: what the disk itself takes, in the same
/// moments.
async fn put_beside_the_disk(
    registry: &Registry,
    folder: &Path,
) -> Result<[Vec<Duration>; 2], Box<dyn std::error::Error>> {
    let file = tempfile::tempfile_in(folder)?;
    let (mut puts, mut pages) = (Vec::new(), Vec::new());
    for number in 0..LAMBDAS {
        puts.extend(put(registry, std::iter::once(number)).await?);
        let started = Instant::now();
        file.write_all_at(&[1; 4096], 0)?;
        file.sync_data()?;
        pages.push(started.elapsed());
    }
    Ok([puts, pages])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = PathBuf::from(std::env::args().nth(1).ok_or("usage: latency FOLDER")?);
    let folder = tempfile::tempdir_in(parent)?;
    let backend = || Backend::Folder(folder.path().join("state"));
    let registry = Registry::open(backend()).await?;
    let [puts, pages] = put_beside_the_disk(&registry, folder.path()).await?;
    print("put_lambda, one at a time", puts);
    print("a page written and synced, in between", pages);
    let started = Instant::now();
    let writers = (1..=WRITERS).map(|writer| put(&registry, (writer * LAMBDAS..).take(LAMBDAS as usize / 4)));
    let times = futures_util::future::try_join_all(writers).await?.concat();
    let each = started.elapsed() / u32::try_from(times.len())?;
    print(&format!("put_lambda, {WRITERS} at a time ({each:.2?} each)"), times);
    drop(registry);

    let other = tempfile::tempdir_in(folder.path())?;
    let backend = || Backend::Folder(other.path().join("state"));
    put(&Registry::open(backend()).await?, 0..LAMBDAS).await?;
    let started = Instant::now();
    let registry = Registry::open(backend()).await?;
    let opened = started.elapsed();
    let lambdas = registry.lambdas().await?.len();
    println!("open with {lambdas} lambdas: {opened:.2?}, and read all: {:.2?}", started.elapsed() - opened);
    Ok(())
}
