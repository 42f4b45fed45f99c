//! The caller's end: requests of any length to one server, many at a time, each of which ends in one [`Event`].
//!
//! [`request`](Machine::request) takes a request; [`poll_transmit`](Machine::poll_transmit) writes what is to be sent,
//! [`frame`](Machine::frame) reads what came, [`poll_event`](Machine::poll_event) says how requests ended,
//! [`timeout_us`](Machine::timeout_us) when to poll again.
//!
//! A request waits, is sent, backs off if the server is busy, and its reply is received:
//!
//! ```text
//!            cookie, room       last byte           RSP of several
//!  Waiting ─────────────► Sending ──────► (waits) ─────────────► Receiving ──► Event
//!                          ▲   │  BUSY                              │
//!                          └─ Backoff        UNKNOWN_RPC, not once ─┘ (begins anew)
//! ```
//!
//! - What needs memory at the server, at-most-once requests and those of several fragments, waits for a cookie. The cookie
//!   is used until it is refused.
//! - At-most-once requests have a session of their own, so that their sequences are dense, and are never further apart than
//!   the server's window.
//! - An at-most-once request that was sent in one life of the server is not sent in the next: it fails.

mod config;
mod path;
mod receive;
mod request;
mod transmit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use config::{Config, Counters, Error, Event, Failure, Reply, RequestId, RequestOptions};
use path::Path;
use request::{Request, Stage};

use crate::{AT_MOST_ONCE_LIFETIME_US, Head, MESSAGE_BYTES, WINDOW};

/// Which of its two sessions a request belongs to.
const PLAIN: usize = 0;
const ONCE: usize = 1;

/// One end of λ-RPC for one server. `P` is what a request's bytes lie in.
#[derive(Debug)]
pub struct Machine<P> {
    config: Config,
    random: fastrand::Rng,
    path: Path,
    /// Sessions for plain and for at-most-once requests, and the last sequence of each.
    sessions: [(u32, u32); 2],
    requests: BTreeMap<u64, Request<P>>,
    /// When to look at which request.
    timers: BTreeSet<(u64, u64)>,
    /// Those that wait for a turn: without, and with the need for a cookie.
    waiting: [VecDeque<u64>; 2],
    in_flight: usize,
    /// A request was cancelled: others may begin.
    is_vacated: bool,
    /// Those with something to send.
    ready: VecDeque<u64>,
    /// Datagrams without payload.
    control: VecDeque<Head>,
    events: VecDeque<Event>,
    buffered_bytes: usize,
    counters: Counters,
}

