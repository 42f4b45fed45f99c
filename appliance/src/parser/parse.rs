//! Walks the headers once.

use super::Key;

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
    /// End of the payload: the IP length's, so Ethernet padding is excluded.
    pub end: u16,
    /// An IP fragment: the transport header is not decoded.
    pub fragment: bool,
}
