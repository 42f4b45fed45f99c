//! Homes of pinned lambdas: who could move, and when it is worth it.
//!
//! Homes are looked at whenever there is nothing to dispatch. A home is crowded if it is full then, while another NPU has room to
//! spare, or took something since the last look, when the home took nothing. If it was [`super::Limits::patience`] times in a row,
//! a lambda leaves: at once if it waits with nothing in flight and may use such an NPU; else one whose move makes NPUs more alike
//! is stopped until nothing of it is in flight. One that has moved stays for a while, and longer each time that it did not last.

use super::NpuSet;
use super::lambda::Lambda;
use super::list::{Link, List};
use super::npus::Npus;
use crate::ids::NpuId;

/// Lambdas of a crowded home that one look considers; the others have their turn later.
const CANDIDATES: usize = 32;
/// How many looks a lambda stays stopped while its items in flight do not end.
const DRAIN_LOOKS: u32 = 1 << 16;

/// What to do for a better distribution.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// Nothing of this lambda is in flight: its instance can be asked back.
    Recall(u32),
    /// Nothing of this lambda is to be dispatched until nothing is in flight.
    Stop(u32),
    /// What this lambda has in flight does not end: it stays.
    Resume(u32),
}

/// Pinned lambdas that have items waiting and may run elsewhere, by home; and those that are to be recalled now.
pub(super) struct Homes {
    lists: Vec<List>,
    links: Vec<Link>,
    /// How many are in any of the lists.
    members: u32,
    /// Homes with somebody in their list.
    occupied: NpuSet,
    /// Homes that a lambda was chosen to leave, and which.
    leaving: NpuSet,
    leavers: Vec<u32>,
    /// NPUs that took an item since the last look.
    taken: NpuSet,
    /// How many looks in a row found a home crowded, or its leaver not gone.
    looks: Vec<u32>,
    patience: u32,
}

impl Homes {
    pub(super) fn new(npus: usize, patience: u32) -> Self {
        Self {
            lists: vec![List::EMPTY; npus + 1],
            links: Vec::new(),
            members: 0,
            occupied: NpuSet::EMPTY,
            leaving: NpuSet::EMPTY,
            leavers: vec![0; npus],
            taken: NpuSet::EMPTY,
            looks: vec![0; npus],
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
            if list.is_empty() && usize::from(old) < self.looks.len() {
                self.occupied.remove(NpuId::new(old));
                if !self.leaving.contains(NpuId::new(old)) {
                    self.looks[usize::from(old)] = 0;
                }
            }
        }
        if let Some(new) = wanted {
            self.lists[usize::from(new)].push_back(&mut self.links, slot);
            self.members += 1;
            if usize::from(new) < self.looks.len() {
                self.occupied.insert(NpuId::new(new));
            }
        }
    }

    fn list_of(&self, lambda: &Lambda) -> Option<u16> {
        let home = lambda.home?;
        if lambda.waiting == 0 || lambda.recalling {
            None
        } else if lambda.stopped || !lambda.npus.contains(home) {
            (lambda.in_flight == 0).then_some(self.looks.len() as u16)
        } else if lambda.npus == NpuSet::only(home) {
            None
        } else {
            Some(home.raw())
        }
    }

    /// An item goes to an NPU.
    #[inline]
    pub(super) fn took(&mut self, npu: NpuId) {
        if self.members > 0 {
            self.taken.insert(npu);
        }
    }

    /// A lambda comes to a home: who was there before is not less patient for it.
    pub(super) fn arrived(&mut self, home: NpuId) {
        if !self.leaving.contains(home) {
            self.looks[home.index()] = 0;
        }
    }

    /// Is there anybody who may be moved?
    #[inline]
    pub(super) fn is_concerned(&self) -> bool {
        self.members > 0 || !self.leaving.is_empty()
    }

    /// One look: nothing can be dispatched now. A lambda that lost the right to its home is recalled first.
    #[cold]
    pub(super) fn decide(&mut self, lambdas: &[Lambda], npus: &Npus) -> Option<Move> {
        if let Some(slot) = self.lists[self.looks.len()].head() {
            return Some(Move::Recall(slot));
        }
        let taken = std::mem::replace(&mut self.taken, NpuSet::EMPTY);
        if !self.leaving.is_empty()
            && let Some(slot) = self.give_up(lambdas)
        {
            return Some(Move::Resume(slot));
        }
        let room = npus.room();
        for home in self.occupied.and(npus.full()).without(self.leaving).iter() {
            let usable = if taken.contains(home) { room } else { room.or(taken) };
            let looks = &mut self.looks[home.index()];
            if !usable.is_empty() {
                *looks += 1;
            } else if taken.contains(home) {
                *looks = 0;
            }
            if *looks <= self.patience {
                continue;
            }
            *looks = 0;
            if let Some(found) = self.leaver(home, usable, lambdas, npus) {
                let (Move::Recall(slot) | Move::Stop(slot) | Move::Resume(slot)) = found;
                self.leaving.insert(home);
                self.leavers[home.index()] = slot;
                return Some(found);
            }
        }
        None
    }

    /// Forgets who has left; finds one that was stopped for too long.
    fn give_up(&mut self, lambdas: &[Lambda]) -> Option<u32> {
        for home in self.leaving.iter() {
            let (slot, looks) = (self.leavers[home.index()], &mut self.looks[home.index()]);
            let lambda = &lambdas[slot as usize];
            let is_going = lambda.home == Some(home) && (lambda.stopped || lambda.recalling);
            *looks += u32::from(lambda.stopped && !lambda.recalling);
            let in_vain = is_going && *looks > DRAIN_LOOKS;
            if !is_going || in_vain {
                *looks = 0;
                self.leaving.remove(home);
            }
            if in_vain {
                return Some(slot);
            }
        }
        None
    }

    /// Who leaves a crowded home, of the first few that wait there: one with nothing in flight that may use a usable NPU; else
    /// one that has company, and may use one with room that will not have more to do then than is left here.
    fn leaver(&mut self, home: NpuId, usable: NpuSet, lambdas: &[Lambda], npus: &Npus) -> Option<Move> {
        let list = &mut self.lists[home.index()];
        let first = list.head()?;
        let mut running = None;
        for _ in 0..CANDIDATES {
            let slot = list.head()?;
            list.unlink(&mut self.links, slot);
            list.push_back(&mut self.links, slot);
            let lambda = &lambdas[slot as usize];
            if lambda.is_settled() {
                if lambda.in_flight == 0 && !lambda.npus.and(usable).is_empty() {
                    return Some(Move::Recall(slot));
                }
                let left = npus.counted(home).saturating_sub(lambda.in_flight);
                if running.is_none()
                    && let Some(emptiest) = npus.emptiest(lambda.npus)
                    && npus.counted(emptiest) + lambda.in_flight <= left
                {
                    running = Some(Move::Stop(slot));
                }
            }
            if list.head() == Some(first) {
                break;
            }
        }
        running
    }
}
