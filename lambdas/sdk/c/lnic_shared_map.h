/*
 * A hash map of fixed capacity that all NPUs use at once, without locks; how, is in lnic_shared.h. LNIC_SHARED_MAP defines a type and its
 * functions; all zeros is an empty map. All accesses are atomic: a lambda with such a map runs on any NPU, without
 * `concurrency = "shared"`.
 *
 *     LNIC_SHARED_MAP(sessions, uint64_t, SESSION_T, 4096)
 *     static sessions_T table;
 *
 *     sessions_get(&table, &key, &value);               copies the value; false if the key is not there
 *     sessions_put(&table, &key, &value);               enters it or replaces its value
 *     sessions_replace(&table, &key, &was, &value);     puts `value` if the key is there with the value `was`, byte for byte
 *     sessions_remove(&table, &key);                    false if it was not there
 *     for (uint32_t at = 0; sessions_next(&table, &at, &key, &value);) { … }
 *
 * Slots are a power of two from 16 to 2^22. A key can be in one of two groups of 8 slots; a random map takes some 90 of 100 entries
 * before a put finds both groups full. Removing leaves nothing behind, so nothing gets slower with time. Keys are compared byte by
 * byte: no padding, or zeroed. A slot takes 8 bytes, 8 more for each 4 of the key, and 16 for each 4 of the value.
 *
 * put, replace and remove are each done as a whole or not at all; they return false also if others were faster 32 times in a row.
 * Until a new value is whole, the one before it is what get finds; so it is if the run that puts it is killed half-way (its
 * budget, a trap). Of a new key, a run that is killed leaves a slot that nobody can read, and that the next put takes over which
 * needs it. While a key is entered for the first time by several at once, a get may miss it, and next may show it twice.
 * What is put while one goes through the map may or may not be seen.
 *
 * A look-up reads 16 words and those of the entry, a put as many and a compare-and-swap for each 4 bytes: small values are quick ones.
 *
 * To count, add with __atomic_fetch_add to an array beside the map, or with replace:
 *
 *     do { found = sessions_get(&table, &key, &was); … } while (found && !sessions_replace(&table, &key, &was, &value));
 */
#ifndef LNIC_SHARED_MAP_H
#define LNIC_SHARED_MAP_H

#include "lnic_hash.h"
#include "lnic_shared.h"

#define LNIC_SHARED_GROUP 8

/* A map's parts; all but the pointers are constants once inlined. */
typedef struct {
    LNIC_SEED_T *seed;
    uint64_t *controls;
    uint64_t *words;
    uint32_t slots;
    uint32_t key_bytes;
    uint32_t value_bytes;
} LNIC_SHARED_PARTS_T;

/*
 * What a control word holds: 0 is an empty slot; else 21 bits of the key's hash, and whether the slot is whole, which it is from the moment
 * at which it was first put. The control word's tag is the last writer's. Of a slot that is whole, there are two values: the one that
 * counts, and the one that writers write. How many of these came since the last that got ready is `pending`; who gets ready sets it
 * to 0 and exchanges the two. Too many of them, and the slot counts as one that was never whole.
 */
#define LNIC_SHARED_TAKEN 1
#define LNIC_SHARED_WHOLE 2
#define LNIC_SHARED_SECOND 4
#define LNIC_SHARED_PENDING 8
#define LNIC_SHARED_PENDING_MASK (255 * LNIC_SHARED_PENDING)
#define LNIC_SHARED_HASH_MASK 0xfffff800

/* Where a key can be, and its fingerprint with LNIC_SHARED_TAKEN. */
typedef struct {
    uint32_t first;
    uint32_t second;
    uint32_t fingerprint;
} LNIC_SHARED_PLACE_T;

LNIC_SHARED_INLINE LNIC_SHARED_PLACE_T lnic_shared_place(LNIC_SHARED_PARTS_T parts, const void *key) {
    uint64_t hash = lnic_hash(lnic_shared_seed(parts.seed), key, parts.key_bytes);
    uint32_t mask = parts.slots / LNIC_SHARED_GROUP - 1;
    uint32_t first = (uint32_t)hash & mask, second = (uint32_t)(hash >> 20) & mask;
    /* Two groups, so that 16 slots are 16 slots. */
    second = second == first ? (first + 1) & mask : second;
    return (LNIC_SHARED_PLACE_T){first, second, ((uint32_t)(hash >> 32) & LNIC_SHARED_HASH_MASK) | LNIC_SHARED_TAKEN};
}

