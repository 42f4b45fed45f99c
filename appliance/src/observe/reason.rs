//! Why a frame was dropped. Every frame ends sent, to host, or with one of these.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a frame was dropped. Indexes counters; prints for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &[DropReason] = &[$(DropReason::$name,)*];

            /// Stable name, as in `lnic stats`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Shorter than an Ethernet header, or than a header that it announces.
    Truncated = "truncated",
    /// The IP length says more than the frame holds: cut on the way, as AF_PACKET does silently.
    IpLength = "ip_length",
    /// In several buffers, because it fits none: larger than the port's MTU.
    Chained = "chained",
    /// Not version 4 or 6, or a header length under the minimum.
    IpHeader = "ip_header",
    /// IPv4 header checksum.
    IpChecksum = "ip_checksum",
    /// IPv4 source route (RFC 7126, 4.3 and 4.4): an answer would follow it.
    SourceRoute = "source_route",
    /// An IP fragment, and no host port to give it to.
    Fragment = "fragment",
    /// IPv6 extension headers that are malformed or too many.
    Ipv6Extension = "ipv6_extension",
    /// UDP length disagrees with the IP length.
    UdpLength = "udp_length",
    /// UDP checksum, or none over IPv6.
    UdpChecksum = "udp_checksum",
    /// TCP header length under the minimum or over the segment.
    TcpHeader = "tcp_header",
    /// TCP checksum.
    TcpChecksum = "tcp_checksum",
    /// ICMP or ICMPv6 checksum.
    IcmpChecksum = "icmp_checksum",
    /// Sent to a MAC that is not the port's.
    NotOurMac = "not_our_mac",
    /// ARP or neighbour discovery that is malformed or not allowed (RFC 4861, 7.1).
    Neighbour = "neighbour",
    /// λ-RPC or echo from a broadcast, multicast or unspecified source: not to be answered.
    SourceAddress = "source_address",
    /// No rule matched, and there is no host port.
    Unmatched = "unmatched",
    /// λ-RPC: shorter than its header says.
    RpcTruncated = "rpc_truncated",
    /// λ-RPC: magic or version.
    RpcVersion = "rpc_version",
    /// λ-RPC: header length or TLVs.
    RpcHeader = "rpc_header",
    /// λ-RPC: CRC32C.
    RpcCrc = "rpc_crc",
    /// λ-RPC: a type that only a client receives, or one for a message that is not there.
    RpcType = "rpc_type",
    /// λ-RPC: message length, fragment size and payload disagree.
    RpcLength = "rpc_length",
    /// λ-RPC: the caller asked for no reply (NOREPLY).
    RpcNoReply = "rpc_no_reply",
    /// λ-RPC message: a fragment without CRC; one flipped bit could place it elsewhere.
    MessageNoCrc = "message_no_crc",
    /// λ-RPC message: a fragment that contradicts the others.
    MessageInconsistent = "message_inconsistent",
    /// λ-RPC message: there already.
    MessageDuplicate = "message_duplicate",
    /// λ-RPC message: a fragment that was not granted.
    MessageUngranted = "message_ungranted",
    /// λ-RPC message: refused, and another fragment of it is answered.
    MessageRefused = "message_refused",
    /// λ-RPC message: nothing is known of it.
    MessageUnknown = "message_unknown",
    /// λ-RPC message: the caller had cancelled it.
    MessageCancelled = "message_cancelled",
    /// To one of the UDP ports that requests to services leave from, and no reply to one that waits: late, a duplicate, or forged.
    StrayReply = "stray_reply",
    /// A service's reply whose memcached frame header contradicts itself, or the datagrams before.
    MalformedReply = "malformed_reply",
    /// A service's reply that came to another lcore than had asked, and the way to that one was full.
    ReplyBacklog = "reply_backlog",
    /// The lambda said DROP.
    LambdaDrop = "lambda_drop",
    /// The lambda trapped, and the frame has no caller to tell.
    LambdaTrap = "lambda_trap",
    /// The lambda used up its budget, and the frame has no caller to tell.
    LambdaBudget = "lambda_budget",
    /// The lambda's verdict or headers made no frame, and there is no caller to tell.
    LambdaVerdict = "lambda_verdict",
    /// Too many requests wait for the lambda, or run, and the frame has no caller to tell.
    LambdaBusy = "lambda_busy",
    /// The lambda is quarantined, and the frame has no caller to tell.
    LambdaQuarantined = "lambda_quarantined",
    /// It was on an NPU whose lcore ended.
    NpuLost = "npu_lost",
    /// The rule's lambda is not there any more.
    LambdaGone = "lambda_gone",
    /// The pool had no frame for what was to be sent.
    NoFrame = "no_frame",
    /// The lcore has no queue of the port that it leaves on.
    NoQueue = "no_queue",
    /// The port would not take it: its queue was full.
    TxFull = "tx_full",
    /// The host port would not take it.
    HostFull = "host_full",
    /// Too large for the port that it leaves on.
    TxSize = "tx_size",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
