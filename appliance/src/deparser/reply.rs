//! Replies: what one is, and how the appliance makes its own.

use lnic_abi::Headers;
use lnic_wire::ethernet::{TYPE_ARP, TYPE_VLAN};
use lnic_wire::protocol;
use lnic_wire::rpc::{self, Kind, Status};

use crate::parser::{Interface, Parsed, Present};

/// 802.1ad tag, and its older number.
const TYPE_VLAN_STACKED: u16 = 0x88A8;
const TYPE_VLAN_STACKED_OLD: u16 = 0x9100;

/// True if `headers` go back to the one host that sent the frame, on the port it came from, from the address it was sent to, by
/// the protocol that it used, and answer the request that it was. A lambda without the right to send elsewhere can make nothing
/// else. (The source MAC is the deparser's to write.)
#[inline]
pub(super) fn is_reply(bytes: &[u8], parsed: &Parsed, headers: &Headers, interface: &Interface) -> bool {
    let key = &parsed.key;
    let Some(ethernet) = bytes.first_chunk::<12>() else { return false };
    let back = headers.meta.egress_port == key.port.raw()
        && headers.ethernet.destination[..] == ethernet[6..12]
        && (headers.vlan.valid != 0) == key.present.has(Present::VLAN)
        && (headers.vlan.valid == 0 || headers.vlan.vid == key.vlan)
        && interface.can_answer(bytes, parsed);
    let addresses = if key.present.has(Present::IPV4) {
        headers.ipv4.valid != 0
            && mapped(headers.ipv4.source) == key.destination
            && mapped(headers.ipv4.destination) == key.source
            // A group does not answer.
            && headers.ipv4.source >> 28 < 14
    } else if key.present.has(Present::IPV6) {
        headers.ipv6.valid != 0
            && u128::from_be_bytes(headers.ipv6.source) == key.destination
            && u128::from_be_bytes(headers.ipv6.destination) == key.source
            && headers.ipv6.source[0] != 0xFF
    } else {
        // ARP and inner tags speak for others than the port.
        headers.ipv4.valid == 0
            && headers.ipv6.valid == 0
            && headers.ethernet.ether_type == key.ether_type
            && ![TYPE_ARP, TYPE_VLAN, TYPE_VLAN_STACKED, TYPE_VLAN_STACKED_OLD].contains(&key.ether_type)
    };
    back && addresses && is_same_transport(parsed, headers) && answers(bytes, parsed, headers)
}

/// UDP is answered by UDP with the ports turned round, any other protocol but TCP by itself. TCP cannot be answered: its header
/// is read-only.
#[inline]
fn is_same_transport(parsed: &Parsed, headers: &Headers) -> bool {
    let key = &parsed.key;
    let had_udp = key.present.has(Present::PORTS) && key.protocol == protocol::UDP;
    let upper = match (headers.ipv4.valid != 0, headers.ipv6.valid != 0) {
        (true, _) => headers.ipv4.protocol,
        (_, true) => headers.ipv6.protocol,
        _ => key.protocol,
    };
    if had_udp {
        headers.udp.valid != 0
            && headers.udp.source_port == key.destination_port
            && headers.udp.destination_port == key.source_port
    } else {
        headers.udp.valid == 0
            && headers.tcp.valid == 0
            && key.protocol != protocol::TCP
            && upper == key.protocol
    }
}

/// A λ-RPC request may only be answered by its own reply, and nothing else may look like one.
#[inline]
fn answers(bytes: &[u8], parsed: &Parsed, headers: &Headers) -> bool {
    if !parsed.key.present.has(Present::RPC) {
        return headers.rpc.valid == 0;
    }
    let rpc = usize::from(parsed.rpc);
    let request_id = bytes.get(rpc + 8..).and_then(|rest| rest.first_chunk::<8>());
    headers.rpc.valid != 0
        && headers.rpc.kind == Kind::Reply.raw()
        && headers.rpc.lambda_id == parsed.key.lambda
        && request_id.is_some_and(|id| u64::from_be_bytes(*id) == headers.rpc.request_id)
}

#[inline]
fn mapped(ipv4: u32) -> u128 {
    0xFFFF_0000_0000 | u128::from(ipv4)
}

/// Turns the headers of a λ-RPC request into those of the appliance's own answer to it.
///
/// `service_us` is a hint: with BUSY, after how many microseconds to ask again.
pub fn into_reply(headers: &mut Headers, status: Status, service_us: u16) {
    turn_round(headers);
    headers.rpc.kind = Kind::Reply.raw();
    headers.rpc.status = status.raw();
    headers.rpc.credit = 0;
    headers.rpc.service_us = service_us;
}

/// Turns the headers of a λ-RPC PING into those of its PONG.
pub fn into_pong(headers: &mut Headers) {
    turn_round(headers);
    headers.rpc.kind = Kind::Pong.raw();
}

fn turn_round(headers: &mut Headers) {
    headers.ethernet.destination = headers.ethernet.source;
    std::mem::swap(&mut headers.ipv4.source, &mut headers.ipv4.destination);
    std::mem::swap(&mut headers.ipv6.source, &mut headers.ipv6.destination);
    std::mem::swap(&mut headers.udp.source_port, &mut headers.udp.destination_port);
    headers.ipv4.ttl = 64;
    headers.ipv6.hop_limit = 64;
    // As `rpc::Header::reply` has it: of the request's flags only these mean something in an answer.
    headers.rpc.flags &= rpc::CRC | rpc::PRIORITY_MASK;
}
