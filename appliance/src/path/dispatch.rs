//! The dispatcher's side of a path: jobs wait in fair order, and go to the NPUs that it feeds, this lcore's among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use super::{Clock, Path};
use crate::dispatcher::{Limits, Refused, Scheduler, Share, ShareError, Step};
use crate::frame::Frame;
use crate::handoff::{Errand, Flushed, Job};
use crate::ids::{Generation, LambdaRef, LambdaSlot, NpuId};
use crate::island::{Loaded, Quarantine, State};
use crate::observe::DropReason;

/// How long jobs are served before what they made leaves and the ports are polled again: neither replies nor arrivals with more
/// right to the NPU shall wait for the queues. `scripts/bench.sh isolation` shows what it is good for.
const SERVE_NS: u64 = 3_000;

/// How a dispatcher reaches an NPU.
#[derive(Clone, Debug)]
pub enum Feed {
    /// It is this lcore's own.
    Here,
    /// Over the client end with this index; the NPU's lcore says here how many of its requests are suspended.
    Client(u8, Arc<AtomicU32>),
}

/// An lcore that decides which request runs next, and where.
pub struct Dispatcher<F> {
    scheduler: Scheduler<Box<Job<F>>>,
    /// By NPU; `None` for those that another dispatcher feeds.
    feeds: Box<[Option<Feed>]>,
    /// Lambdas that are pinned and at no NPU now, by slot.
    held: Box<[Option<Box<Loaded>>]>,
    generations: Box<[Generation]>,
    /// NPU at the other end of each client end.
    npu_of_client: Box<[Option<NpuId>]>,
    /// Requests of each NPU that the scheduler knows to be suspended.
    suspended: Box<[u32]>,
    /// Lambdas that have lost their instance, for control.
    lost: Arc<ArrayQueue<LambdaSlot>>,
    quarantine: Arc<Quarantine>,
    here: Option<NpuId>,
    /// Instances in `held` that came after their lambda had got a home.
    fresh: u32,
}

/// What to do next.
enum Next<F> {
    Send(u8, Box<Job<F>>),
    RunHere(Box<Job<F>>),
    RecallHere(LambdaRef),
    RecallFrom(u8, LambdaRef),
    Nothing,
}

impl<F> Dispatcher<F> {
    /// A dispatcher for the NPUs that have a feed, with room for `lambdas` slots. `lost` has a place for each.
    #[must_use]
    pub fn new(
        limits: Limits,
        feeds: Vec<Option<Feed>>,
        lambdas: usize,
        lost: Arc<ArrayQueue<LambdaSlot>>,
        quarantine: Arc<Quarantine>,
    ) -> Self {
        let mut scheduler = Scheduler::new(feeds.len(), limits);
        scheduler.provide(lambdas);
        let mut npu_of_client = Vec::new();
        let mut here = None;
        for (feed, npu) in feeds.iter().zip((0..).map(NpuId::new)) {
            match feed {
                None => {}
                Some(Feed::Here) => here = Some(npu),
                Some(Feed::Client(at, _)) => {
                    let at = usize::from(*at);
                    npu_of_client.resize(npu_of_client.len().max(at + 1), None);
                    npu_of_client[at] = Some(npu);
                }
            }
        }
        // Beside others the NPU here takes one at a time, between two rounds of feeding them.
        if let Some(here) = here
            && !npu_of_client.is_empty()
        {
            scheduler.limit_npu(here, 1);
        }
        Self {
            scheduler,
            here,
            suspended: vec![0; feeds.len()].into(),
            feeds: feeds.into(),
            held: (0..lambdas).map(|_| None).collect(),
            generations: vec![Generation::default(); lambdas].into(),
            npu_of_client: npu_of_client.into(),
            lost,
            quarantine,
            fresh: 0,
        }
    }

