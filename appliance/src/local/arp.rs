//! ARP requests for the port's IPv4 address (RFC 826), probes included (RFC 5227); and replies to its own.

use lnic_wire::arp::{PACKET_BYTES, Packet, REPLY, REQUEST, Repr};
use lnic_wire::ethernet;

use super::{Answer, address, is_addressed_to, is_station, sender};
use crate::frame::Frame;
use crate::observe::DropReason;
use crate::parser::{Interface, Parsed};

pub(super) fn answer<F: Frame>(frame: &mut F, parsed: &Parsed, interface: &Interface) -> Answer {
    let network = usize::from(parsed.network);
    let bytes = frame.bytes();
    let Ok(packet) = Packet::new_checked(bytes.get(network..).unwrap_or_default()) else {
        return Answer::Drop(DropReason::Neighbour);
    };
    let (asker_mac, asker_ipv4, target) = (packet.source_mac(), packet.source_ipv4(), packet.target_ipv4());
    if packet.operation() == REPLY {
        return told(&packet, bytes, interface);
    }
    // An asker who has the address that it asks for announces it.
    if packet.operation() != REQUEST || !interface.owns_ipv4(target) || asker_ipv4 == target {
        return Answer::NotLocal;
    }
    // A probe comes from no address.
    let plausible = asker_ipv4.is_unspecified() || interface.can_answer_ipv4(asker_ipv4);
    if sender(bytes).is_none() || ethernet::is_multicast(asker_mac) || !plausible {
        return Answer::Drop(DropReason::Neighbour);
    }
    // Sheds padding; shrinking cannot fail.
    frame.resize(network + PACKET_BYTES);
    let bytes = frame.bytes_mut();
    address(bytes, asker_mac, interface);
    let reply = Repr {
        operation: REPLY,
        source_mac: interface.mac,
        source_ipv4: target,
        target_mac: asker_mac,
        target_ipv4: asker_ipv4,
    };
    reply.emit(&mut bytes[network..]);
    frame.set_tx_offload(None);
    Answer::Reply
}

/// A reply, to us alone. One that is malformed, or for others, is nothing to us.
fn told(packet: &Packet<&[u8]>, bytes: &[u8], interface: &Interface) -> Answer {
    let (mac, ipv4) = (packet.source_mac(), packet.source_ipv4());
    let is_ours = interface.owns_ipv4(packet.target_ipv4())
        && packet.target_mac() == interface.mac
        && is_addressed_to(bytes, interface.mac);
    if is_ours && is_station(mac, interface) && interface.can_answer_ipv4(ipv4) {
        return Answer::Told(ipv4.into(), mac);
    }
    Answer::NotLocal
}
