//! Jobs: setting out, running, suspended for a call's answer, coming back, settled.

use lnic_wire::rpc::Status;

use super::outside::{GRACE_NS, MOST_WAIT_NS};
use super::{Arrival, Clock, Found, Path, Place, Ran, Stage, Way};
use crate::dispatcher::Refused;
use crate::frame::Frame;
use crate::handoff::{Call, End, Errand, Job, Jobs, Ticket};
use crate::ids::LambdaRef;
use crate::island::{CallTask, Context, Outcome};
use crate::lambda::{Answer, Failure, Target};
use crate::observe::DropReason;
use crate::observe::counters::LambdaCounters;

/// What came of running a job.
enum Progress {
    /// It is over.
    Done,
    /// It is over, and its lambda failed.
    Failed,
    /// It waits for the answer to a call.
    Suspended(Context),
}

impl<F: Frame, C: Clock> Path<F, C> {
    /// Makes a job of a frame and sends it on its way.
    #[inline(never)]
    pub(super) fn set_out(&mut self, mut frame: F, way: Way) {
        let Some((request, lambda)) = self.staged.take() else {
            return self.finish(frame, End::Drop(DropReason::LambdaGone));
        };
        let job = match way {
            // It has run already: the job is needed, whatever is in store.
            Way::Suspended(_) => Some(self.store.job().unwrap_or_else(Job::spare)),
            Way::Place(_) => self.store.job(),
        };
        let Some(mut job) = job else {
            let retry_us = self.retry_us(lambda);
            let arrival = Arrival::of(&request, &self.attachments);
            let end = arrival.refuse(&mut frame, DropReason::LambdaBusy, Status::Busy, retry_us);
            if let Some(count) = self.counters.lambda(lambda.slot) {
                count.busy.add(1);
            }
            return self.finish_request(frame, request.message, end);
        };
        job.begin(lambda, Errand::Frame { frame, request, end: None });
        self.counters.outstanding.begin(lambda.slot);
        match way {
            Way::Place(place) => self.send_to(place, job),
            Way::Suspended(context) => {
                self.counters.suspended.add(1);
                self.suspend(job, context);
            }
        }
    }

    /// Sends a job where its lambda is.
    pub(super) fn send_to(&mut self, place: Place, job: Box<Job<F>>) {
        let refused = match place {
            Place::Here => return self.execute(job),
            Place::Client(at) => match self.clients.get_mut(usize::from(at)) {
                Some(client) => {
                    self.counters.handed_over.add(1);
                    client.send(job).err()
                }
                None => Some(job),
            },
            Place::Dispatcher => match &mut self.dispatcher {
                Some(dispatcher) => match dispatcher.queue(job) {
                    Ok(()) => None,
                    Err((Refused::Gone, job)) => return self.refuse_gone(job),
                    Err((Refused::QueueFull | Refused::NoRoom, job)) => Some(job),
                },
                None => Some(job),
            },
        };
        if let Some(job) = refused {
            self.refuse_busy(job);
        }
    }

    /// A job that found no room: its caller is told when to ask again.
    #[cold]
    fn refuse_busy(&mut self, mut job: Box<Job<F>>) {
        let retry_us = self.retry_us(job.lambda);
        if let Some(count) = self.counters.lambda(job.lambda.slot) {
            count.busy.add(1);
        }
        self.refuse(&mut job, DropReason::LambdaBusy, Status::Busy, retry_us);
        self.settle(job);
    }

    /// A job whose lambda has no NPU left.
    #[cold]
    pub(super) fn refuse_gone(&mut self, mut job: Box<Job<F>>) {
        if let Some(count) = self.counters.lambda(job.lambda.slot) {
            count.unavailable.add(1);
        }
        self.refuse(&mut job, DropReason::LambdaGone, Status::Unavailable, 0);
        self.settle(job);
    }

    /// Tells a job's caller a status.
    #[cold]
    fn refuse(&self, job: &mut Job<F>, reason: DropReason, status: Status, retry_us: u16) {
        match &mut job.errand {
            Errand::Frame { frame, request, end } => {
                let arrival = Arrival::of(request, &self.attachments);
                *end = Some(arrival.refuse(frame, reason, status, retry_us));
            }
            Errand::Call { call, .. } | Errand::Ask { call, .. } => call.answer(status.raw(), &[]),
            Errand::Reply { refused, .. } => *refused = Some(reason),
            Errand::Spare | Errand::Recall => {}
        }
    }

