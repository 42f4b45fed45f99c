//! Several appliances that share an etcd, which is killed and comes back.

mod common;

use std::time::Duration;

use common::{EtcdServer, lambda, namespace};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use lnic_registry::{Digest, Error, Event, LambdaKey, Registry, Revision};
use tokio::time::{sleep, timeout};

const ABSENT: Revision = Revision(0);
const PREFIX: &str = "/lnic";

fn key(name: &str) -> LambdaKey {
    LambdaKey::new("default", name)
}

/// Waits for an event; others may come before.
async fn wait_for(events: &mut BoxStream<'static, Event>, is_it: impl Fn(&Event) -> bool) {
    let found = async { while !is_it(&events.next().await.expect("the registry is there")) {} };
    timeout(Duration::from_secs(20), found).await.expect("in time");
}

async fn told_of(events: &mut BoxStream<'static, Event>, name: &str) {
    wait_for(events, |event| *event == Event::Lambda(key(name))).await;
}

async fn names(registry: &Registry) -> Vec<String> {
    let lambdas = registry.lambdas().await.expect("list").into_iter();
    lambdas.map(|lambda| lambda.value.key.name).collect()
}

#[tokio::test]
async fn two_appliances_see_each_other() {
    let Some(server) = EtcdServer::start() else { return };
    let a = Registry::open(server.backend(PREFIX, "a", None)).await.expect("open");
    let b = Registry::open(server.backend(PREFIX, "b", None)).await.expect("open");
    let elsewhere = Registry::open(server.backend("/other", "c", None)).await.expect("open");
    let (mut told_a, mut told_b) = (a.watch(), b.watch());

    let wasm: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let module = a.put_module(&wasm).await.expect("put");
    let first = a.put_lambda(&lambda(&key("echo"), 1, 1, module), ABSENT).await.expect("put");
    told_of(&mut told_b, "echo").await;
    assert!(b.module(&module).await.expect("fetched") == Some(wasm));
    let taken = Err(Error::IdTaken { id: 1, by: key("echo") });
    assert_eq!(b.put_lambda(&lambda(&key("other"), 1, 1, module), ABSENT).await, taken);

    // Both change it at the same time: one wins, the other reads what won and goes on.
    let (of_a, of_b) = (lambda(&key("echo"), 1, 2, module), lambda(&key("echo"), 1, 3, module));
    let (by_a, by_b) = tokio::join!(a.put_lambda(&of_a, first), b.put_lambda(&of_b, first));
    let (loser, record, won) = match (by_a, by_b) {
        (Ok(won), Err(Error::Conflict(_))) => (&b, &of_b, won),
        (Err(Error::Conflict(_)), Ok(won)) => (&a, &of_a, won),
        other => panic!("{other:?}"),
    };
    let read = loser.lambda(&key("echo")).await.expect("read").expect("there");
    assert_eq!(read.revision, won, "who lost reads what won");
    loser.put_lambda(record, read.revision).await.expect("put");

    // A namespace is removed by one while the other puts a lambda into it: never both.
    for round in 0..10_u32 {
        let revision = a.put_namespace(&namespace("tenant"), ABSENT).await.expect("put");
        wait_for(&mut told_b, |event| *event == Event::Namespace("tenant".into())).await;
        let record = lambda(&LambdaKey::new("tenant", "echo"), 100 + round, 1, module);
        let (removed, put) = tokio::join!(a.remove_namespace("tenant"), b.put_lambda(&record, ABSENT));
        match (removed, put) {
            (Ok(()), Err(Error::NoNamespace(_))) => {}
            (Err(Error::NamespaceInUse { .. }), Ok(at)) => {
                b.remove_lambda(&record.key, at).await.expect("removed");
                a.remove_namespace("tenant").await.expect("removed");
            }
            other => panic!("round {round}, namespace at {revision:?}: {other:?}"),
        }
        wait_for(&mut told_b, |event| *event == Event::Namespace("tenant".into())).await;
    }
    wait_for(&mut told_a, |event| *event == Event::Lambda(key("echo"))).await;
    assert_eq!(names(&elsewhere).await, [""; 0]);
}

