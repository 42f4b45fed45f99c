//! The derived parser: what has to be decoded, given the rules and lambdas that are deployed.
//!
//! Rules say which frames can reach a lambda at all: of which IP version, with which protocol, to which ports. Of any other
//! frame the walk ends as soon as that is certain, and nothing behind is looked at: it is *unwanted*, and unmatched.
//! What that saves is the checksum over a segment that no rule can want. A frame that is for the appliance itself (λ-RPC,
//! echo, neighbour discovery) is wanted by every plan. Ethernet and the VLAN tag are always walked, for there is no telling
//! what a frame is without them; addresses are always kept where IP is decoded, for replies are judged by them.
//!
//! A plan belongs to a table of rules, and is published with it. It is right in this sense, for every frame and table:
//!
//! 1. The rule that matches is the one that the full parser's key finds.
//! 2. A frame that is wanted is parsed and validated as by the full parser: the same offsets and key, or the same
//!    [`DropReason`](crate::observe::DropReason). All that can match is wanted.
//! 3. A frame that is not wanted goes where unmatched frames go. The full parser sends it there too, unless it drops it: for a
//!    fault, or as a fragment without a host port, in a header that the plan leaves out.
//!
//! `tests/derived.rs` holds the plan to this on generated and damaged frames.

use std::fmt;

/// Destination ports that rules ask for: one range around them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };
    /// No port: none is both at least the last and at most the first.
    pub const NONE: Self = Self { first: u16::MAX, last: 0 };

    /// The ports from `first` to `last`.
    #[must_use]
    pub const fn range(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// Takes in the ports from `first` to `last`.
    pub fn add(&mut self, first: u16, last: u16) {
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }

    /// True if the port is in the range.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// True for no ports.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.first > self.last
    }
}

/// What is wanted of one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPlan {
    /// Its frames can match. Else only those for the appliance itself are decoded.
    pub wanted: bool,
    /// Rules test its addresses.
    pub addresses: bool,
    /// Destination ports of the UDP datagrams that are decoded and verified.
    pub udp: Ports,
    /// Destination ports of the TCP segments that are decoded and verified.
    pub tcp: Ports,
}

impl IpPlan {
    const FULL: Self = Self { wanted: true, addresses: true, udp: Ports::ALL, tcp: Ports::ALL };
    const OWN: Self = Self { wanted: false, addresses: false, udp: Ports::NONE, tcp: Ports::NONE };
}

/// What the parser decodes. Printed: `ethernet vlan ipv4(addresses, udp 9, tcp 80-443) ipv6(own) rpc`, where *own* stands for
/// what is for the appliance itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of IPv4.
    pub ipv4: IpPlan,
    /// Of IPv6.
    pub ipv6: IpPlan,
}

impl Plan {
    /// Everything: the parser as it is without a plan.
    pub const FULL: Self = Self { ipv4: IpPlan::FULL, ipv6: IpPlan::FULL };
    /// What the appliance itself needs: enough if no lambda has another rule than its λ-RPC ID.
    pub const OWN: Self = Self { ipv4: IpPlan::OWN, ipv6: IpPlan::OWN };
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ethernet vlan ipv4{} ipv6{} rpc", self.ipv4, self.ipv6)
    }
}

impl fmt::Display for IpPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.wanted {
            return f.write_str("(own)");
        }
        let mut parts = Vec::new();
        if self.addresses {
            parts.push("addresses".to_owned());
        }
        for (name, ports) in [("udp", self.udp), ("tcp", self.tcp)] {
            if !ports.is_empty() {
                parts.push(format!("{name}{ports}"));
            }
        }
        if parts.is_empty() { Ok(()) } else { write!(f, "({})", parts.join(", ")) }
    }
}

impl fmt::Display for Ports {
    /// Behind the name of a protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => Ok(()),
            Self { first, last } if first == last => write!(f, " {first}"),
            Self { first, last } => write!(f, " {first}-{last}"),
        }
    }
}