/* The slot that is looked at as number `index`, 0–15. */
LNIC_SHARED_INLINE uint32_t lnic_shared_slot(LNIC_SHARED_PLACE_T place, uint32_t index) {
    return (index < LNIC_SHARED_GROUP ? place.first : place.second) * LNIC_SHARED_GROUP + index % LNIC_SHARED_GROUP;
}

/* Where the key's words are, and behind them those of two values. */
LNIC_SHARED_INLINE uint64_t *lnic_shared_key_words(LNIC_SHARED_PARTS_T parts, uint32_t slot) {
    return parts.words + slot * ((parts.key_bytes + 3) / 4 + (parts.value_bytes + 3) / 4 * 2);
}

/* Where the value's words are: of the one that counts, or of the one that is written. */
LNIC_SHARED_INLINE uint64_t *lnic_shared_value_words(LNIC_SHARED_PARTS_T parts, uint32_t slot, uint64_t control,
                                                     bool counts) {
    bool second = ((control & LNIC_SHARED_SECOND) != 0) == counts;
    return lnic_shared_key_words(parts, slot) + (parts.key_bytes + 3) / 4 + (second ? (parts.value_bytes + 3) / 4 : 0);
}

/* The tag of the value that counts. */
LNIC_SHARED_INLINE uint32_t lnic_shared_ready(uint64_t control) {
    return lnic_shared_tag(control) - ((uint32_t)control & LNIC_SHARED_PENDING_MASK) / LNIC_SHARED_PENDING;
}

/* Reads the key of a slot that is whole; false if it is not there any more. It may have been written long before the value. */
LNIC_SHARED_INLINE bool lnic_shared_read_key(LNIC_SHARED_PARTS_T parts, uint32_t slot, uint64_t control, void *found) {
    const uint64_t *words = lnic_shared_key_words(parts, slot);
    uint32_t tag = lnic_shared_tag(lnic_shared_load(words));
    return !lnic_shared_newer(tag, lnic_shared_ready(control)) && lnic_shared_read(words, tag, found, parts.key_bytes);
}

/* The same of its value. */
LNIC_SHARED_INLINE bool lnic_shared_read_value(LNIC_SHARED_PARTS_T parts, uint32_t slot, uint64_t control, void *value) {
    return lnic_shared_read(lnic_shared_value_words(parts, slot, control, true), lnic_shared_ready(control), value,
                            parts.value_bytes);
}

/* What a slot is to a key. */
typedef enum {
    LNIC_SLOT_EMPTY,
    LNIC_SLOT_OTHER, /* of another key */
    LNIC_SLOT_TORN, /* being written, or its writer was killed */
    LNIC_SLOT_TORN_OWN, /* the same, and perhaps of this key */
    LNIC_SLOT_OWN
} LNIC_SLOT_T;

/* Is this the control word of a slot with this fingerprint? */
LNIC_SHARED_INLINE bool lnic_shared_matches(uint64_t control, uint32_t fingerprint) {
    return ((uint32_t)control & (LNIC_SHARED_HASH_MASK | LNIC_SHARED_TAKEN)) == fingerprint;
}

/* What the slot with this control word is to `key`; reads its key into `found` if it may be the same. The value is not looked at. */
LNIC_SHARED_INLINE LNIC_SLOT_T lnic_shared_judge(LNIC_SHARED_PARTS_T parts, uint32_t slot, uint64_t control,
                                                 uint32_t fingerprint, const void *key, void *found) {
    if ((uint32_t)control == 0) {
        return LNIC_SLOT_EMPTY;
    }
    if (!lnic_shared_matches(control, fingerprint)) {
        return control & LNIC_SHARED_WHOLE ? LNIC_SLOT_OTHER : LNIC_SLOT_TORN;
    }
    if (!(control & LNIC_SHARED_WHOLE) ||
        !lnic_shared_read_key(parts, slot, control, found)) {
        return LNIC_SLOT_TORN_OWN;
    }
    return memcmp(found, key, parts.key_bytes) == 0 ? LNIC_SLOT_OWN : LNIC_SLOT_OTHER;
}

