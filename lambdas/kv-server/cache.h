/*
 * BACKEND=host: a cache in front of the memcached behind the host port, as BMC is (Ghigoff et al., NSDI'21). Clients and memcached
 * speak to each other; what the table knows is answered here, and everything else is passed on.
 */
#ifndef KV_CACHE_H
#define KV_CACHE_H

#include "pending.h"
#include "writes.h"

/* In ticks. */
static uint64_t guard_ticks, age_ticks;

/* What was asked for at `since` is as new as the last write, and not old. */
static inline bool is_fresh(uint64_t hash, uint64_t since, uint64_t now) {
    return since > last_written(hash) + guard_ticks && now - since <= age_ticks;
}

/* Makes the reply of a get out of facts and the text, which lies behind the frame header. Returns its bytes; 0 if it does not fit. */
static uint32_t put_value(uint8_t *payload, const GET_T *get, const FACTS_T *facts, uint32_t capacity) {
    uint8_t *text = payload + FRAME_BYTES;
    uint32_t bytes = text_bytes(facts);
    put_frame(payload);
    if (get->form == ASCII_GET) {
        return FRAME_BYTES + bytes <= capacity ? FRAME_BYTES + bytes : 0;
    }
    if (get->form == ASCII_GETS) {
        /* The CAS goes before the end of the first line. */
        uint8_t cas[21] = " ";
        uint32_t cas_bytes = 1 + put_decimal(cas + 1, facts->cas), line_bytes = facts->head_bytes - 2u;
        if (FRAME_BYTES + bytes + cas_bytes > capacity) {
            return 0;
        }
        memmove(text + line_bytes + cas_bytes, text + line_bytes, bytes - line_bytes);
        memcpy(text + line_bytes, cas, cas_bytes);
        return FRAME_BYTES + bytes + cas_bytes;
    }
    bool with_key = get->opcode == OPCODE_GETK || get->opcode == OPCODE_GETKQ;
    uint32_t key_bytes = with_key ? facts->key_bytes : 0;
    uint32_t head_bytes = BINARY_BYTES + 4 + key_bytes;
    if (FRAME_BYTES + head_bytes + facts->value_bytes > capacity) {
        return 0;
    }
    uint8_t key[KEY_BYTES + 6];
    memcpy(key, text + KEY_AT, KEY_BYTES);
    memmove(text + head_bytes, text + facts->head_bytes, facts->value_bytes);
    put_binary(text, get->opcode, BINARY_OK, get->opaque, facts->cas, 4, key_bytes, facts->value_bytes);
    lnic_store_be32(text + BINARY_BYTES, facts->flags);
    for (uint32_t at = 0; at < key_bytes; at++) {
        text[BINARY_BYTES + 4 + at] = key[at];
    }
    return FRAME_BYTES + head_bytes + facts->value_bytes;
}

/* A client's datagram. */
static inline int cache_request(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint64_t now) {
    uint8_t *payload = lnic_payload(match_data);
    TEXT_T text = {payload + FRAME_BYTES, match_data->length - FRAME_BYTES};
    GET_T get;
    if (match_data->length <= FRAME_BYTES) {
        return TO_HOST;
    }
    if (!is_alone(payload, match_data->length) || lnic_load_be16(payload + 2) != 0 || !parse_get(text, &get)) {
        (void)note_writes(text, now);
        return TO_HOST;
    }
    uint8_t key[KEY_BYTES + 22];
    copy_vectors(key, get.key.at, get.key.bytes);
    get.key.at = key;
    uint64_t hash = hash_bytes(key, get.key.bytes), exchange = 0;
    FACTS_T facts;
    if (table_get(hash, get.key, &facts, payload + FRAME_BYTES, now) == FOUND && is_fresh(hash, facts.since, now) &&
        (get.form == ASCII_GET || facts.cas != 0)) {
        uint32_t bytes = put_value(payload, &get, &facts, match_data->capacity);
        if (bytes > 0) {
            return lnic_reply(headers, match_data, STATUS_OK, bytes);
        }
    }
    exchange = exchange_of(headers, payload, false);
    pending_note(exchange, hash, &get, now);
    return TO_HOST;
}

/* A segment to memcached: of its commands, only writes matter. */
static inline int cache_segment(const EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint64_t now) {
    note_segment(headers, (TEXT_T){lnic_payload(match_data), match_data->length}, now);
    return TO_HOST;
}

/* What a reply says. */
typedef struct {
    TEXT_T key;
    TEXT_T value;
    uint32_t flags;
    uint32_t opaque;
    uint64_t cas;
} VALUE_T;

