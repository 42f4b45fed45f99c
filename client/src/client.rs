//! Calls over a connected UDP socket, from one thread.

use std::collections::VecDeque;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lnic_message::client::{Config, Counters, RequestId};

use crate::calls::{Calls, Outcome};
use crate::datagrams::{self, Receiver, Sender};
use crate::{CallOptions, Error, Payload, Reply, config_for, socket};

/// Longest sleep between two looks at the clock.
const SLEEP: Duration = Duration::from_secs(1);

/// A caller of one appliance: one call at a time, or many in flight.
///
/// The protocol moves while the caller is in one of its methods. Calls that are open when it is dropped are cancelled.
pub struct Client {
    socket: UdpSocket,
    address: SocketAddr,
    calls: Calls,
    /// Ended while another one was waited for.
    ended: VecDeque<(RequestId, Outcome)>,
    sender: Sender,
    receiver: Receiver,
}

impl Client {
    /// Opens a socket for this appliance, with random sessions. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Socket`] if the kernel has no socket or no route.
    pub fn connect(address: SocketAddr) -> Result<Self, Error> {
        Self::with_config(address, config_for(address))
    }

    /// The same with other bounds and waits.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn with_config(address: SocketAddr, config: Config) -> Result<Self, Error> {
        let (socket, config) = socket::connect_for(address, config)?;
        let datagram_bytes = socket::datagram_bytes(&config);
        Ok(Self {
            socket,
            address,
            calls: Calls::new(address, config),
            ended: VecDeque::new(),
            sender: Sender::new(datagram_bytes),
            receiver: Receiver::new(datagram_bytes),
        })
    }

    /// Who is called.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that were not used, and fragments that were sent again so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.calls.counters()
    }

    /// Bytes of a fragment of requests from now on: more once larger datagrams are known to pass.
    #[must_use]
    pub fn fragment_bytes(&self) -> u16 {
        self.calls.fragment_bytes()
    }

    /// Sends a request and waits for its reply. Other open calls go on.
    ///
    /// # Errors
    /// [`Error`] says why there is no reply.
    pub fn call(
        &mut self,
        lambda: u32,
        payload: impl Into<Payload>,
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        let id = self.start(lambda, payload, options)?;
        loop {
            self.turn(SLEEP);
            while let Some((ended, outcome)) = self.calls.ended() {
                if ended == id {
                    return outcome;
                }
                self.ended.push_back((ended, outcome));
            }
        }
    }

    /// Begins a call, which ends in [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`Error::PayloadTooLong`], [`Error::TooManyCalls`].
    pub fn start(
        &mut self,
        lambda: u32,
        payload: impl Into<Payload>,
        options: &CallOptions,
    ) -> Result<RequestId, Error> {
        if self.calls.open() == 0 {
            // An ICMP error that an earlier call left behind is not this one's.
            let _ = self.socket.take_error();
        }
        self.calls.start(lambda, payload.into(), options)
    }

    /// Waits until a call that was [started](Self::start) has ended; `None` if there is none.
    pub fn wait(&mut self) -> Option<(RequestId, Result<Reply, Error>)> {
        loop {
            let ended = self.wait_for(SLEEP);
            if ended.is_some() || self.calls.open() == 0 {
                return ended;
            }
        }
    }

    /// Waits so long at most; `None` if there is none, or none has ended by then.
    pub fn wait_for(&mut self, most: Duration) -> Option<(RequestId, Result<Reply, Error>)> {
        let start = Instant::now();
        let mut left = most;
        loop {
            if let Some(ended) = self.ended.pop_front().or_else(|| self.calls.ended()) {
                return Some(ended);
            }
            if self.calls.open() == 0 {
                return None;
            }
            self.turn(left);
            let passed = start.elapsed();
            if passed >= most {
                return self.calls.ended();
            }
            left = most - passed;
        }
    }

    /// Ends a call without an outcome, and tells the appliance; whether it was open.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let open = self.calls.cancel(id);
        self.transmit();
        open
    }

    /// Calls that have been started and have not ended.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.calls.open()
    }

    /// Sends what is due, takes what has come, and sleeps if there was neither.
    fn turn(&mut self, most: Duration) {
        let sent = self.transmit();
        let calls = &mut self.calls;
        let received = self.receiver.receive(&self.socket, |datagram| calls.frame(datagram));
        let moved = match received {
            Ok(0) => sent > 0,
            Ok(_) => {
                // Acknowledgements, before the caller gets what they are for.
                self.transmit();
                true
            }
            Err(error) => {
                self.calls.socket_failed(&error);
                true
            }
        };
        if !moved {
            let blocked = self.sender.is_blocked();
            // What is blocked wakes it when there is room.
            let due = self.calls.wait().filter(|_| !blocked);
            let wait = due.unwrap_or(most).min(most);
            if let Err(error) = datagrams::sleep(&self.socket, blocked, wait) {
                self.calls.socket_failed(&error);
            }
        }
    }

    /// Sends a batch of what is due; how many datagrams left.
    fn transmit(&mut self) -> usize {
        let calls = &mut self.calls;
        self.sender.send(&self.socket, |buffer| calls.transmit(buffer)).unwrap_or_else(|error| {
            self.calls.socket_failed(&error);
            0
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.calls.cancel_all();
        while self.transmit() > 0 {}
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("open_calls", &self.calls.open())
            .field("counters", &self.calls.counters())
            .finish_non_exhaustive()
    }
}
