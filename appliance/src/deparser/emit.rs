//! Writes headers and payload into a frame that has been laid out, and makes the checksums.

use lnic_abi::Headers;
use lnic_wire::checksum;
use lnic_wire::ethernet::{TYPE_IPV4, TYPE_IPV6, TYPE_VLAN};
use lnic_wire::rpc::{self, Header, Kind, Status};

use super::layout::{ETHERNET, Ip, Layout, RPC, UDP, upper_layer};
use crate::frame::{ChecksumOffload, Frame};

/// Writes everything. The frame has exactly the layout's size, and the kept pieces are in place.
///
/// Checksums are summed from values, and from the payload where the lambda left it: reading back what has just been written in
/// smaller pieces stalls until the writes have drained.
#[inline]
pub(super) fn write<F: Frame>(
    frame: &mut F,
    layout: &Layout,
    headers: &Headers,
    payload: &[u8],
    source_mac: [u8; 6],
    offload: bool,
) {
    // A port that makes checksums finds the upper layer by the fixed header: behind extension headers it would be wrong.
    let offload = offload && !(layout.ip == Ip::V6 && layout.extension > 0);
    let bytes = frame.bytes_mut();
    bytes[layout.payload..].copy_from_slice(payload);
    ethernet(bytes, layout, headers, source_mac);
    let message_sum = match layout.rpc {
        Some(kind) => message(&mut bytes[layout.payload - RPC..], headers, kind, payload),
        None => 0,
    };
    let pseudo = match layout.ip {
        Ip::None => 0,
        Ip::V4 => ipv4(&mut bytes[layout.network..], 0, layout, headers, offload),
        Ip::V6 => ipv6(&mut bytes[layout.network..], 0, layout, headers),
    };
    if layout.udp {
        udp(&mut bytes[layout.transport..], 0, headers, pseudo, message_sum, payload, offload);
    } else if layout.tcp {
        let segment = &mut bytes[layout.transport..];
        segment[16..18].fill(0);
        let sum = checksum::finish(checksum::add(pseudo, segment));
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    #[expect(clippy::cast_possible_truncation, reason = "header lengths")]
    frame.set_tx_offload((offload && layout.ip != Ip::None).then_some(ChecksumOffload {
        l2_bytes: layout.network as u8,
        l3_bytes: (layout.transport - layout.network) as u16,
        ipv4: layout.ip == Ip::V4,
        udp: layout.udp,
    }));
}

/// Writes the headers in front of a datagram that is in place, all but its last `apart` bytes, which are appended afterwards. Those
/// can be only where the port makes checksums.
pub(super) fn enclose<F: Frame>(
    frame: &mut F,
    apart: usize,
    layout: &Layout,
    headers: &Headers,
    source_mac: [u8; 6],
    offload: bool,
) {
    let bytes = frame.bytes_mut();
    ethernet(bytes, layout, headers, source_mac);
    let pseudo = match layout.ip {
        Ip::None => 0,
        Ip::V4 => ipv4(&mut bytes[layout.network..], apart, layout, headers, offload),
        Ip::V6 => ipv6(&mut bytes[layout.network..], apart, layout, headers),
    };
    let sum = if offload { 0 } else { checksum::add(0, &bytes[layout.payload..]) };
    udp(&mut bytes[layout.transport..], apart, headers, pseudo, sum, &[], offload);
    #[expect(clippy::cast_possible_truncation, reason = "header lengths")]
    frame.set_tx_offload(offload.then_some(ChecksumOffload {
        l2_bytes: layout.network as u8,
        l3_bytes: (layout.transport - layout.network) as u16,
        ipv4: layout.ip == Ip::V4,
        udp: true,
    }));
}

#[inline]
fn ethernet(bytes: &mut [u8], layout: &Layout, headers: &Headers, source_mac: [u8; 6]) {
    let ether_type = match layout.ip {
        Ip::None => headers.ethernet.ether_type,
        Ip::V4 => TYPE_IPV4,
        Ip::V6 => TYPE_IPV6,
    }
    .to_be_bytes();
    bytes[0..6].copy_from_slice(&headers.ethernet.destination);
    bytes[6..12].copy_from_slice(&source_mac);
    if layout.vlan {
        let tag = &headers.vlan;
        let control = u16::from(tag.pcp & 7) << 13 | u16::from(tag.dei & 1) << 12 | tag.vid & 0xFFF;
        bytes[12..14].copy_from_slice(&TYPE_VLAN.to_be_bytes());
        bytes[14..16].copy_from_slice(&control.to_be_bytes());
        bytes[16..18].copy_from_slice(&ether_type);
    } else {
        bytes[12..ETHERNET].copy_from_slice(&ether_type);
    }
}

/// Writes the fixed IPv4 header before its options, of a packet of which `apart` bytes are elsewhere; returns the sum of the
/// pseudo-header.
#[inline]
fn ipv4(ip: &mut [u8], apart: usize, layout: &Layout, headers: &Headers, offload: bool) -> u64 {
    let fields = &headers.ipv4;
    let header_bytes = layout.transport - layout.network;
    let total = to_u16(ip.len() + apart);
    #[expect(clippy::cast_possible_truncation, reason = "at most 60")]
    let words = (header_bytes / 4) as u8;
    let protocol = upper_layer(headers, layout.udp, layout.tcp);
    ip[0] = 0x40 | words;
    ip[1] = fields.tos;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[4..6].copy_from_slice(&fields.identification.to_be_bytes());
    let fragment = u16::from(fields.dont_fragment & 1) << 14;
    ip[6..8].copy_from_slice(&fragment.to_be_bytes());
    ip[8] = fields.ttl;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&fields.source.to_be_bytes());
    ip[16..20].copy_from_slice(&fields.destination.to_be_bytes());
    let addresses = u64::from(fields.source) + u64::from(fields.destination);
    let sum = if offload {
        0
    } else {
        let fixed = u64::from(u16::from_be_bytes([ip[0], fields.tos]))
            + u64::from(total)
            + u64::from(fields.identification)
            + u64::from(fragment)
            + u64::from(u16::from_be_bytes([fields.ttl, protocol]))
            + addresses;
        checksum::finish(checksum::add(fixed, &ip[20..header_bytes]))
    };
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let upper_bytes = to_u16(ip.len() + apart - header_bytes);
    addresses + u64::from(upper_bytes) + u64::from(protocol)
}

