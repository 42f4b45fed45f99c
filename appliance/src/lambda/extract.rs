//! Frame to `EXTRACTED_HEADERS_T`: writes what the parser found, in host byte order.
//!
//! A lambda gets the headers that it touches ([`HeaderSet`]); the others are zero, as if the frame had not had them, so that
//! nothing of the request before shows. If it forwards, [`complete`] adds them: a header that was not touched leaves as it came,
//! and the deparser sees the same as if all had been extracted.

use lnic_abi::{Ethernet, Headers, Ipv4, Ipv6, Meta, Rpc, Tcp, Udp, Vlan};
use lnic_wire::ethernet::HEADER_BYTES as ETHERNET_BYTES;
use lnic_wire::protocol;

use crate::parser::{HeaderSet, Parsed, Present};

/// Writes every header of a parsed frame to `headers`; those that the frame has not are zero. Benchmark: `path/extract`.
///
/// The parser has proven the offsets; a frame that was cut since then gives zeroed headers, never a read out of bounds.
#[inline]
pub fn extract(bytes: &[u8], parsed: &Parsed, time_ns: u64, headers: &mut Headers) {
    *headers = Headers::default();
    fill(bytes, parsed, time_ns, HeaderSet::ALL, headers);
}

/// Writes those of `set`; all others are zero. Benchmark: `path/extract_nothing`.
#[inline]
pub fn extract_only(bytes: &[u8], parsed: &Parsed, time_ns: u64, set: HeaderSet, headers: &mut Headers) {
    *headers = Headers::default();
    if set.has(HeaderSet::in_frame(parsed)) {
        // Most lambdas on most frames: without a question for each header.
        fill(bytes, parsed, time_ns, HeaderSet::ALL, headers);
    } else if set != HeaderSet::NONE {
        fill(bytes, parsed, time_ns, set, headers);
    }
}

/// Writes those headers of the frame, as it came, that were not `extracted`. Call it before the headers leave.
#[inline]
pub fn complete(bytes: &[u8], parsed: &Parsed, time_ns: u64, extracted: HeaderSet, headers: &mut Headers) {
    if !extracted.has(HeaderSet::in_frame(parsed)) {
        fill_missing(bytes, parsed, time_ns, extracted.missing(), headers);
    }
}

/// Kept out of line: a lambda that forwards touches most headers.
#[inline(never)]
fn fill_missing(bytes: &[u8], parsed: &Parsed, time_ns: u64, missing: HeaderSet, headers: &mut Headers) {
    fill(bytes, parsed, time_ns, missing, headers);
}

/// Writes those headers of `set` that the frame has, each as a whole.
#[inline(always)]
fn fill(bytes: &[u8], parsed: &Parsed, time_ns: u64, set: HeaderSet, headers: &mut Headers) {
    let key = &parsed.key;
    let port = key.port.raw();
    #[expect(clippy::cast_possible_truncation, reason = "a frame is at most 64 KiB")]
    let frame_length = bytes.len() as u32;
    if set.has(HeaderSet::META) {
        headers.meta = Meta { time_ns, frame_length, ingress_port: port, egress_port: port };
    }
    let Some(ethernet) = bytes.first_chunk::<ETHERNET_BYTES>() else { return };
    if set.has(HeaderSet::ETHERNET) {
        headers.ethernet = Ethernet {
            destination: [ethernet[0], ethernet[1], ethernet[2], ethernet[3], ethernet[4], ethernet[5]],
            source: [ethernet[6], ethernet[7], ethernet[8], ethernet[9], ethernet[10], ethernet[11]],
            ether_type: key.ether_type,
            valid: 1,
            reserved: 0,
        };
    }
    if set.has(HeaderSet::VLAN)
        && key.present.has(Present::VLAN)
        && let Some(tag) = at::<4>(bytes, ETHERNET_BYTES)
    {
        headers.vlan =
            Vlan { valid: 1, pcp: tag[0] >> 5, dei: tag[0] >> 4 & 1, vid: key.vlan, ..Vlan::default() };
    }
    let network = usize::from(parsed.network);
    if key.present.has(Present::IPV4) {
        if set.has(HeaderSet::IPV4) {
            ipv4(bytes, parsed, network, &mut headers.ipv4);
        }
    } else if key.present.has(Present::IPV6) && set.has(HeaderSet::IPV6) {
        ipv6(bytes, parsed, network, &mut headers.ipv6);
    }
    if key.present.has(Present::PORTS) {
        transport(bytes, parsed, set, headers);
    }
    if key.present.has(Present::RPC) && set.has(HeaderSet::RPC) {
        rpc(bytes, usize::from(parsed.rpc), &mut headers.rpc);
    }
}

