//! Message slots of lambdas, as one lcore that polls sees them: where fragments are placed, and replies are sent from.
//!
//! The slots lie in the lambda's own linear memory, in a window that all its instances see. Whatever is placed lands there, and
//! nowhere else. A lambda may write its slots whenever it runs: what is read of them is copied first and judged as a copy.
//!
//! Lambdas come and go while messages are under way. Each that takes messages has a *place* here, which its slots are numbered by and
//! which stays as long as one of them is taken: a message that began for an older generation lies in that one's memory, and ends
//! there. Which place an ID leads to is a list that control publishes together with the table.

use std::sync::Arc;

use lnic_message::server::{Refusal, SlotId, Slots, TenantId};
use lnic_wire::rpc::Status;

use crate::frame::External;
use crate::ids::{LambdaId, LambdaRef, LambdaSlot};
use crate::message::SlotRef;
use crate::observe::counters::Outstanding;

/// Bits of a slot's number that count within its lambda.
const NUMBER_BITS: u32 = 10;
/// Most slots that one lcore may use of a lambda.
pub const LAMBDA_SLOTS: usize = 1 << NUMBER_BITS;

/// A lambda that takes λ-RPC messages, and the slots of it that one lcore may use.
pub struct LambdaSlots<E> {
    /// Its ID on the wire.
    pub id: LambdaId,
    /// Where it is deployed.
    pub lambda: LambdaRef,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its slots, each of `slot_bytes`. If there are none, the lambda takes messages of one frame only.
    pub slots: Vec<E>,
    /// Where the first of them is in the lambda's linear memory; the others follow.
    pub address: u32,
    /// Bytes of one.
    pub slot_bytes: u32,
}

/// The same with its place and a count of what is taken: all that an lcore needs of it, made beforehand.
pub struct PlacedSlots<E> {
    place: u32,
    of: LambdaSlots<E>,
    /// Free slots, last freed first: it may still be in the caches.
    free: Vec<u32>,
    is_taken: Box<[bool]>,
    taken: u32,
}

impl<E: External> PlacedSlots<E> {
    /// At a place that no other lambda has.
    #[must_use]
    pub fn new(place: u32, mut of: LambdaSlots<E>) -> Box<Self> {
        of.slots.truncate(LAMBDA_SLOTS);
        let count = of.slots.len();
        let free = (0..count as u32).rev().collect();
        Box::new(Self { place, of, free, is_taken: vec![false; count].into(), taken: 0 })
    }

    /// Its place.
    #[must_use]
    pub fn place(&self) -> u32 {
        self.place
    }

    /// Where it is deployed.
    #[must_use]
    pub fn lambda(&self) -> LambdaRef {
        self.of.lambda
    }

    /// True if a port still reads from one of its slots, or a copy to one is under way.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.of.slots.iter().any(|slot| slot.in_use() > 0)
    }
}

/// Which places IDs lead to. Immutable, like the table.
#[derive(Clone, Debug, Default)]
pub struct MessageIds {
    /// ID and place, by ID.
    current: Box<[(u32, u32)]>,
    /// IDs of lambdas that were removed and have messages under way.
    removed: Box<[u32]>,
}

impl MessageIds {
    /// From any order; of several with one ID the first counts.
    #[must_use]
    pub fn new(
        current: impl IntoIterator<Item = (LambdaId, u32)>,
        removed: impl IntoIterator<Item = LambdaId>,
    ) -> Self {
        let mut current: Vec<(u32, u32)> = current.into_iter().map(|(id, place)| (id.raw(), place)).collect();
        current.sort_by_key(|(id, _)| *id);
        current.dedup_by_key(|(id, _)| *id);
        let mut removed: Vec<u32> = removed.into_iter().map(LambdaId::raw).collect();
        removed.sort_unstable();
        Self { current: current.into(), removed: removed.into() }
    }

    fn place(&self, id: u32) -> Option<u32> {
        let at = self.current.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.current[at].1)
    }
}