/// The same of IPv6 before its extension headers.
#[inline]
fn ipv6(ip: &mut [u8], apart: usize, layout: &Layout, headers: &Headers) -> u64 {
    let fields = &headers.ipv6;
    let protocol = upper_layer(headers, layout.udp, layout.tcp);
    let first = 6 << 28 | u32::from(fields.traffic_class) << 20 | fields.flow_label & 0xF_FFFF;
    ip[0..4].copy_from_slice(&first.to_be_bytes());
    let payload_length = to_u16(ip.len() + apart - 40);
    ip[4..6].copy_from_slice(&payload_length.to_be_bytes());
    ip[6] = if layout.extension > 0 { layout.next_header } else { protocol };
    ip[7] = fields.hop_limit;
    ip[8..24].copy_from_slice(&fields.source);
    ip[24..40].copy_from_slice(&fields.destination);
    let upper_bytes = ip.len() + apart - (layout.transport - layout.network);
    let source = checksum::add(upper_bytes as u64 + u64::from(protocol), &fields.source);
    checksum::add(source, &fields.destination)
}

/// Writes the UDP header. `message_sum` is that of what lies between it and the payload.
#[inline]
fn udp(
    datagram: &mut [u8],
    apart: usize,
    headers: &Headers,
    pseudo: u64,
    message_sum: u64,
    payload: &[u8],
    offload: bool,
) {
    let length = to_u16(datagram.len() + apart);
    let (source, destination) = (headers.udp.source_port, headers.udp.destination_port);
    datagram[0..2].copy_from_slice(&source.to_be_bytes());
    datagram[2..4].copy_from_slice(&destination.to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    let sum = if offload {
        // The port adds the datagram to the pseudo-header's sum that it finds here.
        checksum::fold(pseudo)
    } else {
        let header = u64::from(source) + u64::from(destination) + u64::from(length);
        match checksum::finish(checksum::add(pseudo + header + message_sum, payload)) {
            0 => 0xFFFF,
            sum => sum,
        }
    };
    datagram[6..UDP].copy_from_slice(&sum.to_be_bytes());
}

/// Writes the λ-RPC header before its payload, and returns its sum. TLVs of a request are not repeated.
#[inline]
fn message(datagram: &mut [u8], headers: &Headers, kind: Kind, payload: &[u8]) -> u64 {
    let fields = &headers.rpc;
    #[expect(clippy::cast_possible_truncation, reason = "a frame's payload is under 64 KiB")]
    let message_length = payload.len() as u32;
    let mut header = Header {
        kind,
        header_bytes: RPC,
        flags: fields.flags,
        lambda: fields.lambda_id,
        request: fields.request_id,
        message_length,
        // One frame is one fragment, however small the caller wants its own.
        fragment_bytes: fields.fragment_bytes.max(to_u16(payload.len())),
        fragment_index: 0,
        aux: match kind {
            Kind::Request => fields.budget_us,
            _ => rpc::reply_aux(Status::new(fields.status), fields.credit, fields.service_us),
        },
        crc: 0,
    };
    if fields.flags & rpc::CRC != 0 {
        header = header.sealed(payload);
    }
    header.emit(datagram);
    header.sum()
}

/// The deparser has checked the frame against an MTU, which is 16 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "bounded by the MTU")]
fn to_u16(bytes: usize) -> u16 {
    bytes as u16
}
