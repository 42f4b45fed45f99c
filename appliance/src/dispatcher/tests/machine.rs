//! NPUs in virtual time: what a scheduler dispatches takes its cost, one after another on each NPU.

use std::collections::VecDeque;

use super::*;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) born: u64,
    pub(super) cost: u64,
}

struct Running {
    slot: LambdaSlot,
    cycles: u64,
    ends: u64,
}

/// A scheduler and its NPUs.
pub(super) struct Machine {
    pub(super) scheduler: Scheduler<Request>,
    pub(super) now: u64,
    /// Cycles used, by lambda.
    pub(super) used: Vec<u64>,
    /// Longest wait from queue to dispatch, by lambda.
    pub(super) longest: Vec<u64>,
    /// Requests dispatched, by lambda.
    pub(super) served: Vec<u64>,
    /// From birth to the begin of the run, of each request of the lambda that is watched.
    pub(super) waits: Vec<u64>,
    pub(super) watched: Option<LambdaSlot>,
    pub(super) recalls: u64,
    slowness: Vec<u64>,
    running: Vec<VecDeque<Running>>,
}

impl Machine {
    pub(super) fn new(limits: Limits, slowness: &[u64], shares: &[Share]) -> Self {
        let mut scheduler = Scheduler::new(slowness.len(), limits);
        for (index, share) in shares.iter().enumerate() {
            scheduler.deploy(slot(index as u32), *share).unwrap();
        }
        let none = vec![0; shares.len()];
        Self {
            scheduler,
            now: 0,
            used: none.clone(),
            longest: none.clone(),
            served: none,
            waits: Vec::new(),
            watched: None,
            recalls: 0,
            slowness: slowness.to_vec(),
            running: slowness.iter().map(|_| VecDeque::new()).collect(),
        }
    }

    /// Queues a request that is born now; false if it is refused.
    pub(super) fn offer(&mut self, lambda: u32, cost: u64) -> bool {
        self.scheduler.queue(slot(lambda), 0, Request { born: self.now, cost }).is_ok()
    }

    /// Keeps a lambda's queue at `depth` requests.
    pub(super) fn backlog(&mut self, lambda: u32, depth: u32, cost: u64) {
        while self.scheduler.waiting(slot(lambda)) < depth {
            assert!(self.offer(lambda, cost), "no room for lambda {lambda}");
        }
    }

    /// Dispatches what can be; an instance that is recalled comes back at once.
    pub(super) fn pump(&mut self) {
        loop {
            match self.scheduler.next() {
                Step::Run(dispatch) => self.start(&dispatch),
                Step::Recall { slot, .. } => {
                    self.recalls += 1;
                    assert!(self.scheduler.recalled(slot));
                }
                Step::Wait => return,
            }
        }
    }

    fn start(&mut self, dispatch: &Dispatch<Request>) {
        let (npu, lambda) = (dispatch.npu.index(), dispatch.slot.index());
        let cycles = dispatch.item.cost * self.slowness[npu];
        let begins = self.running[npu].back().map_or(self.now, |last| last.ends);
        self.running[npu].push_back(Running { slot: dispatch.slot, cycles, ends: begins + cycles });
        self.longest[lambda] = self.longest[lambda].max(self.now - dispatch.item.born);
        self.served[lambda] += 1;
        if self.watched == Some(dispatch.slot) {
            self.waits.push(begins - dispatch.item.born);
        }
    }

    /// When the next request ends, if any runs.
    fn next_end(&self) -> Option<(u64, usize)> {
        let ends = self.running.iter().enumerate();
        ends.filter_map(|(npu, running)| running.front().map(|first| (first.ends, npu))).min()
    }

    /// Goes on to the next end of a request, but not beyond `until`; false once `until` is reached.
    pub(super) fn step(&mut self, until: u64) -> bool {
        self.pump();
        let Some((ends, npu)) = self.next_end().filter(|&(ends, _)| ends <= until) else {
            self.now = until;
            return false;
        };
        self.now = ends;
        let done = self.running[npu].pop_front().unwrap();
        self.used[done.slot.index()] += done.cycles;
        assert!(self.scheduler.complete(super::npu(npu as u16), done.slot, done.cycles));
        true
    }

    /// Runs to a time without new requests.
    pub(super) fn run_until(&mut self, until: u64) {
        while self.step(until) {}
    }

    pub(super) fn kill(&mut self, npu: u16) -> u32 {
        let lost = self.running[usize::from(npu)].len() as u32;
        self.running[usize::from(npu)].clear();
        let told = self.scheduler.npu_dead(super::npu(npu), |_| ());
        assert_eq!(told, lost);
        lost
    }
}
