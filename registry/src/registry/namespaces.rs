//! Namespaces. The default one is always there; what belongs to another goes with it.

use super::lambdas::LAMBDAS;
use super::secrets::SECRETS;
use super::{Registry, Versioned, encode};
use crate::store::Transaction;
use crate::{Error, LambdaKey, NamespaceRecord, Revision, names};

/// What keys of namespaces begin with: `namespaces/NAME`.
pub(super) const NAMESPACES: &str = "namespaces/";

impl Registry {
    /// All namespaces that can be read, by name; the default one too.
    pub async fn namespaces(&self) -> Result<Vec<Versioned<NamespaceRecord>>, Error> {
        let mut namespaces = self.list_readable::<NamespaceRecord>(NAMESPACES).await?;
        let default = LambdaKey::DEFAULT_NAMESPACE;
        if let Err(position) =
            namespaces.binary_search_by(|namespace| namespace.value.name.as_str().cmp(default))
        {
            namespaces.insert(position, default_namespace());
        }
        Ok(namespaces)
    }

    /// One namespace. The default one has revision 0 until it is put.
    pub async fn namespace(&self, name: &str) -> Result<Option<Versioned<NamespaceRecord>>, Error> {
        names::namespace(name)?;
        let found = self.get(&place(name)).await?;
        Ok(found.or_else(|| (name == LambdaKey::DEFAULT_NAMESPACE).then(default_namespace)))
    }

    /// Keeps a namespace, if it is at `expected` still: 0 for a new one.
    pub async fn put_namespace(
        &self,
        record: &NamespaceRecord,
        expected: Revision,
    ) -> Result<Revision, Error> {
        names::namespace(&record.name)?;
        let place = place(&record.name);
        let transaction =
            Transaction::new().at(place.as_str(), expected).put(place.as_str(), encode(&place, record)?);
        self.0.store.commit(transaction).await.map_err(|error| match error {
            Error::Conflict(_) => Error::Conflict(format!("namespace \"{}\"", record.name)),
            Error::TooLarge { bytes, most, .. } => {
                Error::TooLarge { what: format!("namespace \"{}\"", record.name), bytes, most }
            }
            other => other,
        })
    }

    /// Removes a namespace that has no lambdas, and its secrets with it.
    pub async fn remove_namespace(&self, name: &str) -> Result<(), Error> {
        names::namespace(name)?;
        if name == LambdaKey::DEFAULT_NAMESPACE {
            return Err(Error::DefaultNamespace);
        }
        let (place, lambdas) = (place(name), format!("{LAMBDAS}{name}/"));
        let transaction = Transaction::new()
            .present(place.as_str())
            .none_under(lambdas.as_str())
            .delete(place.as_str())
            .delete_under(format!("{SECRETS}{name}/"));
        match self.0.store.commit(transaction).await {
            Err(Error::Conflict(key)) if key == place => Err(Error::NoNamespace(name.to_owned())),
            Err(Error::Conflict(_)) => {
                let first = self.0.store.list(&lambdas).await?.entries.into_iter().next();
                // Removed meanwhile: the next try succeeds.
                let Some(first) = first else { return Err(Error::Conflict(format!("namespace \"{name}\""))) };
                let lambda = first.key.strip_prefix(&lambdas).unwrap_or_default().to_owned();
                Err(Error::NamespaceInUse { namespace: name.to_owned(), lambda })
            }
            outcome => outcome.map(|_| ()),
        }
    }
}

/// What belongs to a namespace is put only while it is there.
pub(super) fn namespace_condition(transaction: Transaction, name: &str) -> Transaction {
    match name {
        LambdaKey::DEFAULT_NAMESPACE => transaction,
        name => transaction.present(place(name)),
    }
}

fn place(name: &str) -> String {
    format!("{NAMESPACES}{name}")
}

fn default_namespace() -> Versioned<NamespaceRecord> {
    let name = LambdaKey::DEFAULT_NAMESPACE.to_owned();
    Versioned { value: NamespaceRecord { name, ..NamespaceRecord::default() }, revision: Revision(0) }
}
