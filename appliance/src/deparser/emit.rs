//! Writes headers and payload into a frame that has been laid out, and makes the checksums.

use lnic_abi::Headers;
use lnic_wire::checksum;
use lnic_wire::rpc::{self, Header, Kind, Status};

use super::layout::{ETHERNET, Ip, Layout, RPC, UDP, upper_layer};
use crate::frame::{ChecksumOffload, Frame};

const ETHER_TYPE_VLAN: u16 = 0x8100;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86DD;

/// Writes everything. The frame has exactly the layout's size, and the kept pieces are in place.
#[inline]
pub(super) fn write<F: Frame>(
    frame: &mut F,
    layout: &Layout,
    headers: &Headers,
    payload: &[u8],
    offload: bool,
) {
    let bytes = frame.bytes_mut();
    bytes[layout.payload..].copy_from_slice(payload);
    ethernet(bytes, layout, headers);
    if let Some(kind) = layout.rpc {
        message(&mut bytes[layout.payload - RPC..], headers, kind, payload.len());
    }
    let pseudo = match layout.ip {
        Ip::None => 0,
        Ip::V4 => ipv4(&mut bytes[layout.network..], layout, headers, offload),
        Ip::V6 => ipv6(&mut bytes[layout.network..], layout, headers),
    };
    if layout.udp {
        udp(&mut bytes[layout.transport..], headers, pseudo, offload);
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

#[inline]
fn ethernet(bytes: &mut [u8], layout: &Layout, headers: &Headers) {
    let ether_type = match layout.ip {
        Ip::None => headers.ethernet.ether_type,
        Ip::V4 => ETHER_TYPE_IPV4,
        Ip::V6 => ETHER_TYPE_IPV6,
    }
    .to_be_bytes();
    bytes[0..6].copy_from_slice(&headers.ethernet.destination);
    bytes[6..12].copy_from_slice(&headers.ethernet.source);
    if layout.vlan {
        let tag = &headers.vlan;
        let control = u16::from(tag.pcp & 7) << 13 | u16::from(tag.dei & 1) << 12 | tag.vid & 0xFFF;
        bytes[12..14].copy_from_slice(&ETHER_TYPE_VLAN.to_be_bytes());
        bytes[14..16].copy_from_slice(&control.to_be_bytes());
        bytes[16..18].copy_from_slice(&ether_type);
    } else {
        bytes[12..ETHERNET].copy_from_slice(&ether_type);
    }
}

/// Writes the fixed IPv4 header before its options; returns the sum of the pseudo-header.
#[inline]
fn ipv4(ip: &mut [u8], layout: &Layout, headers: &Headers, offload: bool) -> u64 {
    let fields = &headers.ipv4;
    let header_bytes = layout.transport - layout.network;
    let total = to_u16(ip.len());
    #[expect(clippy::cast_possible_truncation, reason = "at most 60")]
    let words = (header_bytes / 4) as u8;
    let protocol = upper_layer(headers, layout.udp, layout.tcp);
    ip[0] = 0x40 | words;
    ip[1] = fields.tos;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[4..6].copy_from_slice(&fields.identification.to_be_bytes());
    ip[6..8].copy_from_slice(&(u16::from(fields.dont_fragment & 1) << 14).to_be_bytes());
    ip[8] = fields.ttl;
    ip[9] = protocol;
    ip[10..12].fill(0);
    ip[12..16].copy_from_slice(&fields.source.to_be_bytes());
    ip[16..20].copy_from_slice(&fields.destination.to_be_bytes());
    if !offload {
        let sum = checksum::finish(checksum::add(0, &ip[..header_bytes]));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let upper_bytes = to_u16(ip.len() - header_bytes);
    checksum::add(u64::from(upper_bytes) + u64::from(protocol), &ip[12..20])
}

/// Writes the fixed IPv6 header before its extension headers; returns the sum of the pseudo-header.
#[inline]
fn ipv6(ip: &mut [u8], layout: &Layout, headers: &Headers) -> u64 {
    let fields = &headers.ipv6;
    let protocol = upper_layer(headers, layout.udp, layout.tcp);
    let first = 6 << 28 | u32::from(fields.traffic_class) << 20 | fields.flow_label & 0xF_FFFF;
    ip[0..4].copy_from_slice(&first.to_be_bytes());
    let payload_length = to_u16(ip.len() - 40);
    ip[4..6].copy_from_slice(&payload_length.to_be_bytes());
    // With extension headers the byte already names the first of them.
    if layout.extension == 0 {
        ip[6] = protocol;
    }
    ip[7] = fields.hop_limit;
    ip[8..24].copy_from_slice(&fields.source);
    ip[24..40].copy_from_slice(&fields.destination);
    let upper_bytes = ip.len() - (layout.transport - layout.network);
    checksum::add(upper_bytes as u64 + u64::from(protocol), &ip[8..40])
}

#[inline]
fn udp(datagram: &mut [u8], headers: &Headers, pseudo: u64, offload: bool) {
    let length = to_u16(datagram.len());
    datagram[0..2].copy_from_slice(&headers.udp.source_port.to_be_bytes());
    datagram[2..4].copy_from_slice(&headers.udp.destination_port.to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram[6..UDP].fill(0);
    let sum = if offload {
        // The port adds the datagram to the pseudo-header's sum that it finds here.
        !checksum::finish(pseudo)
    } else {
        match checksum::finish(checksum::add(pseudo, datagram)) {
            0 => 0xFFFF,
            sum => sum,
        }
    };
    datagram[6..UDP].copy_from_slice(&sum.to_be_bytes());
}

/// Writes the λ-RPC header before its payload. TLVs of a request are not repeated.
#[inline]
fn message(datagram: &mut [u8], headers: &Headers, kind: Kind, payload_bytes: usize) {
    let fields = &headers.rpc;
    #[expect(clippy::cast_possible_truncation, reason = "a frame's payload is under 64 KiB")]
    let message_length = payload_bytes as u32;
    Header {
        kind,
        header_bytes: RPC,
        flags: fields.flags,
        lambda: fields.lambda_id,
        request: fields.request_id,
        message_length,
        // One frame is one fragment, however small the caller wants its own.
        fragment_bytes: fields.fragment_bytes.max(to_u16(payload_bytes)),
        fragment_index: 0,
        aux: match kind {
            Kind::Request => fields.budget_us,
            _ => rpc::reply_aux(Status::new(fields.status), fields.credit, fields.service_us),
        },
        crc: 0,
    }
    .emit(datagram);
    if fields.flags & rpc::CRC != 0 {
        rpc::seal(datagram);
    }
}

/// The deparser has checked the frame against an MTU, which is 16 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "bounded by the MTU")]
fn to_u16(bytes: usize) -> u16 {
    bytes as u16
}
