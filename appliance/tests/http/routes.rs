//! What the native routes do.

use std::time::Duration;

use lnic::control::http::{Settings, openapi_document};
use lnic::control::plane::LambdaKey;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, wait_until};
use crate::plane::{PlaneDouble, WASM};

const ECHO: &str = "/v1/namespaces/default/lambdas/echo";

fn server() -> Server {
    Server::start(PlaneDouble::new().with_namespace("team-a"), Settings::default())
}

fn upload(server: &Server, wasm: &[u8]) -> Answer {
    let mut client = server.connect();
    let head = format!("POST /v1/modules HTTP/1.1\r\nHost: lnic\r\nContent-Length: {}\r\n\r\n", wasm.len());
    client.send(head.as_bytes()).unwrap();
    client.send(wasm).unwrap();
    client.answer().expect("an answer")
}

fn deployment(digest: &str) -> Value {
    json!({ "manifest": { "name": "echo" }, "module": digest, "image": "echo.wasm" })
}

#[test]
fn a_lambda_lives() {
    let server = server();
    let uploaded = upload(&server, WASM);
    assert_eq!(uploaded.status, 201);
    let module = uploaded.json();
    let digest = module["digest"].as_str().unwrap();
    assert_eq!(module["bytes"], WASM.len());
    assert_eq!(server.ask("GET", "/v1/modules", None).json(), json!([module]));

    let new = server.ask("PUT", &format!("{ECHO}?existing=true"), Some(&deployment(digest)));
    assert_eq!((new.status, new.error()), (404, "no lambda \"echo\" in namespace \"default\"".into()));
    let new = server.ask("PUT", &format!("{ECHO}?existing=false"), Some(&deployment(digest)));
    assert_eq!(new.status, 201);
    assert_eq!((&new.json()["generation"], &new.json()["phase"]), (&json!(1), &json!("active")));
    let again = server.ask("PUT", &format!("{ECHO}?existing=false"), Some(&deployment(digest)));
    assert_eq!(again.status, 409);
    let upgraded = server.ask("PUT", ECHO, Some(&deployment(digest)));
    assert_eq!((upgraded.status, &upgraded.json()["generation"]), (200, &json!(2)));

    let shown = server.ask("GET", ECHO, None).json();
    assert_eq!(shown, upgraded.json());
    assert_eq!(server.ask("GET", "/v1/lambdas", None).json(), json!([shown]));
    assert_eq!(server.ask("GET", "/v1/lambdas?namespace=team-a", None).json(), json!([]));
    assert_eq!(server.ask("GET", "/v1/lambdas?namespace=team-x", None).status, 404);

    let scaled = server.ask("POST", &format!("{ECHO}/scale"), Some(&json!({ "replicas": 0 })));
    assert_eq!((scaled.status, &scaled.json()["phase"]), (200, &json!("asleep")));
    let back = server.ask("POST", &format!("{ECHO}/rollback"), None);
    assert_eq!((back.status, &back.json()["generation"]), (200, &json!(1)));
    let forth = server.ask("POST", &format!("{ECHO}/rollback"), Some(&json!({ "generation": 2 })));
    assert_eq!((forth.status, &forth.json()["generation"]), (200, &json!(2)));
    let nowhere = server.ask("POST", &format!("{ECHO}/rollback"), Some(&json!({ "generation": 7 })));
    assert_eq!(
        (nowhere.status, nowhere.error()),
        (404, "lambda \"echo\": no generation 7: it has 1, 2".into())
    );

    let release = || server.ask("POST", &format!("{ECHO}/release"), None).json();
    assert_eq!(release(), json!({ "released": false }));
    server.plane.quarantine(&LambdaKey::new("default", "echo"));
    assert_eq!(release(), json!({ "released": true }));
    assert_eq!(server.ask("GET", &format!("{ECHO}/inspection"), None).json()["layout"], "dense");

    let gone = server.ask("DELETE", ECHO, None);
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    assert_eq!(server.ask("DELETE", ECHO, None).status, 404);
    assert_eq!(server.ask("GET", ECHO, None).status, 404);
}

