//! Messages of several fragments: one entry from the request's first fragment to the reply's ACK.

use lnic_wire::rpc::{self, Header, Kind};

use super::cache::CacheId;
use super::cookie::Secret;
use super::index::Index;
use super::list::{Links, List};
use super::session::SessionRef;
use super::types::{Origin, SlotId, Source, TenantId};
use crate::transfer::{Incoming, Outgoing};
use crate::{Head, Options};

/// Flags that all fragments of a message share.
pub(super) const MESSAGE_FLAGS: u16 = rpc::IDEMPOTENT | rpc::AT_MOST_ONCE | rpc::NOREPLY | rpc::CRC;

/// How many of the oldest exchanges are looked at for one that can make room.
const CANDIDATES: usize = 16;

/// How far an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// Fragments of the request are coming.
    Receiving,
    /// The lambda runs.
    Running,
    /// The lambda runs, but its reply is not wanted.
    Cancelled,
    /// Fragments of the reply are going.
    Sending,
    /// The reply, of one fragment, was sent and is in the cache.
    Replied(CacheId),
    /// Over. What was on its way meanwhile does not begin it anew.
    Ended,
}

impl State {
    /// Which list of lingering exchanges.
    fn list(self) -> Option<usize> {
        match self {
            Self::Ended => Some(0),
            Self::Replied(_) => Some(1),
            Self::Free | Self::Receiving | Self::Running | Self::Cancelled | Self::Sending => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Exchange<R> {
    pub(super) state: State,
    pub(super) generation: u32,
    pub(super) source: Source,
    pub(super) route: R,
    /// Of the first fragment of the request that came.
    pub(super) header: Header,
    pub(super) trace: Option<[u8; 25]>,
    pub(super) tenant: TenantId,
    pub(super) window: Option<SessionRef>,
    pub(super) slot: Option<SlotId>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    pub(super) reply_aux: u32,
    pub(super) opened_us: u64,
    /// Given up then, unless there is progress.
    pub(super) deadline_us: u64,
    /// When the request's budget ends.
    pub(super) budget_ends_us: u64,
    /// How long to wait this time, for fragments or for a word.
    pub(super) wait_us: u64,
    /// Times in a row that waiting was in vain.
    pub(super) waits: u32,
    /// When the first NACK since then was sent.
    pub(super) asked_us: Option<u64>,
    /// When the last NACK was sent.
    pub(super) told_us: u64,
    /// How long to wait for fragments before the first NACK: no less than they took to come after one.
    pub(super) nack_us: u64,
    /// In the list of those that have something to send.
    pub(super) is_ready: bool,
}

impl<R: Copy> Exchange<R> {
    /// Header and TLVs of a reply's fragment.
    pub(super) fn fragment(&self, epoch: u32, index: u32, again: bool) -> Head {
        let shape = self.outgoing.shape();
        let header = Header {
            kind: Kind::Reply,
            flags: self.header.flags & (rpc::CRC | rpc::PRIORITY_MASK) | if again { rpc::RTX } else { 0 },
            message_length: shape.message_bytes,
            fragment_index: index as u16,
            aux: self.reply_aux,
            ..self.header
        };
        Head::new(header, Options { cookie: None, trace: self.trace, epoch: Some(epoch) })
    }

    pub(super) fn origin(&self, entry: u32) -> Origin {
        Origin::Exchange { entry, generation: self.generation }
    }

    /// Notes progress: it may take longer again, within bounds.
    pub(super) fn progress(&mut self, now_us: u64, idle_us: u64, hold_us: u64) {
        self.waits = 0;
        self.deadline_us =
            (now_us + idle_us).min(self.opened_us.saturating_add(hold_us)).min(self.budget_ends_us);
    }
}

/// All exchanges.
#[derive(Debug)]
pub(super) struct Exchanges<R> {
    entries: Box<[Exchange<R>]>,
    index: Index,
    links: Links,
    free: List,
    ready: List,
    /// Those that are kept for what may still come, oldest first: such as are over, and such whose reply was sent.
    lingering: [List; 2],
    used: u32,
}

impl<R: Copy + Default> Exchanges<R> {
    /// Room for so many messages of at most so many fragments.
    pub(super) fn new(exchanges: usize, fragments: u32) -> Self {
        let (links, free) = Links::full(exchanges);
        let vacant = |_| Exchange {
            state: State::Free,
            generation: 0,
            source: Source::default(),
            route: R::default(),
            header: Header::request(0, 0, 0),
            trace: None,
            tenant: TenantId(0),
            window: None,
            slot: None,
            incoming: Incoming::with_capacity(fragments),
            outgoing: Outgoing::with_capacity(fragments),
            reply_aux: 0,
            opened_us: 0,
            deadline_us: 0,
            budget_ends_us: u64::MAX,
            wait_us: 0,
            waits: 0,
            asked_us: None,
            told_us: 0,
            nack_us: 0,
            is_ready: false,
        };
        Self {
            entries: (0..exchanges).map(vacant).collect(),
            index: Index::new(exchanges),
            links,
            free,
            ready: List::EMPTY,
            lingering: [List::EMPTY; 2],
            used: 0,
        }
    }

    pub(super) fn used(&self) -> u32 {
        self.used
    }

    pub(super) fn has_room(&self) -> bool {
        self.free.first().is_some()
    }

    pub(super) fn get(&self, entry: u32) -> &Exchange<R> {
        &self.entries[entry as usize]
    }

    pub(super) fn get_mut(&mut self, entry: u32) -> &mut Exchange<R> {
        &mut self.entries[entry as usize]
    }

    /// The exchange of a source's request.
    pub(super) fn find(&self, secret: &Secret, source: &Source, request: u64) -> Option<u32> {
        self.index.find(secret.hash((source, request)), |entry| {
            let exchange = self.get(entry);
            exchange.header.request == request && exchange.source == *source
        })
    }

    /// Takes a free entry for a request.
    pub(super) fn insert(
        &mut self,
        secret: &Secret,
        source: &Source,
        header: &Header,
        state: State,
    ) -> Option<u32> {
        let entry = self.links.pop(&mut self.free)?;
        let exchange = &mut self.entries[entry as usize];
        exchange.state = state;
        exchange.generation = exchange.generation.wrapping_add(1);
        exchange.source = *source;
        exchange.header = *header;
        (exchange.trace, exchange.window, exchange.slot) = (None, None, None);
        (exchange.waits, exchange.asked_us, exchange.told_us) = (0, None, 0);
        exchange.budget_ends_us = u64::MAX;
        self.index.insert(secret.hash((source, header.request)), entry);
        self.used += 1;
        Some(entry)
    }

    /// Gives an entry back.
    pub(super) fn remove(&mut self, secret: &Secret, entry: u32) {
        let exchange = &mut self.entries[entry as usize];
        let state = std::mem::replace(&mut exchange.state, State::Free);
        if let Some(list) = state.list() {
            self.links.remove(&mut self.lingering[list], entry);
        }
        let hash = secret.hash((&exchange.source, exchange.header.request));
        if std::mem::take(&mut exchange.is_ready) {
            self.links.remove(&mut self.ready, entry);
        }
        self.index.remove(hash, entry);
        self.links.push(&mut self.free, entry);
        self.used -= 1;
    }

    /// An exchange that neither receives, runs nor sends, but is kept: [`State::Replied`] or [`State::Ended`].
    pub(super) fn linger(&mut self, entry: u32, state: State) {
        let exchange = &mut self.entries[entry as usize];
        let before = std::mem::replace(&mut exchange.state, state);
        if std::mem::take(&mut exchange.is_ready) {
            self.links.remove(&mut self.ready, entry);
        }
        if let Some(list) = before.list() {
            self.links.remove(&mut self.lingering[list], entry);
        }
        if let Some(list) = state.list() {
            self.links.push(&mut self.lingering[list], entry);
        }
    }

    /// The exchange that can be spared first: of this tenant, among a few, or of any.
    pub(super) fn oldest_lingering(&self, tenant: Option<TenantId>) -> Option<u32> {
        self.lingering.iter().find_map(|list| {
            std::iter::successors(list.first(), |&entry| self.links.after(entry))
                .take(CANDIDATES)
                .find(|&entry| tenant.is_none_or(|tenant| self.get(entry).tenant == tenant))
        })
    }

    /// Puts an exchange behind the others that have something to send.
    pub(super) fn make_ready(&mut self, entry: u32) {
        let exchange = &mut self.entries[entry as usize];
        if !std::mem::replace(&mut exchange.is_ready, true) {
            self.links.push(&mut self.ready, entry);
        }
    }

    /// The exchange whose turn it is to send.
    pub(super) fn next_ready(&mut self) -> Option<u32> {
        let entry = self.links.pop(&mut self.ready)?;
        self.entries[entry as usize].is_ready = false;
        Some(entry)
    }

    /// Whether an exchange has something to send.
    pub(super) fn any_ready(&self) -> bool {
        self.ready.first().is_some()
    }
}