/* Is this the reply to a get of the ASCII protocol, with one value, and all of it? */
static inline bool parse_ascii_value(TEXT_T text, VALUE_T *value) {
    TEXT_T line;
    uint64_t flags, bytes;
    *value = (VALUE_T){{0, 0}, {0, 0}, 0, 0, 0};
    if (!BEGINS(text, "VALUE ") || !next_line(&text, &line)) {
        return false;
    }
    (void)next_word(&line);
    value->key = next_word(&line);
    if (!decimal(next_word(&line), UINT32_MAX, &flags) || !decimal(next_word(&line), VALUE_BYTES, &bytes)) {
        return false;
    }
    TEXT_T cas = next_word(&line);
    if (cas.bytes > 0 && !decimal(cas, UINT64_MAX, &value->cas)) {
        return false;
    }
    value->flags = (uint32_t)flags;
    value->value = (TEXT_T){text.at, (uint32_t)bytes};
    return text.bytes == bytes + 7 && memcmp(text.at + bytes, "\r\nEND\r\n", 7) == 0;
}

/* The same of the binary protocol. Its key may be left out. */
static inline bool parse_binary_value(TEXT_T text, VALUE_T *value) {
    if (text.bytes < BINARY_BYTES + 4 || text.at[0] != BINARY_REPLY || text.at[4] != 4 || text.at[5] != 0 ||
        lnic_load_be16(text.at + 6) != BINARY_OK) {
        return false;
    }
    uint8_t opcode = text.at[1];
    uint32_t key_bytes = lnic_load_be16(text.at + 2), body_bytes = lnic_load_be32(text.at + 8);
    if ((opcode != OPCODE_GET && opcode != OPCODE_GETQ && opcode != OPCODE_GETK && opcode != OPCODE_GETKQ) ||
        text.bytes != BINARY_BYTES + body_bytes || body_bytes < 4 + key_bytes ||
        body_bytes - 4 - key_bytes > VALUE_BYTES) {
        return false;
    }
    value->key = (TEXT_T){text.at + BINARY_BYTES + 4, key_bytes};
    value->value = (TEXT_T){value->key.at + key_bytes, body_bytes - 4 - key_bytes};
    value->flags = lnic_load_be32(text.at + BINARY_BYTES);
    memcpy(&value->opaque, text.at + 12, 4);
    value->cas = lnic_load_be64(text.at + 16);
    return true;
}

/* Keeps a value, unless it is out of date already. */
static inline void keep(uint64_t hash, const VALUE_T *value, uint64_t since, uint64_t now) {
    if (!is_fresh(hash, since, now)) {
        return;
    }
    uint32_t at = set_of(hash);
    uint64_t held = set_take(&sets[at], now);
    if (held == 0) {
        return;
    }
    uint32_t way = way_of(at, hash, value->key);
    /* One that was asked for later is not replaced by an older one that was under way for longer. */
    if (way == WAYS || entries[at][way].facts.since <= since) {
        FACTS_T facts = {.since = since, .cas = value->cas, .flags = value->flags};
        entry_write(at, way == WAYS ? way_to_fill(&sets[at]) : way, hash, value->key, value->value, facts);
    }
    (void)set_give(&sets[at], held);
}

/* A datagram of memcached's. */
static inline int cache_reply(const EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint64_t now) {
    const uint8_t *payload = lnic_payload(match_data);
    VALUE_T value;
    /* Values of several datagrams are not kept. */
    if (!is_alone(payload, match_data->length) || lnic_load_be16(payload + 2) != 0) {
        return TO_HOST;
    }
    TEXT_T text = {payload + FRAME_BYTES, match_data->length - FRAME_BYTES};
    if (!parse_ascii_value(text, &value) && !parse_binary_value(text, &value)) {
        return TO_HOST;
    }
    uint64_t exchange = exchange_of(headers, payload, true);
    uint8_t key[KEY_BYTES + 6];
    if (value.key.bytes == 0) {
        const PENDING_T *asked = &pending[exchange % PENDING];
        memcpy(key, asked->key, sizeof(key));
        value.key = (TEXT_T){key, asked->key_bytes};
    }
    uint64_t since;
    if (value.key.bytes == 0 || value.key.bytes > KEY_BYTES) {
        return TO_HOST;
    }
    uint64_t hash = hash_bytes(value.key.at, value.key.bytes);
    if (pending_take(exchange, hash, value.opaque, now, &since)) {
        keep(hash, &value, since, now);
    }
    return TO_HOST;
}

#endif
