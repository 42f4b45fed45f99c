/*
 * BACKEND=none: the table is the store itself, and there is no memcached. It answers what memcached would, for the commands that a
 * table can do: get and gets, set, add, replace, delete, flush_all, version; the binary protocol's besides with GETK, NOOP and the quiet
 * ones. What memcached has more (statistics and what changes its settings among it) is answered as an unknown command.
 *
 * Every reply is one datagram, of at most 1,400 bytes: who asks with another's address cannot have more sent there.
 */
#ifndef KV_STORE_H
#define KV_STORE_H

#include "cache.h"

#define VERSION "1.6.0-lnic"
/* Longer times are dates, and there is no calendar here. */
#define LONGEST_SECONDS (60 * 60 * 24 * 30)

/* Entries of another epoch were flushed. */
static uint32_t store_epoch EMEM;
static uint64_t store_cas EMEM;

typedef enum { SET_ANY, SET_NEW, SET_KNOWN } SET_MODE_T;
typedef enum { STORED, NOT_STORED, OTHER_CAS, GONE, STORE_BUSY } STORED_T;

static inline bool is_alive(const FACTS_T *facts, uint64_t now) {
    return facts->epoch == __atomic_load_n(&store_epoch, __ATOMIC_ACQUIRE) && (facts->expires == 0 || now < facts->expires);
}

static inline FOUND_T store_get(TEXT_T key, FACTS_T *facts, uint8_t *text, uint64_t now) {
    FOUND_T found = table_get(hash_bytes(key.at, key.bytes), key, facts, text, now);
    return found == FOUND && !is_alive(facts, now) ? ABSENT : found;
}

/* Is there a value in this way? For who holds the set. */
static inline bool is_there(uint32_t at, uint32_t way, uint64_t now) {
    const ENTRY_T *entry = way < WAYS ? &entries[at][way] : NULL;
    return entry != NULL && is_alive(&entry->facts, now) && text_bytes(&entry->facts) <= TEXT_BYTES &&
           entry->sum == sum_of(&entry->facts, entry->text);
}

/* Stores a value. `cas` in: what the one that is there has to have, 0 anything; out: what the new one has. */
static STORED_T store_set(TEXT_T key, TEXT_T value, uint32_t flags, uint64_t expires, SET_MODE_T mode, uint64_t *cas,
                          uint64_t now) {
    uint64_t hash = hash_bytes(key.at, key.bytes);
    uint32_t at = set_of(hash);
    uint64_t held = set_take(&sets[at], now);
    if (held == 0) {
        return STORE_BUSY;
    }
    uint32_t way = way_of(at, hash, key);
    bool there = is_there(at, way, now);
    STORED_T stored = STORED;
    if (*cas != 0 && !there) {
        stored = GONE;
    } else if (*cas != 0 && entries[at][way].facts.cas != *cas) {
        stored = OTHER_CAS;
    } else if ((mode == SET_NEW && there) || (mode == SET_KNOWN && !there)) {
        stored = NOT_STORED;
    } else {
        FACTS_T facts = {.since = now, .expires = expires, .flags = flags};
        facts.epoch = __atomic_load_n(&store_epoch, __ATOMIC_ACQUIRE);
        facts.cas = *cas = __atomic_add_fetch(&store_cas, 1, __ATOMIC_RELAXED);
        entry_write(at, way == WAYS ? way_to_fill(&sets[at]) : way, hash, key, value, facts);
    }
    return set_give(&sets[at], held) ? stored : STORE_BUSY;
}

static STORED_T store_delete(TEXT_T key, uint64_t cas, uint64_t now) {
    uint64_t hash = hash_bytes(key.at, key.bytes);
    uint32_t at = set_of(hash);
    uint64_t held = set_take(&sets[at], now);
    if (held == 0) {
        return STORE_BUSY;
    }
    uint32_t way = way_of(at, hash, key);
    STORED_T stored = is_there(at, way, now) ? STORED : GONE;
    if (stored == STORED && cas != 0 && entries[at][way].facts.cas != cas) {
        stored = OTHER_CAS;
    } else if (way < WAYS) {
        sets[at].tags[way] = 0;
    }
    return set_give(&sets[at], held) ? stored : STORE_BUSY;
}

