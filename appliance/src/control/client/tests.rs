//! The client against a real HTTP server, on a unix socket and over TLS.

pub(crate) mod double;

use std::path::Path;
use std::sync::Arc;

use double::{Certificate, Double};
use zeroize::Zeroizing;

use super::*;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

fn client(target: Target) -> Client {
    Client::new(target, None).expect("a client")
}

fn manifest(name: &str) -> Manifest {
    Manifest { name: name.into(), ..Manifest::default() }
}

/// Everything once, whatever the connection.
async fn everything(client: &Client, double: &Double, authorization: &str) {
    let echo = LambdaKey::new("default", "echo");
    let wasm = b"\0asm code";
    let digest = Digest::of(wasm);
    assert_eq!(client.info().await.unwrap()["name"], "double");
    let readiness = client.readiness().await.unwrap();
    assert_eq!((readiness.ready, readiness.problems.len()), (false, 1), "503 is an answer too");

    let manifest = manifest("echo");
    let request = DeployRequest { manifest: &manifest, module: digest, image: "lambdas/echo" };
    let early = client.deploy("default", &request, None).await.unwrap_err();
    assert!(early.is_not_found() && early.to_string().ends_with(": upload it first"), "{early}");
    let module = client.upload(wasm.to_vec().into()).await.unwrap();
    assert_eq!((module.digest.as_str(), module.bytes), (digest.to_string().as_str(), 9));
    assert_eq!(client.modules().await.unwrap(), [module]);
    let first = client.deploy("default", &request, Some(false)).await.unwrap();
    assert_eq!(
        (first.generation, &first.manifest, first.generations[0].image.as_str()),
        (1, &manifest, "lambdas/echo")
    );
    assert!(
        client
            .deploy("default", &request, Some(false))
            .await
            .unwrap_err()
            .to_string()
            .contains("it is there")
    );
    assert_eq!(client.deploy("default", &request, Some(true)).await.unwrap().generation, 2);
    client.deploy("acme", &request, None).await.unwrap();

    assert_eq!(client.lambdas(None).await.unwrap().len(), 2);
    assert_eq!(client.lambdas(Some("acme")).await.unwrap()[0].key, LambdaKey::new("acme", "echo"));
    assert_eq!(client.lambda(&echo).await.unwrap().generation, 2);
    assert_eq!(client.rollback(&echo, None).await.unwrap().generation, 1);
    assert_eq!(client.rollback(&echo, Some(2)).await.unwrap().generation, 2);
    assert_eq!(client.scale(&echo, 0).await.unwrap().replicas, Some(0));
    assert!(client.release(&echo).await.unwrap());
    assert_eq!(client.rules().await.unwrap()[0].lambda.name, "dns");
    client.remove(&echo).await.unwrap();
    let gone = client.remove(&echo).await.unwrap_err().to_string();
    assert!(gone.ends_with(": no lambda \"echo\" in namespace \"default\""), "{gone}");

    let acme = Namespace { name: "acme".into(), ..Namespace::default() };
    client.create_namespace(&acme).await.unwrap();
    assert_eq!(client.namespaces().await.unwrap(), std::slice::from_ref(&acme));
    assert!(client.create_namespace(&acme).await.is_err());
    client.remove_namespace("acme").await.unwrap();
    let secret = SecretValue::new(b"\0bytes\n".to_vec());
    assert!(client.set_secret("acme", "key", &secret, Some(false)).await.unwrap(), "new");
    assert!(!client.set_secret("acme", "key", &secret, None).await.unwrap(), "changed");
    assert_eq!(client.secrets("acme").await.unwrap(), ["key"]);
    client.remove_secret("acme", "key").await.unwrap();
    let asked = double.taken();
    assert!(asked.iter().all(|line| line.ends_with(authorization)), "{asked:?}");
    let without: Vec<&str> = asked.iter().filter_map(|line| line.strip_suffix(authorization)).collect();
    for line in [
        "POST /v1/modules application/wasm ",
        "PUT /v1/namespaces/default/lambdas/echo?existing=false application/json ",
        "GET /v1/lambdas?namespace=acme - ",
        "POST /v1/namespaces/default/lambdas/echo/release - ",
        "PUT /v1/namespaces/acme/secrets/key?existing=false application/octet-stream ",
        "DELETE /v1/namespaces/acme/secrets/key - ",
    ] {
        assert!(without.contains(&line), "{line}: {without:?}");
    }
}

