//! Neighbour solicitations for the port's IPv6 addresses (RFC 4861, 7.1.1 and 7.2.3; RFC 4862, 5.4.3); and advertisements that answer
//! its own (7.1.2).

use lnic_wire::ndp::{HOP_LIMIT, Packet, Repr};
use lnic_wire::{checksum, ethernet, ipv6, protocol};

use super::{Answer, address, is_addressed_to, is_station, message, sender};
use crate::frame::Frame;
use crate::observe::DropReason;
use crate::parser::{Interface, Parsed};

pub(super) fn answer<F: Frame>(frame: &mut F, parsed: &Parsed, interface: &Interface) -> Answer {
    let bytes = frame.bytes();
    let network = usize::from(parsed.network);
    let (Ok(ip), Some(message)) =
        (ipv6::Packet::new_checked(bytes.get(network..).unwrap_or_default()), message(bytes, parsed))
    else {
        return Answer::Drop(DropReason::Truncated);
    };
    let Ok(packet) = Packet::new_checked(message) else { return Answer::Drop(DropReason::Neighbour) };
    let (source, destination, target) = (ip.source(), ip.destination(), packet.target());
    if !interface.owns_ipv6(target) || !(destination.is_multicast() || destination == target) {
        return Answer::NotLocal;
    }
    let pseudo = checksum::pseudo_ipv6(source, destination, protocol::ICMPV6, parsed.end - parsed.transport);
    if !packet.verify_checksum(pseudo) {
        return Answer::Drop(DropReason::IcmpChecksum);
    }
    let Ok(Repr::Solicitation { source_link, .. }) = Repr::parse(&packet, pseudo) else {
        return Answer::Drop(DropReason::Neighbour);
    };
    // From no address: somebody checks whether it may have ours. All on the link have to hear that it may not.
    let duplicate_check = source.is_unspecified();
    let allowed = if duplicate_check {
        destination == ipv6::solicited_node(target) && source_link.is_none()
    } else {
        interface.can_answer_ipv6(source) && !source_link.is_some_and(ethernet::is_multicast)
    };
    let Some(asker) = sender(bytes).filter(|_| allowed && ip.hop_limit() == HOP_LIMIT) else {
        return Answer::Drop(DropReason::Neighbour);
    };
    let (reply_to, mac) = if duplicate_check {
        (ipv6::ALL_NODES, ipv6::multicast_mac(ipv6::ALL_NODES))
    } else {
        (source, source_link.unwrap_or(asker))
    };
    let advertisement = Repr::Advertisement {
        router: false,
        solicited: !duplicate_check,
        overrides: true,
        target,
        target_link: Some(interface.mac),
    };
    let message_bytes = advertisement.message_bytes();
    // The reply has an option that the question may have done without.
    if !frame.resize(network + ipv6::HEADER_BYTES + message_bytes) {
        return Answer::Drop(DropReason::TxSize);
    }
    #[expect(clippy::cast_possible_truncation, reason = "32")]
    let payload_bytes = message_bytes as u16;
    let bytes = frame.bytes_mut();
    address(bytes, mac, interface);
    let header = ipv6::Repr {
        source: target,
        destination: reply_to,
        next_header: protocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_bytes,
    };
    header.emit(&mut bytes[network..]);
    let pseudo = checksum::pseudo_ipv6(target, reply_to, protocol::ICMPV6, payload_bytes);
    advertisement.emit(&mut bytes[network + ipv6::HEADER_BYTES..], pseudo);
    frame.set_tx_offload(None);
    Answer::Reply
}

/// An advertisement that answers a solicitation of ours: to our own address, with the neighbour's MAC address. `None` for any other, and
/// for one that is malformed.
pub(super) fn told(bytes: &[u8], parsed: &Parsed, interface: &Interface) -> Option<Answer> {
    let ip = ipv6::Packet::new_checked(bytes.get(usize::from(parsed.network)..)?).ok()?;
    let packet = Packet::new_checked(message(bytes, parsed)?).ok()?;
    let (source, destination) = (ip.source(), ip.destination());
    let pseudo = checksum::pseudo_ipv6(source, destination, protocol::ICMPV6, parsed.end - parsed.transport);
    let Ok(Repr::Advertisement { solicited: true, target, target_link, .. }) = Repr::parse(&packet, pseudo)
    else {
        return None;
    };
    // Who is asked by unicast may leave it out (RFC 4861, 7.2.4), and Linux does.
    let mac = match target_link {
        Some(mac) => mac,
        None => ethernet::Frame::new_checked(bytes).ok()?.source(),
    };
    let is_ours = interface.owns_ipv6(destination) && is_addressed_to(bytes, interface.mac);
    let is_plausible = is_station(mac, interface) && interface.can_answer_ipv6(target);
    (is_ours && is_plausible && ip.hop_limit() == HOP_LIMIT).then_some(Answer::Told(target.into(), mac))
}
