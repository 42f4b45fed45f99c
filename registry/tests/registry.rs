//! The registry in the words of the appliance, on each backend.

mod common;

use common::{EtcdServer, lambda, namespace};
use futures_util::StreamExt as _;
use lnic_registry::{AsyncRequest, Backend, Digest, Error, Event, LambdaKey, Registry, Revision};

const ABSENT: Revision = Revision(0);

async fn suite(backend: Backend) {
    let registry = Registry::open(backend).await.expect("open");
    lambdas_and_their_ids(&registry).await;
    namespaces_and_what_belongs_to_them(&registry).await;
    secrets_are_not_shown(&registry).await;
    modules(&registry).await;
    requests(&registry).await;
    names(&registry).await;
}

#[tokio::test]
async fn memory() {
    suite(Backend::Memory).await;
}

#[tokio::test]
async fn folder() {
    let folder = tempfile::tempdir().expect("a folder");
    suite(Backend::Folder(folder.path().join("state"))).await;
}

#[tokio::test]
async fn etcd() {
    if let Some(server) = EtcdServer::start() {
        suite(server.backend("/lnic", "a", None)).await;
    }
}

async fn lambdas_and_their_ids(registry: &Registry) {
    let mut events = registry.watch();
    let (echo, other) = (LambdaKey::new("default", "echo"), LambdaKey::new("default", "other"));
    let absent = Digest::of(b"absent");
    let refused = registry.put_lambda(&lambda(&echo, 1, 1, absent), ABSENT).await;
    assert_eq!(refused, Err(Error::NoModule(absent)));
    let module = registry.put_module(b"").await.expect("put");
    let id = registry.allocate_id(&echo).await.expect("an ID");
    assert!(id >= 0x8000_0000);
    assert_eq!(registry.allocate_id(&echo).await, Ok(id), "the same name, the same ID");
    let first = lambda(&echo, id, 1, module);
    let conflict = Err(Error::Conflict("lambda \"echo\"".into()));
    assert_eq!(registry.put_lambda(&first, Revision(77)).await, conflict);
    let revision = registry.put_lambda(&first, ABSENT).await.expect("put");
    assert_eq!(events.next().await, Some(Event::Lambda(echo.clone())));
    assert_eq!(registry.put_lambda(&first, ABSENT).await, conflict);
    let found = registry.lambda(&echo).await.expect("read").expect("there");
    assert_eq!((found.value, found.revision), (first.clone(), revision));

    let taken = Err(Error::IdTaken { id, by: echo.clone() });
    assert_eq!(registry.put_lambda(&lambda(&other, id, 1, module), ABSENT).await, taken);
    assert_eq!(registry.lambda(&other).await, Ok(None));
    let second = lambda(&echo, 7, 2, module);
    let revision = registry.put_lambda(&second, revision).await.expect("another ID");
    let kept =
        registry.put_lambda(&lambda(&other, id, 1, module), ABSENT).await.expect("its old one is free");
    let stolen = lambda(&other, 7, 2, module);
    assert_eq!(registry.put_lambda(&stolen, kept).await, Err(Error::IdTaken { id: 7, by: echo.clone() }));
    assert_ne!(registry.allocate_id(&LambdaKey::new("default", "third")).await, Ok(id));
    assert_eq!(registry.allocate_id(&other).await, Ok(id), "it keeps the one that it has");

    let names = async || {
        let lambdas = registry.lambdas().await.expect("list").into_iter();
        lambdas.map(|lambda| lambda.value.key.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["echo", "other"]);
    assert!(matches!(registry.remove_lambda(&echo, ABSENT).await, Err(Error::Conflict(_))));
    registry.remove_lambda(&echo, revision).await.expect("removed");
    assert!(matches!(registry.remove_lambda(&echo, revision).await, Err(Error::Conflict(_))));
    assert_eq!(names().await, ["other"]);
    let again = lambda(&echo, 7, 1, module);
    let revision = registry.put_lambda(&again, ABSENT).await.expect("its ID is free again");
    registry.remove_lambda(&echo, revision).await.expect("removed");
    registry.remove_lambda(&other, kept).await.expect("removed");
    let first_choice = registry.allocate_id(&echo).await.expect("an ID");
    let squatter = registry.put_lambda(&lambda(&other, first_choice, 1, module), ABSENT).await.expect("put");
    assert_eq!(registry.allocate_id(&echo).await, Ok(first_choice.wrapping_add(1) | 0x8000_0000));
    registry.remove_lambda(&other, squatter).await.expect("removed");
}

async fn namespaces_and_what_belongs_to_them(registry: &Registry) {
    let names = async || {
        let namespaces = registry.namespaces().await.expect("list").into_iter();
        namespaces.map(|namespace| namespace.value.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["default"]);
    let missing = Error::NoNamespace("a".into());
    let record = lambda(&LambdaKey::new("a", "echo"), 1, 1, Digest::of(b""));
    assert_eq!(registry.put_lambda(&record, ABSENT).await, Err(missing.clone()));
    assert_eq!(registry.put_secret("a", "key", b"1", None).await, Err(missing.clone()));
    assert_eq!(registry.remove_namespace("a").await, Err(missing));
    assert_eq!(registry.remove_namespace("default").await, Err(Error::DefaultNamespace));

    let first = registry.put_namespace(&namespace("a"), ABSENT).await.expect("put");
    assert!(matches!(registry.put_namespace(&namespace("a"), ABSENT).await, Err(Error::Conflict(_))));
    let second = registry.put_namespace(&namespace("a"), first).await.expect("changed");
    registry.put_namespace(&namespace("zz"), ABSENT).await.expect("put");
    assert_eq!(names().await, ["a", "default", "zz"]);
    assert_eq!(registry.namespace("a").await.expect("read").map(|found| found.revision), Some(second));

    let revision = registry.put_lambda(&record, ABSENT).await.expect("put");
    registry.put_secret("a", "key", b"1", None).await.expect("put");
    registry.put_namespace(&namespace("aa"), ABSENT).await.expect("put");
    registry.put_secret("aa", "key", b"2", None).await.expect("put");
    let in_use = Error::NamespaceInUse { namespace: "a".into(), lambda: "echo".into() };
    assert_eq!(registry.remove_namespace("a").await, Err(in_use));
    assert_eq!(registry.secret_names("a").await, Ok(vec!["key".to_owned()]));
    registry.remove_lambda(&record.key, revision).await.expect("removed");
    registry.remove_namespace("a").await.expect("removed");
    assert_eq!(registry.secret("a", "key").await, Ok(None));
    assert_eq!(registry.secret_names("aa").await, Ok(vec!["key".to_owned()]), "another's stay");
    assert_eq!(names().await, ["aa", "default", "zz"]);
}

async fn secrets_are_not_shown(registry: &Registry) {
    let mut events = registry.watch();
    let first = registry.put_secret("default", "db.key", b"hunter2", Some(ABSENT)).await.expect("put");
    let event = Event::Secret { namespace: "default".into(), name: "db.key".into() };
    assert_eq!(events.next().await, Some(event));
    let put = async |expected| registry.put_secret("default", "db.key", b"hunter3", expected).await;
    assert!(matches!(put(Some(ABSENT)).await, Err(Error::Conflict(_))));
    let second = put(Some(first)).await.expect("changed");
    let found = registry.secret("default", "db.key").await.expect("read").expect("there");
    assert_eq!((found.value.bytes(), found.revision), (&b"hunter3"[..], second));
    let shown = format!("{found:?}");
    assert!(!shown.contains("hunter") && !shown.contains("104, 117"), "{shown}");
    assert_eq!(registry.remove_secret("default", "db.key").await, Ok(true));
    assert_eq!(registry.remove_secret("default", "db.key").await, Ok(false));
}

async fn modules(registry: &Registry) {
    let large: Vec<u8> = (0..1_300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let digest = registry.put_module(&large).await.expect("put");
    assert_eq!(digest, Digest::of(&large));
    assert_eq!(registry.put_module(&large).await, Ok(digest), "once more is the same");
    assert!(registry.module(&digest).await.expect("read") == Some(large.clone()));
    let empty = registry.put_module(b"").await.expect("put");
    let mut expected = vec![(digest, large.len() as u64), (empty, 0)];
    expected.sort();
    assert_eq!(registry.modules().await, Ok(expected));
    assert_eq!(registry.module(&Digest::of(b"other")).await, Ok(None));
    assert!(matches!(registry.put_module(&vec![0; (16 << 20) + 1]).await, Err(Error::TooLarge { .. })));
}

fn request(call_id: &str, body_bytes: usize) -> AsyncRequest {
    AsyncRequest {
        call_id: call_id.to_owned(),
        key: LambdaKey::new("default", "echo"),
        body: (0..body_bytes).map(|n| (n % 251) as u8).collect(),
        callback: Some("http://192.0.2.1/".to_owned()),
        headers: vec![("X-A".to_owned(), "ä".to_owned())],
        received_at_ms: 5,
        attempts: 0,
    }
}

async fn requests(registry: &Registry) {
    let (small, large) = (request("1", 10), request("2", 3_000_000));
    let first = registry.push_request(&small).await.expect("pushed");
    let second = registry.push_request(&large).await.expect("pushed");
    assert!(registry.requests().await.expect("list") == [(first, small.clone()), (second, large.clone())]);
    let taken = registry.take_request(second).await.expect("taken").expect("there");
    assert!(taken == AsyncRequest { attempts: 1, ..large });
    assert_eq!(registry.take_request(second).await, Ok(None), "it is taken");
    registry.release_request(second);
    assert_eq!(registry.take_request(second).await.expect("taken").map(|taken| taken.attempts), Some(2));
    registry.finish_request(second).await.expect("finished");
    assert_eq!(registry.take_request(second).await, Ok(None));
    assert_eq!(registry.requests().await, Ok(vec![(first, small)]));
    registry.finish_request(first).await.expect("finished");
    assert_eq!(registry.requests().await, Ok(vec![]));
}

async fn names(registry: &Registry) {
    let is_name = |outcome: Result<_, Error>| !matches!(outcome, Err(Error::Name { .. }));
    for name in ["", "A", "a/b", "..", "a\0", "ä"] {
        let record = lambda(&LambdaKey::new("default", name), 1, 1, Digest::of(b""));
        assert!(!is_name(registry.put_lambda(&record, ABSENT).await), "{name:?}");
        assert!(!is_name(registry.put_namespace(&namespace(name), ABSENT).await), "{name:?}");
        assert!(!is_name(registry.put_secret(name, "a", b"", None).await), "{name:?}");
    }
    for name in ["", ".a", "a/b", "a b"] {
        assert!(!is_name(registry.put_secret("default", name, b"", None).await), "{name:?}");
    }
    assert!(is_name(registry.put_secret("default", "A_b-c.d", b"", None).await));
}

#[tokio::test]
async fn everything_is_there_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = || Backend::Folder(folder.path().to_owned());
    let record = lambda(&LambdaKey::new("a", "echo"), 9, 3, Digest::of(b"wasm"));
    let (revision, id) = {
        let registry = Registry::open(backend()).await.expect("open");
        registry.put_namespace(&namespace("a"), ABSENT).await.expect("put");
        registry.put_secret("a", "key", b"1", None).await.expect("put");
        registry.put_module(b"wasm").await.expect("put");
        let id = registry.push_request(&request("1", 600_000)).await.expect("pushed");
        registry.take_request(id).await.expect("taken").expect("there");
        (registry.put_lambda(&record, ABSENT).await.expect("put"), id)
    };
    let registry = Registry::open(backend()).await.expect("open");
    let found = registry.lambda(&record.key).await.expect("read").expect("there");
    assert_eq!((&found.value, found.revision), (&record, revision));
    assert_eq!(registry.secret("a", "key").await.expect("read").expect("there").value.bytes(), b"1");
    assert_eq!(registry.module(&Digest::of(b"wasm")).await, Ok(Some(b"wasm".to_vec())));
    let again = registry.take_request(id).await.expect("taken").expect("nobody has it any more");
    assert!(again == AsyncRequest { attempts: 2, ..request("1", 600_000) });
    assert!(registry.push_request(&request("2", 0)).await.expect("pushed") > id);
    let changed = registry.put_lambda(&record, revision).await.expect("put");
    assert!(changed > revision);
    assert_eq!(registry.appliances().await.expect("ourselves").len(), 1);
}
