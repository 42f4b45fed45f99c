//! The server: a thread of its own that accepts connections, so that nobody who asks keeps the appliance's main thread waiting.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::auth::{AuthError, Authenticator, Callers};
use super::caller::Caller;
use super::failures::key;
use super::limits::Limits;
use super::tls::{Certificate, TlsError};
use super::{HttpState, connection, routes};
use crate::control::topology::Listen;

/// Pause after the system refused a connection: out of descriptors, most likely, which come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After so long without a word the kernel asks whether a client's machine is still there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("[control] listen: {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The users file cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The system has no thread or descriptor for it.
    #[error("HTTP server: {0}")]
    Start(io::Error),
}

/// What the server listens on.
#[derive(Default)]
pub struct Listeners {
    /// The control socket: whoever may write to it may do everything.
    pub control: Option<UnixListener>,
    /// A TCP address.
    pub network: Option<Network>,
}

/// A TCP address, with TLS and users.
pub struct Network {
    listener: TcpListener,
    address: SocketAddr,
    certificate: Certificate,
    authenticator: Arc<Authenticator>,
}

impl Network {
    /// Listens, and reads certificate, key and users.
    pub fn open(listen: &Listen) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address: listen.address, source };
        let certificate = Certificate::open(&listen.tls_certificate, &listen.tls_key)?;
        let authenticator = Arc::new(Authenticator::open(listen.users.clone())?);
        let listener = TcpListener::bind(listen.address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, certificate, authenticator })
    }

    /// Where it listens: with a port, also if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What connections and requests may take.
    pub limits: Limits,
    /// How long requests may go on once the server stops.
    pub stop_time: Duration,
    /// How often it is looked whether certificate and users have changed.
    pub refresh_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            stop_time: Duration::from_secs(5),
            refresh_time: Duration::from_secs(10),
        }
    }
}

/// The running server. Dropping it stops it.
pub struct ServerHandle {
    stopping: CancellationToken,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
}

impl ServerHandle {
    /// The runtime that answers requests, for tasks that belong to them.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// It ended without being told to.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Takes no more requests, and waits until those under way are answered or `stop_time` is over.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.cancel();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            error!("the HTTP server's thread had failed");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts to serve. The thread inherits the caller's CPUs.
pub fn serve(listeners: Listeners, state: HttpState, settings: Settings) -> Result<ServerHandle, ServeError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ServeError::Start)?;
    let handle = runtime.handle().clone();
    let stopping = CancellationToken::new();
    let mut accepting = JoinSet::new();
    {
        let _within = runtime.enter();
        let server = Server { routes: routes(state), settings, stopping: stopping.clone() };
        if let Some(listener) = listeners.control {
            listener.set_nonblocking(true).map_err(ServeError::Start)?;
            let listener = tokio::net::UnixListener::from_std(listener).map_err(ServeError::Start)?;
            accepting.spawn_on(server.clone().control(listener), &handle);
        }
        if let Some(network) = listeners.network {
            network.listener.set_nonblocking(true).map_err(ServeError::Start)?;
            let listener = tokio::net::TcpListener::from_std(network.listener).map_err(ServeError::Start)?;
            let acceptor = TlsAcceptor::from(network.certificate.server()?);
            let authenticator = Arc::clone(&network.authenticator);
            accepting.spawn_on(server.clone().network(listener, acceptor, authenticator), &handle);
            let refreshed = (network.certificate, network.authenticator);
            accepting.spawn_on(server.refresh(refreshed), &handle);
        }
    }
    let ends = async move { while accepting.join_next().await.is_some() {} };
    let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(ends);
        // Changes that nobody waits for any more still end, if they do so soon.
        runtime.shutdown_timeout(Duration::from_millis(100));
    });
    Ok(ServerHandle { stopping, runtime: handle, thread: Some(thread.map_err(ServeError::Start)?) })
}

#[derive(Clone)]
struct Server {
    routes: Router,
    settings: Settings,
    stopping: CancellationToken,
}

