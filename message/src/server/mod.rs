//! The appliance's end: requests into slots, replies out of them, at most once where asked for.
//!
//! One server belongs to one polling lcore. It allocates at [`Server::new`] and never after. The caller passes each datagram
//! to [`frame`](Server::frame), does what the [`Action`] says, gives each request that ran back to
//! [`reply`](Server::reply), and between bursts sends what [`poll`](Server::poll) yields.
//!
//! Requests of one frame without `AT_MOST_ONCE` need not pass here, unless they carry `RTX` or a cookie: nothing is kept of
//! them. [`call`](Server::call) makes such a request a [`Call`] if its reply turns out to be longer than a frame or than its
//! source may get.
//!
//! What a source without a cookie gets:
//! - a message of several fragments: a challenge, and no memory;
//! - an at-most-once request runs as long as less than half of the sessions are such. If it says RTX, its first
//!   transmission may have run in an earlier life of the server: STALE;
//! - a reply longer than [`AMPLIFICATION`] times its datagram is not sent, but a challenge. The
//!   request has run: at-most-once, its reply waits for the cookie; otherwise it runs again when it comes again;
//! - where even the challenge would be longer than what it answers: UNAUTHENTICATED, 32 bytes.

mod cache;
mod control;
mod cookie;
mod exchange;
mod index;
mod limits;
mod list;
mod reply;
mod request;
mod session;
mod timers;
mod types;

use lnic_wire::rpc::{self, Header, Kind, Status};

use cache::{Cache, Owner};
use cookie::Secret;
use exchange::{Exchanges, State};
use session::{Record, Sessions};
use timers::Wheel;

pub use cache::CacheId;
pub use limits::Limits;
pub use types::{
    Action, Answer, Body, Call, Dropped, Message, Refusal, SlotId, Slots, Source, TenantId, Transmit, Usage,
};

use crate::{AMPLIFICATION, CHALLENGE_BYTES, Head, Options};

/// Counters for sessions and exchanges by address.
const ADDRESS_BUCKETS: usize = 1024;

/// One end of λ-RPC for many sources. `R` is what the caller needs to send to a source: it comes back with each [`Transmit`].
#[derive(Debug)]
pub struct Server<R> {
    limits: Limits,
    secret: Secret,
    epoch: u32,
    exchanges: Exchanges<R>,
    sessions: Sessions,
    cache: Cache,
    /// Exchanges, then cached replies.
    timers: Wheel,
    tenants: Box<[u32]>,
    addresses: Box<[u32]>,
    dropped: [u64; Dropped::ALL.len()],
}

/// A datagram that has arrived.
struct Arrival<'a, R> {
    now_us: u64,
    source: &'a Source,
    route: R,
    header: &'a Header,
    options: Options,
    payload: &'a [u8],
    /// The datagram's bytes.
    bytes: u32,
    validated: bool,
}

impl<R> Arrival<'_, R> {
    /// Bytes that may be sent for it.
    fn allowance_bytes(&self) -> u32 {
        if self.validated { u32::MAX } else { self.bytes.saturating_mul(AMPLIFICATION) }
    }
}

impl<R: Copy + Default> Server<R> {
    /// A server without state. `key` and `epoch` are random and new with each start.
    #[must_use]
    pub fn new(limits: Limits, key: [u8; 16], epoch: u32) -> Self {
        let fragments = limits.fragments.min(crate::FRAGMENTS);
        let limits = Limits { fragments, ..limits };
        let timers = limits.exchanges as usize + Cache::capacity(limits.cache_bytes);
        Self {
            secret: Secret::new(key, limits.cookie_us),
            epoch,
            exchanges: Exchanges::new(limits.exchanges as usize, fragments),
            sessions: Sessions::new(limits.sessions as usize),
            cache: Cache::new(limits.cache_bytes, usize::from(limits.tenants), limits.cache_bytes_per_tenant),
            timers: Wheel::new(timers),
            tenants: vec![0; usize::from(limits.tenants)].into_boxed_slice(),
            addresses: vec![0; ADDRESS_BUCKETS].into_boxed_slice(),
            dropped: [0; Dropped::ALL.len()],
            limits,
        }
    }