#[tokio::test]
async fn etcd_goes_and_comes_back() {
    let Some(mut server) = EtcdServer::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let a = Registry::open(server.backend(PREFIX, "a", Some(&folder))).await.expect("open");
    let b = Registry::open(server.backend(PREFIX, "b", None)).await.expect("open");
    let (mut told_a, mut told_b) = (a.watch(), b.watch());
    let module = a.put_module(b"wasm").await.expect("put");
    let echo = lambda(&key("echo"), 1, 1, module);
    let revision = a.put_lambda(&echo, ABSENT).await.expect("put");
    let gone = a.put_lambda(&lambda(&key("gone"), 2, 1, module), ABSENT).await.expect("put");
    told_of(&mut told_b, "gone").await;

    server.kill();
    for told in [&mut told_a, &mut told_b] {
        wait_for(told, |event| matches!(event, Event::Unavailable(_))).await;
    }
    assert_eq!(names(&b).await, ["echo", "gone"], "what was read can be read");
    assert_eq!(a.module(&module).await, Ok(Some(b"wasm".to_vec())));
    let refused = a.put_lambda(&echo, revision).await.expect_err("it cannot be changed");
    assert!(matches!(&refused, Error::Unavailable { endpoints, .. } if *endpoints == server.endpoint()));
    assert!(matches!(a.appliances().await, Err(Error::Unavailable { .. })));
    let mut late = a.watch();
    assert!(matches!(late.next().await, Some(Event::Unavailable(_))), "who comes later is told");

    // An appliance that starts now has what it had.
    a.close().await;
    let a = Registry::open(server.backend(PREFIX, "a", Some(&folder))).await.expect("open");
    assert_eq!(names(&a).await, ["echo", "gone"]);
    let new = tempfile::tempdir().expect("a folder");
    let never = Registry::open(server.backend(PREFIX, "c", Some(&new))).await.err();
    assert!(
        matches!(never, Some(Error::Unavailable { .. })),
        "who never saw anything cannot start: {never:?}"
    );
    let mut told_a = a.watch();

    server.restart();
    for told in [&mut told_a, &mut told_b] {
        wait_for(told, |event| *event == Event::Available).await;
    }
    a.remove_lambda(&key("gone"), gone).await.expect("removed");
    b.put_lambda(&lambda(&key("new"), 3, 1, module), ABSENT).await.expect("put");
    told_of(&mut told_b, "gone").await;
    told_of(&mut told_a, "new").await;
    assert_eq!((names(&a).await, names(&b).await), (vec!["echo".into(), "new".into()], names(&a).await));

    // What others change while one is away is told when it is back.
    a.close().await;
    let at = b.lambda(&key("new")).await.expect("read").expect("there").revision;
    b.remove_lambda(&key("new"), at).await.expect("removed");
    let a = Registry::open(server.backend(PREFIX, "a", Some(&folder))).await.expect("open");
    assert_eq!(names(&a).await, ["echo"]);

    // An etcd with nothing in it is another one: everything is read again.
    let mut told_a = a.watch();
    server.replace();
    wait_for(&mut told_a, |event| *event == Event::Resync).await;
    assert_eq!(names(&a).await, [""; 0]);
    a.put_lambda(&echo, ABSENT).await.expect("put");
    assert_eq!(names(&a).await, ["echo"]);
}

#[tokio::test]
async fn appliances_are_there_while_their_lease_is() {
    let Some(mut server) = EtcdServer::start() else { return };
    let a = Registry::open(server.backend(PREFIX, "a", None)).await.expect("open");
    let b = Registry::open(server.backend(PREFIX, "b", None)).await.expect("open");
    b.announce("192.0.2.1:8443");
    let expect = async |registry: &Registry, expected: &[(&str, &str)]| {
        let there = async {
            loop {
                let found = registry.appliances().await.unwrap_or_default();
                let found: Vec<_> =
                    found.iter().map(|found| (found.name.as_str(), found.address.as_str())).collect();
                if found == expected {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(20), there).await.expect("in time");
    };
    expect(&a, &[("a", ""), ("b", "192.0.2.1:8443")]).await;
    server.kill();
    sleep(Duration::from_secs(3)).await;
    server.restart();
    expect(&a, &[("a", ""), ("b", "192.0.2.1:8443")]).await;
    sleep(Duration::from_secs(4)).await;
    expect(&a, &[("a", ""), ("b", "192.0.2.1:8443")]).await;
    b.close().await;
    let found = a.appliances().await.expect("list");
    assert_eq!(found.len(), 1, "who leaves is gone at once");
    let c = Registry::open(server.backend(PREFIX, "c", None)).await.expect("open");
    expect(&a, &[("a", ""), ("c", "")]).await;
    drop(c);
    expect(&a, &[("a", "")]).await;
}

#[tokio::test]
async fn modules_are_collected_for_all() {
    let Some(server) = EtcdServer::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let a = Registry::open(server.backend(PREFIX, "a", Some(&folder))).await.expect("open");
    let b = Registry::open(server.backend(PREFIX, "b", None)).await.expect("open");
    let module = a.put_module(b"wasm").await.expect("put");
    assert_eq!(b.modules().await, Ok(vec![(module, 4)]));
    assert_eq!(b.collect().await, Ok(vec![]), "it is young");
    // A damaged file comes from etcd again.
    let file = folder.path().join(format!("modules/{}.wasm", module.hex()));
    std::fs::write(&file, "wasn").expect("written");
    assert_eq!(a.module(&module).await, Ok(Some(b"wasm".to_vec())));
    assert_eq!(std::fs::read(&file).expect("read"), b"wasm");
    assert_eq!(b.module(&Digest::of(b"none")).await, Ok(None));
    // Several that need it at once all get it.
    for _ in 0..20 {
        std::fs::remove_file(&file).expect("removed");
        let fetched = futures_util::future::join_all((0..8).map(|_| a.module(&module))).await;
        assert!(fetched.iter().all(|fetched| *fetched == Ok(Some(b"wasm".to_vec()))), "{fetched:?}");
    }
}