    /// Deploys a lambda; a pinned one comes with its instance, which goes to its first home with its first request. It stays where it
    /// is if the share is refused.
    pub fn deploy(
        &mut self,
        lambda: LambdaRef,
        share: Share,
        loaded: &mut Option<Box<Loaded>>,
    ) -> Result<(), ShareError> {
        let slot = lambda.slot.index();
        if slot >= self.held.len() {
            return Err(ShareError::Slot { slot: lambda.slot.raw() });
        }
        self.scheduler.deploy(lambda.slot, share)?;
        self.generations[slot] = lambda.generation;
        self.held[slot] = loaded.take();
        Ok(())
    }

    /// Takes out one job that waits for a lambda.
    pub(super) fn take(&mut self, lambda: LambdaRef) -> Option<Box<Job<F>>> {
        if !self.has(lambda) {
            return None;
        }
        self.scheduler.take(lambda.slot)
    }

    /// Forgets a lambda that nothing waits for. Returns its instance, if it is here.
    pub(super) fn remove(&mut self, lambda: LambdaRef) -> Option<Box<Loaded>> {
        if !self.has(lambda) {
            return None;
        }
        let held = self.held[lambda.slot.index()].take();
        if held.is_some() && self.scheduler.home(lambda.slot).is_some() {
            self.fresh = self.fresh.saturating_sub(1);
        }
        // Nothing waits.
        self.scheduler.remove(lambda.slot, drop);
        held
    }

    fn has(&self, lambda: LambdaRef) -> bool {
        self.generations.get(lambda.slot.index()) == Some(&lambda.generation)
    }

    /// Queues a job; given back if there is no room, or no NPU for it.
    #[inline]
    pub(super) fn queue(&mut self, job: Box<Job<F>>) -> Result<(), (Refused, Box<Job<F>>)> {
        let priority = match &job.errand {
            Errand::Frame { request, .. } => request.terms.priority,
            _ => 0,
        };
        self.scheduler.queue(job.lambda.slot, priority, job)
    }

    /// How long a request that came now would wait for others of its lambda.
    pub(super) fn wait_ns(&self, lambda: LambdaRef) -> u64 {
        self.scheduler.wait_cycles(lambda.slot)
    }

    /// This lcore's NPU is done with a job.
    #[inline]
    pub(super) fn completed_here(&mut self, job: &Job<F>) {
        if let Some(here) = self.here {
            self.scheduler.complete(here, job.lambda.slot, job.used_ns);
        }
    }

    /// A job came back over a client end.
    #[inline]
    pub(super) fn came_back(&mut self, client: usize, job: &Job<F>) {
        if matches!(job.errand, Errand::Recall) {
            return;
        }
        if let Some(&Some(npu)) = self.npu_of_client.get(client) {
            self.scheduler.complete(npu, job.lambda.slot, job.used_ns);
        }
    }

    /// The client end that leads to an NPU.
    fn client_of(&self, npu: NpuId) -> Option<usize> {
        self.npu_of_client.iter().position(|at| *at == Some(npu))
    }

    /// A recalled lambda came back.
    pub(super) fn recalled(&mut self, lambda: LambdaRef, loaded: Option<Box<Loaded>>) {
        // One that came back without has lost it, and may have been given a fresh one meanwhile.
        if let Some(held) = self.held.get_mut(lambda.slot.index())
            && loaded.is_some()
        {
            *held = loaded;
        }
        self.scheduler.recalled(lambda.slot);
    }