/*
 * Finds the key, and reads its value. Its slot's index among the 16, and the control word; 16 if it is not there, and 17 if it may be
 * there but is being written.
 */
LNIC_SHARED_INLINE uint32_t lnic_shared_find(LNIC_SHARED_PARTS_T parts, LNIC_SHARED_PLACE_T place, const void *key,
                                             void *found, void *value, uint64_t *control) {
    uint32_t result = 2 * LNIC_SHARED_GROUP;
    for (uint32_t index = 0; index < 2 * LNIC_SHARED_GROUP; index++) {
        uint32_t slot = lnic_shared_slot(place, index);
        *control = lnic_shared_load(&parts.controls[slot]);
        if (!lnic_shared_matches(*control, place.fingerprint)) {
            continue;
        }
        LNIC_SLOT_T is = lnic_shared_judge(parts, slot, *control, place.fingerprint, key, found);
        if (is == LNIC_SLOT_OWN && lnic_shared_read_value(parts, slot, *control, value)) {
            return index;
        }
        if (is != LNIC_SLOT_OTHER) {
            result = 2 * LNIC_SHARED_GROUP + 1;
        }
    }
    return result;
}

LNIC_SHARED_INLINE bool lnic_shared_map_get(LNIC_SHARED_PARTS_T parts, const void *key, void *found, void *value) {
    LNIC_SHARED_PLACE_T place = lnic_shared_place(parts, key);
    for (uint32_t tries = 0; tries < LNIC_SHARED_TRIES; tries++) {
        uint64_t control;
        uint32_t index = lnic_shared_find(parts, place, key, found, value, &control);
        if (index <= 2 * LNIC_SHARED_GROUP) {
            return index < 2 * LNIC_SHARED_GROUP;
        }
    }
    return false;
}

/*
 * Claims a slot whose control word is `control`, and writes the record, of which the key is there already if the slot is its own.
 * False, and nothing happened, if somebody else was faster, then or meanwhile.
 */
LNIC_SHARED_INLINE bool lnic_shared_fill(LNIC_SHARED_PARTS_T parts, uint32_t slot, uint64_t control,
                                         LNIC_SHARED_PLACE_T place, bool is_own, const void *key, const void *value) {
    uint32_t tag = lnic_shared_tag(control) + 1;
    is_own &= ((uint32_t)control & LNIC_SHARED_PENDING_MASK) != LNIC_SHARED_PENDING_MASK;
    uint64_t claimed = lnic_shared_word(tag, is_own ? (uint32_t)control + LNIC_SHARED_PENDING : place.fingerprint);
    uint64_t ready = (claimed ^ LNIC_SHARED_SECOND) & ~(uint64_t)LNIC_SHARED_PENDING_MASK;
    return lnic_shared_swap(&parts.controls[slot], control, claimed) &&
           (is_own || lnic_shared_write(lnic_shared_key_words(parts, slot), tag, key, parts.key_bytes)) &&
           lnic_shared_write(lnic_shared_value_words(parts, slot, claimed, false), tag, value, parts.value_bytes) &&
           lnic_shared_swap(&parts.controls[slot], claimed, ready | LNIC_SHARED_WHOLE);
}

/* Empties a slot if its control word is still `control`. */
LNIC_SHARED_INLINE bool lnic_shared_vacate(LNIC_SHARED_PARTS_T parts, uint32_t slot, uint64_t control) {
    return lnic_shared_swap(&parts.controls[slot], control, lnic_shared_word(lnic_shared_tag(control) + 1, 0));
}

/*
 * Others may have entered the same key meanwhile: the one that is looked at first stays. False if the one at `own` had to go.
 */
