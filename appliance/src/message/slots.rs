//! Message slots of lambdas, as one lcore that polls sees them: where fragments are placed, and replies are sent from.
//!
//! The slots lie in the lambda's own linear memory, in a window that all its instances see. Whatever is placed lands there, and
//! nowhere else. A lambda may write its slots whenever it runs: what is read of them is copied first and judged as a copy.

use lnic_message::server::{Refusal, SlotId, Slots, TenantId};
use lnic_wire::rpc::Status;

use crate::frame::External;
use crate::ids::{LambdaId, LambdaSlot};
use crate::message::SlotRef;

/// A lambda that takes λ-RPC messages, and the slots of it that one lcore may use.
pub struct LambdaSlots<E> {
    /// Its ID on the wire.
    pub id: LambdaId,
    /// Where it is deployed.
    pub lambda: LambdaSlot,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its slots, each of `slot_bytes`. If there are none, the lambda takes messages of one frame only.
    pub slots: Vec<E>,
    /// Where the first of them is in the lambda's linear memory; the others follow.
    pub address: u32,
    /// Bytes of one.
    pub slot_bytes: u32,
}

/// All slots that one lcore may use.
pub struct MessageSlots<E> {
    lambdas: Box<[LambdaSlots<E>]>,
    /// Places in `lambdas`, by ID.
    by_id: Box<[(u32, u32)]>,
    /// Places in `lambdas`, plus 1, of those that have slots, by where they are deployed.
    by_lambda: Box<[u32]>,
    /// First slot of each of `lambdas`.
    first: Box<[u32]>,
    /// Place in `lambdas`, by slot.
    owner: Box<[u32]>,
    /// Tenants by where their lambdas are deployed.
    tenants: Box<[Option<TenantId>]>,
    /// The lambda whose request is being taken: a rule can send it another's ID.
    matched: Option<LambdaSlot>,
    /// Free slots of each of `lambdas`, last freed first: it may still be in the caches.
    free: Box<[Vec<u32>]>,
    is_taken: Box<[bool]>,
    taken: usize,
    /// What is to be placed is not placed, but remembered.
    defers: bool,
    deferred: Option<(SlotId, u32)>,
    retry_us: u16,
}

impl<E: External> MessageSlots<E> {
    /// Those of some lambdas. Who finds all slots taken is told to ask again after `retry_us`.
    #[must_use]
    pub fn new(lambdas: Vec<LambdaSlots<E>>, retry_us: u16) -> Self {
        let mut by_id: Vec<(u32, u32)> =
            (0..).zip(&lambdas).map(|(at, lambda)| (lambda.id.raw(), at)).collect();
        by_id.sort_unstable();
        let (mut first, mut owner, mut free, mut by_lambda) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut tenants: Vec<Option<TenantId>> = Vec::new();
        for (at, lambda) in (0u32..).zip(&lambdas) {
            let start = owner.len() as u32;
            first.push(start);
            owner.extend(lambda.slots.iter().map(|_| at));
            free.push((start..owner.len() as u32).rev().collect());
            let index = lambda.lambda.index();
            tenants.resize(tenants.len().max(index + 1), None);
            tenants[index] = Some(lambda.tenant);
            if !lambda.slots.is_empty() {
                by_lambda.resize(by_lambda.len().max(index + 1), 0);
                by_lambda[index] = at + 1;
            }
        }
        Self {
            lambdas: lambdas.into(),
            by_id: by_id.into(),
            by_lambda: by_lambda.into(),
            tenants: tenants.into(),
            matched: None,
            first: first.into(),
            is_taken: vec![false; owner.len()].into(),
            owner: owner.into(),
            free: free.into(),
            taken: 0,
            defers: false,
            deferred: None,
            retry_us,
        }
    }

    /// Does the lambda that is deployed there have slots?
    #[must_use]
    #[inline]
    pub fn has_slots(&self, lambda: LambdaSlot) -> bool {
        self.by_lambda.get(lambda.index()).is_some_and(|at| *at > 0)
    }

