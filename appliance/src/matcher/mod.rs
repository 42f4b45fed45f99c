//! Station 3: key → rule. The match stage is the only way to invoke a lambda.
//!
//! A [`Table`] is built once, off the path, from [`Rule`]s and never changes; the control plane publishes a new one instead.
//! [`Table::reduced`] has fewer rules that mean the same. [`linear`] scans all rules and says what the answer must be; property tests hold the table to it.

mod derive;
mod directory;
pub mod linear;
mod reduce;
mod relate;
mod rule;
mod table;
mod tuple;

#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use reduce::Reduction;
pub use rule::{Effect, Egress, Parameters, PortRange, Prefix, Rule, Side, VlanMatch};
pub use table::{Match, Table};

/// Why rules make no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More rules than a table holds.
    #[error("{rules} rules, over the limit of {limit}")]
    TooMany {
        /// Rules given.
        rules: usize,
        /// Most that a table holds.
        limit: usize,
    },
    /// Source and destination of different families match no packet.
    #[error(
        "rule {index}: source {rule_source} and destination {destination} are of different address families"
    )]
    Families {
        /// Rule, by its place in the source order.
        index: usize,
        /// Its source.
        rule_source: Prefix,
        /// Its destination.
        destination: Prefix,
    },
    /// A range that holds nothing.
    #[error("rule {index}: port range {first}-{last} is empty")]
    EmptyRange {
        /// Rule, by its place in the source order.
        index: usize,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// Not a VLAN identifier.
    #[error("rule {index}: VLAN {vlan}, over the limit of 4094")]
    Vlan {
        /// Rule, by its place in the source order.
        index: usize,
        /// What it asked for.
        vlan: u16,
    },
    /// A prefix longer than its addresses.
    #[error("{address}/{bits}: an {family} prefix has at most {limit} bits")]
    PrefixLength {
        /// Address as given.
        address: std::net::IpAddr,
        /// Length as given.
        bits: u8,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Longest prefix of the family.
        limit: u8,
    },
    /// Bits behind the prefix: most likely another network was meant.
    #[error("{address}/{bits} has bits set behind its prefix: the network is {network}")]
    HostBits {
        /// Address as given.
        address: std::net::IpAddr,
        /// Length as given.
        bits: u8,
        /// What the prefix of that address is.
        network: Prefix,
    },
    /// Not a prefix at all.
    #[error("\"{0}\" is not an address prefix such as 10.0.0.0/8 or fd00::/8")]
    NotAPrefix(String),
    /// Parameters that the lambda's match data cannot hold.
    #[error("{bytes} bytes of parameters, over the limit of {limit}")]
    Parameters {
        /// Bytes given.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
}
