//! Station 4: which lambda runs next, and on which NPU.
//!
//! A [`Scheduler`] is a pure state machine: no clock, no ring, no lock, and no allocation but in [`Scheduler::deploy`], and there only if
//! [`Scheduler::provide`] was not called. Its caller
//! queues items, takes [`Step`]s, and says what each item cost when it is done.
//!
//! - *Fair by cycles.* Each lambda has a bounded queue, served by deficit round robin over cycles used. What an item costs is
//!   known only afterwards: it is charged the lambda's average when it is dispatched, and corrected when it completes. A lambda
//!   in debt waits, in a wheel of rounds, for the round that makes its balance positive, so that a round that serves nobody is
//!   never walked through and a debt of a billion cycles costs a few steps.
//! - *Sparse lambdas first.* One whose queue was empty, and which is in credit, goes before those that always have something
//!   waiting, until the credit of a round is used up. It gets no more than its share by that, only sooner; whoever offers less
//!   waits for what is in flight, not for the others' queues. It takes a quantum of several items to tell one from the other.
//! - *Idle lambdas cost nothing.* Credit is worked out from round numbers when a lambda is looked at. Credit of rounds past is
//!   not kept over an idle time, and debt is paid off by the rounds that passed.
//! - *Few in flight.* An NPU has at most [`Limits::npu_in_flight`] items, not counting those that wait for a call; the rest wait
//!   where they can still be reordered.
//! - *No head-of-line blocking.* Lambdas that may use the same NPUs form a class with rounds of its own. A class whose NPUs
//!   are full is passed over as a whole, whatever number of lambdas wait in it. Among classes that can run, the one that is
//!   fewest rounds ahead is served, which is max-min fair where NPU sets overlap.
//! - *Pinned lambdas* have a home, the only NPU with items of theirs; they form the home's class. Some are moved when their home
//!   stays full beside NPUs with room, but none more often than once in so many of its items. See [`Step::Recall`].

mod account;
mod class;
mod error;
mod homes;
mod lambda;
mod list;
mod membership;
mod npu_set;
mod npus;
mod queues;
mod rounds;
mod scheduler;

#[cfg(test)]
mod tests;

pub use error::{Refused, ShareError};
pub use npu_set::NpuSet;
pub use scheduler::Scheduler;

use crate::ids::{LambdaSlot, NpuId};

/// Slots that a scheduler knows, 0 up to this.
pub const SLOTS: u32 = 65_536;
/// NPUs that a scheduler knows.
pub const NPUS: usize = 128;
/// λ-RPC priorities, 0 up to this; the highest goes first.
pub const PRIORITIES: usize = 8;

/// What bounds a whole scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most items in flight on one NPU, 1–256; suspended ones not counted.
    pub npu_in_flight: u32,
    /// Most items that wait, over all lambdas.
    pub waiting: u32,
    /// Cycles that a lambda of weight 1 gets a round, at least 1. A few items' cost: as many in a row go first for a lambda that
    /// is sparse. Smaller is fairer in the short run and costs more steps.
    pub quantum_cycles: u64,
    /// How many [`Step::Wait`] in a row may find a home full, with room elsewhere, before a lambda is moved from it.
    pub patience: u32,
}

/// What one lambda may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// NPU time relative to other lambdas, 1–1000.
    pub weight: u32,
    /// Most items that wait.
    pub queue: u32,
    /// Most items in flight over all NPUs, 1–65,535, suspended ones counted.
    pub in_flight: u32,
    /// Where it may run.
    pub npus: NpuSet,
    /// All items in flight are on one NPU at a time.
    pub pinned: bool,
}

/// One item and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch<T> {
    /// Lambda to run.
    pub slot: LambdaSlot,
    /// NPU to run it on.
    pub npu: NpuId,
    /// First item of a pinned lambda on this home: its instance goes with it.
    pub carry: bool,
    /// What was queued.
    pub item: T,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Give an item to an NPU.
    Run(Dispatch<T>),
    /// Ask an NPU to hand back the instance of a pinned lambda, which has nothing in flight, then say
    /// [`Scheduler::recalled`]. Nothing of the lambda is dispatched before.
    Recall {
        /// Its home so far.
        npu: NpuId,
        /// The lambda.
        slot: LambdaSlot,
    },
    /// Nothing can run before something is queued or completes.
    Wait,
}

/// What a lambda lost with an NPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The lambda.
    pub slot: LambdaSlot,
    /// Its items that were in flight there; they never complete.
    pub items: u32,
    /// The NPU was its home: its instance is gone.
    pub home: bool,
}
