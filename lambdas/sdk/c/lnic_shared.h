/*
 * Records that all NPUs read and write at once, without locks: what lnic_shared_map.h and lnic_shared_ring.h are made of.
 *
 * A record has a control word and data words, each 64 bits: the lower half is what it holds, the upper half says which writer wrote
 * it, by a tag that only grows. Who wants to write claims the record by raising the control word's tag in one compare-and-swap,
 * then writes the data words, each only over an older tag. So
 *
 * - a reader that finds one tag everywhere has one writer's record as a whole, however long it took to read it;
 * - a writer that was killed in the middle leaves a record that nobody can read, and that the next writer takes over;
 * - a writer that slept and was overtaken meets newer tags, changes nothing any more, and learns that it was.
 *
 * Nobody waits for anybody. Tags wrap around with 32 bits: a writer that sleeps while its record is written 2^31 times is not noticed.
 * All accesses are atomic, so a lambda whose other variables are constant or LOCAL runs on all NPUs.
 */
#ifndef LNIC_SHARED_H
#define LNIC_SHARED_H

#include "lnic.h"

/* How often an operation begins anew because others were faster, before it gives up. */
#define LNIC_SHARED_TRIES 32

/* Before each access. The SDK's tests let other threads go first here. */
#ifndef LNIC_SHARED_POINT
#define LNIC_SHARED_POINT() ((void)0)
#endif

#define LNIC_SHARED_INLINE static inline __attribute__((always_inline, unused))

/* Data words of a type. */
#define LNIC_SHARED_WORDS(type) ((uint32_t)((sizeof(type) + 3) / 4))

LNIC_SHARED_INLINE uint64_t lnic_shared_load(const uint64_t *word) {
    LNIC_SHARED_POINT();
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* Puts `next` where `expected` is; false if something else is there. */
LNIC_SHARED_INLINE bool lnic_shared_swap(uint64_t *word, uint64_t expected, uint64_t next) {
    LNIC_SHARED_POINT();
    return __atomic_compare_exchange_n(word, &expected, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

LNIC_SHARED_INLINE uint32_t lnic_shared_tag(uint64_t word) {
    return (uint32_t)(word >> 32);
}

LNIC_SHARED_INLINE uint64_t lnic_shared_word(uint32_t tag, uint32_t value) {
    return (uint64_t)tag << 32 | value;
}

/* Is the first tag newer? */
LNIC_SHARED_INLINE bool lnic_shared_newer(uint32_t left, uint32_t right) {
    return (int32_t)(left - right) > 0;
}

/* Reads the data words that the writer `tag` has written; false if they are not all his. */
LNIC_SHARED_INLINE bool lnic_shared_read(const uint64_t *words, uint32_t tag, void *to, uint32_t bytes) {
    uint8_t *at = to;
    for (uint32_t left = bytes; left > 0; words++) {
        uint64_t word = lnic_shared_load(words);
        if (lnic_shared_tag(word) != tag) {
            return false;
        }
        uint32_t value = (uint32_t)word, part = left < 4 ? left : 4;
        __builtin_memcpy(at, &value, part);
        at += part;
        left -= part;
    }
    return true;
}

/* Writes data words as the writer `tag`; false if a newer one was there. */
LNIC_SHARED_INLINE bool lnic_shared_write(uint64_t *words, uint32_t tag, const void *from, uint32_t bytes) {
    const uint8_t *at = from;
    for (uint32_t left = bytes; left > 0; words++) {
        uint32_t value = 0, part = left < 4 ? left : 4;
        __builtin_memcpy(&value, at, part);
        at += part;
        left -= part;
        for (uint32_t tries = 0;; tries++) {
            uint64_t word = lnic_shared_load(words);
            if (lnic_shared_newer(lnic_shared_tag(word), tag) || tries == LNIC_SHARED_TRIES) {
                return false;
            }
            if (lnic_shared_swap(words, word, lnic_shared_word(tag, value))) {
                break;
            }
        }
    }
    return true;
}

#endif
