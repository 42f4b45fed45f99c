//! One call: a request, its retransmissions, its reply. No socket, no clock: both are the caller's.

use std::time::{Duration, Instant};

use lnic_wire::rpc::{self, Header, Kind, Status};

use crate::Error;

/// How to call.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// How long to wait for a reply before the request is sent again.
    pub timeout: Duration,
    /// How often it is sent again.
    pub retries: u32,
    /// Budget that the appliance is told, in µs; 0 is none. A retransmission carries what is left of it.
    pub budget_us: u32,
    /// Flags and priority, as in [`rpc`]: `AT_MOST_ONCE` for a lambda that must not run twice.
    /// CRC is always set; RTX and NOREPLY are not the caller's.
    pub flags: u16,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(250), retries: 3, budget_us: 0, flags: 0 }
    }
}

/// What names a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Random number of the client.
    pub session: u32,
    /// Number of the request in its session.
    pub sequence: u32,
}

impl RequestId {
    /// As it lies in the header.
    #[must_use]
    pub const fn raw(self) -> u64 {
        (self.session as u64) << 32 | self.sequence as u64
    }

    /// From the header.
    #[must_use]
    pub const fn of(header: &Header) -> Self {
        Self { session: header.session(), sequence: header.sequence() }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How the request ended.
    pub status: Status,
    /// What the lambda answered.
    pub payload: Vec<u8>,
    /// How long the lambda ran, in µs.
    pub service_us: u16,
    /// How many requests the appliance lets the caller have in flight.
    pub credit: u8,
    /// From the first transmission to the reply.
    pub round_trip: Duration,
    /// How often the request was sent.
    pub attempts: u32,
}

/// What an exchange wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send this datagram.
    Transmit(&'a [u8]),
    /// Wait for a datagram, at most until then.
    Wait(Instant),
    /// All attempts are used up.
    GiveUp,
}

/// Why a datagram was not for this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Not λ-RPC, or lengths that disagree.
    Malformed,
    /// The CRC is wrong.
    Corrupt,
    /// Another session, or another lambda.
    Foreign,
    /// Another request of this session.
    Other(RequestId),
    /// For this request, but no answer to it.
    Unexpected(Kind),
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// The reply: the exchange is over.
    Reply(Reply),
    /// A reply of several fragments, this many bytes in all.
    TooLong(u32),
    /// The appliance misses the request: the next step is to send it again.
    Missing,
    /// Nothing for this exchange.
    Ignored(Ignored),
}

/// One call in flight.
#[derive(Debug)]
pub struct Exchange {
    header: Header,
    datagram: Vec<u8>,
    options: CallOptions,
    attempts: u32,
    first_sent: Option<Instant>,
    resend_at: Option<Instant>,
}

impl Exchange {
    /// A request that has not been sent yet. A fragment takes at most `limit_bytes`.
    ///
    /// # Errors
    /// [`Error::PayloadTooLong`].
    pub fn new(
        id: RequestId,
        lambda: u32,
        payload: &[u8],
        options: &CallOptions,
        limit_bytes: usize,
    ) -> Result<Self, Error> {
        let mut header = request_header(lambda, payload.len(), options.flags, limit_bytes)?;
        header.request = id.raw();
        header.aux = options.budget_us;
        let mut datagram = vec![0; rpc::HEADER_BYTES];
        datagram.extend_from_slice(payload);
        header.emit_with_crc(&mut datagram);
        Ok(Self { header, datagram, options: *options, attempts: 0, first_sent: None, resend_at: None })
    }

    /// What to do now. A datagram that it returns counts as sent.
    pub fn poll(&mut self, now: Instant) -> Step<'_> {
        if let Some(at) = self.resend_at
            && now < at
        {
            return Step::Wait(at);
        }
        if self.attempts > self.options.retries {
            return Step::GiveUp;
        }
        let first_sent = *self.first_sent.get_or_insert(now);
        if self.attempts > 0 {
            self.header.flags |= rpc::RTX;
            if self.options.budget_us > 0 {
                // 0 would mean no budget at all.
                let elapsed_us = u32::try_from((now - first_sent).as_micros()).unwrap_or(u32::MAX);
                self.header.aux = self.options.budget_us.saturating_sub(elapsed_us).max(1);
            }
            self.header.emit_with_crc(&mut self.datagram);
        }
        self.attempts += 1;
        self.resend_at = Some(now + self.options.timeout);
        Step::Transmit(&self.datagram)
    }

    /// Takes a datagram that arrived.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) -> Received {
        let header = match Header::parse(datagram) {
            Ok(header) => header,
            Err(rpc::Error::Crc) => return Received::Ignored(Ignored::Corrupt),
            Err(_) => return Received::Ignored(Ignored::Malformed),
        };
        let id = RequestId::of(&header);
        if id.session != self.header.session() {
            return Received::Ignored(Ignored::Foreign);
        }
        if id.sequence != self.header.sequence() {
            return Received::Ignored(Ignored::Other(id));
        }
        let Some(first_sent) = self.first_sent.filter(|_| header.lambda == self.header.lambda) else {
            return Received::Ignored(Ignored::Foreign);
        };
        match header.kind {
            Kind::Reply => {}
            Kind::Nack => {
                self.resend_at = Some(now);
                return Received::Missing;
            }
            kind => return Received::Ignored(Ignored::Unexpected(kind)),
        }
        let payload = header.payload(datagram);
        if !header.accepts(payload.len()) {
            return Received::Ignored(Ignored::Malformed);
        }
        if !header.is_single_fragment() {
            return Received::TooLong(header.message_length);
        }
        Received::Reply(Reply {
            status: header.status(),
            payload: payload.to_vec(),
            service_us: header.service_us(),
            credit: header.credit(),
            round_trip: now.saturating_duration_since(first_sent),
            attempts: self.attempts,
        })
    }

    /// How often the request was sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Time since the request was first sent.
    #[must_use]
    pub fn waited(&self, now: Instant) -> Duration {
        self.first_sent.map_or(Duration::ZERO, |first| now.saturating_duration_since(first))
    }
}

/// The header of a request of one fragment, without ID, budget and CRC.
pub(crate) fn request_header(
    lambda: u32,
    bytes: usize,
    flags: u16,
    limit_bytes: usize,
) -> Result<Header, Error> {
    let message_length = u16::try_from(bytes)
        .ok()
        .filter(|_| bytes <= limit_bytes)
        .ok_or(Error::PayloadTooLong { bytes, limit_bytes })?;
    Ok(Header {
        flags: flags & !(rpc::RTX | rpc::NOREPLY) | rpc::CRC,
        fragment_bytes: message_length.max(rpc::FRAGMENT_BYTES),
        ..Header::request(lambda, 0, u32::from(message_length))
    })
}

#[cfg(test)]
mod tests;
