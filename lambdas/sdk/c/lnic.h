/*
 * Lambdas in C: entry, memory, host calls, bytes and replies. Layout and numbers are in lnic_abi.h, which comes along.
 *
 *     #include <lnic.h>
 *
 *     LAMBDA(echo) {
 *         return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
 *     }
 *
 * `lnic build DIR` compiles it. A lambda is freestanding: no libc, and no imports but the host calls below. Locals live on a
 * small stack; globals persist between runs. Who may run it at once follows from them: globals that runs write keep it on one
 * NPU at a time, so that nothing races; if all accesses to them are __atomic_fetch_add and its like, all NPUs run it, on the
 * same globals; constants keep nobody from anything. `lnic inspect FILE` says how that came out, and why. Optionally,
 * LAMBDA_INIT { ... } runs once per NPU before the first packet.
 *
 * Beside this header there are, each included by who needs it:
 *
 *     lnic_headers.h      adds and removes headers
 *     lnic_text.h         prints and parses text, log lines with numbers
 *     lnic_fixed.h        fractions without floating point
 *     lnic_simd.h         sixteen bytes at a time
 *     lnic_hash.h         a hash that nobody outside can foretell
 *     lnic_map.h          hash maps; lnic_shared_map.h: the same for all NPUs at once
 *     lnic_ring.h         queues;    lnic_shared_ring.h: the same for all NPUs at once
 *
 * Numbers are in host byte order, so headers->ipv4.source == 0x0a000001 is 10.0.0.1. MAC and IPv6 addresses are byte
 * arrays. A changed field, a cleared or a set `valid` is reflected in the frame that leaves; the platform fixes lengths
 * and checksums. The payload is read and written in place at lnic_payload(match_data).
 */
#ifndef LNIC_H
#define LNIC_H

/* The SDK's own tests run what NPUs share on the threads of a machine, too. */
#if !defined(__wasm32__) && !defined(LNIC_NATIVE_TEST)
#error "lnic.h is for wasm32: compile with `lnic build`, or clang --target=wasm32-unknown-unknown"
#endif

#include <stdbool.h>

#include "lnic_abi.h"

#ifdef LNIC_NATIVE_TEST
#include <string.h>
#define LNIC_EXPORT(name)
#define LNIC_IMPORT(name)
#else
#define LNIC_EXPORT(name) __attribute__((export_name(name)))
#define LNIC_IMPORT(name) __attribute__((import_module(LNIC_IMPORT_MODULE), import_name(name)))
#endif

/* Which ABI this was built for: the export's name says it. Weak, so that several files may include this header. */
__attribute__((weak, used)) LNIC_EXPORT(LNIC_EXPORT_VERSION) void lnic_abi_1(void) {}

/*
 * Defines and exports a lambda's entry: LAMBDA(name) { … return FORWARD; }. The body sees `headers` and `match_data`.
 */
#define LAMBDA(name)                                                                  \
    LNIC_EXPORT(#name) int name(__attribute__((unused)) EXTRACTED_HEADERS_T *headers, \
                                __attribute__((unused)) MATCH_DATA_T *match_data)

/* Defines what runs once per NPU before the first packet: LAMBDA_INIT { … }. */
#define LAMBDA_INIT LNIC_EXPORT(LNIC_EXPORT_INIT) void init(void)

/*
 * Where a global lives, if its author knows better than the platform: static uint32_t table[4096] EMEM; LOCAL is one object
 * for each NPU, which keeps nobody from running it; the others say in which memory the one object lies that all NPUs see. What
 * begins as zeros costs no bytes in the module.
 *
 * A constant in one of these needs the macro for constants: variables and constants cannot share a section.
 */

/* One for each NPU, near to it: counters, caches, scratch. */
#define LOCAL __attribute__((section(LNIC_SECTION_LOCAL)))
/* Near to an island of NPUs: what they share and write often. */
#define CTM __attribute__((section(LNIC_SECTION_CTM)))
/* Of all islands: what is read more than written. */
#define IMEM __attribute__((section(LNIC_SECTION_IMEM)))
/* Of all islands: what is large. */
#define EMEM __attribute__((section(LNIC_SECTION_EMEM)))
#define LOCAL_CONST __attribute__((section(LNIC_SECTION_LOCAL_CONST)))
#define CTM_CONST __attribute__((section(LNIC_SECTION_CTM_CONST)))
#define IMEM_CONST __attribute__((section(LNIC_SECTION_IMEM_CONST)))
#define EMEM_CONST __attribute__((section(LNIC_SECTION_EMEM_CONST)))

/*
 * The host. Each call costs fuel: about what it takes.
 */

