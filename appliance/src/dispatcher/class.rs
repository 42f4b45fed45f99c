//! Classes: lambdas that may use the same NPUs share rounds, and are passed over together when those NPUs are full.

use super::NpuSet;
use super::lambda::Lambda;
use super::npus::Npus;
use super::rounds::Rounds;
use crate::ids::NpuId;

/// Most classes, one for each NPU alone included.
pub(super) const CLASSES: usize = 256;
/// Most rounds that one class stays ahead of another for what it used while the other was slower: it bounds how long it can be
/// shut out from an NPU after loads or NPUs changed.
const LEAD_ROUNDS: u64 = 1 << 12;

struct Class {
    npus: NpuSet,
    /// Its present round, in the count that is compared among classes.
    round: u64,
    rounds: Rounds,
    listed: u32,
    users: u32,
}

impl Class {
    fn new(npus: NpuSet) -> Self {
        Self { npus, round: 0, rounds: Rounds::new(), listed: 0, users: 0 }
    }

    /// The round that it would serve next.
    #[inline]
    fn due(&self) -> u64 {
        self.round + self.rounds.ahead()
    }
}

/// All classes. The first ones are of each NPU alone: homes of pinned lambdas.
pub(super) struct Classes {
    classes: Vec<Class>,
    backlogged: [u64; CLASSES / 64],
    backlogged_count: usize,
    last: usize,
    homes: usize,
}

impl Classes {
    pub(super) fn new(npus: usize) -> Self {
        let classes = NpuSet::all(npus).iter().map(|npu| Class::new(NpuSet::only(npu))).collect();
        Self { classes, backlogged: [0; CLASSES / 64], backlogged_count: 0, last: 0, homes: npus }
    }

    /// The class of a lambda at home.
    pub(super) const fn of_home(npu: NpuId) -> u16 {
        npu.raw()
    }

    /// The class of a set of NPUs, made if there is none.
    pub(super) fn acquire(&mut self, npus: NpuSet) -> Option<u16> {
        let same = self
            .classes
            .iter()
            .enumerate()
            .position(|(index, class)| class.npus == npus && (index < self.homes || class.users > 0));
        let unused = || (self.homes..self.classes.len()).find(|&index| self.classes[index].users == 0);
        let index = match same.or_else(unused) {
            Some(index) => index,
            None if self.classes.len() < CLASSES => {
                self.classes.push(Class::new(npus));
                self.classes.len() - 1
            }
            None => return None,
        };
        self.classes[index].npus = npus;
        self.classes[index].users += 1;
        Some(index as u16)
    }

    /// Makes all classes that there can be.
    pub(super) fn provide(&mut self) {
        self.classes.resize_with(CLASSES.max(self.classes.len()), || Class::new(NpuSet::EMPTY));
    }

    /// One lambda's share is no longer of this class.
    pub(super) fn release(&mut self, class: u16) {
        self.classes[usize::from(class)].users -= 1;
    }

    pub(super) fn npus(&self, class: u16) -> NpuSet {
        self.classes[usize::from(class)].npus
    }

    /// The round that accounts of its lambdas are credited up to.
    pub(super) fn now(&self, class: u16) -> u64 {
        self.classes[usize::from(class)].rounds.now()
    }

    /// Its round as compared among classes.
    pub(super) fn round(&self, class: u16) -> u64 {
        self.classes[usize::from(class)].round
    }

    /// The class to serve: of those that have lambdas listed and an NPU with room, the least advanced; ties go round.
    #[inline]
    pub(super) fn lowest(&self, room: NpuSet) -> Option<u16> {
        if self.backlogged_count <= 1 {
            let index = self.indices().next()?;
            return (!self.classes[index].npus.and(room).is_empty()).then_some(index as u16);
        }
        let mut best: Option<(u64, usize, usize)> = None;
        for index in self.indices() {
            let class = &self.classes[index];
            if class.npus.and(room).is_empty() {
                continue;
            }
            let turn = (index + CLASSES - 1 - self.last) % CLASSES;
            let candidate = (class.due(), turn, index);
            if best.is_none_or(|best| candidate < best) {
                best = Some(candidate);
            }
        }
        best.map(|(_, _, index)| index as u16)
    }

    /// The lambda at the head of the present round; if there is none, goes on to the next round that has one, if it is near.
    #[inline]
    pub(super) fn head(&mut self, lambdas: &mut [Lambda], index: u16, npus: &mut Npus) -> Option<u32> {
        let class = &mut self.classes[usize::from(index)];
        if let Some(slot) = class.rounds.ready() {
            return Some(slot);
        }
        let ahead = class.rounds.ahead();
        class.rounds.advance(lambdas, ahead);
        class.round += ahead;
        let slot = class.rounds.ready();
        if self.backlogged_count > 1 {
            self.bound_lead(npus);
        }
        slot
    }

