//! How the conditions of rules lie to each other: what covers, overlaps, or adds up.

use super::rule::{PortRange, Prefix, Rule, VlanMatch};

impl Rule {
    /// True if every frame that `other` matches is matched by this. Told from each condition by itself: where several of them
    /// together rule something out, this may be false although it could be true.
    pub(super) fn covers(&self, other: &Self) -> bool {
        fn value<T: PartialEq>(wide: Option<T>, narrow: Option<T>) -> bool {
            wide.is_none() || wide == narrow
        }
        let prefix = |wide: Option<Prefix>, narrow: Option<Prefix>| match (wide, narrow) {
            (None, _) => true,
            (Some(wide), Some(narrow)) => wide.covers(narrow),
            (Some(_), None) => false,
        };
        self.side == other.side
            && value(self.rpc_lambda, other.rpc_lambda)
            && value(self.port, other.port)
            && (self.vlan == VlanMatch::Any || self.vlan == other.vlan)
            && prefix(self.source, other.source)
            && prefix(self.destination, other.destination)
            && value(self.protocol, other.protocol)
            && self.source_port.covers(other.source_port)
            && self.destination_port.covers(other.destination_port)
            && value(self.ether_type, other.ether_type)
    }

    /// False if no frame can match both, for which a frame has one IP version at most. It may be true although none can.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        fn value<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        let family = |rule: &Self| rule.source.or(rule.destination).map(Prefix::is_ipv4);
        let prefix = |a: Option<Prefix>, b: Option<Prefix>| match (a, b) {
            (Some(a), Some(b)) => a.covers(b) || b.covers(a),
            _ => true,
        };
        self.side == other.side
            && value(self.rpc_lambda, other.rpc_lambda)
            && value(self.port, other.port)
            && (self.vlan == VlanMatch::Any || other.vlan == VlanMatch::Any || self.vlan == other.vlan)
            && value(family(self), family(other))
            && prefix(self.source, other.source)
            && prefix(self.destination, other.destination)
            && value(self.protocol, other.protocol)
            && self.source_port.overlaps(other.source_port)
            && self.destination_port.overlaps(other.destination_port)
            && value(self.ether_type, other.ether_type)
    }
}

impl Prefix {
    /// True if it holds all addresses of the other.
    fn covers(self, other: Self) -> bool {
        let ((address, mask, family), (inner, inner_mask, inner_family)) = (self.parts(), other.parts());
        family == inner_family && mask & !inner_mask == 0 && inner & mask == address
    }

    /// The prefix of exactly the addresses of both, if there is one: the wider of two, or two halves.
    pub(super) fn union(self, other: Self) -> Option<Self> {
        if self.covers(other) {
            Some(self)
        } else if other.covers(self) {
            Some(other)
        } else {
            let parent = self.parent()?;
            (self.bits() == other.bits() && parent.covers(other)).then_some(parent)
        }
    }
}

impl PortRange {
    /// First and last port; `None` for any, which holds for frames without ports too.
    fn bounds(self) -> Option<(u16, u16)> {
        match self {
            Self::Any => None,
            Self::Exact(port) => Some((port, port)),
            Self::Inclusive(first, last) => Some((first, last)),
        }
    }

    fn covers(self, other: Self) -> bool {
        match (self.bounds(), other.bounds()) {
            (None, _) => true,
            (Some((first, last)), Some((inner_first, inner_last))) => {
                first <= inner_first && inner_last <= last
            }
            (Some(_), None) => false,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        match (self.bounds(), other.bounds()) {
            (Some((first, last)), Some((other_first, other_last))) => {
                first <= other_last && other_first <= last
            }
            _ => true,
        }
    }

    /// The range of exactly the ports of both, if they overlap or lie side by side.
    pub(super) fn union(self, other: Self) -> Option<Self> {
        let ((first, last), (other_first, other_last)) = (self.bounds()?, other.bounds()?);
        let (from, to) = (first.max(other_first), last.min(other_last));
        // Between two that do not overlap there may be no port.
        if u32::from(from) > u32::from(to) + 1 {
            return None;
        }
        let (first, last) = (first.min(other_first), last.max(other_last));
        Some(if first == last { Self::Exact(first) } else { Self::Inclusive(first, last) })
    }
}
