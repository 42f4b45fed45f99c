/*
 * Lambdas in C: ABI version 1 between lnic and a lambda, the same as lambdas/abi in Rust.
 *
 *     #include <lambda.h>
 *
 *     LAMBDA(echo) {
 *         return lambda_reply(headers, match_data, STATUS_OK, match_data->length);
 *     }
 *
 * `lnic build DIR` compiles it. A lambda is freestanding: no libc, and no imports but lnic_call, lnic_log, lnic_environment
 * and lnic_secret. Locals live on a small stack; globals
 * persist between runs. Who may run it at once follows from them: globals that runs write keep it on one NPU at a time, so that
 * nothing races; if all accesses to them are __atomic_fetch_add and its like, all NPUs run it, on the same globals; constants
 * keep nobody from anything. `lnic inspect FILE` says how that came out, and why. Optionally, LAMBDA_INIT { ... } runs once per NPU before the first packet.
 *
 * Numbers are in host byte order, so headers->ipv4.source == 0x0a000001 is 10.0.0.1. MAC and IPv6 addresses are byte
 * arrays. A changed field, a cleared or a set `valid` is reflected in the frame that leaves; the platform fixes lengths
 * and checksums. The payload is read and written in place at lambda_payload(match_data).
 */
#ifndef LNIC_LAMBDA_H
#define LNIC_LAMBDA_H

#ifndef __wasm32__
#error "lambda.h is for wasm32: compile with `lnic build`, or clang --target=wasm32-unknown-unknown"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Verdicts: what a lambda returns. */

/* Send the frame as the headers now say. */
#define FORWARD 0
/* Drop the frame without an answer. */
#define DROP (-1)
/* Hand the frame, unchanged, to the port's host side. */
#define TO_HOST 1

/* Status of a λ-RPC reply: gRPC's codes, and three of our own. */

#define STATUS_OK 0
#define STATUS_CANCELLED 1
#define STATUS_UNKNOWN 2
#define STATUS_INVALID_ARGUMENT 3
#define STATUS_DEADLINE_EXCEEDED 4
#define STATUS_NOT_FOUND 5
#define STATUS_ALREADY_EXISTS 6
#define STATUS_PERMISSION_DENIED 7
#define STATUS_RESOURCE_EXHAUSTED 8
#define STATUS_FAILED_PRECONDITION 9
#define STATUS_ABORTED 10
#define STATUS_OUT_OF_RANGE 11
#define STATUS_UNIMPLEMENTED 12
#define STATUS_INTERNAL 13
#define STATUS_UNAVAILABLE 14
#define STATUS_DATA_LOSS 15
#define STATUS_UNAUTHENTICATED 16
#define STATUS_BUSY 32
#define STATUS_UNKNOWN_RPC 33
#define STATUS_STALE 34

/* λ-RPC kinds that a lambda sees, and flags. */

#define RPC_REQ 0
#define RPC_RSP 1

#define RPC_FLAG_CRC 0x8000
#define RPC_FLAG_RTX 0x4000
#define RPC_FLAG_IDEMPOTENT 0x2000
#define RPC_FLAG_AT_MOST_ONCE 0x1000
#define RPC_FLAG_NOREPLY 0x0800
#define RPC_FLAG_CE 0x0400
#define RPC_PRIORITY_MASK 0x0007

/* Most bytes of a payload of one frame, in and out; a frame may carry fewer, see match_data->capacity. A lambda with message slots
 * gets λ-RPC messages of any length up to a slot's, in place: match_data->length and ->capacity say what there is. */
#define PAYLOAD_CAPACITY 9216
/* Most bytes of parameters that a match rule can carry. */
#define PARAMETERS_CAPACITY 64
/* Most bytes of a log line. */
#define LOG_CAPACITY 240
/* Most bytes of the name of a variable or a secret. */
#define NAME_CAPACITY 255

/* About the frame; always valid. */
typedef struct {
    uint64_t time_ns;      /* when the burst was polled, nanoseconds since the appliance started */
    uint32_t frame_length; /* bytes of the frame as it arrived */
    uint16_t ingress_port; /* port it arrived on */
    uint16_t egress_port;  /* port it leaves on; starts as the ingress port */
} META_T;

