/*
 * A queue of fixed capacity, for a lambda that one NPU runs at a time (lnic_shared_ring.h is for all at once) or in a LOCAL variable.
 * LNIC_RING defines a type and its functions; all zeros is an empty ring.
 *
 *     LNIC_RING(samples, SAMPLE_T, 64)
 *     static samples_T ring;
 *
 *     samples_push(&ring, &sample);     false if it is full
 *     samples_force(&ring, &sample);    makes room by dropping the oldest; true if that had to be
 *     samples_pop(&ring, &sample);      the oldest; false if it is empty
 *     samples_peek(&ring, index);       the oldest but `index`, or NULL
 *     samples_count(&ring), samples_clear(&ring)
 *
 * Capacity is a power of two up to 2^24. Each is a copy and a few instructions. A run that is killed in the middle (its budget, a
 * trap) has pushed or popped, or has not.
 */
#ifndef LNIC_RING_H
#define LNIC_RING_H

#include "lnic.h"

/* Defines the type NAME_T and its functions. Positions run on and wrap around with 32 bits. */
#define LNIC_RING(name, TYPE, CAPACITY)                                                                  \
    _Static_assert((CAPACITY) >= 1 && (CAPACITY) <= 1 << 24 && ((CAPACITY) & ((CAPACITY)-1)) == 0,       \
                   "the capacity is a power of two up to 2^24");                                         \
    typedef struct {                                                                                     \
        uint32_t first;                                                                                  \
        uint32_t end;                                                                                    \
        TYPE items[CAPACITY];                                                                            \
    } name##_T;                                                                                          \
    __attribute__((unused)) static uint32_t name##_count(const name##_T *ring) {                         \
        return ring->end - ring->first;                                                                  \
    }                                                                                                    \
    __attribute__((unused)) static bool name##_push(name##_T *ring, const TYPE *item) {                  \
        if (ring->end - ring->first == (CAPACITY)) {                                                     \
            return false;                                                                                \
        }                                                                                                \
        memcpy(&ring->items[ring->end & ((CAPACITY)-1)], item, sizeof(TYPE));                            \
        lnic_settle();                                                                                   \
        ring->end++;                                                                                     \
        return true;                                                                                     \
    }                                                                                                    \
    __attribute__((unused)) static bool name##_pop(name##_T *ring, TYPE *item) {                         \
        if (ring->end == ring->first) {                                                                  \
            return false;                                                                                \
        }                                                                                                \
        memcpy(item, &ring->items[ring->first & ((CAPACITY)-1)], sizeof(TYPE));                          \
        lnic_settle();                                                                                   \
        ring->first++;                                                                                   \
        return true;                                                                                     \
    }                                                                                                    \
    __attribute__((unused)) static bool name##_force(name##_T *ring, const TYPE *item) {                 \
        bool full = ring->end - ring->first == (CAPACITY);                                               \
        ring->first += full;                                                                             \
        name##_push(ring, item);                                                                         \
        return full;                                                                                     \
    }                                                                                                    \
    __attribute__((unused)) static TYPE *name##_peek(name##_T *ring, uint32_t index) {                   \
        return index < ring->end - ring->first ? &ring->items[(ring->first + index) & ((CAPACITY)-1)]    \
                                               : NULL;                                                   \
    }                                                                                                    \
    __attribute__((unused)) static void name##_clear(name##_T *ring) {                                   \
        ring->first = ring->end;                                                                         \
    }

#endif
