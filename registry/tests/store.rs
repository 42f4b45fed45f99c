//! What every store promises: one suite, run on memory, on a file and on a real etcd.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::EtcdServer;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use lnic_registry::store::{
    Change, Condition, Embedded, Etcd, EtcdSettings, KEY_BYTES, Operation, StateFolder, Store,
    TRANSACTION_OPERATIONS, Transaction, VALUE_BYTES,
};
use lnic_registry::{Error, Revision};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;
use tokio::time::timeout;

const ABSENT: Revision = Revision(0);

/// Where stores come from: each is a new one.
enum Source {
    Memory,
    Folder,
    Etcd(EtcdServer),
}

/// A store, and the folder that it is in.
struct Fresh(Arc<dyn Store>, Option<TempDir>);

impl Source {
    async fn store(&self, name: &str) -> Fresh {
        match self {
            Self::Memory => Fresh(Arc::new(Embedded::memory().expect("a store")), None),
            Self::Folder => {
                let folder = tempfile::tempdir().expect("a folder");
                let state = StateFolder::open(folder.path()).expect("the folder");
                Fresh(Arc::new(Embedded::open(state).expect("a store")), Some(folder))
            }
            Self::Etcd(server) => {
                let settings = EtcdSettings {
                    endpoints: vec![server.endpoint()],
                    prefix: format!("/{name}"),
                    lease_s: 10,
                    appliance: "a".to_owned(),
                };
                let local = Embedded::memory().expect("a store");
                Fresh(Arc::new(Etcd::open(local, settings).await.expect("a store")), None)
            }
        }
    }
}

/// All that a store promises.
fn suite(source: &Source) {
    common::runtime().block_on(async {
        compare_and_swap(&*source.store("swap").await.0).await;
        all_or_nothing(&*source.store("all").await.0).await;
        conditions_and_prefixes(&*source.store("conditions").await.0).await;
        limits(&*source.store("limits").await.0).await;
        watching(&*source.store("watching").await.0).await;
        writers_at_the_same_time(source.store("writers").await.0).await;
    });
}

#[test]
fn memory() {
    suite(&Source::Memory);
}

#[test]
fn folder() {
    suite(&Source::Folder);
}

#[test]
fn etcd() {
    if let Some(server) = EtcdServer::start() {
        suite(&Source::Etcd(server));
    }
}

async fn compare_and_swap(store: &dyn Store) {
    assert_eq!(store.get("a").await, Ok(None));
    let first = store.commit(Transaction::new().at("a", ABSENT).put("a", "1")).await.expect("put");
    assert!(first > ABSENT);
    let conflict = Err(Error::Conflict("a".into()));
    assert_eq!(store.commit(Transaction::new().at("a", ABSENT).put("a", "2")).await, conflict);
    let entry = store.get("a").await.expect("read").expect("there");
    assert_eq!((entry.value.as_slice(), entry.revision), (&b"1"[..], first));
    let second = store.commit(Transaction::new().at("a", first).put("a", "2")).await.expect("put");
    assert!(second > first);
    assert_eq!(store.commit(Transaction::new().at("a", first).delete("a")).await, conflict);
    assert!(store.commit(Transaction::new().at("a", second).delete("a")).await.expect("deleted") > second);
    assert_eq!(store.get("a").await, Ok(None));
    store.commit(Transaction::new().delete("a")).await.expect("nothing to delete is no error");
    let third = store.commit(Transaction::new().at("a", ABSENT).put("a", "")).await.expect("put");
    assert!(third > second, "a revision is never used again");
}

