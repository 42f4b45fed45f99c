//! A double of the native API: keeps what it is told, and answers as an appliance would. On a unix socket, or over TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path as Named, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::*;

type Refusal = (StatusCode, Json<Value>);
type Sent = Result<Response, Refusal>;

/// What it knows, and what it was asked.
#[derive(Default)]
pub(crate) struct Double {
    pub(crate) modules: Mutex<BTreeMap<String, u64>>,
    lambdas: Mutex<BTreeMap<(String, String), Value>>,
    namespaces: Mutex<BTreeSet<String>>,
    secrets: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(status: StatusCode, error: &str) -> Refusal {
    (status, Json(json!({ "error": error })))
}

impl Double {
    /// What it was asked since the last time somebody looked: method, path, and who asked.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.asked))
    }

    fn routes(self: &Arc<Self>) -> Router {
        let lambda = "/v1/namespaces/{namespace}/lambdas/{name}";
        let secret = "/v1/namespaces/{namespace}/secrets/{name}";
        Router::new()
            .route("/v1/info", get(|| async { Json(json!({ "name": "double" })) }))
            .route("/v1/stats", get(|| async { "not JSON" }))
            .route("/readyz", get(readiness))
            .route("/v1/modules", get(modules).post(upload))
            .route("/v1/lambdas", get(lambdas))
            .route(lambda, get(one).put(deploy).delete(remove))
            .route(&format!("{lambda}/rollback"), post(rollback))
            .route(&format!("{lambda}/scale"), post(scale))
            .route(&format!("{lambda}/release"), post(|| async { Json(json!({ "released": true })) }))
            .route("/v1/rules", get(rules))
            .route("/v1/namespaces", get(namespaces).post(create))
            .route("/v1/namespaces/{namespace}", delete(remove_namespace))
            .route("/v1/namespaces/{namespace}/secrets", get(secrets))
            .route(secret, put(set_secret).delete(remove_secret))
            .route("/v1/logs", get(logs))
            .route("/function/{name}", post(function))
            .layer(axum::extract::DefaultBodyLimit::max(1 << 20))
            .layer(from_fn_with_state(Arc::clone(self), note))
            .with_state(Arc::clone(self))
    }

    /// Serves on a socket until the runtime ends.
    pub(crate) fn on_socket(self: &Arc<Self>, path: &Path) -> Target {
        let listener = UnixListener::bind(path).expect("a socket");
        tokio::spawn(axum::serve(listener, self.routes()).into_future());
        Target::Socket(path.into())
    }

    /// Serves on a socket from a thread of its own until the process ends: for those who block.
    pub(crate) fn on_thread(path: &Path) -> Arc<Self> {
        let (double, path) = (Arc::new(Self::default()), path.to_owned());
        let (served, (ready, started)) = (Arc::clone(&double), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                served.on_socket(&path);
                ready.send(()).expect("somebody waits");
                std::future::pending::<()>().await;
            });
        });
        started.recv().expect("it serves");
        double
    }

    /// Serves over TLS until the runtime ends; the target trusts its certificate.
    pub(crate) async fn on_tls(self: &Arc<Self>, certificate: &Certificate) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let listener = Tls { listener, acceptor: certificate.acceptor() };
        tokio::spawn(axum::serve(listener, self.routes()).into_future());
        Target::url(&format!("https://localhost:{port}"), Some(&certificate.path)).expect("a URL")
    }
}

/// A self-signed certificate for localhost, made by the openssl that people have.
pub(crate) struct Certificate {
    pub(crate) path: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let (path, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&path)
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { path, key }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.path).expect("a file").collect();
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.expect("certificates"), key)
            .expect("a certificate with its key");
        TlsAcceptor::from(Arc::new(config))
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, from) = self.listener.accept().await.expect("a connection");
            // One that does not trust us goes away.
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

type Us = State<Arc<Double>>;

/// The parameters of a request.
fn wanted(uri: &Uri) -> BTreeMap<&str, &str> {
    uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect()
}

