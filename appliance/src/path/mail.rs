//! Mail between control and an lcore: what to take in, to look at from now on, and to give back.
//!
//! Control makes everything and frees everything; an lcore only moves boxes between what it has and what a command brings. A command
//! goes back as its own report, with what the lcore has let go of. It is carried out between two turns, one a turn, so that nothing in a
//! burst sees half of it; the look at an empty box is two loads.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::{Growth, Place};
use crate::dispatcher::{Share, ShareError};
use crate::frame::Frame;
use crate::handoff::Bell;
use crate::ids::{LambdaRef, LambdaSlot, NpuId};
use crate::island::Loaded;
use crate::matcher::{Directory, Table};
use crate::message::slots::{MessageIds, PlacedSlots};

/// Commands that an lcore may have in its box, and reports that control may have in its own.
pub const COMMANDS: usize = 64;

/// What control tells an lcore.
pub enum Command<F: Frame> {
    /// An NPU is dead. For those that feed it; nothing is reported.
    Dead(NpuId),
    /// An instance of a lambda that has lost its own, for the dispatcher that lost it. Nothing is reported.
    Fresh(LambdaRef, Box<Loaded>),
    /// Take these lambdas in. Nothing leads to them yet.
    Load(Box<Load<F>>),
    /// Look at this table from now on.
    Publish(Box<View>),
    /// Give these lambdas back: nothing leads to them any more, and nothing of theirs is under way.
    Unload(Box<Unload<F>>),
}

/// What an lcore says when it has carried a command out.
pub enum Report<F: Frame> {
    /// Taken in; queues that were refused say why.
    Loaded(Box<Load<F>>),
    /// Looked at; the table that it looked at before.
    Published(Box<View>),
    /// Given back.
    Unloaded(Box<Unload<F>>),
}

/// Lambdas to take in.
pub struct Load<F: Frame> {
    /// Where their frames go, as this lcore sees it. Others may look at the next view before it does, and send it some.
    pub places: Vec<(LambdaSlot, Place)>,
    /// For the lcore's NPU.
    pub npu: Vec<(LambdaRef, Box<Loaded>)>,
    /// For its dispatcher.
    pub queues: Vec<QueueOf>,
    /// For its message server.
    pub messages: Vec<Box<PlacedSlots<F::External>>>,
    /// More in store, for calls.
    pub growth: Option<Growth<F>>,
}

/// A lambda's queue in a dispatcher.
pub struct QueueOf {
    /// The lambda.
    pub lambda: LambdaRef,
    /// Its share of the NPUs.
    pub share: Share,
    /// Its instance, if it is pinned.
    pub held: Option<Box<Loaded>>,
    /// Why the dispatcher did not take it.
    pub refused: Option<ShareError>,
}

/// What leads to lambdas, all of it: table, directory and message IDs change at once.
pub struct View {
    /// Rules.
    pub table: Arc<Table>,
    /// Lambdas that others can call.
    pub directory: Arc<Directory>,
    /// Which message slots IDs lead to.
    pub ids: Arc<MessageIds>,
    /// Message slots that pass from one lambda to another of the same memory.
    pub passed_on: Vec<(LambdaSlot, LambdaRef)>,
}

/// Lambdas to give back. Each list has room for all that may come.
pub struct Unload<F: Frame> {
    /// Which.
    pub lambdas: Vec<LambdaRef>,
    /// Their instances.
    pub loaded: Vec<Box<Loaded>>,
    /// Their message slots.
    pub messages: Vec<Box<PlacedSlots<F::External>>>,
    /// Those that have a message under way after all: they are to be asked for again.
    pub kept: Vec<LambdaRef>,
}

impl<F: Frame> Unload<F> {
    /// For these lambdas.
    #[must_use]
    pub fn of(lambdas: Vec<LambdaRef>) -> Box<Self> {
        let count = lambdas.len();
        // At most one instance is the NPU's, and one its dispatcher's.
        let (loaded, messages) = (Vec::with_capacity(2 * count), Vec::with_capacity(count));
        Box::new(Self { lambdas, loaded, messages, kept: Vec::with_capacity(count) })
    }
}

/// An lcore's boxes.
pub struct Mail<F: Frame> {
    /// To the lcore.
    pub commands: Arc<ArrayQueue<Command<F>>>,
    /// From it.
    pub reports: Arc<ArrayQueue<Report<F>>>,
    /// Lambdas that its dispatcher has lost the instance of.
    pub lost: Arc<ArrayQueue<LambdaSlot>>,
    /// Rings for control.
    pub control: Option<Bell>,
}

impl<F: Frame> Clone for Mail<F> {
    fn clone(&self) -> Self {
        Self {
            commands: Arc::clone(&self.commands),
            reports: Arc::clone(&self.reports),
            lost: Arc::clone(&self.lost),
            control: self.control.clone(),
        }
    }
}

impl<F: Frame> Mail<F> {
    /// Empty boxes; `lost` holds one loss of each of `lambdas`.
    #[must_use]
    pub fn new(lambdas: usize, control: Option<Bell>) -> Self {
        Self {
            commands: Arc::new(ArrayQueue::new(COMMANDS)),
            reports: Arc::new(ArrayQueue::new(COMMANDS)),
            lost: Arc::new(ArrayQueue::new(lambdas.max(1))),
            control,
        }
    }

    /// Wakes control.
    #[cold]
    pub(super) fn ring(&self) {
        if let Some(control) = &self.control {
            control.ring();
        }
    }
}