    /// The next request is for the lambda that is deployed there, whatever its ID: it is its tenant's.
    pub fn set_matched(&mut self, lambda: Option<LambdaSlot>) {
        self.matched = lambda;
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
        let address = lambda.address + number as u32 * lambda.slot_bytes;
        Some(SlotRef { address, bytes, capacity: lambda.slot_bytes })
    }

    /// Where the lambda with this ID is deployed.
    #[must_use]
    pub fn lambda(&self, id: u32) -> Option<LambdaSlot> {
        Some(self.lambdas[self.place_of(id)?].lambda)
    }

    /// The slot's memory.
    #[must_use]
    pub fn memory(&self, slot: SlotId) -> Option<&E> {
        let (lambda, number) = self.find(slot)?;
        lambda.slots.get(number)
    }

    /// Takes a free slot of the lambda that is deployed there, by whatever ID its messages come.
    pub fn take_of(&mut self, lambda: LambdaSlot, bytes: u32) -> Result<SlotId, Refusal> {
        match self.by_lambda.get(lambda.index()) {
            Some(&at) if at > 0 => self.take_at(at as usize - 1, bytes),
            _ => Err(Refusal { status: Status::Unimplemented, retry_us: 0 }),
        }
    }

    /// Copies a part of a message out. False if it is not all there.
    #[must_use]
    pub fn read(&self, slot: SlotId, offset: u32, bytes: &mut [u8]) -> bool {
        self.memory(slot).is_some_and(|memory| memory.read(offset as usize, bytes))
    }

    fn place_of(&self, id: u32) -> Option<usize> {
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.by_id[at].1 as usize)
    }

    /// Takes a free slot of the lambda at this place.
    fn take_at(&mut self, at: usize, bytes: u32) -> Result<SlotId, Refusal> {
        let refuse = |status| Refusal { status, retry_us: 0 };
        let has = &self.lambdas[at];
        if has.slots.is_empty() {
            // One-frame messages only.
            return Err(refuse(Status::Unimplemented));
        }
        if bytes > has.slot_bytes {
            return Err(refuse(Status::OutOfRange));
        }
        // A port may still be reading a reply from one that was given back.
        let rests = |slot: &u32| has.slots[(slot - self.first[at]) as usize].in_use() == 0;
        let found = self.free[at].iter().rposition(rests);
        let found = found.ok_or(Refusal { status: Status::Busy, retry_us: self.retry_us })?;
        let slot = self.free[at].remove(found);
        self.is_taken[slot as usize] = true;
        self.taken += 1;
        Ok(SlotId(slot))
    }

    /// Its lambda, and its number among that one's slots.
    fn find(&self, slot: SlotId) -> Option<(&LambdaSlots<E>, usize)> {
        let at = *self.owner.get(slot.0 as usize)? as usize;
        Some((&self.lambdas[at], (slot.0 - self.first[at]) as usize))
    }
}

impl<E: External> Slots for MessageSlots<E> {
    fn tenant(&self, lambda: u32) -> Option<TenantId> {
        match self.matched {
            Some(matched) => self.tenants.get(matched.index()).copied().flatten(),
            None => Some(self.lambdas[self.place_of(lambda)?].tenant),
        }
    }

    fn take(&mut self, lambda: u32, bytes: u32) -> Result<SlotId, Refusal> {
        let unknown = Refusal { status: Status::Unimplemented, retry_us: 0 };
        let at = self.place_of(lambda).ok_or(unknown)?;
        self.take_at(at, bytes)
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
        let Some(taken) = self.is_taken.get_mut(slot.0 as usize) else { return };
        if std::mem::take(taken) {
            self.taken -= 1;
            self.free[self.owner[slot.0 as usize] as usize].push(slot.0);
        }
    }
}

#[cfg(test)]
mod tests;
