//! Statistics, releases and health over HTTP on a unix socket, and the client side of it.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Method;
use hyper::body::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::inspect::Inspection;
use super::stats::{Snapshot, Sources};

/// Longest answer that the client reads.
const ANSWER_BYTES: usize = 64 << 20;
/// How long the client waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The control socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another appliance answers on it.
    #[error("socket {0}: another appliance is listening on it")]
    InUse(PathBuf),
    /// There is a file in the way.
    #[error("socket {0}: exists and is not a socket")]
    NotASocket(PathBuf),
    /// Making it failed.
    #[error("socket {path}: {source}")]
    Listen {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nobody listens.
    #[error("socket {path}: {source}: is the appliance running, and is this its `socket`?")]
    Connect {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The answer could not be understood.
    #[error("socket {path}: {reason}")]
    Answer {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no lambda of that name.
    #[error("no lambda \"{0}\": see lnic list")]
    NoLambda(String),
}

/// The right to listen on a path. Dropping it removes the socket; then another may listen there.
pub struct Socket {
    path: PathBuf,
    /// Locked as long as this lives. The file stays: removing it would let two hold locks of different files.
    _lock: File,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody is harmed by a socket that stays: the next to listen replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens on `path`, readable and writable by owner and group. Replaces a socket that a dead process left; one that another
/// appliance holds is an error, told by a lock beside it (`path` with `.lock` behind).
pub fn listen(path: &Path) -> Result<(Socket, UnixListener), Error> {
    let failed = |source| Error::Listen { path: path.into(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::InUse(path.into())),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Error::NotASocket(path.into())),
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let socket = Socket { path: path.into(), _lock: lock };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok((socket, listener))
}

/// Most connections at a time; more wait.
const CONNECTIONS: usize = 32;
/// How long a connection may take: for its headers, and in all.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// Serves for ever; ends when its task is aborted.
pub async fn serve(listener: UnixListener, sources: Arc<Sources>) {
    let routes = Router::new()
        .route(
            "/v1/stats",
            get(|State(sources): State<Arc<Sources>>| async move { Json(sources.snapshot()) }),
        )
        .route(
            "/v1/lambdas/{name}/release",
            post(|State(sources): State<Arc<Sources>>, UrlPath(name): UrlPath<String>| async move {
                match sources.release(&name) {
                    Some(released) => (StatusCode::OK, Json(Some(Released { released }))),
                    None => (StatusCode::NOT_FOUND, Json(None)),
                }
            }),
        )
        .route(
            "/v1/lambdas/{name}/inspection",
            get(|State(sources): State<Arc<Sources>>, UrlPath(name): UrlPath<String>| async move {
                match sources.inspect(&name) {
                    Some(inspection) => (StatusCode::OK, Json(Some(inspection))),
                    None => (StatusCode::NOT_FOUND, Json(None)),
                }
            }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(sources);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, most likely: they come back.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(CONNECTION_TIME)
                .serve_connection(TokioIo::new(stream), service);
            // Whatever goes wrong with a connection is its client's business.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(slot);
        });
    }
}

/// What came of asking for a lambda's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Released {
    /// It was quarantined, and runs again.
    released: bool,
}

/// Asks a running appliance for its statistics.
pub async fn fetch_stats(path: &Path) -> Result<Snapshot, Error> {
    let (status, body) = ask(path, Method::GET, "/v1/stats").await?;
    if !status.is_success() {
        return Err(Error::Answer { path: path.into(), reason: format!("answered {status}") });
    }
    understand(path, &body)
}

/// Lets a quarantined lambda run again. Whether it was quarantined.
pub async fn release(path: &Path, name: &str) -> Result<bool, Error> {
    let answer: Released = ask_about(path, Method::POST, name, "release").await?;
    Ok(answer.released)
}

/// Asks a running appliance what the compiler found out about a lambda and decided for it.
pub async fn fetch_inspection(path: &Path, name: &str) -> Result<Inspection, Error> {
    ask_about(path, Method::GET, name, "inspection").await
}

async fn ask_about<T: serde::de::DeserializeOwned>(
    path: &Path,
    method: Method,
    name: &str,
    what: &str,
) -> Result<T, Error> {
    // Names of lambdas need no escapes; another is no lambda's.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Error::NoLambda(name.into()));
    }
    let (status, body) = ask(path, method, &format!("/v1/lambdas/{name}/{what}")).await?;
    match status {
        StatusCode::NOT_FOUND => Err(Error::NoLambda(name.into())),
        status if status.is_success() => understand(path, &body),
        status => Err(Error::Answer { path: path.into(), reason: format!("answered {status}") }),
    }
}

fn understand<T: serde::de::DeserializeOwned>(path: &Path, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Answer { path: path.into(), reason: error.to_string() })
}

/// One request over the control socket.
async fn ask(path: &Path, method: Method, route: &str) -> Result<(StatusCode, Bytes), Error> {
    let answer = |reason: String| Error::Answer { path: path.into(), reason };
    let stream =
        UnixStream::connect(path).await.map_err(|source| Error::Connect { path: path.into(), source })?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| answer(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(route)
            .header(hyper::header::HOST, "lnic")
            .body(Empty::<Bytes>::new())
            .map_err(|error| answer(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| answer(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| answer(error.to_string()))?;
        connection.abort();
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(ANSWER_TIME, exchange)
        .await
        .map_err(|_| answer(format!("no answer in {} s", ANSWER_TIME.as_secs())))?
}
