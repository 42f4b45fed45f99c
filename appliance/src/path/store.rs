//! Jobs and calls in store: made at the start, so that nothing is allocated later.

use crate::handoff::{Call, Job};

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
}