    /// Takes a datagram whose header was parsed from it, and its CRC checked.
    pub fn frame<S: Slots>(
        &mut self,
        now_us: u64,
        source: &Source,
        route: R,
        header: &Header,
        datagram: &[u8],
        slots: &mut S,
    ) -> Action<R> {
        let arrival = self.arrival(now_us, source, route, header, datagram);
        let action = if self.limits.require_crc && header.flags & rpc::CRC == 0 {
            Action::Drop(Dropped::NoCrc)
        } else {
            match header.kind {
                Kind::Request => self.request(&arrival, slots),
                Kind::Nack => self.nack(&arrival, datagram),
                Kind::Grant => self.grant(&arrival),
                Kind::Ack => self.ack(&arrival, slots),
                Kind::Cancel => self.cancel(&arrival, slots),
                Kind::Ping => self.ping(&arrival),
                Kind::Reply | Kind::Challenge | Kind::Pong => Action::Drop(Dropped::Kind),
            }
        };
        if let Action::Drop(reason) = action {
            self.dropped[reason as usize] += 1;
        }
        action
    }

    /// The call of a request of one frame that did not pass here, so that its reply may.
    pub fn call(
        &self,
        now_us: u64,
        source: &Source,
        route: R,
        header: &Header,
        datagram: &[u8],
        tenant: TenantId,
    ) -> Call<R> {
        self.arrival(now_us, source, route, header, datagram).call(tenant, types::Origin::Plain)
    }

    /// Whether a datagram shows a cookie of this server's for its source.
    #[must_use]
    pub fn is_validated(&self, now_us: u64, source: &Source, header: &Header, datagram: &[u8]) -> bool {
        let cookie = Options::of(header.tlvs(datagram)).cookie;
        cookie.is_some_and(|cookie| self.secret.accepts(source, now_us, cookie))
    }

    /// What a source without a cookie gets in place of a reply that is longer than [`AMPLIFICATION`] times its
    /// datagram.
    #[must_use]
    pub fn instead(&self, now_us: u64, source: &Source, header: &Header, datagram_bytes: u32) -> Head {
        self.challenge(source, header, now_us, datagram_bytes.saturating_mul(AMPLIFICATION))
    }

    /// The next datagram to send. Call it until there is none.
    pub fn poll<S: Slots>(&mut self, now_us: u64, slots: &mut S) -> Option<Transmit<R>> {
        while let Some(timer) = self.timers.expired(now_us) {
            let sent = match timer.checked_sub(self.limits.exchanges) {
                None => self.exchange_expired(now_us, timer, slots),
                Some(cached) => {
                    self.evict(CacheId(cached), slots);
                    None
                }
            };
            if sent.is_some() {
                return sent;
            }
        }
        self.next_fragment(now_us)
    }

    /// When to [`poll`](Self::poll) again if no datagram comes before: now, as 0, if there is something to send.
    #[must_use]
    pub fn timeout_us(&self) -> Option<u64> {
        if self.exchanges.any_ready() { Some(0) } else { self.timers.next_us() }
    }

    /// Copies a cached reply to the start of `buffer`; its bytes, or `None` if it does not fit. Only before the next call
    /// of another method.
    #[must_use]
    pub fn cached(&self, reply: CacheId, buffer: &mut [u8]) -> Option<usize> {
        self.cache.copy(reply, buffer)
    }

