//! Replies: sent in the frame in hand, kept for a source that has not shown a cookie or may ask again, or sent out of a slot.

use lnic_wire::rpc::{self, Header, Status};

use super::cache::{CacheId, Owner};
use super::exchange::State;
use super::session::Record;
use super::types::{Action, Answer, Body, Call, Origin, SlotId, Slots, Transmit};
use super::{Arrival, Server};
use crate::{Head, Options, Shape};

impl<R: Copy + Default> Server<R> {
    /// Gives back a request that ran, with its reply. `aux` is the reply's, as [`rpc::reply_aux`] makes it.
    ///
    /// The request's slot is freed, unless it is the reply's: that one is freed at the ACK, or when it is given up.
    pub fn reply<S: Slots>(
        &mut self,
        now_us: u64,
        call: &Call<R>,
        aux: u32,
        body: Body<'_>,
        slots: &mut S,
    ) -> Answer {
        if !self.is_wanted(call, &body, slots) {
            return Answer::Discard;
        }
        match body {
            Body::Frame(payload) => self.reply_frame(now_us, call, aux, payload, slots),
            Body::Slot { slot, bytes } => self.reply_slot(now_us, call, aux, slot, bytes, slots),
        }
    }

    /// Gives back a request that has not run, with what its caller is told: it may come again. Its slot is freed.
    pub fn abandon<S: Slots>(
        &mut self,
        call: &Call<R>,
        status: Status,
        retry_us: u16,
        slots: &mut S,
    ) -> Option<Head> {
        self.end(call, Record::Unseen, slots);
        (call.header.flags & rpc::NOREPLY == 0).then(|| Head::status(&call.header, status, retry_us))
    }

    /// The entry of a call's exchange, if it has one.
    fn entry(&self, call: &Call<R>) -> Option<u32> {
        match call.origin {
            Origin::Exchange { entry, generation } => {
                (self.exchanges.get(entry).generation == generation).then_some(entry)
            }
            Origin::Plain | Origin::Window(_) => None,
        }
    }

    /// Ends what is kept of a call.
    fn end<S: Slots>(&mut self, call: &Call<R>, record: Record, slots: &mut S) {
        if let Some(entry) = self.entry(call) {
            self.close(entry, record, slots);
        } else if let Origin::Window(session) = call.origin {
            self.sessions.close(session, call.header.sequence(), record);
        }
    }

    /// Whether the caller still wants the reply. If not, all that the call has is freed.
    fn is_wanted<S: Slots>(&mut self, call: &Call<R>, body: &Body<'_>, slots: &mut S) -> bool {
        let cancelled =
            self.entry(call).is_some_and(|entry| self.exchanges.get(entry).state == State::Cancelled);
        let wanted = !cancelled && call.header.flags & rpc::NOREPLY == 0;
        if !wanted {
            self.free_reply(call, body, slots);
            self.end(call, Record::Done, slots);
        }
        wanted
    }

    /// Frees a reply's slot, unless it is the request's too.
    fn free_reply<S: Slots>(&self, call: &Call<R>, body: &Body<'_>, slots: &mut S) {
        let of_request = self.entry(call).and_then(|entry| self.exchanges.get(entry).slot);
        if let Body::Slot { slot, .. } = *body
            && of_request != Some(slot)
        {
            slots.free(slot);
        }
    }

    fn reply_frame<S: Slots>(
        &mut self,
        now_us: u64,
        call: &Call<R>,
        aux: u32,
        payload: &[u8],
        slots: &mut S,
    ) -> Answer {
        if payload.len() > usize::from(call.header.fragment_bytes) {
            // The lambda's reply is too long for the buffer that it used.
            let aux = rpc::reply_aux(Status::ResourceExhausted, 0, 0);
            return match self.reply_frame(now_us, call, aux, &[], slots) {
                Answer::Reply(head) => Answer::Instead(head),
                other => other,
            };
        }
        let head = self.reply_head(&call.header, call.trace, call.validated, aux, payload.len() as u32);
        self.keep(now_us, call, aux, payload, slots);
        if head.bytes() + payload.len() <= call.allowance_bytes as usize {
            Answer::Reply(head)
        } else {
            let challenge = self.challenge(&call.source, &call.header, now_us, call.allowance_bytes);
            Answer::Instead(challenge)
        }
    }