    /// After how many microseconds a caller should ask again.
    fn retry_us(&self, lambda: LambdaRef) -> u16 {
        let wait_ns = self.dispatcher.as_ref().map_or(0, |dispatcher| dispatcher.wait_ns(lambda));
        u16::try_from(wait_ns.div_ceil(1000)).unwrap_or(u16::MAX).max(1)
    }

    /// Runs a job on this lcore's NPU. `mark_ns` is when the NPU became free.
    pub(super) fn execute(&mut self, mut job: Box<Job<F>>) {
        let lambda = job.lambda;
        if let Some(loaded) = job.loaded.take() {
            self.npu.load(lambda, loaded);
        }
        if matches!(job.errand, Errand::Recall) {
            job.loaded = self.npu.unload(lambda);
            return self.settle(job);
        }
        let Some(count) = self.counters.lambda(lambda.slot) else {
            self.refuse(&mut job, DropReason::LambdaGone, Status::Unavailable, 0);
            return self.done(job);
        };
        if !self.quarantine.state(lambda.slot).may_go_on() {
            count.unavailable.add(1);
            self.refuse(&mut job, DropReason::LambdaQuarantined, Status::Unavailable, 0);
            return self.done(job);
        }
        let start = self.mark_ns;
        let stage = Stage { attachments: &self.attachments, counters: count, us_per_fuel: self.us_per_fuel };
        let (progress, fuel) = match &mut job.errand {
            Errand::Frame { frame, request, end } => {
                let arrival = Arrival::of(request, &self.attachments);
                if let Some(times) = self.counters.times(lambda.slot) {
                    times.queueing.record(start.saturating_sub(request.arrival_ns), 1);
                }
                if arrival.is_late(start) {
                    count.late.add(1);
                    *end = Some(arrival.refuse(frame, DropReason::LambdaBusy, Status::DeadlineExceeded, 0));
                    return self.done(job);
                }
                let found = Found::of(request, lambda);
                let (ran, fuel) = arrival.run_job(&mut self.npu, &stage, found, frame);
                (Progress::of(ran, end), fuel)
            }
            Errand::Call { call, .. } => {
                if start >= call.deadline_ns {
                    count.late.add(1);
                    call.answer(Status::DeadlineExceeded.raw(), &[]);
                    return self.done(job);
                }
                let task = CallTask { request: call.request(), time_ns: start };
                let (outcome, fuel) = self.npu.run_call(lambda, &task);
                if !matches!(outcome, Outcome::Gone | Outcome::Busy) {
                    count.invocations.add(1);
                }
                (answer(outcome, fuel, call, count), fuel)
            }
            // Nobody's to run.
            Errand::Spare | Errand::Ask { .. } | Errand::Reply { .. } | Errand::Recall => (Progress::Done, 0),
        };
        self.account(&mut job, fuel);
        self.proceed(job, progress);
    }

    /// Adds the time since `mark_ns` to a job's account.
    #[inline]
    fn account(&mut self, job: &mut Job<F>, fuel: u64) {
        let now = self.clock.now_ns();
        // Never 0: a scheduler takes that for not having run.
        let used_ns = now.saturating_sub(self.mark_ns).max(1);
        self.mark_ns = now;
        job.used_ns += used_ns;
        self.counters.npu_ns.add(used_ns);
        if let Some(count) = self.counters.lambda(job.lambda.slot) {
            count.npu_ns.add(used_ns);
        }
        self.npu.account(job.lambda, fuel, used_ns);
    }

    fn proceed(&mut self, job: Box<Job<F>>, progress: Progress) {
        match progress {
            Progress::Suspended(context) => {
                self.counters.suspended.add(1);
                return self.suspend(job, context);
            }
            Progress::Failed => {
                self.quarantine.record_failure(job.lambda.slot, self.mark_ns);
            }
            Progress::Done => {}
        }
        if let Some(times) = self.counters.times(job.lambda.slot) {
            times.service.record(job.used_ns, 1);
        }
        self.done(job);
    }