#[test]
fn over_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let double = Arc::new(Double::default());
        let target = double.on_socket(&folder.path().join("lnic.sock"));
        everything(&client(target.clone()), &double, "-").await;
        // A token is not for sockets.
        let token = Credentials::Token(Zeroizing::new("abc".into()));
        Client::new(target, Some(&token)).unwrap().rules().await.unwrap();
        assert_eq!(double.taken(), ["GET /v1/rules - -"]);
    });
}

#[test]
fn over_tls_as_a_user_or_with_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::new(folder.path(), "server");
    run(async {
        let me = Credentials::Password { user: "me".into(), password: Zeroizing::new("p:w".into()) };
        let token = Credentials::Token(Zeroizing::new("abc".into()));
        for (credentials, header) in [(me, "Basic bWU6cDp3"), (token, "Bearer abc")] {
            let double = Arc::new(Double::default());
            let target = double.on_tls(&certificate).await;
            everything(&Client::new(target, Some(&credentials)).unwrap(), &double, header).await;
        }
        let target = Target::url("https://localhost", Some(&certificate.path)).unwrap();
        let bad = Credentials::Token(Zeroizing::new("a\nb".into()));
        let error = Client::new(target.clone(), Some(&bad)).err().unwrap().to_string();
        assert!(error.starts_with("the token cannot be sent"), "{error}");
        let colon = Credentials::Password { user: "m:e".into(), password: Zeroizing::new("x".into()) };
        assert!(Client::new(target, Some(&colon)).is_err());
    });
}

#[test]
fn a_server_that_is_not_trusted_learns_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (server, other) =
        (Certificate::new(folder.path(), "server"), Certificate::new(folder.path(), "other"));
    run(async {
        let double = Arc::new(Double::default());
        let Target::Url { port, .. } = double.on_tls(&server).await else { panic!("a URL") };
        let token = Credentials::Token(Zeroizing::new("abc".into()));
        let said = async |url: &str, ca: &Path| {
            let target = Target::url(url, Some(ca)).unwrap();
            Client::new(target, Some(&token)).unwrap().rules().await.unwrap_err().to_string()
        };
        let url = format!("https://localhost:{port}");
        let error = said(&url, &other.path).await;
        assert!(error.starts_with(&format!("{url}: ")) && error.contains("ertificate"), "{error}");
        assert!(error.ends_with("is its certificate right, and trusted here? See --ca"), "{error}");
        // The right certificate, of another name.
        let error = said(&format!("https://127.0.0.1:{port}"), &server.path).await;
        assert!(error.contains("127.0.0.1") && error.contains("ertificate"), "{error}");
        assert_eq!(double.taken(), [""; 0]);
    });
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let error = Client::new(Target::url("https://x", Some(&empty)).unwrap(), None).err().unwrap().to_string();
    assert!(error.ends_with("empty.pem: has no certificate in PEM form"), "{error}");
    let none = folder.path().join("none.pem");
    let error = Client::new(Target::url("https://x", Some(&none)).unwrap(), None).err().unwrap().to_string();
    assert!(error.contains("none.pem: No such file"), "{error}");
}