    /// What is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            exchanges: self.exchanges.used(),
            sessions: self.sessions.used(),
            cached_bytes: self.cache.used_bytes(),
            timers: self.timers.armed(),
        }
    }

    /// How many datagrams were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize]
    }

    /// Number of this life of the server.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    fn arrival<'a>(
        &self,
        now_us: u64,
        source: &'a Source,
        route: R,
        header: &'a Header,
        datagram: &'a [u8],
    ) -> Arrival<'a, R> {
        let options = Options::of(header.tlvs(datagram));
        let validated = options.cookie.is_some_and(|cookie| self.secret.accepts(source, now_us, cookie));
        let bytes = datagram.len() as u32;
        let payload = header.payload(datagram);
        Arrival { now_us, source, route, header, options, payload, bytes, validated }
    }

    /// A challenge, or less where it would be longer than what it answers.
    fn challenge(&self, source: &Source, header: &Header, now_us: u64, allowance_bytes: u32) -> Head {
        if allowance_bytes < CHALLENGE_BYTES * AMPLIFICATION {
            return Head::status(header, Status::Unauthenticated, 0);
        }
        let cookie = Some(self.secret.cookie(source, now_us));
        Head::control(Kind::Challenge, header, 0, Options { cookie, epoch: Some(self.epoch), trace: None })
    }

    /// Counts a session or an exchange of an address, if it may have one more.
    fn enter(&mut self, source: &Source) -> bool {
        let count = &mut self.addresses[bucket(&self.secret, source)];
        let room = *count < self.limits.entries_per_address;
        *count += u32::from(room);
        room
    }

    /// A session or an exchange of an address is gone.
    fn leave(&mut self, source: &Source) {
        self.addresses[bucket(&self.secret, source)] -= 1;
    }

    /// Forgets a cached reply whose owner no longer names it.
    fn forget(&mut self, reply: CacheId) -> Owner {
        self.timers.disarm(self.limits.exchanges + reply.0);
        self.cache.remove(reply)
    }

    /// Forgets a cached reply, and tells its owner.
    fn evict<S: Slots>(&mut self, reply: CacheId, slots: &mut S) {
        match self.forget(reply) {
            Owner::Window { session, sequence } => {
                self.sessions.set(session, sequence, Record::Done);
            }
            Owner::Exchange(entry) => {
                self.end_exchange(entry, Record::Done, slots);
            }
        }
    }

    /// Whether a tenant may have one more exchange. If there are too many, one goes that is over, or whose reply was sent but
    /// not acknowledged: should its caller not have it, the request runs again.
    fn make_room_for_exchange<S: Slots>(&mut self, tenant: TenantId, slots: &mut S) -> bool {
        let Some(&of_tenant) = self.tenants.get(usize::from(tenant.0)) else { return false };
        let lingering = if of_tenant >= self.limits.exchanges_per_tenant {
            self.exchanges.oldest_lingering(Some(tenant))
        } else if !self.exchanges.has_room() {
            self.exchanges.oldest_lingering(None)
        } else {
            return true;
        };
        if let Some(entry) = lingering {
            self.close(entry, Record::Done, slots);
        }
        lingering.is_some()
    }

    /// Ends an exchange at its caller's word. The network may still bring fragments of it: the window knows them, or the
    /// entry is kept for a moment.
    fn retire<S: Slots>(&mut self, now_us: u64, entry: u32, slots: &mut S) {
        let exchange = self.exchanges.get_mut(entry);
        if exchange.window.is_some() {
            return self.close(entry, Record::Done, slots);
        }
        let state = exchange.state;
        if let Some(slot) = exchange.slot.take() {
            slots.free(slot);
        }
        if let State::Replied(reply) = state {
            self.forget(reply);
        }
        self.exchanges.linger(entry, State::Ended);
        self.timers.arm(entry, now_us, now_us + self.limits.linger_us);
    }

    /// Ends an exchange, and forgets the reply that was kept for it.
    fn close<S: Slots>(&mut self, entry: u32, record: Record, slots: &mut S) {
        if let State::Replied(reply) = self.exchanges.get(entry).state {
            self.forget(reply);
        }
        self.end_exchange(entry, record, slots);
    }

    /// Ends an exchange whose reply, if one was kept, is forgotten: its slot, its record and its entry.
    fn end_exchange<S: Slots>(&mut self, entry: u32, record: Record, slots: &mut S) {
        self.timers.disarm(entry);
        let exchange = self.exchanges.get_mut(entry);
        let (source, tenant, sequence) = (exchange.source, exchange.tenant, exchange.header.sequence());
        if let Some(slot) = exchange.slot.take() {
            slots.free(slot);
        }
        let window = exchange.window.take();
        if let Some(session) = window {
            self.sessions.close(session, sequence, record);
        }
        self.exchanges.remove(&self.secret, entry);
        self.tenants[usize::from(tenant.0)] -= 1;
        self.leave(&source);
    }
}

fn bucket(secret: &Secret, source: &Source) -> usize {
    (secret.hash((source.address, source.interface)) % ADDRESS_BUCKETS as u64) as usize
}
