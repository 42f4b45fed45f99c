//! Whom the client speaks to, and as whom.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderValue, Uri};
use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::Error;

/// Port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Whom the client speaks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An appliance of this machine, by its control socket.
    Socket(PathBuf),
    /// An appliance over the network, always with TLS.
    Url {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// PEM file with whom to trust; who the system trusts if `None`.
        ca: Option<PathBuf>,
    },
}

impl Target {
    /// Reads `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// It is something else.
    pub fn url(text: &str, ca: Option<&Path>) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Url { url: text.into(), reason: reason.into() };
        let uri: Uri = text.parse().map_err(|_| wrong("expected https://HOST:PORT"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("only https:// is spoken over the network"));
        }
        if uri.path().len() > 1 || uri.query().is_some() {
            return Err(wrong("has a path: expected https://HOST:PORT"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("names a user: use --user, and a file or LNIC_PASSWORD for the password"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let port = match authority.as_str().strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => port.parse().map_err(|_| wrong("the port is no number from 1 to 65535"))?,
            None => HTTPS_PORT,
        };
        Ok(Self::Url { host: host.to_owned(), port, ca: ca.map(Path::to_path_buf) })
    }

    /// The `Host` of requests.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Socket(_) => "lnic".to_owned(),
            Self::Url { host, port: HTTPS_PORT, .. } => host.clone(),
            Self::Url { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "socket {}", path.display()),
            Self::Url { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// As whom the client speaks; for a URL. Whoever may write to a socket is who they are.
#[derive(Clone)]
pub enum Credentials {
    /// A user with a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// Whoever has this token.
    Token(Zeroizing<String>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, …)"),
            Self::Token(_) => f.write_str("Token(…)"),
        }
    }
}

impl Credentials {
    /// The header that carries them.
    pub(super) fn header(&self) -> Result<HeaderValue, Error> {
        let (what, text) = match self {
            Self::Password { user, .. } if user.contains(':') => {
                return Err(Error::Credentials("the user's name"));
            }
            Self::Password { user, password } => {
                let pair = Zeroizing::new(format!("{user}:{}", password.as_str()));
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
                ("the password", Zeroizing::new(format!("Basic {encoded}")))
            }
            Self::Token(token) => ("the token", Zeroizing::new(format!("Bearer {}", token.as_str()))),
        };
        let mut header = HeaderValue::from_str(&text).map_err(|_| Error::Credentials(what))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// How to speak TLS with a target: whom to trust, and the name that the server has to prove.
pub(super) fn tls(target: &Target) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, Error> {
    let Target::Url { host, ca, .. } = target else { return Ok(None) };
    let roots = match ca {
        Some(path) => roots_of(path)?,
        None => system_roots(target)?,
    };
    let url = |reason: String| Error::Url { url: target.to_string(), reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| url(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // An IPv6 address has brackets in a URL, and none in a certificate.
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|error| url(error.to_string()))?;
    Ok(Some((Arc::new(config), name)))
}

fn roots_of(path: &Path) -> Result<RootCertStore, Error> {
    let wrong = |reason: String| Error::Certificates { path: path.into(), reason };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("has no certificate in PEM form".into())) } else { Ok(roots) }
}

fn system_roots(target: &Target) -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // What cannot be parsed cannot vouch for anybody; the others can.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let reason = found.errors.first().map_or_else(|| "there are none".into(), ToString::to_string);
    Err(Error::NoRoots { target: target.to_string(), reason })
}
