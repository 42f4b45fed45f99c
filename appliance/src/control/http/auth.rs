//! Who asks: credentials against the users file.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::caller::Caller;
use super::error::ApiError;
use super::failures::Failures;
use super::users::{Stamp, Users};
use crate::control::config;
use crate::control::gateway::message::Peer;

/// The users file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AuthError(#[from] config::Error);

/// Routes that everybody may ask: probes have no credentials.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Who a connection's requests come from.
pub(super) enum Callers {
    /// Whoever may write to the control socket.
    Local(Caller),
    /// Somebody on the network, from this address, who has to say who they are.
    Network(Arc<Authenticator>, IpAddr),
}

impl Callers {
    /// The caller of a request.
    pub(super) fn of(&self, path: &str, headers: &HeaderMap) -> Result<Caller, ApiError> {
        match self {
            Self::Local(caller) => Ok(caller.clone()),
            Self::Network(authenticator, source) => authenticator.caller(*source, path, headers),
        }
    }

    /// Where all requests of the connection come from.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Local(_) => Peer::Local,
            Self::Network(_, address) => Peer::Network(*address),
        }
    }
}

/// Knows the users. Reads their file again when it changes.
pub(super) struct Authenticator {
    path: PathBuf,
    users: RwLock<Arc<Users>>,
    /// Of the files that were last read, whatever was in them.
    stamp: Mutex<Stamp>,
    failures: Failures,
}

impl Authenticator {
    /// Reads the users file.
    pub(super) fn open(path: PathBuf) -> Result<Self, AuthError> {
        let (users, stamp) = Users::load(&path);
        let users = RwLock::new(Arc::new(users?));
        Ok(Self { path, users, stamp: Mutex::new(stamp), failures: Failures::default() })
    }

    /// Reads the users file again if it, or a password file, has changed. What is wrong is not taken.
    pub(super) fn refresh(&self) {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_current() {
            return;
        }
        let (users, read) = Users::load(&self.path);
        *stamp = read;
        match users {
            Ok(users) => {
                info!("users: {} in {}", users.len(), self.path.display());
                *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
            }
            Err(error) => warn!("users stay as they were: {error}"),
        }
    }

    fn caller(&self, source: IpAddr, path: &str, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            if OPEN.contains(&path) {
                return Ok(Caller::nobody());
            }
            return Err(ApiError::Unauthorized("credentials are needed: a name and a password, or a token"));
        };
        let now = Instant::now();
        if let Some(wait) = self.failures.wait(source, now) {
            let retry_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(ApiError::TooMany {
                reason: "too many wrong credentials from this address",
                retry_s,
            });
        }
        let users = Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner));
        let found = match Credentials::parse(header.as_bytes()) {
            Some(Credentials::Basic { name, secret }) => users.by_name(&name, &secret),
            Some(Credentials::Bearer { secret }) => users.by_token(&secret),
            None => None,
        };
        found.ok_or_else(|| {
            self.failures.note(source, now);
            ApiError::Unauthorized("the credentials are wrong")
        })
    }
}

/// SHA-256 of something secret, or of something that is compared with it.
pub(super) type Hash = [u8; 32];

/// What a client says, as hashes: what it said itself is not kept.
enum Credentials {
    Basic { name: Hash, secret: Hash },
    Bearer { secret: Hash },
}

impl Credentials {
    /// Understands an Authorization header.
    fn parse(header: &[u8]) -> Option<Self> {
        let space = header.iter().position(|&byte| byte == b' ')?;
        let (scheme, value) = (&header[..space], header[space..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Some(Self::Bearer { secret: hash(value) });
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let decoded = zeroize::Zeroizing::new(STANDARD.decode(value).ok()?);
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        Some(Self::Basic { name: hash(&decoded[..colon]), secret: hash(&decoded[colon + 1..]) })
    }
}

/// SHA-256.
pub(super) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}