LNIC_SHARED_INLINE bool lnic_shared_settle(LNIC_SHARED_PARTS_T parts, LNIC_SHARED_PLACE_T place, const void *key,
                                           void *found, uint32_t own) {
    for (uint32_t index = 0; index < 2 * LNIC_SHARED_GROUP; index++) {
        uint32_t slot = lnic_shared_slot(place, index);
        uint64_t control = lnic_shared_load(&parts.controls[slot]);
        if (index == own ||
            lnic_shared_judge(parts, slot, control, place.fingerprint, key, found) != LNIC_SLOT_OWN) {
            continue;
        }
        if (index > own) {
            lnic_shared_vacate(parts, slot, control);
            continue;
        }
        uint32_t own_slot = lnic_shared_slot(place, own);
        uint64_t own_control = lnic_shared_load(&parts.controls[own_slot]);
        if (lnic_shared_judge(parts, own_slot, own_control, place.fingerprint, key, found) == LNIC_SLOT_OWN) {
            lnic_shared_vacate(parts, own_slot, own_control);
        }
        return false;
    }
    return true;
}

/* Which slot a put takes, and what it is to the key. */
typedef struct {
    uint32_t index;
    uint64_t control;
    LNIC_SLOT_T is;
} LNIC_SHARED_CHOICE_T;

/*
 * The key's own slot; else one of its that is torn; else an empty one, of the group that has more; else another that is torn. LNIC_SLOT_OTHER if
 * there is none.
 */
LNIC_SHARED_INLINE LNIC_SHARED_CHOICE_T lnic_shared_choose(LNIC_SHARED_PARTS_T parts, LNIC_SHARED_PLACE_T place,
                                                           const void *key, void *found) {
    LNIC_SHARED_CHOICE_T torn = {0, 0, LNIC_SLOT_OTHER}, own_torn = torn, first = torn, second = torn;
    uint32_t empty_in_first = 0, empty_in_second = 0;
    for (uint32_t index = 0; index < 2 * LNIC_SHARED_GROUP; index++) {
        uint32_t slot = lnic_shared_slot(place, index);
        uint64_t control = lnic_shared_load(&parts.controls[slot]);
        LNIC_SLOT_T is = lnic_shared_judge(parts, slot, control, place.fingerprint, key, found);
        LNIC_SHARED_CHOICE_T choice = {index, control, is};
        switch (is) {
        case LNIC_SLOT_OWN:
            return choice;
        case LNIC_SLOT_EMPTY:
            if (index < LNIC_SHARED_GROUP) {
                first = choice;
                empty_in_first++;
            } else {
                second = choice;
                empty_in_second++;
            }
            break;
        case LNIC_SLOT_TORN_OWN:
            own_torn = choice;
            break;
        case LNIC_SLOT_TORN:
            torn = choice;
            break;
        default:
            break;
        }
    }
    if (own_torn.is != LNIC_SLOT_OTHER) {
        return own_torn;
    }
    LNIC_SHARED_CHOICE_T emptier = empty_in_second > empty_in_first ? second : first;
    return emptier.is == LNIC_SLOT_OTHER ? torn : emptier;
}

LNIC_SHARED_INLINE bool lnic_shared_map_put(LNIC_SHARED_PARTS_T parts, const void *key, void *found,
                                            const void *value) {
    LNIC_SHARED_PLACE_T place = lnic_shared_place(parts, key);
    for (uint32_t tries = 0; tries < LNIC_SHARED_TRIES; tries++) {
        LNIC_SHARED_CHOICE_T choice = lnic_shared_choose(parts, place, key, found);
        if (choice.is == LNIC_SLOT_OTHER) {
            return false;
        }
        uint32_t slot = lnic_shared_slot(place, choice.index);
        bool is_own = choice.is == LNIC_SLOT_OWN;
        if (lnic_shared_fill(parts, slot, choice.control, place, is_own, key, value) &&
            (is_own || lnic_shared_settle(parts, place, key, found, choice.index))) {
            return true;
        }
    }
    return false;
}

LNIC_SHARED_INLINE bool lnic_shared_map_replace(LNIC_SHARED_PARTS_T parts, const void *key, void *found,
                                                const void *was, void *found_value, const void *value) {
    LNIC_SHARED_PLACE_T place = lnic_shared_place(parts, key);
    for (uint32_t tries = 0; tries < LNIC_SHARED_TRIES; tries++) {
        uint64_t control;
        uint32_t index = lnic_shared_find(parts, place, key, found, found_value, &control);
        if (index == 2 * LNIC_SHARED_GROUP || (index < 2 * LNIC_SHARED_GROUP && memcmp(found_value, was, parts.value_bytes) != 0)) {
            return false;
        }
        if (index < 2 * LNIC_SHARED_GROUP &&
            lnic_shared_fill(parts, lnic_shared_slot(place, index), control, place, true, key, value)) {
            return true;
        }
    }
    return false;
}

