//! What is loaded, as long as somebody runs it: deployments of the same thing share it, and so does different things' same code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lnic_compiler::placement::Runs;
use lnic_compiler::slots::SlotArea;
use lnic_registry::Digest;

use super::job::Key;
use crate::control::appliance::{Made, Ready};
use crate::control::inspect::Inspection;
use crate::lambda::{Engine, Image, PrepareError, WeakCode, WeakImage};

/// Entries of which the dead are first looked for.
const LEAST: usize = 64;

/// What is loaded.
#[derive(Default)]
pub(super) struct Loaded(Mutex<Maps>);

#[derive(Default)]
struct Maps {
    ready: HashMap<Key, WeakReady>,
    /// By the digest of machine code.
    code: HashMap<Digest, WeakCode>,
    /// Entries at which the dead are looked for next.
    full: usize,
}

struct WeakReady {
    image: WeakImage,
    slots: Option<SlotArea>,
    runs: Runs,
    inspection: Arc<Inspection>,
}

impl Loaded {
    /// What is loaded for a key.
    pub(super) fn find(&self, key: &Key) -> Option<Ready> {
        let maps = self.lock();
        let found = maps.ready.get(key)?;
        Some(Ready {
            image: found.image.upgrade()?,
            slots: found.slots,
            runs: found.runs,
            inspection: Arc::clone(&found.inspection),
        })
    }

    /// Loads what was made; code that is loaded already is not loaded again.
    pub(super) fn load(&self, engine: &Engine, key: Key, made: Made) -> Result<Ready, PrepareError> {
        let Made { artifact, slots, runs, inspection } = made;
        let digest = Digest::of(artifact.code());
        let same = self.lock().code.get(&digest).and_then(WeakCode::upgrade);
        let image = match same.and_then(|code| code.image(&artifact)) {
            Some(image) => image,
            None => Image::load(engine, &artifact)?,
        };
        let ready = Ready { image, slots, runs, inspection: Arc::new(inspection) };
        let mut maps = self.lock();
        maps.forget_dead();
        maps.code.insert(digest, ready.image.loaded().downgrade());
        let inspection = Arc::clone(&ready.inspection);
        maps.ready.insert(key, WeakReady { image: ready.image.downgrade(), slots, runs, inspection });
        Ok(ready)
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        // Each change is one call on a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    /// Each time that they have doubled, so that it costs nothing on average.
    fn forget_dead(&mut self) {
        if self.ready.len().max(self.code.len()) >= self.full {
            self.ready.retain(|_, ready| ready.image.upgrade().is_some());
            self.code.retain(|_, code| code.upgrade().is_some());
            self.full = (2 * self.ready.len().max(self.code.len())).max(LEAST);
        }
    }
}
