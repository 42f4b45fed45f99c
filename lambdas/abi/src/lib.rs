//! ABI version 1 between `lnic` and a lambda (λ-NIC, Listing 1): `int NAME(EXTRACTED_HEADERS_T *, MATCH_DATA_T *)`.
//!
//! A lambda is a wasm32 module that exports its linear memory (`memory`), its entry function
//! `(i32 headers, i32 match_data) -> i32 verdict`, the globals [`EXPORT_HEAP_BASE`] and [`EXPORT_STACK_POINTER`], and a
//! function named [`EXPORT_VERSION`] that says which ABI it was built for. It may import [`IMPORT_CALL`], [`IMPORT_LOG`],
//! [`IMPORT_ENVIRONMENT`], [`IMPORT_SECRET`], [`IMPORT_SERVICE`], [`IMPORT_REQUEST`] and [`IMPORT_RANDOM`].
//!
//! The host uses [`IO_BYTES`] of the lambda's memory from `__heap_base`, rounded up to [`IO_ALIGN`]:
//! [`Headers`] at [`IO_HEADERS`], [`MatchData`] at [`IO_MATCH_DATA`], the payload at [`IO_PAYLOAD`].
//! All fields are in host byte order, which is wasm's: little-endian. Addresses and ports too, so
//! `headers->ipv4.source == 0x0a000001` is 10.0.0.1. MAC and IPv6 addresses stay byte arrays.
//!
//! This is the one place where all of that is written down: `lambdas/sdk/c/lnic_abi.h` is made from it by a test, and
//! `lambdas/sdk/rust` builds on it. It has no dependencies unless the host asks for `bytemuck`, and compiles with Rust 1.63.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, rust_2018_idioms, unreachable_pub)]

#[cfg(not(target_endian = "little"))]
compile_error!("linear memory is little-endian and is read in place");

mod rpc;

use core::mem::size_of;

#[cfg(feature = "bytemuck")]
use bytemuck::{Pod, Zeroable};

pub use rpc::*;

/// ABI version.
pub const VERSION: u32 = 1;
/// Export that names the ABI version; a function without parameters and results. Never called.
pub const EXPORT_VERSION: &str = "lnic_abi_1";
/// Exported linear memory.
pub const EXPORT_MEMORY: &str = "memory";
/// Exported global: first byte after the lambda's data and stack.
pub const EXPORT_HEAP_BASE: &str = "__heap_base";
/// Exported mutable global: reset after a trap, else the shadow stack leaks.
pub const EXPORT_STACK_POINTER: &str = "__stack_pointer";
/// Optional exported global: first byte after the lambda's data, zeroed variables included. Without it nobody can know that
/// there are none, and the lambda counts as one that has.
pub const EXPORT_DATA_END: &str = "__data_end";
/// Optional export `() -> ()`: runs once per NPU before the first packet.
pub const EXPORT_INIT: &str = "init";

/// Module of everything that a lambda may import.
pub const IMPORT_MODULE: &str = "lnic";
/// `(lambda_id, request, request_bytes, reply, reply_capacity, timeout_us: i32) -> i32`: calls another lambda and waits for its
/// reply, or until the time-out. Bytes of the reply, or minus a status of λ-RPC. A request or a buffer over
/// [`PAYLOAD_CAPACITY`] and a time-out below 1 are `INVALID_ARGUMENT`; a reply that does not fit is `OUT_OF_RANGE`; what lies
/// outside the memory traps. [`EXPORT_INIT`] cannot wait: there it is `UNAVAILABLE`.
pub const IMPORT_CALL: &str = "call";
/// `(text, bytes: i32)`: a line for the appliance's log; what is longer than [`LOG_CAPACITY`] is cut off, what is too often is
/// counted and dropped.
pub const IMPORT_LOG: &str = "log";
/// `(name, name_bytes, out, out_bytes: i32) -> i32`: a variable of the deployment's environment. Bytes of its value, which may be more
/// than `out_bytes`: what fits is copied; −1 if there is none of that name, or the name is over [`NAME_CAPACITY`]. What lies outside
/// the memory traps. Each byte that is copied costs fuel. In [`EXPORT_INIT`] too, where what it says is best read once and kept.
pub const IMPORT_ENVIRONMENT: &str = "environment";
/// The same for the secrets that the deployment names.
pub const IMPORT_SECRET: &str = "secret";
/// `(name, name_bytes: i32) -> i32`: handle of a service outside the appliance that the manifest names; −1 if there is none of that name. A
/// handle is the lambda's own, and does not change while a generation of it runs. What lies outside the memory traps.
pub const IMPORT_SERVICE: &str = "service";
/// `(service, request, request_bytes, reply, reply_capacity, timeout_us: i32) -> i32`: sends a request to a service outside the appliance
/// and waits for its reply, or until the time-out. Bytes of the reply, or minus a status of λ-RPC, as [`IMPORT_CALL`]: a handle that
/// is none is `INVALID_ARGUMENT`, a request that does not fit one packet of the port too; `DEADLINE_EXCEEDED` if no reply came;
/// nothing waits longer than 10 s; `RESOURCE_EXHAUSTED` if too many wait for replies; `UNAVAILABLE` if the next hop does not answer ARP or neighbour discovery.
pub const IMPORT_REQUEST: &str = "request";
/// `() -> i64`: random bits that nobody outside can foretell. For hash seeds and IDs; no key material.
pub const IMPORT_RANDOM: &str = "random";
/// Most bytes of the name of a variable or a secret.
pub const NAME_CAPACITY: usize = 255;
/// Most bytes of a log line.
pub const LOG_CAPACITY: usize = 240;