LNIC_SHARED_INLINE bool lnic_shared_map_remove(LNIC_SHARED_PARTS_T parts, const void *key, void *found) {
    LNIC_SHARED_PLACE_T place = lnic_shared_place(parts, key);
    bool had = false;
    for (uint32_t tries = 0; tries < LNIC_SHARED_TRIES; tries++) {
        bool again = false;
        for (uint32_t index = 0; index < 2 * LNIC_SHARED_GROUP; index++) {
            uint32_t slot = lnic_shared_slot(place, index);
            uint64_t control = lnic_shared_load(&parts.controls[slot]);
            if (lnic_shared_judge(parts, slot, control, place.fingerprint, key, found) == LNIC_SLOT_OWN) {
                bool vacated = lnic_shared_vacate(parts, slot, control);
                had |= vacated;
                again |= !vacated;
            }
        }
        if (!again) {
            break;
        }
    }
    return had;
}

LNIC_SHARED_INLINE bool lnic_shared_map_next(LNIC_SHARED_PARTS_T parts, uint32_t *at, void *key, void *value) {
    while (*at < parts.slots) {
        uint32_t slot = (*at)++;
        uint64_t control = lnic_shared_load(&parts.controls[slot]);
        if (control & LNIC_SHARED_WHOLE && lnic_shared_read_key(parts, slot, control, key) &&
            lnic_shared_read_value(parts, slot, control, value)) {
            return true;
        }
    }
    return false;
}

/* Defines the type NAME_T and its functions. */
#define LNIC_SHARED_MAP(name, KEY, VALUE, SLOTS)                                                                  \
    _Static_assert((SLOTS) >= 16 && (SLOTS) <= 1 << 22 && ((SLOTS) & ((SLOTS)-1)) == 0,                           \
                   "slots are a power of two from 16 to 2^22");                                                   \
    typedef struct {                                                                                              \
        LNIC_SEED_T seed;                                                                                         \
        uint64_t controls[SLOTS];                                                                                 \
        uint64_t words[(SLOTS) * (LNIC_SHARED_WORDS(KEY) + 2 * LNIC_SHARED_WORDS(VALUE))];                        \
    } name##_T;                                                                                                   \
    LNIC_SHARED_INLINE LNIC_SHARED_PARTS_T name##_parts(name##_T *map) {                                          \
        return (LNIC_SHARED_PARTS_T){&map->seed, map->controls, map->words, (SLOTS), sizeof(KEY), sizeof(VALUE)}; \
    }                                                                                                             \
    __attribute__((unused)) static bool name##_get(name##_T *map, const KEY *key, VALUE *value) {                 \
        KEY found;                                                                                                \
        return lnic_shared_map_get(name##_parts(map), key, &found, value);                                        \
    }                                                                                                             \
    __attribute__((unused)) static bool name##_put(name##_T *map, const KEY *key, const VALUE *value) {           \
        KEY found;                                                                                                \
        return lnic_shared_map_put(name##_parts(map), key, &found, value);                                        \
    }                                                                                                             \
    __attribute__((unused)) static bool name##_replace(name##_T *map, const KEY *key, const VALUE *was,           \
                                                       const VALUE *value) {                                      \
        KEY found;                                                                                                \
        VALUE found_value;                                                                                        \
        return lnic_shared_map_replace(name##_parts(map), key, &found, was, &found_value, value);                 \
    }                                                                                                             \
    __attribute__((unused)) static bool name##_remove(name##_T *map, const KEY *key) {                            \
        KEY found;                                                                                                \
        return lnic_shared_map_remove(name##_parts(map), key, &found);                                            \
    }                                                                                                             \
    __attribute__((unused)) static bool name##_next(name##_T *map, uint32_t *at, KEY *key, VALUE *value) {        \
        return lnic_shared_map_next(name##_parts(map), at, key, value);                                           \
    }

#endif