async fn note(State(us): Us, request: Request, next: Next) -> Response {
    let line = {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
        let (kind, who) =
            (header(axum::http::header::CONTENT_TYPE), header(axum::http::header::AUTHORIZATION));
        format!("{} {} {kind} {who}", request.method(), request.uri())
    };
    locked(&us.asked).push(line);
    next.run(request).await
}

async fn readiness() -> Refusal {
    let body = json!({ "ready": false, "problems": ["port \"p0\": down"], "ports": [], "lcores": [] });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

async fn modules(State(us): Us) -> Json<Value> {
    let all: Vec<Value> = locked(&us.modules)
        .iter()
        .map(|(digest, bytes)| json!({ "digest": digest, "bytes": bytes }))
        .collect();
    Json(all.into())
}

async fn upload(State(us): Us, wasm: Bytes) -> (StatusCode, Json<Value>) {
    let digest = Digest::of(&wasm).to_string();
    locked(&us.modules).insert(digest.clone(), wasm.len() as u64);
    (StatusCode::CREATED, Json(json!({ "digest": digest, "bytes": wasm.len() })))
}

async fn lambdas(State(us): Us, uri: Uri) -> Json<Value> {
    let only = wanted(&uri).get("namespace").copied();
    let all = locked(&us.lambdas);
    let of = all.iter().filter(|((namespace, _), _)| only.is_none_or(|only| only == namespace));
    Json(of.map(|(_, lambda)| lambda.clone()).collect())
}

fn missing(key: &(String, String)) -> Refusal {
    refusal(StatusCode::NOT_FOUND, &format!("no lambda \"{}\" in namespace \"{}\"", key.1, key.0))
}

async fn one(State(us): Us, Named(key): Named<(String, String)>) -> Sent {
    let found = locked(&us.lambdas).get(&key).cloned();
    found.map(|lambda| Json(lambda).into_response()).ok_or_else(|| missing(&key))
}

async fn deploy(
    State(us): Us,
    Named(key): Named<(String, String)>,
    uri: Uri,
    Json(body): Json<Value>,
) -> Sent {
    let manifest: Manifest = serde_json::from_value(body["manifest"].clone())
        .map_err(|error| refusal(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()))?;
    if manifest.weight == Some(13) {
        return Err(refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "lambda \"echo\": one\nlambda \"echo\": two\u{1b}[2J",
        ));
    }
    let module = body["module"].as_str().unwrap_or_default().to_owned();
    if !locked(&us.modules).contains_key(&module) {
        return Err(refusal(StatusCode::NOT_FOUND, &format!("no module {module}: upload it first")));
    }
    let mut lambdas = locked(&us.lambdas);
    let before = lambdas.get(&key).and_then(|lambda| lambda["generation"].as_u64());
    if wanted(&uri).get("existing").is_some_and(|existing| (*existing == "true") != before.is_some()) {
        return Err(refusal(StatusCode::CONFLICT, "it is there, or it is not"));
    }
    let number = before.unwrap_or(0) + 1;
    let generation =
        json!({ "number": number, "module": module, "image": body["image"], "deployed_at_ms": number });
    let lambda = json!({
        "namespace": key.0, "name": key.1, "origin": "registry", "id": 7, "phase": "active", "generation": number,
        "generations": [generation], "available_replicas": 2, "concurrency": "replicated", "manifest": manifest,
        "memory_bytes": {}, "invocations": 0, "created_at_ms": 1,
    });
    lambdas.insert(key, lambda.clone());
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(lambda)).into_response())
}

async fn remove(State(us): Us, Named(key): Named<(String, String)>) -> Sent {
    let gone = locked(&us.lambdas).remove(&key);
    gone.map(|_| StatusCode::NO_CONTENT.into_response()).ok_or_else(|| missing(&key))
}

async fn change(us: &Double, key: (String, String), field: &str, value: Value) -> Sent {
    let mut lambdas = locked(&us.lambdas);
    let lambda = lambdas.get_mut(&key).ok_or_else(|| missing(&key))?;
    lambda[field] = value;
    Ok(Json(lambda.clone()).into_response())
}

