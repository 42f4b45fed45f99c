/*
 * Layout of headers and match data, and the numbers that lnic and a lambda share: ABI version 1.
 *
 * Made from lambdas/abi, in Rust; do not edit. The assertions at the end are what the Rust compiler has laid out.
 */

#ifndef LNIC_ABI_H
#define LNIC_ABI_H

#include <stddef.h>
#include <stdint.h>

/* Names that the linker writes into a module: exports, imports, and sections of objects. */
#define LNIC_EXPORT_VERSION "lnic_abi_1"
#define LNIC_EXPORT_INIT "init"
#define LNIC_IMPORT_MODULE "lnic"
#define LNIC_IMPORT_CALL "call"
#define LNIC_IMPORT_LOG "log"
#define LNIC_IMPORT_ENVIRONMENT "environment"
#define LNIC_IMPORT_SECRET "secret"
#define LNIC_IMPORT_SERVICE "service"
#define LNIC_IMPORT_REQUEST "request"
#define LNIC_IMPORT_RANDOM "random"
#define LNIC_SECTION_LOCAL ".local"
#define LNIC_SECTION_CTM ".ctm"
#define LNIC_SECTION_IMEM ".imem"
#define LNIC_SECTION_EMEM ".emem"
#define LNIC_SECTION_LOCAL_CONST ".local.const"
#define LNIC_SECTION_CTM_CONST ".ctm.const"
#define LNIC_SECTION_IMEM_CONST ".imem.const"
#define LNIC_SECTION_EMEM_CONST ".emem.const"

/* Kind of a λ-RPC message: a request. */
#define RPC_REQ 0
/* Kind of a λ-RPC message: its reply. */
#define RPC_RSP 1
/* λ-RPC flag: the header's CRC counts. */
#define RPC_FLAG_CRC (1 << 15)
/* λ-RPC flag: sent again. */
#define RPC_FLAG_RTX (1 << 14)
/* λ-RPC flag: to run it twice does no harm. */
#define RPC_FLAG_IDEMPOTENT (1 << 13)
/* λ-RPC flag: it may run once at most. */
#define RPC_FLAG_AT_MOST_ONCE (1 << 12)
/* λ-RPC flag: the caller wants no reply. */
#define RPC_FLAG_NOREPLY (1 << 11)
/* λ-RPC flag: congestion was experienced on the way. */
#define RPC_FLAG_CE (1 << 10)
/* Bits of the λ-RPC flags that are the priority, 0–7. */
#define RPC_PRIORITY_MASK 7
/* Status of a λ-RPC reply, gRPC's numbers up to 16 and three of λ-RPC: success. */
#define STATUS_OK 0
/* Status: the caller cancelled. */
#define STATUS_CANCELLED 1
/* Status: some error without a better name. */
#define STATUS_UNKNOWN 2
/* Status: the request makes no sense. */
#define STATUS_INVALID_ARGUMENT 3
/* Status: the budget or the time-out passed. */
#define STATUS_DEADLINE_EXCEEDED 4
/* Status: what the request names does not exist. */
#define STATUS_NOT_FOUND 5
/* Status: what the request would make exists. */
#define STATUS_ALREADY_EXISTS 6
/* Status: the caller may not do this. */
#define STATUS_PERMISSION_DENIED 7
/* Status: a quota is used up. */
#define STATUS_RESOURCE_EXHAUSTED 8
/* Status: the state does not allow it. */
#define STATUS_FAILED_PRECONDITION 9
/* Status: given up for a conflict. */
#define STATUS_ABORTED 10
/* Status: past the valid range. */
#define STATUS_OUT_OF_RANGE 11
/* Status: nobody implements it. */
#define STATUS_UNIMPLEMENTED 12
/* Status: the lambda trapped. */
#define STATUS_INTERNAL 13
/* Status: it cannot be done now. */
#define STATUS_UNAVAILABLE 14
/* Status: data is lost. */
#define STATUS_DATA_LOSS 15
/* Status: the caller is not known. */
#define STATUS_UNAUTHENTICATED 16
/* Status: the queue is full, try again later. */
#define STATUS_BUSY 32
/* Status: nothing is known of this request. */
#define STATUS_UNKNOWN_RPC 33
/* Status: the request is older than the at-most-once window. */
#define STATUS_STALE 34
/* ABI version. */
#define LNIC_ABI_VERSION 1
/* Most bytes of the name of a variable or a secret. */
#define NAME_CAPACITY 255
/* Most bytes of a log line. */
#define LOG_CAPACITY 240
/* Most bytes of a payload of one frame, in and out: a 9,000-byte MTU fits. Messages in slots may be longer. */
#define PAYLOAD_CAPACITY 9216
/* Most bytes of parameters that a match rule can carry. */
#define PARAMETERS_CAPACITY 64
/* Verdict: send the frame as the headers now say. */
#define FORWARD 0
/* Verdict: drop the frame without an answer. */
#define DROP (-1)
/* Verdict: pass the frame on, unchanged, to the port's other side: from the wire to the host, and from the host to the wire. */
#define TO_HOST 1
/* TCP flag: no more data from the sender. */
#define TCP_FLAG_FIN 1
/* TCP flag: synchronise sequence numbers. */
#define TCP_FLAG_SYN 2
/* TCP flag: reset the connection. */
#define TCP_FLAG_RST 4
/* TCP flag: push. */
#define TCP_FLAG_PSH 8
/* TCP flag: the acknowledgement number counts. */
#define TCP_FLAG_ACK 16
/* TCP flag: the urgent pointer counts. */
#define TCP_FLAG_URG 32
/* TCP flag: ECN echo. */
#define TCP_FLAG_ECE 64
/* TCP flag: congestion window reduced. */
#define TCP_FLAG_CWR 128

