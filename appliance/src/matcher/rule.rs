//! One rule: conditions, and what a frame that meets all of them gets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use lnic_abi::PARAMETERS_CAPACITY;

use super::Error;
use crate::ids::{LambdaId, LambdaRef, PortId};
use crate::parser::{Key, Present};

/// Upper 96 bits of an IPv4 address in a [`Key`]: ::ffff:0:0.
const MAPPED: u128 = 0xffff_0000_0000;

/// Conditions, all of which must hold, and the lambda that then runs. `None` and `Any` hold for every frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Higher wins; among equals, the earlier rule.
    pub priority: u32,
    /// Runs if the rule matches.
    pub lambda: LambdaRef,
    /// Where the frame came from.
    pub side: Side,
    /// λ-RPC lambda ID, in a message to this appliance.
    pub rpc_lambda: Option<LambdaId>,
    /// Port that the frame arrived on.
    pub port: Option<PortId>,
    /// VLAN tag.
    pub vlan: VlanMatch,
    /// Source address, of the prefix's family.
    pub source: Option<Prefix>,
    /// Destination address, of the prefix's family.
    pub destination: Option<Prefix>,
    /// IPv4 protocol, or IPv6 upper layer.
    pub protocol: Option<u8>,
    /// UDP or TCP source port.
    pub source_port: PortRange,
    /// UDP or TCP destination port.
    pub destination_port: PortRange,
    /// EtherType after the VLAN tag.
    pub ether_type: Option<u16>,
    /// Handed to the lambda with the match.
    pub parameters: Parameters,
    /// Where the lambda's frame may go.
    pub egress: Egress,
}

impl Rule {
    /// A rule of priority 0 that matches every frame from the wire and lets it only go back.
    #[must_use]
    pub const fn any(lambda: LambdaRef) -> Self {
        Self {
            priority: 0,
            lambda,
            side: Side::Wire,
            rpc_lambda: None,
            port: None,
            vlan: VlanMatch::Any,
            source: None,
            destination: None,
            protocol: None,
            source_port: PortRange::Any,
            destination_port: PortRange::Any,
            ether_type: None,
            parameters: Parameters::EMPTY,
            egress: Egress::Reply,
        }
    }

    /// The rule that every lambda has: λ-RPC messages with its ID.
    #[must_use]
    pub const fn rpc(id: LambdaId, lambda: LambdaRef) -> Self {
        Self { rpc_lambda: Some(id), ..Self::any(lambda) }
    }

    /// True if all conditions hold. This is what a table must agree with.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        let ip = key.present.has(Present::IPV4) || key.present.has(Present::IPV6);
        self.side.holds(key.present)
            && self.rpc_lambda.is_none_or(|id| key.present.has(Present::RPC) && key.lambda == id.raw())
            && self.port.is_none_or(|port| key.port == port)
            && self.vlan.holds(key)
            && self.source.is_none_or(|prefix| prefix.holds(key.source, key.present))
            && self.destination.is_none_or(|prefix| prefix.holds(key.destination, key.present))
            && self.protocol.is_none_or(|protocol| ip && key.protocol == protocol)
            && self.source_port.holds(key.source_port, key.present)
            && self.destination_port.holds(key.destination_port, key.present)
            && self.ether_type.is_none_or(|ether_type| key.ether_type == ether_type)
    }

    /// True if the λ-RPC lambda ID is its only condition.
    #[must_use]
    pub(super) fn is_rpc_only(&self) -> bool {
        self.rpc_lambda.is_some()
            && self.side == Side::Wire
            && self.port.is_none()
            && self.vlan == VlanMatch::Any
            && self.source.is_none()
            && self.destination.is_none()
            && self.protocol.is_none()
            && self.source_port == PortRange::Any
            && self.destination_port == PortRange::Any
            && self.ether_type.is_none()
    }

    /// Refuses conditions that no frame can meet.
    pub(super) fn check(&self, index: usize) -> Result<(), Error> {
        if let (Some(source), Some(destination)) = (self.source, self.destination)
            && source.family != destination.family
        {
            return Err(Error::Families { index, rule_source: source, destination });
        }
        for range in [self.source_port, self.destination_port] {
            if let PortRange::Inclusive(first, last) = range
                && first > last
            {
                return Err(Error::EmptyRange { index, first, last });
            }
        }
        match self.vlan {
            VlanMatch::Exact(vlan) if vlan > 4094 => Err(Error::Vlan { index, vlan }),
            _ => Ok(()),
        }
    }
}

/// Which side of the appliance a rule is for. None is for both: what the host sends is not mistaken for what came to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Side {
    /// Frames from ports that face the network.
    #[default]
    Wire,
    /// Frames from host ports, on their way out.
    Host,
}

impl Side {
    fn holds(self, present: Present) -> bool {
        (self == Self::Host) == present.has(Present::HOST)
    }
}

/// Condition on the VLAN tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VlanMatch {
    /// Tagged or not.
    #[default]
    Any,
    /// No tag.
    Untagged,
    /// A tag with this identifier, 0–4094; 0 is a priority tag.
    Exact(u16),
}