async fn rollback(State(us): Us, Named(key): Named<(String, String)>, Json(body): Json<Value>) -> Sent {
    let to = body.get("generation").cloned().unwrap_or(json!(1));
    change(&us, key, "generation", to).await
}

async fn scale(State(us): Us, Named(key): Named<(String, String)>, Json(body): Json<Value>) -> Sent {
    change(&us, key, "replicas", body["replicas"].clone()).await
}

async fn rules() -> Json<Value> {
    Json(json!([
        { "namespace": "default", "name": "dns", "priority": 3, "conditions": "udp", "egress": "reply" }
    ]))
}

async fn namespaces(State(us): Us) -> Json<Value> {
    Json(locked(&us.namespaces).iter().map(|name| json!({ "name": name })).collect())
}

async fn create(State(us): Us, Json(namespace): Json<Namespace>) -> Sent {
    if !locked(&us.namespaces).insert(namespace.name.clone()) {
        return Err(refusal(StatusCode::CONFLICT, "it is there"));
    }
    Ok((StatusCode::CREATED, Json(namespace)).into_response())
}

async fn remove_namespace(State(us): Us, Named(name): Named<String>) -> Sent {
    match locked(&us.namespaces).remove(&name) {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(refusal(StatusCode::NOT_FOUND, &format!("no namespace \"{name}\""))),
    }
}

async fn secrets(State(us): Us, Named(wanted): Named<String>) -> Json<Value> {
    let secrets = locked(&us.secrets);
    Json(secrets.keys().filter(|(namespace, _)| *namespace == wanted).map(|(_, name)| json!(name)).collect())
}

async fn set_secret(State(us): Us, Named(key): Named<(String, String)>, value: Bytes) -> StatusCode {
    let before = locked(&us.secrets).insert(key, value.to_vec());
    if before.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED }
}

async fn remove_secret(State(us): Us, Named(key): Named<(String, String)>) -> Sent {
    let gone = locked(&us.secrets).remove(&key);
    gone.map(|_| StatusCode::NO_CONTENT.into_response())
        .ok_or_else(|| refusal(StatusCode::NOT_FOUND, &format!("no secret \"{}\"", key.1)))
}

/// Lines in pieces that do not end where lines do; the tail says how many, and with `follow` it breaks off.
async fn logs(uri: Uri) -> Response {
    let wanted = wanted(&uri);
    let lines = wanted.get("tail").and_then(|tail| tail.parse().ok()).unwrap_or(2_usize);
    let line = |number: usize| {
        let line = json!({ "namespace": "default", "name": "echo", "generation": 1, "time_ms": number, "text": "é" });
        format!("{line}\n")
    };
    let mut text: Vec<u8> = (1..=lines).map(line).collect::<String>().into_bytes();
    let broken = wanted.contains_key("follow");
    if !broken {
        // The last line's end is not a must; an empty line says nothing.
        text.pop();
        text.splice(0..0, *b"\n");
    }
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        text.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let end = futures_util::stream::iter(broken.then_some(())).then(|()| async {
        // What was said before has to leave first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("broken off"))
    });
    Body::from_stream(futures_util::stream::iter(pieces).chain(end)).into_response()
}

async fn function(Named(name): Named<String>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(
        headers.get("host").and_then(|host| host.to_str().ok()).map(|host| host.starts_with('l')),
        Some(true)
    );
    match name.as_str() {
        "echo.default" => ([("x-call-id", "17")], body).into_response(),
        "slow.default" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
        "huge.default" => {
            let pieces = (0..1025).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1 << 16])));
            Body::from_stream(futures_util::stream::iter(pieces)).into_response()
        }
        "trap.default" => (StatusCode::BAD_GATEWAY, "the lambda failed\n").into_response(),
        other => refusal(StatusCode::NOT_FOUND, &format!("no lambda \"{other}\"")).into_response(),
    }
}
