/*
 * Gets that have gone to the host, until their replies come back: who asked for what, and when. A reply fills the table only if it
 * answers one of these; its own age is not known, but that of the question is.
 *
 * A slot is written by whoever comes, without a lock: its tag is a hash of all that has to belong together, so that what two have
 * written is nobody's.
 */
#ifndef KV_PENDING_H
#define KV_PENDING_H

#include "table.h"

#define PENDING 16384
/* After so many ticks a reply is not waited for any more. */
#define PENDING_TICKS 1024

typedef struct {
    uint64_t tag;
    uint64_t since;
    uint32_t key_bytes;
    /* Replies of the binary protocol do not name their key. */
    uint8_t key[KEY_BYTES + 6];
} __attribute__((aligned(16))) PENDING_T;

static PENDING_T pending[PENDING] EMEM;

/* Whose exchange it is: client, server and request ID. */
static inline uint64_t exchange_of(const EXTRACTED_HEADERS_T *headers, const uint8_t *payload, bool is_reply) {
    SIP_T sip = sip_begin();
    uint32_t source_port = headers->udp.source_port, destination_port = headers->udp.destination_port;
    uint32_t client_port = is_reply ? destination_port : source_port;
    uint32_t server_port = is_reply ? source_port : destination_port;
    if (headers->ipv4.valid) {
        uint64_t client = is_reply ? headers->ipv4.destination : headers->ipv4.source;
        uint64_t server = is_reply ? headers->ipv4.source : headers->ipv4.destination;
        sip_add(&sip, client << 32 | server);
    } else {
        uint64_t words[4];
        memcpy(words, is_reply ? headers->ipv6.destination : headers->ipv6.source, 16);
        memcpy(words + 2, is_reply ? headers->ipv6.source : headers->ipv6.destination, 16);
        for (uint32_t at = 0; at < 4; at++) {
            sip_add(&sip, words[at]);
        }
    }
    sip_add(&sip, (uint64_t)client_port << 48 | (uint64_t)server_port << 32 |
                      (uint64_t)(headers->ipv6.valid != 0) << 16 | lnic_load_be16(payload));
    return sip_end(&sip);
}

static inline uint64_t pending_tag(uint64_t exchange, uint64_t key_hash, uint32_t opaque, uint64_t since) {
    SIP_T sip = sip_begin();
    sip_add(&sip, exchange);
    sip_add(&sip, key_hash);
    sip_add(&sip, opaque);
    sip_add(&sip, since);
    return sip_end(&sip) | 1;
}

/* Notes that a get goes to the host. One that is asked again keeps its time: the reply may be the first one's. */
static inline void pending_note(uint64_t exchange, uint64_t hash, const GET_T *get, uint64_t now) {
    PENDING_T *slot = &pending[exchange % PENDING];
    uint64_t tag = __atomic_load_n(&slot->tag, __ATOMIC_ACQUIRE);
    if (tag != 0 && now - slot->since < PENDING_TICKS && tag == pending_tag(exchange, hash, get->opaque, slot->since)) {
        return;
    }
    __atomic_store_n(&slot->tag, 0, __ATOMIC_SEQ_CST);
    slot->since = now;
    slot->key_bytes = get->key.bytes;
    if (get->form == BINARY_GET) {
        for (uint32_t at = 0; at < get->key.bytes; at++) {
            slot->key[at] = get->key.at[at];
        }
    }
    __atomic_store_n(&slot->tag, pending_tag(exchange, hash, get->opaque, now), __ATOMIC_SEQ_CST);
}

/* Takes the get that a reply answers: it fills once. False if none is known; `since` is when it was asked. */
static inline bool pending_take(uint64_t exchange, uint64_t hash, uint32_t opaque, uint64_t now, uint64_t *since) {
    PENDING_T *slot = &pending[exchange % PENDING];
    uint64_t tag = __atomic_load_n(&slot->tag, __ATOMIC_ACQUIRE);
    *since = slot->since;
    return tag != 0 && now - *since < PENDING_TICKS && tag == pending_tag(exchange, hash, opaque, *since) &&
           __atomic_compare_exchange_n(&slot->tag, &tag, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

#endif