async fn all_or_nothing(store: &dyn Store) {
    let revision = store.commit(Transaction::new().put("a", "1").put("b", "1")).await.expect("put");
    let list = store.list("").await.expect("list");
    let mine: Vec<_> = list.entries.iter().filter(|entry| ["a", "b"].contains(&entry.key.as_str())).collect();
    assert_eq!(mine.len(), 2);
    assert!(mine.iter().all(|entry| entry.revision == revision), "both are of one transaction");
    let broken = Transaction::new().at("a", revision).at("b", ABSENT).put("a", "2").delete("b").put("c", "2");
    assert_eq!(store.commit(broken).await, Err(Error::Conflict("b".into())));
    assert_eq!(store.list("").await, Ok(list));
}

async fn conditions_and_prefixes(store: &dyn Store) {
    let put = Transaction::new().put("n/a/1", "").put("n/a/2", "").put("n/a0", "").put("n/b/1", "");
    let revision = store.commit(put).await.expect("put");
    let keys = async |prefix: &str| {
        let entries = store.list(prefix).await.expect("list").entries;
        entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
    };
    assert_eq!(keys("n/").await, ["n/a/1", "n/a/2", "n/a0", "n/b/1"]);
    assert_eq!(keys("n/a/").await, ["n/a/1", "n/a/2"]);
    assert_eq!(keys("n/c").await, [""; 0]);
    assert_eq!(store.list("n/").await.expect("list").revision, revision);
    let conflict = |key: &str| Err(Error::Conflict(key.into()));
    assert_eq!(store.commit(Transaction::new().none_under("n/a/").delete("n/b/1")).await, conflict("n/a/"));
    assert_eq!(store.commit(Transaction::new().present("n/a").delete("n/b/1")).await, conflict("n/a"));
    let delete = Transaction::new().present("n/b/1").none_under("n/c").delete_under("n/a/");
    store.commit(delete).await.expect("deleted");
    assert_eq!(keys("n/").await, ["n/a0", "n/b/1"]);
    store
        .commit(Transaction::new().none_under("n/a/").delete_under("n/a/"))
        .await
        .expect("nothing to delete");
}

async fn limits(store: &dyn Store) {
    let value = vec![7; VALUE_BYTES];
    let key = "k".repeat(KEY_BYTES);
    store.commit(Transaction::new().put(key.as_str(), value.as_slice())).await.expect("the largest");
    let found = store.get(&key).await.expect("read").expect("there");
    assert!(found.value.as_slice() == value);
    let too_large =
        async |transaction| matches!(store.commit(transaction).await, Err(Error::TooLarge { .. }));
    assert!(too_large(Transaction::new().put("a", vec![7; VALUE_BYTES + 1])).await);
    assert!(too_large(Transaction::new().put("k".repeat(KEY_BYTES + 1), "")).await);
    assert!(too_large(Transaction::new().put("a", value.as_slice()).put("b", value)).await);
    let wrong = async |transaction| matches!(store.commit(transaction).await, Err(Error::Transaction(_)));
    let many = |count| (0..count).fold(Transaction::new(), |many, n| many.put(format!("m/{n}"), ""));
    store.commit(many(TRANSACTION_OPERATIONS)).await.expect("the most");
    assert!(wrong(many(TRANSACTION_OPERATIONS + 1)).await);
    assert!(wrong(Transaction::new().put("a", "").delete("a")).await);
    assert!(wrong(Transaction::new().put("a/b", "").delete_under("a/")).await);
    assert!(wrong(Transaction::new().put("", "")).await);
    assert!(wrong(Transaction::new().delete_under("")).await);
}

async fn next(changes: &mut BoxStream<'static, Change>) -> Change {
    timeout(Duration::from_secs(5), changes.next()).await.expect("in time").expect("a change")
}

