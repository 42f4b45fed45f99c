//! What requests to functions came to, as OpenFaaS's gateway counts them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use lnic_registry::LambdaKey;

/// Functions that are counted at a time: as many lambdas as an appliance can have. Of more, nothing is counted until a scrape has
/// forgotten those that were removed.
const FUNCTIONS: usize = 65_536;
/// Upper ends of the histogram's buckets in seconds: from a round trip within the host to the longest request.
pub(super) const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts requests to functions; cheap to clone.
///
/// Callers count only functions that the plane resolved: a name becomes a label. A scrape forgets those that are not deployed any more.
#[derive(Clone, Debug, Default)]
pub struct FunctionMetrics(Arc<RwLock<Namespaces>>);

/// By namespace and name, so that finding one costs no allocation.
type Namespaces = HashMap<Box<str>, HashMap<Box<str>, Arc<Mutex<Counts>>>>;

/// One function's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) started: u64,
    /// Requests that are done, by status.
    pub(super) codes: BTreeMap<u16, u64>,
    /// Those of each bucket alone, the last one for all that took longer.
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    pub(super) seconds: f64,
}

impl FunctionMetrics {
    /// Counts a request that begins, asynchronous ones included.
    pub fn started(&self, name: &str, namespace: &str) {
        self.with(name, namespace, |counts| counts.started += 1);
    }

    /// Counts a request that is done: the status that its caller got, and how long that took.
    pub fn record(&self, name: &str, namespace: &str, code: u16, seconds: f64) {
        // What is no status or no time would be a label or a sum that means nothing.
        if !(100..=599).contains(&code) || !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        self.with(name, namespace, |counts| {
            *counts.codes.entry(code).or_default() += 1;
            counts.buckets[BUCKETS.partition_point(|upper| *upper < seconds)] += 1;
            counts.seconds += seconds;
        });
    }

    /// Functions that are counted.
    pub(super) fn functions(&self) -> BTreeSet<LambdaKey> {
        let namespaces = self.read();
        let functions = namespaces
            .iter()
            .flat_map(|(namespace, functions)| functions.keys().map(|name| LambdaKey::new(namespace, name)));
        functions.collect()
    }

    /// Forgets functions.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a LambdaKey>) {
        let mut namespaces = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(functions) = namespaces.get_mut(key.namespace.as_str()) {
                functions.remove(key.name.as_str());
            }
        }
        namespaces.retain(|_, functions| !functions.is_empty());
    }

    /// What is counted of one.
    pub(super) fn counts(&self, key: &LambdaKey) -> Option<Counts> {
        let namespaces = self.read();
        let counts = namespaces.get(key.namespace.as_str())?.get(key.name.as_str())?;
        Some(counts.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn with(&self, name: &str, namespace: &str, count: impl FnOnce(&mut Counts)) {
        let find = |namespaces: &Namespaces| namespaces.get(namespace)?.get(name).cloned();
        let found = find(&self.read());
        let counts = match found {
            Some(counts) => counts,
            None => {
                let mut namespaces = self.0.write().unwrap_or_else(PoisonError::into_inner);
                if namespaces.values().map(HashMap::len).sum::<usize>() >= FUNCTIONS {
                    return;
                }
                let functions = namespaces.entry(namespace.into()).or_default();
                Arc::clone(functions.entry(name.into()).or_default())
            }
        };
        count(&mut counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> RwLockReadGuard<'_, Namespaces> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_time() {
        let metrics = FunctionMetrics::default();
        metrics.started("echo", "default");
        metrics.record("echo", "default", 200, 0.0001);
        metrics.clone().record("echo", "default", 200, 3.0);
        metrics.record("echo", "default", 502, 60.0);
        metrics.record("echo", "default", 200, f64::NAN);
        metrics.record("echo", "default", 999, 1.0);
        let counts = metrics.counts(&LambdaKey::new("default", "echo")).unwrap();
        assert_eq!(counts.started, 1);
        assert_eq!(counts.codes, BTreeMap::from([(200, 2), (502, 1)]));
        assert_eq!((counts.buckets[0], counts.buckets[14], counts.buckets[16]), (1, 1, 1));
        assert_eq!(counts.buckets.iter().sum::<u64>(), 3);
        assert!((counts.seconds - 63.0001).abs() < 1e-9);
        assert_eq!(metrics.counts(&LambdaKey::new("other", "echo")), None);
    }

    #[test]
    fn what_is_forgotten_is_gone_and_its_namespace_too() {
        let metrics = FunctionMetrics::default();
        for namespace in ["a", "b"] {
            metrics.record("f", namespace, 200, 1.0);
        }
        let [a, b] = ["a", "b"].map(|namespace| LambdaKey::new(namespace, "f"));
        metrics.forget([&a].into_iter());
        assert_eq!(metrics.functions(), BTreeSet::from([b]));
        assert_eq!(metrics.read().len(), 1);
    }

    #[test]
    fn functions_are_bounded() {
        let metrics = FunctionMetrics::default();
        for number in 0..FUNCTIONS + 10 {
            metrics.started(&format!("f{number}"), "default");
        }
        assert_eq!(metrics.functions().len(), FUNCTIONS);
        metrics.started("f0", "default");
        assert_eq!(metrics.counts(&LambdaKey::new("default", "f0")).unwrap().started, 2);
    }
}
