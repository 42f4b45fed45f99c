//! The registry: what the store keeps, in the words of the appliance.

mod events;
mod lambdas;
mod modules;
mod namespaces;
mod requests;
mod secrets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{self, Arc, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use self::modules::Unused;
use self::requests::Queue;
use crate::modules::Modules;
use crate::store::{Embedded, Entry, Etcd, EtcdSettings, StateFolder, Store};
use crate::{ApplianceRecord, Error, Revision};

pub use events::Event;
pub use requests::AsyncRequest;
pub use secrets::Secret;

/// Where a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In memory: forgotten when it is dropped.
    Memory,
    /// In a state folder of this appliance.
    Folder(PathBuf),
    /// In etcd, for several appliances.
    Etcd {
        /// State folder for the copy of what etcd has, for modules and asynchronous requests; in memory if there is none.
        folder: Option<PathBuf>,
        /// URLs of etcd's members.
        endpoints: Vec<String>,
        /// What all keys begin with: begins with "/" and does not end with it.
        prefix: String,
        /// Seconds after which an appliance that says nothing is gone.
        lease_s: u32,
        /// Name of this appliance.
        appliance: String,
    },
}

/// Something, and which state of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// What.
    pub value: T,
    /// To be named when it is changed.
    pub revision: Revision,
}

/// What is deployed. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// The same store, where it is etcd.
    etcd: Option<Etcd>,
    /// The store of this appliance alone.
    local: Embedded,
    /// What is said of ourselves, where nobody else is.
    alone: sync::Mutex<ApplianceRecord>,
    modules: Modules,
    unused: Mutex<Unused>,
    queue: Queue,
    /// Entries that cannot be read and were named in the log, and at which revision.
    unreadable: sync::Mutex<BTreeMap<String, Revision>>,
}

impl Registry {
    /// Opens it. Needs a tokio runtime with time and I/O as long as it lives.
    pub async fn open(backend: Backend) -> Result<Self, Error> {
        let (folder, etcd) = match backend {
            Backend::Memory => (None, None),
            Backend::Folder(folder) => (Some(folder), None),
            Backend::Etcd { folder, endpoints, prefix, lease_s, appliance } => {
                (folder, Some(EtcdSettings { endpoints, prefix, lease_s, appliance }))
            }
        };
        let open = tokio::task::spawn_blocking(move || match folder {
            None => Ok((Embedded::memory()?, Modules::memory())),
            Some(path) => {
                let local = Embedded::open(StateFolder::open(&path)?)?;
                Ok((local, Modules::open(&path)?))
            }
        });
        let (local, modules) = open.await.map_err(|_| Error::Closed)??;
        let queue = Queue::open(&local).await?;
        let etcd = match etcd {
            None => None,
            Some(settings) => Some(Etcd::open(local.clone(), settings).await?),
        };
        let store: Arc<dyn Store> = match &etcd {
            None => Arc::new(local.clone()),
            Some(etcd) => Arc::new(etcd.clone()),
        };
        let alone = sync::Mutex::new(ApplianceRecord::new(&host_name()));
        let unused = Mutex::default();
        Ok(Self(Arc::new(Inner {
            store,
            etcd,
            local,
            alone,
            modules,
            unused,
            queue,
            unreadable: sync::Mutex::default(),
        })))
    }

    /// Leaves the other appliances, and lets go of the state folder once no other clone uses it. One that is just dropped does so a
    /// moment later, and others miss it when its lease has ended.
    pub async fn close(self) {
        if let Some(etcd) = &self.0.etcd {
            etcd.close().await;
        }
    }

    /// Says to other appliances where our API is.
    pub fn announce(&self, address: &str) {
        match &self.0.etcd {
            Some(etcd) => etcd.announce(address),
            None => {
                address.clone_into(&mut self.0.alone.lock().unwrap_or_else(PoisonError::into_inner).address)
            }
        }
    }

    /// Appliances that share the registry and are there now, by name; just ourselves without etcd.
    pub async fn appliances(&self) -> Result<Vec<ApplianceRecord>, Error> {
        match &self.0.etcd {
            Some(etcd) => etcd.appliances().await,
            None => Ok(vec![self.0.alone.lock().unwrap_or_else(PoisonError::into_inner).clone()]),
        }
    }

    /// What is under a key.
    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, Error> {
        self.0.store.get(key).await?.map(|entry| parse(&entry)).transpose()
    }

    /// What is under keys that begin so and can be read: one that cannot costs nobody the others. It is named in the log, once.
    async fn list_readable<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, Error> {
        let entries = self.0.store.list(prefix).await?.entries;
        let readable = |entry: &Entry| match parse(entry) {
            Ok(found) => Some(found),
            Err(error) => {
                let mut unreadable = self.0.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                if unreadable.insert(entry.key.clone(), entry.revision) != Some(entry.revision) {
                    tracing::warn!("{error}; it is passed over");
                }
                None
            }
        };
        Ok(entries.iter().filter_map(readable).collect())
    }

    /// What is under keys that begin so; an error if anything of it cannot be read.
    async fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, Error> {
        self.0.store.list(prefix).await?.entries.iter().map(parse).collect()
    }
}

fn parse<T: DeserializeOwned>(entry: &Entry) -> Result<Versioned<T>, Error> {
    let value = serde_json::from_slice(&entry.value)
        .map_err(|error| Error::Unreadable { key: entry.key.clone(), reason: error.to_string() })?;
    Ok(Versioned { value, revision: entry.revision })
}

fn encode<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value)
        .map_err(|error| Error::Unreadable { key: key.to_owned(), reason: error.to_string() })
}

/// What the machine is called.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
