//! What rules match on.

use crate::ids::PortId;

/// Which parts of a [`Key`] the frame had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Present(u8);

impl Present {
    /// IPv4 addresses, protocol.
    pub const IPV4: Present = Present(1);
    /// IPv6 addresses, protocol.
    pub const IPV6: Present = Present(2);
    /// UDP or TCP ports.
    pub const PORTS: Present = Present(4);
    /// λ-RPC lambda ID, in a message to this appliance.
    pub const RPC: Present = Present(8);
    /// A VLAN tag.
    pub const VLAN: Present = Present(16);
    /// Nothing of the frame's: it came from the host's side.
    pub const HOST: Present = Present(32);

    /// Raw bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From raw bits; unknown bits are cleared.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 63)
    }

    /// True if all parts of `other` are present.
    #[must_use]
    pub const fn has(self, other: Present) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds a part.
    pub const fn add(&mut self, other: Present) {
        self.0 |= other.0;
    }
}

/// Values that rules match on; zero where not [`Present`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// Source address; IPv4 as ::ffff:a.b.c.d.
    pub source: u128,
    /// Destination address; IPv4 as ::ffff:a.b.c.d.
    pub destination: u128,
    /// λ-RPC lambda ID.
    pub lambda: u32,
    /// UDP or TCP source port.
    pub source_port: u16,
    /// UDP or TCP destination port.
    pub destination_port: u16,
    /// EtherType after the VLAN tag.
    pub ether_type: u16,
    /// VLAN identifier.
    pub vlan: u16,
    /// Port that the frame arrived on.
    pub port: PortId,
    /// IPv4 protocol, or IPv6 upper layer after extension headers.
    pub protocol: u8,
    /// Which of these the frame had.
    pub present: Present,
}
