//! The network layer: IPv4 with options, IPv6 with extension headers.
//!
//! Everything is inlined into `parse`: its result then stays in registers until it is whole, which halves the cost of a
//! frame whose checksums the port has verified (24 ns to 13 ns for 64 bytes of λ-RPC
//! without CRC; benchmark `path/parser`).

use std::net::{Ipv4Addr, Ipv6Addr};

use lnic_wire::{checksum, ipv4, ipv6, ipv6_extension};

use super::parse::{at, offset};
use super::transport::{self, Segment};
use super::{Interface, IpPlan, Parsed, Present};
use crate::frame::Checksum;
use crate::observe::DropReason;

/// IPv4 at `parsed.network`. `unicast`: the frame was sent to one station.
#[inline(always)]
pub(super) fn ipv4(
    plan: &IpPlan,
    bytes: &[u8],
    ip: Checksum,
    l4: Checksum,
    unicast: bool,
    interface: &Interface,
    parsed: &mut Parsed,
) -> Result<(), DropReason> {
    let network = usize::from(parsed.network);
    let Some(header) = at::<{ ipv4::HEADER_BYTES }>(bytes, network) else {
        return Err(DropReason::Truncated);
    };
    let destination = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
    let own = interface.owns_ipv4(Ipv4Addr::from_bits(destination));
    if !plan.wanted && !own {
        return Err(DropReason::Unmatched);
    }
    let header_bytes = usize::from(header[0] & 15) * 4;
    let total_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_bytes < ipv4::HEADER_BYTES || total_bytes < header_bytes {
        return Err(DropReason::IpHeader);
    }
    let (transport, end) = (network + header_bytes, network + total_bytes);
    if end > bytes.len() {
        return Err(DropReason::IpLength);
    }
    let right = match ip {
        Checksum::Good => true,
        Checksum::Bad => false,
        Checksum::Unknown => {
            // Options are rare, and a sum over a known length is a handful of instructions.
            let fixed = checksum::add(0, header);
            let options = bytes.get(network + ipv4::HEADER_BYTES..transport).unwrap_or_default();
            checksum::verify(if options.is_empty() { fixed } else { checksum::add(fixed, options) })
        }
    };
    if !right {
        return Err(DropReason::IpChecksum);
    }
    if header_bytes > ipv4::HEADER_BYTES
        && is_source_routed(bytes.get(network + ipv4::HEADER_BYTES..transport).unwrap_or_default())
    {
        return Err(DropReason::SourceRoute);
    }
    let source = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    parsed.key.source = mapped(source);
    parsed.key.destination = mapped(destination);
    parsed.key.protocol = header[9];
    parsed.key.present.add(Present::IPV4);
    parsed.transport = offset(transport);
    parsed.payload = parsed.transport;
    parsed.end = offset(end);
    let flags_offset = u16::from_be_bytes([header[6], header[7]]);
    if flags_offset & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) != 0 {
        parsed.fragment = true;
        return Ok(());
    }
    let segment = Segment {
        bytes: bytes.get(transport..end).unwrap_or_default(),
        pseudo: u64::from(source) + u64::from(destination) + u64::from(header[9]),
        checksum: l4,
        zero_allowed: true,
        ours: unicast && own,
    };
    transport::decode(plan, &segment, interface, parsed)
}

/// IPv6 at `parsed.network`. `unicast`: the frame was sent to one station.
#[inline(always)]
pub(super) fn ipv6(
    plan: &IpPlan,
    bytes: &[u8],
    l4: Checksum,
    unicast: bool,
    interface: &Interface,
    parsed: &mut Parsed,
) -> Result<(), DropReason> {
    let network = usize::from(parsed.network);
    let Some(header) = at::<{ ipv6::HEADER_BYTES }>(bytes, network) else {
        return Err(DropReason::Truncated);
    };
    let destination = Ipv6Addr::from_bits(address(header, 24));
    // Neighbours are asked for by groups.
    if !plan.wanted && !destination.is_multicast() && !interface.owns_ipv6(destination) {
        return Err(DropReason::Unmatched);
    }
    if header[0] >> 4 != 6 {
        return Err(DropReason::IpHeader);
    }
    let extension = network + ipv6::HEADER_BYTES;
    let end = extension + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Some(payload) = bytes.get(extension..end) else { return Err(DropReason::IpLength) };
    let Ok(chain) = ipv6_extension::skip(header[6], payload) else { return Err(DropReason::Ipv6Extension) };
    let source = Ipv6Addr::from_bits(address(header, 8));
    parsed.key.source = source.to_bits();
    parsed.key.destination = destination.to_bits();
    parsed.key.protocol = chain.upper;
    parsed.key.present.add(Present::IPV6);
    parsed.transport = offset(extension + chain.bytes);
    parsed.payload = parsed.transport;
    parsed.end = offset(end);
    if chain.fragment {
        parsed.fragment = true;
        return Ok(());
    }
    let segment = Segment {
        bytes: payload.get(chain.bytes..).unwrap_or_default(),
        pseudo: checksum::pseudo_ipv6(source, destination, chain.upper, 0),
        checksum: l4,
        zero_allowed: false,
        ours: unicast && interface.owns_ipv6(destination),
    };
    transport::decode(plan, &segment, interface, parsed)
}

/// An address in the fixed header.
#[inline(always)]
fn address(header: &[u8; ipv6::HEADER_BYTES], at: usize) -> u128 {
    header[at..].first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// An IPv4 address as keys have it.
#[inline(always)]
const fn mapped(address: u32) -> u128 {
    0xFFFF << 32 | address as u128
}

/// True if options hold a loose (131) or strict (137) source route. Malformed options end the search: nobody follows those.
#[cold]
fn is_source_routed(mut options: &[u8]) -> bool {
    loop {
        match *options {
            [131 | 137, ..] => return true,
            // No operation is one byte.
            [1, ref rest @ ..] => options = rest,
            // All but the end of the list have a length.
            [kind, length, ..] if kind != 0 && length >= 2 => {
                let Some(rest) = options.get(length.into()..) else { return false };
                options = rest;
            }
            _ => return false,
        }
    }
}