/* When a value expires: false for a date. Times in the past are a time that has been. */
static inline bool expires_at(uint64_t seconds, bool is_past, uint64_t now, uint64_t *expires) {
    if (is_past) {
        *expires = 1;
        return true;
    }
    *expires = seconds == 0 ? 0 : now + (seconds * 1000000000 >> TICK_SHIFT) + 1;
    return seconds <= LONGEST_SECONDS;
}

/* Writes a reply of the ASCII protocol. Returns the bytes of its datagram. */
#define SAY(payload, literal)                                                \
    (put_frame(payload), memcpy((payload) + FRAME_BYTES, literal, sizeof(literal) - 1), \
     (uint32_t)(FRAME_BYTES + sizeof(literal) - 1))

/* get and gets, of one key or several, up to KEYS: as many bytes as a datagram has, or none of it. */
static uint32_t store_ascii_get(uint8_t *payload, TEXT_T keys, FORM_T form, uint32_t capacity, uint64_t now) {
    uint8_t reply[DATAGRAM_BYTES + TEXT_BYTES];
    uint32_t bytes = 0;
    GET_T get = {.form = form};
    TEXT_T key = next_word(&keys);
    if (key.bytes == 0) {
        return SAY(payload, "ERROR\r\n");
    }
    for (uint32_t count = 1; key.bytes > 0; count++, key = next_word(&keys)) {
        if (count > KEYS) {
            return SAY(payload, "SERVER_ERROR too many keys\r\n");
        }
        if (key.bytes > KEY_BYTES) {
            return SAY(payload, "CLIENT_ERROR bad command line format\r\n");
        }
        /* A reply by itself, frame header and end of it to be overwritten by the next one. */
        uint8_t one[FRAME_BYTES + TEXT_BYTES + 32];
        FACTS_T facts;
        FOUND_T found = store_get(key, &facts, one + FRAME_BYTES, now);
        if (found == BUSY) {
            return SAY(payload, "SERVER_ERROR busy\r\n");
        }
        if (found == ABSENT) {
            continue;
        }
        uint32_t one_bytes = put_value(one, &get, &facts, sizeof(one)) - FRAME_BYTES - 5;
        if (FRAME_BYTES + bytes + one_bytes + 5 > DATAGRAM_BYTES || FRAME_BYTES + bytes + one_bytes + 5 > capacity) {
            return SAY(payload, "SERVER_ERROR more than a datagram\r\n");
        }
        copy_vectors(reply + bytes, one + FRAME_BYTES, one_bytes);
        bytes += one_bytes;
    }
    put_frame(payload);
    copy_vectors(payload + FRAME_BYTES, reply, bytes);
    memcpy(payload + FRAME_BYTES + bytes, "END\r\n", 5);
    return FRAME_BYTES + bytes + 5;
}

/* set, add and replace: the rest of the line, and the lines behind it. */
static uint32_t store_ascii_set(uint8_t *payload, TEXT_T line, TEXT_T rest, SET_MODE_T mode, uint64_t now) {
    TEXT_T key = next_word(&line), flags_word = next_word(&line), time_word = next_word(&line);
    TEXT_T bytes_word = next_word(&line), option = next_word(&line);
    uint64_t flags, seconds, bytes, expires, cas = 0;
    if (bytes_word.bytes == 0 || (option.bytes > 0 && next_word(&line).bytes > 0)) {
        return SAY(payload, "ERROR\r\n");
    }
    bool is_quiet = IS(option, "noreply"), is_past = BEGINS(time_word, "-");
    if (is_past) {
        time_word = (TEXT_T){time_word.at + 1, time_word.bytes - 1};
    }
    if (key.bytes > KEY_BYTES || !decimal(flags_word, UINT32_MAX, &flags) || !decimal(time_word, INT32_MAX, &seconds) ||
        !decimal(bytes_word, INT32_MAX - 2, &bytes)) {
        return SAY(payload, "CLIENT_ERROR bad command line format\r\n");
    }
    if (rest.bytes < bytes + 2) {
        /* memcached waits for the rest, which no further datagram can bring. */
        return 0;
    }
    if (memcmp(rest.at + bytes, "\r\n", 2) != 0) {
        return is_quiet ? 0 : SAY(payload, "CLIENT_ERROR bad data chunk\r\n");
    }
    if (bytes > VALUE_BYTES) {
        /* As memcached does: what was there before is not the newest. */
        (void)store_delete(key, 0, now);
        return is_quiet ? 0 : SAY(payload, "SERVER_ERROR object too large for cache\r\n");
    }
    if (!expires_at(seconds, is_past, now, &expires)) {
        return is_quiet ? 0 : SAY(payload, "SERVER_ERROR exptime is a date\r\n");
    }
    STORED_T stored = store_set(key, (TEXT_T){rest.at, (uint32_t)bytes}, (uint32_t)flags, expires, mode, &cas, now);
    if (is_quiet) {
        return 0;
    }
    if (stored == STORED) {
        return SAY(payload, "STORED\r\n");
    }
    return stored == STORE_BUSY ? SAY(payload, "SERVER_ERROR busy\r\n") : SAY(payload, "NOT_STORED\r\n");
}

