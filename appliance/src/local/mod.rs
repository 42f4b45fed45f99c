//! Station 2b: the port's own addresses. ARP, neighbour discovery and echo are answered in place, in the frame that asked.
//!
//! Only questions to us end here. Replies, announcements, errors, routers' messages and whatever is for another address are
//! [`Answer::NotLocal`]: the host's own stack may wait for them. What a neighbour tells us of itself is [`Answer::Told`]: whether we
//! have asked is for others to say, and the host's stack may have asked too.
//!
//! A reply never goes to a group, and never to an address that cannot be its sender's: a forged question must not make the
//! appliance send to many, or to itself.

mod arp;
mod echo;
mod ndp;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use lnic_wire::ethernet::{self, MacAddress};
use lnic_wire::{icmpv6, protocol};

use crate::frame::Frame;
use crate::observe::DropReason;
use crate::parser::{Interface, Parsed};

/// What became of a frame that may be for the port itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Asks nothing of us; the frame is unchanged.
    NotLocal,
    /// The frame is the reply now: send it on the port that it came from.
    Reply,
    /// A question that is malformed, or must not be answered.
    Drop(DropReason),
    /// An answer to a question of ours, or of the host's: this address is at this MAC address. The frame is unchanged.
    Told(IpAddr, MacAddress),
}

/// Answers a question to the port's own addresses. VLAN tags stay as they are. Benchmark: `path/local`.
#[inline]
pub fn answer<F: Frame>(frame: &mut F, parsed: &Parsed, interface: &Interface) -> Answer {
    match (parsed.key.ether_type, parsed.key.protocol) {
        _ if parsed.fragment => Answer::NotLocal,
        (ethernet::TYPE_ARP, _) => arp::answer(frame, parsed, interface),
        (ethernet::TYPE_IPV4, protocol::ICMP) => echo::ipv4(frame, parsed, interface),
        (ethernet::TYPE_IPV6, protocol::ICMPV6) => icmpv6(frame, parsed, interface),
        _ => Answer::NotLocal,
    }
}

fn icmpv6<F: Frame>(frame: &mut F, parsed: &Parsed, interface: &Interface) -> Answer {
    let Some(message) = message(frame.bytes(), parsed) else { return Answer::Drop(DropReason::Truncated) };
    match icmpv6::Packet::new_checked(message).map(|packet| packet.kind()) {
        Ok(icmpv6::ECHO_REQUEST) => echo::ipv6(frame, parsed, interface),
        Ok(icmpv6::NEIGHBOUR_SOLICITATION) => ndp::answer(frame, parsed, interface),
        Ok(icmpv6::NEIGHBOUR_ADVERTISEMENT) => {
            ndp::told(frame.bytes(), parsed, interface).unwrap_or(Answer::NotLocal)
        }
        Ok(_) => Answer::NotLocal,
        Err(_) => Answer::Drop(DropReason::Truncated),
    }
}

/// The ICMP message of a frame.
#[inline]
fn message<'a>(bytes: &'a [u8], parsed: &Parsed) -> Option<&'a [u8]> {
    bytes.get(usize::from(parsed.transport)..usize::from(parsed.end))
}

/// Who sent the frame; `None` for a group, which sends nothing.
#[inline]
fn sender(bytes: &[u8]) -> Option<MacAddress> {
    let source = ethernet::Frame::new_checked(bytes).ok()?.source();
    (!ethernet::is_multicast(source)).then_some(source)
}

/// True if the frame was sent to one station.
#[inline]
fn is_unicast(bytes: &[u8]) -> bool {
    ethernet::Frame::new_checked(bytes).is_ok_and(|frame| !ethernet::is_multicast(frame.destination()))
}

/// True if the frame was sent to this MAC address.
fn is_addressed_to(bytes: &[u8], mac: MacAddress) -> bool {
    ethernet::Frame::new_checked(bytes).is_ok_and(|frame| frame.destination() == mac)
}

/// True if another station can have this MAC address.
fn is_station(mac: MacAddress, interface: &Interface) -> bool {
    !ethernet::is_multicast(mac) && mac != interface.mac && mac != MacAddress::default()
}

/// Addresses the frame to `destination`, from the port.
#[inline]
fn address(bytes: &mut [u8], destination: MacAddress, interface: &Interface) {
    if let Ok(mut frame) = ethernet::Frame::new_checked(bytes) {
        frame.set_destination(destination);
        frame.set_source(interface.mac);
    }
}