/* About the frame. */
typedef struct {
    /* When the burst was polled, nanoseconds since the appliance started. */
    uint64_t time_ns;
    /* Bytes of the frame as it arrived. */
    uint32_t frame_length;
    /* Port it arrived on. */
    uint16_t ingress_port;
    /* Port it leaves on; starts as the ingress port. */
    uint16_t egress_port;
} META_T;

/* λ-RPC v1 header. */
typedef struct {
    /* 1 if present. */
    uint8_t valid;
    /* RPC_REQ or RPC_RSP; lambdas see no other. */
    uint8_t kind;
    /* Reply: STATUS_OK or another status. */
    uint8_t status;
    /* Reply: credit. */
    uint8_t credit;
    /* Flags such as RPC_FLAG_CRC, and the priority, as on the wire. */
    uint16_t flags;
    /* Reply: service time, µs. */
    uint16_t service_us;
    /* Lambda ID. */
    uint32_t lambda_id;
    /* Request: budget in µs, 0 none. */
    uint32_t budget_us;
    /* Session 32, sequence 32. */
    uint64_t request_id;
    /* Bytes of the whole message. */
    uint32_t message_length;
    /* Bytes of a fragment. */
    uint16_t fragment_bytes;
    /* Index of this fragment. */
    uint16_t fragment_index;
} RPC_T;

/* Ethernet II header. */
typedef struct {
    /* Destination MAC. */
    uint8_t destination[6];
    /* Source MAC. */
    uint8_t source[6];
    /* EtherType of what follows the Ethernet header and the VLAN tag. */
    uint16_t ether_type;
    /* 1 always. */
    uint8_t valid;
    /* Zero. */
    uint8_t reserved;
} ETHERNET_T;

/* 802.1Q tag. */
typedef struct {
    /* 1 if present. */
    uint8_t valid;
    /* Priority code point, 0–7. */
    uint8_t pcp;
    /* Drop eligible indicator, 0–1. */
    uint8_t dei;
    /* Zero. */
    uint8_t reserved;
    /* VLAN identifier, 0–4094. */
    uint16_t vid;
    /* Zero. */
    uint16_t reserved2;
} VLAN_T;

