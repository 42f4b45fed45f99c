//! Calls to one appliance, without the socket: the state machine, and what becomes of each call.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lnic_message::client::{self, Config, Counters, Event, Failure, Machine, RequestId};

use crate::{CallOptions, Error, Payload, Reply};

/// What became of a call.
pub(crate) type Outcome = Result<Reply, Error>;

/// Open calls, and those that have ended and were not asked for yet.
pub(crate) struct Calls {
    machine: Machine<Payload>,
    address: SocketAddr,
    started: Instant,
    /// Since when each open call is open.
    open: BTreeMap<RequestId, Instant>,
    failed: VecDeque<(RequestId, Error)>,
    /// A datagram of the appliance has come, once.
    heard: bool,
    /// The last word was ICMP's: nothing listens.
    refused: bool,
}

impl Calls {
    pub(crate) fn new(address: SocketAddr, config: Config) -> Self {
        Self {
            machine: Machine::new(config, fastrand::u64(..)),
            address,
            started: Instant::now(),
            open: BTreeMap::new(),
            failed: VecDeque::new(),
            heard: false,
            refused: false,
        }
    }

    pub(crate) fn start(
        &mut self,
        lambda: u32,
        payload: Payload,
        options: &CallOptions,
    ) -> Result<RequestId, Error> {
        let now_us = self.now_us();
        let taken = self.machine.request(now_us, lambda, payload, options.request());
        let id = taken.map_err(|error| match error {
            client::Error::TooLong { bytes } => {
                Error::PayloadTooLong { bytes, limit_bytes: lnic_message::MESSAGE_BYTES as usize }
            }
            client::Error::Full { requests } => Error::TooManyCalls { requests },
        })?;
        self.open.insert(id, Instant::now());
        Ok(id)
    }

    /// Ends a call without an outcome; whether it was open.
    pub(crate) fn cancel(&mut self, id: RequestId) -> bool {
        self.machine.cancel(id);
        self.open.remove(&id).is_some()
    }

    /// Ends all of them.
    pub(crate) fn cancel_all(&mut self) {
        for id in std::mem::take(&mut self.open).into_keys() {
            self.machine.cancel(id);
        }
    }

    /// Calls that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// A call that has ended since.
    pub(crate) fn ended(&mut self) -> Option<(RequestId, Outcome)> {
        if let Some((id, error)) = self.failed.pop_front() {
            return Some((id, Err(error)));
        }
        while let Some(event) = self.machine.poll_event() {
            let (id, outcome) = match event {
                Event::Reply(reply) => (reply.id, Ok(reply)),
                Event::Failed { id, failure } => (id, Err(failure)),
            };
            // One that was cancelled after it had ended is nobody's.
            if let Some(opened) = self.open.remove(&id) {
                return Some((id, outcome.map(Reply::from).map_err(|failure| self.error(failure, opened))));
            }
        }
        None
    }

    fn error(&self, failure: Failure, opened: Instant) -> Error {
        let address = self.address;
        match failure {
            Failure::DeadlineExceeded if self.refused => Error::Refused { address },
            Failure::DeadlineExceeded => Error::NoReply { address, waited: opened.elapsed() },
            failure => Error::Failed { address, failure },
        }
    }

    /// Takes a datagram that came.
    pub(crate) fn frame(&mut self, datagram: &[u8]) {
        (self.heard, self.refused) = (true, false);
        let now_us = self.now_us();
        self.machine.frame(now_us, datagram);
    }

    /// Takes an error of the socket. An appliance that has answered may only be restarting, or the way to it changing: calls
    /// go on until their time is over. Otherwise they end.
    pub(crate) fn socket_failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
        self.refused = error.kind() == ConnectionRefused;
        let passing = [ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable];
        if self.heard && passing.contains(&error.kind()) {
            return;
        }
        for id in std::mem::take(&mut self.open).into_keys() {
            self.machine.cancel(id);
            let copy = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            self.failed.push_back((id, Error::socket(self.address, copy)));
        }
    }

    /// Writes the next datagram to send; its bytes.
    pub(crate) fn transmit(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let now_us = self.now_us();
        self.machine.poll_transmit(now_us, buffer)
    }

    /// How long until there may be something to send though nothing came.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let timeout_us = self.machine.timeout_us()?;
        Some(Duration::from_micros(timeout_us.saturating_sub(self.now_us())))
    }

    pub(crate) fn counters(&self) -> Counters {
        self.machine.counters()
    }

    /// Bytes of a fragment of requests from now on.
    pub(crate) fn fragment_bytes(&self) -> u16 {
        self.machine.fragment_bytes()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
