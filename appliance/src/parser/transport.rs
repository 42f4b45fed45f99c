//! The transport layer: UDP, TCP, and λ-RPC over UDP.

use lnic_wire::{checksum, protocol, rpc, tcp, udp};

use super::parse::offset;
use super::{Interface, IpPlan, Parsed, Ports, Present};
use crate::frame::Checksum;
use crate::observe::DropReason;

/// Where the checksum lies in a header.
const UDP_CHECKSUM: usize = 6;
const TCP_CHECKSUM: usize = 16;

/// What IP carried, and what it says of it.
pub(super) struct Segment<'a> {
    /// From the transport header to the end of the packet.
    pub(super) bytes: &'a [u8],
    /// Sum of the pseudo-header without its length.
    pub(super) pseudo: u64,
    /// What the port says of the checksum.
    pub(super) checksum: Checksum,
    /// UDP may come without a checksum.
    pub(super) zero_allowed: bool,
    /// Sent to one of the interface's own addresses, and to one station only.
    pub(super) ours: bool,
}

/// Decodes UDP and TCP; whatever else starts at `parsed.transport` stays payload.
#[inline(always)]
pub(super) fn decode(
    plan: &IpPlan,
    segment: &Segment<'_>,
    interface: &Interface,
    parsed: &mut Parsed,
) -> Result<(), DropReason> {
    match parsed.key.protocol {
        protocol::UDP => udp(plan.udp, segment, interface, parsed),
        protocol::TCP => tcp(plan.tcp, segment, interface, parsed),
        _ => Ok(()),
    }
}

#[inline(always)]
fn udp(
    wanted: Ports,
    segment: &Segment<'_>,
    interface: &Interface,
    parsed: &mut Parsed,
) -> Result<(), DropReason> {
    let Some(header) = segment.bytes.first_chunk::<{ udp::HEADER_BYTES }>() else {
        return Err(DropReason::UdpLength);
    };
    let destination = u16::from_be_bytes([header[2], header[3]]);
    let is_rpc = segment.ours && destination == interface.rpc_port;
    let is_reply = segment.ours && interface.service_ports.has(destination);
    if !(wanted.has(destination) || is_rpc || is_reply) {
        return Err(DropReason::Unmatched);
    }
    // The IP payload may be longer: what lies behind the datagram is not its payload (RFC 9868 calls it the surplus area).
    let length = u16::from_be_bytes([header[4], header[5]]);
    let Some((datagram, _)) = segment.bytes.split_at_checked(usize::from(length)) else {
        return Err(DropReason::UdpLength);
    };
    let Some(message) = datagram.get(udp::HEADER_BYTES..) else { return Err(DropReason::UdpLength) };
    let field = u16::from_be_bytes([header[UDP_CHECKSUM], header[UDP_CHECKSUM + 1]]);
    if field == 0 {
        if !segment.zero_allowed {
            return Err(DropReason::UdpChecksum);
        }
    } else if !verify(segment, datagram, field, interface, parsed) {
        return Err(DropReason::UdpChecksum);
    }
    ports(u32::from_be_bytes([header[0], header[1], header[2], header[3]]), parsed);
    parsed.payload = parsed.transport + udp::HEADER_BYTES as u16;
    parsed.end = parsed.transport + length;
    if is_rpc {
        return rpc(message, parsed);
    }
    Ok(())
}

#[inline(always)]
fn tcp(
    wanted: Ports,
    segment: &Segment<'_>,
    interface: &Interface,
    parsed: &mut Parsed,
) -> Result<(), DropReason> {
    let Some(header) = segment.bytes.first_chunk::<{ tcp::HEADER_BYTES }>() else {
        return Err(DropReason::TcpHeader);
    };
    if !wanted.has(u16::from_be_bytes([header[2], header[3]])) {
        return Err(DropReason::Unmatched);
    }
    let header_bytes = usize::from(header[12] >> 4) * 4;
    if header_bytes < tcp::HEADER_BYTES || header_bytes > segment.bytes.len() {
        return Err(DropReason::TcpHeader);
    }
    let field = u16::from_be_bytes([header[TCP_CHECKSUM], header[TCP_CHECKSUM + 1]]);
    if !verify(segment, segment.bytes, field, interface, parsed) {
        return Err(DropReason::TcpChecksum);
    }
    ports(u32::from_be_bytes([header[0], header[1], header[2], header[3]]), parsed);
    parsed.payload = parsed.transport + offset(header_bytes);
    Ok(())
}

/// λ-RPC to this appliance. What kind of message it is, and whether its lengths agree, is judged later.
#[inline(always)]
fn rpc(message: &[u8], parsed: &mut Parsed) -> Result<(), DropReason> {
    let header = match rpc::Header::parse(message) {
        Ok(header) => header,
        Err(rpc::Error::Truncated) => return Err(DropReason::RpcTruncated),
        Err(rpc::Error::Version) => return Err(DropReason::RpcVersion),
        Err(rpc::Error::Header) => return Err(DropReason::RpcHeader),
        Err(rpc::Error::Crc) => return Err(DropReason::RpcCrc),
    };
    parsed.key.lambda = header.lambda;
    parsed.key.present.add(Present::RPC);
    parsed.rpc = parsed.payload;
    parsed.payload += offset(header.header_bytes);
    Ok(())
}

/// Source and destination port, which UDP and TCP have in their first word.
#[inline(always)]
fn ports(word: u32, parsed: &mut Parsed) {
    [parsed.key.source_port, parsed.key.destination_port] = [(word >> 16) as u16, word as u16];
    parsed.key.present.add(Present::PORTS);
}

/// True if the checksum is right, or partial where that is allowed; a partial one is noted whatever the port says, because
/// the next who reads the frame would find it wrong.
#[inline(always)]
fn verify(
    segment: &Segment<'_>,
    bytes: &[u8],
    field: u16,
    interface: &Interface,
    parsed: &mut Parsed,
) -> bool {
    let pseudo = segment.pseudo + bytes.len() as u64;
    if interface.partial_checksums && field == checksum::fold(pseudo) {
        parsed.partial_checksum = true;
        return true;
    }
    match segment.checksum {
        Checksum::Good => true,
        Checksum::Bad => false,
        Checksum::Unknown => checksum::verify(checksum::add(pseudo, bytes)),
    }
}

/// Makes the UDP or TCP checksum of a frame whose sender left it partial; nothing if it is not. `bytes` is the frame that
/// was parsed. Call it before such a frame leaves unchanged, as to the host: nobody after this would make it.
pub fn complete_checksum(bytes: &mut [u8], parsed: &Parsed) {
    if !parsed.partial_checksum {
        return;
    }
    let field = usize::from(parsed.transport)
        + if parsed.key.protocol == protocol::UDP { UDP_CHECKSUM } else { TCP_CHECKSUM };
    let range = usize::from(parsed.transport)..usize::from(parsed.end);
    let Some(segment) = bytes.get(range) else { return };
    // The field holds the pseudo-header's sum: a sum over the segment as it is includes it.
    let sum = match checksum::finish(checksum::add(0, segment)) {
        0 => 0xFFFF,
        sum => sum,
    };
    if let Some(field) = bytes.get_mut(field..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *field = sum.to_be_bytes();
    }
}