    /// True if nothing waits for an NPU.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.scheduler.idle()
    }

    /// What to do next.
    #[inline]
    fn next(&mut self) -> Next<F> {
        match self.scheduler.next() {
            Step::Run(dispatch) => {
                let mut job = dispatch.item;
                if dispatch.carry || self.fresh > 0 {
                    job.loaded = self.held.get_mut(dispatch.slot.index()).and_then(Option::take);
                    self.fresh =
                        self.fresh.saturating_sub(u32::from(!dispatch.carry && job.loaded.is_some()));
                }
                match &self.feeds[dispatch.npu.index()] {
                    Some(Feed::Client(at, _)) => Next::Send(*at, job),
                    _ => Next::RunHere(job),
                }
            }
            Step::Recall { npu, slot } => {
                let lambda = LambdaRef { slot, generation: self.generations[slot.index()] };
                match &self.feeds[npu.index()] {
                    Some(Feed::Client(at, _)) => Next::RecallFrom(*at, lambda),
                    _ => Next::RecallHere(lambda),
                }
            }
            Step::Wait => Next::Nothing,
        }
    }

    /// Requests that are suspended leave their NPU to others.
    fn count_suspended(&mut self, here: u32) {
        for (at, feed) in self.feeds.iter().enumerate() {
            let suspended = match feed {
                None => continue,
                Some(Feed::Here) => here,
                Some(Feed::Client(_, suspended)) => suspended.load(Relaxed),
            };
            if suspended != self.suspended[at] {
                self.scheduler.suspended(NpuId::new(at as u16), suspended);
                self.suspended[at] = suspended;
            }
        }
    }

    /// Writes an NPU off, and tells control who has lost an instance with it. Returns the jobs that no NPU is left for.
    fn npu_died(&mut self, npu: NpuId) -> Vec<Box<Job<F>>> {
        let (quarantine, lost_ones) = (&self.quarantine, &self.lost);
        self.scheduler.npu_dead(npu, |loss| {
            if loss.home {
                // One that is quarantined stays so, with whatever instance.
                if quarantine.state(loss.slot) == State::Active {
                    quarantine.set(loss.slot, State::Lost);
                }
                // As many places as lambdas: there is room.
                let _ = lost_ones.push(loss.slot);
            }
        });
        let mut stranded = Vec::new();
        self.scheduler.drain_stranded(|job| stranded.push(job));
        stranded
    }

    /// Takes a fresh instance for a lambda that has lost its own.
    pub(super) fn revive(&mut self, lambda: LambdaRef, loaded: Box<Loaded>) {
        let slot = lambda.slot.index();
        if self.has(lambda) {
            let had = self.held[slot].replace(loaded).is_some();
            self.fresh += u32::from(!had && self.scheduler.home(lambda.slot).is_some());
            if self.quarantine.state(lambda.slot) == State::Lost {
                self.quarantine.set(lambda.slot, State::Active);
            }
        }
    }
}

impl<F: Frame, C: Clock> Path<F, C> {
    /// What there is to do beside polling ports: links to other lcores, calls, the dispatcher. True if there was anything.
    #[inline]
    pub fn turn(&mut self) -> bool {
        let obeyed = self.obey();
        let waited = !self.waiting_room.is_empty() && self.serve_waiting();
        let joined = self.is_joined && self.turn_joined();
        let messages =
            self.messages.as_ref().is_some_and(|messages| messages.is_active()) && self.send_messages();
        obeyed | waited | joined | messages
    }

    fn turn_joined(&mut self) -> bool {
        let mut busy = self.take_back();
        busy |= self.take_jobs();
        busy |= self.run_calls();
        busy |= self.outside.as_ref().is_some_and(|it| !it.is_at_rest()) && self.serve_outside();
        busy |= self.wake_late();
        busy |= self.dispatch();
        self.suspended_here.store(self.suspended.len(), Relaxed);
        self.flush_links();
        self.flush_ports();
        busy
    }

    /// An NPU's lcore has ended, with what was on it.
    #[cold]
    pub(super) fn bury(&mut self, npu: NpuId) {
        let at = self.dispatcher.as_ref().and_then(|dispatcher| dispatcher.client_of(npu));
        if let Some(at) = at {
            // What was done before comes back.
            while self.take_back_from(at) {}
            let lost = self.clients[at].sever();
            self.counters.drop_frames(DropReason::NpuLost, lost.frames.into());
            (0..lost.jobs).for_each(|_| self.store.keep_job(Job::spare()));
        }
        let Some(dispatcher) = &mut self.dispatcher else { return };
        for job in dispatcher.npu_died(npu) {
            self.refuse_gone(job);
        }
    }