impl Server {
    /// Serves the control socket.
    async fn control(self, listener: tokio::net::UnixListener) {
        let mut connections = Connections::new(&self);
        while let Some(slot) = connections.slot().await {
            let Some((stream, _)) = connections.accepted(listener.accept()).await else { continue };
            let (server, callers) = (self.clone(), Callers::Local(Caller::local()));
            connections.tasks.spawn(async move {
                server.connection(stream, callers).await;
                drop(slot);
            });
        }
        // Nobody shall wait in the backlog of a server that stops.
        drop(listener);
        connections.end().await;
    }

    /// Serves a TCP address.
    async fn network(
        self,
        listener: tokio::net::TcpListener,
        acceptor: TlsAcceptor,
        authenticator: Arc<Authenticator>,
    ) {
        let limits = self.settings.limits;
        let sources = Arc::new(Sources::default());
        let mut connections = Connections::new(&self);
        while let Some(slot) = connections.slot().await {
            let Some((stream, peer)) = connections.accepted(listener.accept()).await else { continue };
            let Some(place) = Sources::enter(&sources, peer.ip(), limits.connections_per_source) else {
                continue;
            };
            prepare(&stream);
            let callers = Callers::Network(Arc::clone(&authenticator), peer.ip());
            let (server, acceptor) = (self.clone(), acceptor.clone());
            connections.tasks.spawn(async move {
                if let Ok(Ok(stream)) =
                    tokio::time::timeout(limits.handshake_time, acceptor.accept(stream)).await
                {
                    server.connection(stream, callers).await;
                }
                drop((place, slot));
            });
        }
        drop(listener);
        connections.end().await;
    }

    async fn connection(
        self,
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        callers: Callers,
    ) {
        connection::serve(stream, self.routes, callers, self.settings.limits, self.stopping).await;
    }

    /// Looks now and then whether certificate and users have changed.
    async fn refresh(self, refreshed: (Certificate, Arc<Authenticator>)) {
        let refreshed = Arc::new(refreshed);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(self.settings.refresh_time) => {}
            }
            let refreshed = Arc::clone(&refreshed);
            // Files may be slow.
            let done = tokio::task::spawn_blocking(move || {
                refreshed.0.refresh();
                refreshed.1.refresh();
            });
            tokio::select! {
                () = self.stopping.cancelled() => return,
                done = done => if done.is_err() {
                    error!("reading certificate and users again has failed");
                },
            }
        }
    }
}

/// Small answers leave at once; a client whose machine died is noticed.
fn prepare(stream: &TcpStream) {
    // Neither is needed for a connection to work.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// The connections of one listener.
struct Connections {
    slots: Arc<Semaphore>,
    tasks: JoinSet<()>,
    stopping: CancellationToken,
    stop_time: Duration,
}

impl Connections {
    fn new(server: &Server) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(server.settings.limits.connections)),
            tasks: JoinSet::new(),
            stopping: server.stopping.clone(),
            stop_time: server.settings.stop_time,
        }
    }

    /// Waits until there is room for a connection more; `None` once the server stops.
    async fn slot(&mut self) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots);
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            slot = slots.acquire_owned() => slot.ok(),
        }
    }

    /// Waits for a connection, and meanwhile forgets those that have ended; `None` if none came.
    async fn accepted<T>(&mut self, accept: impl Future<Output = io::Result<T>>) -> Option<T> {
        let mut accept = std::pin::pin!(accept);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                accepted = accept.as_mut() => match accepted {
                    Ok(accepted) => return Some(accepted),
                    Err(_) => {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        return None;
                    }
                },
                Some(ended) = self.tasks.join_next() => if ended.is_err_and(|error| error.is_panic()) {
                    error!("a connection's task failed; the others go on");
                },
            }
        }
    }

    /// Waits for the connections' ends, and then ends them.
    async fn end(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.stop_time, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Connections by source address.
#[derive(Default)]
struct Sources(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its source.
struct Place {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    fn enter(this: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Place> {
        let source = key(address);
        let mut counts = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { sources: Arc::clone(this), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}
