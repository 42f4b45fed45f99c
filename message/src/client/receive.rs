//! What a machine makes of the datagrams that come.

use lnic_wire::rpc::{self, Header, Kind, Status};

use super::config::{Event, Failure};
use super::request::Stage;
use super::{Machine, Request};
use crate::{FRAGMENTS, Head, Missing, Options, Shape};

/// Shortest time to wait when the server is busy and gives no hint.
const BUSY_US: u64 = 500;
/// Longest such time, before jitter.
const BUSY_LIMIT_US: u64 = 100_000;

impl<P: AsRef<[u8]>> Machine<P> {
    /// Takes a datagram from the server.
    pub fn frame(&mut self, now_us: u64, datagram: &[u8]) {
        let counter = match Header::parse(datagram) {
            Err(rpc::Error::Crc) => &mut self.counters.corrupt,
            Err(_) => &mut self.counters.malformed,
            // A flipped bit could make a CRC look as if it had never been there.
            Ok(header) if header.flags & rpc::CRC == 0 => &mut self.counters.malformed,
            Ok(header) if !self.sessions.iter().any(|&(number, _)| number == header.session()) => {
                &mut self.counters.foreign
            }
            Ok(header) => {
                let options = Options::of(header.tlvs(datagram));
                return match header.kind {
                    Kind::Challenge => self.challenge(now_us, &header, &options),
                    Kind::Pong => self.pong(now_us, &header),
                    Kind::Nack => self.nack(now_us, &header, &Missing::of(header.tlvs(datagram))),
                    Kind::Grant => self.grant(now_us, &header),
                    Kind::Reply => self.reply(now_us, &header, &options, header.payload(datagram)),
                    Kind::Request | Kind::Ack | Kind::Ping | Kind::Cancel => self.counters.unexpected += 1,
                };
            }
        };
        *counter += 1;
    }

    fn pong(&mut self, now_us: u64, header: &Header) {
        if !self.path.pong(header, now_us) {
            self.counters.late += 1;
            return;
        }
        if self.path.has_probes() {
            let ping = self.next_id(super::PLAIN);
            self.path.want_size(ping);
        }
        self.begin_waiting(now_us);
    }

    /// The server wants to see a cookie.
    fn challenge(&mut self, now_us: u64, header: &Header, options: &Options) {
        if options.cookie.is_none_or(|cookie| cookie == [0; 8]) {
            self.counters.malformed += 1;
            return;
        }
        self.path.challenged(header.request, options, now_us);
        if let Some(request) = self.requests.get_mut(&header.request)
            && request.stage == Stage::Sending
        {
            if let Some(failure) = request.refuses(options.epoch) {
                self.fail(now_us, header.request, failure, false);
            } else if request.cookie != options.cookie {
                // Nothing of it was kept. Once for each cookie: every fragment was answered.
                request.restart();
                request.cookie = options.cookie;
                request.wait_us = 0;
                self.make_ready(header.request);
            }
        }
        self.begin_waiting(now_us);
    }

    /// A request of ours that a server speaks of; one that has ended is told so.
    fn sending(&mut self, header: &Header) -> Option<&mut Request<P>> {
        if !self.requests.contains_key(&header.request) {
            self.counters.late += 1;
            self.send(Head::control(Kind::Cancel, header, 0, Options::default()));
            return None;
        }
        let request = self.requests.get_mut(&header.request)?;
        if request.header.lambda != header.lambda {
            return None;
        }
        if request.stage == Stage::Backoff {
            // Another fragment has found room since.
            request.stage = Stage::Sending;
        }
        request.busy_aux = None;
        (request.stage == Stage::Sending).then_some(request)
    }

    /// Fragments are missing; or, from the last one on, none are, and the request runs.
    fn nack(&mut self, now_us: u64, header: &Header, missing: &Missing) {
        let repeat_us = self.path.repeat_us(&self.config);
        let limit_us = self.config.wait_us;
        let Some(request) = self.sending(header) else { return };
        let runs = header.missing() >= request.outgoing.shape().fragments();
        if runs {
            request.wait_us = request.wait_us.saturating_mul(2).clamp(repeat_us, limit_us);
        } else {
            request.wait_us = repeat_us;
            request.outgoing.nack(header.missing(), missing);
        }
        let at_us = now_us + request.wait_us;
        self.arm(header.request, at_us);
        self.make_ready(header.request);
    }

    /// More may be sent.
    fn grant(&mut self, now_us: u64, header: &Header) {
        let repeat_us = self.path.repeat_us(&self.config);
        let Some(request) = self.sending(header) else { return };
        if request.outgoing.grant(header.granted()) {
            request.wait_us = repeat_us;
            self.arm(header.request, now_us + repeat_us);
            self.make_ready(header.request);
        }
    }

