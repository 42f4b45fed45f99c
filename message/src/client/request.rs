//! One request, from its first fragment to its reply.

use lnic_wire::rpc::{self, HEADER_BYTES, Header, Kind};

use super::config::{RequestId, RequestOptions};
use super::{Failure, Reply};
use crate::transfer::{Incoming, Outgoing};
use crate::{CHALLENGE_BYTES, Head, Options, Shape};

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For a cookie, room in the window, or room in flight.
    Waiting,
    /// Its fragments go, or all have gone and the server runs it.
    Sending,
    /// The server was busy.
    Backoff,
    /// Fragments of its reply come.
    Receiving,
}

#[derive(Debug)]
pub(super) struct Request<P> {
    pub(super) stage: Stage,
    /// Of its fragments, without index.
    pub(super) header: Header,
    pub(super) payload: P,
    pub(super) options: RequestOptions,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// The reply, as far as it has come.
    pub(super) reply: Vec<u8>,
    pub(super) reply_aux: u32,
    pub(super) reply_trace: Option<[u8; 25]>,
    /// The server's life when its first fragment was sent.
    pub(super) epoch: Option<Option<u32>>,
    /// The cookie that its last fragment was sent with.
    pub(super) cookie: Option<[u8; 8]>,
    pub(super) first_sent_us: Option<u64>,
    pub(super) deadline_us: u64,
    /// When its budget is used up.
    budget_end_us: u64,
    /// The server's last word, if that is BUSY.
    pub(super) busy_aux: Option<u32>,
    pub(super) timer_us: u64,
    /// How long to wait this time.
    pub(super) wait_us: u64,
    /// Times in a row that waiting was in vain.
    pub(super) waits: u32,
    /// When it was last asked for fragments.
    pub(super) asked_us: u64,
    pub(super) attempts: u32,
    pub(super) is_ready: bool,
}

impl<P: AsRef<[u8]>> Request<P> {
    #[allow(clippy::too_many_arguments, reason = "each is a field")]
    pub(super) fn new(
        id: u64,
        lambda: u32,
        payload: P,
        message_bytes: u32,
        options: RequestOptions,
        fragment_bytes: u16,
        now_us: u64,
        lifetime_us: u64,
    ) -> Self {
        let header =
            Header { flags: options.flags(), fragment_bytes, ..Header::request(lambda, id, message_bytes) };
        let deadline_us = now_us.saturating_add(lifetime_us);
        Self {
            stage: Stage::Waiting,
            header,
            payload,
            options,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            reply: Vec::new(),
            reply_aux: 0,
            reply_trace: None,
            epoch: None,
            cookie: None,
            first_sent_us: None,
            deadline_us,
            budget_end_us: now_us.saturating_add(u64::from(options.budget_us)),
            busy_aux: None,
            timer_us: deadline_us,
            wait_us: 0,
            waits: 0,
            asked_us: 0,
            attempts: 0,
            is_ready: false,
        }
    }

    fn shape(&self) -> Shape {
        Shape { message_bytes: self.header.message_length, fragment_bytes: self.header.fragment_bytes }
    }

    /// Whether the server has to keep something of it.
    pub(super) fn needs_cookie(&self) -> bool {
        self.options.once() || self.shape().fragments() > 1
    }

    /// Whether the server keeps the reply until it is acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.needs_cookie()
    }

    /// Begins to send. A message of more fragments than there can be gets larger ones.
    pub(super) fn begin(&mut self, now_us: u64, fragment_bytes: u16) {
        let least = self.header.message_length.div_ceil(crate::FRAGMENTS) as u16;
        // What waited as one fragment stays one.
        if self.shape().fragments() > 1 {
            self.header.fragment_bytes = fragment_bytes.max(least);
        }
        self.first_sent_us = Some(now_us);
        self.outgoing = Outgoing::with_capacity(self.shape().fragments());
        self.restart();
        self.attempts = 0;
    }

    /// Sends all of it again, from the first fragment.
    pub(super) fn restart(&mut self) {
        self.stage = Stage::Sending;
        self.attempts += 1;
        self.waits = 0;
        self.outgoing.reset(self.shape());
    }

    /// Asks a server that was busy, with the first fragment: if there is room now, it asks for the others.
    pub(super) fn restart_with_one(&mut self) {
        self.restart();
        self.outgoing.hold_back();
    }

    /// A datagram without payload about it.
    pub(super) fn control(&self, kind: Kind, aux: u32) -> Head {
        Head::control(kind, &self.header, aux, Options::default())
    }

    /// Writes the next fragment; its bytes, and whether it was sent before. `None` if there is none, or no room for it.
    pub(super) fn transmit(
        &mut self,
        now_us: u64,
        cookie: Option<[u8; 8]>,
        buffer: &mut [u8],
    ) -> Option<(usize, bool)> {
        let (index, again) = self.outgoing.take()?;
        let (offset, bytes) = self.outgoing.shape().span(index);
        let again = again || self.attempts > 0;
        let mut options = Options { cookie, trace: self.options.trace, epoch: None };
        let least_bytes = HEADER_BYTES + options.area_bytes() + bytes as usize;
        if cookie.is_none() && least_bytes < CHALLENGE_BYTES as usize {
            // Room for a challenge, should the reply be long.
            options.cookie = Some([0; 8]);
        }
        let mut header = Header { fragment_index: index as u16, ..self.header };
        if again {
            header.flags |= rpc::RTX;
        }
        if self.options.budget_us > 0 {
            // 0 would mean no budget at all.
            let left_us = self.budget_end_us.saturating_sub(now_us).max(1);
            header.aux = u32::try_from(left_us).unwrap_or(u32::MAX);
        }
        let head = Head::new(header, options);
        let datagram = buffer.get_mut(..head.bytes() + bytes as usize)?;
        let payload = self.payload.as_ref().get(offset as usize..(offset + bytes) as usize)?;
        datagram[head.bytes()..].copy_from_slice(payload);
        head.emit(datagram)?;
        self.cookie = cookie;
        Some((datagram.len(), again))
    }

    /// Makes room for a reply.
    pub(super) fn receive(&mut self, shape: Shape) {
        self.stage = Stage::Receiving;
        self.busy_aux = None;
        self.waits = 0;
        self.incoming = Incoming::with_capacity(shape.fragments());
        self.incoming.reset(shape);
        self.reply = vec![0; shape.message_bytes as usize];
    }

    /// A NACK for what is missing of the reply; a GRANT if nothing that may have been sent is.
    pub(super) fn ask(&mut self, now_us: u64, tail: bool) -> Head {
        self.asked_us = now_us;
        match self.incoming.missing(tail) {
            Some((first, missing)) => Head::nack(&self.header, first, missing),
            None => self.control(Kind::Grant, self.incoming.granted()),
        }
    }

    /// The reply, now that it is whole.
    pub(super) fn into_reply(self, now_us: u64) -> Reply {
        let header = Header { aux: self.reply_aux, ..self.header };
        Reply {
            id: RequestId(self.header.request),
            status: header.status(),
            payload: self.reply,
            service_us: header.service_us(),
            credit: header.credit(),
            trace: self.reply_trace,
            round_trip_us: now_us.saturating_sub(self.first_sent_us.unwrap_or(now_us)),
            attempts: self.attempts + 1,
        }
    }

    /// Why it must not be sent to a server in this life, if it must not.
    pub(super) fn refuses(&self, epoch: Option<u32>) -> Option<Failure> {
        (self.options.once() && self.epoch.is_some_and(|sent| sent != epoch)).then_some(Failure::Restarted)
    }
}
