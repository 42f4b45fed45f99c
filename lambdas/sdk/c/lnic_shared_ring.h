/*
 * A queue of fixed capacity that all NPUs fill and empty at once, without locks; how, is in lnic_shared.h. LNIC_SHARED_RING defines a
 * type and its functions; all zeros is an empty ring. All accesses are atomic: a lambda with such a ring runs on any NPU, without
 * `concurrency = "shared"`.
 *
 *     LNIC_SHARED_RING(events, EVENT_T, 256)
 *     static events_T ring;
 *
 *     events_push(&ring, &event);    false if it is full
 *     events_pop(&ring, &event);     the oldest; false if it is empty
 *     events_count(&ring);           about how many there are
 *
 * Capacity is a power of two from 2 to 2^22; an item takes 8 bytes, and 8 more for each 4 of its own. Each item that a push returned true
 * for is popped once, items of one NPU in their order. A push or a pop costs a compare-and-swap or two, and a push one more for each 4
 * bytes. Both return false also if others were faster 32 times in a row.
 *
 * A pop that meets an item that is still being written looks again 64 times; then it takes the writer for dead and goes on without:
 * if it lives, its push begins anew. What a run was pushing or popping when it was killed (its budget, a trap) is lost; nobody waits for it.
 */
#ifndef LNIC_SHARED_RING_H
#define LNIC_SHARED_RING_H

#include "lnic_shared.h"

/* How often a pop looks at an item that is being written. */
#define LNIC_SHARED_LOOKS 64

/*
 * States of a cell. The tag of its control word is the position of the push that it is for, or of the item that it has, less the cell's
 * index: so that zeros are cells of the first lap.
 */
#define LNIC_CELL_EMPTY 0
#define LNIC_CELL_CLAIMED 1
#define LNIC_CELL_READY 2

/* A ring's parts; all but the pointers are constants once inlined. */
typedef struct {
    uint64_t *positions; /* of the next pop and of the next push, each on a cache line of its own */
    uint64_t *controls;
    uint64_t *words;
    uint32_t capacity;
    uint32_t bytes;
} LNIC_SHARED_RING_PARTS_T;

#define LNIC_SHARED_RING_HEAD 0
#define LNIC_SHARED_RING_TAIL 8

/* Moves a position on from `from`, unless somebody has already. */
LNIC_SHARED_INLINE bool lnic_shared_advance(uint64_t *position, uint32_t from) {
    return lnic_shared_swap(position, from, (uint32_t)(from + 1));
}

LNIC_SHARED_INLINE bool lnic_shared_ring_push(LNIC_SHARED_RING_PARTS_T parts, const void *item) {
    uint64_t *head = &parts.positions[LNIC_SHARED_RING_HEAD], *tail = &parts.positions[LNIC_SHARED_RING_TAIL];
    const uint32_t mask = parts.capacity - 1, words = (parts.bytes + 3) / 4;
    for (uint32_t tries = 0; tries < LNIC_SHARED_TRIES; tries++) {
        uint32_t position = (uint32_t)lnic_shared_load(tail), cell = position & mask, lap = position - cell;
        uint64_t control = lnic_shared_load(&parts.controls[cell]);
        if (control == lnic_shared_word(lap, LNIC_CELL_EMPTY)) {
            if (!lnic_shared_swap(&parts.controls[cell], control, lnic_shared_word(lap, LNIC_CELL_CLAIMED))) {
                continue;
            }
            lnic_shared_advance(tail, position);
            /* Tags of items begin with 1: 0 is in cells that nobody has written. A pop that took this push for dead has changed the control. */
            if (lnic_shared_write(parts.words + cell * words, lap + 1, item, parts.bytes) &&
                lnic_shared_swap(&parts.controls[cell], lnic_shared_word(lap, LNIC_CELL_CLAIMED),
                                 lnic_shared_word(lap, LNIC_CELL_READY))) {
                return true;
            }
        } else if (!lnic_shared_newer(lap, lnic_shared_tag(control))) {
            /* Somebody claimed it, or a pop has passed it over already, and the tail was not moved yet. */
            lnic_shared_advance(tail, position);
        } else if ((uint32_t)control == LNIC_CELL_READY &&
                   lnic_shared_newer((uint32_t)lnic_shared_load(head), lnic_shared_tag(control) + cell)) {
            /* The item of the lap before was popped: whoever did it was killed, or is about to say so. */
            lnic_shared_swap(&parts.controls[cell], control, lnic_shared_word(lap, LNIC_CELL_EMPTY));
        } else if ((uint32_t)lnic_shared_load(tail) == position) {
            return false;
        }
    }
    return false;
}