    fn reply_head(
        &self,
        header: &Header,
        trace: Option<[u8; 25]>,
        validated: bool,
        aux: u32,
        bytes: u32,
    ) -> Head {
        let header = Header { aux, ..header.reply(Status::Ok, 0, 0, bytes) };
        Head::new(header, Options { cookie: None, trace, epoch: validated.then_some(self.epoch) })
    }

    /// Keeps a reply for as long as its caller may ask again.
    fn keep<S: Slots>(&mut self, now_us: u64, call: &Call<R>, aux: u32, payload: &[u8], slots: &mut S) {
        let entry = self.entry(call);
        let sequence = call.header.sequence();
        let session = match (call.origin, entry) {
            (Origin::Window(session), _) => Some(session),
            (_, Some(entry)) => self.exchanges.get(entry).window,
            (_, None) => return,
        };
        while !self.cache.has_room(call.tenant, payload.len()) {
            let Some(oldest) = self.cache.oldest(call.tenant) else { break };
            self.evict(oldest, slots);
        }
        let owner = match (session, entry) {
            (Some(session), _) => Owner::Window { session: session.entry, sequence },
            (None, Some(entry)) => Owner::Exchange(entry),
            (None, None) => return,
        };
        let reply = self.cache.insert(call.tenant, owner, aux, payload);
        if let Some(reply) = reply {
            let hold_us = if session.is_some() { self.limits.hold_us } else { self.limits.idle_us };
            self.timers.arm(self.limits.exchanges + reply.0, now_us, now_us + hold_us);
        }
        match (session, entry, reply) {
            (None, Some(entry), Some(reply)) => {
                self.exchanges.linger(entry, State::Replied(reply));
                let exchange = self.exchanges.get_mut(entry);
                if let Some(slot) = exchange.slot.take() {
                    slots.free(slot);
                }
            }
            (None, Some(entry), None) => self.close(entry, Record::Done, slots),
            (Some(session), entry, reply) => {
                let record = reply.map_or(Record::Done, Record::Replied);
                if let Some(entry) = entry {
                    self.exchanges.get_mut(entry).window = None;
                    self.close(entry, Record::Done, slots);
                }
                if !self.sessions.close(session, sequence, record)
                    && let Some(reply) = reply
                {
                    // The window has moved on: nobody could ask for it.
                    self.forget(reply);
                }
            }
            (None, None, _) => {}
        }
    }

    /// Sends a cached reply again, as far as the source may get it.
    pub(super) fn replay(&self, arrival: &Arrival<'_, R>, reply: CacheId) -> Action<R> {
        let (bytes, aux) = self.cache.reply(reply);
        let head = self.reply_head(arrival.header, arrival.options.trace, arrival.validated, aux, bytes);
        if head.bytes() + bytes as usize <= arrival.allowance_bytes() as usize {
            Action::Replay(head, reply)
        } else {
            let allowance_bytes = arrival.allowance_bytes();
            Action::Send(self.challenge(arrival.source, arrival.header, arrival.now_us, allowance_bytes))
        }
    }

    fn reply_slot<S: Slots>(
        &mut self,
        now_us: u64,
        call: &Call<R>,
        aux: u32,
        slot: SlotId,
        bytes: u32,
        slots: &mut S,
    ) -> Answer {
        let body = Body::Slot { slot, bytes };
        let shape = Shape { message_bytes: bytes, fragment_bytes: call.header.fragment_bytes };
        let fits = shape.checked().is_some_and(|shape| shape.fragments() <= self.limits.fragments);
        if !fits || !call.validated {
            self.free_reply(call, &body, slots);
            let status = if fits { Status::Unauthenticated } else { Status::ResourceExhausted };
            let plain = call.origin == Origin::Plain;
            if fits && plain {
                // Nothing is kept of it: it runs again when it comes again.
                let head = self.challenge(&call.source, &call.header, now_us, call.allowance_bytes);
                return Answer::Instead(head);
            }
            return self.reply_status(now_us, call, status, slots);
        }
        let Some(entry) = self.entry(call).or_else(|| self.open_reply(now_us, call, slots)) else {
            self.free_reply(call, &body, slots);
            if call.origin == Origin::Plain {
                let head = Head::status(&call.header, Status::Busy, self.limits.retry_us);
                return Answer::Instead(head);
            }
            return self.reply_status(now_us, call, Status::ResourceExhausted, slots);
        };
        let exchange = self.exchanges.get_mut(entry);
        let of_request = exchange.slot.replace(slot);
        if let Some(before) = of_request
            && before != slot
        {
            slots.free(before);
        }
        exchange.state = State::Sending;
        exchange.reply_aux = aux;
        exchange.outgoing.reset(shape);
        exchange.opened_us = now_us;
        // The budget was the lambda's; its reply is worth sending.
        exchange.budget_ends_us = u64::MAX;
        exchange.wait_us = self.limits.repeat_us;
        exchange.progress(now_us, self.limits.idle_us, self.limits.hold_us);
        self.exchanges.make_ready(entry);
        Answer::Queued
    }

