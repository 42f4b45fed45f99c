//! Who asks, and what they may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::ApiError;

/// What can be allowed. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Sending requests to lambdas.
    Invoke,
    /// Seeing lambdas, rules, logs, counters, and names of secrets.
    Read,
    /// Deploying, changing and removing lambdas and secrets.
    Deploy,
    /// Everything: namespaces, and whatever is not of one namespace.
    Admin,
}

/// Rights by namespace; `*` stands for all namespaces, and for what belongs to none. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights(Arc<BTreeMap<String, Right>>);

impl Rights {
    /// All namespaces.
    pub const ALL: &'static str = "*";

    /// Those that are listed.
    #[must_use]
    pub fn new(rights: BTreeMap<String, Right>) -> Self {
        Self(Arc::new(rights))
    }

    /// Does it include this one?
    #[must_use]
    pub fn include(&self, right: Right, namespace: &str) -> bool {
        [namespace, Self::ALL].iter().any(|key| self.0.get(*key).is_some_and(|has| *has >= right))
    }

    /// Does it include this one in any namespace?
    #[must_use]
    pub fn include_somewhere(&self, right: Right) -> bool {
        self.0.values().any(|has| *has >= right)
    }
}

/// Who asks. Cheap to clone: each request carries one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Their name, for the log.
    pub name: Arc<str>,
    rights: Rights,
}

/// The caller may not do that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user \"{user}\" has no right \"{right}\" in {namespace}")]
pub struct Forbidden {
    user: Arc<str>,
    right: &'static str,
    /// For people.
    namespace: String,
}

impl Right {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Invoke, Self::Read, Self::Deploy, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl Caller {
    /// One who may do what `rights` say.
    #[must_use]
    pub fn new(name: &str, rights: Rights) -> Self {
        Self { name: name.into(), rights }
    }

    /// Whoever may write to the control socket: everything is theirs.
    #[must_use]
    pub fn local() -> Self {
        Self::new("local", Rights::new(BTreeMap::from([(Rights::ALL.into(), Right::Admin)])))
    }

    /// Somebody of whom nothing is known: nothing is theirs.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new("nobody", Rights::default())
    }

    /// Refuses, unless they have the right there.
    pub fn may(&self, right: Right, namespace: &str) -> Result<(), Forbidden> {
        if self.rights.include(right, namespace) {
            return Ok(());
        }
        Err(match namespace {
            Rights::ALL => self.forbidden(right, "all namespaces (\"*\")".into()),
            namespace => self.forbidden(right, format!("namespace \"{namespace}\"")),
        })
    }

    /// The same for what belongs to no namespace, or to all.
    pub fn may_everywhere(&self, right: Right) -> Result<(), Forbidden> {
        self.may(right, Rights::ALL)
    }

    /// The same for what a right in any one namespace is enough for.
    pub fn may_somewhere(&self, right: Right) -> Result<(), Forbidden> {
        if self.rights.include_somewhere(right) {
            return Ok(());
        }
        Err(self.forbidden(right, "any namespace".into()))
    }

    fn forbidden(&self, right: Right, namespace: String) -> Forbidden {
        Forbidden { user: Arc::clone(&self.name), right: right.name(), namespace }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A listener that forgot to say who asks lets nobody do anything.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::nobody))
    }
}
