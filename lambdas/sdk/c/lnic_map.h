/*
 * A hash map of fixed capacity, for a lambda that one NPU runs at a time (lnic_shared_map.h is for all at once) or in a LOCAL
 * variable. LNIC_MAP defines a type and its functions; all zeros is an empty map, so a global needs no initialisation.
 *
 *     LNIC_MAP(flows, FLOW_KEY_T, FLOW_T, 1024)
 *     static flows_T table;
 *
 *     flow = flows_get(&table, &key);       FLOW_T *: its value, or NULL
 *     flow = flows_enter(&table, &key);     the same; a key that is new is entered with zeros; NULL if the map is full
 *     flows_put(&table, &key, &value);      false if the map is full
 *     flows_remove(&table, &key);           false if it was not there
 *     flows_count(&table), flows_clear(&table)
 *     for (uint32_t at = 0; flows_next(&table, &at, &key, &flow);) { … }
 *
 * Slots are a power of two from 8 to 2^24; three of four can be taken. Keys are compared byte by byte: a structure as a key must
 * have no padding, or be zeroed before it is filled. Open addressing: a look-up reads a hash or two and compares one key; in
 * a map that is full it is some 2.5 hashes, and 8.5 for a key that is not there. Removing moves entries that follow into the hole, so nothing
 * gets slower with time and no tombstones are left. The hash is seeded with lnic_random: strangers cannot choose keys that collide.
 *
 * Pointers to values are good until the map changes. What was entered while one goes through the map may or may not be seen. After a
 * remove while one goes through it, set `at` back by 1: another entry may have taken the place; some are then seen twice, none is missed.
 *
 * A run that is killed half-way (its budget, a trap) leaves the map usable: what it was doing is done, or is not; a value that was being
 * put may be zeros.
 */
#ifndef LNIC_MAP_H
#define LNIC_MAP_H

#include "lnic_hash.h"

/* What all maps begin with. */
typedef struct {
    LNIC_SEED_T seed;
    uint32_t count;
    uint32_t hole; /* slot that is being vacated, from 1; 0 if none */
} LNIC_MAP_T;

/* Where the parts of a map lie; all but the pointers are constants once inlined. */
typedef struct {
    LNIC_MAP_T *map;
    uint32_t *hashes;
    uint8_t *entries;
    uint32_t slots;
    uint32_t key_bytes;
    uint32_t entry_bytes;
} LNIC_MAP_PARTS_T;

#define LNIC_INLINE static inline __attribute__((always_inline, unused))

/* Hash of a key as slots have it; never 0, which is an empty slot. */
LNIC_INLINE uint32_t lnic_map_hash(LNIC_SEED_T seed, const void *key, uint32_t bytes) {
    return (uint32_t)lnic_hash(seed, key, bytes) | 0x80000000;
}

/* The slot that has this key; `slots` if none has. */
LNIC_INLINE uint32_t lnic_map_find(LNIC_MAP_PARTS_T parts, const void *key, uint32_t hash) {
    for (uint32_t probe = 0; probe < parts.slots; probe++) {
        uint32_t at = (hash + probe) & (parts.slots - 1);
        if (parts.hashes[at] == 0) {
            break;
        }
        if (parts.hashes[at] == hash && memcmp(parts.entries + at * parts.entry_bytes, key, parts.key_bytes) == 0) {
            return at;
        }
    }
    return parts.slots;
}

/*
 * Empties a slot, and moves into the hole what would not be found behind it. Where the hole is, is written down: if the run is killed
 * half-way, the next operation goes on.
 */
LNIC_INLINE void lnic_map_vacate(LNIC_MAP_PARTS_T parts, uint32_t hole) {
    const uint32_t mask = parts.slots - 1;
    parts.map->hole = hole + 1;
    lnic_settle();
    for (uint32_t step = 1, first = hole; step < parts.slots; step++) {
        uint32_t at = (first + step) & mask;
        if (parts.hashes[at] == 0) {
            break;
        }
        /* It may move back, but not before its own place. */
        if (((at - parts.hashes[at]) & mask) >= ((at - hole) & mask)) {
            memcpy(parts.entries + hole * parts.entry_bytes, parts.entries + at * parts.entry_bytes, parts.entry_bytes);
            parts.hashes[hole] = parts.hashes[at];
            lnic_settle();
            hole = at;
            parts.map->hole = hole + 1;
            lnic_settle();
        }
    }
    parts.hashes[hole] = 0;
    parts.map->hole = 0;
    parts.map->count--;
    lnic_settle();
}

/* What operations begin with. */
LNIC_INLINE void lnic_map_repair(LNIC_MAP_PARTS_T parts) {
    if (parts.map->hole != 0) {
        lnic_map_vacate(parts, parts.map->hole - 1);
    }
}