    /// Keeps a job until the answer to its lambda's call comes.
    fn suspend(&mut self, mut job: Box<Job<F>>, mut context: Context) {
        loop {
            let lambda = job.lambda;
            let now = self.clock.now_ns();
            let pending = self.npu.pending(lambda, context);
            let timeout_us = pending.map_or(0, |call| call.timeout_us);
            let is_outside = pending.is_some_and(|call| matches!(call.target, Target::Service(_)));
            let most_ns = if is_outside { MOST_WAIT_NS } else { u64::MAX };
            let wait_ns = (u64::from(timeout_us) * 1000).min(most_ns);
            // No longer than its own caller: lambdas that call each other in a circle end with the first of them.
            let deadline_ns = (now + wait_ns).min(job.deadline_ns());
            let wakes_ns = deadline_ns.saturating_add(if is_outside { GRACE_NS } else { 0 });
            match self.suspended.insert(job, context, wakes_ns) {
                Ok(ticket) => return self.call(lambda, context, ticket, deadline_ns),
                Err(back) => job = back,
            }
            self.mark_ns = now;
            match self.resume(&mut job, context, Answer::Failed(Status::ResourceExhausted.raw())) {
                Progress::Suspended(again) => context = again,
                progress => return self.proceed(job, progress),
            }
        }
    }

