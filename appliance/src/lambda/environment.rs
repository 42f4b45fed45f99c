//! What a deployment gives its lambda beside code: environment and secrets, read by host calls.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Environment and secrets of one deployment. Cheap to clone; its values are zeroed when the last clone is dropped.
#[derive(Clone, Default)]
pub struct Environment(Arc<Values>);

#[derive(Default)]
struct Values {
    environment: BTreeMap<String, Vec<u8>>,
    secrets: BTreeMap<String, zeroize::Zeroizing<Vec<u8>>>,
}

impl Environment {
    /// What a manifest and its namespace's secrets say.
    #[must_use]
    pub fn new(
        environment: BTreeMap<String, Vec<u8>>,
        secrets: BTreeMap<String, zeroize::Zeroizing<Vec<u8>>>,
    ) -> Self {
        Self(Arc::new(Values { environment, secrets }))
    }

    /// A variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.0.environment.get(name).map(Vec::as_slice)
    }

    /// A secret.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&[u8]> {
        self.0.secrets.get(name).map(|value| value.as_slice())
    }
}

impl std::fmt::Debug for Environment {
    /// Names only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("environment", &self.0.environment.keys())
            .field("secrets", &self.0.secrets.keys())
            .finish()
    }
}
