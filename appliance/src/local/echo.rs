//! ICMP and ICMPv6 echo to the port's own addresses (RFC 1122, 3.2.2.6; RFC 4443, 4.1 and 4.2).
//!
//! IP options and extension headers of the request are not repeated: a source route or a recorded one would have to be
//! turned round.

use lnic_wire::{checksum, icmpv4, icmpv6, ipv4, ipv6, protocol};

use super::{Answer, address, is_unicast, message, sender};
use crate::frame::Frame;
use crate::observe::DropReason;
use crate::parser::{Interface, Parsed};

/// Time to live and hop limit of a reply.
const TTL: u8 = 64;

pub(super) fn ipv4<F: Frame>(frame: &mut F, parsed: &Parsed, interface: &Interface) -> Answer {
    let bytes = frame.bytes();
    let network = usize::from(parsed.network);
    let (Ok(ip), Some(message)) =
        (ipv4::Packet::new_checked(bytes.get(network..).unwrap_or_default()), message(bytes, parsed))
    else {
        return Answer::Drop(DropReason::Truncated);
    };
    let Ok(echo) = icmpv4::Packet::new_checked(message) else { return Answer::Drop(DropReason::Truncated) };
    let (source, destination) = (ip.source(), ip.destination());
    let question = echo.kind() == icmpv4::ECHO_REQUEST && echo.code() == 0;
    if !question || !interface.owns_ipv4(destination) || !is_unicast(bytes) {
        return Answer::NotLocal;
    }
    if !echo.verify_checksum() {
        return Answer::Drop(DropReason::IcmpChecksum);
    }
    let Some(asker) = sender(bytes).filter(|_| interface.can_answer_ipv4(source)) else {
        return Answer::Drop(DropReason::SourceAddress);
    };
    let header = ipv4::Repr {
        source: destination,
        destination: source,
        protocol: protocol::ICMP,
        traffic_class: ip.traffic_class(),
        identification: ip.identification(),
        dont_fragment: ip.dont_fragment(),
        ttl: TTL,
        payload_bytes: parsed.end - parsed.transport,
    };
    let sum = match checksum::update(echo.checksum(), word(icmpv4::ECHO_REQUEST), word(icmpv4::ECHO_REPLY)) {
        // Of a message that is all zeros the sum is zero and the checksum all ones; the update cannot tell both apart.
        0 => 0xFFFF,
        sum => sum,
    };
    let transport = network + ipv4::HEADER_BYTES;
    reply(frame, parsed, transport, icmpv4::ECHO_REPLY, sum);
    let bytes = frame.bytes_mut();
    header.emit(&mut bytes[network..]);
    address(bytes, asker, interface);
    Answer::Reply
}

pub(super) fn ipv6<F: Frame>(frame: &mut F, parsed: &Parsed, interface: &Interface) -> Answer {
    let bytes = frame.bytes();
    let network = usize::from(parsed.network);
    let (Ok(ip), Some(message)) =
        (ipv6::Packet::new_checked(bytes.get(network..).unwrap_or_default()), message(bytes, parsed))
    else {
        return Answer::Drop(DropReason::Truncated);
    };
    let Ok(echo) = icmpv6::Packet::new_checked(message) else { return Answer::Drop(DropReason::Truncated) };
    let (source, destination) = (ip.source(), ip.destination());
    let question = echo.kind() == icmpv6::ECHO_REQUEST && echo.code() == 0;
    if !question || !interface.owns_ipv6(destination) || !is_unicast(bytes) {
        return Answer::NotLocal;
    }
    let message_bytes = parsed.end - parsed.transport;
    if !echo.verify_checksum(checksum::pseudo_ipv6(source, destination, protocol::ICMPV6, message_bytes)) {
        return Answer::Drop(DropReason::IcmpChecksum);
    }
    let Some(asker) = sender(bytes).filter(|_| interface.can_answer_ipv6(source)) else {
        return Answer::Drop(DropReason::SourceAddress);
    };
    let header = ipv6::Repr {
        source: destination,
        destination: source,
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        traffic_class: ip.traffic_class(),
        flow_label: 0,
        payload_bytes: message_bytes,
    };
    // The pseudo-header's sum stays the same when its addresses change places.
    let sum = checksum::update(echo.checksum(), word(icmpv6::ECHO_REQUEST), word(icmpv6::ECHO_REPLY));
    let transport = network + ipv6::HEADER_BYTES;
    reply(frame, parsed, transport, icmpv6::ECHO_REPLY, sum);
    let bytes = frame.bytes_mut();
    header.emit(&mut bytes[network..]);
    address(bytes, asker, interface);
    Answer::Reply
}

/// Type and code as the checksum sees them; the code of echo is 0.
const fn word(kind: u8) -> u16 {
    (kind as u16) << 8
}

/// Moves the message to `transport`, over options or extension headers if there were any, ends the frame behind it, and makes
/// it a reply. The message begins at `transport` or behind it, so that everything stays in the frame.
fn reply<F: Frame>(frame: &mut F, parsed: &Parsed, transport: usize, kind: u8, sum: u16) {
    let (old, end) = (usize::from(parsed.transport), usize::from(parsed.end));
    let bytes = frame.bytes_mut();
    bytes.copy_within(old..end, transport);
    let [high, low] = sum.to_be_bytes();
    bytes[transport..transport + 4].copy_from_slice(&[kind, 0, high, low]);
    // Shrinking cannot fail.
    frame.resize(transport + end - old);
    frame.set_tx_offload(None);
}
