//! Requests: the window, cookies, slots, fragments.

use lnic_wire::rpc::{self, Header, Kind, Status};

use super::exchange::{MESSAGE_FLAGS, State};
use super::session::{Record, SessionRef};
use super::types::{Action, Call, Dropped, Message, Origin, Slots, TenantId, Transmit};
use super::{Arrival, Server};
use crate::{Head, Options, Shape};

impl<R: Copy> Arrival<'_, R> {
    pub(super) fn call(&self, tenant: TenantId, origin: Origin) -> Call<R> {
        Call {
            source: *self.source,
            route: self.route,
            header: *self.header,
            trace: self.options.trace,
            tenant,
            origin,
            allowance_bytes: self.allowance_bytes(),
            validated: self.validated,
        }
    }

    /// Answers with a status, if the caller wants to know. Of a message's fragments only the first and those that come again
    /// are answered: all of them would be told the same.
    fn refuse(&self, status: Status, retry_us: u16) -> Action<R> {
        let header = self.header;
        if header.flags & rpc::NOREPLY != 0 {
            Action::Drop(Dropped::NoReply)
        } else if header.fragment_index == 0 || header.flags & rpc::RTX != 0 {
            Action::Send(Head::status(header, status, retry_us))
        } else {
            Action::Drop(Dropped::Refused)
        }
    }
}

impl<R: Copy + Default> Server<R> {
    pub(super) fn request<S: Slots>(&mut self, arrival: &Arrival<'_, R>, slots: &mut S) -> Action<R> {
        let header = arrival.header;
        let Some(shape) = Shape::of(header).filter(|_| header.accepts(arrival.payload.len())) else {
            return Action::Drop(Dropped::Shape);
        };
        if let Some(entry) = self.exchanges.find(&self.secret, arrival.source, header.request) {
            return self.known(arrival, shape, entry, slots);
        }
        let is_frame = shape.fragments() == 1;
        if !is_frame && !arrival.validated {
            return self.challenged(arrival);
        }
        let once = header.flags & (rpc::AT_MOST_ONCE | rpc::IDEMPOTENT) == rpc::AT_MOST_ONCE;
        let mut session = None;
        if once {
            match self.session(arrival) {
                Ok(found) => session = Some(found),
                Err(action) => return action,
            }
        }
        let Some(tenant) = slots.tenant(header.lambda).filter(|tenant| tenant.0 < self.limits.tenants) else {
            return arrival.refuse(Status::Unimplemented, 0);
        };
        if !is_frame {
            return self.open(arrival, shape, session, tenant, slots);
        }
        let origin = session.map_or(Origin::Plain, |session| {
            self.open_record(session, header.sequence());
            Origin::Window(session)
        });
        Action::Run { call: arrival.call(tenant, origin), message: Message::Frame }
    }

    /// A challenge for a datagram; one that comes again is told the same.
    fn challenged(&self, arrival: &Arrival<'_, R>) -> Action<R> {
        let allowance_bytes = arrival.bytes.saturating_mul(crate::AMPLIFICATION);
        Action::Send(self.challenge(arrival.source, arrival.header, arrival.now_us, allowance_bytes))
    }

    /// The session of an at-most-once request that may run; or what to do instead.
    #[allow(clippy::result_large_err, reason = "the error is the answer, and is passed on")]
    fn session(&mut self, arrival: &Arrival<'_, R>) -> Result<SessionRef, Action<R>> {
        let Arrival { now_us, source, header, validated, .. } = *arrival;
        let (number, sequence) = (header.session(), header.sequence());
        if let Some(session) = self.sessions.find(&self.secret, source, number, validated, now_us) {
            return match self.sessions.record(session.entry, sequence) {
                Record::Unseen => self.earlier_life(arrival, true).map_or(Ok(session), Err),
                Record::Open => Err(self.in_progress(arrival)),
                Record::Replied(reply) => Err(self.replay(arrival, reply)),
                Record::Done | Record::Stale => Err(arrival.refuse(Status::Stale, 0)),
            };
        }
        if let Some(action) = self.earlier_life(arrival, false) {
            return Err(action);
        }
        if !validated && self.sessions.unvalidated() >= self.limits.sessions / 2 {
            return Err(self.challenged(arrival));
        }
        self.make_room_for_session(now_us);
        let busy = arrival.refuse(Status::Busy, self.limits.retry_us);
        if !self.enter(source) {
            return Err(busy);
        }
        self.sessions.insert(&self.secret, source, number, sequence, validated, now_us).ok_or_else(|| {
            self.leave(source);
            busy
        })
    }