/* IPv4 header; options are kept as they are. */
typedef struct {
    /* 1 if present. */
    uint8_t valid;
    /* DSCP 6, ECN 2. */
    uint8_t tos;
    /* Time to live. */
    uint8_t ttl;
    /* Protocol number. */
    uint8_t protocol;
    /* Identification. */
    uint16_t identification;
    /* 1 if the don't-fragment flag is set. */
    uint8_t dont_fragment;
    /* Bytes of options, 0–40; read-only. */
    uint8_t options_bytes;
    /* Source address, host byte order. */
    uint32_t source;
    /* Destination address, host byte order. */
    uint32_t destination;
    /* Total length as it arrived; read-only. */
    uint16_t total_length;
    /* Zero. */
    uint16_t reserved;
} IPV4_T;

/* IPv6 header; extension headers are kept as they are. */
typedef struct {
    /* 1 if present. */
    uint8_t valid;
    /* Traffic class. */
    uint8_t traffic_class;
    /* Hop limit. */
    uint8_t hop_limit;
    /* Upper-layer protocol, after extension headers; read-only. */
    uint8_t protocol;
    /* Flow label, 20 bits. */
    uint32_t flow_label;
    /* Source address. */
    uint8_t source[16];
    /* Destination address. */
    uint8_t destination[16];
    /* Payload length as it arrived; read-only. */
    uint16_t payload_length;
    /* Bytes of extension headers; read-only. */
    uint16_t extension_bytes;
} IPV6_T;

/* UDP header. */
typedef struct {
    /* 1 if present. */
    uint8_t valid;
    /* Zero. */
    uint8_t reserved;
    /* Source port. */
    uint16_t source_port;
    /* Destination port. */
    uint16_t destination_port;
    /* Length as it arrived; read-only. */
    uint16_t length;
} UDP_T;

/* TCP header; read-only. */
typedef struct {
    /* 1 if present. */
    uint8_t valid;
    /* TCP_FLAG_FIN and its like. */
    uint8_t flags;
    /* Source port. */
    uint16_t source_port;
    /* Destination port. */
    uint16_t destination_port;
    /* Receive window. */
    uint16_t window;
    /* Sequence number. */
    uint32_t sequence;
    /* Acknowledgement number. */
    uint32_t acknowledgement;
} TCP_T;

/*
 * EXTRACTED_HEADERS_T: what the parser decoded, each header with a valid flag.
 * A changed field, a cleared or a set flag is reflected in the frame that leaves; lengths and checksums are the platform's.
 */
typedef struct {
    /* About the frame itself; always valid. */
    META_T meta;
    /* λ-RPC v1. */
    RPC_T rpc;
    /* Ethernet II; always valid. */
    ETHERNET_T ethernet;
    /* 802.1Q tag. */
    VLAN_T vlan;
    /* IPv4 (RFC 791). */
    IPV4_T ipv4;
    /* IPv6 (RFC 8200). */
    IPV6_T ipv6;
    /* UDP (RFC 768). */
    UDP_T udp;
    /* TCP (RFC 9293); read-only. */
    TCP_T tcp;
} EXTRACTED_HEADERS_T;

/* MATCH_DATA_T: what the matched rule says, and the message. */
typedef struct {
    /* Address of the payload in linear memory: in the I/O area, or a message slot; read-only. */
    uint32_t payload;
    /* Bytes of the payload; the lambda sets it to the bytes that leave. */
    uint32_t length;
    /* Most bytes that can leave, in this frame or out of the slot; read-only. */
    uint32_t capacity;
    /* ID of the lambda that runs; read-only. */
    uint32_t lambda_id;
    /* Rule that matched, by its place in the table; read-only. */
    uint32_t rule;
    /* Bytes of parameters; read-only. */
    uint32_t parameters_length;
    /* What was stored with the rule. */
    uint8_t parameters[PARAMETERS_CAPACITY];
} MATCH_DATA_T;

#endif  /* LNIC_ABI_H */

