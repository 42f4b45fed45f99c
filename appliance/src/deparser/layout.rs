//! Where each header of the frame that leaves will lie.

use lnic_abi::Headers;
use lnic_wire::rpc::Kind;

use crate::frame::Frame;
use crate::parser::{Parsed, Present};

pub(super) use lnic_wire::ethernet::{HEADER_BYTES as ETHERNET, TYPE_IPV4, TYPE_IPV6};
pub(super) use lnic_wire::ipv4::HEADER_BYTES as IPV4;
pub(super) use lnic_wire::ipv6::HEADER_BYTES as IPV6;
pub(super) use lnic_wire::protocol::{TCP, UDP as UDP_PROTOCOL};
pub(super) use lnic_wire::rpc::HEADER_BYTES as RPC;
pub(super) use lnic_wire::udp::HEADER_BYTES as UDP;
pub(super) const VLAN: usize = 4;

/// IP version of the frame that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ip {
    None,
    V4,
    V6,
}

/// What becomes of IP options and extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// They stay: the frame is on its way.
    All,
    /// They go: a source route or a record of one would have to be turned round for a reply (RFC 1122, 3.2.2.6).
    Nothing,
}

/// Offsets in the frame that leaves. What the lambda cannot change is kept and moved as one piece: IP options or extension
/// headers after the IP header, and a TCP header before the payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) vlan: bool,
    pub(super) ip: Ip,
    pub(super) udp: bool,
    pub(super) tcp: bool,
    pub(super) rpc: Option<Kind>,
    pub(super) network: usize,
    /// Bytes of IP options or extension headers.
    pub(super) extension: usize,
    /// What the IPv6 header names as next where extension headers follow.
    pub(super) next_header: u8,
    pub(super) transport: usize,
    /// Bytes of the TCP header with its options.
    tcp_bytes: usize,
    pub(super) payload: usize,
    pub(super) payload_bytes: usize,
}

impl Layout {
    /// `None` if the headers contradict each other.
    #[inline]
    pub(super) fn plan(parsed: &Parsed, headers: &Headers, payload_bytes: usize, kept: Kept) -> Option<Self> {
        let present = parsed.key.present;
        let (vlan, udp, tcp) = (headers.vlan.valid != 0, headers.udp.valid != 0, headers.tcp.valid != 0);
        let rpc = if headers.rpc.valid != 0 { Some(Kind::new(headers.rpc.kind)?) } else { None };
        let ip = match (headers.ipv4.valid != 0, headers.ipv6.valid != 0) {
            // Without an IP header there is nothing that could be called IP.
            (false, false) if [TYPE_IPV4, TYPE_IPV6].contains(&headers.ethernet.ether_type) => {
                return None;
            }
            (false, false) => Ip::None,
            (true, false) => Ip::V4,
            (false, true) => Ip::V6,
            (true, true) => return None,
        };
        let had_tcp = present.has(Present::PORTS) && parsed.key.protocol == TCP;
        if (rpc.is_some() && !udp) || (udp && tcp) || ((udp || tcp) && ip == Ip::None) || (tcp && !had_tcp) {
            return None;
        }
        let network = ETHERNET + if vlan { VLAN } else { 0 };
        let (base, had_ip) = match ip {
            Ip::None => (0, false),
            Ip::V4 => (IPV4, present.has(Present::IPV4)),
            Ip::V6 => (IPV6, present.has(Present::IPV6)),
        };
        // Options and extension headers belong to the version that they came with.
        let extension = if had_ip && kept == Kept::All {
            usize::from(parsed.transport.checked_sub(parsed.network)?).checked_sub(base)?
        } else {
            0
        };
        // The chain of extension headers ends in the number of the upper layer, which then cannot change.
        if ip == Ip::V6 && extension > 0 && upper_layer(headers, udp, tcp) != parsed.key.protocol {
            return None;
        }
        let transport = network + base + extension;
        let tcp_bytes = if tcp { usize::from(parsed.payload.checked_sub(parsed.transport)?) } else { 0 };
        let l4 = if udp { UDP } else { tcp_bytes };
        let payload = transport + l4 + if rpc.is_some() { RPC } else { 0 };
        Some(Self {
            vlan,
            ip,
            udp,
            tcp,
            rpc,
            network,
            extension,
            next_header: 0,
            transport,
            tcp_bytes,
            payload,
            payload_bytes,
        })
    }

    /// Bytes of the whole frame.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.payload + self.payload_bytes
    }

    /// Sizes the frame and moves the kept pieces to where they will lie. False, and the frame unchanged, if it cannot hold it.
    #[inline]
    pub(super) fn make_room<F: Frame>(&mut self, frame: &mut F, parsed: &Parsed) -> bool {
        if self.ip == Ip::V6 && self.extension > 0 {
            // Where the header lies now there may be something else in a moment.
            let Some(&next) = frame.bytes().get(usize::from(parsed.network) + 6) else { return false };
            self.next_header = next;
        }
        let bytes = self.bytes();
        let before = frame.bytes().len();
        let old_transport = usize::from(parsed.transport);
        let old_kept = old_transport - self.extension;
        let new_kept = self.transport - self.extension;
        let kept = self.extension + self.tcp_bytes;
        if kept == 0 || old_kept == new_kept {
            return frame.resize(bytes);
        }
        // Grow first: the pieces may move to where the frame does not reach yet.
        if !frame.resize(bytes.max(before)) {
            return false;
        }
        frame.bytes_mut().copy_within(old_kept..old_kept + kept, new_kept);
        frame.resize(bytes)
    }
}

/// Protocol number of what follows IP.
#[inline]
pub(super) fn upper_layer(headers: &Headers, udp: bool, tcp: bool) -> u8 {
    if udp {
        UDP_PROTOCOL
    } else if tcp {
        TCP
    } else if headers.ipv4.valid != 0 {
        headers.ipv4.protocol
    } else {
        headers.ipv6.protocol
    }
}