impl VlanMatch {
    fn holds(self, key: &Key) -> bool {
        match self {
            Self::Any => true,
            Self::Untagged => !key.present.has(Present::VLAN),
            Self::Exact(vlan) => key.present.has(Present::VLAN) && key.vlan == vlan,
        }
    }
}

/// Condition on a UDP or TCP port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PortRange {
    /// Any port, or no transport header at all.
    #[default]
    Any,
    /// This port.
    Exact(u16),
    /// From the first to the last, both included.
    Inclusive(u16, u16),
}

impl PortRange {
    fn holds(self, port: u16, present: Present) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => present.has(Present::PORTS) && port == wanted,
            Self::Inclusive(first, last) => present.has(Present::PORTS) && (first..=last).contains(&port),
        }
    }
}

/// An IPv4 or IPv6 prefix. It matches addresses of its own family only: `::/0` matches no IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// As in a [`Key`]; no bits behind the prefix.
    address: u128,
    mask: u128,
    family: Present,
}

impl Prefix {
    /// A prefix of `address`, `bits` long.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, Error> {
        let (value, family, name, limit) = match address {
            IpAddr::V4(v4) => (MAPPED | u128::from(v4.to_bits()), Present::IPV4, "IPv4", 32),
            IpAddr::V6(v6) => (v6.to_bits(), Present::IPV6, "IPv6", 128),
        };
        if bits > limit {
            return Err(Error::PrefixLength { address, bits, family: name, limit });
        }
        let mask = u128::MAX.checked_shl(u32::from(limit - bits)).unwrap_or(0);
        let prefix = Self { address: value & mask, mask, family };
        if value == prefix.address {
            Ok(prefix)
        } else {
            Err(Error::HostBits { address, bits, network: prefix })
        }
    }

    /// First address of the prefix.
    #[must_use]
    pub fn address(self) -> IpAddr {
        if self.is_ipv4() {
            IpAddr::V4(Ipv4Addr::from_bits(self.address as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(self.address))
        }
    }

    /// Bits of the address that count.
    #[must_use]
    pub fn bits(self) -> u32 {
        let absent = if self.is_ipv4() { 96 } else { 0 };
        self.mask.leading_ones() - absent
    }

    /// True for IPv4.
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.family == Present::IPV4
    }

    /// True if it holds this address.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        let (address, family) = match address {
            IpAddr::V4(v4) => (MAPPED | u128::from(v4.to_bits()), Present::IPV4),
            IpAddr::V6(v6) => (v6.to_bits(), Present::IPV6),
        };
        self.holds(address, family)
    }

    /// The prefix one bit shorter; `None` if there is none.
    pub(super) fn parent(self) -> Option<Self> {
        (self.bits() > 0).then(|| {
            let mask = self.mask << 1;
            Self { address: self.address & mask, mask, ..self }
        })
    }

    /// Address, mask and family as a [`Key`] holds them.
    pub(super) fn parts(self) -> (u128, u128, Present) {
        (self.address, self.mask, self.family)
    }

    fn holds(self, address: u128, present: Present) -> bool {
        present.has(self.family) && address & self.mask == self.address
    }
}

impl FromStr for Prefix {
    type Err = Error;

    /// `10.0.0.0/8`, or a single address.
    fn from_str(text: &str) -> Result<Self, Error> {
        let not_a_prefix = || Error::NotAPrefix(text.into());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| not_a_prefix())?;
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| not_a_prefix())?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        Self::new(address, bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.bits())
    }
}

/// Bytes stored with a rule; they appear in the lambda's match data.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parameters {
    length: u8,
    bytes: [u8; PARAMETERS_CAPACITY],
}

impl Parameters {
    /// No parameters.
    pub const EMPTY: Parameters = Parameters { length: 0, bytes: [0; PARAMETERS_CAPACITY] };

    /// At most [`PARAMETERS_CAPACITY`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let mut parameters = Self::EMPTY;
        let Some(room) = parameters.bytes.get_mut(..bytes.len()) else {
            return Err(Error::Parameters { bytes: bytes.len(), limit: PARAMETERS_CAPACITY });
        };
        room.copy_from_slice(bytes);
        parameters.length = bytes.len() as u8;
        Ok(parameters)
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The bytes, with zeros behind: as match data holds them.
    #[must_use]
    pub fn padded(&self) -> &[u8; PARAMETERS_CAPACITY] {
        &self.bytes
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

/// Where a lambda's frame may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Egress {
    /// Only back to whom the request came from, on the port that it came from.
    #[default]
    Reply,
    /// To any address on any port.
    Any,
}

impl Egress {
    /// As configurations say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Any => "any",
        }
    }
}

/// What a matched rule gives its lambda, apart from the table that it was in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The rule's place in the order that its table was built from.
    pub index: u32,
    /// Where the lambda's frame may go.
    pub egress: Egress,
    /// Handed to the lambda.
    pub parameters: Parameters,
}
