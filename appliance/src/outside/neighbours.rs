//! Next hops and their MAC addresses: shared by all lcores and control, without locks.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lnic_wire::ethernet::MacAddress;

use super::HopId;
use crate::ids::PortId;

/// An answer is believed so long; who needs the hop then asks it again.
const CONFIRMED_NS: u64 = 30_000_000_000;
/// Time between two questions to a hop whose MAC address is not known.
const ASK_NS: u64 = 100_000_000;
/// Time between two questions to one whose MAC address was known.
const CONFIRM_NS: u64 = 1_000_000_000;
/// Questions that one whose MAC address was known may leave unanswered.
const CONFIRMATIONS: u32 = 3;
/// One that was last confirmed so long ago is not sent to: it would have been confirmed or dropped, had it been in use.
const STALE_NS: u64 = 120_000_000_000;
/// An answer is taken so long after a question.
const ANSWER_NS: u64 = 1_000_000_000;

/// Next hops and the MAC addresses that they answered with. Control says which hops there are; lcores ask, and write down answers.
///
/// Whichever lcore needs a hop asks for it, and whichever gets the answer writes it down for all: with several queues that need not be
/// the same.
pub struct Neighbours {
    hops: Box<[Hop]>,
    /// How often each is held: control's alone, lcores never look.
    held: Mutex<Box<[u32]>>,
}

/// One hop. Port and address change only while no lcore knows of it, except for one that looks for the sender of an answer: what it
/// then finds wrong, `state` says.
#[derive(Default)]
struct Hop {
    /// See [`State`].
    state: AtomicU64,
    /// When it was last asked, and has not answered since; 0 if it has not been asked.
    asked_ns: AtomicU64,
    /// When it last answered.
    confirmed_ns: AtomicU64,
    /// Questions since it last answered.
    unanswered: AtomicU32,
    port: AtomicU32,
    /// As IPv6, or mapped to it.
    address: [AtomicU64; 2],
}

/// A hop's state in one word: what it is, 2 bits; its life, 14 bits, another one each time that the place is given out; its MAC address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

const FREE: u64 = 0;
const UNKNOWN: u64 = 1;
const KNOWN: u64 = 2;

impl State {
    fn kind(self) -> u64 {
        self.0 & 3
    }

    fn mac(self) -> MacAddress {
        let [a, b, c, d, e, f, ..] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// The same life with another kind and without a MAC address.
    fn with(self, kind: u64) -> Self {
        Self(self.0 & 0xFFFC | kind)
    }

    fn known(self, mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self(u64::from_be_bytes([a, b, c, d, e, f, 0, 0]) | self.with(KNOWN).0)
    }

    fn next_life(self, kind: u64) -> Self {
        Self(self.0.wrapping_add(4)).with(kind)
    }
}

/// What is known of a hop, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Send to this MAC address.
    Known(MacAddress),
    /// The same, and ask there whether it is still right.
    Confirm(MacAddress),
    /// Ask who has the address, and wait.
    Ask,
    /// Wait: it was asked a moment ago.
    Wait,
}

/// A hop, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its port.
    pub port: PortId,
    /// Its address.
    pub address: IpAddr,
    /// What is known of it.
    pub state: NeighbourState,
    /// How often it is held.
    pub held: u32,
}

/// What is known of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Nobody has needed it yet, or not since it was dropped.
    Unknown,
    /// It was asked, and has not answered.
    Unanswered,
    /// It answered.
    Known {
        /// With this MAC address.
        mac: MacAddress,
        /// When, in ns since the appliance started.
        confirmed_ns: u64,
        /// Questions since, to confirm it.
        unanswered: u32,
    },
}

impl Neighbours {
    /// With room for so many next hops.
    #[must_use]
    pub fn new(hops: u16) -> Arc<Self> {
        Arc::new(Self {
            hops: (0..hops).map(|_| Hop::default()).collect(),
            held: Mutex::new(vec![0; hops.into()].into()),
        })
    }

    /// Control: a place for this next hop, the one that it has already if there is one; `None` if there is no room. Each is given back
    /// as often as it was held.
    #[must_use]
    pub fn hold(&self, port: PortId, address: IpAddr) -> Option<HopId> {
        let mut held = self.held();
        let is_it = |at: usize| self.hops[at].is(port, address);
        let at = (0..held.len())
            .find(|&at| held[at] > 0 && is_it(at))
            .or_else(|| held.iter().position(|count| *count == 0))?;
        if held[at] == 0 {
            self.hops[at].begin(port, address);
        }
        held[at] += 1;
        Some(HopId(at as u16))
    }

