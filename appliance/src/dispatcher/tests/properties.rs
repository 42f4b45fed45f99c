//! What holds after any sequence of events, checked against a model that keeps every item in plain lists.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const COUNT: usize = 3;
const SLOTS: u32 = 6;
const LIMITS: Limits = Limits { npu_in_flight: 2, waiting: 24, quantum_cycles: 500, patience: 2 };

#[derive(Clone, Debug)]
enum Event {
    Queue(u32, u8),
    Next,
    Complete(usize, u64),
    Suspend(u16, u32),
    Limit(u16, u32),
    Die(u16),
    Revive(u16),
    Deploy(u32, Share),
    Remove(u32),
    Recalled(u32),
}

fn any_share() -> impl Strategy<Value = Share> {
    (1u32..=4, 1u32..8, 1u32..6, 1u16..8, any::<bool>()).prop_map(
        |(weight, queue, in_flight, bits, pinned)| {
            let npus = (0..COUNT as u16).filter(|npu| bits & (1 << npu) != 0).map(NpuId::new).collect();
            Share { weight, queue, in_flight, npus, pinned }
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    let cycles = prop_oneof![Just(0), 1u64..2000, Just(1_000_000_000)];
    prop_oneof![
        12 => (0..SLOTS + 1, 0u8..9).prop_map(|(slot, priority)| Event::Queue(slot, priority)),
        14 => Just(Event::Next),
        10 => (any::<usize>(), cycles).prop_map(|(which, cycles)| Event::Complete(which, cycles)),
        3 => (0..COUNT as u16 + 1, 0u32..4).prop_map(|(npu, items)| Event::Suspend(npu, items)),
        1 => (0..COUNT as u16 + 1, 0u32..4).prop_map(|(npu, items)| Event::Limit(npu, items)),
        1 => (0..COUNT as u16 + 1).prop_map(Event::Die),
        1 => (0..COUNT as u16 + 1).prop_map(Event::Revive),
        1 => (0..SLOTS, any_share()).prop_map(|(slot, share)| Event::Deploy(slot, share)),
        1 => (0..SLOTS).prop_map(Event::Remove),
        3 => (0..SLOTS).prop_map(Event::Recalled),
    ]
}

#[derive(Clone, Debug)]
struct Flying {
    id: u64,
    slot: u32,
    npu: NpuId,
}

#[derive(Clone, Debug, Default)]
struct Known {
    share: Option<Share>,
    queues: [VecDeque<u64>; PRIORITIES],
    home: Option<NpuId>,
    recalling: bool,
}

impl Known {
    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }
}

struct Model {
    scheduler: Scheduler<u64>,
    known: Vec<Known>,
    flying: Vec<Flying>,
    alive: NpuSet,
    limits: [u32; COUNT],
    suspended: [u32; COUNT],
    next_id: u64,
    ended: Vec<u64>,
}

impl Model {
    fn new(shares: &[Share]) -> Self {
        let mut model = Self {
            scheduler: Scheduler::new(COUNT, LIMITS),
            known: vec![Known::default(); SLOTS as usize + 1],
            flying: Vec::new(),
            alive: NpuSet::all(COUNT),
            limits: [LIMITS.npu_in_flight; COUNT],
            suspended: [0; COUNT],
            next_id: 0,
            ended: Vec::new(),
        };
        for (index, share) in shares.iter().enumerate() {
            model.apply(&Event::Deploy(index as u32, *share));
        }
        model
    }

    fn on_npu(&self, npu: NpuId) -> u32 {
        self.flying.iter().filter(|flying| flying.npu == npu).count() as u32
    }

    /// NPUs that take another item.
    fn room(&self) -> NpuSet {
        let has_room = |npu: &NpuId| {
            self.on_npu(*npu).saturating_sub(self.suspended[npu.index()]) < self.limits[npu.index()]
        };
        self.alive.iter().filter(has_room).collect()
    }

    /// Is a lambda kept from running until it can be moved?
    fn is_stopped(&self, slot: u32) -> bool {
        self.scheduler.lambdas.get(slot as usize).is_some_and(|lambda| lambda.stopped)
    }

    fn of_lambda(&self, slot: u32) -> u32 {
        self.flying.iter().filter(|flying| flying.slot == slot).count() as u32
    }

    /// NPUs that could take an item of a lambda this moment.
    fn open_to(&self, slot: u32) -> NpuSet {
        let known = &self.known[slot as usize];
        let Some(share) = known.share else { return NpuSet::EMPTY };
        let in_flight = self.of_lambda(slot);
        if known.waiting() == 0 || in_flight >= share.in_flight || known.recalling || self.is_stopped(slot) {
            return NpuSet::EMPTY;
        }
        let may = match known.home {
            Some(home) => share.npus.and(NpuSet::only(home)),
            None if share.pinned && in_flight > 0 => NpuSet::EMPTY,
            None => share.npus,
        };
        may.and(self.room())
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Queue(slot, priority) => self.queue(slot, priority),
            Event::Next => {
                self.next();
            }
            Event::Complete(which, cycles) => {
                if !self.flying.is_empty() {
                    let done = self.flying.swap_remove(which % self.flying.len());
                    assert!(self.scheduler.complete(done.npu, super::slot(done.slot), cycles));
                    self.ended.push(done.id);
                }
            }
            Event::Suspend(npu, items) => {
                self.scheduler.suspended(NpuId::new(npu), items);
                if let Some(suspended) = self.suspended.get_mut(usize::from(npu)) {
                    *suspended = items;
                }
            }
            Event::Limit(npu, items) => {
                self.scheduler.limit_npu(NpuId::new(npu), items);
                if let Some(limit) = self.limits.get_mut(usize::from(npu)) {
                    *limit = items.clamp(1, LIMITS.npu_in_flight);
                }
            }
            Event::Die(npu) => self.die(NpuId::new(npu)),
            Event::Revive(npu) => {
                let npu = NpuId::new(npu);
                let was_away = npu.index() < COUNT && !self.alive.contains(npu);
                assert_eq!(self.scheduler.npu_alive(npu), was_away);
                if was_away {
                    self.alive.insert(npu);
                    self.suspended[npu.index()] = 0;
                }
            }
            Event::Deploy(slot, share) => {
                self.scheduler.deploy(super::slot(slot), share).unwrap();
                let known = &mut self.known[slot as usize];
                known.share = Some(share);
                if !share.pinned {
                    (known.home, known.recalling) = (None, false);
                }
            }
            Event::Remove(slot) => {
                let mut expected: Vec<u64> =
                    self.known[slot as usize].queues.iter().rev().flatten().copied().collect();
                let mut back = Vec::new();
                self.scheduler.remove(super::slot(slot), |id| back.push(id));
                assert_eq!(back, expected);
                self.ended.append(&mut expected);
                self.known[slot as usize] = Known::default();
            }
            Event::Recalled(slot) => {
                let known = &mut self.known[slot as usize];
                assert_eq!(self.scheduler.recalled(super::slot(slot)), known.recalling);
                if std::mem::take(&mut known.recalling) {
                    known.home = None;
                }
            }
        }
        self.scheduler.check();
        for slot in 0..=SLOTS {
            let known = &self.known[slot as usize];
            assert_eq!(self.scheduler.waiting(super::slot(slot)) as usize, known.waiting());
            assert_eq!(self.scheduler.lambda_in_flight(super::slot(slot)), self.of_lambda(slot));
            assert_eq!(self.scheduler.home(super::slot(slot)), known.home);
        }
        self.check_moves();
        assert_eq!(self.scheduler.idle(), self.known.iter().all(|known| known.waiting() == 0));
    }

    /// One move at a time for each home; who is stopped has something to wait for.
    fn check_moves(&self) {
        let mut leaving = NpuSet::EMPTY;
        for (slot, lambda) in self.scheduler.lambdas.iter().enumerate().filter(|(_, lambda)| lambda.stopped) {
            let home = lambda.home.unwrap();
            assert!(lambda.waiting > 0 && lambda.npus.contains(home), "slot {slot}");
            assert!(!leaving.contains(home), "two leave {home} at once");
            leaving.insert(home);
        }
    }

    fn queue(&mut self, slot: u32, priority: u8) {
        let total: usize = self.known.iter().map(Known::waiting).sum();
        let known = &mut self.known[slot as usize];
        let expected = match known.share {
            None => Err(Refused::Gone),
            Some(share) if share.npus.and(self.alive).is_empty() => Err(Refused::Gone),
            Some(share) if known.waiting() >= share.queue as usize => Err(Refused::QueueFull),
            Some(_) if total >= LIMITS.waiting as usize => Err(Refused::NoRoom),
            Some(_) => Ok(()),
        };
        let id = self.next_id;
        self.next_id += 1;
        let got = self.scheduler.queue(super::slot(slot), priority, id);
        assert_eq!(got, expected.map_err(|reason| (reason, id)));
        if expected.is_ok() {
            known.queues[usize::from(priority).min(PRIORITIES - 1)].push_back(id);
        } else {
            self.ended.push(id);
        }
    }

    /// Takes one step and checks everything about it; false if it was to wait.
    fn next(&mut self) -> bool {
        match self.scheduler.next() {
            Step::Run(dispatch) => {
                let slot = dispatch.slot.raw();
                assert!(self.open_to(slot).contains(dispatch.npu), "{dispatch:?} may not run there now");
                let known = &mut self.known[slot as usize];
                let queue = known.queues.iter_mut().rev().find(|queue| !queue.is_empty()).unwrap();
                assert_eq!(queue.pop_front(), Some(dispatch.item), "not the oldest of the highest priority");
                let pinned = known.share.unwrap().pinned;
                assert_eq!(dispatch.carry, pinned && known.home.is_none());
                if pinned {
                    known.home = Some(dispatch.npu);
                    let elsewhere = |flying: &&Flying| flying.slot == slot && flying.npu != dispatch.npu;
                    assert_eq!(self.flying.iter().find(elsewhere).map(|flying| flying.id), None);
                }
                self.flying.push(Flying { id: dispatch.item, slot, npu: dispatch.npu });
                true
            }
            Step::Recall { npu, slot } => {
                assert_eq!(self.of_lambda(slot.raw()), 0, "recall of a lambda in flight");
                let known = &mut self.known[slot.index()];
                assert!(known.home == Some(npu) && !known.recalling && known.waiting() > 0);
                known.recalling = true;
                true
            }
            Step::Wait => {
                for slot in 0..SLOTS {
                    let open = self.open_to(slot);
                    assert!(open.is_empty(), "waits while slot {slot} could run on {open:?}");
                }
                false
            }
        }
    }

    fn die(&mut self, npu: NpuId) {
        let mut expected = Vec::new();
        for slot in 0..=SLOTS {
            let gone = self.flying.iter().filter(|flying| flying.slot == slot && flying.npu == npu).count();
            let known = &mut self.known[slot as usize];
            let home = known.home == Some(npu);
            if gone > 0 || home {
                expected.push(Loss { slot: super::slot(slot), items: gone as u32, home });
            }
            if home {
                (known.home, known.recalling) = (None, false);
            }
        }
        self.ended.extend(self.flying.extract_if(.., |flying| flying.npu == npu).map(|flying| flying.id));
        let mut losses = Vec::new();
        let total = self.scheduler.npu_dead(npu, |loss| losses.push(loss));
        assert_eq!(total, losses.iter().map(|loss| loss.items).sum::<u32>());
        assert_eq!(losses, expected);
        self.alive.remove(npu);
    }

    /// Lets everything end, and looks for every item.
    fn finish(mut self) {
        for npu in 0..COUNT as u16 {
            self.apply(&Event::Revive(npu));
        }
        let mut rounds = 0;
        while !self.scheduler.idle() || !self.flying.is_empty() {
            while self.next() {}
            self.apply(&Event::Complete(0, 100));
            (0..SLOTS).for_each(|slot| self.apply(&Event::Recalled(slot)));
            rounds += 1;
            assert!(rounds < 1000, "items that never run");
        }
        self.ended.sort_unstable();
        assert_eq!(self.ended, (0..self.next_id).collect::<Vec<_>>(), "lost or twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

    #[test]
    fn any_sequence_of_events_keeps_every_rule(
        shares in proptest::collection::vec(any_share(), SLOTS as usize),
        events in proptest::collection::vec(any_event(), 1..300),
    ) {
        let mut model = Model::new(&shares);
        for event in &events {
            model.apply(event);
        }
        model.finish();
    }

    /// A pinned lambda that could move is not left at a home that stays full, once nobody else is about to leave it.
    #[test]
    fn patience_ends(
        shares in proptest::collection::vec(any_share(), SLOTS as usize),
        events in proptest::collection::vec(any_event(), 1..200),
    ) {
        let mut model = Model::new(&shares);
        for event in &events {
            model.apply(event);
        }
        for _ in 0..200 {
            model.next();
            (0..SLOTS).for_each(|slot| model.apply(&Event::Recalled(slot)));
        }
        let room = model.room();
        for (slot, known) in model.known.iter().enumerate() {
            let stuck = known.home.is_some() && known.waiting() > 0 && !known.recalling;
            let settled = model.scheduler.lambdas.get(slot).is_some_and(|lambda| lambda.is_settled());
            let leaves = |at: u32| model.is_stopped(at) && model.known[at as usize].home == known.home;
            if stuck && settled && model.of_lambda(slot as u32) == 0 && !(0..SLOTS).any(leaves) {
                let elsewhere = known.share.unwrap().npus.and(room);
                prop_assert!(elsewhere.is_empty(), "slot {slot} could move to {elsewhere:?}");
            }
        }
    }
}