/* λ-RPC v1. */
typedef struct {
    uint8_t valid;
    uint8_t kind;        /* RPC_REQ, RPC_RSP */
    uint8_t status;      /* reply: STATUS_… */
    uint8_t credit;      /* reply */
    uint16_t flags;      /* RPC_FLAG_…, and the priority, as on the wire */
    uint16_t service_us; /* reply: service time */
    uint32_t lambda_id;
    uint32_t budget_us;      /* request: 0 none */
    uint64_t request_id;     /* session 32, sequence 32 */
    uint32_t message_length; /* bytes of the whole message */
    uint16_t fragment_bytes;
    uint16_t fragment_index;
} RPC_T;

/* Ethernet II; always valid. */
typedef struct {
    uint8_t destination[6];
    uint8_t source[6];
    uint16_t ether_type; /* of what follows the Ethernet header and the VLAN tag */
    uint8_t valid;
    uint8_t reserved;
} ETHERNET_T;

/* 802.1Q tag. */
typedef struct {
    uint8_t valid;
    uint8_t pcp; /* priority code point, 0–7 */
    uint8_t dei; /* drop eligible indicator, 0–1 */
    uint8_t reserved;
    uint16_t vid; /* VLAN identifier, 0–4094 */
    uint16_t reserved2;
} VLAN_T;

/* IPv4; options are kept as they are. */
typedef struct {
    uint8_t valid;
    uint8_t tos; /* DSCP 6, ECN 2 */
    uint8_t ttl;
    uint8_t protocol;
    uint16_t identification;
    uint8_t dont_fragment;
    uint8_t options_bytes; /* read-only */
    uint32_t source;
    uint32_t destination;
    uint16_t total_length; /* as it arrived; read-only */
    uint16_t reserved;
} IPV4_T;

/* IPv6; extension headers are kept as they are. */
typedef struct {
    uint8_t valid;
    uint8_t traffic_class;
    uint8_t hop_limit;
    uint8_t protocol;    /* upper layer, after extension headers; read-only */
    uint32_t flow_label; /* 20 bits */
    uint8_t source[16];
    uint8_t destination[16];
    uint16_t payload_length;  /* as it arrived; read-only */
    uint16_t extension_bytes; /* read-only */
} IPV6_T;

/* UDP. */
typedef struct {
    uint8_t valid;
    uint8_t reserved;
    uint16_t source_port;
    uint16_t destination_port;
    uint16_t length; /* as it arrived; read-only */
} UDP_T;

/* TCP; read-only. */
typedef struct {
    uint8_t valid;
    uint8_t flags; /* FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128 */
    uint16_t source_port;
    uint16_t destination_port;
    uint16_t window;
    uint32_t sequence;
    uint32_t acknowledgement;
} TCP_T;

/* What the parser decoded, each header with a valid flag. */
typedef struct {
    META_T meta;
    RPC_T rpc;
    ETHERNET_T ethernet;
    VLAN_T vlan;
    IPV4_T ipv4;
    IPV6_T ipv6;
    UDP_T udp;
    TCP_T tcp;
} EXTRACTED_HEADERS_T;

/* What the matched rule says, and the message. */
typedef struct {
    uint32_t payload;           /* address of the payload; read-only. See lambda_payload() */
    uint32_t length;            /* bytes of the payload; set it to the bytes that leave */
    uint32_t capacity;          /* most bytes that can leave in this frame; read-only */
    uint32_t lambda_id;         /* of the lambda that runs; read-only */
    uint32_t rule;              /* that matched, by its place in the table; read-only */
    uint32_t parameters_length; /* bytes of parameters; read-only */
    uint8_t parameters[PARAMETERS_CAPACITY]; /* what was stored with the rule */
} MATCH_DATA_T;

