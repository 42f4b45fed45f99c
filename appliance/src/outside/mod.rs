//! Station 4c: services outside the appliance, which lambdas ask by `lnic.request` and wait for.
//!
//! A request is one UDP datagram from an address of the appliance's own, and its reply one datagram back: or several, where the framing
//! is memcached's. Here is what that takes, each piece without frames, jobs or clocks: [`Pending`] requests and when they end,
//! [`UdpPorts`] that they leave from, [`memcached`]'s frame header, [`Neighbours`] and the words that they are asked and answer by
//! ([`neighbour`]). `path/outside.rs` joins them.
//!
//! What comes back is taken for a reply only if it comes from the service's address and port, to the address and port that the request
//! left from, on its port, while it is waited for; under memcached's framing with the request's ID besides. A UDP port and an ID cannot
//! be foretold from outside, and a UDP port rests before it is used again: a late reply is a stray.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::ids::PortId;

pub mod memcached;
pub mod neighbour;
mod neighbours;
mod pending;
mod random;
mod udp_ports;

#[cfg(test)]
mod tests;

pub use neighbours::{Look, Neighbour, NeighbourState, Neighbours};
pub use pending::{Asked, Pending, Place};
pub use random::Random;
pub use udp_ports::UdpPorts;

/// A service that a lambda may ask: found out by control, when the lambda is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where requests go.
    pub address: SocketAddr,
    /// The port that they leave on.
    pub port: PortId,
    /// Who they go to on that port's network: the service itself, or a gateway.
    pub hop: HopId,
    /// What is around requests and replies.
    pub framing: Framing,
}

/// What is around requests and replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Nothing: one datagram each.
    #[default]
    Datagram,
    /// memcached's frame header: request ID, sequence number, number of datagrams, zero (protocol.txt, "UDP protocol").
    Memcached,
}

impl Framing {
    /// Bytes before a request.
    #[must_use]
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::Datagram => 0,
            Self::Memcached => memcached::HEADER_BYTES,
        }
    }
}

/// A place in [`Neighbours`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopId(pub u16);

/// Services of one lambda by name, in the order of their handles. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Services(Arc<[(Box<str>, Service)]>);

impl Services {
    /// In this order.
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = (Box<str>, Service)>) -> Self {
        Self(services.into_iter().collect())
    }

    /// Handle of the service with this name.
    #[must_use]
    pub fn handle(&self, name: &str) -> Option<u32> {
        self.0.iter().position(|(own, _)| **own == *name).map(|at| at as u32)
    }

    /// The service with this handle.
    #[must_use]
    pub fn get(&self, handle: u32) -> Option<Service> {
        self.0.get(handle as usize).map(|(_, service)| *service)
    }
}

/// How one lcore that polls reaches what is outside: plain values, from control.
#[derive(Clone)]
pub struct Outside {
    /// Next hops, shared by all lcores.
    pub neighbours: Arc<Neighbours>,
    /// UDP ports that its requests leave from; no other lcore has one of them. Within the interfaces' `service_ports`.
    pub udp_ports: RangeInclusive<u16>,
    /// Requests that it may have under way at a time. At most half as many as it has UDP ports, so that those can rest.
    pub in_flight: u32,
    /// UDP ports of other lcores that poll, and the client end that leads to each: a reply may arrive here and be for one of them.
    pub others: Vec<(RangeInclusive<u16>, u8)>,
    /// Ports that it has no queue of, and the client end that leads to an lcore with one.
    pub elsewhere: Vec<(PortId, u8)>,
}

impl Outside {
    /// Of an lcore that is alone, or has others to be added.
    #[must_use]
    pub fn new(neighbours: Arc<Neighbours>, udp_ports: RangeInclusive<u16>, in_flight: u32) -> Self {
        Self { neighbours, udp_ports, in_flight, others: Vec::new(), elsewhere: Vec::new() }
    }
}
