//! Calls over a connected UDP socket, one at a time.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exchange::{CallOptions, Exchange, Ignored, Received, Reply, RequestId, Step};
use crate::{Error, socket};

/// More than the largest UDP payload.
const DATAGRAM_BYTES: usize = 1 << 16;

/// Datagrams that were no answer to the call in flight, and requests sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests sent again.
    pub retransmitted: u64,
    /// Replies to an earlier request that had been given up.
    pub late: u64,
    /// Replies to an earlier request that had been answered.
    pub duplicate: u64,
    /// Other sessions, lambdas, or requests never made.
    pub foreign: u64,
    /// Wrong CRC.
    pub corrupt: u64,
    /// Not λ-RPC, or lengths that disagree.
    pub malformed: u64,
    /// λ-RPC, but neither reply nor NACK.
    pub unexpected: u64,
}

/// A caller: one session, one appliance.
pub struct Client {
    socket: UdpSocket,
    address: SocketAddr,
    session: u32,
    /// Sequence of the call in flight, or of the last one.
    sequence: u32,
    /// Bit n: call `sequence` − 1 − n was answered.
    answered: u64,
    counters: Counters,
    buffer: Box<[u8]>,
}

impl Client {
    /// Opens a socket for this appliance, with a random session. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Socket`] if the kernel has no socket or no route.
    pub fn connect(address: SocketAddr) -> Result<Self, Error> {
        Ok(Self {
            socket: socket::connect(address)?,
            address,
            session: fastrand::u32(..),
            sequence: 0,
            answered: 0,
            counters: Counters::default(),
            buffer: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
        })
    }

    /// Who is called.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was ignored and sent again so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends a request and waits for its reply; sends it again, with RTX set, whenever the timeout passes.
    ///
    /// # Errors
    /// [`Error`] says why there is no reply.
    pub fn call(&mut self, lambda: u32, payload: &[u8], options: &CallOptions) -> Result<Reply, Error> {
        let id = RequestId { session: self.session, sequence: self.sequence.wrapping_add(1) };
        let mut exchange = Exchange::new(id, lambda, payload, options, socket::payload_limit(self.address))?;
        self.sequence = id.sequence;
        // An ICMP error that an earlier call left behind is not this call's.
        let _ = self.socket.take_error();
        let result = self.drive(&mut exchange);
        self.counters.retransmitted += u64::from(exchange.attempts().saturating_sub(1));
        self.answered = self.answered << 1 | u64::from(result.is_ok());
        result
    }

    fn drive(&mut self, exchange: &mut Exchange) -> Result<Reply, Error> {
        let address = self.address;
        let failed = |source| Error::socket(address, source);
        loop {
            let now = Instant::now();
            match exchange.poll(now) {
                Step::Transmit(datagram) => {
                    self.socket.send(datagram).map_err(failed)?;
                }
                Step::GiveUp => {
                    let (attempts, waited) = (exchange.attempts(), exchange.waited(now));
                    return Err(Error::NoReply { address, attempts, waited });
                }
                Step::Wait(until) => {
                    // The kernel takes microseconds, and 0 for no timeout at all.
                    let wait = (until - now).max(Duration::from_micros(1));
                    self.socket.set_read_timeout(Some(wait)).map_err(failed)?;
                    let bytes = match self.socket.recv(&mut self.buffer) {
                        Ok(bytes) => bytes,
                        Err(error) if is_timeout(&error) => continue,
                        Err(error) => return Err(failed(error)),
                    };
                    match exchange.receive(&self.buffer[..bytes], Instant::now()) {
                        Received::Reply(reply) => return Ok(reply),
                        Received::TooLong(bytes) => return Err(Error::ReplyTooLong { bytes }),
                        Received::Missing => {}
                        Received::Ignored(why) => self.count(why),
                    }
                }
            }
        }
    }

    fn count(&mut self, why: Ignored) {
        let counters = &mut self.counters;
        *match why {
            Ignored::Malformed => &mut counters.malformed,
            Ignored::Corrupt => &mut counters.corrupt,
            Ignored::Unexpected(_) => &mut counters.unexpected,
            Ignored::Foreign => &mut counters.foreign,
            Ignored::Other(id) => match self.sequence.wrapping_sub(id.sequence) {
                // Before the first request, or after this one.
                _ if id.sequence == 0 || id.sequence > self.sequence => &mut counters.foreign,
                age @ 1..=64 if self.answered >> (age - 1) & 1 != 0 => &mut counters.duplicate,
                _ => &mut counters.late,
            },
        } += 1;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("session", &self.session)
            .field("sequence", &self.sequence)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