#define LAMBDA_OFFSET(type, field, bytes) \
    _Static_assert(offsetof(type, field) == (bytes), "layout of " #type "." #field)
#define LAMBDA_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)

LAMBDA_OFFSET(META_T, time_ns, 0);
LAMBDA_OFFSET(META_T, frame_length, 8);
LAMBDA_OFFSET(META_T, ingress_port, 12);
LAMBDA_OFFSET(META_T, egress_port, 14);
LAMBDA_SIZE(META_T, 16);

LAMBDA_OFFSET(RPC_T, valid, 0);
LAMBDA_OFFSET(RPC_T, kind, 1);
LAMBDA_OFFSET(RPC_T, status, 2);
LAMBDA_OFFSET(RPC_T, credit, 3);
LAMBDA_OFFSET(RPC_T, flags, 4);
LAMBDA_OFFSET(RPC_T, service_us, 6);
LAMBDA_OFFSET(RPC_T, lambda_id, 8);
LAMBDA_OFFSET(RPC_T, budget_us, 12);
LAMBDA_OFFSET(RPC_T, request_id, 16);
LAMBDA_OFFSET(RPC_T, message_length, 24);
LAMBDA_OFFSET(RPC_T, fragment_bytes, 28);
LAMBDA_OFFSET(RPC_T, fragment_index, 30);
LAMBDA_SIZE(RPC_T, 32);

LAMBDA_OFFSET(ETHERNET_T, destination, 0);
LAMBDA_OFFSET(ETHERNET_T, source, 6);
LAMBDA_OFFSET(ETHERNET_T, ether_type, 12);
LAMBDA_OFFSET(ETHERNET_T, valid, 14);
LAMBDA_OFFSET(ETHERNET_T, reserved, 15);
LAMBDA_SIZE(ETHERNET_T, 16);

LAMBDA_OFFSET(VLAN_T, valid, 0);
LAMBDA_OFFSET(VLAN_T, pcp, 1);
LAMBDA_OFFSET(VLAN_T, dei, 2);
LAMBDA_OFFSET(VLAN_T, reserved, 3);
LAMBDA_OFFSET(VLAN_T, vid, 4);
LAMBDA_OFFSET(VLAN_T, reserved2, 6);
LAMBDA_SIZE(VLAN_T, 8);

LAMBDA_OFFSET(IPV4_T, valid, 0);
LAMBDA_OFFSET(IPV4_T, tos, 1);
LAMBDA_OFFSET(IPV4_T, ttl, 2);
LAMBDA_OFFSET(IPV4_T, protocol, 3);
LAMBDA_OFFSET(IPV4_T, identification, 4);
LAMBDA_OFFSET(IPV4_T, dont_fragment, 6);
LAMBDA_OFFSET(IPV4_T, options_bytes, 7);
LAMBDA_OFFSET(IPV4_T, source, 8);
LAMBDA_OFFSET(IPV4_T, destination, 12);
LAMBDA_OFFSET(IPV4_T, total_length, 16);
LAMBDA_OFFSET(IPV4_T, reserved, 18);
LAMBDA_SIZE(IPV4_T, 20);

LAMBDA_OFFSET(IPV6_T, valid, 0);
LAMBDA_OFFSET(IPV6_T, traffic_class, 1);
LAMBDA_OFFSET(IPV6_T, hop_limit, 2);
LAMBDA_OFFSET(IPV6_T, protocol, 3);
LAMBDA_OFFSET(IPV6_T, flow_label, 4);
LAMBDA_OFFSET(IPV6_T, source, 8);
LAMBDA_OFFSET(IPV6_T, destination, 24);
LAMBDA_OFFSET(IPV6_T, payload_length, 40);
LAMBDA_OFFSET(IPV6_T, extension_bytes, 42);
LAMBDA_SIZE(IPV6_T, 44);

LAMBDA_OFFSET(UDP_T, valid, 0);
LAMBDA_OFFSET(UDP_T, reserved, 1);
LAMBDA_OFFSET(UDP_T, source_port, 2);
LAMBDA_OFFSET(UDP_T, destination_port, 4);
LAMBDA_OFFSET(UDP_T, length, 6);
LAMBDA_SIZE(UDP_T, 8);

LAMBDA_OFFSET(TCP_T, valid, 0);
LAMBDA_OFFSET(TCP_T, flags, 1);
LAMBDA_OFFSET(TCP_T, source_port, 2);
LAMBDA_OFFSET(TCP_T, destination_port, 4);
LAMBDA_OFFSET(TCP_T, window, 6);
LAMBDA_OFFSET(TCP_T, sequence, 8);
LAMBDA_OFFSET(TCP_T, acknowledgement, 12);
LAMBDA_SIZE(TCP_T, 16);

LAMBDA_OFFSET(EXTRACTED_HEADERS_T, meta, 0);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, rpc, 16);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, ethernet, 48);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, vlan, 64);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, ipv4, 72);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, ipv6, 92);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, udp, 136);
LAMBDA_OFFSET(EXTRACTED_HEADERS_T, tcp, 144);
LAMBDA_SIZE(EXTRACTED_HEADERS_T, 160);

