//! What is told to those who watch the registry.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::Registry;
use super::lambdas::LAMBDAS;
use super::namespaces::NAMESPACES;
use super::secrets::SECRETS;
use crate::LambdaKey;
use crate::store::Change;

/// Something was changed, by others or by us: read it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lambda was put or removed.
    Lambda(LambdaKey),
    /// A namespace was.
    Namespace(String),
    /// A secret was.
    Secret {
        /// Whose.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Changes were missed: read everything again.
    Resync,
    /// etcd is away. What was read last is still there; nothing can be changed.
    Unavailable(String),
    /// etcd is back. What has changed meanwhile comes next.
    Available,
}

impl Registry {
    /// Changes from now on. Ends with the registry; who is slow is told to read everything again.
    pub fn watch(&self) -> BoxStream<'static, Event> {
        self.0.store.watch("", None).filter_map(async |change| event(change)).boxed()
    }
}

/// None for what the registry keeps for itself.
fn event(change: Change) -> Option<Event> {
    let key = match change {
        Change::Put { key, .. } | Change::Delete { key, .. } => key,
        Change::Resync => return Some(Event::Resync),
        Change::Unavailable(reason) => return Some(Event::Unavailable(reason)),
        Change::Available => return Some(Event::Available),
    };
    if let Some(name) = key.strip_prefix(NAMESPACES) {
        return Some(Event::Namespace(name.to_owned()));
    }
    if let Some((namespace, name)) = key.strip_prefix(LAMBDAS).and_then(|key| key.split_once('/')) {
        return Some(Event::Lambda(LambdaKey::new(namespace, name)));
    }
    let (namespace, name) = key.strip_prefix(SECRETS)?.split_once('/')?;
    Some(Event::Secret { namespace: namespace.to_owned(), name: name.to_owned() })
}