/// All slots that one lcore may use.
pub struct MessageSlots<E> {
    /// By place.
    lambdas: Box<[Option<Box<PlacedSlots<E>>>]>,
    ids: Arc<MessageIds>,
    /// Places, plus 1, of those that have slots, by where they are deployed.
    by_lambda: Box<[u32]>,
    /// Places, plus 1, of all.
    places: Box<[u32]>,
    /// The lambda whose request is being taken: a rule can send it another's ID.
    matched: Option<LambdaSlot>,
    /// It sleeps: it begins nothing new.
    is_closed: bool,
    /// Somebody wanted to.
    was_wanted: bool,
    taken: usize,
    /// What is to be placed is not placed, but remembered.
    defers: bool,
    deferred: Option<(SlotId, u32)>,
    retry_us: u16,
    outstanding: Option<Arc<Outstanding>>,
}

impl<E: External> MessageSlots<E> {
    /// Those of some lambdas, which get the first places, and room for more: `capacity` lambdas in all. Who finds all slots taken is
    /// told to ask again after `retry_us`.
    #[must_use]
    pub fn new(lambdas: Vec<LambdaSlots<E>>, capacity: usize, retry_us: u16) -> Self {
        let slots = lambdas.iter().map(|lambda| lambda.lambda.slot.index() + 1).max().unwrap_or(0);
        let capacity = capacity.max(lambdas.len()).max(slots);
        let ids = MessageIds::new(lambdas.iter().map(|lambda| lambda.id).zip(0..), []);
        let mut all = Self {
            lambdas: (0..capacity).map(|_| None).collect(),
            ids: Arc::new(ids),
            by_lambda: vec![0; capacity].into(),
            places: vec![0; capacity].into(),
            matched: None,
            is_closed: false,
            was_wanted: false,
            taken: 0,
            defers: false,
            deferred: None,
            retry_us,
            outstanding: None,
        };
        for (place, lambda) in (0..).zip(lambdas) {
            all.add(PlacedSlots::new(place, lambda));
        }
        all
    }

    /// From now on slots that are taken count as outstanding there.
    pub fn count_in(&mut self, outstanding: Arc<Outstanding>) {
        self.outstanding = Some(outstanding);
    }

    /// Takes a lambda in; one at the same place is given back. Its ID leads there only once [`swap_ids`](Self::swap_ids) says so.
    pub fn add(&mut self, lambda: Box<PlacedSlots<E>>) -> Option<Box<PlacedSlots<E>>> {
        let place = lambda.place as usize;
        if place >= self.lambdas.len() || lambda.of.lambda.slot.index() >= self.places.len() {
            return Some(lambda);
        }
        let old = self.lambdas[place].take();
        if let Some(old) = &old {
            self.forget(old.of.lambda.slot);
        }
        self.note(lambda.of.lambda.slot, lambda.place, !lambda.of.slots.is_empty());
        self.lambdas[place] = Some(lambda);
        old
    }

    /// Lets the lambda that is deployed there go, unless a message of its is under way: `Err` then. `Ok(None)` if it is not here.
    #[expect(clippy::result_unit_err, reason = "there is nothing to say about it")]
    pub fn remove(&mut self, lambda: LambdaRef) -> Result<Option<Box<PlacedSlots<E>>>, ()> {
        let Some(at) = self.places.get(lambda.slot.index()).and_then(|place| place.checked_sub(1)) else {
            return Ok(None);
        };
        let place = &mut self.lambdas[at as usize];
        match place {
            Some(found) if found.of.lambda != lambda => return Ok(None),
            Some(found) if found.taken > 0 => return Err(()),
            _ => {}
        }
        let removed = place.take();
        self.forget(lambda.slot);
        Ok(removed)
    }