/*
 * Sends a request to another lambda and waits for its reply, or until `timeout_us` has passed; if this one was itself called,
 * no longer than its caller waits. Meanwhile other lambdas run; this one has its locals and globals when it goes on, and what is
 * left of its budget. Returns the bytes of the reply, which lie in `reply`, or minus a status: -STATUS_DEADLINE_EXCEEDED,
 * -STATUS_UNIMPLEMENTED (no such lambda), -STATUS_UNAVAILABLE, -STATUS_RESOURCE_EXHAUSTED, -STATUS_OUT_OF_RANGE (the reply is
 * longer than `reply_capacity`), -STATUS_INVALID_ARGUMENT (a length over PAYLOAD_CAPACITY, a time-out below 1), or what the
 * other lambda replied. LAMBDA_INIT cannot wait: there it is -STATUS_UNAVAILABLE.
 */
LNIC_IMPORT(LNIC_IMPORT_CALL)
int32_t lnic_call(uint32_t lambda_id, const void *request, uint32_t request_bytes, void *reply,
                  uint32_t reply_capacity, int32_t timeout_us);

/*
 * Writes a line to the appliance's log: at most LOG_CAPACITY bytes of it, 16 lines at once and 16 a second. What is more
 * is counted and dropped.
 */
LNIC_IMPORT(LNIC_IMPORT_LOG) void lnic_log(const void *text, uint32_t bytes);

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
LNIC_IMPORT(LNIC_IMPORT_ENVIRONMENT)
int32_t lnic_environment(const void *name, uint32_t name_bytes, void *out, uint32_t out_bytes);

LNIC_IMPORT(LNIC_IMPORT_SECRET)
int32_t lnic_secret(const void *name, uint32_t name_bytes, void *out, uint32_t out_bytes);

/* The same with the name as a string literal, without its terminating zero. */
#define lnic_environment_text(literal, out, out_bytes) \
    lnic_environment("" literal, sizeof(literal) - 1, out, out_bytes)
#define lnic_secret_text(literal, out, out_bytes) lnic_secret("" literal, sizeof(literal) - 1, out, out_bytes)

/*
 * Services outside the appliance, which the deployment names in `[services]`. A handle is found once, in LAMBDA_INIT, and
 * kept; -1 if there is none of that name.
 */
LNIC_IMPORT(LNIC_IMPORT_SERVICE)
int32_t lnic_service(const void *name, uint32_t name_bytes);

/* The same with the name as a string literal, without its terminating zero. */
#define lnic_service_text(literal) lnic_service("" literal, sizeof(literal) - 1)

/*
 * Sends a request to a service and waits for its reply, as lnic_call does for another lambda: returns the bytes of the reply, or
 * minus a status: -STATUS_INVALID_ARGUMENT (no such handle, a request that does not fit one packet, a time-out below 1),
 * -STATUS_DEADLINE_EXCEEDED (no reply in time), -STATUS_RESOURCE_EXHAUSTED (too many wait), -STATUS_UNAVAILABLE (the next hop does
 * not answer, or LAMBDA_INIT asks), -STATUS_OUT_OF_RANGE (the reply is longer than `reply_capacity`). A request is sent once:
 * whether to send it again is the lambda's business.
 *
 * `reply_capacity` is at most PAYLOAD_CAPACITY, and nothing waits longer than 10 s.
 *
 * With framing "memcached" the platform puts memcached's 8-byte frame header before the request and takes it off the reply:
 * requests have IDs of their own, replies are matched by them, and one of several datagrams arrives as a whole.
 */
LNIC_IMPORT(LNIC_IMPORT_REQUEST)
int32_t lnic_request(int32_t service, const void *request, uint32_t request_bytes, void *reply,
                     uint32_t reply_capacity, int32_t timeout_us);

/* Random bits that nobody outside can foretell: for hash seeds and IDs. */
LNIC_IMPORT(LNIC_IMPORT_RANDOM) uint64_t lnic_random(void);

/*
 * Bytes. Through builtins they become memory.copy and memory.fill, or plain loads and stores if small and constant.
 * Names and meaning are the C library's, so that code written for it compiles.
 */

#ifndef LNIC_NATIVE_TEST
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

#endif

/*
 * What is written before it in the source is in memory before what is written after it, also for whoever comes after a run that is
 * killed in between. Costs nothing but what the compiler would have saved.
 */
static inline void lnic_settle(void) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Copies what fits, and returns how much that was: at most `capacity` bytes. */
static inline size_t lnic_copy(void *to, size_t capacity, const void *from, size_t bytes) {
    size_t fits = bytes < capacity ? bytes : capacity;
    memmove(to, from, fits);
    return fits;
}

/* The payload as bytes; match_data->length of them came in, up to match_data->capacity may leave. */
static inline uint8_t *lnic_payload(const MATCH_DATA_T *match_data) {
    return (uint8_t *)(uintptr_t)match_data->payload;
}

/*
 * Numbers in bytes, at any address. Those of network protocols are big-endian. The caller has checked that the bytes are there. Each
 * is a load or a store, and at most one instruction more to turn it round.
 */

