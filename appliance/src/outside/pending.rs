//! Requests that are under way outside.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::memcached::Assembly;
use super::{Framing, Random, Service, UdpPorts};
use crate::ids::PortId;

/// A place in [`Pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// A request under way.
pub struct Asked<T> {
    /// Who waits for the reply, and what he asked.
    pub what: T,
    /// Who is asked.
    pub service: Service,
    /// UDP port that the request leaves from.
    pub udp_port: u16,
    /// Its ID, where the framing has one: no other request that is under way has the same.
    pub request_id: u16,
    /// From when on nobody waits any more.
    pub deadline_ns: u64,
    /// Since when it waits for the next hop's MAC address; `None` once it has left.
    pub waits_since_ns: Option<u64>,
    /// What is there of a reply of several datagrams.
    pub assembly: Assembly,
}

/// All requests of one lcore that are under way.
pub struct Pending<T> {
    places: Box<[Option<Asked<T>>]>,
    free: Vec<u32>,
    udp_ports: UdpPorts,
    range: RangeInclusive<u16>,
    /// Who uses each UDP port.
    users: Box<[u32]>,
    /// By place: the ID of a request that has one.
    ids: Box<[u32]>,
    /// Those that have not left.
    waiting: Vec<u32>,
    random: Random,
    /// No deadline is earlier.
    next_deadline_ns: u64,
    /// From which place on late ones are looked for.
    looked_at: usize,
}

/// No place uses a port; no ID.
const NONE: u32 = u32::MAX;

impl<T> Pending<T> {
    /// Room for so many requests, at most half as many as UDP ports.
    #[must_use]
    pub fn new(udp_ports: RangeInclusive<u16>, in_flight: u32) -> Self {
        let ports = udp_ports.len();
        let in_flight = in_flight.min(ports as u32 / 2);
        Self {
            places: (0..in_flight).map(|_| None).collect(),
            free: (0..in_flight).rev().collect(),
            udp_ports: UdpPorts::new(udp_ports.clone()),
            range: udp_ports,
            users: vec![NONE; ports].into(),
            ids: vec![NONE; in_flight as usize].into(),
            waiting: Vec::with_capacity(in_flight as usize),
            random: Random::new(),
            next_deadline_ns: u64::MAX,
            looked_at: 0,
        }
    }

    /// Is anything under way?
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// How many are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How many could be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// How many are of a kind. Looks at all of them.
    #[must_use]
    pub fn count(&self, is_one: impl Fn(&T) -> bool) -> usize {
        self.places.iter().flatten().filter(|asked| is_one(&asked.what)).count()
    }

    /// Is this one of the UDP ports that requests leave from here?
    #[inline]
    #[must_use]
    pub fn has_port(&self, udp_port: u16) -> bool {
        self.range.contains(&udp_port)
    }

    /// Begins a request, which waits until it is [`sent`](Self::sent); given back if there is no room.
    pub fn insert(&mut self, what: T, service: Service, deadline_ns: u64, now_ns: u64) -> Result<Place, T> {
        let Some(place) = self.free.pop() else { return Err(what) };
        let Some(udp_port) = self.udp_ports.take(&mut self.random) else {
            self.free.push(place);
            return Err(what);
        };
        let request_id = match service.framing {
            Framing::Datagram => 0,
            Framing::Memcached => self.unused_id(place),
        };
        self.users[usize::from(udp_port - self.range.start())] = place;
        self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
        self.waiting.push(place);
        self.places[place as usize] = Some(Asked {
            what,
            service,
            udp_port,
            request_id,
            deadline_ns,
            waits_since_ns: Some(now_ns),
            assembly: Assembly::default(),
        });
        Ok(Place(place))
    }

    /// One at a place.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&Asked<T>> {
        self.places.get(place.0 as usize)?.as_ref()
    }

    /// One at a place.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Asked<T>> {
        self.places.get_mut(place.0 as usize)?.as_mut()
    }

    /// It has left.
    pub fn sent(&mut self, place: Place) {
        if let Some(asked) = self.get_mut(place)
            && asked.waits_since_ns.take().is_some()
        {
            self.waiting.retain(|waiting| *waiting != place.0);
        }
    }

    /// The request that a datagram from this address, which came in on a port for one of these UDP ports, is a reply to.
    #[must_use]
    pub fn find(&self, udp_port: u16, from: SocketAddr, port: PortId) -> Option<Place> {
        let at = udp_port.checked_sub(*self.range.start())?;
        let place = Place(*self.users.get(usize::from(at))?);
        let asked = self.get(place)?;
        let service = &asked.service;
        let is_theirs = (service.address.ip(), service.address.port()) == (from.ip(), from.port())
            && service.port == port
            && asked.waits_since_ns.is_none();
        is_theirs.then_some(place)
    }

    /// Ends a request.
    pub fn remove(&mut self, place: Place) -> Option<Asked<T>> {
        let asked = self.places.get_mut(place.0 as usize)?.take()?;
        self.free.push(place.0);
        self.users[usize::from(asked.udp_port - self.range.start())] = NONE;
        self.udp_ports.give_back(asked.udp_port);
        self.ids[place.0 as usize] = NONE;
        if asked.waits_since_ns.is_some() {
            self.waiting.retain(|waiting| *waiting != place.0);
        }
        Some(asked)
    }

    /// Ends a request for which nobody waits any more, if there is one. Looks at all of them only when a deadline has passed.
    pub fn take_late(&mut self, now_ns: u64) -> Option<Asked<T>> {
        if now_ns < self.next_deadline_ns {
            return None;
        }
        let is_late = |asked: &Asked<T>| asked.deadline_ns <= now_ns;
        // On from where the last was: many that are late together are found in one pass.
        let mut places = self.looked_at..self.places.len();
        let Some(place) = places.find(|&at| self.places[at].as_ref().is_some_and(is_late)) else {
            self.looked_at = 0;
            let deadlines = self.places.iter().flatten().map(|asked| asked.deadline_ns);
            self.next_deadline_ns = deadlines.min().unwrap_or(u64::MAX);
            return None;
        };
        self.looked_at = place + 1;
        self.remove(Place(place as u32))
    }

    /// When the next is late; `u64::MAX` if nothing is under way. May be too early, never too late.
    #[must_use]
    pub fn next_deadline_ns(&self) -> u64 {
        self.next_deadline_ns
    }

    /// How many have not left.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// One that has not left: the nth, from 0, of as many as [`waiting`](Self::waiting) says.
    #[must_use]
    pub fn waits(&self, nth: usize) -> Option<Place> {
        self.waiting.get(nth).copied().map(Place)
    }

    /// An ID that no other has, for this place.
    fn unused_id(&mut self, place: u32) -> u16 {
        let mut id = self.random.number() as u16;
        while self.ids.contains(&id.into()) {
            id = id.wrapping_add(1);
        }
        self.ids[place as usize] = id.into();
        id
    }
}
