//! Sets of the headers that lambdas see.

use std::fmt;
use std::mem::offset_of;
use std::ops::Range;

use lnic_abi as abi;
use lnic_compiler::HeaderUse;
use lnic_wire::protocol;

use super::{Parsed, Present};

/// A set of the headers in `EXTRACTED_HEADERS_T`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderSet(u8);

/// Each header with its name and its bytes, in the order of the frame.
const HEADERS: [(HeaderSet, &str, Range<usize>); 8] = {
    macro_rules! header {
        ($set:expr, $field:ident, $kind:ty) => {{
            let start = offset_of!(abi::Headers, $field);
            ($set, stringify!($field), start..start + size_of::<$kind>())
        }};
    }
    [
        header!(HeaderSet::META, meta, abi::Meta),
        header!(HeaderSet::ETHERNET, ethernet, abi::Ethernet),
        header!(HeaderSet::VLAN, vlan, abi::Vlan),
        header!(HeaderSet::IPV4, ipv4, abi::Ipv4),
        header!(HeaderSet::IPV6, ipv6, abi::Ipv6),
        header!(HeaderSet::UDP, udp, abi::Udp),
        header!(HeaderSet::TCP, tcp, abi::Tcp),
        header!(HeaderSet::RPC, rpc, abi::Rpc),
    ]
};

impl HeaderSet {
    /// No header.
    pub const NONE: Self = Self(0);
    /// Every header.
    pub const ALL: Self = Self(255);
    /// What is known of the frame itself.
    pub const META: Self = Self(64);
    /// Ethernet.
    pub const ETHERNET: Self = Self(128);
    /// 802.1Q.
    pub const VLAN: Self = Self(Present::VLAN.bits());
    /// IPv4.
    pub const IPV4: Self = Self(Present::IPV4.bits());
    /// IPv6.
    pub const IPV6: Self = Self(Present::IPV6.bits());
    /// UDP.
    pub const UDP: Self = Self(Present::PORTS.bits());
    /// TCP.
    pub const TCP: Self = Self(32);
    /// λ-RPC.
    pub const RPC: Self = Self(Present::RPC.bits());

    /// The headers that a lambda touches: those with a byte that it may read or write.
    #[must_use]
    pub fn of(header_use: &HeaderUse) -> Self {
        HEADERS
            .into_iter()
            .filter(|(_, _, bytes)| {
                header_use.read.intersects(bytes.clone()) || header_use.written.intersects(bytes.clone())
            })
            .fold(Self::NONE, |set, (header, ..)| set.with(header))
    }

    /// True if it holds all headers of `other`.
    #[inline]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The headers of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The headers that it has not.
    #[inline]
    #[must_use]
    pub const fn missing(self) -> Self {
        Self(!self.0)
    }

    /// The headers that a parsed frame has.
    #[inline]
    #[must_use]
    pub const fn in_frame(parsed: &Parsed) -> Self {
        // The bits are those of `Present`, but that ports are of one protocol or the other.
        let present = parsed.key.present.bits() | Self::META.with(Self::ETHERNET).0;
        if present & Self::UDP.0 != 0 && parsed.key.protocol == protocol::TCP {
            return Self(present ^ (Self::UDP.0 | Self::TCP.0));
        }
        Self(present)
    }
}

impl fmt::Display for HeaderSet {
    /// Their names, in the order of the frame.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (_, name, _) in HEADERS.iter().filter(|(header, ..)| self.has(*header)) {
            write!(f, "{space}{name}")?;
            space = " ";
        }
        if *self == Self::NONE { f.write_str("nothing") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use lnic_compiler::{HEADER_BYTES, HeaderBytes};

    use super::*;

    #[test]
    fn every_byte_belongs_to_one_header() {
        for at in 0..HEADER_BYTES {
            let mut touched = HeaderBytes::NONE;
            touched.insert(at..at + 1);
            let read = HeaderSet::of(&HeaderUse { read: touched, written: HeaderBytes::NONE });
            let written = HeaderSet::of(&HeaderUse { read: HeaderBytes::NONE, written: touched });
            assert_eq!((read, read.0.count_ones()), (written, 1), "byte {at}");
        }
        assert_eq!(HeaderSet::of(&HeaderUse::all()), HeaderSet::ALL);
        assert_eq!(HeaderSet::ALL.missing(), HeaderSet::NONE);
    }

    #[test]
    fn a_field_needs_its_header() {
        let mut read = HeaderBytes::NONE;
        let at = offset_of!(abi::Headers, ipv4) + offset_of!(abi::Ipv4, ttl);
        read.insert(at..at + 1);
        let mut written = HeaderBytes::NONE;
        let at = offset_of!(abi::Headers, rpc) + offset_of!(abi::Rpc, status);
        written.insert(at..at + 1);
        let set = HeaderSet::of(&HeaderUse { read, written });
        assert_eq!(set, HeaderSet::IPV4.with(HeaderSet::RPC));
        assert_eq!(set.to_string(), "ipv4 rpc");
        assert_eq!(HeaderSet::NONE.to_string(), "nothing");
        assert_eq!(HeaderSet::ALL.to_string(), "meta ethernet vlan ipv4 ipv6 udp tcp rpc");
    }
}
