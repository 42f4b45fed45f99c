//! Secrets: apart from records, and nowhere shown.

use std::fmt;

use zeroize::Zeroizing;

use super::namespaces::namespace_condition;
use super::{Registry, Versioned};
use crate::store::Transaction;
use crate::{Error, Revision, names};

/// What keys of secrets begin with: `secrets/NAMESPACE/NAME`.
pub(super) const SECRETS: &str = "secrets/";

/// A secret's bytes; never shown, zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes away.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Registry {
    /// Names of a namespace's secrets, in order.
    pub async fn secret_names(&self, namespace: &str) -> Result<Vec<String>, Error> {
        names::namespace(namespace)?;
        let prefix = format!("{SECRETS}{namespace}/");
        let entries = self.0.store.list(&prefix).await?.entries;
        Ok(entries.iter().filter_map(|entry| entry.key.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    /// One secret.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Versioned<Secret>>, Error> {
        let found = self.0.store.get(&place(namespace, name)?).await?;
        Ok(found.map(|entry| Versioned { value: Secret(entry.value), revision: entry.revision }))
    }

    /// Keeps a secret; where a revision is expected, if it is at that still: 0 for a new one.
    pub async fn put_secret(
        &self,
        namespace: &str,
        name: &str,
        value: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision, Error> {
        let place = place(namespace, name)?;
        let mut transaction = namespace_condition(Transaction::new(), namespace).put(place.as_str(), value);
        if let Some(expected) = expected {
            transaction = transaction.at(place.as_str(), expected);
        }
        let secret = || format!("secret \"{name}\" of namespace \"{namespace}\"");
        self.0.store.commit(transaction).await.map_err(|error| match error {
            Error::Conflict(key) if key == place => Error::Conflict(secret()),
            Error::Conflict(_) => Error::NoNamespace(namespace.to_owned()),
            Error::TooLarge { bytes, most, .. } => Error::TooLarge { what: secret(), bytes, most },
            other => other,
        })
    }

    /// Forgets a secret; whether it was there.
    pub async fn remove_secret(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let place = place(namespace, name)?;
        match self.0.store.commit(Transaction::new().present(place.as_str()).delete(place)).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn place(namespace: &str, name: &str) -> Result<String, Error> {
    names::namespace(namespace)?;
    names::secret(name)?;
    Ok(format!("{SECRETS}{namespace}/{name}"))
}
