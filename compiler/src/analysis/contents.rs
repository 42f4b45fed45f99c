//! What memory besides the stack may hold, of all runs together.

use std::collections::BTreeMap;

use super::interval::Interval;
use super::value::{Region, Value};
use crate::module::{Encoding, Module};

/// Changes of one value after which its offsets are any.
const GROWTH: u32 = 3;

/// One value for all that was ever stored into a region, whenever and wherever in it.
#[derive(Clone)]
struct Pool {
    value: Value,
    growth: u32,
}

impl Pool {
    fn new(value: Value) -> Self {
        Self { value, growth: 0 }
    }

    fn absorb(&mut self, value: &Value) -> bool {
        let changed = self.value.absorb(value, self.growth >= GROWTH);
        self.growth += u32::from(changed);
        changed
    }
}

/// What an object holds: by word as far as it was stored at offsets that are known.
#[derive(Clone)]
struct Fields {
    words: BTreeMap<i64, Pool>,
    /// What may be in any of its words.
    rest: Pool,
}

/// Words of an object that are told from one another.
const WORDS: usize = 128;
const WORD_BYTES: i64 = 4;

impl Fields {
    fn load(&self, offset: Interval, bytes: u64) -> Value {
        let words = match offset.single() {
            Some(at) if bytes > 0 => {
                self.words.range(at.saturating_sub(WORD_BYTES - 1)..at.saturating_add_unsigned(bytes))
            }
            _ => self.words.range(..),
        };
        words.fold(self.rest.value.clone(), |all, (at, pool)| {
            let whole = offset.single().is_some_and(|offset| (at - offset) % WORD_BYTES == 0);
            all.join(&if whole { pool.value.clone() } else { pool.value.blurred() })
        })
    }

    fn absorb(&mut self, offset: Interval, value: &Value) -> bool {
        match offset.single() {
            // Values of other widths are spread over words by whoever stores them.
            Some(at) if self.words.len() < WORDS || self.words.contains_key(&at) => {
                self.words.entry(at).or_insert_with(|| Pool::new(Value::any_number())).absorb(value)
            }
            _ => self.rest.absorb(value),
        }
    }
}

/// All regions, and the globals.
pub(super) struct Contents {
    objects: Vec<Fields>,
    /// What was stored to some object, nobody knows which.
    any_object: Pool,
    /// What the objects hold, all together.
    all_objects: Pool,
    headers: Pool,
    /// The payload's address in match data, besides the one that the host wrote.
    payload_pointer: Pool,
    match_data: Pool,
    payload: Pool,
    /// What was stored nobody knows where.
    anywhere: Pool,
    globals: Vec<Pool>,
    /// Some value that is [`computed`](Value::computed) was stored.
    computed: bool,
    /// Counts changes.
    pub(super) changes: u64,
}

/// Bytes of the payload's address at the start of match data.
const PAYLOAD_POINTER_BYTES: i64 = 4;

impl Contents {
    /// What the module begins with: numbers, and the addresses that the linker wrote into data.
    pub(super) fn new(module: &Module<'_>, globals: &[Option<i64>]) -> Self {
        let pool = || Pool::new(Value::any_number());
        let nothing = || Pool::new(Value::nothing());
        let mut contents = Self {
            objects: vec![Fields { words: BTreeMap::new(), rest: pool() }; module.objects().len()],
            any_object: nothing(),
            all_objects: pool(),
            headers: pool(),
            payload_pointer: nothing(),
            match_data: pool(),
            payload: pool(),
            anywhere: nothing(),
            globals: globals
                .iter()
                .map(|global| Pool::new(global.map_or(Value::any_number(), Value::constant)))
                .collect(),
            computed: false,
            changes: 0,
        };
        if !module.is_movable() && !module.objects().is_empty() {
            // Any number in data may be an address.
            contents.store(
                Region::AnyObject,
                Interval::FULL,
                &Value::pointer(Region::AnyObject, 0).blurred(),
            );
        }
        for reference in module.references().iter().filter(|it| it.encoding == Encoding::I32) {
            let segment = module.segments().iter().find(|it| it.file.contains(&reference.position));
            let place = segment.map(|it| it.address + (reference.position - it.file.start) as u32);
            let holder = place.and_then(|address| module.object_at(address));
            let value = Value::pointer(Region::Object(reference.object as u32), reference.addend);
            match holder.zip(place) {
                Some((holder, place)) => {
                    let offset = place - module.objects()[holder].address;
                    contents.store(Region::Object(holder as u32), Interval::constant(offset.into()), &value);
                }
                None => contents.store(Region::AnyObject, Interval::FULL, &value),
            }
        }
        contents
    }