LAMBDA_OFFSET(MATCH_DATA_T, payload, 0);
LAMBDA_OFFSET(MATCH_DATA_T, length, 4);
LAMBDA_OFFSET(MATCH_DATA_T, capacity, 8);
LAMBDA_OFFSET(MATCH_DATA_T, lambda_id, 12);
LAMBDA_OFFSET(MATCH_DATA_T, rule, 16);
LAMBDA_OFFSET(MATCH_DATA_T, parameters_length, 20);
LAMBDA_OFFSET(MATCH_DATA_T, parameters, 24);
LAMBDA_SIZE(MATCH_DATA_T, 88);

/* Which ABI this was built for: the export's name says it. Weak, so that several files may include this header. */
__attribute__((weak, used, export_name("lnic_abi_1"))) void lnic_abi_1(void) {}

/*
 * Defines and exports a lambda's entry: LAMBDA(name) { … return FORWARD; }. The body sees `headers` and `match_data`.
 */
#define LAMBDA(name)                                                                                     \
    __attribute__((export_name(#name))) int name(__attribute__((unused)) EXTRACTED_HEADERS_T *headers,   \
                                                 __attribute__((unused)) MATCH_DATA_T *match_data)

/* Defines what runs once per NPU before the first packet: LAMBDA_INIT { … }. */
#define LAMBDA_INIT __attribute__((export_name("init"))) void init(void)

/*
 * Where a global lives, if its author knows better than the platform: static uint32_t table[4096] EMEM; LOCAL is one object for
 * each NPU, which keeps nobody from running it; the others say in which memory the one object lies that all NPUs see. What begins as zeros costs no bytes in
 * the module.
 *
 * A constant in one of these needs the macro for constants: variables and constants cannot share a section.
 */

/* One for each NPU, near to it: counters, caches, scratch. */
#define LOCAL __attribute__((section(".local")))
/* Near to an island of NPUs: what they share and write often. */
#define CTM __attribute__((section(".ctm")))
/* Of all islands: what is read more than written. */
#define IMEM __attribute__((section(".imem")))
/* Of all islands: what is large. */
#define EMEM __attribute__((section(".emem")))
#define LOCAL_CONST __attribute__((section(".local.const")))
#define CTM_CONST __attribute__((section(".ctm.const")))
#define IMEM_CONST __attribute__((section(".imem.const")))
#define EMEM_CONST __attribute__((section(".emem.const")))

/*
 * The host. Each call costs fuel: about what it takes.
 */

#define LAMBDA_IMPORT(name) __attribute__((import_module("lnic"), import_name(name)))

/*
 * Sends a request to another lambda and waits for its reply, or until `timeout_us` has passed; if this one was itself called,
 * no longer than its caller waits. Meanwhile other lambdas run; this one has its locals and globals when it goes on, and what is
 * left of its budget. Returns the bytes of the reply, which lie in `reply`, or minus a status: -STATUS_DEADLINE_EXCEEDED,
 * -STATUS_UNIMPLEMENTED (no such lambda), -STATUS_UNAVAILABLE, -STATUS_RESOURCE_EXHAUSTED, -STATUS_OUT_OF_RANGE (the reply is
 * longer than `reply_capacity`), -STATUS_INVALID_ARGUMENT (a length over PAYLOAD_CAPACITY, a time-out below 1), or what the
 * other lambda replied. LAMBDA_INIT cannot wait: there it is -STATUS_UNAVAILABLE.
 */
LAMBDA_IMPORT("call")
int32_t lnic_call(uint32_t lambda_id, const void *request, uint32_t request_bytes, void *reply,
                  uint32_t reply_capacity, int32_t timeout_us);

/*
 * Writes a line to the appliance's log: at most LOG_CAPACITY bytes of it, 16 lines at once and 16 a second. What is more
 * is counted and dropped.
 */
LAMBDA_IMPORT("log") void lnic_log(const void *text, uint32_t bytes);

/* The same with a string literal, without its terminating zero. */
#define lnic_log_text(literal) lnic_log("" literal, sizeof(literal) - 1)

/*
 * The value of a variable of the deployment's environment, or of a secret that it names. Copies what fits of it to `out` and returns
 * the bytes that it has, which may be more than `out_bytes`; -1 if there is none of that name. Each byte copied costs fuel, and
 * a value does not change while a generation of the lambda runs: read it in LAMBDA_INIT and keep it.
 *
 *     static char greeting[64];
 *     static int32_t greeting_bytes;
 *
 *     LAMBDA_INIT {
 *         greeting_bytes = lnic_environment_text("GREETING", greeting, sizeof(greeting));
 *         if (greeting_bytes > (int32_t)sizeof(greeting)) {
 *             greeting_bytes = -1;
 *         }
 *     }
 */
LAMBDA_IMPORT("environment")
int32_t lnic_environment(const void *name, uint32_t name_bytes, void *out, uint32_t out_bytes);

LAMBDA_IMPORT("secret")
int32_t lnic_secret(const void *name, uint32_t name_bytes, void *out, uint32_t out_bytes);

/* The same with the name as a string literal, without its terminating zero. */
#define lnic_environment_text(literal, out, out_bytes) \
    lnic_environment("" literal, sizeof(literal) - 1, out, out_bytes)
#define lnic_secret_text(literal, out, out_bytes) lnic_secret("" literal, sizeof(literal) - 1, out, out_bytes)

/*
 * Bytes. Through builtins they become memory.copy and memory.fill, or plain loads and stores if small and constant.
 * Names and meaning are the C library's, so that code written for it compiles.
 */

static inline void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    return __builtin_memcpy(to, from, bytes);
}

static inline void *memmove(void *to, const void *from, size_t bytes) {
    return __builtin_memmove(to, from, bytes);
}

static inline void *memset(void *to, int value, size_t bytes) {
    return __builtin_memset(to, value, bytes);
}

/* No builtin: that one would call a library. Eight bytes at a time, which metering counts as one step. */
static inline int memcmp(const void *left, const void *right, size_t bytes) {
    const uint8_t *a = left, *b = right;
    for (; bytes >= 8; a += 8, b += 8, bytes -= 8) {
        uint64_t x, y;
        __builtin_memcpy(&x, a, 8);
        __builtin_memcpy(&y, b, 8);
        if (x != y) {
            x = __builtin_bswap64(x);
            y = __builtin_bswap64(y);
            return x < y ? -1 : 1;
        }
    }
    for (; bytes > 0; a++, b++, bytes--) {
        if (*a != *b) {
            return *a < *b ? -1 : 1;
        }
    }
    return 0;
}

static inline size_t strlen(const char *text) {
    size_t bytes = 0;
    while (text[bytes] != '\0') {
        bytes++;
    }
    return bytes;
}

/* The payload as bytes; match_data->length of them came in, up to match_data->capacity may leave. */
static inline uint8_t *lambda_payload(const MATCH_DATA_T *match_data) {
    return (uint8_t *)(uintptr_t)match_data->payload;
}

/* Numbers of the payload are big-endian by custom. The caller has checked that the bytes are there. */

static inline uint16_t lambda_load_be16(const void *from) {
    uint16_t value;
    __builtin_memcpy(&value, from, 2);
    return __builtin_bswap16(value);
}

static inline uint32_t lambda_load_be32(const void *from) {
    uint32_t value;
    __builtin_memcpy(&value, from, 4);
    return __builtin_bswap32(value);
}

static inline uint64_t lambda_load_be64(const void *from) {
    uint64_t value;
    __builtin_memcpy(&value, from, 8);
    return __builtin_bswap64(value);
}

static inline void lambda_store_be16(void *to, uint16_t value) {
    value = __builtin_bswap16(value);
    __builtin_memcpy(to, &value, 2);
}

static inline void lambda_store_be32(void *to, uint32_t value) {
    value = __builtin_bswap32(value);
    __builtin_memcpy(to, &value, 4);
}

static inline void lambda_store_be64(void *to, uint64_t value) {
    value = __builtin_bswap64(value);
    __builtin_memcpy(to, &value, 8);
}

/* Does the payload begin with these bytes? */
static inline bool lambda_starts_with(const MATCH_DATA_T *match_data, const char *prefix, size_t bytes) {
    return match_data->length >= bytes && memcmp(lambda_payload(match_data), prefix, bytes) == 0;
}

/* Swaps two fields of the same size, such as source and destination. */
#define LAMBDA_SWAP(left, right)                                                        \
    do {                                                                                \
        _Static_assert(sizeof(left) == sizeof(right), "swapped fields differ in size"); \
        uint8_t lambda_swap[sizeof(left)];                                              \
        __builtin_memcpy(lambda_swap, &(left), sizeof(left));                           \
        __builtin_memcpy(&(left), &(right), sizeof(left));                              \
        __builtin_memcpy(&(right), lambda_swap, sizeof(left));                          \
    } while (0)

/*
 * Turns the request into its reply: back to its sender, with `length` bytes of the payload and, if it came by λ-RPC,
 * this status. Returns the verdict: FORWARD, or DROP for what is itself a reply: answering one would let two lambdas
 * answer each other forever. Whether the caller wants a reply at all (NOREPLY) is the platform's business.
 * A reply longer than what fits is not cut off: it leaves empty, with STATUS_RESOURCE_EXHAUSTED.
 */
static inline int lambda_reply(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint8_t status,
                               uint32_t length) {
    if (headers->rpc.valid && headers->rpc.kind != RPC_REQ) {
        return DROP;
    }
    if (length > match_data->capacity) {
        length = 0;
        status = STATUS_RESOURCE_EXHAUSTED;
    }
    LAMBDA_SWAP(headers->ethernet.source, headers->ethernet.destination);
    if (headers->ipv4.valid) {
        LAMBDA_SWAP(headers->ipv4.source, headers->ipv4.destination);
        headers->ipv4.ttl = 64;
    }
    if (headers->ipv6.valid) {
        LAMBDA_SWAP(headers->ipv6.source, headers->ipv6.destination);
        headers->ipv6.hop_limit = 64;
    }
    if (headers->udp.valid) {
        LAMBDA_SWAP(headers->udp.source_port, headers->udp.destination_port);
    }
    if (headers->rpc.valid) {
        headers->rpc.kind = RPC_RSP;
        headers->rpc.status = status;
        /* The others describe the request: a reply is no retransmission, and asks for nothing. */
        headers->rpc.flags &= RPC_FLAG_CRC | RPC_PRIORITY_MASK;
        headers->rpc.message_length = length;
        headers->rpc.fragment_index = 0;
    }
    match_data->length = length;
    headers->meta.egress_port = headers->meta.ingress_port;
    return FORWARD;
}

/*
 * The same with a payload from the lambda's memory. `from` may lie in the payload itself.
 */
static inline int lambda_reply_with(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint8_t status,
                                    const void *from, uint32_t length) {
    if (length <= match_data->capacity) {
        memmove(lambda_payload(match_data), from, length);
    }
    return lambda_reply(headers, match_data, status, length);
}

/* The same with a string literal, without its terminating zero. */
#define lambda_reply_text(headers, match_data, status, literal) \
    lambda_reply_with(headers, match_data, status, "" literal, sizeof(literal) - 1)

#endif
