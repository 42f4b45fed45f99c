//! The certificate of the API, read again when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use tracing::{info, warn};

use super::users::Stamp;

/// Largest file.
const FILE_BYTES: u64 = 1 << 20;

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Wrong {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key is not the certificate's.
    #[error("{key}: is not the key of {certificate}: {source}")]
    Mismatch {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
        /// What TLS says.
        source: Error,
    },
    /// It is not valid now, by its own words.
    #[error("{path}: {reason}")]
    OutOfDate {
        /// Path of the certificate.
        path: PathBuf,
        /// Expired, or not valid yet.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Setup(Error),
}

/// A certificate and its key.
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    /// Of the files that were last read, whatever was in them.
    stamp: Mutex<Stamp>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    /// Reads both files. A certificate that is out of date is taken, with a warning: the appliance is not kept from starting by it.
    pub(super) fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let mut stamp = Stamp::default();
        let current = load(certificate, key, &mut stamp)?;
        if let Err(error) = check_date(certificate, &current) {
            warn!("clients will refuse the certificate: {error}");
        }
        Ok(Self {
            certificate: certificate.into(),
            key: key.into(),
            current: Arc::new(Current(RwLock::new(Arc::new(current)))),
            stamp: Mutex::new(stamp),
        })
    }

    /// Reads the files again if they have changed. What is wrong, or out of date, is not taken.
    pub(super) fn refresh(&self) {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_current() {
            return;
        }
        let mut read = Stamp::default();
        let loaded = load(&self.certificate, &self.key, &mut read);
        *stamp = read;
        match loaded.and_then(|key| check_date(&self.certificate, &key).map(|()| key)) {
            Ok(key) => {
                info!("certificate: {} read again", self.certificate.display());
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
            }
            Err(error) => warn!("the certificate stays as it was: {error}"),
        }
    }

    /// TLS 1.2 and later, with this certificate.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider());
        let mut config = builder
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn load(certificate: &Path, key: &Path, stamp: &mut Stamp) -> Result<CertifiedKey, TlsError> {
    let mut read = |path: &Path| match stamp.read(path, FILE_BYTES) {
        Ok((text, _)) => Ok(zeroize::Zeroizing::new(text)),
        Err(source) => Err(TlsError::Read { path: path.into(), source }),
    };
    let wrong = |path: &Path, reason: String| TlsError::Wrong { path: path.into(), reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(read(certificate)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "no certificate in it: expected PEM".into()));
    }
    let private = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes())
        .map_err(|error| wrong(key, format!("no private key in it: {error}")))?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|source| TlsError::Mismatch {
        certificate: certificate.into(),
        key: key.into(),
        source,
    })
}

/// Is the certificate valid now? Asks as a client would that trusts it: the dates are looked at before anything else.
fn check_date(path: &Path, key: &CertifiedKey) -> Result<(), TlsError> {
    let out_of_date = |reason: &str| TlsError::OutOfDate { path: path.into(), reason: reason.into() };
    let Some(leaf) = key.cert.first() else { return Ok(()) };
    let mut roots = RootCertStore::empty();
    // One that cannot be a root is not judged.
    if roots.add(leaf.clone()).is_err() {
        return Ok(());
    }
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()
    else {
        return Ok(());
    };
    let Ok(name) = ServerName::try_from("lnic.invalid") else { return Ok(()) };
    match verifier.verify_server_cert(leaf, &key.cert[1..], &name, &[], UnixTime::now()) {
        Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Err(out_of_date("has expired")),
        Err(Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Err(out_of_date("is not valid yet")),
        _ => Ok(()),
    }
}
