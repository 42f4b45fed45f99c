/*
 * The table: sets of eight ways, each way an entry of a fixed size, in EMEM, seen by all NPUs.
 *
 * Who writes a set holds its version, which is odd meanwhile; who reads takes a copy and looks whether the version is still the same.
 * Nobody waits long: after some tries a reader finds nothing out, and a writer writes nothing. A run can be stopped in the middle of
 * its work, for its budget is used up, and its set would be held for ever: so a version also says since when it is held, and what was
 * held for too long is anybody's. That may come too soon, for a run whose CPU was taken away. Then two write one entry at once; so
 * every entry bears a sum of all that is in it, which the reader forms over its copy. What was written by two, or by half, is nobody's.
 */
#ifndef KV_TABLE_H
#define KV_TABLE_H

#include "hash.h"
#include "memcached.h"

#define WAYS 8
#define SETS 4096
/* "VALUE ", key, two spaces, flags, bytes, "\r\n", value, "\r\nEND\r\n"; up to a whole vector. */
#define TEXT_BYTES 1344
/* Ticks are 2^20 ns, about a millisecond. */
#define TICK_SHIFT 20
/* A set that is held for so many ticks is held by nobody any more: long, for a CPU can be taken away. */
#define HELD_TICKS 1024
/* Times that a reader or writer looks again. */
#define TRIES 256

/* What is known of a value. */
typedef struct {
    uint64_t hash;    /* of its key */
    uint64_t since;   /* when it was asked for, or stored; ticks */
    uint64_t expires; /* ticks, 0 never */
    uint64_t cas;     /* 0 if it is not known */
    uint32_t flags;
    uint32_t epoch;
    uint16_t key_bytes;
    uint16_t head_bytes; /* of the text, before the value */
    uint16_t value_bytes;
    uint16_t reserved;
} FACTS_T;

_Static_assert(sizeof(FACTS_T) == 48, "six words, without a gap");

typedef struct {
    uint64_t sum;
    FACTS_T facts;
    uint64_t reserved;
    /* The value as `get` is answered. */
    uint8_t text[TEXT_BYTES];
} __attribute__((aligned(64))) ENTRY_T;

typedef struct {
    uint64_t version;
    /* Ways that were read since the hand passed them; the hand. */
    uint32_t referenced;
    uint32_t hand;
    /* Part of each way's hash; 0 if it is free. */
    uint32_t tags[WAYS];
} __attribute__((aligned(64))) SET_T;

static SET_T sets[SETS] EMEM;
static ENTRY_T entries[SETS][WAYS] EMEM;

typedef enum { FOUND, ABSENT, BUSY } FOUND_T;

static inline uint32_t set_of(uint64_t hash) {
    return (uint32_t)hash % SETS;
}

static inline uint32_t tag_of(uint64_t hash) {
    return (uint32_t)(hash >> 32) | 1;
}

static inline uint32_t text_bytes(const FACTS_T *facts) {
    return facts->head_bytes + facts->value_bytes + 7u;
}

/* Where the key begins in a text. */
#define KEY_AT 6

/* Sum over facts and text, by vectors: it finds out what does not belong together, not who made it so. */
static inline uint64_t sum_of(const FACTS_T *facts, const uint8_t *text) {
    v128_t sum = wasm_i64x2_splat(0x5be0cd19137e2179), order = wasm_i64x2_splat(0x1f83d9abfb41bd6b);
    const uint8_t *words = (const uint8_t *)facts;
    for (uint32_t at = 0; at < sizeof(FACTS_T); at += 16) {
        sum = wasm_i64x2_add(sum, wasm_v128_load(words + at));
        order = wasm_i64x2_add(wasm_v128_xor(order, wasm_i64x2_shl(order, 9)), sum);
    }
    uint32_t bytes = text_bytes(facts), at = 0;
    for (; at + 32 <= bytes; at += 32) {
        sum = wasm_i64x2_add(sum, wasm_v128_load(text + at));
        order = wasm_i64x2_add(order, sum);
        sum = wasm_i64x2_add(sum, wasm_v128_load(text + at + 16));
        order = wasm_i64x2_add(order, sum);
    }
    for (; at < bytes; at += 16) {
        sum = wasm_i64x2_add(sum, wasm_v128_load(text + at));
        order = wasm_i64x2_add(order, sum);
    }
    v128_t both = wasm_v128_xor(sum, order);
    uint64_t folded = (uint64_t)wasm_i64x2_extract_lane(both, 0) * 0x9e3779b97f4a7c15 ^
                      rotate_left((uint64_t)wasm_i64x2_extract_lane(both, 1), 29);
    /* A free entry is all zeros. */
    return folded | 1;
}

