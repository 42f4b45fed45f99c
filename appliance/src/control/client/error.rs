//! Why the client has no answer.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::StatusCode;

/// Why the client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used.
    #[error("--url {url}: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of certificates cannot be used.
    #[error("certificates {}: {reason}", path.display())]
    Certificates {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system has no certificates to trust.
    #[error("{target}: no trusted certificates on this system ({reason}): name some with --ca FILE")]
    NoRoots {
        /// Whom it is about.
        target: String,
        /// What is wrong.
        reason: String,
    },
    /// A user's name, password or token cannot be sent.
    #[error("{0} cannot be sent: it has characters that HTTP does not take")]
    Credentials(&'static str),
    /// Nobody listens there.
    #[error("{target}: {source}: {hint}")]
    Connect {
        /// Whom it is about.
        target: String,
        /// What the system says.
        source: std::io::Error,
        /// What to look at.
        hint: &'static str,
    },
    /// The connection ended, or what came is no answer.
    #[error("{target}: {reason}")]
    Answer {
        /// Whom it is about.
        target: String,
        /// What is wrong.
        reason: String,
    },
    /// There was no answer in time.
    #[error("{target}: no answer in {time:?}")]
    TimedOut {
        /// Whom it is about.
        target: String,
        /// How long it waited.
        time: Duration,
    },
    /// The server says no.
    #[error("{target}: {}", said(*status, message))]
    Refused {
        /// Whom it is about.
        target: String,
        /// The status.
        status: StatusCode,
        /// What the server said; several lines if several things are wrong.
        message: String,
    },
}

impl Error {
    /// The server says that something is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// The server says that whoever asks may not know.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::FORBIDDEN, .. })
    }
}

/// What the server said, as a terminal may show it.
fn said(status: StatusCode, message: &str) -> String {
    let message = escape(message.trim());
    let message = match (message.as_str(), status) {
        ("", status) => format!("answered {status}"),
        (text, StatusCode::UNAUTHORIZED) => {
            format!("{text}: say who you are with --user and a password, or with a token")
        }
        (text, _) => text.to_owned(),
    };
    if message.contains('\n') { format!("refused\n{message}") } else { message }
}

/// Without control characters but line ends: what a server says must not write to terminals.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    escaped
}
