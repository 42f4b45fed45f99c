//! What a caller says about a request or its reply: NACK, GRANT, ACK, CANCEL. And PING.

use lnic_wire::rpc::{self, Kind, Status};

use super::exchange::State;
use super::session::Record;
use super::types::{Action, Dropped, Slots};
use super::{Arrival, Server};
use crate::{Head, Missing, Options};

impl<R: Copy + Default> Server<R> {
    /// The exchange whose reply a caller speaks of; UNKNOWN_RPC if there is none.
    #[allow(clippy::result_large_err, reason = "the error is the answer, and is passed on")]
    fn sending(&self, arrival: &Arrival<'_, R>) -> Result<u32, Action<R>> {
        let header = arrival.header;
        let Some(entry) = self.exchanges.find(&self.secret, arrival.source, header.request) else {
            return Err(Action::Send(Head::status(header, Status::UnknownRpc, 0)));
        };
        let exchange = self.exchanges.get(entry);
        if exchange.state == State::Sending && exchange.header.lambda == header.lambda {
            Ok(entry)
        } else {
            Err(Action::Drop(Dropped::Inconsistent))
        }
    }

    /// Fragments of a reply are missing.
    pub(super) fn nack(&mut self, arrival: &Arrival<'_, R>, datagram: &[u8]) -> Action<R> {
        let entry = match self.sending(arrival) {
            Ok(entry) => entry,
            Err(action) => return action,
        };
        let missing = Missing::of(arrival.header.tlvs(datagram));
        let exchange = self.exchanges.get_mut(entry);
        exchange.wait_us = self.limits.repeat_us;
        exchange.outgoing.nack(arrival.header.missing(), &missing);
        self.say(arrival.now_us, entry)
    }

    /// More of a reply may be sent.
    pub(super) fn grant(&mut self, arrival: &Arrival<'_, R>) -> Action<R> {
        let entry = match self.sending(arrival) {
            Ok(entry) => entry,
            Err(action) => return action,
        };
        let exchange = self.exchanges.get_mut(entry);
        if exchange.outgoing.grant(arrival.header.granted()) {
            exchange.wait_us = self.limits.repeat_us;
            exchange.progress(arrival.now_us, self.limits.idle_us, self.limits.hold_us);
        }
        self.say(arrival.now_us, entry)
    }

    /// Sends what may be sent now, or waits anew.
    fn say(&mut self, now_us: u64, entry: u32) -> Action<R> {
        let exchange = self.exchanges.get_mut(entry);
        if exchange.outgoing.is_ready() {
            self.exchanges.make_ready(entry);
        } else {
            let due_us = (now_us + exchange.wait_us).min(exchange.deadline_us);
            self.timers.arm(entry, now_us, due_us);
        }
        Action::Kept
    }

    /// The reply has arrived.
    pub(super) fn ack<S: Slots>(&mut self, arrival: &Arrival<'_, R>, slots: &mut S) -> Action<R> {
        let header = arrival.header;
        if let Some(entry) = self.exchanges.find(&self.secret, arrival.source, header.request) {
            return match self.exchanges.get(entry).state {
                State::Sending | State::Replied(_) => {
                    self.retire(arrival.now_us, entry, slots);
                    Action::Kept
                }
                State::Ended => Action::Drop(Dropped::Duplicate),
                State::Free | State::Receiving | State::Running | State::Cancelled => {
                    Action::Drop(Dropped::Inconsistent)
                }
            };
        }
        let (number, sequence) = (header.session(), header.sequence());
        let validated = arrival.validated;
        let session = self.sessions.find(&self.secret, arrival.source, number, validated, arrival.now_us);
        let Some(session) = session else { return Action::Drop(Dropped::Unknown) };
        match self.sessions.record(session.entry, sequence) {
            Record::Replied(reply) => {
                self.evict(reply, slots);
                Action::Kept
            }
            Record::Done => Action::Drop(Dropped::Duplicate),
            Record::Unseen | Record::Open | Record::Stale => Action::Drop(Dropped::Unknown),
        }
    }

    /// The caller no longer wants the reply.
    pub(super) fn cancel<S: Slots>(&mut self, arrival: &Arrival<'_, R>, slots: &mut S) -> Action<R> {
        let header = arrival.header;
        let cancelled = Action::Cancelled { lambda: header.lambda, request: header.request };
        let Some(entry) = self.exchanges.find(&self.secret, arrival.source, header.request) else {
            let (number, validated) = (header.session(), arrival.validated);
            let session = self.sessions.find(&self.secret, arrival.source, number, validated, arrival.now_us);
            return match session.map(|session| self.sessions.record(session.entry, header.sequence())) {
                Some(Record::Replied(reply)) => {
                    self.evict(reply, slots);
                    Action::Kept
                }
                Some(Record::Open) => cancelled,
                Some(Record::Unseen | Record::Done | Record::Stale) | None => Action::Drop(Dropped::Unknown),
            };
        };
        let exchange = self.exchanges.get_mut(entry);
        if exchange.header.lambda != header.lambda {
            return Action::Drop(Dropped::Inconsistent);
        }
        match exchange.state {
            State::Receiving | State::Sending | State::Replied(_) => {
                self.retire(arrival.now_us, entry, slots);
                Action::Kept
            }
            State::Running => {
                // The lambda has the slot: it is freed when it gives the request back.
                exchange.state = State::Cancelled;
                cancelled
            }
            State::Free | State::Cancelled | State::Ended => Action::Drop(Dropped::Duplicate),
        }
    }

    /// PONG says how many bytes were heard. Who asks for a cookie, or shows one that is no longer good, gets a challenge.
    pub(super) fn ping(&self, arrival: &Arrival<'_, R>) -> Action<R> {
        let Arrival { header, now_us, source, bytes, validated, .. } = *arrival;
        if header.flags & rpc::NOREPLY != 0 {
            return Action::Drop(Dropped::NoReply);
        }
        Action::Send(if arrival.options.cookie.is_some() && !validated {
            self.challenge(source, header, now_us, arrival.allowance_bytes())
        } else {
            Head::control(Kind::Pong, header, bytes, Options::default())
        })
    }
}
