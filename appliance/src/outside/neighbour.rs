//! Questions to neighbours: ARP requests (RFC 826) and neighbour solicitations (RFC 4861, 7.2.2). Their answers are read where the port's
//! own addresses are spoken for, in `local`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lnic_wire::ethernet::{self, MacAddress};
use lnic_wire::ndp::{self, HOP_LIMIT};
use lnic_wire::{arp, checksum, ipv6, protocol};

use crate::parser::Interface;

/// Bytes of the longest question.
pub const MOST_BYTES: usize =
    ethernet::HEADER_BYTES + ipv6::HEADER_BYTES + ndp::HEADER_BYTES + ndp::LINK_OPTION_BYTES;

/// The address of an interface that goes with a peer's: of the same version, and on the link alone if that is. `None` if it has none.
#[must_use]
pub fn source(interface: &Interface, peer: IpAddr) -> Option<IpAddr> {
    match peer {
        IpAddr::V4(_) => interface.ipv4.map(IpAddr::V4),
        IpAddr::V6(peer) if peer.is_unicast_link_local() => Some(interface.link_local().into()),
        IpAddr::V6(_) => interface.ipv6.map(IpAddr::V6),
    }
}

/// Writes the frame that asks who has `address`: to all, or to the one who had it. Its length; `None` if the interface has no
/// address to ask from.
#[must_use]
pub fn question(
    interface: &Interface,
    address: IpAddr,
    known: Option<MacAddress>,
    frame: &mut [u8; MOST_BYTES],
) -> Option<usize> {
    match address {
        IpAddr::V4(target) => Some(request(interface, interface.ipv4?, target, known, frame)),
        IpAddr::V6(target) => {
            // A router's address may be one of the link alone, or the other way round.
            let IpAddr::V6(source) = source(interface, address).unwrap_or(interface.link_local().into())
            else {
                return None;
            };
            Some(solicitation(interface, source, target, known, frame))
        }
    }
}

fn request(
    interface: &Interface,
    source: Ipv4Addr,
    target: Ipv4Addr,
    known: Option<MacAddress>,
    frame: &mut [u8; MOST_BYTES],
) -> usize {
    let header = ethernet::Repr {
        destination: known.unwrap_or(ethernet::BROADCAST),
        source: interface.mac,
        ether_type: ethernet::TYPE_ARP,
    };
    header.emit(frame);
    let question = arp::Repr {
        operation: arp::REQUEST,
        source_mac: interface.mac,
        source_ipv4: source,
        target_mac: known.unwrap_or_default(),
        target_ipv4: target,
    };
    question.emit(&mut frame[ethernet::HEADER_BYTES..]);
    ethernet::HEADER_BYTES + arp::PACKET_BYTES
}

fn solicitation(
    interface: &Interface,
    source: Ipv6Addr,
    target: Ipv6Addr,
    known: Option<MacAddress>,
    frame: &mut [u8; MOST_BYTES],
) -> usize {
    let group = ipv6::solicited_node(target);
    let (destination, mac) = match known {
        Some(mac) => (target, mac),
        None => (group, ipv6::multicast_mac(group)),
    };
    let header = ethernet::Repr { destination: mac, source: interface.mac, ether_type: ethernet::TYPE_IPV6 };
    header.emit(frame);
    let question = ndp::Repr::Solicitation { target, source_link: Some(interface.mac) };
    #[expect(clippy::cast_possible_truncation, reason = "32")]
    let payload_bytes = question.message_bytes() as u16;
    let packet = ipv6::Repr {
        source,
        destination,
        next_header: protocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_bytes,
    };
    packet.emit(&mut frame[ethernet::HEADER_BYTES..]);
    let pseudo = checksum::pseudo_ipv6(source, destination, protocol::ICMPV6, payload_bytes);
    question.emit(&mut frame[ethernet::HEADER_BYTES + ipv6::HEADER_BYTES..], pseudo);
    MOST_BYTES
}
