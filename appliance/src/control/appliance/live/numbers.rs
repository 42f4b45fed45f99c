//! Numbers that are given out and come back: slots, places of messages, tenants.

use std::collections::BTreeMap;

use lnic_message::server::TenantId;

use crate::ids::{Generation, LambdaRef, LambdaSlot};
use crate::memory::{Tenant, TierBytes};

/// Numbers below a limit, the lowest free one first.
#[derive(Debug)]
pub(super) struct Numbers {
    free: std::collections::BTreeSet<u32>,
    /// All from here on were never given out.
    next: u32,
    limit: u32,
}

impl Numbers {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            free: std::collections::BTreeSet::new(),
            next: 0,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop_first() {
            return Some(number);
        }
        (self.next < self.limit).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    pub(super) fn free(&mut self, number: u32) {
        self.free.insert(number);
    }

    /// All that were ever given out are below.
    pub(super) fn end(&self) -> usize {
        self.next as usize
    }

    /// How many are given out.
    pub(super) fn taken(&self) -> usize {
        self.next as usize - self.free.len()
    }
}

/// Slots, and how often each was used.
#[derive(Debug)]
pub(super) struct SlotNumbers {
    numbers: Numbers,
    generations: Vec<u32>,
    limit: usize,
}

impl SlotNumbers {
    pub(super) fn new(limit: usize) -> Self {
        Self { numbers: Numbers::new(limit), generations: Vec::new(), limit }
    }

    pub(super) fn take(&mut self) -> Option<LambdaRef> {
        let slot = self.numbers.take()?;
        self.generations.resize(self.numbers.end(), 0);
        let uses = &mut self.generations[slot as usize];
        *uses = uses.wrapping_add(1);
        Some(LambdaRef { slot: LambdaSlot::new(slot), generation: Generation::new(*uses) })
    }

    pub(super) fn free(&mut self, slot: LambdaSlot) {
        self.numbers.free(slot.raw());
    }

    pub(super) fn taken(&self) -> usize {
        self.numbers.taken()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

/// Namespaces with lambdas, as tenants of memory and of messages.
pub(super) struct Tenants {
    known: BTreeMap<String, Known>,
    numbers: Numbers,
    limit: usize,
}

struct Known {
    memory: Tenant,
    messages: TenantId,
    lambdas: usize,
    /// It is there whether it has lambdas or not.
    is_configured: bool,
}

impl Tenants {
    /// Those of the configuration, with their quotas, and room for others.
    pub(super) fn new<'a>(configured: impl IntoIterator<Item = (&'a str, TierBytes)>, limit: usize) -> Self {
        let configured: Vec<_> = configured.into_iter().collect();
        let limit = limit.max(configured.len());
        let mut numbers = Numbers::new(limit);
        let mut known = BTreeMap::new();
        for (name, quota) in configured {
            let messages = TenantId(numbers.take().unwrap_or(0) as u16);
            let memory = Tenant::new(name, quota);
            known.insert(name.to_owned(), Known { memory, messages, lambdas: 0, is_configured: true });
        }
        Self { known, numbers, limit }
    }

    /// The tenant of one more generation of a lambda; `None` if there is no room for another one.
    pub(super) fn enter(&mut self, name: &str) -> Option<(Tenant, TenantId)> {
        if !self.known.contains_key(name) {
            let messages = TenantId(self.numbers.take()? as u16);
            let memory = Tenant::new(name, TierBytes::UNLIMITED);
            self.known.insert(name.to_owned(), Known { memory, messages, lambdas: 0, is_configured: false });
        }
        let known = self.known.get_mut(name)?;
        known.lambdas += 1;
        Some((known.memory.clone(), known.messages))
    }

    /// A generation of a lambda is gone.
    pub(super) fn leave(&mut self, name: &str) {
        let Some(known) = self.known.get_mut(name) else { return };
        known.lambdas -= 1;
        if known.lambdas == 0 && !known.is_configured {
            self.numbers.free(known.messages.0.into());
            self.known.remove(name);
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_used_again_is_of_another_generation() {
        let mut slots = SlotNumbers::new(2);
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        assert_eq!((slots.take(), slots.taken()), (None, 2));
        slots.free(first.slot);
        let again = slots.take().unwrap();
        assert_eq!(again.slot, first.slot);
        assert!(again.generation != first.generation && again != second);
    }

    #[test]
    fn namespaces_come_and_go_but_those_of_the_configuration_stay() {
        let mut tenants = Tenants::new([("default", TierBytes([0, 0, 0, 7]))], 2);
        let (memory, number) = tenants.enter("default").unwrap();
        assert_eq!((memory.name(), number), ("default", TenantId(0)));
        let (_, acme) = tenants.enter("acme").unwrap();
        assert_eq!(tenants.enter("acme").unwrap().1, acme);
        assert!(tenants.enter("third").is_none());
        tenants.leave("acme");
        assert!(tenants.enter("third").is_none(), "it has a lambda left");
        tenants.leave("acme");
        tenants.leave("default");
        assert_eq!(tenants.enter("third").unwrap().1, acme, "its number is free");
        assert!(tenants.enter("acme").is_none() && tenants.enter("default").is_some());
    }
}