/* The ways whose tags are this hash's, a bit each. */
static inline uint32_t ways_of(const SET_T *set, uint64_t hash) {
    v128_t tag = wasm_i32x4_splat((int32_t)tag_of(hash));
    return wasm_i32x4_bitmask(wasm_i32x4_eq(wasm_v128_load(&set->tags[0]), tag)) |
           wasm_i32x4_bitmask(wasm_i32x4_eq(wasm_v128_load(&set->tags[4]), tag)) << 4;
}

/* Is the entry this key's? Its facts may be anything. */
static inline bool is_of(const ENTRY_T *entry, uint64_t hash, TEXT_T key) {
    return entry->facts.hash == hash && entry->facts.key_bytes == key.bytes &&
           memcmp(entry->text + KEY_AT, key.at, key.bytes) == 0;
}

/* Is this version one that nobody holds any more, though somebody did not give it back? */
static inline bool is_left(uint64_t version, uint64_t now) {
    return (version & 1) && now >= (version >> 24) + HELD_TICKS;
}

/* Takes a set for writing. Returns the version to give back, or 0: somebody else has it. */
static inline uint64_t set_take(SET_T *set, uint64_t now) {
    for (uint32_t tries = 0; tries < TRIES; tries++) {
        uint64_t version = __atomic_load_n(&set->version, __ATOMIC_RELAXED);
        if ((version & 1) && !is_left(version, now)) {
            continue;
        }
        /* Since when, and a count, which is odd: no two holders have the same. */
        uint64_t held = now << 24 | ((version + 1) & 0xffffff) | 1;
        if (__atomic_compare_exchange_n(&set->version, &version, held, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
            return held;
        }
    }
    return 0;
}

/* Gives a set back. False if it was somebody else's already: what was written may be his or ours, or nobody's. */
static inline bool set_give(SET_T *set, uint64_t held) {
    uint64_t free = (held & ~(uint64_t)0xffffff) | ((held + 1) & 0xfffffe);
    return __atomic_compare_exchange_n(&set->version, &held, free, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/*
 * Copies what is kept under a key: facts, and the text, by vectors, to where there is room for TEXT_BYTES. BUSY if it could not be
 * found out.
 */
static inline FOUND_T table_get(uint64_t hash, TEXT_T key, FACTS_T *facts, uint8_t *text, uint64_t now) {
    SET_T *set = &sets[set_of(hash)];
    for (uint32_t tries = 0; tries < TRIES; tries++) {
        uint64_t version = __atomic_load_n(&set->version, __ATOMIC_ACQUIRE);
        if (version & 1) {
            if (is_left(version, now)) {
                (void)set_give(set, set_take(set, now));
            }
            continue;
        }
        uint64_t sum = 0;
        uint32_t way = WAYS;
        for (uint32_t ways = ways_of(set, hash); ways != 0; ways &= ways - 1) {
            way = (uint32_t)__builtin_ctz(ways);
            const ENTRY_T *entry = &entries[set_of(hash)][way];
            if (is_of(entry, hash, key)) {
                sum = entry->sum;
                *facts = entry->facts;
                if (text_bytes(facts) > TEXT_BYTES) {
                    sum = 0;
                    break;
                }
                copy_vectors(text, entry->text, text_bytes(facts));
                break;
            }
        }
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&set->version, __ATOMIC_RELAXED) != version) {
            continue;
        }
        if (sum == 0 || sum != sum_of(facts, text)) {
            return ABSENT;
        }
        if (!(__atomic_load_n(&set->referenced, __ATOMIC_RELAXED) >> way & 1)) {
            __atomic_fetch_or(&set->referenced, 1u << way, __ATOMIC_RELAXED);
        }
        return FOUND;
    }
    return BUSY;
}

/* The way of a key, or WAYS. There should be one; others of the key are freed. For who holds the set. */
static inline uint32_t way_of(uint32_t at, uint64_t hash, TEXT_T key) {
    uint32_t found = WAYS;
    for (uint32_t ways = ways_of(&sets[at], hash); ways != 0; ways &= ways - 1) {
        uint32_t way = (uint32_t)__builtin_ctz(ways);
        if (!is_of(&entries[at][way], hash, key)) {
            continue;
        }
        if (found == WAYS) {
            found = way;
        } else {
            sets[at].tags[way] = 0;
        }
    }
    return found;
}

/* A way for a new entry: a free one, or that of the first who was not read since the hand came by (CLOCK). */
static inline uint32_t way_to_fill(SET_T *set) {
    v128_t free = wasm_i32x4_splat(0);
    uint32_t ways = wasm_i32x4_bitmask(wasm_i32x4_eq(wasm_v128_load(&set->tags[0]), free)) |
                    wasm_i32x4_bitmask(wasm_i32x4_eq(wasm_v128_load(&set->tags[4]), free)) << 4;
    if (ways != 0) {
        return (uint32_t)__builtin_ctz(ways);
    }
    uint32_t hand = set->hand % WAYS;
    for (uint32_t turns = 0; turns < WAYS; turns++, hand = (hand + 1) % WAYS) {
        uint32_t bit = 1u << hand;
        if (!(__atomic_fetch_and(&set->referenced, ~bit, __ATOMIC_RELAXED) & bit)) {
            break;
        }
    }
    set->hand = (hand + 1) % WAYS;
    return hand;
}

/* Writes an entry. `facts` lacks lengths and hash. For who holds the set. */
static inline void entry_write(uint32_t at, uint32_t way, uint64_t hash, TEXT_T key, TEXT_T value, FACTS_T facts) {
    ENTRY_T *entry = &entries[at][way];
    uint8_t *text = entry->text;
    memcpy(text, "VALUE ", KEY_AT);
    uint32_t bytes = KEY_AT;
    for (uint32_t byte = 0; byte < key.bytes; byte++) {
        text[bytes++] = key.at[byte];
    }
    text[bytes++] = ' ';
    bytes += put_decimal(text + bytes, facts.flags);
    text[bytes++] = ' ';
    bytes += put_decimal(text + bytes, value.bytes);
    memcpy(text + bytes, "\r\n", 2);
    bytes += 2;
    facts.hash = hash;
    facts.key_bytes = (uint16_t)key.bytes;
    facts.head_bytes = (uint16_t)bytes;
    facts.value_bytes = (uint16_t)value.bytes;
    copy_vectors(text + bytes, value.at, value.bytes);
    bytes += value.bytes;
    memcpy(text + bytes, "\r\nEND\r\n", 7);
    bytes += 7;
    /* The sum is over whole vectors. */
    for (; bytes % 16 != 0; bytes++) {
        text[bytes] = 0;
    }
    entry->facts = facts;
    entry->sum = sum_of(&facts, text);
    sets[at].tags[way] = tag_of(hash);
    __atomic_fetch_and(&sets[at].referenced, ~(1u << way), __ATOMIC_RELAXED);
}

#endif