    /// What a region may hold at these offsets.
    pub(super) fn load(&self, region: Region, offset: Interval, bytes: u64) -> Value {
        let found = match region {
            Region::Object(object) => match self.objects.get(object as usize) {
                Some(fields) => fields.load(offset, bytes).join(&self.any_object.value),
                None => self.all_objects.value.clone(),
            },
            Region::AnyObject => self.all_objects.value.clone(),
            Region::Headers => self.headers.value.clone(),
            Region::Payload => self.payload.value.clone(),
            Region::MatchData => {
                let payload = Value::pointer(Region::Payload, 0).join(&self.payload_pointer.value);
                match offset.single() {
                    Some(0) if bytes == 4 => payload,
                    Some(at) if at >= PAYLOAD_POINTER_BYTES => self.match_data.value.clone(),
                    _ => self.match_data.value.join(&payload),
                }
            }
            // Kept with the state.
            Region::Stack => Value::any_number(),
        };
        found.join(&self.anywhere.value)
    }

    /// Words of a region that are told from one another.
    pub(super) fn words(&self, region: Region) -> usize {
        match region {
            Region::Object(object) => self.objects.get(object as usize).map_or(0, |it| it.words.len()),
            _ => 0,
        }
    }

    /// What memory that nobody knows may hold.
    pub(super) fn load_unknown(&self) -> Value {
        Value { unknown: true, computed: self.computed, ..Value::any_number() }
    }

    /// What was stored nobody knows where, the stack included.
    pub(super) fn anywhere(&self) -> &Value {
        &self.anywhere.value
    }

    pub(super) fn store(&mut self, region: Region, offset: Interval, value: &Value) {
        let changed = match region {
            Region::Object(object) => {
                let all = self.all_objects.absorb(value);
                self.objects.get_mut(object as usize).is_some_and(|it| it.absorb(offset, value)) | all
            }
            Region::AnyObject => self.all_objects.absorb(value) | self.any_object.absorb(value),
            Region::Headers => self.headers.absorb(value),
            Region::Payload => self.payload.absorb(value),
            Region::MatchData => {
                let beside = offset.single().is_some_and(|at| at >= PAYLOAD_POINTER_BYTES);
                self.match_data.absorb(value) | (!beside && self.payload_pointer.absorb(value))
            }
            Region::Stack => false,
        };
        self.note(changed, value);
    }

    pub(super) fn store_anywhere(&mut self, value: &Value) {
        let changed = self.anywhere.absorb(value);
        self.note(changed, value);
    }

    /// A value that is stored on the stack: only whether it is computed matters to others.
    pub(super) fn note_stored(&mut self, value: &Value) {
        self.note(false, value);
    }

    fn note(&mut self, changed: bool, value: &Value) {
        let computed = value.computed && !self.computed;
        self.computed |= computed;
        self.changes += u64::from(changed || computed);
    }

    pub(super) fn global(&self, global: u32) -> Value {
        self.globals.get(global as usize).map_or_else(Value::any_number, |pool| pool.value.clone())
    }

    pub(super) fn set_global(&mut self, global: u32, value: &Value) {
        let changed = self.globals.get_mut(global as usize).is_some_and(|pool| pool.absorb(value));
        self.note(changed, value);
    }

    /// Regions whose addresses are in memory, besides what was stored on the stack.
    pub(super) fn stored(&self) -> Value {
        let pools = [
            &self.all_objects,
            &self.headers,
            &self.payload_pointer,
            &self.match_data,
            &self.payload,
            &self.anywhere,
        ];
        let pools = pools.into_iter().chain(&self.globals);
        pools.fold(Value::nothing(), |all, pool| all.join(&pool.value))
    }
}
