//! The interface that a frame arrived on, as the stations see it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Parsed, Ports, Present};
use crate::ids::PortId;

/// Addresses and habits of one port: plain values, made from the configuration and the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The port.
    pub port: PortId,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its IPv4 address, for which it answers ARP and echo.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, for which it answers neighbour discovery and echo. The link-local address made from the MAC
    /// (EUI-64, RFC 4291 appendix A) is answered for as well.
    pub ipv6: Option<Ipv6Addr>,
    /// UDP port on its own addresses that speaks λ-RPC.
    pub rpc_port: u16,
    /// UDP ports on its own addresses that requests to services outside leave from: what comes to them is replies.
    pub service_ports: Ports,
    /// Takes frames for any MAC.
    pub promiscuous: bool,
    /// Accepts UDP and TCP checksums that hold only the pseudo-header's sum: veth and tap peers leave them to a card
    /// that does not exist (virtio's NEEDS_CSUM).
    pub partial_checksums: bool,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
}

impl Interface {
    /// The link-local address made from the MAC.
    #[inline]
    #[must_use]
    pub const fn link_local(&self) -> Ipv6Addr {
        lnic_wire::ipv6::link_local(self.mac)
    }

    /// True for its IPv4 address.
    #[inline]
    #[must_use]
    pub fn owns_ipv4(&self, address: Ipv4Addr) -> bool {
        self.ipv4 == Some(address)
    }

    /// True for its IPv6 address and its link-local one.
    #[inline]
    #[must_use]
    pub fn owns_ipv6(&self, address: Ipv6Addr) -> bool {
        self.ipv6 == Some(address) || address == self.link_local()
    }

    /// True if one other host can have this address, so that an answer to it reaches who asked and nobody else. 0/8 is "this
    /// network", 240/4 is reserved and ends in the broadcast address.
    #[inline]
    #[must_use]
    pub fn can_answer_ipv4(&self, address: Ipv4Addr) -> bool {
        let [first, ..] = address.octets();
        (1..224).contains(&first) && first != 127 && !self.owns_ipv4(address)
    }

    /// True if one other host can have this address.
    #[inline]
    #[must_use]
    pub fn can_answer_ipv6(&self, address: Ipv6Addr) -> bool {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.to_ipv4_mapped().is_some()
            || self.owns_ipv6(address))
    }

    /// True if an answer to the sender of a parsed frame reaches one other host: neither its MAC nor its IP address is a
    /// group's, nobody's or ours.
    #[inline]
    #[must_use]
    pub fn can_answer(&self, bytes: &[u8], parsed: &Parsed) -> bool {
        let present = parsed.key.present;
        let ip = if present.has(Present::IPV4) {
            self.can_answer_ipv4(Ipv4Addr::from_bits(parsed.key.source as u32))
        } else {
            !present.has(Present::IPV6) || self.can_answer_ipv6(Ipv6Addr::from_bits(parsed.key.source))
        };
        ip && bytes.get(6).is_some_and(|first| first & 1 == 0)
    }

    /// True if it takes frames for this MAC: its own, any group, or all if it is promiscuous.
    #[inline]
    #[must_use]
    pub fn takes(&self, destination: [u8; 6]) -> bool {
        destination == self.mac || lnic_wire::ethernet::is_multicast(destination) || self.promiscuous
    }
}