    /// A reply that is a status only.
    fn reply_status<S: Slots>(
        &mut self,
        now_us: u64,
        call: &Call<R>,
        status: Status,
        slots: &mut S,
    ) -> Answer {
        match self.reply_frame(now_us, call, rpc::reply_aux(status, 0, 0), &[], slots) {
            Answer::Reply(head) => Answer::Instead(head),
            other => other,
        }
    }

    /// An exchange for the reply to a request that had none.
    fn open_reply<S: Slots>(&mut self, now_us: u64, call: &Call<R>, slots: &mut S) -> Option<u32> {
        let known = self.exchanges.find(&self.secret, &call.source, call.header.request).is_some();
        if known || !self.make_room_for_exchange(call.tenant, slots) || !self.enter(&call.source) {
            return None;
        }
        let entry = self.exchanges.insert(&self.secret, &call.source, &call.header, State::Running)?;
        self.tenants[usize::from(call.tenant.0)] += 1;
        let exchange = self.exchanges.get_mut(entry);
        exchange.route = call.route;
        exchange.tenant = call.tenant;
        exchange.trace = call.trace;
        exchange.opened_us = now_us;
        if let Origin::Window(session) = call.origin {
            exchange.window = Some(session);
        }
        Some(entry)
    }

    /// The next fragment of the reply whose turn it is.
    pub(super) fn next_fragment(&mut self, now_us: u64) -> Option<Transmit<R>> {
        while let Some(entry) = self.exchanges.next_ready() {
            let exchange = self.exchanges.get_mut(entry);
            let (Some((index, again)), Some(slot)) = (exchange.outgoing.take(), exchange.slot) else {
                continue;
            };
            let (offset, bytes) = exchange.outgoing.shape().span(index);
            let head = exchange.fragment(self.epoch, index, again);
            let (source, route, is_ready) = (exchange.source, exchange.route, exchange.outgoing.is_ready());
            let due_us = (now_us + exchange.wait_us).min(exchange.deadline_us);
            self.timers.arm(entry, now_us, due_us);
            if is_ready {
                self.exchanges.make_ready(entry);
            }
            return Some(Transmit::Fragment { source, route, head, slot, offset, bytes });
        }
        None
    }

    /// An exchange's time is over, or it is time to ask again.
    pub(super) fn exchange_expired<S: Slots>(
        &mut self,
        now_us: u64,
        entry: u32,
        slots: &mut S,
    ) -> Option<Transmit<R>> {
        match self.exchanges.get(entry).state {
            State::Receiving => self.receiving_expired(now_us, entry, slots),
            State::Sending => {
                self.sending_expired(now_us, entry, slots);
                None
            }
            State::Ended => {
                self.close(entry, Record::Done, slots);
                None
            }
            State::Free | State::Running | State::Cancelled | State::Replied(_) => None,
        }
    }

    /// Whoever receives a reply has said nothing for a while.
    fn sending_expired<S: Slots>(&mut self, now_us: u64, entry: u32, slots: &mut S) {
        let wait_limit_us = self.limits.wait_us;
        let exchange = self.exchanges.get_mut(entry);
        if now_us >= exchange.deadline_us {
            self.close(entry, Record::Done, slots);
            return;
        }
        exchange.waits += 1;
        exchange.wait_us = exchange.wait_us.saturating_mul(2).min(wait_limit_us);
        exchange.outgoing.repeat();
        self.exchanges.make_ready(entry);
    }
}
