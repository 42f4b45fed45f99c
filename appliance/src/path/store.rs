//! Jobs and calls in store: made beforehand, so that nothing is allocated when they are needed.

use std::collections::VecDeque;
use std::mem::swap;

use lnic_wire::rpc::Status;

use super::suspended::Suspended;
use crate::handoff::{Call, Job, Ticket};

/// How many of each an lcore has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Requests that can wait, be handed over or be suspended at a time.
    pub jobs: u32,
    /// Calls of lambdas that can be under way at a time; 0 where no lambda calls another. 18 KiB each.
    pub calls: u32,
}

/// What is left of it.
pub(super) struct Store<F> {
    jobs: Vec<Box<Job<F>>>,
    calls: Vec<Box<Call>>,
}

impl<F> Store<F> {
    pub(super) fn new(stock: Stock) -> Self {
        // A call is in hand while its caller goes on, who may call again.
        let in_hand = u32::from(stock.calls > 0);
        Self {
            jobs: (0..stock.jobs + in_hand).map(|_| Job::spare()).collect(),
            calls: (0..stock.calls + in_hand).map(|_| Call::empty()).collect(),
        }
    }

    #[inline]
    pub(super) fn job(&mut self) -> Option<Box<Job<F>>> {
        self.jobs.pop()
    }

    #[inline]
    pub(super) fn keep_job(&mut self, job: Box<Job<F>>) {
        if self.jobs.len() < self.jobs.capacity() {
            self.jobs.push(job);
        }
    }

    pub(super) fn call(&mut self) -> Option<Box<Call>> {
        self.calls.pop()
    }

    pub(super) fn keep_call(&mut self, call: Box<Call>) {
        if self.calls.len() < self.calls.capacity() {
            self.calls.push(call);
        }
    }

    /// Takes over what another has, and becomes it: this one has room for both.
    pub(super) fn exchange(&mut self, other: &mut Self) {
        self.jobs.append(&mut other.jobs);
        self.calls.append(&mut other.calls);
        swap(self, other);
    }
}

/// A larger store, and larger tables of what waits for calls, for an lcore that has a smaller one.
pub struct Growth<F> {
    pub(super) store: Store<F>,
    pub(super) suspended: Suspended<F>,
    pub(super) calls: VecDeque<Box<Job<F>>>,
    pub(super) refusals: VecDeque<(Ticket, Status)>,
}

impl<F> Growth<F> {
    /// From one stock to a larger one.
    #[must_use]
    pub fn new(from: Stock, to: Stock) -> Self {
        let in_hand = |stock: Stock| u32::from(stock.calls > 0);
        let more = |from: u32, to: u32| to.saturating_sub(from);
        let jobs = more(from.jobs + in_hand(from), to.jobs + in_hand(to));
        let calls = more(from.calls + in_hand(from), to.calls + in_hand(to));
        let mut store = Store {
            jobs: Vec::with_capacity((to.jobs + in_hand(to)).max(from.jobs + in_hand(from)) as usize),
            calls: Vec::with_capacity((to.calls + in_hand(to)).max(from.calls + in_hand(from)) as usize),
        };
        store.jobs.extend((0..jobs).map(|_| Job::spare()));
        store.calls.extend((0..calls).map(|_| Call::empty()));
        let waiting = to.calls.max(from.calls);
        Self {
            store,
            suspended: Suspended::new(waiting),
            calls: VecDeque::with_capacity(waiting as usize),
            refusals: VecDeque::with_capacity(waiting as usize),
        }
    }
}
