//! Calls over a connected UDP socket, from many tasks of a tokio runtime.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lnic_message::client::{Config, Counters, RequestId};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::calls::{Calls, Outcome};
use crate::{CallOptions, Error, Payload, Reply, config_for, socket};

/// More than the largest UDP payload.
const DATAGRAM_BYTES: usize = 1 << 16;
/// Datagrams that are taken before others may have the lock.
const BURST: usize = 64;
/// Longest sleep of the task.
const SLEEP: Duration = Duration::from_secs(1);
/// Pause after an error of the socket, should it last.
const PAUSE: Duration = Duration::from_millis(1);

/// A caller of one appliance, for many tasks: a call is a future, and one that is dropped is cancelled.
///
/// A clone is the same caller. A task of the runtime receives for all of them, until the last clone is dropped.
#[derive(Clone)]
pub struct AsyncClient {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

/// Ends with the last client.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared {
    socket: UdpSocket,
    address: SocketAddr,
    state: Mutex<State>,
    /// There is something to send earlier than the task knows.
    changed: Notify,
}

struct State {
    calls: Calls,
    waiting: HashMap<RequestId, oneshot::Sender<Outcome>>,
    buffer: Box<[u8]>,
    /// Bytes at the start of the buffer that the kernel did not take yet.
    unsent: usize,
}

impl AsyncClient {
    /// Opens a socket for this appliance, with random sessions. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Socket`] if the kernel has no socket or no route.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn connect(address: SocketAddr) -> Result<Self, Error> {
        Self::with_config(address, config_for(address))
    }

    /// The same with other bounds and waits.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub fn with_config(address: SocketAddr, config: Config) -> Result<Self, Error> {
        let (socket, config) = socket::connect_for(address, config)?;
        let open = || {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        };
        let socket = open().map_err(|source| Error::socket(address, source))?;
        let state = State {
            calls: Calls::new(address, config),
            waiting: HashMap::new(),
            buffer: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
            unsent: 0,
        };
        let shared = Arc::new(Shared { socket, address, state: Mutex::new(state), changed: Notify::new() });
        let task = Task(tokio::spawn(drive(Arc::clone(&shared))));
        Ok(Self { shared, _task: Arc::new(task) })
    }

    /// Who is called.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Datagrams that were not used, and fragments that were sent again so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().calls.counters()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.shared.lock().calls.open()
    }

    /// Sends a request and waits for its reply. Dropped before, it tells the appliance that nobody waits.
    ///
    /// # Errors
    /// [`Error`] says why there is no reply.
    pub async fn call(
        &self,
        lambda: u32,
        payload: impl Into<Payload>,
        options: &CallOptions,
    ) -> Result<Reply, Error> {
        let (call, outcome) = self.shared.start(lambda, payload.into(), options)?;
        // The sender is dropped only with the call.
        let outcome = outcome.await.expect("a call that is open has an outcome");
        drop(call);
        outcome
    }
}

/// An open call: cancelled when it is dropped, unless it has ended.
struct Call<'a> {
    shared: &'a Shared,
    id: RequestId,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.waiting.remove(&self.id).is_some() {
            state.calls.cancel(self.id);
            state.flush(&self.shared.socket);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The lock is held over no code of the caller's.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call, and sends what can be sent of it.
    fn start(
        &self,
        lambda: u32,
        payload: Payload,
        options: &CallOptions,
    ) -> Result<(Call<'_>, oneshot::Receiver<Outcome>), Error> {
        let (sender, outcome) = oneshot::channel();
        let mut state = self.lock();
        if state.calls.open() == 0 {
            // An ICMP error that an earlier call left behind is not this one's.
            let _ = self.socket.take_error();
        }
        let id = state.calls.start(lambda, payload, options)?;
        state.waiting.insert(id, sender);
        state.flush(&self.socket);
        drop(state);
        self.changed.notify_one();
        Ok((Call { shared: self, id }, outcome))
    }
}

impl State {
    /// Sends what is due, as much as the kernel takes now, and tells calls how they have ended.
    fn flush(&mut self, socket: &UdpSocket) {
        loop {
            if self.unsent == 0 {
                let Some(bytes) = self.calls.transmit(&mut self.buffer) else { break };
                self.unsent = bytes;
            }
            match socket.try_send(&self.buffer[..self.unsent]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // An error of the datagram, such as a probe that is larger than the interface's MTU: it is lost.
                Err(error) if is_of_datagram(&error) => {}
                Err(error) => self.calls.socket_failed(&error),
                Ok(_) => {}
            }
            // Also after an error: what was lost is sent again in time.
            self.unsent = 0;
        }
        while let Some((id, outcome)) = self.calls.ended() {
            if let Some(sender) = self.waiting.remove(&id) {
                // Its call may be dropped at this moment.
                let _ = sender.send(outcome);
            }
        }
    }

    /// Takes what has come; an error of the socket, told to the calls.
    fn receive(&mut self, socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BURST {
            match socket.try_recv(buffer) {
                Ok(bytes) => self.calls.frame(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.calls.socket_failed(&error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn is_of_datagram(error: &io::Error) -> bool {
    [nix::libc::EMSGSIZE, nix::libc::ENOBUFS].into_iter().any(|code| error.raw_os_error() == Some(code))
}

/// Receives, and looks at the clock.
async fn drive(shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut wait = SLEEP;
    loop {
        let blocked = shared.lock().unsent > 0;
        let readable = tokio::select! {
            () = shared.changed.notified() => false,
            _ = shared.socket.writable(), if blocked => false,
            _ = shared.socket.readable() => true,
            () = tokio::time::sleep(wait) => false,
        };
        let received = {
            let mut state = shared.lock();
            let received = if readable { state.receive(&shared.socket, &mut buffer) } else { Ok(()) };
            state.flush(&shared.socket);
            // What is blocked is woken by the socket.
            let due = state.calls.wait().filter(|_| state.unsent == 0);
            wait = due.unwrap_or(SLEEP).min(SLEEP);
            received
        };
        if received.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl fmt::Debug for AsyncClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClient")
            .field("address", &self.shared.address)
            .field("open_calls", &self.open_calls())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