#[test]
fn namespaces_and_secrets() {
    let server = server();
    let made =
        server.ask("POST", "/v1/namespaces", Some(&json!({ "name": "team-b", "labels": { "a": "1" } })));
    assert_eq!(made.status, 201);
    assert_eq!(made.json(), json!({ "name": "team-b", "labels": { "a": "1" }, "annotations": {} }));
    let again = server.ask("POST", "/v1/namespaces", Some(&json!({ "name": "team-b" })));
    assert_eq!(again.status, 409);
    let changed = server.ask("PUT", "/v1/namespaces/team-b", Some(&json!({ "annotations": { "b": "2" } })));
    assert_eq!(changed.json(), json!({ "name": "team-b", "labels": {}, "annotations": { "b": "2" } }));
    let renamed = server.ask("PUT", "/v1/namespaces/team-b", Some(&json!({ "name": "team-c" })));
    assert_eq!(
        (renamed.status, renamed.error()),
        (422, "name: \"team-c\" is not the path's \"team-b\"".into())
    );
    assert_eq!(server.ask("PUT", "/v1/namespaces/team-x", Some(&json!({}))).status, 404);

    let set = |query: &str, value: &[u8]| {
        let mut client = server.connect();
        let path = format!("/v1/namespaces/team-b/secrets/key.pem{query}");
        let head = format!("PUT {path} HTTP/1.1\r\nHost: lnic\r\nContent-Length: {}\r\n\r\n", value.len());
        client.send(&[head.as_bytes(), value].concat()).unwrap();
        client.answer().expect("an answer").status
    };
    assert_eq!(set("?existing=true", b"one"), 404);
    assert_eq!(set("", b"\x00\xff"), 201);
    assert_eq!(set("?existing=false", b"two"), 409);
    assert_eq!(set("?existing=true", b"two"), 204);
    assert_eq!(set("", &[7; 64 << 10]), 204);
    assert_eq!(set("", &[7; (64 << 10) + 1]), 413);
    assert_eq!(server.plane.secret("team-b", "key.pem").unwrap().bytes().len(), 64 << 10);
    let names = server.ask("GET", "/v1/namespaces/team-b/secrets", None);
    assert_eq!(names.json(), json!(["key.pem"]));
    let secret = "/v1/namespaces/team-b/secrets/key.pem";
    assert_eq!(server.ask("GET", secret, None).status, 405, "nothing ever shows one");

    let body = json!({ "manifest": { "name": "echo", "secrets": ["key.pem"] }, "module": upload(&server, WASM).json()["digest"] });
    assert_eq!(server.ask("PUT", "/v1/namespaces/team-b/lambdas/echo", Some(&body)).status, 201);
    assert_eq!(server.ask("DELETE", secret, None).status, 409, "a lambda names it");
    assert_eq!(server.ask("DELETE", "/v1/namespaces/team-b", None).status, 409, "it has a lambda");
    assert_eq!(server.ask("DELETE", "/v1/namespaces/team-b/lambdas/echo", None).status, 204);
    assert_eq!(server.ask("DELETE", secret, None).status, 204);
    assert_eq!(server.ask("DELETE", secret, None).status, 404);
    assert_eq!(server.ask("DELETE", "/v1/namespaces/team-b", None).status, 204);
}