#[inline]
fn ipv4(bytes: &[u8], parsed: &Parsed, network: usize, out: &mut Ipv4) {
    let Some(ip) = at::<20>(bytes, network) else { return };
    *out = Ipv4 {
        valid: 1,
        tos: ip[1],
        ttl: ip[8],
        protocol: ip[9],
        identification: u16::from_be_bytes([ip[4], ip[5]]),
        dont_fragment: ip[6] >> 6 & 1,
        options_bytes: (ip[0] & 15).saturating_sub(5) * 4,
        source: low32(parsed.key.source),
        destination: low32(parsed.key.destination),
        total_length: u16::from_be_bytes([ip[2], ip[3]]),
        reserved: 0,
    };
}

#[inline]
fn ipv6(bytes: &[u8], parsed: &Parsed, network: usize, out: &mut Ipv6) {
    let Some(ip) = at::<8>(bytes, network) else { return };
    let first = u32::from_be_bytes([ip[0], ip[1], ip[2], ip[3]]);
    *out = Ipv6 {
        valid: 1,
        traffic_class: (first >> 20 & 255) as u8,
        hop_limit: ip[7],
        protocol: parsed.key.protocol,
        flow_label: first & 0xF_FFFF,
        source: parsed.key.source.to_be_bytes(),
        destination: parsed.key.destination.to_be_bytes(),
        payload_length: u16::from_be_bytes([ip[4], ip[5]]),
        extension_bytes: parsed.transport.saturating_sub(parsed.network + 40),
    };
}

#[inline]
fn transport(bytes: &[u8], parsed: &Parsed, set: HeaderSet, headers: &mut Headers) {
    let transport = usize::from(parsed.transport);
    let key = &parsed.key;
    match key.protocol {
        protocol::UDP if set.has(HeaderSet::UDP) => {
            let Some(udp) = at::<8>(bytes, transport) else { return };
            headers.udp = Udp {
                valid: 1,
                reserved: 0,
                source_port: key.source_port,
                destination_port: key.destination_port,
                length: u16::from_be_bytes([udp[4], udp[5]]),
            };
        }
        protocol::TCP if set.has(HeaderSet::TCP) => {
            let Some(tcp) = at::<20>(bytes, transport) else { return };
            headers.tcp = Tcp {
                valid: 1,
                flags: tcp[13],
                source_port: key.source_port,
                destination_port: key.destination_port,
                window: u16::from_be_bytes([tcp[14], tcp[15]]),
                sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
                acknowledgement: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            };
        }
        _ => {}
    }
}

#[inline]
fn rpc(bytes: &[u8], offset: usize, out: &mut Rpc) {
    let Some(rpc) = at::<32>(bytes, offset) else { return };
    let word = |at: usize| u32::from_be_bytes([rpc[at], rpc[at + 1], rpc[at + 2], rpc[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([rpc[at], rpc[at + 1]]);
    let kind = rpc[1] >> 4;
    *out = Rpc {
        valid: 1,
        kind,
        flags: half(2),
        lambda_id: word(4),
        request_id: u64::from(word(8)) << 32 | u64::from(word(12)),
        message_length: word(16),
        fragment_bytes: half(20),
        fragment_index: half(22),
        ..Rpc::default()
    };
    // aux means one thing in a request and another in a reply.
    if kind == 1 {
        out.status = rpc[24];
        out.credit = rpc[25];
        out.service_us = half(26);
    } else {
        out.budget_us = word(24);
    }
}

#[inline]
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<&[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>()
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half of an IPv4-mapped address is the address")]
fn low32(address: u128) -> u32 {
    address as u32
}
