//! One lcore as control sees it: what was sent to it, and what it has reported.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::control::appliance::layout::Eyes;
use crate::frame::Frame;
use crate::handoff::{Bell, Doorbell};
use crate::ids::{LambdaSlot, LcoreId, NpuId};
use crate::observe::counters::LcoreCounters;
use crate::path::{COMMANDS, Command, Mail, Report, Stock};

/// An lcore, for who makes it and who tells it what to do.
pub struct Worker<F: Frame> {
    /// Which.
    pub lcore: LcoreId,
    /// Its NPU.
    pub npu: Option<NpuId>,
    /// Its place among those that poll.
    pub poller: Option<usize>,
    /// It is a dispatcher.
    pub dispatches: bool,
    /// Its boxes.
    pub mail: Mail<F>,
    /// Wakes it.
    pub doorbell: Doorbell,
    /// What it counts.
    pub counters: Arc<LcoreCounters>,
    pub(super) eyes: Eyes,
    /// What it has in store.
    pub(super) stock: Stock,
    /// It has ended: nobody waits for it.
    pub(super) is_dead: bool,
    /// The last view that it looked at.
    pub(super) view: u64,
    /// What waits for room in its box.
    pending: VecDeque<(Command<F>, Sent)>,
    /// What it has not reported on.
    sent: VecDeque<(Sent, Instant)>,
    /// Since when its box is full.
    stalled: Option<Instant>,
    /// What was lost with NPUs that died, and never settles.
    residue: BTreeMap<LambdaSlot, u32>,
}

/// What it will report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Load,
    Publish(u64),
    Unload,
    /// Nothing.
    Note,
}

impl<F: Frame> Worker<F> {
    pub(super) fn new(
        lcore: LcoreId,
        npu: Option<NpuId>,
        poller: Option<usize>,
        dispatches: bool,
        eyes: Eyes,
        slots: usize,
        control: &Bell,
    ) -> std::io::Result<Self> {
        Ok(Self {
            lcore,
            npu,
            poller,
            dispatches,
            mail: Mail::new(if dispatches { slots } else { 1 }, Some(control.clone())),
            doorbell: Doorbell::new()?,
            counters: Arc::new(LcoreCounters::new(slots)),
            eyes,
            stock: Stock::default(),
            is_dead: false,
            view: 0,
            pending: VecDeque::new(),
            sent: VecDeque::new(),
            stalled: None,
            residue: BTreeMap::new(),
        })
    }

    /// Sends a command, now or once there is room; to one that is dead, nothing.
    pub(super) fn send(&mut self, command: Command<F>, sent: Sent) {
        if !self.is_dead {
            self.pending.push_back((command, sent));
            self.flush();
        }
    }

    /// Sends what there is room for now.
    pub(super) fn flush(&mut self) {
        let mut any = false;
        // Half of the box is for commands without a report.
        while self.sent.len() < COMMANDS / 2 {
            let Some((command, sent)) = self.pending.pop_front() else { break };
            if let Err(command) = self.mail.commands.push(command) {
                self.pending.push_front((command, sent));
                self.stalled.get_or_insert_with(Instant::now);
                break;
            }
            self.stalled = None;
            any = true;
            if sent != Sent::Note {
                self.sent.push_back((sent, Instant::now()));
            }
        }
        if any {
            self.doorbell.ring_if_asleep();
        }
    }

    /// The next report.
    pub(super) fn report(&mut self) -> Option<Report<F>> {
        let report = self.mail.reports.pop()?;
        if let Some((Sent::Publish(view), _)) = self.sent.pop_front() {
            self.view = view;
        }
        self.flush();
        Some(report)
    }

    /// Has it taken in all that it was sent?
    pub(super) fn has_loaded(&self) -> bool {
        let sent = self.sent.iter().map(|(sent, _)| sent).chain(self.pending.iter().map(|(_, sent)| sent));
        self.is_dead || sent.into_iter().all(|sent| *sent != Sent::Load)
    }

    /// Since when it owes the first report that it owes, or takes nothing out of its box.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let owes = self.sent.front().map(|(_, since)| *since);
        owes.or(self.stalled).filter(|_| !self.is_dead)
    }

    /// Has it carried out all that it was sent?
    pub(super) fn is_done(&self) -> bool {
        self.is_dead || self.sent.is_empty() && self.pending.is_empty()
    }

    /// It has ended. What it has not carried out comes back.
    pub(super) fn bury(&mut self) -> Vec<Command<F>> {
        self.is_dead = true;
        self.sent.clear();
        let pending = self.pending.drain(..).map(|(command, _)| command);
        let mut back: Vec<Command<F>> = std::iter::from_fn(|| self.mail.commands.pop()).collect();
        back.extend(pending);
        back
    }

    /// What it has under way for a slot.
    pub(super) fn outstanding(&self, slot: LambdaSlot) -> u32 {
        if self.is_dead {
            return 0;
        }
        let lost = self.residue.get(&slot).copied().unwrap_or(0);
        self.counters.outstanding.get(slot).saturating_sub(lost)
    }

    /// What it has under way for a slot never settles: it is not counted any more.
    pub(super) fn write_off(&mut self, slot: LambdaSlot) {
        match self.counters.outstanding.get(slot) {
            0 => self.residue.remove(&slot),
            lost => self.residue.insert(slot, lost),
        };
    }
}