    /// What to say to an at-most-once request that may have run in an earlier life of this server. A cookie of this life
    /// proves that it has not: its client would not have sent it again.
    fn earlier_life(&self, arrival: &Arrival<'_, R>, session_is_known: bool) -> Option<Action<R>> {
        if arrival.validated {
            return None;
        }
        if arrival.options.cookie.is_some() {
            return Some(self.challenged(arrival));
        }
        let again = arrival.header.flags & rpc::RTX != 0;
        let doubtful = match arrival.options.epoch {
            Some(epoch) => epoch != self.epoch,
            None => again && !session_is_known,
        };
        doubtful.then(|| arrival.refuse(Status::Stale, 0))
    }

    /// A request that runs came again. Who speaks cookies is told that nothing is missing.
    pub(super) fn in_progress(&self, arrival: &Arrival<'_, R>) -> Action<R> {
        if !arrival.validated || arrival.header.flags & rpc::RTX == 0 {
            return Action::Drop(Dropped::Duplicate);
        }
        let fragments = arrival.header.fragments().unwrap_or(1);
        Action::Send(Head::control(Kind::Nack, arrival.header, fragments, Options::default()))
    }

    /// Begins a message of several fragments.
    fn open<S: Slots>(
        &mut self,
        arrival: &Arrival<'_, R>,
        shape: Shape,
        session: Option<SessionRef>,
        tenant: TenantId,
        slots: &mut S,
    ) -> Action<R> {
        let Arrival { now_us, source, header, .. } = *arrival;
        if shape.message_bytes > self.limits.message_bytes || shape.fragments() > self.limits.fragments {
            return arrival.refuse(Status::ResourceExhausted, 0);
        }
        let busy = arrival.refuse(Status::Busy, self.limits.retry_us);
        if !self.make_room_for_exchange(tenant, slots) || !self.enter(source) {
            return busy;
        }
        let slot = match slots.take(header.lambda, shape.message_bytes) {
            Ok(slot) => slot,
            Err(refusal) => {
                self.leave(source);
                return arrival.refuse(refusal.status, refusal.retry_us);
            }
        };
        let Some(entry) = self.exchanges.insert(&self.secret, source, header, State::Receiving) else {
            slots.free(slot);
            self.leave(source);
            return busy;
        };
        self.tenants[usize::from(tenant.0)] += 1;
        if let Some(session) = session {
            self.open_record(session, header.sequence());
        }
        let exchange = self.exchanges.get_mut(entry);
        exchange.route = arrival.route;
        exchange.tenant = tenant;
        exchange.window = session;
        exchange.slot = Some(slot);
        exchange.trace = arrival.options.trace;
        exchange.opened_us = now_us;
        if header.budget_us() > 0 {
            exchange.budget_ends_us = now_us + u64::from(header.budget_us());
        }
        exchange.nack_us = self.limits.nack_us;
        exchange.incoming.reset(shape);
        self.wait_for_fragments(now_us, entry);
        self.place(arrival, entry, true, slots)
    }

    /// A fragment, or a request, of an exchange that is there.
    fn known<S: Slots>(
        &mut self,
        arrival: &Arrival<'_, R>,
        shape: Shape,
        entry: u32,
        slots: &mut S,
    ) -> Action<R> {
        let exchange = self.exchanges.get_mut(entry);
        let (header, first) = (arrival.header, &exchange.header);
        let alike = |header: &Header| {
            (header.lambda, header.message_length, header.fragment_bytes, header.flags & MESSAGE_FLAGS)
        };
        if alike(header) != alike(first) {
            return Action::Drop(Dropped::Inconsistent);
        }
        let again = header.flags & rpc::RTX != 0;
        match exchange.state {
            State::Receiving => {
                debug_assert_eq!(shape, exchange.incoming.shape(), "as in the header");
                self.place(arrival, entry, false, slots)
            }
            State::Running => self.in_progress(arrival),
            State::Sending if again => {
                // The caller waits, perhaps for all of the reply.
                if !exchange.outgoing.is_ready() {
                    exchange.outgoing.repeat();
                    self.exchanges.make_ready(entry);
                }
                Action::Kept
            }
            State::Replied(reply) if again => self.replay(arrival, reply),
            State::Sending | State::Replied(_) | State::Cancelled | State::Ended | State::Free => {
                Action::Drop(Dropped::Duplicate)
            }
        }
    }

