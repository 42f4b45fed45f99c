//! Modules: here, and in etcd for other appliances.
//!
//! A module that nothing names is kept for an hour after it was last put or named, as this process has seen it: somebody may be about to
//! deploy it. Wall clocks have no say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::lambdas::{self, LAMBDAS};
use super::{Registry, Versioned};
use crate::modules::MODULE_BYTES;
use crate::store::Etcd;
use crate::{Digest, Error, LambdaRecord, Revision};

/// Most bytes of all modules that are kept here.
const KEPT_BYTES: u64 = 4 << 30;
/// Most bytes of all modules in etcd, which has 2 GiB for everything unless it is told otherwise.
const SHARED_BYTES: u64 = 1 << 30;
/// What a module counts for at least: there are not too many to be listed, either.
const LEAST_BYTES: u64 = 64 << 10;
/// How long a module stays that nothing names.
const UNUSED: Duration = Duration::from_hours(1);

/// Modules that nothing names: since when, and at which revision in etcd.
pub(super) type Unused = BTreeMap<Digest, (Instant, Revision)>;

impl Registry {
    /// Keeps a module, once.
    pub async fn put_module(&self, wasm: &[u8]) -> Result<Digest, Error> {
        if wasm.len() > MODULE_BYTES {
            let what = "the module".to_owned();
            return Err(Error::TooLarge { what, bytes: wasm.len(), most: MODULE_BYTES });
        }
        let digest = Digest::of(wasm);
        // Held until it is there: nobody collects it meanwhile, and two do not take the same room.
        let mut unused = self.0.unused.lock().await;
        unused.remove(&digest);
        let kept = self.0.modules.list().await?;
        let shared = self.shared_modules().await?;
        room(kept, digest, wasm.len() as u64, KEPT_BYTES)?;
        if self.0.etcd.is_some() {
            let shared = shared.into_iter().map(|(digest, (bytes, _))| (digest, bytes)).collect();
            room(shared, digest, wasm.len() as u64, SHARED_BYTES)?;
        }
        self.0.modules.put(digest, wasm).await?;
        if let Some(etcd) = &self.0.etcd {
            etcd.put_module(&digest.hex(), wasm).await?;
        }
        Ok(digest)
    }

    /// A lambda is about to name it: it must be there, and stays for an hour at least, whatever others collect meanwhile.
    pub(super) async fn need_module(&self, digest: Digest) -> Result<(), Error> {
        let mut unused = self.0.unused.lock().await;
        unused.remove(&digest);
        let there = match &self.0.etcd {
            Some(etcd) if etcd.touch_module(&digest.hex()).await? => true,
            // An etcd that was restored from an older backup may miss what is here.
            Some(etcd) => match self.0.modules.get(digest).await? {
                Some(wasm) => etcd.put_module(&digest.hex(), &wasm).await.map(|()| true)?,
                None => false,
            },
            None => self.0.modules.contains(digest).await?,
        };
        if there { Ok(()) } else { Err(Error::NoModule(digest)) }
    }

    /// A module's bytes, which are what its name says. What is missing or damaged here comes from etcd, where there is one.
    pub async fn module(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let here = match (self.0.modules.get(*digest).await, &self.0.etcd) {
            (Ok(None) | Err(Error::ModuleDamaged(_)), Some(etcd)) => self.fetch(etcd, *digest).await?,
            (here, _) => here?,
        };
        Ok(here)
    }

    async fn fetch(&self, etcd: &Etcd, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some(wasm) = etcd.module(&digest.hex()).await? else { return Ok(None) };
        if Digest::of(&wasm) != digest {
            return Err(Error::ModuleDamaged(format!("{digest} in etcd").into()));
        }
        self.0.modules.put(digest, &wasm).await?;
        Ok(Some(wasm))
    }

