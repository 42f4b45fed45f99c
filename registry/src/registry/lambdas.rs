//! Lambdas, and the IDs that callers know them by: each belongs to one lambda over all namespaces.

use std::collections::BTreeSet;

use super::namespaces::namespace_condition;
use super::{Registry, Versioned, encode};
use crate::store::Transaction;
use crate::{Digest, Error, LambdaKey, LambdaRecord, Revision, names};

/// What keys of lambdas begin with: `lambdas/NAMESPACE/NAME`.
pub(super) const LAMBDAS: &str = "lambdas/";
/// What keys of the index of IDs begin with: `ids/HEX`.
const IDS: &str = "ids/";
/// IDs from here on are given out; those below are for people.
const FIRST_ID: u32 = 0x8000_0000;

impl Registry {
    /// All lambdas that can be read, by namespace and name. The log names the others.
    pub async fn lambdas(&self) -> Result<Vec<Versioned<LambdaRecord>>, Error> {
        self.list_readable(LAMBDAS).await
    }

    /// One lambda.
    pub async fn lambda(&self, key: &LambdaKey) -> Result<Option<Versioned<LambdaRecord>>, Error> {
        names::key(key)?;
        self.get(&place(key)).await
    }

    /// Keeps a lambda as it shall be from now on, if it is at `expected` still: 0 for a new one. Its namespace and its modules must be
    /// there, and its ID nobody else's.
    pub async fn put_lambda(&self, record: &LambdaRecord, expected: Revision) -> Result<Revision, Error> {
        names::key(&record.key)?;
        let place = place(&record.key);
        let before = self.get::<LambdaRecord>(&place).await?;
        if before.as_ref().map_or(Revision(0), |before| before.revision) != expected {
            return Err(Error::Conflict(lambda(&record.key)));
        }
        let named = before.as_ref().map(|before| modules(&before.value)).unwrap_or_default();
        for module in modules(record).difference(&named) {
            self.need_module(*module).await?;
        }
        let (id, ours) = (id_place(record.id), before.map(|before| before.value.id));
        let mut transaction = namespace_condition(Transaction::new(), &record.key.namespace)
            .at(place.as_str(), expected)
            .put(place.as_str(), encode(&place, record)?);
        if ours != Some(record.id) {
            if let Some(ours) = ours {
                transaction = transaction.delete(id_place(ours));
            }
            transaction =
                transaction.at(id.as_str(), Revision(0)).put(id.as_str(), encode(&id, &record.key)?);
        }
        match self.0.store.commit(transaction).await {
            Err(Error::Conflict(key)) if key == id => Err(match self.get(&id).await? {
                Some(Versioned { value: by, .. }) => Error::IdTaken { id: record.id, by },
                None => Error::Conflict(lambda(&record.key)),
            }),
            Err(Error::Conflict(key)) if key == place => Err(Error::Conflict(lambda(&record.key))),
            Err(Error::Conflict(_)) => Err(Error::NoNamespace(record.key.namespace.clone())),
            Err(Error::TooLarge { bytes, most, .. }) => {
                Err(Error::TooLarge { what: lambda(&record.key), bytes, most })
            }
            outcome => outcome,
        }
    }

    /// Forgets a lambda, if it is at `expected` still.
    pub async fn remove_lambda(&self, key: &LambdaKey, expected: Revision) -> Result<(), Error> {
        names::key(key)?;
        let place = place(key);
        let before = self.get::<LambdaRecord>(&place).await?;
        let Some(before) = before.filter(|before| before.revision == expected) else {
            return Err(Error::Conflict(lambda(key)));
        };
        let transaction = Transaction::new()
            .at(place.as_str(), expected)
            .delete(place.as_str())
            .delete(id_place(before.value.id));
        match self.0.store.commit(transaction).await {
            Err(Error::Conflict(_)) => Err(Error::Conflict(lambda(key))),
            outcome => outcome.map(|_| ()),
        }
    }

    /// An ID for a lambda: the one that it has, or one that is free, for the same name most often the same. Somebody else may take it
    /// first: [`Registry::put_lambda`] says so.
    pub async fn allocate_id(&self, key: &LambdaKey) -> Result<u32, Error> {
        if let Some(lambda) = self.lambda(key).await? {
            return Ok(lambda.value.id);
        }
        let taken = self.0.store.list(IDS).await?.entries;
        let is_taken =
            |id: u32| taken.binary_search_by(|entry| entry.key.as_str().cmp(&id_place(id))).is_ok();
        let [a, b, c, d, ..] = *Digest::of(place(key).as_bytes()).bytes();
        let first = u32::from_be_bytes([a, b, c, d]) | FIRST_ID;
        (0..=u32::MAX - FIRST_ID)
            .map(|step| first.wrapping_add(step) | FIRST_ID)
            .take(taken.len() + 1)
            .find(|id| !is_taken(*id))
            .ok_or(Error::NoId)
    }
}

/// What its generations name.
pub(super) fn modules(record: &LambdaRecord) -> BTreeSet<Digest> {
    record.generations.iter().map(|generation| generation.module).collect()
}

fn place(key: &LambdaKey) -> String {
    format!("{LAMBDAS}{}/{}", key.namespace, key.name)
}

fn id_place(id: u32) -> String {
    format!("{IDS}{id:08x}")
}

/// For people.
fn lambda(key: &LambdaKey) -> String {
    format!("lambda \"{key}\"")
}
