//! Headers of the frame.

use core::ops::{Deref, DerefMut};

use lnic_abi as abi;

/// What the parser decoded, each header with a `valid` flag: the fields are those of [`abi::Headers`]. A changed field, a cleared or a set
/// flag is reflected in the frame that leaves; lengths and checksums are the platform's.
///
/// ```
/// use lnic_lambda::Headers;
/// let mut headers = Headers::default();
/// headers.ipv4.valid = 1;
/// headers.ipv4.source = 0x0a00_0001;
/// assert_eq!(headers.source_v4(), Some([10, 0, 0, 1]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Headers(abi::Headers);

impl Deref for Headers {
    type Target = abi::Headers;

    fn deref(&self) -> &abi::Headers {
        &self.0
    }
}

impl DerefMut for Headers {
    fn deref_mut(&mut self) -> &mut abi::Headers {
        &mut self.0
    }
}

impl From<abi::Headers> for Headers {
    fn from(headers: abi::Headers) -> Self {
        Self(headers)
    }
}

impl Headers {
    /// True if a λ-RPC request has come.
    ///
    /// ```
    /// use lnic_lambda::{abi, Headers};
    /// let mut headers = Headers::default();
    /// assert!(!headers.is_rpc_request());
    /// headers.rpc.valid = 1;
    /// assert!(headers.is_rpc_request());
    /// headers.rpc.kind = abi::RPC_RSP;
    /// assert!(!headers.is_rpc_request());
    /// ```
    #[must_use]
    pub fn is_rpc_request(&self) -> bool {
        self.rpc.valid != 0 && self.rpc.kind == abi::RPC_REQ
    }

    /// Source address of an IPv4 packet, as it is written: `[10, 0, 0, 1]`.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Headers::default().source_v4(), None);
    /// ```
    #[must_use]
    pub fn source_v4(&self) -> Option<[u8; 4]> {
        (self.ipv4.valid != 0).then(|| self.ipv4.source.to_be_bytes())
    }

    /// Destination address of an IPv4 packet, as it is written.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Headers::default().destination_v4(), None);
    /// ```
    #[must_use]
    pub fn destination_v4(&self) -> Option<[u8; 4]> {
        (self.ipv4.valid != 0).then(|| self.ipv4.destination.to_be_bytes())
    }

    /// Adds a VLAN tag, or changes the one that is there. `None`, and nothing changes, if the identifier is over 4094 or the priority over 7.
    ///
    /// ```
    /// use lnic_lambda::Headers;
    /// let mut headers = Headers::default();
    /// assert_eq!(headers.set_vlan(100, 3), Some(()));
    /// assert_eq!((headers.vlan.valid, headers.vlan.vid, headers.vlan.pcp), (1, 100, 3));
    /// assert_eq!(headers.set_vlan(4095, 0), None);
    /// ```
    #[must_use = "a tag that cannot be is not set"]
    pub fn set_vlan(&mut self, identifier: u16, priority: u8) -> Option<()> {
        if identifier > 4094 || priority > 7 {
            return None;
        }
        (self.vlan.valid, self.vlan.vid, self.vlan.pcp) = (1, identifier, priority);
        Some(())
    }

    /// Removes the VLAN tag; returns its identifier.
    ///
    /// ```
    /// use lnic_lambda::Headers;
    /// let mut headers = Headers::default();
    /// assert_eq!(headers.remove_vlan(), None);
    /// headers.set_vlan(7, 0).unwrap();
    /// assert_eq!(headers.remove_vlan(), Some(7));
    /// assert_eq!(headers.vlan.valid, 0);
    /// ```
    pub fn remove_vlan(&mut self) -> Option<u16> {
        let had = self.vlan.valid != 0;
        self.vlan.valid = 0;
        had.then(|| self.vlan.vid)
    }

    /// Removes the λ-RPC header: the payload leaves as ordinary UDP.
    ///
    /// ```
    /// use lnic_lambda::Headers;
    /// let mut headers = Headers::default();
    /// headers.rpc.valid = 1;
    /// headers.remove_rpc();
    /// assert_eq!(headers.rpc.valid, 0);
    /// ```
    pub fn remove_rpc(&mut self) {
        self.rpc.valid = 0;
    }

    /// Adds a λ-RPC request header to what leaves by UDP: for this lambda, with this session and sequence.
    ///
    /// ```
    /// use lnic_lambda::Headers;
    /// let mut headers = Headers::default();
    /// headers.add_rpc_request(9, 1 << 32 | 4);
    /// assert!(headers.is_rpc_request());
    /// assert_eq!((headers.rpc.lambda_id, headers.rpc.request_id), (9, 0x1_0000_0004));
    /// ```
    pub fn add_rpc_request(&mut self, lambda_id: u32, request_id: u64) {
        self.rpc = abi::Rpc { valid: 1, kind: abi::RPC_REQ, lambda_id, request_id, ..abi::Rpc::default() };
    }

    /// Turns addresses and ports round, so that the frame goes back to whom it came from, out of the port it came in on.
    ///
    /// ```
    /// use lnic_lambda::Headers;
    /// let mut headers = Headers::default();
    /// headers.udp.valid = 1;
    /// (headers.udp.source_port, headers.udp.destination_port) = (4000, 53);
    /// headers.turn_round();
    /// assert_eq!((headers.udp.source_port, headers.udp.destination_port), (53, 4000));
    /// ```
    pub fn turn_round(&mut self) {
        let headers = &mut self.0;
        core::mem::swap(&mut headers.ethernet.source, &mut headers.ethernet.destination);
        if headers.ipv4.valid != 0 {
            core::mem::swap(&mut headers.ipv4.source, &mut headers.ipv4.destination);
            headers.ipv4.ttl = 64;
        }
        if headers.ipv6.valid != 0 {
            core::mem::swap(&mut headers.ipv6.source, &mut headers.ipv6.destination);
            headers.ipv6.hop_limit = 64;
        }
        if headers.udp.valid != 0 {
            core::mem::swap(&mut headers.udp.source_port, &mut headers.udp.destination_port);
        }
        headers.meta.egress_port = headers.meta.ingress_port;
    }
}