/* The slot of a key, which is entered if it is new; `slots` if it is new and the map full. */
LNIC_INLINE uint32_t lnic_map_enter(LNIC_MAP_PARTS_T parts, const void *key) {
    lnic_map_repair(parts);
    uint32_t hash = lnic_map_hash(lnic_seed(&parts.map->seed), key, parts.key_bytes);
    uint32_t probe = 0, at = hash & (parts.slots - 1);
    for (; probe < parts.slots && parts.hashes[at] != 0; probe++, at = (hash + probe) & (parts.slots - 1)) {
        if (parts.hashes[at] == hash && memcmp(parts.entries + at * parts.entry_bytes, key, parts.key_bytes) == 0) {
            return at;
        }
    }
    if (parts.map->count >= parts.slots - parts.slots / 4 || probe == parts.slots) {
        return parts.slots;
    }
    /* The entry first: a run that is killed in between leaves an empty slot. */
    memset(parts.entries + at * parts.entry_bytes, 0, parts.entry_bytes);
    memcpy(parts.entries + at * parts.entry_bytes, key, parts.key_bytes);
    lnic_settle();
    parts.hashes[at] = hash;
    parts.map->count++;
    lnic_settle();
    return at;
}

LNIC_INLINE bool lnic_map_remove(LNIC_MAP_PARTS_T parts, const void *key) {
    lnic_map_repair(parts);
    if (parts.map->count == 0) {
        return false;
    }
    uint32_t at = lnic_map_find(parts, key, lnic_map_hash(lnic_seed(&parts.map->seed), key, parts.key_bytes));
    if (at != parts.slots) {
        lnic_map_vacate(parts, at);
    }
    return at != parts.slots;
}

/* The first slot from `at` on that is taken; `slots` if there is none. */
LNIC_INLINE uint32_t lnic_map_taken(LNIC_MAP_PARTS_T parts, uint32_t at) {
    while (at < parts.slots && parts.hashes[at] == 0) {
        at++;
    }
    return at;
}

/* Defines the type NAME_T and its functions. */
#define LNIC_MAP(name, KEY, VALUE, SLOTS)                                                                             \
    _Static_assert((SLOTS) >= 8 && (SLOTS) <= 1 << 24 && ((SLOTS) & ((SLOTS)-1)) == 0,                                \
                   "slots are a power of two from 8 to 2^24");                                                        \
    typedef struct {                                                                                                  \
        LNIC_MAP_T map;                                                                                               \
        uint32_t hashes[SLOTS];                                                                                       \
        struct {                                                                                                      \
            KEY key;                                                                                                  \
            VALUE value;                                                                                              \
        } entries[SLOTS];                                                                                             \
    } name##_T;                                                                                                       \
    LNIC_INLINE LNIC_MAP_PARTS_T name##_parts(name##_T *map) {                                                        \
        return (LNIC_MAP_PARTS_T){                                                                                    \
            &map->map, map->hashes, (uint8_t *)map->entries, (SLOTS), sizeof(KEY), sizeof(map->entries[0])};          \
    }                                                                                                                 \
    __attribute__((unused)) static VALUE *name##_get(name##_T *map, const KEY *key) {                                 \
        lnic_map_repair(name##_parts(map));                                                                           \
        if (map->map.count == 0) {                                                                                    \
            return NULL;                                                                                              \
        }                                                                                                             \
        uint32_t at = lnic_map_find(name##_parts(map), key, lnic_map_hash(lnic_seed(&map->map.seed), key, sizeof(KEY))); \
        return at < (SLOTS) ? &map->entries[at].value : NULL;                                                         \
    }                                                                                                                 \
    __attribute__((unused)) static VALUE *name##_enter(name##_T *map, const KEY *key) {                               \
        uint32_t at = lnic_map_enter(name##_parts(map), key);                                                         \
        return at < (SLOTS) ? &map->entries[at].value : NULL;                                                         \
    }                                                                                                                 \
    __attribute__((unused)) static bool name##_put(name##_T *map, const KEY *key, const VALUE *value) {               \
        VALUE *own = name##_enter(map, key);                                                                          \
        if (own != NULL) {                                                                                            \
            memcpy(own, value, sizeof(VALUE));                                                                        \
        }                                                                                                             \
        return own != NULL;                                                                                           \
    }                                                                                                                 \
    __attribute__((unused)) static bool name##_remove(name##_T *map, const KEY *key) {                                \
        return lnic_map_remove(name##_parts(map), key);                                                               \
    }                                                                                                                 \
    __attribute__((unused)) static uint32_t name##_count(const name##_T *map) {                                       \
        return map->map.count;                                                                                        \
    }                                                                                                                 \
    __attribute__((unused)) static void name##_clear(name##_T *map) {                                                 \
        memset(map->hashes, 0, sizeof(map->hashes));                                                                  \
        map->map.hole = 0;                                                                                            \
        map->map.count = 0;                                                                                           \
    }                                                                                                                 \
    __attribute__((unused)) static bool name##_next(name##_T *map, uint32_t *at, KEY *key, VALUE **value) {           \
        lnic_map_repair(name##_parts(map));                                                                           \
        uint32_t taken = lnic_map_taken(name##_parts(map), *at);                                                      \
        if (taken >= (SLOTS)) {                                                                                       \
            return false;                                                                                             \
        }                                                                                                             \
        memcpy(key, &map->entries[taken].key, sizeof(KEY));                                                           \
        *value = &map->entries[taken].value;                                                                          \
        *at = taken + 1;                                                                                              \
        return true;                                                                                                  \
    }

#endif