    /// Control: gives a place back, once no lcore has a service with it any more.
    pub fn release(&self, hop: HopId) {
        let mut held = self.held();
        let at = usize::from(hop.0);
        if let Some(count) = held.get_mut(at).filter(|count| **count > 0) {
            *count -= 1;
            if *count == 0 {
                self.hops[at].end();
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Box<[u32]>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Control: all hops, for people.
    #[must_use]
    pub fn list(&self) -> Vec<Neighbour> {
        let held = self.held();
        let all = self.hops.iter().zip(&**held).filter(|(_, held)| **held > 0);
        all.map(|(hop, &held)| hop.shown(held)).collect()
    }

    /// Port and address of a hop that is held.
    #[must_use]
    pub fn address(&self, hop: HopId) -> Option<(PortId, IpAddr)> {
        self.hops.get(usize::from(hop.0)).map(|hop| (hop.port(), hop.address()))
    }

    /// The MAC address of a hop for what is sent now. Says ASK to one lcore at a time, and not too often.
    #[inline]
    pub fn look(&self, hop: HopId, now_ns: u64) -> Look {
        let Some(hop) = self.hops.get(usize::from(hop.0)) else { return Look::Wait };
        let state = State(hop.state.load(Acquire));
        if state.kind() != KNOWN {
            return if hop.may_ask(now_ns, ASK_NS) { Look::Ask } else { Look::Wait };
        }
        if now_ns.saturating_sub(hop.confirmed_ns.load(Relaxed)) < CONFIRMED_NS {
            return Look::Known(state.mac());
        }
        hop.confirm(state, now_ns)
    }

    /// Writes down an answer: this address is at this MAC address. Taken only from a hop that was asked within the last second and has
    /// not answered since; true then.
    pub fn told(&self, port: PortId, address: IpAddr, mac: MacAddress, now_ns: u64) -> bool {
        let found = self.hops.iter().find_map(|hop| {
            let state = State(hop.state.load(Acquire));
            (state.kind() != FREE && hop.is(port, address)).then_some((hop, state))
        });
        found.is_some_and(|(hop, state)| hop.answered(state, mac, now_ns))
    }
}

impl Hop {
    fn is(&self, port: PortId, address: IpAddr) -> bool {
        self.port() == port && self.mapped() == mapped(address)
    }

    fn port(&self) -> PortId {
        PortId::new(self.port.load(Relaxed) as u16)
    }

    fn mapped(&self) -> u128 {
        let [high, low] = &self.address;
        u128::from(high.load(Relaxed)) << 64 | u128::from(low.load(Relaxed))
    }

    fn address(&self) -> IpAddr {
        Ipv6Addr::from_bits(self.mapped()).to_canonical()
    }

    fn begin(&self, port: PortId, address: IpAddr) {
        let bits = mapped(address);
        self.port.store(port.raw().into(), Relaxed);
        self.address[0].store((bits >> 64) as u64, Relaxed);
        self.address[1].store(bits as u64, Relaxed);
        self.asked_ns.store(0, Relaxed);
        self.unanswered.store(0, Relaxed);
        let free = State(self.state.load(Relaxed));
        self.state.store(free.next_life(UNKNOWN).0, Release);
    }

    fn end(&self) {
        let state = State(self.state.load(Relaxed));
        self.state.store(state.with(FREE).0, Release);
    }

    /// True for one lcore, and not again before so much time has passed.
    fn may_ask(&self, now_ns: u64, interval_ns: u64) -> bool {
        let asked_ns = self.asked_ns.load(Relaxed);
        let is_due = asked_ns == 0 || now_ns.saturating_sub(asked_ns) >= interval_ns;
        is_due && self.asked_ns.compare_exchange(asked_ns, now_ns.max(1), AcqRel, Relaxed).is_ok()
    }

    /// One that has not answered for a while: it is asked while it is used, and dropped if it does not answer.
    #[cold]
    fn confirm(&self, state: State, now_ns: u64) -> Look {
        if !self.may_ask(now_ns, CONFIRM_NS) {
            return Look::Known(state.mac());
        }
        let is_stale = now_ns.saturating_sub(self.confirmed_ns.load(Relaxed)) >= STALE_NS;
        if !is_stale && self.unanswered.fetch_add(1, Relaxed) < CONFIRMATIONS {
            return Look::Confirm(state.mac());
        }
        self.unanswered.store(0, Relaxed);
        // It fails if the hop answers now after all.
        match self.state.compare_exchange(state.0, state.with(UNKNOWN).0, AcqRel, Relaxed) {
            Ok(_) => Look::Ask,
            Err(_) => Look::Wait,
        }
    }

    fn answered(&self, state: State, mac: MacAddress, now_ns: u64) -> bool {
        let asked_ns = self.asked_ns.load(Acquire);
        if asked_ns == 0 || now_ns.saturating_sub(asked_ns) > ANSWER_NS {
            return false;
        }
        // One answer to a question: who wins writes it down.
        if self.asked_ns.compare_exchange(asked_ns, 0, AcqRel, Relaxed).is_err() {
            return false;
        }
        self.confirmed_ns.store(now_ns, Relaxed);
        self.unanswered.store(0, Relaxed);
        self.state.compare_exchange(state.0, state.known(mac).0, AcqRel, Relaxed).is_ok()
    }

    fn shown(&self, held: u32) -> Neighbour {
        let state = State(self.state.load(Acquire));
        let state = match state.kind() {
            KNOWN => NeighbourState::Known {
                mac: state.mac(),
                confirmed_ns: self.confirmed_ns.load(Relaxed),
                unanswered: self.unanswered.load(Relaxed),
            },
            _ if self.asked_ns.load(Relaxed) != 0 => NeighbourState::Unanswered,
            _ => NeighbourState::Unknown,
        };
        Neighbour { port: self.port(), address: self.address(), state, held }
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
