//! The task that brings the copy up to date.
//!
//! Whenever it reaches etcd, it compares everything first, and then reads changes as they come. So it does not matter how long etcd was
//! away, what it has forgotten of its history, or whether it was restored from a backup.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{EventType, GetOptions, WatchOptions};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::client::describe;
use super::{Shared, signed};
use crate::store::{Change, Entry, FORMAT};
use crate::{Error, Revision};

/// Entries that are asked for at a time.
const PAGE: i64 = 32;
/// Pauses between two tries.
const PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
/// Key of the format that all is kept in.
const FORMAT_KEY: &str = "format";

/// Follows until it is stopped; from a revision that the copy has, if it has one.
pub(super) async fn run(shared: Arc<Shared>, mut synced: Option<u64>) {
    let mut pause = *PAUSE.start();
    loop {
        let error = match shared.follow(synced.take(), &mut pause).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if shared.history.away().is_none() {
            shared.unavailable(&error);
        }
        sleep(pause).await;
        pause = (pause * 2).min(*PAUSE.end());
    }
}

impl Shared {
    async fn follow(&self, synced: Option<u64>, pause: &mut Duration) -> Result<Infallible, Error> {
        let synced = match synced {
            Some(revision) => revision,
            None => self.sync().await?,
        };
        *pause = *PAUSE.start();
        let options = WatchOptions::new().with_prefix().with_start_revision(signed(synced + 1));
        let remote = &self.remote;
        let mut watch = remote.ask(remote.watches().watch(remote.key(""), Some(options))).await?;
        loop {
            let message = watch.message().await.map_err(|error| remote.unavailable(describe(&error)))?;
            let message = message.ok_or_else(|| remote.unavailable("it ended the watch"))?;
            if message.canceled() {
                return Err(
                    remote.unavailable(format!("it cancelled the watch: {}", message.cancel_reason()))
                );
            }
            let cluster = message.header().map_or(0, etcd_client::ResponseHeader::cluster_id);
            self.apply(cluster, message.events()).await?;
        }
    }

    async fn apply(&self, cluster: u64, events: &[etcd_client::Event]) -> Result<(), Error> {
        let mut entries = Vec::with_capacity(events.len());
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            let Some(found) = event.kv() else { continue };
            let entry = self.entry(found)?;
            let (key, revision) = (entry.key.clone(), entry.revision);
            match event.event_type() {
                EventType::Put => {
                    entries.push(Ok(entry));
                    changes.push(Change::Put { key, revision });
                }
                EventType::Delete => {
                    entries.push(Err(entry.key));
                    changes.push(Change::Delete { key, revision });
                }
            }
        }
        let last = changes.iter().filter_map(Change::revision).max();
        let Some(Revision(revision)) = last else { return Ok(()) };
        self.mirror.apply(cluster, revision, entries).await?;
        self.history.push(changes);
        self.applied.send_replace(revision);
        Ok(())
    }

    /// Makes the copy what etcd has now; answers its revision.
    pub(super) async fn sync(&self) -> Result<u64, Error> {
        let (cluster, revision, entries) = self.fetch().await?;
        self.check_format(&entries).await?;
        let changes = self.mirror.adopt(cluster, revision, entries).await?;
        if self.history.away().is_some() {
            tracing::info!(revision, "the registry in etcd is back");
            self.history.push([Change::Available]);
        }
        match changes {
            Some(changes) => self.history.push(changes),
            None => {
                tracing::warn!("etcd is another one, or was restored: everything is read again");
                self.seen.store(0, Ordering::Relaxed);
                self.history.reset(Revision(revision));
            }
        }
        self.applied.send_replace(revision);
        Ok(revision)
    }

    /// Everything, as of one revision.
    async fn fetch(&self) -> Result<(u64, u64, Vec<Entry>), Error> {
        let remote = &self.remote;
        let end = end_of(&remote.key(""));
        let mut from = remote.key("");
        let mut moment = None;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let mut options = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
            if let Some((_, revision)) = moment {
                options = options.with_revision(signed(revision));
            }
            let page = remote.ask(remote.kv().get(from.clone(), Some(options))).await?;
            let header = page.header().ok_or_else(|| remote.unavailable("an answer without a header"))?;
            let (cluster, revision) =
                *moment.get_or_insert((header.cluster_id(), header.revision().unsigned_abs()));
            for found in page.kvs() {
                entries.push(self.entry(found)?);
            }
            match entries.last() {
                Some(last) if page.more() => from = format!("{}\0", remote.key(&last.key)),
                _ => return Ok((cluster, revision, entries)),
            }
        }
    }

    pub(super) fn entry(&self, found: &etcd_client::KeyValue) -> Result<Entry, Error> {
        let key = String::from_utf8_lossy(found.key());
        let within = key.strip_prefix(&self.remote.key(""));
        let within = within.ok_or_else(|| self.remote.unavailable(format!("it told of \"{key}\"")))?;
        Ok(Entry {
            key: within.to_owned(),
            value: Zeroizing::new(found.value().to_vec()),
            revision: Revision(found.mod_revision().unsigned_abs()),
        })
    }

    /// What a newer version wrote is not touched. The first one says which format it is.
    async fn check_format(&self, entries: &[Entry]) -> Result<(), Error> {
        let Some(entry) = entries.iter().find(|entry| entry.key == FORMAT_KEY) else {
            let key = self.remote.key(FORMAT_KEY);
            self.remote.ask(self.remote.kv().put(key, FORMAT.to_string(), None)).await?;
            return Ok(());
        };
        let found = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok());
        match found {
            Some(FORMAT) => Ok(()),
            found => Err(Error::Format {
                place: format!("etcd at {}", self.remote.endpoints()),
                found: found.unwrap_or_default(),
                known: FORMAT,
            }),
        }
    }
}

/// The first key after those that begin so; prefixes end with "/".
fn end_of(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}
