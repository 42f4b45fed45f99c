//! Walks the headers once.

use lnic_wire::ethernet;
use lnic_wire::vlan;

use super::{Interface, Key, Plan, Present, ip};
use crate::frame::Checksum;
use crate::observe::DropReason;

/// Where each header lies, in bytes from the start of the frame, and the key. An offset is valid if the part is present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What rules match on.
    pub key: Key,
    /// Start of the IP header (14, or 18 with a VLAN tag), or of whatever follows Ethernet.
    pub network: u16,
    /// Start of the transport header: after IP options or extension headers. Equal to `payload` if unknown.
    pub transport: u16,
    /// Start of the λ-RPC header, if present.
    pub rpc: u16,
    /// Start of the payload: behind the deepest header that was decoded.
    pub payload: u16,
    /// End of the payload: the UDP length's or the IP length's, so Ethernet padding is excluded.
    pub end: u16,
    /// An IP fragment: the transport header is not decoded.
    pub fragment: bool,
    /// The UDP or TCP checksum holds only the pseudo-header's sum: [`complete_checksum`](super::complete_checksum) before
    /// the frame leaves as it is.
    pub partial_checksum: bool,
}

/// Finds the headers of a frame and the key that rules match on, or the reason to drop it. Benchmark: `path/parser`.
///
/// `ip` and `l4` are what the port says of the IPv4 header checksum and of the UDP or TCP checksum.
///
/// Offsets are 16 bits: what lies behind 65,535 bytes counts as not there.
///
/// Inlined into the path whoever else calls it, so that its result stays in registers: 20 ns a frame.
#[inline(always)]
pub fn parse(bytes: &[u8], ip: Checksum, l4: Checksum, interface: &Interface) -> Result<Parsed, DropReason> {
    parse_by(&Plan::FULL, bytes, ip, l4, interface)
}

/// The same for what a plan wants: the walk through a frame that no rule can match ends early, as [`DropReason::Unmatched`].
/// Nothing is known of such a frame then, and what lies deeper may be damaged. Benchmark: `path/parser/derived`.
#[inline(always)]
pub fn parse_by(
    plan: &Plan,
    bytes: &[u8],
    ip: Checksum,
    l4: Checksum,
    interface: &Interface,
) -> Result<Parsed, DropReason> {
    let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
    let Some(header) = bytes.first_chunk::<{ ethernet::HEADER_BYTES }>() else {
        return Err(DropReason::Truncated);
    };
    let destination = [header[0], header[1], header[2], header[3], header[4], header[5]];
    if !interface.takes(destination) {
        return Err(DropReason::NotOurMac);
    }
    let mut parsed = Parsed::default();
    parsed.key.port = interface.port;
    let mut ether_type = u16::from_be_bytes([header[12], header[13]]);
    let mut network = ethernet::HEADER_BYTES;
    if ether_type == ethernet::TYPE_VLAN {
        let Some(tag) = at::<{ vlan::HEADER_BYTES }>(bytes, network) else {
            return Err(DropReason::Truncated);
        };
        // A priority tag (identifier 0) is a tag too: a reply has to bear it.
        parsed.key.vlan = u16::from_be_bytes([tag[0], tag[1]]) & 0x0FFF;
        parsed.key.present.add(Present::VLAN);
        ether_type = u16::from_be_bytes([tag[2], tag[3]]);
        network += vlan::HEADER_BYTES;
    }
    parsed.key.ether_type = ether_type;
    parsed.network = offset(network);
    parsed.transport = parsed.network;
    parsed.payload = parsed.network;
    parsed.end = offset(bytes.len());
    let unicast = !ethernet::is_multicast(destination);
    let result = match ether_type {
        ethernet::TYPE_IPV4 => ip::ipv4(&plan.ipv4, bytes, ip, l4, unicast, interface, &mut parsed),
        ethernet::TYPE_IPV6 => ip::ipv6(&plan.ipv6, bytes, l4, unicast, interface, &mut parsed),
        _ => Ok(()),
    };
    result.map(|()| parsed)
}

/// `N` bytes at an offset, if the frame has them.
#[inline]
pub(super) fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<&[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>()
}

/// An offset that lies in a frame.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "`parse` looks at no more than 65,535 bytes")]
pub(super) const fn offset(bytes: usize) -> u16 {
    bytes as u16
}