    /// The slots of one lambda become another's, of the same memory, with what is in them.
    pub fn pass_on(&mut self, from: LambdaSlot, to: LambdaRef) {
        let Some(at) = self.places.get(from.index()).and_then(|place| place.checked_sub(1)) else { return };
        let Some(lambda) = &mut self.lambdas[at as usize] else { return };
        lambda.of.lambda = to;
        let (taken, has_slots) = (lambda.taken, !lambda.of.slots.is_empty());
        if let Some(outstanding) = &self.outstanding {
            for _ in 0..taken {
                outstanding.begin(to.slot);
                outstanding.end(from);
            }
        }
        self.forget(from);
        self.note(to.slot, at, has_slots);
    }

    /// Exchanges the list of IDs for another.
    pub fn swap_ids(&mut self, ids: &mut Arc<MessageIds>) {
        std::mem::swap(&mut self.ids, ids);
    }

    fn note(&mut self, lambda: LambdaSlot, place: u32, has_slots: bool) {
        if let Some(at) = self.places.get_mut(lambda.index()) {
            *at = place + 1;
            self.by_lambda[lambda.index()] = if has_slots { place + 1 } else { 0 };
        }
    }

    fn forget(&mut self, lambda: LambdaSlot) {
        if let Some(at) = self.places.get_mut(lambda.index()) {
            (*at, self.by_lambda[lambda.index()]) = (0, 0);
        }
    }

    /// Does the lambda that is deployed there have slots?
    #[must_use]
    #[inline]
    pub fn has_slots(&self, lambda: LambdaSlot) -> bool {
        self.by_lambda.get(lambda.index()).is_some_and(|at| *at > 0)
    }

    /// Is the lambda that is deployed there known here?
    #[must_use]
    pub fn knows(&self, lambda: LambdaSlot) -> bool {
        self.places.get(lambda.index()).is_some_and(|at| *at > 0)
    }

    /// Was a lambda of this ID removed that has messages under way?
    #[must_use]
    pub fn was_removed(&self, id: u32) -> bool {
        self.ids.removed.binary_search(&id).is_ok()
    }

    /// The next request is for the lambda that is deployed there, whatever its ID: it is its tenant's. One that is closed begins no new
    /// message, whose caller is told to ask again.
    pub fn set_matched(&mut self, lambda: Option<LambdaSlot>, is_closed: bool) {
        (self.matched, self.is_closed, self.was_wanted) = (lambda, is_closed, false);
    }

    /// Would the last request have begun a message, had its lambda not been closed?
    #[must_use]
    pub fn was_wanted(&self) -> bool {
        self.was_wanted
    }

    /// From now on somebody else places: who asks for it is told [where](Self::take_deferred).
    pub fn defer(&mut self) {
        self.defers = true;
    }

    /// Where the last payload belongs that was not placed: slot and offset.
    pub fn take_deferred(&mut self) -> Option<(SlotId, u32)> {
        self.deferred.take()
    }

    /// Slots that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// A slot with a message of so many bytes, as its lambda sees it.
    #[must_use]
    pub fn placed(&self, slot: SlotId, bytes: u32) -> Option<SlotRef> {
        let (lambda, number) = self.find(slot)?;
        let address = lambda.of.address + number as u32 * lambda.of.slot_bytes;
        Some(SlotRef { address, bytes, capacity: lambda.of.slot_bytes })
    }

    /// Where the lambda with this ID is deployed.
    #[must_use]
    pub fn lambda(&self, id: u32) -> Option<LambdaSlot> {
        Some(self.at(self.ids.place(id)?)?.of.lambda.slot)
    }

    /// Whose slot it is.
    #[must_use]
    pub fn owner(&self, slot: SlotId) -> Option<LambdaRef> {
        Some(self.find(slot)?.0.of.lambda)
    }

    /// The slot's memory.
    #[must_use]
    pub fn memory(&self, slot: SlotId) -> Option<&E> {
        let (lambda, number) = self.find(slot)?;
        lambda.of.slots.get(number)
    }

    /// Takes a free slot of the lambda that is deployed there, by whatever ID its messages come.
    pub fn take_of(&mut self, lambda: LambdaSlot, bytes: u32) -> Result<SlotId, Refusal> {
        match self.by_lambda.get(lambda.index()) {
            Some(&at) if at > 0 => self.take_at(at - 1, bytes),
            _ => Err(Refusal { status: Status::Unimplemented, retry_us: 0 }),
        }
    }

