//! Being there: a key under a lease, which ends when nobody renews it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_client::{GetOptions, PutOptions};
use tokio::time::{sleep, timeout};

use super::client::describe;
use super::{ApplianceRecord, Shared};
use crate::Error;

const APPLIANCES: &str = "appliances";
/// Pause after a lease was lost.
const PAUSE: Duration = Duration::from_millis(500);

/// Says that we are there until it is stopped.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        if let Err(error) = shared.hold().await {
            tracing::debug!(%error, "the lease in etcd is lost; asking for another one");
        }
        sleep(PAUSE).await;
    }
}

impl Shared {
    /// Takes a lease and keeps it until it is lost.
    async fn hold(&self) -> Result<(), Error> {
        let remote = &self.remote;
        let every = Duration::from_secs(self.lease_s.into()) / 3;
        let granted = remote.ask(remote.leases().grant(self.lease_s.into(), None)).await?;
        let lease = granted.id();
        self.lease.store(lease, Ordering::Relaxed);
        let mut appliance = self.appliance.subscribe();
        self.appear(lease).await?;
        let (mut keeper, mut answers) = remote.ask(remote.leases().keep_alive(lease)).await?;
        loop {
            if let Ok(Ok(())) = timeout(every, appliance.changed()).await {
                self.appear(lease).await?;
            }
            keeper.keep_alive().await.map_err(|error| remote.unavailable(describe(&error)))?;
            let answer = remote.ask(answers.message()).await?;
            if answer.is_none_or(|answer| answer.ttl() <= 0) {
                return Err(remote.unavailable("the lease has ended"));
            }
        }
    }

    async fn appear(&self, lease: i64) -> Result<(), Error> {
        let record = self.appliance.borrow().clone();
        let key = self.remote.place(APPLIANCES, &record.name);
        let value = serde_json::to_vec(&record)
            .map_err(|error| Error::Unreadable { key: key.clone(), reason: error.to_string() })?;
        let options = PutOptions::new().with_lease(lease);
        self.remote.ask(self.remote.kv().put(key, value, Some(options))).await?;
        Ok(())
    }

    /// Appliances whose lease lives, by name.
    pub(super) async fn appliances(&self) -> Result<Vec<ApplianceRecord>, Error> {
        self.available()?;
        let options = GetOptions::new().with_prefix();
        let place = self.remote.place(APPLIANCES, "");
        let found = self.remote.ask(self.remote.kv().get(place, Some(options))).await?;
        let record = |found: &etcd_client::KeyValue| {
            serde_json::from_slice(found.value()).map_err(|error| Error::Unreadable {
                key: String::from_utf8_lossy(found.key()).into_owned(),
                reason: error.to_string(),
            })
        };
        found.kvs().iter().map(record).collect()
    }
}

/// For people: ms since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
