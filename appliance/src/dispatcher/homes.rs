//! Homes of pinned lambdas: who could move, and when it is worth asking.

use super::NpuSet;
use super::lambda::Lambda;
use super::list::{Link, List};
use super::npus::Npus;
use crate::ids::NpuId;

/// Pinned lambdas that wait with nothing in flight, by home; and those whose share no longer has their home.
pub(super) struct Homes {
    lists: Vec<List>,
    links: Vec<Link>,
    /// How many are in any of the lists.
    members: u32,
    /// Homes with somebody in their list.
    occupied: NpuSet,
    /// How many attempts in a row found a home full.
    attempts: Vec<u32>,
    patience: u32,
}

impl Homes {
    pub(super) fn new(npus: usize, patience: u32) -> Self {
        Self {
            lists: vec![List::EMPTY; npus + 1],
            links: Vec::new(),
            members: 0,
            occupied: NpuSet::EMPTY,
            attempts: vec![0; npus],
            patience,
        }
    }

    /// Makes room for slots below `slots`.
    pub(super) fn reserve(&mut self, slots: usize) {
        if self.links.len() < slots {
            self.links.resize(slots, Link::UNLINKED);
        }
    }

    /// Puts a lambda into the list that it belongs to now, or into none.
    pub(super) fn review(&mut self, lambda: &mut Lambda, slot: u32) {
        let wanted = self.list_of(lambda);
        if wanted == lambda.movable {
            return;
        }
        if let Some(old) = std::mem::replace(&mut lambda.movable, wanted) {
            let list = &mut self.lists[usize::from(old)];
            list.unlink(&mut self.links, slot);
            self.members -= 1;
            if list.is_empty() {
                self.occupied.remove(NpuId::new(old));
                if let Some(attempts) = self.attempts.get_mut(usize::from(old)) {
                    *attempts = 0;
                }
            }
        }
        if let Some(new) = wanted {
            self.lists[usize::from(new)].push_back(&mut self.links, slot);
            self.members += 1;
            if usize::from(new) < self.attempts.len() {
                self.occupied.insert(NpuId::new(new));
            }
        }
    }

    fn list_of(&self, lambda: &Lambda) -> Option<u16> {
        let home = lambda.home?;
        if lambda.waiting == 0 || lambda.in_flight > 0 || lambda.recalling {
            None
        } else if !lambda.npus.contains(home) {
            Some(self.attempts.len() as u16)
        } else if lambda.npus == NpuSet::only(home) {
            None
        } else {
            Some(home.raw())
        }
    }

    /// A lambda to recall: one that lost the right to its home, or one whose home was full for too long while it could run
    /// elsewhere. Counts as an attempt at each home that is full.
    #[inline]
    pub(super) fn recall(&mut self, lambdas: &[Lambda], npus: &Npus) -> Option<u32> {
        if self.members == 0 { None } else { self.search(lambdas, npus) }
    }

    fn search(&mut self, lambdas: &[Lambda], npus: &Npus) -> Option<u32> {
        if let Some(slot) = self.lists[self.attempts.len()].head() {
            return Some(slot);
        }
        let (crowded, room) = (self.occupied.and(npus.full()), npus.room());
        if crowded.is_empty() || room.is_empty() {
            return None;
        }
        let mut found = None;
        for home in crowded.iter() {
            let (attempts, list) = (&mut self.attempts[home.index()], &mut self.lists[home.index()]);
            *attempts = attempts.saturating_add(1);
            let (true, None, Some(slot)) = (*attempts > self.patience, found, list.head()) else { continue };
            if lambdas[slot as usize].npus.and(room).is_empty() {
                // Its turn comes again; meanwhile one behind it may fit.
                list.unlink(&mut self.links, slot);
                list.push_back(&mut self.links, slot);
            } else {
                *attempts = 0;
                found = Some(slot);
            }
        }
        found
    }
}