#[test]
fn mistakes_are_named() {
    let server = server();
    let digest = upload(&server, WASM).json()["digest"].as_str().unwrap().to_owned();
    let with = |manifest: Value| json!({ "manifest": manifest, "module": digest });
    let long = "x".repeat(1025);
    for (method, path, body, status, names) in [
        (
            "PUT",
            ECHO,
            with(json!({ "name": "other" })),
            422,
            "manifest.name: \"other\" is not the path's \"echo\"",
        ),
        ("PUT", ECHO, with(json!({ "name": "echo", "weigth": 2 })), 400, "weigth"),
        ("PUT", ECHO, with(json!({ "name": "echo", "weight": "2" })), 400, "manifest.weight"),
        ("PUT", ECHO, with(json!({ "name": "echo", "weight": -2 })), 400, "manifest.weight"),
        ("PUT", ECHO, with(json!({ "name": "echo", "rules": [{ "prioritty": 1 }] })), 400, "prioritty"),
        ("PUT", ECHO, with(json!({ "name": "echo", "weight": 0 })), 422, "weight: 0 is not in 1–1000"),
        ("PUT", ECHO, json!({ "manifest": { "name": "echo" }, "module": "sha256:12" }), 400, "module"),
        (
            "PUT",
            ECHO,
            json!({ "manifest": { "name": "echo" }, "module": format!("sha256:{}", "0".repeat(64)) }),
            404,
            "upload it first",
        ),
        (
            "PUT",
            ECHO,
            json!({ "manifest": { "name": "echo" }, "module": digest, "image": long }),
            400,
            "image",
        ),
        ("PUT", ECHO, json!([]), 400, "invalid"),
        ("PUT", &format!("{ECHO}?exisiting=true"), with(json!({ "name": "echo" })), 400, "exisiting"),
        ("PUT", &format!("{ECHO}?existing=yes"), with(json!({ "name": "echo" })), 400, "existing"),
        (
            "PUT",
            "/v1/namespaces/Team/lambdas/echo",
            with(json!({ "name": "echo" })),
            400,
            "\"Team\" is no name",
        ),
        (
            "PUT",
            "/v1/namespaces/default/lambdas/e.c",
            with(json!({ "name": "e.c" })),
            400,
            "\"e.c\" is no name",
        ),
        (
            "PUT",
            "/v1/namespaces/nope/lambdas/echo",
            with(json!({ "name": "echo" })),
            404,
            "no namespace \"nope\"",
        ),
        ("POST", &format!("{ECHO}/scale"), json!({}), 400, "replicas"),
        ("POST", &format!("{ECHO}/scale"), json!({ "replicas": 1 }), 404, "no lambda \"echo\""),
        ("POST", "/v1/namespaces", json!({ "name": "a b" }), 400, "\"a b\" is no name"),
        (
            "PUT",
            "/v1/namespaces/default/secrets/.hidden",
            json!({}),
            400,
            "\".hidden\" is no name of a secret",
        ),
        ("GET", "/v1/logs?tail=many", Value::Null, 400, "tail"),
        ("GET", "/v1/logs?tail=1&tail=2", Value::Null, 400, "tail"),
        ("GET", "/v1/logs?name=nope&namespace=default", Value::Null, 404, "no lambda \"nope\""),
        ("GET", "/v1/nothing", Value::Null, 404, "no route /v1/nothing"),
        ("GET", "//v1/info", Value::Null, 404, "no route"),
        ("PATCH", ECHO, Value::Null, 405, "PATCH is no method of /v1/namespaces/default/lambdas/echo"),
    ] {
        let answer = server.ask(method, path, Some(&body).filter(|body| !body.is_null()));
        assert_eq!(answer.status, status, "{method} {path} {body}");
        assert!(answer.error().contains(names), "{method} {path}: {}", answer.error());
    }
    let answer = server.ask("PATCH", ECHO, None);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("DELETE")), "{answer:?}");
    let mut client = server.connect();
    client
        .send(format!("PUT {ECHO} HTTP/1.1\r\nHost: l\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes())
        .unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.error()), (415, "Content-Type: expected application/json".into()));
    let fixed = Server::start(PlaneDouble::new().with_configured("echo"), Settings::default());
    assert_eq!(fixed.ask("DELETE", ECHO, None).status, 409);
}

#[test]
fn what_the_plane_refuses_says_when_to_try_again() {
    let server = server();
    server.plane.set_away(Some("etcd http://192.0.2.1:2379: no answer"));
    let answer = server.ask("POST", "/v1/namespaces", Some(&json!({ "name": "team-b" })));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.error(), "etcd http://192.0.2.1:2379: no answer");
    assert_eq!(server.ask("GET", "/v1/namespaces", None).status, 200);
}

