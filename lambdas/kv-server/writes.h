/*
 * What a write leaves behind: when it passed. What was asked for before that, or within the guard time after it, is not to be
 * believed. There is no lock and nothing to find: a write cannot fail to be noted.
 *
 * Requests are searched for writes wherever one can begin: at the start, behind every end of a line, and at every byte that can be a
 * header of the binary protocol. So it does not matter where TCP has cut a stream, nor what its segments carry: a line of data that
 * looks like a write is taken for one. A write whose key lies behind the end of a segment counts as one of every key.
 *
 * memcached writes when it has all of a value, and that can be long after its command line has passed. So each TCP flow's last write
 * is remembered, and noted again with whatever comes on the flow later.
 */
#ifndef KV_WRITES_H
#define KV_WRITES_H

#include "table.h"

#define WRITTEN 65536
/* Places of a packet that are looked at. One with more counts as a write of every key: its search would cost more than a run has. */
#define LOOKS 128
/* The same of keys of a packet: each is hashed. */
#define KEYS 64
/* Flows whose last write is remembered; the last that came of those that share a word. */
#define FLOWS 16384
/* A flow's word: a tag above, and below it what was written. */
#define PLACE_BITS 17
#define PLACE_MASK ((1u << PLACE_BITS) - 1)
/* What was written, if that is not known; else the index in `written`, from 1. */
#define EVERY_PLACE (WRITTEN + 1)

/* When a key with this hash was last written, in ticks: many keys share a word. */
static uint64_t written[WRITTEN] EMEM;
/* When all were. */
static uint64_t written_all EMEM;
static uint64_t flows[FLOWS] EMEM;

/* The search of a packet. */
typedef struct {
    uint64_t now;
    /* What it noted last; 0 if it was nothing. */
    uint32_t place;
    uint32_t keys;
} SEARCH_T;

static inline uint64_t *written_of(uint64_t hash) {
    return &written[hash >> 16 & (WRITTEN - 1)];
}