    /// Modules that are kept, and their lengths, by name; while etcd is away, those that are here.
    pub async fn modules(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let mut modules = self.0.modules.list().await?;
        match self.shared_modules().await {
            Ok(shared) => modules.extend(shared.into_iter().map(|(digest, (bytes, _))| (digest, bytes))),
            Err(Error::Unavailable { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(modules.into_iter().collect())
    }

    /// Removes modules that no generation names, and that nobody has needed for an hour; their names. Removes none
    /// while a lambda cannot be read: what it names is not known.
    pub async fn collect(&self) -> Result<Vec<Digest>, Error> {
        self.collect_unused(UNUSED).await
    }

    async fn collect_unused(&self, keep: Duration) -> Result<Vec<Digest>, Error> {
        let mut unused = self.0.unused.lock().await;
        let shared = self.shared_modules().await?;
        let mut known: BTreeMap<Digest, Revision> =
            self.0.modules.list().await?.into_keys().map(|digest| (digest, Revision(0))).collect();
        known.extend(shared.into_iter().map(|(digest, (_, revision))| (digest, revision)));
        // After the list: a module that is named by now is not removed.
        let lambdas: Vec<Versioned<LambdaRecord>> = self.list(LAMBDAS).await?;
        let named: BTreeSet<Digest> =
            lambdas.iter().flat_map(|lambda| lambdas::modules(&lambda.value)).collect();
        unused.retain(|digest, (_, revision)| !named.contains(digest) && known.get(digest) == Some(revision));
        let now = Instant::now();
        let mut collected = Vec::new();
        for (digest, revision) in known {
            if named.contains(&digest) {
                continue;
            }
            let (since, _) = *unused.entry(digest).or_insert((now, revision));
            if now.duration_since(since) < keep {
                continue;
            }
            if let Some(etcd) = &self.0.etcd
                && revision != Revision(0)
                && !etcd.remove_module(&digest.hex(), revision).await?
            {
                // Put again by another appliance.
                unused.remove(&digest);
                continue;
            }
            self.0.modules.remove(digest).await?;
            unused.remove(&digest);
            collected.push(digest);
        }
        Ok(collected)
    }

    /// What etcd has: lengths, and revisions that change whenever somebody puts a module again.
    async fn shared_modules(&self) -> Result<BTreeMap<Digest, (u64, Revision)>, Error> {
        let Some(etcd) = &self.0.etcd else { return Ok(BTreeMap::new()) };
        let found = etcd.modules().await?.into_iter();
        // What has no digest for a name is nobody's.
        let module = |(hex, bytes, revision): (String, u64, Revision)| {
            Some((format!("sha256:{hex}").parse().ok()?, (bytes, revision)))
        };
        Ok(found.filter_map(module).collect())
    }
}

/// Whether there is room for a module, or it is there already.
fn room(kept: BTreeMap<Digest, u64>, digest: Digest, more: u64, most: u64) -> Result<(), Error> {
    if kept.contains_key(&digest) {
        return Ok(());
    }
    let counted = |bytes: u64| bytes.max(LEAST_BYTES);
    let bytes = kept.into_values().map(counted).sum();
    match counted(more) {
        more if bytes + more > most => Err(Error::ModulesFull { bytes, more, most }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Transaction;
    use crate::{Backend, GenerationRecord, LambdaKey, Manifest};

    fn record(module: Digest) -> LambdaRecord {
        let generation = GenerationRecord {
            number: 1,
            module,
            manifest: Manifest::default(),
            image: String::new(),
            deployed_at_ms: 0,
        };
        LambdaRecord {
            key: LambdaKey::new("default", "echo"),
            id: 7,
            current: 1,
            generations: vec![generation],
            replicas: None,
            created_at_ms: 0,
        }
    }

    #[test]
    fn modules_take_no_more_than_they_may() {
        let (large, small, other) = (Digest::of(b"large"), Digest::of(b"small"), Digest::of(b"other"));
        let kept = BTreeMap::from([(large, 1 << 20), (small, 1)]);
        let bytes = (1 << 20) + LEAST_BYTES;
        let most = bytes + LEAST_BYTES;
        assert_eq!(room(kept.clone(), other, 1, most), Ok(()));
        assert_eq!(room(kept.clone(), other, LEAST_BYTES, most), Ok(()));
        let more = LEAST_BYTES + 1;
        assert_eq!(room(kept.clone(), other, more, most), Err(Error::ModulesFull { bytes, more, most }));
        assert_eq!(room(kept, large, 1 << 20, bytes), Ok(()), "it is there already");
    }

    #[tokio::test]
    async fn a_lambda_names_modules_that_are_there_and_they_stay() {
        let registry = Registry::open(Backend::Memory).await.expect("open");
        let absent = Digest::of(b"wasm");
        assert_eq!(registry.put_lambda(&record(absent), Revision(0)).await, Err(Error::NoModule(absent)));
        assert_eq!(registry.lambdas().await, Ok(vec![]));
        let module = registry.put_module(b"wasm").await.expect("put");
        assert_eq!(registry.collect().await, Ok(vec![]));
        registry.need_module(module).await.expect("there");
        assert!(!registry.0.unused.lock().await.contains_key(&module), "its time begins anew");
    }

    #[tokio::test]
    async fn what_cannot_be_read_costs_nothing_else_and_nothing_is_collected() {
        let registry = Registry::open(Backend::Memory).await.expect("open");
        let module = registry.put_module(b"wasm").await.expect("put");
        registry.put_lambda(&record(module), Revision(0)).await.expect("put");
        registry.put_module(b"of the one that cannot be read").await.expect("put");
        let damage = Transaction::new().put("lambdas/default/damaged", b"{".as_slice());
        registry.0.store.commit(damage).await.expect("put");
        for _ in 0..2 {
            let lambdas = registry.lambdas().await.expect("list");
            assert_eq!(lambdas.iter().map(|lambda| &*lambda.value.key.name).collect::<Vec<_>>(), ["echo"]);
        }
        assert_eq!(registry.0.unreadable.lock().expect("lock").len(), 1);
        let refused = registry.collect_unused(Duration::ZERO).await;
        assert!(matches!(refused, Err(Error::Unreadable { .. })), "{refused:?}");
        assert_eq!(registry.modules().await.expect("list").len(), 2);
    }

    #[tokio::test]
    async fn a_module_is_collected_once_nothing_names_it_for_long_enough() {
        let registry = Registry::open(Backend::Memory).await.expect("open");
        let named = registry.put_module(b"named").await.expect("put");
        let unnamed = registry.put_module(b"unnamed").await.expect("put");
        let record = record(named);
        let revision = registry.put_lambda(&record, Revision(0)).await.expect("put");
        assert_eq!(registry.collect().await, Ok(vec![]), "an hour has not passed");
        registry.put_module(b"unnamed").await.expect("put");
        assert!(!registry.0.unused.lock().await.contains_key(&unnamed), "its time begins anew");
        assert_eq!(registry.collect_unused(Duration::ZERO).await, Ok(vec![unnamed]));
        assert_eq!(registry.modules().await, Ok(vec![(named, 5)]));
        registry.remove_lambda(&record.key, revision).await.expect("removed");
        assert_eq!(registry.collect_unused(Duration::from_millis(20)).await, Ok(vec![]));
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(registry.collect_unused(Duration::from_millis(20)).await, Ok(vec![named]));
        assert_eq!(registry.module(&named).await, Ok(None));
    }
}