#[test]
fn uploads_end_at_sixteen_mebibytes() {
    let server = server();
    let mut wasm = WASM.to_vec();
    wasm.resize(16 << 20, 0);
    assert_eq!(upload(&server, &wasm).status, 201);
    // One byte more: refused by what its length says, before it is sent.
    let mut client = server.connect();
    let length = (16 << 20) + 1;
    client
        .send(format!("POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.error().contains("16777216")), (413, true));
    // And by its bytes, where no length is said.
    let mut client = server.connect();
    client.send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
    for _ in 0..300 {
        if client.send(&chunk).is_err() {
            break;
        }
    }
    assert!(client.answer().is_none_or(|answer| answer.status == 413));
    server.assert_well();
}

#[test]
fn logs_are_lines_of_json() {
    let server = Server::start(PlaneDouble::new().with_lambda("default", "echo"), Settings::default());
    let key = LambdaKey::new("default", "echo");
    for text in ["one", "two \"quoted\"", "three"] {
        server.plane.log(&key, text);
    }
    let lines = |path: &str| -> Vec<Value> {
        let answer = server.ask("GET", path, None);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
        let text = String::from_utf8(answer.body).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines("/v1/logs?namespace=default&name=echo");
    assert_eq!(all.len(), 3);
    assert_eq!(all[1]["text"], "two \"quoted\"");
    assert_eq!((&all[0]["namespace"], &all[0]["name"]), (&json!("default"), &json!("echo")));
    assert_eq!(lines("/v1/logs?tail=1")[0]["text"], "three");
    let since = all[1]["time_ms"].as_u64().unwrap();
    assert_eq!(lines(&format!("/v1/logs?since_ms={since}")).len(), 2);
}

#[test]
fn a_log_is_followed_until_the_reader_leaves() {
    let server = Server::start(PlaneDouble::new().with_lambda("default", "echo"), Settings::default());
    let key = LambdaKey::new("default", "echo");
    server.plane.log(&key, "before");
    let mut reader = server.connect();
    reader.send(b"GET /v1/logs?follow=true HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    assert!(reader.head().starts_with("HTTP/1.1 200"));
    let text = |reader: &mut Client<_>| {
        let chunk = reader.chunk().expect("a line");
        serde_json::from_slice::<Value>(&chunk).unwrap()["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text(&mut reader), "before");
    wait_until("the reader follows", || server.plane.followers() == 1);
    server.plane.log(&key, "after");
    assert_eq!(text(&mut reader), "after");
    drop(reader);
    wait_until("the reader is gone", || server.plane.followers() == 0);
    server.assert_well();
}

#[test]
fn a_followed_log_does_not_keep_the_server() {
    let mut server = Server::start(PlaneDouble::new().with_lambda("default", "echo"), Settings::default());
    let mut reader = server.connect();
    reader.send(b"GET /v1/logs?follow=true HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    assert!(reader.head().starts_with("HTTP/1.1 200"));
    let start = std::time::Instant::now();
    server.handle.take().unwrap().stop();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(reader.chunk(), Some(Vec::new()), "it ends as a whole");
}

#[test]
fn connections_are_kept_and_requests_may_be_sent_ahead() {
    let server = server();
    let mut client = server.connect();
    for _ in 0..100 {
        assert_eq!(client.ask("GET", "/v1/info", None, None).json()["user"], "local");
    }
    client.send(&b"GET /healthz HTTP/1.1\r\nHost: l\r\n\r\n".repeat(50)).unwrap();
    for _ in 0..50 {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    let head = "HEAD /healthz HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n";
    client.send(head.as_bytes()).unwrap();
    assert!(client.head().starts_with("HTTP/1.1 200"));
    assert!(client.closed().is_some());
}

#[test]
fn the_document_is_served() {
    let server = server();
    let answer = server.ask("GET", "/v1/openapi.json", None);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), *openapi_document());
}