static inline uint16_t lnic_load_be16(const void *from) {
    uint16_t value;
    __builtin_memcpy(&value, from, 2);
    return __builtin_bswap16(value);
}

static inline void lnic_store_be16(void *to, uint16_t value) {
    value = __builtin_bswap16(value);
    __builtin_memcpy(to, &value, 2);
}

static inline uint32_t lnic_load_be32(const void *from) {
    uint32_t value;
    __builtin_memcpy(&value, from, 4);
    return __builtin_bswap32(value);
}

static inline void lnic_store_be32(void *to, uint32_t value) {
    value = __builtin_bswap32(value);
    __builtin_memcpy(to, &value, 4);
}

static inline uint64_t lnic_load_be64(const void *from) {
    uint64_t value;
    __builtin_memcpy(&value, from, 8);
    return __builtin_bswap64(value);
}

static inline void lnic_store_be64(void *to, uint64_t value) {
    value = __builtin_bswap64(value);
    __builtin_memcpy(to, &value, 8);
}

static inline uint16_t lnic_load_le16(const void *from) {
    uint16_t value;
    __builtin_memcpy(&value, from, 2);
    return value;
}

static inline void lnic_store_le16(void *to, uint16_t value) {
    __builtin_memcpy(to, &value, 2);
}

static inline uint32_t lnic_load_le32(const void *from) {
    uint32_t value;
    __builtin_memcpy(&value, from, 4);
    return value;
}

static inline void lnic_store_le32(void *to, uint32_t value) {
    __builtin_memcpy(to, &value, 4);
}

static inline uint64_t lnic_load_le64(const void *from) {
    uint64_t value;
    __builtin_memcpy(&value, from, 8);
    return value;
}

static inline void lnic_store_le64(void *to, uint64_t value) {
    __builtin_memcpy(to, &value, 8);
}

/* From host to network byte order, and the other way: for structures that are copied as they are. */

static inline uint16_t lnic_be16(uint16_t value) {
    return __builtin_bswap16(value);
}

static inline uint32_t lnic_be32(uint32_t value) {
    return __builtin_bswap32(value);
}

static inline uint64_t lnic_be64(uint64_t value) {
    return __builtin_bswap64(value);
}

/* Does the payload begin with these bytes? */
static inline bool lnic_starts_with(const MATCH_DATA_T *match_data, const char *prefix, size_t bytes) {
    return match_data->length >= bytes && memcmp(lnic_payload(match_data), prefix, bytes) == 0;
}

/* Swaps two fields of the same size, such as source and destination. */
#define LNIC_SWAP(left, right)                                                          \
    do {                                                                                \
        _Static_assert(sizeof(left) == sizeof(right), "swapped fields differ in size"); \
        uint8_t lnic_swap[sizeof(left)];                                                \
        __builtin_memcpy(lnic_swap, &(left), sizeof(left));                             \
        __builtin_memcpy(&(left), &(right), sizeof(left));                              \
        __builtin_memcpy(&(right), lnic_swap, sizeof(left));                            \
    } while (0)

/*
 * Turns the request into its reply: back to its sender, with `length` bytes of the payload and, if it came by λ-RPC,
 * this status. Returns the verdict: FORWARD, or DROP for what is itself a reply: answering one would let two lambdas
 * answer each other forever. Whether the caller wants a reply at all (NOREPLY) is the platform's business.
 * A reply longer than what fits is not cut off: it leaves empty, with STATUS_RESOURCE_EXHAUSTED.
 */
static inline int lnic_reply(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint8_t status,
                             uint32_t length) {
    if (headers->rpc.valid && headers->rpc.kind != RPC_REQ) {
        return DROP;
    }
    if (length > match_data->capacity) {
        length = 0;
        status = STATUS_RESOURCE_EXHAUSTED;
    }
    LNIC_SWAP(headers->ethernet.source, headers->ethernet.destination);
    if (headers->ipv4.valid) {
        LNIC_SWAP(headers->ipv4.source, headers->ipv4.destination);
        headers->ipv4.ttl = 64;
    }
    if (headers->ipv6.valid) {
        LNIC_SWAP(headers->ipv6.source, headers->ipv6.destination);
        headers->ipv6.hop_limit = 64;
    }
    if (headers->udp.valid) {
        LNIC_SWAP(headers->udp.source_port, headers->udp.destination_port);
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
static inline int lnic_reply_with(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint8_t status,
                                  const void *from, uint32_t length) {
    if (length <= match_data->capacity) {
        memmove(lnic_payload(match_data), from, length);
    }
    return lnic_reply(headers, match_data, status, length);
}

/* The same with a string literal, without its terminating zero. */
#define lnic_reply_text(headers, match_data, status, literal) \
    lnic_reply_with(headers, match_data, status, "" literal, sizeof(literal) - 1)

#endif