    /// Serves the queues for a while. True if anything ran or was handed over.
    fn dispatch(&mut self) -> bool {
        let Some(dispatcher) = &mut self.dispatcher else { return false };
        if dispatcher.is_idle() {
            return false;
        }
        dispatcher.count_suspended(self.suspended.len());
        self.mark_ns = self.clock.now_ns();
        let until = self.mark_ns + SERVE_NS;
        let mut any = false;
        let mut mine = None;
        while let Some(dispatcher) = &mut self.dispatcher {
            match dispatcher.next() {
                Next::Send(at, job) => {
                    any = true;
                    self.counters.handed_over.add(1);
                    if let Err(job) = self.clients[usize::from(at)].send(job) {
                        // A link holds more than an NPU may have in flight: this cannot be.
                        self.come_back(usize::from(at), job);
                    }
                    continue;
                }
                Next::RunHere(job) if self.clients.is_empty() => {
                    any = true;
                    self.execute(job);
                    if self.mark_ns >= until {
                        break;
                    }
                    continue;
                }
                // The others are fed first.
                Next::RunHere(job) => {
                    let Some(first) = mine.replace(job) else { continue };
                    // A second one: a suspended request has ended since they were counted.
                    any = true;
                    self.execute(first);
                    if self.mark_ns < until {
                        continue;
                    }
                }
                Next::RecallHere(lambda) => {
                    let loaded = self.npu.unload(lambda);
                    dispatcher.recalled(lambda, loaded);
                    continue;
                }
                Next::RecallFrom(at, lambda) => {
                    let mut job = self.store.job().unwrap_or_else(Job::spare);
                    job.begin(lambda, Errand::Recall);
                    self.counters.outstanding.begin(lambda.slot);
                    if let Err(job) = self.clients[usize::from(at)].send(job) {
                        self.settle(job);
                    }
                    continue;
                }
                Next::Nothing => {}
            }
            let Some(job) = mine.take() else { break };
            any = true;
            self.flush_links();
            self.execute(job);
            if self.mark_ns >= until {
                break;
            }
            self.take_back();
        }
        any
    }

    /// Lets go of what was handed over or given back.
    fn flush_links(&mut self) {
        let counters = &self.counters;
        let count = |flushed: Flushed| {
            if flushed.rang {
                counters.doorbells.add(1);
            }
        };
        self.clients.iter_mut().for_each(|client| count(client.flush()));
        self.servers.iter_mut().for_each(|server| count(server.flush()));
    }

    /// When a suspended lambda is to be woken, or something is to be sent for a message, or done for a request outside: the lcore must not
    /// sleep longer. `None` if nothing is.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let suspended = (!self.suspended.is_empty()).then(|| self.suspended.next_deadline_ns());
        let messages = self.messages.as_ref().and_then(|messages| messages.next_ns());
        let outside = self.outside.as_ref().and_then(|outside| outside.next_deadline_ns());
        [suspended, messages, outside, self.waiting_room.next_deadline_ns()].into_iter().flatten().min()
    }

    /// Nanoseconds since the appliance started.
    pub fn now_ns(&mut self) -> u64 {
        self.clock.now_ns()
    }

    /// True if nothing of this lcore's waits, runs elsewhere or is suspended.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.suspended.is_empty()
            && self.waiting_room.is_empty()
            && self.outside.as_ref().is_none_or(|outside| outside.is_at_rest())
            && self.messages.as_ref().is_none_or(|messages| messages.is_at_rest())
            && self.dispatcher.as_ref().is_none_or(Dispatcher::is_idle)
            && self.clients.iter().all(|client| client.is_idle())
    }
}
