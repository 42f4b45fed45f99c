//! The local copy of what etcd has: always as of one of its revisions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::store::{Change, Embedded, Entry, Listing, Store as _, Transaction};
use crate::{Error, Revision};

const ABOUT: &str = "mirror/about";
const ENTRIES: &str = "mirror/entries/";

/// A copy in a local store, where every value follows its revision in etcd.
pub(super) struct Mirror {
    local: Embedded,
    prefix: String,
}

/// Which moment of which etcd the copy shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) prefix: String,
    pub(super) cluster: u64,
    pub(super) revision: u64,
}

impl Mirror {
    /// The copy that the store has; it is forgotten if it is of other keys.
    pub(super) async fn open(local: Embedded, prefix: &str) -> Result<Self, Error> {
        let mirror = Self { local, prefix: prefix.to_owned() };
        if mirror.about().await?.is_some_and(|about| about.prefix != prefix) {
            mirror.local.commit_any(Transaction::new().delete_under("mirror/"), true).await?;
        }
        Ok(mirror)
    }

    /// Which moment it shows; None if it never saw etcd.
    pub(super) async fn about(&self) -> Result<Option<About>, Error> {
        let Some(entry) = self.local.get(ABOUT).await? else { return Ok(None) };
        let about = serde_json::from_slice(&entry.value);
        about
            .map(Some)
            .map_err(|error| Error::Unreadable { key: ABOUT.to_owned(), reason: error.to_string() })
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.local.get(&local_key(key)).await?.map(decode).transpose()
    }

    /// The revision is read first: changes after it may be in the list already, and none is missed.
    pub(super) async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        let revision = Revision(self.about().await?.map_or(0, |about| about.revision));
        let listing = self.local.list(&local_key(prefix)).await?;
        let entries = listing.entries.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Listing { entries, revision })
    }

    /// Becomes what etcd has. Answers what is different, oldest first; None if it was another etcd, or an earlier state of it.
    pub(super) async fn adopt(
        &self,
        cluster: u64,
        revision: u64,
        found: Vec<Entry>,
    ) -> Result<Option<Vec<Change>>, Error> {
        let before = self.about().await?;
        let goes_on = before.is_none_or(|before| before.cluster == cluster && before.revision <= revision);
        let mut gone: BTreeMap<String, Revision> =
            self.list("").await?.entries.into_iter().map(|entry| (entry.key, entry.revision)).collect();
        let mut changes = Vec::new();
        let mut update = Transaction::new();
        for entry in found {
            if gone.remove(&entry.key) == Some(entry.revision) && goes_on {
                continue;
            }
            update = update.put(local_key(&entry.key), encode(&entry).to_vec());
            changes.push(Change::Put { key: entry.key, revision: entry.revision });
        }
        for key in gone.into_keys() {
            update = update.delete(local_key(&key));
            changes.push(Change::Delete { key, revision: Revision(revision) });
        }
        changes.sort_by_key(Change::revision);
        self.commit(update, cluster, revision).await?;
        Ok(goes_on.then_some(changes))
    }

    /// Follows etcd by some changes, in their order: entries that were put, and keys that were deleted.
    pub(super) async fn apply(
        &self,
        cluster: u64,
        revision: u64,
        changes: Vec<Result<Entry, String>>,
    ) -> Result<(), Error> {
        let update = changes.iter().fold(Transaction::new(), |update, change| match change {
            Ok(entry) => update.put(local_key(&entry.key), encode(entry).to_vec()),
            Err(key) => update.delete(local_key(key)),
        });
        self.commit(update, cluster, revision).await
    }

    /// etcd has it all: after a power cut, an older copy does.
    async fn commit(&self, update: Transaction, cluster: u64, revision: u64) -> Result<(), Error> {
        let about = About { prefix: self.prefix.clone(), cluster, revision };
        let about = serde_json::to_vec(&about)
            .map_err(|error| Error::Unreadable { key: ABOUT.to_owned(), reason: error.to_string() })?;
        self.local.commit_any(update.put(ABOUT, about), false).await?;
        Ok(())
    }
}

fn local_key(key: &str) -> String {
    format!("{ENTRIES}{key}")
}

fn encode(entry: &Entry) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(Vec::with_capacity(8 + entry.value.len()));
    value.extend_from_slice(&entry.revision.0.to_le_bytes());
    value.extend_from_slice(&entry.value);
    value
}

fn decode(local: Entry) -> Result<Entry, Error> {
    let Some((revision, value)) = local.value.split_first_chunk() else {
        return Err(Error::Unreadable { key: local.key, reason: "no revision".to_owned() });
    };
    Ok(Entry {
        key: local.key.strip_prefix(ENTRIES).unwrap_or(&local.key).to_owned(),
        value: Zeroizing::new(value.to_vec()),
        revision: Revision(u64::from_le_bytes(*revision)),
    })
}