_Static_assert(offsetof(META_T, time_ns) == 0, "META_T.time_ns");
_Static_assert(sizeof(((META_T *)0)->time_ns) == 8, "META_T.time_ns");
_Static_assert(offsetof(META_T, frame_length) == 8, "META_T.frame_length");
_Static_assert(sizeof(((META_T *)0)->frame_length) == 4, "META_T.frame_length");
_Static_assert(offsetof(META_T, ingress_port) == 12, "META_T.ingress_port");
_Static_assert(sizeof(((META_T *)0)->ingress_port) == 2, "META_T.ingress_port");
_Static_assert(offsetof(META_T, egress_port) == 14, "META_T.egress_port");
_Static_assert(sizeof(((META_T *)0)->egress_port) == 2, "META_T.egress_port");
_Static_assert(sizeof(META_T) == 16, "META_T");
_Static_assert(offsetof(RPC_T, valid) == 0, "RPC_T.valid");
_Static_assert(sizeof(((RPC_T *)0)->valid) == 1, "RPC_T.valid");
_Static_assert(offsetof(RPC_T, kind) == 1, "RPC_T.kind");
_Static_assert(sizeof(((RPC_T *)0)->kind) == 1, "RPC_T.kind");
_Static_assert(offsetof(RPC_T, status) == 2, "RPC_T.status");
_Static_assert(sizeof(((RPC_T *)0)->status) == 1, "RPC_T.status");
_Static_assert(offsetof(RPC_T, credit) == 3, "RPC_T.credit");
_Static_assert(sizeof(((RPC_T *)0)->credit) == 1, "RPC_T.credit");
_Static_assert(offsetof(RPC_T, flags) == 4, "RPC_T.flags");
_Static_assert(sizeof(((RPC_T *)0)->flags) == 2, "RPC_T.flags");
_Static_assert(offsetof(RPC_T, service_us) == 6, "RPC_T.service_us");
_Static_assert(sizeof(((RPC_T *)0)->service_us) == 2, "RPC_T.service_us");
_Static_assert(offsetof(RPC_T, lambda_id) == 8, "RPC_T.lambda_id");
_Static_assert(sizeof(((RPC_T *)0)->lambda_id) == 4, "RPC_T.lambda_id");
_Static_assert(offsetof(RPC_T, budget_us) == 12, "RPC_T.budget_us");
_Static_assert(sizeof(((RPC_T *)0)->budget_us) == 4, "RPC_T.budget_us");
_Static_assert(offsetof(RPC_T, request_id) == 16, "RPC_T.request_id");
_Static_assert(sizeof(((RPC_T *)0)->request_id) == 8, "RPC_T.request_id");
_Static_assert(offsetof(RPC_T, message_length) == 24, "RPC_T.message_length");
_Static_assert(sizeof(((RPC_T *)0)->message_length) == 4, "RPC_T.message_length");
_Static_assert(offsetof(RPC_T, fragment_bytes) == 28, "RPC_T.fragment_bytes");
_Static_assert(sizeof(((RPC_T *)0)->fragment_bytes) == 2, "RPC_T.fragment_bytes");
_Static_assert(offsetof(RPC_T, fragment_index) == 30, "RPC_T.fragment_index");
_Static_assert(sizeof(((RPC_T *)0)->fragment_index) == 2, "RPC_T.fragment_index");
_Static_assert(sizeof(RPC_T) == 32, "RPC_T");
_Static_assert(offsetof(ETHERNET_T, destination) == 0, "ETHERNET_T.destination");
_Static_assert(sizeof(((ETHERNET_T *)0)->destination) == 6, "ETHERNET_T.destination");
_Static_assert(offsetof(ETHERNET_T, source) == 6, "ETHERNET_T.source");
_Static_assert(sizeof(((ETHERNET_T *)0)->source) == 6, "ETHERNET_T.source");
_Static_assert(offsetof(ETHERNET_T, ether_type) == 12, "ETHERNET_T.ether_type");
_Static_assert(sizeof(((ETHERNET_T *)0)->ether_type) == 2, "ETHERNET_T.ether_type");
_Static_assert(offsetof(ETHERNET_T, valid) == 14, "ETHERNET_T.valid");
_Static_assert(sizeof(((ETHERNET_T *)0)->valid) == 1, "ETHERNET_T.valid");
_Static_assert(offsetof(ETHERNET_T, reserved) == 15, "ETHERNET_T.reserved");
_Static_assert(sizeof(((ETHERNET_T *)0)->reserved) == 1, "ETHERNET_T.reserved");
_Static_assert(sizeof(ETHERNET_T) == 16, "ETHERNET_T");
_Static_assert(offsetof(VLAN_T, valid) == 0, "VLAN_T.valid");
_Static_assert(sizeof(((VLAN_T *)0)->valid) == 1, "VLAN_T.valid");
_Static_assert(offsetof(VLAN_T, pcp) == 1, "VLAN_T.pcp");
_Static_assert(sizeof(((VLAN_T *)0)->pcp) == 1, "VLAN_T.pcp");
_Static_assert(offsetof(VLAN_T, dei) == 2, "VLAN_T.dei");
_Static_assert(sizeof(((VLAN_T *)0)->dei) == 1, "VLAN_T.dei");
_Static_assert(offsetof(VLAN_T, reserved) == 3, "VLAN_T.reserved");
_Static_assert(sizeof(((VLAN_T *)0)->reserved) == 1, "VLAN_T.reserved");
_Static_assert(offsetof(VLAN_T, vid) == 4, "VLAN_T.vid");
_Static_assert(sizeof(((VLAN_T *)0)->vid) == 2, "VLAN_T.vid");
_Static_assert(offsetof(VLAN_T, reserved2) == 6, "VLAN_T.reserved2");
_Static_assert(sizeof(((VLAN_T *)0)->reserved2) == 2, "VLAN_T.reserved2");
_Static_assert(sizeof(VLAN_T) == 8, "VLAN_T");
_Static_assert(offsetof(IPV4_T, valid) == 0, "IPV4_T.valid");
_Static_assert(sizeof(((IPV4_T *)0)->valid) == 1, "IPV4_T.valid");
_Static_assert(offsetof(IPV4_T, tos) == 1, "IPV4_T.tos");
_Static_assert(sizeof(((IPV4_T *)0)->tos) == 1, "IPV4_T.tos");
_Static_assert(offsetof(IPV4_T, ttl) == 2, "IPV4_T.ttl");
_Static_assert(sizeof(((IPV4_T *)0)->ttl) == 1, "IPV4_T.ttl");
_Static_assert(offsetof(IPV4_T, protocol) == 3, "IPV4_T.protocol");
_Static_assert(sizeof(((IPV4_T *)0)->protocol) == 1, "IPV4_T.protocol");
_Static_assert(offsetof(IPV4_T, identification) == 4, "IPV4_T.identification");
_Static_assert(sizeof(((IPV4_T *)0)->identification) == 2, "IPV4_T.identification");
_Static_assert(offsetof(IPV4_T, dont_fragment) == 6, "IPV4_T.dont_fragment");
_Static_assert(sizeof(((IPV4_T *)0)->dont_fragment) == 1, "IPV4_T.dont_fragment");
_Static_assert(offsetof(IPV4_T, options_bytes) == 7, "IPV4_T.options_bytes");
_Static_assert(sizeof(((IPV4_T *)0)->options_bytes) == 1, "IPV4_T.options_bytes");
_Static_assert(offsetof(IPV4_T, source) == 8, "IPV4_T.source");
_Static_assert(sizeof(((IPV4_T *)0)->source) == 4, "IPV4_T.source");
_Static_assert(offsetof(IPV4_T, destination) == 12, "IPV4_T.destination");
_Static_assert(sizeof(((IPV4_T *)0)->destination) == 4, "IPV4_T.destination");
_Static_assert(offsetof(IPV4_T, total_length) == 16, "IPV4_T.total_length");
_Static_assert(sizeof(((IPV4_T *)0)->total_length) == 2, "IPV4_T.total_length");
_Static_assert(offsetof(IPV4_T, reserved) == 18, "IPV4_T.reserved");
_Static_assert(sizeof(((IPV4_T *)0)->reserved) == 2, "IPV4_T.reserved");
_Static_assert(sizeof(IPV4_T) == 20, "IPV4_T");
_Static_assert(offsetof(IPV6_T, valid) == 0, "IPV6_T.valid");
_Static_assert(sizeof(((IPV6_T *)0)->valid) == 1, "IPV6_T.valid");
_Static_assert(offsetof(IPV6_T, traffic_class) == 1, "IPV6_T.traffic_class");
_Static_assert(sizeof(((IPV6_T *)0)->traffic_class) == 1, "IPV6_T.traffic_class");
_Static_assert(offsetof(IPV6_T, hop_limit) == 2, "IPV6_T.hop_limit");
_Static_assert(sizeof(((IPV6_T *)0)->hop_limit) == 1, "IPV6_T.hop_limit");
_Static_assert(offsetof(IPV6_T, protocol) == 3, "IPV6_T.protocol");
_Static_assert(sizeof(((IPV6_T *)0)->protocol) == 1, "IPV6_T.protocol");
_Static_assert(offsetof(IPV6_T, flow_label) == 4, "IPV6_T.flow_label");
_Static_assert(sizeof(((IPV6_T *)0)->flow_label) == 4, "IPV6_T.flow_label");
_Static_assert(offsetof(IPV6_T, source) == 8, "IPV6_T.source");
_Static_assert(sizeof(((IPV6_T *)0)->source) == 16, "IPV6_T.source");
_Static_assert(offsetof(IPV6_T, destination) == 24, "IPV6_T.destination");
_Static_assert(sizeof(((IPV6_T *)0)->destination) == 16, "IPV6_T.destination");
_Static_assert(offsetof(IPV6_T, payload_length) == 40, "IPV6_T.payload_length");
_Static_assert(sizeof(((IPV6_T *)0)->payload_length) == 2, "IPV6_T.payload_length");
_Static_assert(offsetof(IPV6_T, extension_bytes) == 42, "IPV6_T.extension_bytes");
_Static_assert(sizeof(((IPV6_T *)0)->extension_bytes) == 2, "IPV6_T.extension_bytes");
_Static_assert(sizeof(IPV6_T) == 44, "IPV6_T");
_Static_assert(offsetof(UDP_T, valid) == 0, "UDP_T.valid");
_Static_assert(sizeof(((UDP_T *)0)->valid) == 1, "UDP_T.valid");
_Static_assert(offsetof(UDP_T, reserved) == 1, "UDP_T.reserved");
_Static_assert(sizeof(((UDP_T *)0)->reserved) == 1, "UDP_T.reserved");
_Static_assert(offsetof(UDP_T, source_port) == 2, "UDP_T.source_port");
_Static_assert(sizeof(((UDP_T *)0)->source_port) == 2, "UDP_T.source_port");
_Static_assert(offsetof(UDP_T, destination_port) == 4, "UDP_T.destination_port");
_Static_assert(sizeof(((UDP_T *)0)->destination_port) == 2, "UDP_T.destination_port");
_Static_assert(offsetof(UDP_T, length) == 6, "UDP_T.length");
_Static_assert(sizeof(((UDP_T *)0)->length) == 2, "UDP_T.length");
_Static_assert(sizeof(UDP_T) == 8, "UDP_T");
_Static_assert(offsetof(TCP_T, valid) == 0, "TCP_T.valid");
_Static_assert(sizeof(((TCP_T *)0)->valid) == 1, "TCP_T.valid");
_Static_assert(offsetof(TCP_T, flags) == 1, "TCP_T.flags");
_Static_assert(sizeof(((TCP_T *)0)->flags) == 1, "TCP_T.flags");
_Static_assert(offsetof(TCP_T, source_port) == 2, "TCP_T.source_port");
_Static_assert(sizeof(((TCP_T *)0)->source_port) == 2, "TCP_T.source_port");
_Static_assert(offsetof(TCP_T, destination_port) == 4, "TCP_T.destination_port");
_Static_assert(sizeof(((TCP_T *)0)->destination_port) == 2, "TCP_T.destination_port");
_Static_assert(offsetof(TCP_T, window) == 6, "TCP_T.window");
_Static_assert(sizeof(((TCP_T *)0)->window) == 2, "TCP_T.window");
_Static_assert(offsetof(TCP_T, sequence) == 8, "TCP_T.sequence");
_Static_assert(sizeof(((TCP_T *)0)->sequence) == 4, "TCP_T.sequence");
_Static_assert(offsetof(TCP_T, acknowledgement) == 12, "TCP_T.acknowledgement");
_Static_assert(sizeof(((TCP_T *)0)->acknowledgement) == 4, "TCP_T.acknowledgement");
_Static_assert(sizeof(TCP_T) == 16, "TCP_T");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, meta) == 0, "EXTRACTED_HEADERS_T.meta");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->meta) == 16, "EXTRACTED_HEADERS_T.meta");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, rpc) == 16, "EXTRACTED_HEADERS_T.rpc");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->rpc) == 32, "EXTRACTED_HEADERS_T.rpc");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, ethernet) == 48, "EXTRACTED_HEADERS_T.ethernet");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->ethernet) == 16, "EXTRACTED_HEADERS_T.ethernet");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, vlan) == 64, "EXTRACTED_HEADERS_T.vlan");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->vlan) == 8, "EXTRACTED_HEADERS_T.vlan");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, ipv4) == 72, "EXTRACTED_HEADERS_T.ipv4");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->ipv4) == 20, "EXTRACTED_HEADERS_T.ipv4");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, ipv6) == 92, "EXTRACTED_HEADERS_T.ipv6");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->ipv6) == 44, "EXTRACTED_HEADERS_T.ipv6");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, udp) == 136, "EXTRACTED_HEADERS_T.udp");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->udp) == 8, "EXTRACTED_HEADERS_T.udp");
_Static_assert(offsetof(EXTRACTED_HEADERS_T, tcp) == 144, "EXTRACTED_HEADERS_T.tcp");
_Static_assert(sizeof(((EXTRACTED_HEADERS_T *)0)->tcp) == 16, "EXTRACTED_HEADERS_T.tcp");
_Static_assert(sizeof(EXTRACTED_HEADERS_T) == 160, "EXTRACTED_HEADERS_T");
_Static_assert(offsetof(MATCH_DATA_T, payload) == 0, "MATCH_DATA_T.payload");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->payload) == 4, "MATCH_DATA_T.payload");
_Static_assert(offsetof(MATCH_DATA_T, length) == 4, "MATCH_DATA_T.length");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->length) == 4, "MATCH_DATA_T.length");
_Static_assert(offsetof(MATCH_DATA_T, capacity) == 8, "MATCH_DATA_T.capacity");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->capacity) == 4, "MATCH_DATA_T.capacity");
_Static_assert(offsetof(MATCH_DATA_T, lambda_id) == 12, "MATCH_DATA_T.lambda_id");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->lambda_id) == 4, "MATCH_DATA_T.lambda_id");
_Static_assert(offsetof(MATCH_DATA_T, rule) == 16, "MATCH_DATA_T.rule");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->rule) == 4, "MATCH_DATA_T.rule");
_Static_assert(offsetof(MATCH_DATA_T, parameters_length) == 20, "MATCH_DATA_T.parameters_length");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->parameters_length) == 4, "MATCH_DATA_T.parameters_length");
_Static_assert(offsetof(MATCH_DATA_T, parameters) == 24, "MATCH_DATA_T.parameters");
_Static_assert(sizeof(((MATCH_DATA_T *)0)->parameters) == 64, "MATCH_DATA_T.parameters");
_Static_assert(sizeof(MATCH_DATA_T) == 88, "MATCH_DATA_T");