    fn reply(&mut self, now_us: u64, header: &Header, options: &Options, payload: &[u8]) {
        let id = header.request;
        let shape =
            Shape::of(header).filter(|shape| header.accepts(payload.len()) && shape.fragments() <= FRAGMENTS);
        let Some(shape) = shape else {
            self.counters.malformed += 1;
            return;
        };
        let single = shape.fragments() == 1;
        let Some(request) = self.requests.get_mut(&id) else {
            self.counters.late += 1;
            let once = header.session() == self.sessions[super::ONCE].0;
            if !single || once || header.flags & rpc::RTX != 0 {
                // The ACK was lost.
                self.send(Head::control(Kind::Ack, header, 0, Options::default()));
            }
            return;
        };
        if request.header.lambda != header.lambda || request.stage == Stage::Waiting {
            self.counters.unexpected += 1;
            return;
        }
        match (header.status(), request.stage) {
            (Status::Busy, Stage::Sending) if single => self.busy(now_us, header),
            (Status::Busy, _) if single => self.counters.unexpected += 1,
            (Status::UnknownRpc, Stage::Receiving) if single => {
                if request.options.once() {
                    self.fail(now_us, id, Failure::Forgotten, false);
                } else {
                    // It runs again.
                    self.buffered_bytes -= request.reply.len();
                    request.reply = Vec::new();
                    request.restart();
                    request.wait_us = 0;
                    self.make_ready(id);
                }
            }
            (Status::UnknownRpc, _) if single => self.counters.unexpected += 1,
            (Status::Stale, _) if single => self.fail(now_us, id, Failure::Forgotten, false),
            (_, Stage::Receiving) if single => self.counters.unexpected += 1,
            _ => self.fragment(now_us, header, options, shape, payload),
        }
    }

    /// The server is busy: it says when to ask again, and each time in a row it is asked later.
    fn busy(&mut self, now_us: u64, header: &Header) {
        let Some(request) = self.requests.get_mut(&header.request) else { return };
        request.stage = Stage::Backoff;
        request.busy_aux = Some(header.aux);
        request.attempts += 1;
        let hint_us = u64::from(header.service_us()).max(BUSY_US);
        let wait_us = (hint_us << request.attempts.min(8)).min(BUSY_LIMIT_US.max(hint_us));
        let jitter_us = self.random.u64(0..=wait_us / 2);
        self.arm(header.request, now_us + wait_us + jitter_us);
    }

    /// A fragment of a reply, perhaps the only one.
    fn fragment(&mut self, now_us: u64, header: &Header, options: &Options, shape: Shape, payload: &[u8]) {
        let id = header.request;
        let nack_us = self.path.nack_us(&self.config);
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.stage != Stage::Receiving {
            if shape.message_bytes > self.config.reply_bytes {
                let failure = Failure::ReplyTooLong { bytes: shape.message_bytes };
                return self.fail(now_us, id, failure, true);
            }
            let bytes = shape.message_bytes as usize;
            if self.buffered_bytes + bytes > self.config.buffered_bytes {
                // The server repeats it: there may be room then.
                self.counters.unexpected += 1;
                return;
            }
            if request.attempts == 0 && request.outgoing.shape().fragments() == 1 {
                let round_trip_us = now_us.saturating_sub(request.first_sent_us.unwrap_or(now_us));
                self.path.measure(round_trip_us.saturating_sub(u64::from(header.service_us())));
            }
            self.buffered_bytes += bytes;
            request.receive(shape);
            (request.reply_aux, request.reply_trace) = (header.aux, options.trace);
        }
        let index = u32::from(header.fragment_index);
        let again = header.flags & rpc::RTX != 0;
        if shape != request.incoming.shape() || index >= request.incoming.granted() {
            self.counters.unexpected += 1;
            return;
        }
        if !request.incoming.take(index) {
            self.counters.unexpected += 1;
            // The server has heard nothing for a while. Fragments that one NACK brought must not ask for more NACKs.
            if again && now_us.saturating_sub(request.asked_us) >= nack_us {
                let head = request.ask(now_us, true);
                self.send(head);
            }
            return;
        }
        let (offset, bytes) = shape.span(index);
        if let Some(place) = request.reply.get_mut(offset as usize..(offset + bytes) as usize) {
            place.copy_from_slice(payload);
        }
        request.waits = 0;
        request.wait_us = nack_us;
        if request.incoming.is_complete() {
            let acknowledge = request.is_acknowledged() || shape.fragments() > 1;
            let head = request.control(Kind::Ack, 0);
            if acknowledge {
                self.send(head);
            }
            if let Some(request) = self.end(id, false) {
                self.events.push_back(Event::Reply(request.into_reply(now_us)));
            }
            self.begin_waiting(now_us);
            return;
        }
        if let Some(total) = request.incoming.grant() {
            let head = request.control(Kind::Grant, total);
            self.send(head);
        }
        self.arm(id, now_us + nack_us);
    }
}