#[test]
fn errors_say_who_and_what() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lnic.sock");
    run(async {
        let nobody = client(Target::Socket(path.clone())).rules().await.unwrap_err().to_string();
        let expected = format!(
            "socket {}: No such file or directory (os error 2): is the appliance running, and is this its `socket`?",
            path.display()
        );
        assert_eq!(nobody, expected);
        let double = Arc::new(Double::default());
        let client = client(double.on_socket(&path));
        let error = client.stats().await.unwrap_err().to_string();
        assert!(error.contains("lnic.sock: the answer is not understood: expected "), "{error}");
        // Several lines, and none that writes to the terminal.
        let manifest = Manifest { weight: Some(13), ..manifest("echo") };
        let request = DeployRequest { manifest: &manifest, module: Digest::of(b""), image: "" };
        let error = client.deploy("default", &request, None).await.unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].ends_with("lnic.sock: refused"), "{error}");
        assert_eq!(lines[1..], ["lambda \"echo\": one", "lambda \"echo\": two\\u{1b}[2J"]);
        // What is no name is no way to somewhere else.
        for name in ["..", ".", "a/../../b", "a?b=c", "a%2Fb", "ä\n"] {
            let error = client.lambda(&LambdaKey::new("default", name)).await.unwrap_err();
            let expected = format!("no lambda \"{}\" in namespace \"default\"", name);
            assert!(error.is_not_found() && error.to_string().ends_with(&expected), "{error}");
        }
        let unknown = client.remove_namespace("x/secrets").await.unwrap_err().to_string();
        assert!(unknown.ends_with(": no namespace \"x/secrets\""), "{unknown}");
    });
    // A server that goes away without a word.
    let path = folder.path().join("mute.sock");
    run(async {
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let error = client(Target::Socket(path.clone())).rules().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("socket {}: ", path.display())), "{error}");
    });
}

#[test]
fn calls_of_lambdas() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let double = Arc::new(Double::default());
        let client = client(double.on_socket(&folder.path().join("lnic.sock")));
        let invoke = async |name: &str, body: &[u8], time_ms: u64| {
            let key = LambdaKey::new("default", name);
            client.invoke(&key, Bytes::copy_from_slice(body), Duration::from_millis(time_ms)).await
        };
        let reply = invoke("echo", b"\0hello", 10_000).await.unwrap();
        assert_eq!(
            (reply.status, reply.body.as_ref(), reply.call_id.as_deref()),
            (StatusCode::OK, &b"\0hello"[..], Some("17"))
        );
        assert!(reply.round_trip > Duration::ZERO);
        let reply = invoke("trap", b"", 10_000).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.as_ref()), (502, &b"the lambda failed\n"[..]));
        let error = invoke("slow", b"", 50).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        let error = invoke("huge", b"", 30_000).await.unwrap_err().to_string();
        assert!(error.ends_with(": the answer has over 67108864 bytes"), "{error}");
    });
}

#[test]
fn lines_of_a_log() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let double = Arc::new(Double::default());
        let client = client(double.on_socket(&folder.path().join("lnic.sock")));
        let query = LogQuery { tail: Some(100), since_ms: Some(5), ..LogQuery::default() };
        let mut lines = client.logs(&query).await.unwrap();
        for number in 1..=100 {
            let line = lines.next().await.unwrap().unwrap();
            assert_eq!((line.time_ms, line.text.as_str()), (number, "é"));
        }
        assert!(lines.next().await.is_none() && lines.next().await.is_none());
        assert_eq!(double.taken(), ["GET /v1/logs?tail=100&since_ms=5 - -"]);

        let followed =
            LogQuery { name: Some("echo".into()), namespace: Some("default".into()), follow: true, ..query };
        let mut lines = client.logs(&LogQuery { tail: Some(1), ..followed }).await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().time_ms, 1);
        let error = lines.next().await.unwrap().unwrap_err().to_string();
        assert!(error.contains("lnic.sock: "), "{error}");
        assert!(lines.next().await.is_none());
        assert_eq!(
            double.taken(),
            ["GET /v1/logs?namespace=default&name=echo&tail=1&since_ms=5&follow=true - -"]
        );
    });
}

#[test]
fn urls() {
    let url = |text: &str| {
        Target::url(text, None).map(|target| target.to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(url("https://nic.example"), Ok("https://nic.example:443".into()));
    assert_eq!(url("https://[fd77::1]:8443/"), Ok("https://[fd77::1]:8443".into()));
    assert_eq!(url("http://nic"), Err("--url http://nic: only https:// is spoken over the network".into()));
    assert!(url("https://u:p@nic").unwrap_err().contains("names a user"));
    assert!(url("https://nic/v1").unwrap_err().contains("has a path"));
    for text in ["", "nic", "https://", "https:// x", "https://nic:99999"] {
        assert!(url(text).is_err(), "{text}");
    }
}