LNIC_SHARED_INLINE bool lnic_shared_ring_pop(LNIC_SHARED_RING_PARTS_T parts, void *item) {
    uint64_t *head = &parts.positions[LNIC_SHARED_RING_HEAD];
    const uint32_t mask = parts.capacity - 1, words = (parts.bytes + 3) / 4;
    for (uint32_t tries = 0, looks = 0; tries < LNIC_SHARED_TRIES;) {
        uint32_t position = (uint32_t)lnic_shared_load(head), cell = position & mask, lap = position - cell;
        uint64_t control = lnic_shared_load(&parts.controls[cell]);
        uint64_t next = lnic_shared_word(lap + parts.capacity, LNIC_CELL_EMPTY);
        if (control == lnic_shared_word(lap, LNIC_CELL_EMPTY)) {
            if ((uint32_t)lnic_shared_load(head) == position) {
                return false;
            }
            tries++;
        } else if (control == lnic_shared_word(lap, LNIC_CELL_READY)) {
            bool whole = lnic_shared_read(parts.words + cell * words, lap + 1, item, parts.bytes);
            if (lnic_shared_advance(head, position)) {
                lnic_shared_swap(&parts.controls[cell], control, next);
                if (whole) {
                    return true;
                }
            }
            tries++;
        } else if (control == lnic_shared_word(lap, LNIC_CELL_CLAIMED)) {
            if (looks++ < LNIC_SHARED_LOOKS) {
                continue;
            }
            looks = 0;
            tries++;
            if (lnic_shared_swap(&parts.controls[cell], control, next)) {
                lnic_shared_advance(head, position);
            }
        } else {
            /* This position was passed over, and the head not moved yet; or the head that was read is an old one. */
            if (lnic_shared_newer(lnic_shared_tag(control), lap)) {
                lnic_shared_advance(head, position);
            }
            tries++;
        }
    }
    return false;
}

LNIC_SHARED_INLINE uint32_t lnic_shared_ring_count(LNIC_SHARED_RING_PARTS_T parts) {
    uint32_t head = (uint32_t)lnic_shared_load(&parts.positions[LNIC_SHARED_RING_HEAD]);
    uint32_t count = (uint32_t)lnic_shared_load(&parts.positions[LNIC_SHARED_RING_TAIL]) - head;
    /* They were not read at once, and a pop may have passed over a push that has not moved the tail. */
    return (int32_t)count < 0 ? 0 : count > parts.capacity ? parts.capacity : count;
}

/* Defines the type NAME_T and its functions. */
#define LNIC_SHARED_RING(name, TYPE, CAPACITY)                                                                        \
    _Static_assert((CAPACITY) >= 2 && (CAPACITY) <= 1 << 22 && ((CAPACITY) & ((CAPACITY)-1)) == 0,                    \
                   "the capacity is a power of two from 2 to 2^22");                                                  \
    typedef struct {                                                                                                  \
        uint64_t positions[16];                                                                                       \
        uint64_t controls[CAPACITY];                                                                                  \
        uint64_t words[(CAPACITY)*LNIC_SHARED_WORDS(TYPE)];                                                           \
    } name##_T;                                                                                                       \
    LNIC_SHARED_INLINE LNIC_SHARED_RING_PARTS_T name##_parts(name##_T *ring) {                                        \
        return (LNIC_SHARED_RING_PARTS_T){ring->positions, ring->controls, ring->words, (CAPACITY), sizeof(TYPE)};    \
    }                                                                                                                 \
    __attribute__((unused)) static bool name##_push(name##_T *ring, const TYPE *item) {                               \
        return lnic_shared_ring_push(name##_parts(ring), item);                                                       \
    }                                                                                                                 \
    __attribute__((unused)) static bool name##_pop(name##_T *ring, TYPE *item) {                                      \
        return lnic_shared_ring_pop(name##_parts(ring), item);                                                        \
    }                                                                                                                 \
    __attribute__((unused)) static uint32_t name##_count(name##_T *ring) {                                            \
        return lnic_shared_ring_count(name##_parts(ring));                                                            \
    }

#endif
