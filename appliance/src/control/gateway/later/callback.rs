//! Sends results to whoever asked for them: one POST on a connection of its own, to hosts that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long connecting may take, TLS included, and then sending and the head of the answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Longest URL.
const URL_BYTES: usize = 2048;
/// Most bytes of an answer's head that are read; what follows is not.
const HEAD_BYTES: usize = 16 << 10;
/// Allows all hosts.
const ALL: &str = "*";

/// A URL that results are not sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// It is none that a result can be sent to.
    #[error("X-Callback-Url: expected http://HOST[:PORT]/… or https://…, without a user")]
    Url,
    /// Its host is not among those of the configuration.
    #[error("X-Callback-Url: host \"{0}\" is not among [gateway] callbacks")]
    Host(String),
}

/// Why a result did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// The host says no.
    #[error("answered {0}")]
    Answered(StatusCode),
}

impl DeliveryError {
    /// True if the same may work later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) | Self::TimedOut => true,
            // A redirection is not followed: it would lead to hosts that nobody has allowed.
            Self::Answered(status) => {
                status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
            }
        }
    }
}

/// A result to be sent.
pub(super) struct Delivery {
    pub(super) url: Uri,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
}

/// Who may be called back, and how.
pub struct Callbacks {
    hosts: Vec<String>,
    tls: TlsConnector,
}

impl Callbacks {
    /// For hosts with these names or addresses; `*` stands for all. Reads the system's certificates, once.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(hosts: &[String]) -> Result<Self, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        if !hosts.is_empty() {
            // Without them https fails, and says why.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Self::with_roots(hosts, roots)
    }

    /// The same with certificates that are given.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_roots(hosts: &[String], roots: rustls::RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let hosts = hosts.iter().map(|host| plain(host).to_ascii_lowercase()).collect();
        Ok(Self { hosts, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The URL, if results may be sent there.
    ///
    /// # Errors
    /// [`CallbackError`] says why not.
    pub(super) fn judge(&self, url: &str) -> Result<Uri, CallbackError> {
        if url.len() > URL_BYTES {
            return Err(CallbackError::Url);
        }
        let url: Uri = url.parse().map_err(|_| CallbackError::Url)?;
        let is_http = matches!(url.scheme_str(), Some("http" | "https"));
        let authority = url.authority().ok_or(CallbackError::Url)?;
        let host = plain(authority.host()).to_ascii_lowercase();
        if !is_http || host.is_empty() || authority.as_str().contains('@') {
            return Err(CallbackError::Url);
        }
        if self.hosts.iter().any(|allowed| *allowed == host || allowed == ALL) {
            Ok(url)
        } else {
            Err(CallbackError::Host(host))
        }
    }

    /// Sends a result.
    pub(super) async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let url = &delivery.url;
        let is_https = url.scheme_str() == Some("https");
        let host = plain(url.host().unwrap_or_default()).to_owned();
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let failed = |error: &dyn std::fmt::Display| DeliveryError::Connection(error.to_string());
        let connect = TcpStream::connect((host.as_str(), port));
        let stream = within(CONNECT_TIME, connect).await?.map_err(|error| failed(&error))?;
        if !is_https {
            return within(ANSWER_TIME, exchange(stream, delivery)).await?;
        }
        let name = ServerName::try_from(host).map_err(|error| failed(&error))?;
        let stream = within(CONNECT_TIME, self.tls.connect(name, stream)).await?;
        let stream = stream.map_err(|error| failed(&error))?;
        within(ANSWER_TIME, exchange(stream, delivery)).await?
    }
}

/// A host without the brackets of IPv6.
fn plain(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn within<T>(time: Duration, what: impl Future<Output = T>) -> Result<T, DeliveryError> {
    tokio::time::timeout(time, what).await.map_err(|_| DeliveryError::TimedOut)
}

/// One request on a connection. Of the answer the status is read, and nothing more.
async fn exchange<S>(stream: S, delivery: &Delivery) -> Result<(), DeliveryError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| DeliveryError::Connection(error.to_string());
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = request(delivery).map_err(|error| DeliveryError::Connection(error.to_string()))?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut is_open = true;
    let status = loop {
        tokio::select! {
            answer = &mut answer => break answer.map_err(failed)?.status(),
            ended = &mut connection, if is_open => {
                is_open = false;
                ended.map_err(failed)?;
            }
        }
    };
    if status.is_success() { Ok(()) } else { Err(DeliveryError::Answered(status)) }
}

fn request(delivery: &Delivery) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let path = delivery.url.path_and_query().map_or("/", |path| path.as_str());
    let authority = delivery.url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, &delivery.content_type)
        .header(hyper::header::USER_AGENT, concat!("lnic/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(delivery.body.clone()))?;
    for (name, value) in &delivery.headers {
        let (name, value) = (HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callbacks(hosts: &[&str]) -> Callbacks {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Callbacks::with_roots(&hosts, rustls::RootCertStore::empty()).unwrap()
    }

    #[test]
    fn results_go_to_hosts_that_are_named_and_nowhere_else() {
        let some = callbacks(&["hooks.example", "192.0.2.1", "[2001:db8::1]"]);
        for url in [
            "http://hooks.example/done",
            "https://HOOKS.example:8443/done?x=1",
            "http://192.0.2.1",
            "http://[2001:db8::1]:8080/",
        ] {
            assert!(some.judge(url).is_ok(), "{url}");
        }
        let host = |host: &str| Err(CallbackError::Host(host.into()));
        assert_eq!(some.judge("http://hooks.example.evil/"), host("hooks.example.evil"));
        assert_eq!(some.judge("http://sub.hooks.example/"), host("sub.hooks.example"));
        assert_eq!(some.judge("http://169.254.169.254/latest"), host("169.254.169.254"));
        assert_eq!(callbacks(&[]).judge("http://hooks.example/"), host("hooks.example"));
        assert!(callbacks(&["*"]).judge("http://anything.example/").is_ok());
    }

    #[test]
    fn what_is_no_url_to_post_to_is_refused() {
        let long = format!("http://hooks.example/{}", "x".repeat(URL_BYTES));
        for url in [
            "",
            "hooks.example",
            "/done",
            "ftp://hooks.example/",
            "file:///etc/passwd",
            "http://user@hooks.example/",
            "http://hooks.example@evil.example/",
            "http://",
            "http://hooks.example/ x",
            &long,
        ] {
            assert_eq!(callbacks(&["*"]).judge(url), Err(CallbackError::Url), "{url}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let answered = |status: u16| DeliveryError::Answered(StatusCode::from_u16(status).unwrap());
        assert!([500, 503, 429, 408].into_iter().all(|status| answered(status).is_passing()));
        assert!(![301, 302, 307, 400, 401, 404].into_iter().any(|status| answered(status).is_passing()));
        assert!(DeliveryError::TimedOut.is_passing());
    }
}