    /// Copies a part of a message out. False if it is not all there.
    #[must_use]
    pub fn read(&self, slot: SlotId, offset: u32, bytes: &mut [u8]) -> bool {
        self.memory(slot).is_some_and(|memory| memory.read(offset as usize, bytes))
    }

    fn at(&self, place: u32) -> Option<&PlacedSlots<E>> {
        self.lambdas.get(place as usize)?.as_deref()
    }

    /// Takes a free slot of the lambda at this place.
    fn take_at(&mut self, place: u32, bytes: u32) -> Result<SlotId, Refusal> {
        let refuse = |status| Refusal { status, retry_us: 0 };
        let busy = Refusal { status: Status::Busy, retry_us: self.retry_us };
        let Some(lambda) = self.lambdas.get_mut(place as usize).and_then(|lambda| lambda.as_deref_mut())
        else {
            return Err(refuse(Status::Unimplemented));
        };
        if lambda.of.slots.is_empty() {
            // One-frame messages only.
            return Err(refuse(Status::Unimplemented));
        }
        if bytes > lambda.of.slot_bytes {
            return Err(refuse(Status::OutOfRange));
        }
        if self.is_closed {
            self.was_wanted = true;
            return Err(busy);
        }
        // A port may still be reading a reply from one that was given back.
        let rests = |number: &u32| lambda.of.slots[*number as usize].in_use() == 0;
        let found = lambda.free.iter().rposition(rests).ok_or(busy)?;
        let number = lambda.free.remove(found);
        lambda.is_taken[number as usize] = true;
        lambda.taken += 1;
        self.taken += 1;
        if let Some(outstanding) = &self.outstanding {
            outstanding.begin(lambda.of.lambda.slot);
        }
        Ok(SlotId(place << NUMBER_BITS | number))
    }

    /// Its lambda, and its number among that one's slots.
    fn find(&self, slot: SlotId) -> Option<(&PlacedSlots<E>, usize)> {
        let number = slot.0 as usize % LAMBDA_SLOTS;
        let lambda = self.at(slot.0 >> NUMBER_BITS)?;
        (number < lambda.of.slots.len()).then_some((lambda, number))
    }
}

impl<E: External> Slots for MessageSlots<E> {
    fn tenant(&self, lambda: u32) -> Option<TenantId> {
        let place = match self.matched {
            Some(matched) => self.places.get(matched.index())?.checked_sub(1)?,
            None => self.ids.place(lambda)?,
        };
        Some(self.at(place)?.of.tenant)
    }

    fn take(&mut self, lambda: u32, bytes: u32) -> Result<SlotId, Refusal> {
        let unknown = Refusal { status: Status::Unimplemented, retry_us: 0 };
        let place = self.ids.place(lambda).ok_or(unknown)?;
        self.take_at(place, bytes)
    }

    fn place(&mut self, slot: SlotId, offset: u32, bytes: &[u8]) {
        if self.defers {
            self.deferred = Some((slot, offset));
            return;
        }
        if let Some(memory) = self.memory(slot) {
            memory.write(offset as usize, bytes);
        }
    }

    fn free(&mut self, slot: SlotId) {
        let place = (slot.0 >> NUMBER_BITS) as usize;
        let Some(lambda) = self.lambdas.get_mut(place).and_then(|lambda| lambda.as_deref_mut()) else {
            return;
        };
        let number = slot.0 % LAMBDA_SLOTS as u32;
        let Some(taken) = lambda.is_taken.get_mut(number as usize) else { return };
        if std::mem::take(taken) {
            self.taken -= 1;
            lambda.taken -= 1;
            lambda.free.push(number);
            if let Some(outstanding) = &self.outstanding {
                outstanding.end(lambda.of.lambda.slot);
            }
        }
    }
}

#[cfg(test)]
mod tests;