    /// Once the first class is too far ahead of the last, halves the widest gap between two that follow each other. Those on
    /// either side keep their distances, so that who competes at the same pace stays fair to the cycle.
    fn bound_lead(&mut self, npus: &mut Npus) {
        let (mut least, mut most) = (u64::MAX, 0);
        for index in self.indices() {
            let round = self.classes[index].round;
            (least, most) = (least.min(round), most.max(round));
        }
        if most.saturating_sub(least) <= LEAD_ROUNDS {
            return;
        }
        let (mut rounds, mut count) = ([0; CLASSES], 0);
        for index in self.indices() {
            rounds[count] = self.classes[index].round;
            count += 1;
        }
        let rounds = &mut rounds[..count];
        rounds.sort_unstable();
        let widest = rounds.windows(2).map(|pair| (pair[1] - pair[0], pair[1])).max();
        let Some((gap, from)) = widest else { return };
        for class in self.classes.iter_mut().filter(|class| class.round >= from) {
            class.round -= gap / 2;
        }
        npus.forget(from, gap / 2);
    }

    /// Brings a class without listed lambdas up to the rounds that its competitors are in, or if there are none, that its NPUs
    /// served last: time idle is no claim.
    pub(super) fn join(&mut self, index: u16, npus: &Npus) {
        let index = usize::from(index);
        if self.classes[index].listed > 0 || self.last == index {
            return;
        }
        let present = self.competitors(index).map(|class| class.round).max();
        let class = &mut self.classes[index];
        let present = present.unwrap_or_else(|| npus.furthest(class.npus));
        let missed = present.saturating_sub(class.round);
        class.round += missed;
        class.rounds.skip(missed);
    }

    /// Other classes with lambdas listed that want an NPU of this one.
    fn competitors(&self, index: usize) -> impl Iterator<Item = &Class> {
        let npus = self.classes[index].npus;
        self.indices()
            .filter(move |&other| other != index)
            .map(|other| &self.classes[other])
            .filter(move |other| !other.npus.and(npus).is_empty())
    }

    /// Lists a lambda in its class for the round that gives it credit.
    pub(super) fn list(&mut self, lambdas: &mut [Lambda], slot: u32, npus: &Npus) {
        let index = lambdas[slot as usize].class;
        self.join(index, npus);
        let class = &mut self.classes[usize::from(index)];
        class.listed += 1;
        if class.listed == 1 {
            self.backlogged[usize::from(index) / 64] |= 1 << (index % 64);
            self.backlogged_count += 1;
        }
        let lambda = &mut lambdas[slot as usize];
        lambda.listed = true;
        lambda.account.settle(class.rounds.now());
        let rounds = lambda.account.rounds_in_debt();
        class.rounds.push(lambdas, slot, rounds);
    }

    /// Takes a listed lambda out.
    pub(super) fn unlist(&mut self, lambdas: &mut [Lambda], slot: u32) {
        let index = lambdas[slot as usize].class;
        let class = &mut self.classes[usize::from(index)];
        class.rounds.unlink(lambdas, slot);
        lambdas[slot as usize].listed = false;
        class.listed -= 1;
        if class.listed == 0 {
            self.backlogged[usize::from(index) / 64] &= !(1 << (index % 64));
            self.backlogged_count -= 1;
        }
    }

    /// Puts a listed lambda behind the others of the round that gives it credit.
    #[inline]
    pub(super) fn relist(&mut self, lambdas: &mut [Lambda], slot: u32) {
        let lambda = &lambdas[slot as usize];
        let rounds = lambda.account.rounds_in_debt();
        let class = &mut self.classes[usize::from(lambda.class)];
        if class.listed > 1 || rounds > 0 {
            class.rounds.unlink(lambdas, slot);
            class.rounds.push(lambdas, slot, rounds);
        }
    }

    /// A listed lambda's debt was less than it seemed: lists it for an earlier round if that is its due.
    #[inline]
    pub(super) fn hasten(&mut self, lambdas: &mut [Lambda], slot: u32) {
        let lambda = &lambdas[slot as usize];
        let rounds = &mut self.classes[usize::from(lambda.class)].rounds;
        let needed = lambda.account.rounds_in_debt();
        if lambda.due > rounds.now() + needed {
            rounds.unlink(lambdas, slot);
            rounds.push(lambdas, slot, needed);
        }
    }

    /// This class has just been served.
    #[inline]
    pub(super) fn served(&mut self, index: u16) {
        self.last = usize::from(index);
    }

    /// Classes with lambdas listed.
    fn indices(&self) -> impl Iterator<Item = usize> {
        let (mut word, mut rest) = (0, self.backlogged[0]);
        std::iter::from_fn(move || {
            while rest == 0 {
                word += 1;
                rest = *self.backlogged.get(word)?;
            }
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(word * 64 + bit)
        })
    }
}

#[cfg(test)]
impl Classes {
    /// Checks every wheel, and that exactly the lambdas that say so are in it.
    pub(super) fn check(&self, lambdas: &mut [Lambda]) {
        let mut found = 0;
        for (index, class) in self.classes.iter().enumerate() {
            let members = class.rounds.members(lambdas);
            assert_eq!(members.len(), class.listed as usize, "class {index}");
            assert_eq!(self.indices().any(|backlogged| backlogged == index), class.listed > 0);
            for &slot in &members {
                assert!(lambdas[slot as usize].listed && usize::from(lambdas[slot as usize].class) == index);
            }
            found += members.len();
        }
        assert_eq!(found, lambdas.iter().filter(|lambda| lambda.listed).count());
    }
}