async fn watching(store: &dyn Store) {
    let first = store.commit(Transaction::new().put("w/a", "1")).await.expect("put");
    let mut now = store.watch("w/", None);
    let mut after = store.watch("w/", Some(first));
    let second = store.commit(Transaction::new().put("w/b", "1").put("x", "1")).await.expect("put");
    assert!(store.commit(Transaction::new().at("w/a", ABSENT).put("w/a", "2")).await.is_err());
    let third = store.commit(Transaction::new().put("w/a", "2").delete("w/c")).await.expect("put");
    let fourth = store.commit(Transaction::new().delete_under("w/")).await.expect("deleted");
    let put = |key: &str, revision| Change::Put { key: key.into(), revision };
    let deleted = |key: &str| Change::Delete { key: key.into(), revision: fourth };
    let expected = [put("w/b", second), put("w/a", third), deleted("w/a"), deleted("w/b")];
    for changes in [&mut now, &mut after] {
        for expected in &expected {
            assert_eq!(next(changes).await, *expected);
        }
    }
    let mut late = store.watch("w/", Some(third));
    assert_eq!(next(&mut late).await, deleted("w/a"));
    assert!(timeout(Duration::from_millis(50), now.next()).await.is_err(), "nothing else is told");
}

async fn writers_at_the_same_time(store: Arc<dyn Store>) {
    const WRITERS: u32 = 8;
    const EACH: u32 = 20;
    let writer = async |store: Arc<dyn Store>| {
        let mut conflicts = 0;
        for _ in 0..EACH {
            loop {
                let entry = store.get("count").await.expect("read");
                let (count, revision) = entry.map_or((0, ABSENT), |entry| {
                    let bytes = entry.value.as_slice().try_into().expect("four bytes");
                    (u32::from_le_bytes(bytes), entry.revision)
                });
                let swap = Transaction::new().at("count", revision).put("count", (count + 1).to_le_bytes());
                match store.commit(swap).await {
                    Ok(_) => break,
                    Err(Error::Conflict(_)) => conflicts += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        conflicts
    };
    let writers = (0..WRITERS).map(|_| writer(store.clone()));
    let conflicts: u32 = futures_util::future::join_all(writers).await.into_iter().sum();
    let count = store.get("count").await.expect("read").expect("there").value;
    assert_eq!(count.as_slice(), (WRITERS * EACH).to_le_bytes(), "no increment is lost");
    assert!(conflicts > 0, "they met");
}

const KEYS: [&str; 6] = ["a/1", "a/2", "a/22", "b/1", "b", "c"];
const PREFIXES: [&str; 4] = ["a/", "a/2", "b", "d/"];

fn condition() -> impl Strategy<Value = (Condition, bool)> {
    let key = || prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
    prop_oneof![
        // Which revision is the right one is known when it is made.
        4 => (key(), prop::bool::weighted(0.8)).prop_map(|(key, right)| (Condition::At(key, ABSENT), right)),
        1 => key().prop_map(|key| (Condition::Present(key), true)),
        1 => prop::sample::select(&PREFIXES[..]).prop_map(|prefix| (Condition::NoneUnder(prefix.into()), true)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
    prop_oneof![
        4 => (key(), prop::collection::vec(any::<u8>(), 0..8))
            .prop_map(|(key, value)| Operation::Put(key, value.into())),
        2 => key().prop_map(Operation::Delete),
        1 => prop::sample::select(&PREFIXES[..]).prop_map(|prefix| Operation::DeleteUnder(prefix.into())),
    ]
}

type Steps = Vec<(Vec<(Condition, bool)>, Vec<Operation>)>;

fn steps() -> impl Strategy<Value = Steps> {
    let step = (prop::collection::vec(condition(), 0..3), prop::collection::vec(operation(), 0..4));
    prop::collection::vec(step, 1..25)
}

/// A map that does what a store promises.
#[derive(Default)]
struct Model(BTreeMap<String, (Vec<u8>, Revision)>);

impl Model {
    fn revision(&self, key: &str) -> Revision {
        self.0.get(key).map_or(ABSENT, |(_, revision)| *revision)
    }

    fn broken(&self, conditions: &[Condition]) -> Option<String> {
        conditions.iter().find_map(|condition| {
            let (key, holds) = match condition {
                Condition::At(key, revision) => (key, self.revision(key) == *revision),
                Condition::Present(key) => (key, self.0.contains_key(key)),
                Condition::NoneUnder(prefix) => (prefix, !self.0.keys().any(|key| key.starts_with(prefix))),
            };
            (!holds).then(|| key.clone())
        })
    }

    /// Answers what watchers are told.
    fn apply(&mut self, operations: &[Operation], revision: Revision) -> Vec<Change> {
        let mut changes = Vec::new();
        for operation in operations {
            let gone: Vec<String> = match operation {
                Operation::Put(key, value) => {
                    self.0.insert(key.clone(), (value.to_vec(), revision));
                    changes.push(Change::Put { key: key.clone(), revision });
                    Vec::new()
                }
                Operation::Delete(key) => self.0.remove(key).map(|_| key.clone()).into_iter().collect(),
                Operation::DeleteUnder(prefix) => {
                    self.0.extract_if(.., |key, _| key.starts_with(prefix)).map(|(key, _)| key).collect()
                }
            };
            changes.extend(gone.into_iter().map(|key| Change::Delete { key, revision }));
        }
        changes
    }
}

fn changes_a_key_twice(operations: &[Operation]) -> bool {
    operations.iter().enumerate().any(|(at, one)| {
        operations.iter().enumerate().any(|(other_at, other)| {
            let under = matches!(one, Operation::DeleteUnder(prefix) if other.key().starts_with(prefix));
            at != other_at && (one.key() == other.key() || under)
        })
    })
}

/// Random transactions, against the map; whoever watched has seen each change once, in order.
async fn follows_the_model(store: Arc<dyn Store>, steps: Steps) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut watch = store.watch("", None);
    let mut expected = Vec::new();
    for (conditions, operations) in steps {
        let resolve = |(condition, right): (Condition, bool)| match condition {
            Condition::At(key, _) => {
                let Revision(revision) = model.revision(&key);
                Condition::At(key, Revision(if right { revision } else { revision + 1 }))
            }
            other => other,
        };
        let conditions: Vec<Condition> = conditions.into_iter().map(resolve).collect();
        let transaction = Transaction { conditions: conditions.clone(), operations: operations.clone() };
        let outcome = store.commit(transaction).await;
        if changes_a_key_twice(&operations) {
            prop_assert!(matches!(outcome, Err(Error::Transaction(_))));
        } else if let Some(key) = model.broken(&conditions) {
            prop_assert_eq!(outcome, Err(Error::Conflict(key)));
        } else {
            let revision = outcome.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let mut changes = model.apply(&operations, revision);
            changes.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
            expected.push(changes);
        }
        let entries = store.list("").await.expect("list").entries.into_iter();
        let entries = entries.filter(|entry| entry.key != "format");
        let found: BTreeMap<_, _> =
            entries.map(|entry| (entry.key, (entry.value.to_vec(), entry.revision))).collect();
        prop_assert_eq!(&found, &model.0);
    }
    for expected in expected {
        // Within a transaction their order has no meaning.
        let mut told = Vec::new();
        while told.len() < expected.len() {
            let change = next(&mut watch).await;
            if !matches!(&change, Change::Put { key, .. } if key == "format") {
                told.push(change);
            }
        }
        told.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
        prop_assert_eq!(told, expected);
    }
    Ok(())
}

fn model(source: &Source, cases: u32) {
    let runtime = common::runtime();
    let number = std::cell::Cell::new(0);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            number.set(number.get() + 1);
            let Fresh(store, _folder) = source.store(&format!("model{}", number.get())).await;
            follows_the_model(store, steps).await
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn memory_follows_the_model() {
    model(&Source::Memory, 128);
}

#[test]
fn folder_follows_the_model() {
    model(&Source::Folder, 8);
}

#[test]
fn etcd_follows_the_model() {
    if let Some(server) = EtcdServer::start() {
        model(&Source::Etcd(server), 12);
    }
}