    /// Moves a fragment to its place; the lambda runs once the message is whole.
    fn place<S: Slots>(
        &mut self,
        arrival: &Arrival<'_, R>,
        entry: u32,
        opens: bool,
        slots: &mut S,
    ) -> Action<R> {
        let Arrival { now_us, header, .. } = *arrival;
        let exchange = self.exchanges.get_mut(entry);
        let index = u32::from(header.fragment_index);
        let again = header.flags & rpc::RTX != 0;
        let granted = index < exchange.incoming.granted();
        if !granted || !exchange.incoming.take(index) {
            // The sender has heard nothing, or not the last NACK; or it speaks of an exchange that was given up. Fragments that
            // one NACK brought must not ask for more NACKs.
            return if again && now_us.saturating_sub(exchange.told_us) >= exchange.nack_us {
                exchange.told_us = now_us;
                Action::Send(self.ask(entry, true))
            } else {
                Action::Drop(if granted { Dropped::Duplicate } else { Dropped::Ungranted })
            };
        }
        let (offset, _) = exchange.incoming.shape().span(index);
        let Some(slot) = exchange.slot else { return Action::Drop(Dropped::Unknown) };
        slots.place(slot, offset, arrival.payload);
        exchange.trace = exchange.trace.or(arrival.options.trace);
        if exchange.incoming.is_complete() {
            exchange.state = State::Running;
            self.timers.disarm(entry);
            let exchange = self.exchanges.get(entry);
            let call = Call {
                source: exchange.source,
                route: exchange.route,
                header: exchange.header,
                trace: exchange.trace,
                tenant: exchange.tenant,
                origin: exchange.origin(entry),
                allowance_bytes: u32::MAX,
                validated: true,
            };
            return Action::Run { call, message: Message::Slot { slot, bytes: header.message_length } };
        }
        if let Some(asked_us) = exchange.asked_us.take()
            && again
        {
            let round_trip_us = now_us.saturating_sub(asked_us);
            exchange.nack_us = exchange.nack_us.max(round_trip_us).min(self.limits.wait_us);
        }
        self.wait_for_fragments(now_us, entry);
        let exchange = self.exchanges.get_mut(entry);
        let header = exchange.header;
        if opens && again {
            // The sender asks whether there is room: there is.
            exchange.told_us = now_us;
            return Action::Send(self.ask(entry, true));
        }
        match exchange.incoming.grant() {
            Some(total) => Action::Send(Head::control(Kind::Grant, &header, total, Options::default())),
            None => Action::Kept,
        }
    }

    /// Begins to wait for the next fragment.
    fn wait_for_fragments(&mut self, now_us: u64, entry: u32) {
        let exchange = self.exchanges.get_mut(entry);
        exchange.progress(now_us, self.limits.idle_us, self.limits.hold_us);
        exchange.wait_us = exchange.nack_us;
        let due_us = (now_us + exchange.wait_us).min(exchange.deadline_us);
        self.timers.arm(entry, now_us, due_us);
    }

    /// A NACK for what is missing of what may have been sent; a GRANT if that is nothing.
    fn ask(&mut self, entry: u32, tail: bool) -> Head {
        let exchange = self.exchanges.get_mut(entry);
        let header = exchange.header;
        match exchange.incoming.missing(tail) {
            Some((first, missing)) => Head::nack(&header, first, missing),
            None => Head::control(Kind::Grant, &header, exchange.incoming.granted(), Options::default()),
        }
    }

    /// No fragment of a request came for a while.
    pub(super) fn receiving_expired<S: Slots>(
        &mut self,
        now_us: u64,
        entry: u32,
        slots: &mut S,
    ) -> Option<Transmit<R>> {
        let wait_limit_us = self.limits.wait_us;
        let exchange = self.exchanges.get_mut(entry);
        let (source, route, header) = (exchange.source, exchange.route, exchange.header);
        if now_us >= exchange.deadline_us {
            let over_budget = now_us >= exchange.budget_ends_us;
            // What was refused for good does not run later; what was given up may come again.
            let record = if over_budget { Record::Done } else { Record::Unseen };
            self.close(entry, record, slots);
            let tell = over_budget && header.flags & rpc::NOREPLY == 0;
            let head = Head::status(&header, Status::DeadlineExceeded, 0);
            return tell.then_some(Transmit::Control { source, route, head });
        }
        let tail = exchange.waits > 0;
        exchange.waits += 1;
        let holes = exchange.incoming.missing(false).is_some();
        if holes || tail {
            exchange.asked_us.get_or_insert(now_us);
            exchange.told_us = now_us;
        }
        exchange.wait_us = exchange.wait_us.saturating_mul(2).min(wait_limit_us);
        let due_us = (now_us + exchange.wait_us).min(exchange.deadline_us);
        self.timers.arm(entry, now_us, due_us);
        // Fragments after the last one that came may be on their way: they get one more wait.
        (holes || tail).then(|| Transmit::Control { source, route, head: self.ask(entry, tail) })
    }
}
