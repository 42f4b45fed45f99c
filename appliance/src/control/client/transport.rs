//! One request over one connection: a unix socket's, or TLS over TCP.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::error::escape;
use super::target::tls;
use super::{Credentials, Error, Target};

/// Longest time to connect, TLS included.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 << 20;
/// Longest text of an error.
const ERROR_BYTES: usize = 64 << 10;

/// How to reach the appliance.
#[derive(Clone)]
pub(super) struct Transport {
    target: Target,
    authorization: Option<HeaderValue>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// What is asked.
pub(super) struct Question {
    pub(super) method: Method,
    /// With its query.
    pub(super) path: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
}

/// What was answered, whatever the status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer whose body has not been read. The connection ends with it.
pub(super) struct Opened {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Incoming,
    _connection: Connection,
}

/// The task that drives a connection.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Transport {
    pub(super) fn new(target: Target, credentials: Option<&Credentials>) -> Result<Self, Error> {
        let tls = tls(&target)?;
        // A socket's permissions have decided already.
        let credentials = credentials.filter(|_| tls.is_some());
        let authorization = credentials.map(Credentials::header).transpose()?;
        Ok(Self { target, authorization, tls })
    }

    pub(super) fn target(&self) -> String {
        self.target.to_string()
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&self, question: Question, time: Duration) -> Result<Answer, Error> {
        let exchange = async {
            let Opened { status, headers, body, _connection } = self.open(question).await?;
            let body = Limited::new(body, ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => self.answer(format!("the answer has over {ANSWER_BYTES} bytes")),
                None => self.answer(chain(error.as_ref())),
            })?;
            Ok(Answer { status, headers, body: body.to_bytes() })
        };
        self.within(time, exchange).await
    }

    /// Asks, and leaves the body of the answer to the caller, unless it says no.
    pub(super) async fn stream(&self, question: Question, time: Duration) -> Result<Opened, Error> {
        let exchange = async {
            let opened = self.open(question).await?;
            if opened.status.is_success() {
                return Ok(opened);
            }
            let body = Limited::new(opened.body, ERROR_BYTES).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Err(self.refused(opened.status, &body))
        };
        self.within(time, exchange).await
    }

    /// What the server said with a status that is no success: `{"error": …}`, or plain text.
    pub(super) fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        #[derive(serde::Deserialize)]
        struct Body {
            error: String,
        }
        let message = match serde_json::from_slice::<Body>(body) {
            Ok(body) => body.error,
            Err(_) => String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES)]).into_owned(),
        };
        Error::Refused { target: self.target(), status, message }
    }

    pub(super) fn answer(&self, reason: String) -> Error {
        Error::Answer { target: self.target(), reason: escape(&reason) }
    }

    async fn within<T>(
        &self,
        time: Duration,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = |_| Error::TimedOut { target: self.target(), time };
        tokio::time::timeout(time, exchange).await.map_err(late)?
    }

    async fn open(&self, question: Question) -> Result<Opened, Error> {
        let connecting = tokio::time::timeout(CONNECT_TIME, self.connect());
        let late = |_| Error::TimedOut { target: self.target(), time: CONNECT_TIME };
        let stream = connecting.await.map_err(late)??;
        let failed = |error: hyper::Error| self.answer(chain(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = Connection(tokio::spawn(async move {
            // Whoever waits for the answer learns of it.
            let _ = connection.await;
        }));
        let mut request = hyper::Request::builder()
            .method(question.method)
            .uri(&question.path)
            .header(header::HOST, self.target.host())
            .header(header::USER_AGENT, concat!("lnic/", env!("CARGO_PKG_VERSION")));
        if let Some(content_type) = question.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(question.body))
            .map_err(|error| self.answer(format!("cannot ask for {}: {error}", question.path)))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        Ok(Opened { status: parts.status, headers: parts.headers, body, _connection: connection })
    }

    async fn connect(&self) -> Result<Stream, Error> {
        let failed = |hint| move |source| Error::Connect { target: self.target(), source, hint };
        match (&self.target, &self.tls) {
            (Target::Url { host, port, .. }, Some((config, name))) => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let tcp = TcpStream::connect((bare, *port))
                    .await
                    .map_err(failed("is the appliance running, and is this its [control] listen?"))?;
                // Requests are written at once; nothing is gained by waiting for more.
                let _ = tcp.set_nodelay(true);
                let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await;
                let tls = tls.map_err(failed("is its certificate right, and trusted here? See --ca"))?;
                Ok(Box::new(tls))
            }
            (Target::Socket(path), _) => {
                let stream = UnixStream::connect(path).await;
                let hint = "is the appliance running, and is this its `socket`?";
                Ok(Box::new(stream.map_err(failed(hint))?))
            }
            (Target::Url { .. }, None) => Err(self.answer("has no TLS".into())),
        }
    }
}

/// A connection's bytes.
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An error with its causes, which hyper's own text leaves out.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