    /// Sends a suspended lambda's call or request on its way.
    fn call(&mut self, caller: LambdaRef, context: Context, ticket: Ticket, deadline_ns: u64) {
        let refused = 'refused: {
            let Some(pending) = self.npu.pending(caller, context) else { break 'refused Status::Internal };
            if let Some(count) = self.counters.lambda(caller.slot) {
                match pending.target {
                    Target::Lambda(_) => count.calls.add(1),
                    Target::Service(_) => count.requests.add(1),
                }
            }
            let lambda = match pending.target {
                Target::Lambda(id) => match self.directory.find(id) {
                    Some(lambda) => lambda,
                    None => break 'refused Status::Unimplemented,
                },
                Target::Service(_) => caller,
            };
            let Some(mut call) = self.store.call() else { break 'refused Status::ResourceExhausted };
            let Some(mut job) = self.store.job() else {
                self.store.keep_call(call);
                break 'refused Status::ResourceExhausted;
            };
            if !call.fill(pending.request, deadline_ns) {
                self.store.keep_call(call);
                self.store.keep_job(job);
                break 'refused Status::InvalidArgument;
            }
            job.begin(
                lambda,
                match pending.target {
                    Target::Lambda(id) => Errand::Call { call, ticket, id },
                    Target::Service(service) => Errand::Ask { call, ticket, service },
                },
            );
            self.counters.outstanding.begin(lambda.slot);
            // Not run from here, however near its lambda is: calls could nest without end.
            self.calls.push_back(job);
            return;
        };
        // Nobody answers: as if the answer had come.
        self.refusals.push_back((ticket, refused));
    }

    /// Sends off what lambdas have called for, and resumes those whose call went nowhere. True if there were any.
    pub(super) fn run_calls(&mut self) -> bool {
        // As many as there were: those that they cause wait for the next turn.
        let (calls, refusals) = (self.calls.len(), self.refusals.len());
        if calls + refusals == 0 {
            return false;
        }
        self.mark_ns = self.clock.now_ns();
        let mut any = refusals > 0;
        for _ in 0..calls {
            let Some(job) = self.calls.pop_front() else { break };
            any |= self.set_out_call(job);
        }
        for _ in 0..refusals {
            let Some((ticket, status)) = self.refusals.pop_front() else { break };
            self.wake(ticket, Answer::Failed(status.raw()));
        }
        any
    }

    /// Sends off a call, to whom its ID leads now. One for a lambda that sleeps waits on: false then.
    fn set_out_call(&mut self, mut job: Box<Job<F>>) -> bool {
        let Errand::Call { id, ref call, .. } = job.errand else {
            self.set_out_request(job);
            return true;
        };
        let deadline_ns = call.deadline_ns;
        let Some(lambda) = self.directory.find(id) else {
            self.refuse(&mut job, DropReason::LambdaGone, Status::Unimplemented, 0);
            self.settle(job);
            return true;
        };
        if lambda != job.lambda {
            self.counters.outstanding.begin(lambda.slot);
            self.counters.outstanding.end(job.lambda.slot);
            job.lambda = lambda;
        }
        if self.quarantine.state(lambda.slot).sleeps() {
            if self.mark_ns >= deadline_ns {
                self.refuse_gone(job);
                return true;
            }
            self.ask_to_wake(lambda.slot);
            self.calls.push_back(job);
            return false;
        }
        let place = self.places.get(lambda.slot.index()).copied().unwrap_or_default();
        self.send_to(place, job);
        true
    }

    /// Wakes those whose time is up. True if there were any.
    pub(super) fn wake_late(&mut self) -> bool {
        if self.suspended.is_empty() {
            return false;
        }
        let now = self.clock.now_ns();
        let mut any = false;
        while let Some(waiting) = self.suspended.take_late(now) {
            any = true;
            self.mark_ns = now;
            let (mut job, context) = (waiting.job, waiting.context);
            let late = Answer::Failed(Status::DeadlineExceeded.raw());
            if self.waits_outside(job.lambda, context) {
                self.count_request(job.lambda, &late);
            } else if let Some(count) = self.counters.lambda(job.lambda.slot) {
                count.calls_timed_out.add(1);
            }
            let progress = self.resume(&mut job, context, late);
            self.proceed(job, progress);
        }
        any
    }

    /// Does it wait for a service, and not for another lambda?
    fn waits_outside(&self, lambda: LambdaRef, context: Context) -> bool {
        let pending = self.npu.pending(lambda, context);
        pending.is_some_and(|pending| matches!(pending.target, Target::Service(_)))
    }

    fn wake(&mut self, ticket: Ticket, answer: Answer<'_>) {
        // Its time may have been up before.
        let Some(waiting) = self.suspended.take(ticket) else { return };
        let (mut job, context) = (waiting.job, waiting.context);
        if self.waits_outside(job.lambda, context) {
            self.count_request(job.lambda, &answer);
        }
        let progress = self.resume(&mut job, context, answer);
        self.proceed(job, progress);
    }

    /// Goes on with a suspended job.
    fn resume(&mut self, job: &mut Job<F>, context: Context, with: Answer<'_>) -> Progress {
        let lambda = job.lambda;
        let Some(count) = self.counters.lambda(lambda.slot) else { return Progress::Done };
        let stage = Stage { attachments: &self.attachments, counters: count, us_per_fuel: self.us_per_fuel };
        let (progress, fuel) = match &mut job.errand {
            Errand::Frame { frame, request, end } => {
                let arrival = Arrival::of(request, &self.attachments);
                let found = Found::of(request, lambda);
                let task = arrival.task(found, frame);
                let (outcome, fuel) = self.npu.resume(lambda, context, with, Some(&task));
                let ran = arrival.judge(outcome, &stage, found.egress, fuel, frame);
                (Progress::of(ran, end), fuel)
            }
            Errand::Call { call, .. } => {
                let (outcome, fuel) = self.npu.resume(lambda, context, with, None);
                (answer(outcome, fuel, call, count), fuel)
            }
            Errand::Spare | Errand::Ask { .. } | Errand::Reply { .. } | Errand::Recall => {
                return Progress::Done;
            }
        };
        self.account(job, fuel);
        progress
    }

    /// A job that this lcore's NPU is done with.
    fn done(&mut self, job: Box<Job<F>>) {
        if let Some(dispatcher) = &mut self.dispatcher {
            dispatcher.completed_here(&job);
        }
        self.settle(job);
    }

    /// Gives a job back to whom it came from; if that is this lcore, puts its frame where it ends, or wakes its caller.
    pub(super) fn settle(&mut self, mut job: Box<Job<F>>) {
        if let Some(server) = job.route.pop() {
            return self.servers[usize::from(server)].give_back(job);
        }
        self.counters.outstanding.end(job.lambda.slot);
        match std::mem::replace(&mut job.errand, Errand::Spare) {
            Errand::Frame { frame, request, end } => {
                let end = end.unwrap_or(End::Drop(DropReason::LambdaGone));
                self.finish_request(frame, request.message, end);
            }
            Errand::Call { call, ticket, .. } | Errand::Ask { call, ticket, .. } => {
                self.answered(&call, ticket);
                self.store.keep_call(call);
            }
            Errand::Reply { frame, refused, .. } => self.end_reply(frame, refused),
            Errand::Recall => {
                if let Some(dispatcher) = &mut self.dispatcher {
                    dispatcher.recalled(job.lambda, job.loaded.take());
                }
            }
            Errand::Spare => {}
        }
        self.store.keep_job(job);
    }

    /// A call that came back: one that nobody answered leaves its caller waiting, for its time to be up.
    fn answered(&mut self, call: &Call, ticket: Ticket) {
        match call.status {
            Some(0) => self.wake(ticket, Answer::Reply(&call.reply)),
            Some(status) => self.wake(ticket, Answer::Failed(status)),
            None => {}
        }
    }

    /// Takes back what other lcores are done with. True if there was any.
    pub(super) fn take_back(&mut self) -> bool {
        (0..self.clients.len()).fold(false, |any, at| self.take_back_from(at) | any)
    }

    /// The same over one client end.
    pub(super) fn take_back_from(&mut self, at: usize) -> bool {
        let mut jobs = Jobs::new();
        self.clients[at].receive(&mut jobs);
        if jobs.is_empty() {
            return false;
        }
        self.mark_ns = self.clock.now_ns();
        for job in jobs.drain(..) {
            self.come_back(at, job);
        }
        true
    }

    /// A job is back from another lcore.
    pub(super) fn come_back(&mut self, client: usize, job: Box<Job<F>>) {
        if let Some(dispatcher) = &mut self.dispatcher {
            dispatcher.came_back(client, &job);
        }
        self.settle(job);
    }

    /// Takes jobs from other lcores, to run or to queue them. True if there were any.
    pub(super) fn take_jobs(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.servers.len() {
            let mut jobs = Jobs::new();
            self.servers[at].receive(&mut jobs);
            if jobs.is_empty() {
                continue;
            }
            if !any {
                any = true;
                self.mark_ns = self.clock.now_ns();
            }
            self.counters.taken_over.add(jobs.len() as u64);
            for mut job in jobs.drain(..) {
                #[expect(clippy::cast_possible_truncation, reason = "an lcore has fewer than 256 links")]
                if job.route.try_push(at as u8).is_err() {
                    // Cannot be: no lcore passes a job on twice. It goes back the way it came.
                    self.servers[at].give_back(job);
                } else if matches!(job.errand, Errand::Ask { .. }) {
                    self.ask(job);
                } else if matches!(job.errand, Errand::Reply { .. }) {
                    self.take_reply_of_other(job);
                } else if self.dispatcher.is_some() {
                    let place = self.places.get(job.lambda.slot.index()).copied().unwrap_or_default();
                    self.send_to(place, job);
                } else {
                    self.execute(job);
                }
            }
        }
        any
    }
}

impl Progress {
    /// Notes a frame's end.
    #[inline]
    fn of(ran: Ran, end: &mut Option<End>) -> Self {
        match ran {
            Ran::End(this) => {
                *end = Some(this);
                Self::Done
            }
            Ran::Failed(this) => {
                *end = Some(this);
                Self::Failed
            }
            Ran::Suspended(context) => Self::Suspended(context),
        }
    }
}

/// What a lambda decided about another's call. DROP is no answer at all.
fn answer(outcome: Outcome<'_>, fuel: u64, call: &mut Call, count: &LambdaCounters) -> Progress {
    if !matches!(outcome, Outcome::Suspended(_)) {
        count.fuel.add(fuel);
    }
    match outcome {
        Outcome::Forward { headers, payload } => {
            count.forwarded.add(1);
            call.answer(headers.rpc.status, payload);
        }
        Outcome::Drop => count.dropped.add(1),
        // A call has no slot.
        Outcome::ToHost | Outcome::BadVerdict | Outcome::Answer { .. } => {
            count.bad_verdicts.add(1);
            call.answer(Status::Internal.raw(), &[]);
        }
        Outcome::Failed(Failure::Trap) => {
            count.traps.add(1);
            call.answer(Status::Internal.raw(), &[]);
            return Progress::Failed;
        }
        Outcome::Failed(Failure::Budget) => {
            count.exhausted.add(1);
            call.answer(Status::ResourceExhausted.raw(), &[]);
            return Progress::Failed;
        }
        Outcome::Busy => {
            count.busy.add(1);
            call.answer(Status::Busy.raw(), &[]);
        }
        Outcome::Gone => {
            count.unavailable.add(1);
            call.answer(Status::Unavailable.raw(), &[]);
        }
        Outcome::Suspended(context) => return Progress::Suspended(context),
    }
    Progress::Done
}