/* Notes a time, unless a later one is there. */
static inline void note(uint64_t *when, uint64_t now) {
    uint64_t known = __atomic_load_n(when, __ATOMIC_RELAXED);
    for (uint32_t tries = 0; tries < TRIES && known < now; tries++) {
        if (__atomic_compare_exchange_n(when, &known, now, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
            return;
        }
    }
}

/* When a key was last written: by itself, or with all. */
static inline uint64_t last_written(uint64_t hash) {
    uint64_t one = __atomic_load_n(written_of(hash), __ATOMIC_ACQUIRE);
    uint64_t all = __atomic_load_n(&written_all, __ATOMIC_ACQUIRE);
    return one > all ? one : all;
}

/* Notes a write of nobody knows what. */
static inline void note_every(SEARCH_T *search) {
    note(&written_all, search->now);
    search->place = EVERY_PLACE;
}

static inline void note_key(TEXT_T key, SEARCH_T *search) {
    if (key.bytes > KEY_BYTES) {
        return;
    }
    if (search->keys++ >= KEYS) {
        return note_every(search);
    }
    uint64_t *when = written_of(hash_bytes(key.at, key.bytes));
    note(when, search->now);
    search->place = (uint32_t)(when - written) + 1;
}

/* What a command writes. */
typedef enum { NOTHING, ONE_KEY, KEYS_BEHIND_TIME, META, META_GET, EVERYTHING } WRITES_T;

#define COMMAND_BYTES 9

static const struct {
    char name[COMMAND_BYTES];
    uint8_t bytes;
    uint8_t writes;
} commands[] = {
    {"set", 3, ONE_KEY},      {"add", 3, ONE_KEY},     {"cas", 3, ONE_KEY},        {"replace", 7, ONE_KEY},
    {"append", 6, ONE_KEY},   {"prepend", 7, ONE_KEY}, {"delete", 6, ONE_KEY},     {"incr", 4, ONE_KEY},
    {"decr", 4, ONE_KEY},     {"touch", 5, ONE_KEY},   {"gat", 3, KEYS_BEHIND_TIME}, {"gats", 4, KEYS_BEHIND_TIME},
    {"ms", 2, META},          {"md", 2, META},         {"ma", 2, META},            {"mg", 2, META_GET},
    {"flush_all", 9, EVERYTHING},
};

/* Can one of them begin so? Behind blanks all can. */
static inline bool may_be_command(uint8_t first) {
    const uint32_t letters = 1 << ('a' - 'a') | 1 << ('c' - 'a') | 1 << ('d' - 'a') | 1 << ('f' - 'a') | 1 << ('g' - 'a') |
                             1 << ('i' - 'a') | 1 << ('m' - 'a') | 1 << ('p' - 'a') | 1 << ('r' - 'a') | 1 << ('s' - 'a') |
                             1 << ('t' - 'a');
    return first == ' ' || (first >= 'a' && first <= 't' && (letters >> (first - 'a') & 1));
}

/* What the command of this name writes. At the end of what there is, the name may go on: then all that it can become counts. */
static inline WRITES_T writes_of(TEXT_T name, bool is_cut) {
    if (name.bytes == 0 || name.bytes > COMMAND_BYTES) {
        return NOTHING;
    }
    for (uint32_t at = 0; at < sizeof(commands) / sizeof(commands[0]); at++) {
        if ((name.bytes == commands[at].bytes || (is_cut && name.bytes < commands[at].bytes)) &&
            memcmp(name.at, commands[at].name, name.bytes) == 0) {
            return is_cut ? EVERYTHING : (WRITES_T)commands[at].writes;
        }
    }
    return NOTHING;
}

/* A flag of a meta command that makes it a write of something else than its key: the key is in base64. */
static inline bool is_base64(TEXT_T flag) {
    return flag.at[0] == 'b';
}

/* Notes what a line writes that may begin here. Of what is cut off, the worst counts. */
static inline void note_line(TEXT_T text, SEARCH_T *search) {
    TEXT_T line = text;
    uint32_t end = 0;
    bool has_nul = false;
    while (end < text.bytes && text.at[end] != '\n') {
        has_nul |= text.at[end] == 0;
        end++;
    }
    bool is_cut = end == text.bytes;
    line.bytes = !is_cut && end > 0 && text.at[end - 1] == '\r' ? end - 1 : end;
    TEXT_T name = next_word(&line);
    if (has_nul) {
        /* To memcached, a line ends there. */
        uint32_t bytes = 0;
        while (bytes < name.bytes && name.at[bytes] != 0) {
            bytes++;
        }
        name.bytes = bytes;
    }
    WRITES_T writes = writes_of(name, is_cut && line.bytes == 0);
    if (writes == NOTHING) {
        return;
    }
    if (has_nul) {
        return note_every(search);
    }
    if (writes == KEYS_BEHIND_TIME) {
        (void)next_word(&line);
    }
    TEXT_T key = next_word(&line);
    bool key_is_whole = !is_cut || line.bytes > 0;
    if (writes == EVERYTHING && !is_cut) {
        /* Nothing of it is still to come: what the flow wrote before may be. */
        return note(&written_all, search->now);
    }
    if (writes == EVERYTHING || !key_is_whole) {
        return note_every(search);
    }
    if (writes == ONE_KEY) {
        return note_key(key, search);
    }
    /* The rest of the line says more. */
    if (is_cut) {
        return note_every(search);
    }
    if (writes == KEYS_BEHIND_TIME) {
        for (; key.bytes > 0 && search->keys <= KEYS; key = next_word(&line)) {
            note_key(key, search);
        }
        return;
    }
    bool is_write = writes == META;
    for (TEXT_T flag = next_word(&line); flag.bytes > 0; flag = next_word(&line)) {
        if (is_base64(flag)) {
            return note_every(search);
        }
        /* A get that changes the time to live, makes the item, or its CAS. */
        is_write |= flag.at[0] == 'T' || flag.at[0] == 'N' || flag.at[0] == 'E';
    }
    if (is_write) {
        note_key(key, search);
    }
}

/* Opcodes that write, a bit each: those of memcached, and of ranges, which it does not have. */
static inline bool opcode_writes(uint8_t opcode) {
    const uint64_t writing = 0x7e | 1 << 0x08 | 1 << 0x0e | 1 << 0x0f | 0x3f << 0x11 | 1 << 0x18 | 1 << 0x19 | 1 << 0x1a |
                             1 << 0x1c | 1 << 0x1d | 1 << 0x1e | (uint64_t)1 << 0x23 | (uint64_t)1 << 0x24;
    return opcode < 64 && (writing >> opcode & 1);
}

/* Notes what a request of the binary protocol writes that may begin here. */
static inline void note_binary(TEXT_T text, SEARCH_T *search) {
    if (text.bytes >= 2 && (text.at[1] == OPCODE_FLUSH || text.at[1] == OPCODE_FLUSHQ)) {
        /* It has no key. What is longer than a header with its time is data. */
        if (text.bytes < 4 || (text.at[2] == 0 && text.at[3] == 0)) {
            if (text.bytes < BINARY_BYTES || text.bytes < BINARY_BYTES + (uint32_t)text.at[4]) {
                note_every(search);
            } else {
                note(&written_all, search->now);
            }
        }
        return;
    }
    if (text.bytes < 4) {
        return note_every(search);
    }
    uint32_t key_bytes = lnic_load_be16(text.at + 2);
    if (key_bytes == 0 || key_bytes > KEY_BYTES || (text.bytes > 4 && text.at[4] > 20)) {
        return;
    }
    uint32_t key_at = BINARY_BYTES + (text.bytes > 4 ? text.at[4] : 0);
    if (text.bytes < key_at + key_bytes) {
        return note_every(search);
    }
    note_key((TEXT_T){text.at + key_at, key_bytes}, search);
}

/* Looks at a place where a write may begin. Returns the looks that it cost. */
static inline uint32_t note_at(TEXT_T text, uint32_t at, SEARCH_T *search) {
    TEXT_T here = {text.at + at, text.bytes - at}, behind = {here.at + 1, here.bytes - 1};
    if (here.at[0] == BINARY_REQUEST) {
        if (behind.bytes > 0 && !opcode_writes(behind.at[0])) {
            return 0;
        }
        note_binary(here, search);
        return 1;
    }
    if (behind.bytes == 0 || !may_be_command(behind.at[0])) {
        return 0;
    }
    note_line(behind, search);
    return 1;
}

/* Notes every write that this part of a stream, or this datagram's text, can contain. Returns what it noted last. */
static uint32_t note_writes(TEXT_T text, uint64_t now) {
    SEARCH_T search = {now, 0, 0};
    if (text.bytes == 0) {
        return 0;
    }
    note_line(text, &search);
    const v128_t line = wasm_i8x16_splat('\n'), binary = wasm_i8x16_splat((int8_t)BINARY_REQUEST);
    uint32_t at = 0, looks = 0;
    for (; at + 16 <= text.bytes && looks < LOOKS && search.keys <= KEYS; at += 16) {
        v128_t bytes = wasm_v128_load(text.at + at);
        v128_t found = wasm_v128_or(wasm_i8x16_eq(bytes, line), wasm_i8x16_eq(bytes, binary));
        for (uint32_t places = wasm_i8x16_bitmask(found); places != 0; places &= places - 1) {
            looks += note_at(text, at + (uint32_t)__builtin_ctz(places), &search);
        }
    }
    for (; at < text.bytes && looks < LOOKS && search.keys <= KEYS; at++) {
        if (text.at[at] == '\n' || text.at[at] == BINARY_REQUEST) {
            looks += note_at(text, at, &search);
        }
    }
    if (looks >= LOOKS || search.keys > KEYS) {
        note_every(&search);
    }
    return search.place;
}

static inline uint64_t flow_of(const EXTRACTED_HEADERS_T *headers) {
    SIP_T sip = sip_begin();
    if (headers->ipv4.valid) {
        sip_add(&sip, (uint64_t)headers->ipv4.source << 32 | headers->ipv4.destination);
    } else {
        uint64_t words[4];
        memcpy(words, headers->ipv6.source, 16);
        memcpy(words + 2, headers->ipv6.destination, 16);
        for (uint32_t at = 0; at < 4; at++) {
            sip_add(&sip, words[at]);
        }
    }
    sip_add(&sip, (uint64_t)headers->tcp.source_port << 16 | headers->tcp.destination_port);
    return sip_end(&sip);
}

/* Notes what a segment writes, and first what its flow wrote last: this may bring the rest of the value. */
static void note_segment(const EXTRACTED_HEADERS_T *headers, TEXT_T text, uint64_t now) {
    if (text.bytes == 0) {
        return;
    }
    uint64_t flow = flow_of(headers), *word = &flows[flow % FLOWS], known = __atomic_load_n(word, __ATOMIC_RELAXED);
    uint32_t last = (known ^ flow) >> PLACE_BITS == 0 ? (uint32_t)known & PLACE_MASK : 0;
    if (last != 0) {
        note(last == EVERY_PLACE ? &written_all : &written[last - 1], now);
    }
    uint32_t place = note_writes(text, now);
    if (place != 0) {
        __atomic_store_n(word, (flow >> PLACE_BITS << PLACE_BITS) | place, __ATOMIC_RELAXED);
    }
}

#endif