/// Section of a variable of which each NPU has one, near to it.
pub const SECTION_LOCAL: &str = ".local";
/// Section of what an island's NPUs share and write often.
pub const SECTION_CTM: &str = ".ctm";
/// Section of what is read more than written, by all islands.
pub const SECTION_IMEM: &str = ".imem";
/// Section of what is large, of all islands.
pub const SECTION_EMEM: &str = ".emem";
/// The same for constants: variables and constants cannot share a section.
pub const SECTION_LOCAL_CONST: &str = ".local.const";
/// Section of constants in CTM.
pub const SECTION_CTM_CONST: &str = ".ctm.const";
/// Section of constants in IMEM.
pub const SECTION_IMEM_CONST: &str = ".imem.const";
/// Section of constants in EMEM.
pub const SECTION_EMEM_CONST: &str = ".emem.const";

/// Alignment of the I/O area in bytes.
pub const IO_ALIGN: usize = 64;
/// Offset of [`Headers`] in the I/O area.
pub const IO_HEADERS: usize = 0;
/// Offset of [`MatchData`] in the I/O area.
pub const IO_MATCH_DATA: usize = 256;
/// Offset of the payload in the I/O area.
pub const IO_PAYLOAD: usize = 512;
/// Most bytes of a payload of one frame, in and out: a 9,000-byte MTU fits. Messages in slots may be longer.
pub const PAYLOAD_CAPACITY: usize = 9216;
/// Bytes of the I/O area.
pub const IO_BYTES: usize = IO_PAYLOAD + PAYLOAD_CAPACITY;
/// Most bytes of parameters that a match rule can carry.
pub const PARAMETERS_CAPACITY: usize = 64;

/// Verdict: send the frame as the headers now say.
pub const FORWARD: i32 = 0;
/// Verdict: drop the frame without an answer.
pub const DROP: i32 = -1;
/// Verdict: pass the frame on, unchanged, to the port's other side: from the wire to the host, and from the host to the wire.
pub const TO_HOST: i32 = 1;

/// `EXTRACTED_HEADERS_T`: what the parser decoded, each header with a valid flag.
/// A changed field, a cleared or a set flag is reflected in the frame that leaves; lengths and checksums are the platform's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Headers {
    /// About the frame itself; always valid.
    pub meta: Meta,
    /// λ-RPC v1.
    pub rpc: Rpc,
    /// Ethernet II; always valid.
    pub ethernet: Ethernet,
    /// 802.1Q tag.
    pub vlan: Vlan,
    /// IPv4 (RFC 791).
    pub ipv4: Ipv4,
    /// IPv6 (RFC 8200).
    pub ipv6: Ipv6,
    /// UDP (RFC 768).
    pub udp: Udp,
    /// TCP (RFC 9293); read-only.
    pub tcp: Tcp,
}

/// About the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Meta {
    /// When the burst was polled, nanoseconds since the appliance started.
    pub time_ns: u64,
    /// Bytes of the frame as it arrived.
    pub frame_length: u32,
    /// Port it arrived on.
    pub ingress_port: u16,
    /// Port it leaves on; starts as the ingress port.
    pub egress_port: u16,
}

/// λ-RPC v1 header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Rpc {
    /// 1 if present.
    pub valid: u8,
    /// [`RPC_REQ`] or [`RPC_RSP`]; lambdas see no other.
    pub kind: u8,
    /// Reply: [`STATUS_OK`] or another status.
    pub status: u8,
    /// Reply: credit.
    pub credit: u8,
    /// Flags such as [`RPC_FLAG_CRC`], and the priority, as on the wire.
    pub flags: u16,
    /// Reply: service time, µs.
    pub service_us: u16,
    /// Lambda ID.
    pub lambda_id: u32,
    /// Request: budget in µs, 0 none.
    pub budget_us: u32,
    /// Session 32, sequence 32.
    pub request_id: u64,
    /// Bytes of the whole message.
    pub message_length: u32,
    /// Bytes of a fragment.
    pub fragment_bytes: u16,
    /// Index of this fragment.
    pub fragment_index: u16,
}