impl<P: AsRef<[u8]>> Machine<P> {
    /// A machine without requests. `seed` is random and new with each start: sessions come from it.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plain = random.u32(..);
        let mut sessions = [(plain, 0), (random.u32(..), 0)];
        if sessions[ONCE].0 == plain {
            sessions[ONCE].0 = !plain;
        }
        Self {
            path: Path::new(&config),
            config,
            random,
            sessions,
            requests: BTreeMap::new(),
            timers: BTreeSet::new(),
            waiting: [VecDeque::new(), VecDeque::new()],
            in_flight: 0,
            is_vacated: false,
            ready: VecDeque::new(),
            control: VecDeque::new(),
            events: VecDeque::new(),
            buffered_bytes: 0,
            counters: Counters::default(),
        }
    }

    /// Takes a request. It ends in exactly one [`Event`], unless it is [cancelled](Self::cancel).
    ///
    /// # Errors
    /// [`Error`] says why it is not taken.
    pub fn request(
        &mut self,
        now_us: u64,
        lambda: u32,
        payload: P,
        options: RequestOptions,
    ) -> Result<RequestId, Error> {
        let bytes = payload.as_ref().len();
        let Some(message_bytes) = u32::try_from(bytes).ok().filter(|&bytes| bytes <= MESSAGE_BYTES) else {
            return Err(Error::TooLong { bytes });
        };
        if self.requests.len() >= self.config.requests {
            return Err(Error::Full { requests: self.requests.len() });
        }
        let once = options.once();
        let id = self.next_id(if once { ONCE } else { PLAIN });
        let mut lifetime_us = match (options.lifetime_us, options.budget_us) {
            (0, 0) => self.config.lifetime_us,
            (0, budget_us) => u64::from(budget_us),
            (lifetime_us, _) => lifetime_us,
        };
        if once {
            lifetime_us = lifetime_us.min(AT_MOST_ONCE_LIFETIME_US);
        }
        let fragment_bytes =
            self.path.request_fragment_bytes(&self.config, message_bytes, options.trace.is_some());
        let request =
            Request::new(id, lambda, payload, message_bytes, options, fragment_bytes, now_us, lifetime_us);
        let needs_cookie = request.needs_cookie();
        self.timers.insert((request.timer_us, id));
        self.requests.insert(id, request);
        self.waiting[usize::from(needs_cookie)].push_back(id);
        self.begin_waiting(now_us);
        Ok(RequestId(id))
    }

    /// Ends a request without an event, and tells the server. Whether there was such a request.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let was_there = self.end(id.0, true).is_some();
        self.is_vacated |= was_there;
        was_there
    }

    /// How a request ended.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`poll_transmit`](Self::poll_transmit) if nothing comes before; 0 is now.
    #[must_use]
    pub fn timeout_us(&self) -> Option<u64> {
        if !self.control.is_empty() || !self.ready.is_empty() || self.is_vacated {
            return Some(0);
        }
        let timer_us = self.timers.first().map(|&(timer_us, _)| timer_us);
        [timer_us, self.path.timeout_us()].into_iter().flatten().min()
    }

    /// Requests that have not ended.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// What was not used, and what was sent again.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The server's number of its life, once it is known.
    #[must_use]
    pub fn epoch(&self) -> Option<u32> {
        self.path.epoch
    }

    /// Bytes of a fragment of requests from now on.
    #[must_use]
    pub fn fragment_bytes(&self) -> u16 {
        self.path.fragment_bytes(&self.config, false)
    }

    /// A new ID in a session; a session whose sequences are used up is replaced.
    fn next_id(&mut self, session: usize) -> u64 {
        let (mut number, mut sequence) = self.sessions[session];
        if sequence == u32::MAX {
            (number, sequence) = (self.random.u32(..), 0);
        }
        self.sessions[session] = (number, sequence + 1);
        u64::from(number) << 32 | u64::from(sequence + 1)
    }

    /// Begins the requests that may begin now.
    fn begin_waiting(&mut self, now_us: u64) {
        for needs_cookie in [false, true] {
            while self.in_flight < self.config.in_flight
                && let Some(&id) = self.waiting[usize::from(needs_cookie)].front()
            {
                let Some(once) = self.requests.get(&id).map(|request| request.options.once()) else {
                    self.waiting[usize::from(needs_cookie)].pop_front();
                    continue;
                };
                if needs_cookie && !self.path.is_open() {
                    let ping = self.next_id(PLAIN);
                    self.path.want_cookie(ping);
                    break;
                }
                if once && !self.fits_window(id) {
                    break;
                }
                self.waiting[usize::from(needs_cookie)].pop_front();
                self.begin(now_us, id);
            }
        }
    }

    /// Whether the server's window reaches from the oldest open at-most-once request to this one.
    fn fits_window(&self, id: u64) -> bool {
        let session = id & !u64::from(u32::MAX);
        self.requests.range(session..=id).next().is_none_or(|(&oldest, _)| id - oldest < u64::from(WINDOW))
    }

    fn begin(&mut self, now_us: u64, id: u64) {
        let fragment_bytes = {
            let Some(request) = self.requests.get(&id) else { return };
            self.path.fragment_bytes(&self.config, request.options.trace.is_some())
        };
        let Some(request) = self.requests.get_mut(&id) else { return };
        self.in_flight += 1;
        request.begin(now_us, fragment_bytes);
        let is_long = request.outgoing.shape().fragments() > 1;
        self.make_ready(id);
        if is_long && self.path.has_probes() {
            let ping = self.next_id(PLAIN);
            self.path.want_size(ping);
        }
    }

    /// Puts a request behind the others that have something to send.
    fn make_ready(&mut self, id: u64) {
        if let Some(request) = self.requests.get_mut(&id)
            && request.outgoing.is_ready()
            && !std::mem::replace(&mut request.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Sets when to look at a request, no later than its end.
    fn arm(&mut self, id: u64, at_us: u64) {
        if let Some(request) = self.requests.get_mut(&id) {
            let at_us = at_us.min(request.deadline_us);
            self.timers.remove(&(request.timer_us, id));
            self.timers.insert((at_us, id));
            request.timer_us = at_us;
        }
    }

    /// Takes a request out; with a CANCEL if the server may know of it.
    fn end(&mut self, id: u64, tell: bool) -> Option<Request<P>> {
        let request = self.requests.remove(&id)?;
        self.timers.remove(&(request.timer_us, id));
        self.buffered_bytes -= request.reply.len();
        if request.stage != Stage::Waiting {
            self.in_flight -= 1;
            if tell {
                self.send(request.control(lnic_wire::rpc::Kind::Cancel, 0));
            }
        }
        Some(request)
    }

    /// The time of a request is over. One that heard of nothing but a busy server ends with that answer.
    fn expire_request(&mut self, now_us: u64, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(busy_aux) = request.busy_aux else {
            return self.fail(now_us, id, Failure::DeadlineExceeded, true);
        };
        request.reply_aux = busy_aux;
        if let Some(request) = self.end(id, true) {
            self.events.push_back(Event::Reply(request.into_reply(now_us)));
            self.begin_waiting(now_us);
        }
    }

    fn fail(&mut self, now_us: u64, id: u64, failure: Failure, tell: bool) {
        if self.end(id, tell).is_some() {
            self.events.push_back(Event::Failed { id: RequestId(id), failure });
            self.begin_waiting(now_us);
        }
    }

    /// Queues a datagram without payload. A server that asks for more than is ever sent loses answers.
    fn send(&mut self, head: Head) {
        if self.control.len() < 2 * self.config.requests {
            self.control.push_back(head);
        }
    }
}
