/* Rings, as their tests drive them: items are made from numbers. */
#include "support/support.h"

#include <lnic_ring.h>
#include <lnic_shared_ring.h>

/* No multiple of 4. */
typedef struct {
    uint8_t bytes[13];
} ITEM_T;

LNIC_RING(own, ITEM_T, 16)
LNIC_SHARED_RING(all, ITEM_T, 16)

static own_T own;
static all_T all;

static ITEM_T item_of(uint32_t number) {
    ITEM_T item;
    for (uint32_t at = 0; at < sizeof(item.bytes); at++) {
        item.bytes[at] = (uint8_t)(number >> 8 * (at % 4)) + (uint8_t)(at / 4);
    }
    return item;
}

/* −2: parts of several items. */
static int64_t number_of(const ITEM_T *item) {
    uint32_t number = (uint32_t)(item->bytes[0] | item->bytes[1] << 8 | item->bytes[2] << 16) | (uint32_t)item->bytes[3] << 24;
    ITEM_T whole = item_of(number);
    return memcmp(&whole, item, sizeof(whole)) == 0 ? (int64_t)number : -2;
}

int32_t EXPORT(own_ring_push)(uint32_t number) {
    ITEM_T item = item_of(number);
    return own_push(&own, &item);
}

int32_t EXPORT(own_ring_force)(uint32_t number) {
    ITEM_T item = item_of(number);
    return own_force(&own, &item);
}

int64_t EXPORT(own_ring_pop)(void) {
    ITEM_T item;
    return own_pop(&own, &item) ? number_of(&item) : -1;
}

int64_t EXPORT(own_ring_peek)(uint32_t index) {
    const ITEM_T *item = own_peek(&own, index);
    return item == NULL ? -1 : number_of(item);
}

uint32_t EXPORT(own_ring_count)(void) {
    return own_count(&own);
}

void EXPORT(own_ring_clear)(void) {
    own_clear(&own);
}

/* As after so many pushes and pops. */
void EXPORT(own_ring_turn)(uint32_t positions) {
    own.first = own.end = positions;
}

int32_t EXPORT(all_ring_push)(uint32_t number) {
    ITEM_T item = item_of(number);
    return all_push(&all, &item);
}

int64_t EXPORT(all_ring_pop)(void) {
    ITEM_T item;
    return all_pop(&all, &item) ? number_of(&item) : -1;
}

uint32_t EXPORT(all_ring_count)(void) {
    return all_count(&all);
}

/* As after so many laps. */
void EXPORT(all_ring_turn)(uint32_t laps) {
    uint32_t position = laps * 16;
    all.positions[LNIC_SHARED_RING_HEAD] = all.positions[LNIC_SHARED_RING_TAIL] = position;
    for (uint32_t cell = 0; cell < 16; cell++) {
        all.controls[cell] = (uint64_t)position << 32;
        for (uint32_t word = 0; word < LNIC_SHARED_WORDS(ITEM_T); word++) {
            all.words[cell * LNIC_SHARED_WORDS(ITEM_T) + word] = (uint64_t)(position - 15) << 32;
        }
    }
}