/// Ethernet II header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// EtherType of what follows the Ethernet header and the VLAN tag.
    pub ether_type: u16,
    /// 1 always.
    pub valid: u8,
    /// Zero.
    pub reserved: u8,
}

/// 802.1Q tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Vlan {
    /// 1 if present.
    pub valid: u8,
    /// Priority code point, 0–7.
    pub pcp: u8,
    /// Drop eligible indicator, 0–1.
    pub dei: u8,
    /// Zero.
    pub reserved: u8,
    /// VLAN identifier, 0–4094.
    pub vid: u16,
    /// Zero.
    pub reserved2: u16,
}

/// IPv4 header; options are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Ipv4 {
    /// 1 if present.
    pub valid: u8,
    /// DSCP 6, ECN 2.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub protocol: u8,
    /// Identification.
    pub identification: u16,
    /// 1 if the don't-fragment flag is set.
    pub dont_fragment: u8,
    /// Bytes of options, 0–40; read-only.
    pub options_bytes: u8,
    /// Source address, host byte order.
    pub source: u32,
    /// Destination address, host byte order.
    pub destination: u32,
    /// Total length as it arrived; read-only.
    pub total_length: u16,
    /// Zero.
    pub reserved: u16,
}

/// IPv6 header; extension headers are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Ipv6 {
    /// 1 if present.
    pub valid: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Upper-layer protocol, after extension headers; read-only.
    pub protocol: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Payload length as it arrived; read-only.
    pub payload_length: u16,
    /// Bytes of extension headers; read-only.
    pub extension_bytes: u16,
}

/// TCP flag: no more data from the sender.
pub const TCP_FLAG_FIN: u8 = 1;
/// TCP flag: synchronise sequence numbers.
pub const TCP_FLAG_SYN: u8 = 2;
/// TCP flag: reset the connection.
pub const TCP_FLAG_RST: u8 = 4;
/// TCP flag: push.
pub const TCP_FLAG_PSH: u8 = 8;
/// TCP flag: the acknowledgement number counts.
pub const TCP_FLAG_ACK: u8 = 16;
/// TCP flag: the urgent pointer counts.
pub const TCP_FLAG_URG: u8 = 32;
/// TCP flag: ECN echo.
pub const TCP_FLAG_ECE: u8 = 64;
/// TCP flag: congestion window reduced.
pub const TCP_FLAG_CWR: u8 = 128;

/// UDP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Udp {
    /// 1 if present.
    pub valid: u8,
    /// Zero.
    pub reserved: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length as it arrived; read-only.
    pub length: u16,
}

/// TCP header; read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Tcp {
    /// 1 if present.
    pub valid: u8,
    /// [`TCP_FLAG_FIN`] and its like.
    pub flags: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Receive window.
    pub window: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
}

/// `MATCH_DATA_T`: what the matched rule says, and the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(Pod, Zeroable))]
#[repr(C)]
pub struct MatchData {
    /// Address of the payload in linear memory: in the I/O area, or a message slot; read-only.
    pub payload: u32,
    /// Bytes of the payload; the lambda sets it to the bytes that leave.
    pub length: u32,
    /// Most bytes that can leave, in this frame or out of the slot; read-only.
    pub capacity: u32,
    /// ID of the lambda that runs; read-only.
    pub lambda_id: u32,
    /// Rule that matched, by its place in the table; read-only.
    pub rule: u32,
    /// Bytes of `parameters`; read-only.
    pub parameters_length: u32,
    /// What was stored with the rule.
    pub parameters: [u8; PARAMETERS_CAPACITY],
}

impl Default for MatchData {
    fn default() -> Self {
        Self {
            payload: 0,
            length: 0,
            capacity: 0,
            lambda_id: 0,
            rule: 0,
            parameters_length: 0,
            parameters: [0; PARAMETERS_CAPACITY],
        }
    }
}

const _: () = {
    assert!(size_of::<Headers>() <= IO_MATCH_DATA - IO_HEADERS);
    assert!(size_of::<MatchData>() <= IO_PAYLOAD - IO_MATCH_DATA);
    assert!(size_of::<Headers>() == 160);
    assert!(IO_PAYLOAD % IO_ALIGN == 0);
};