static uint32_t store_ascii_delete(uint8_t *payload, TEXT_T line, uint64_t now) {
    TEXT_T key = next_word(&line), option = next_word(&line), more = next_word(&line);
    bool is_quiet = IS(option, "noreply") || IS(more, "noreply");
    if (key.bytes == 0) {
        return SAY(payload, "ERROR\r\n");
    }
    if (key.bytes > KEY_BYTES) {
        return SAY(payload, "CLIENT_ERROR bad command line format\r\n");
    }
    /* A time of 0 is what clients of old say. */
    if (option.bytes > 0 && !(more.bytes == 0 ? is_quiet || IS(option, "0") : IS(option, "0") && is_quiet)) {
        return SAY(payload, "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
    }
    STORED_T stored = store_delete(key, 0, now);
    if (is_quiet) {
        return 0;
    }
    if (stored == STORE_BUSY) {
        return SAY(payload, "SERVER_ERROR busy\r\n");
    }
    return stored == STORED ? SAY(payload, "DELETED\r\n") : SAY(payload, "NOT_FOUND\r\n");
}

/* The first command of a datagram; what lies behind it is not looked at. Returns the bytes of the reply, 0 for none. */
static uint32_t store_ascii(uint8_t *payload, TEXT_T text, uint32_t capacity, uint64_t now) {
    TEXT_T line;
    if (!next_line(&text, &line)) {
        return 0;
    }
    TEXT_T name = next_word(&line);
    if (IS(name, "get")) {
        return store_ascii_get(payload, line, ASCII_GET, capacity, now);
    }
    if (IS(name, "gets")) {
        return store_ascii_get(payload, line, ASCII_GETS, capacity, now);
    }
    if (IS(name, "set")) {
        return store_ascii_set(payload, line, text, SET_ANY, now);
    }
    if (IS(name, "add")) {
        return store_ascii_set(payload, line, text, SET_NEW, now);
    }
    if (IS(name, "replace")) {
        return store_ascii_set(payload, line, text, SET_KNOWN, now);
    }
    if (IS(name, "delete")) {
        return store_ascii_delete(payload, line, now);
    }
    if (IS(name, "flush_all")) {
        TEXT_T option = next_word(&line);
        if (option.bytes > 0 && !IS(option, "0") && !IS(option, "noreply")) {
            return SAY(payload, "CLIENT_ERROR bad command line format\r\n");
        }
        __atomic_fetch_add(&store_epoch, 1, __ATOMIC_SEQ_CST);
        return IS(option, "noreply") || IS(next_word(&line), "noreply") ? 0 : SAY(payload, "OK\r\n");
    }
    if (IS(name, "version")) {
        return SAY(payload, "VERSION " VERSION "\r\n");
    }
    return SAY(payload, "ERROR\r\n");
}

/* A reply of the binary protocol without more than a text. */
static uint32_t say_binary(uint8_t *payload, uint8_t opcode, uint16_t status, uint32_t opaque, uint64_t cas,
                           const char *text, uint32_t bytes) {
    put_frame(payload);
    put_binary(payload + FRAME_BYTES, opcode, status, opaque, cas, 0, 0, bytes);
    memcpy(payload + FRAME_BYTES + BINARY_BYTES, text, bytes);
    return FRAME_BYTES + BINARY_BYTES + bytes;
}

#define SAY_BINARY(payload, opcode, status, opaque, cas, literal) \
    say_binary(payload, opcode, status, opaque, cas, literal, sizeof(literal) - 1)

static uint32_t say_stored(uint8_t *payload, uint8_t opcode, STORED_T stored, uint32_t opaque, uint64_t cas) {
    switch (stored) {
    case STORED:
        return SAY_BINARY(payload, opcode, BINARY_OK, opaque, cas, "");
    case GONE:
        return SAY_BINARY(payload, opcode, BINARY_NOT_FOUND, opaque, 0, "Not found");
    case OTHER_CAS:
        return SAY_BINARY(payload, opcode, BINARY_EXISTS, opaque, 0, "Data exists for key.");
    case NOT_STORED:
        return SAY_BINARY(payload, opcode, BINARY_NOT_STORED, opaque, 0, "Not stored.");
    default:
        return SAY_BINARY(payload, opcode, BINARY_BUSY, opaque, 0, "Busy");
    }
}

/* SET, ADD and REPLACE: 8 bytes of flags and time, key, value. */
static STORED_T store_binary_set(TEXT_T extras, TEXT_T key, TEXT_T value, uint8_t opcode, uint64_t *cas, uint64_t now) {
    uint32_t flags = lnic_load_be32(extras.at);
    uint64_t expires;
    /* A time of all ones is the past, as memcached has it for what is negative. */
    uint32_t seconds = lnic_load_be32(extras.at + 4);
    if (!expires_at(seconds, seconds > INT32_MAX, now, &expires)) {
        return NOT_STORED;
    }
    SET_MODE_T mode = opcode == OPCODE_SET || opcode == OPCODE_SETQ   ? SET_ANY
                      : opcode == OPCODE_ADD || opcode == OPCODE_ADDQ ? SET_NEW
                                                                      : SET_KNOWN;
    STORED_T stored = store_set(key, value, flags, expires, mode, cas, now);
    /* The binary protocol says why. */
    if (stored == NOT_STORED) {
        stored = mode == SET_NEW ? OTHER_CAS : GONE;
    }
    return stored;
}

/* The first request of a datagram. Returns the bytes of the reply, 0 for none: quiet requests are only answered if they fail, and quiet
 * gets only if they do not. */
static uint32_t store_binary(uint8_t *payload, TEXT_T text, uint32_t capacity, uint64_t now) {
    if (text.bytes < BINARY_BYTES) {
        return 0;
    }
    uint8_t opcode = text.at[1];
    uint32_t key_bytes = lnic_load_be16(text.at + 2), extras_bytes = text.at[4], body_bytes = lnic_load_be32(text.at + 8);
    uint32_t opaque;
    uint64_t cas = lnic_load_be64(text.at + 16);
    memcpy(&opaque, text.at + 12, 4);
    if (body_bytes > text.bytes - BINARY_BYTES) {
        return 0;
    }
    TEXT_T extras = {text.at + BINARY_BYTES, extras_bytes};
    TEXT_T key = {extras.at + extras_bytes, key_bytes};
    TEXT_T value = {key.at + key_bytes, body_bytes - extras_bytes - key_bytes};
    if (extras_bytes + key_bytes > body_bytes || key_bytes > KEY_BYTES) {
        return SAY_BINARY(payload, opcode, BINARY_INVALID, opaque, 0, "Invalid arguments");
    }
    bool has_key = key_bytes > 0, is_bare = extras_bytes == 0 && value.bytes == 0;
    STORED_T stored;
    switch (opcode) {
    case OPCODE_GET:
    case OPCODE_GETK:
    case OPCODE_GETQ:
    case OPCODE_GETKQ: {
        if (!has_key || !is_bare) {
            break;
        }
        GET_T get = {BINARY_GET, key, opcode, opaque};
        uint8_t copy[KEY_BYTES + 22];
        FACTS_T facts;
        copy_vectors(copy, key.at, key_bytes);
        get.key.at = copy;
        FOUND_T found = store_get(get.key, &facts, payload + FRAME_BYTES, now);
        if (found == FOUND) {
            return put_value(payload, &get, &facts, capacity);
        }
        if (found == BUSY) {
            return SAY_BINARY(payload, opcode, BINARY_BUSY, opaque, 0, "Busy");
        }
        if (opcode == OPCODE_GETQ || opcode == OPCODE_GETKQ) {
            return 0;
        }
        if (opcode == OPCODE_GET) {
            return SAY_BINARY(payload, opcode, BINARY_NOT_FOUND, opaque, 0, "Not found");
        }
        put_frame(payload);
        put_binary(payload + FRAME_BYTES, opcode, BINARY_NOT_FOUND, opaque, 0, 0, key_bytes, 0);
        copy_vectors(payload + FRAME_BYTES + BINARY_BYTES, copy, key_bytes);
        return FRAME_BYTES + BINARY_BYTES + key_bytes;
    }
    case OPCODE_SET:
    case OPCODE_ADD:
    case OPCODE_REPLACE:
    case OPCODE_SETQ:
    case OPCODE_ADDQ:
    case OPCODE_REPLACEQ:
        if (extras_bytes != 8 || !has_key) {
            break;
        }
        if (value.bytes > VALUE_BYTES) {
            (void)store_delete(key, 0, now);
            return SAY_BINARY(payload, opcode, BINARY_TOO_LARGE, opaque, 0, "Too large.");
        }
        stored = store_binary_set(extras, key, value, opcode, &cas, now);
        if (stored == STORED && opcode >= OPCODE_SETQ) {
            return 0;
        }
        return say_stored(payload, opcode, stored, opaque, cas);
    case OPCODE_DELETE:
    case OPCODE_DELETEQ:
        if (!is_bare || !has_key) {
            break;
        }
        stored = store_delete(key, cas, now);
        return stored == STORED && opcode == OPCODE_DELETEQ ? 0 : say_stored(payload, opcode, stored, opaque, 0);
    case OPCODE_FLUSH:
    case OPCODE_FLUSHQ:
        if (has_key || value.bytes > 0 || (extras_bytes != 0 && (extras_bytes != 4 || lnic_load_be32(extras.at) != 0))) {
            break;
        }
        __atomic_fetch_add(&store_epoch, 1, __ATOMIC_SEQ_CST);
        return opcode == OPCODE_FLUSHQ ? 0 : SAY_BINARY(payload, opcode, BINARY_OK, opaque, 0, "");
    case OPCODE_NOOP:
    case OPCODE_VERSION:
        if (body_bytes != 0) {
            break;
        }
        return opcode == OPCODE_NOOP ? SAY_BINARY(payload, opcode, BINARY_OK, opaque, 0, "")
                                     : SAY_BINARY(payload, opcode, BINARY_OK, opaque, 0, VERSION);
    default:
        return SAY_BINARY(payload, opcode, BINARY_UNKNOWN, opaque, 0, "Unknown command");
    }
    return SAY_BINARY(payload, opcode, BINARY_INVALID, opaque, 0, "Invalid arguments");
}

/* A client's datagram. */
static inline int store_request(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint64_t now) {
    uint8_t *payload = lnic_payload(match_data);
    /* Another server, not a client: the two would answer each other's errors for ever. */
    if (headers->udp.source_port == headers->udp.destination_port) {
        return DROP;
    }
    /* Not even memcached answers others. */
    if (!is_alone(payload, match_data->length)) {
        return DROP;
    }
    TEXT_T text = {payload + FRAME_BYTES, match_data->length - FRAME_BYTES};
    uint32_t bytes = text.at[0] == BINARY_REQUEST ? store_binary(payload, text, match_data->capacity, now)
                                                  : store_ascii(payload, text, match_data->capacity, now);
    return bytes > 0 ? lnic_reply(headers, match_data, STATUS_OK, bytes) : DROP;
}

#endif
