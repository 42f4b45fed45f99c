/* Maps, as their tests drive them: keys and values are made from numbers. */
#include "support/support.h"

#include <lnic_map.h>
#include <lnic_shared_map.h>

/* No multiple of 4, so that the last word is filled up. */
typedef struct {
    uint8_t bytes[7];
} KEY_T;

typedef struct {
    uint32_t number;
    uint32_t copies[3];
    uint8_t last;
} VALUE_T;

LNIC_MAP(own, KEY_T, VALUE_T, 64)
LNIC_SHARED_MAP(all, KEY_T, VALUE_T, 64)

static own_T own;
static all_T all;

static KEY_T key_of(uint32_t number) {
    KEY_T key = {{0}};
    memcpy(key.bytes, &number, 4);
    key.bytes[6] = (uint8_t)(number * 7);
    return key;
}

static int64_t number_of(const KEY_T *key) {
    uint32_t number;
    memcpy(&number, key->bytes, 4);
    KEY_T whole = key_of(number);
    return memcmp(&whole, key, sizeof(whole)) == 0 ? number : -2;
}

static VALUE_T value_of(uint32_t number) {
    VALUE_T value;
    memset(&value, 0, sizeof(value));
    value = (VALUE_T){number, {~number, number * 3, number}, (uint8_t)number};
    return value;
}

/* −2: parts of several values. */
static int64_t read_value(const VALUE_T *value) {
    uint32_t n = value->number;
    bool whole = (n == 0 && value->copies[0] == 0) ||
                 (value->copies[0] == ~n && value->copies[1] == n * 3 && value->copies[2] == n && value->last == (uint8_t)n);
    return whole ? n : -2;
}

int64_t EXPORT(own_map_get)(uint32_t number) {
    KEY_T key = key_of(number);
    VALUE_T *value = own_get(&own, &key);
    return value == NULL ? -1 : read_value(value);
}

int64_t EXPORT(own_map_enter)(uint32_t number) {
    KEY_T key = key_of(number);
    VALUE_T *value = own_enter(&own, &key);
    return value == NULL ? -1 : read_value(value);
}

int32_t EXPORT(own_map_put)(uint32_t number, uint32_t value) {
    KEY_T key = key_of(number);
    VALUE_T whole = value_of(value);
    return own_put(&own, &key, &whole);
}

int32_t EXPORT(own_map_remove)(uint32_t number) {
    KEY_T key = key_of(number);
    return own_remove(&own, &key);
}

uint32_t EXPORT(own_map_count)(void) {
    return own_count(&own);
}

void EXPORT(own_map_clear)(void) {
    own_clear(&own);
}

/* Pairs of key and value into the scratch memory; removes keys that are a multiple of `divisor` on the way. */
uint32_t EXPORT(own_map_list)(uint32_t divisor) {
    uint32_t pairs = 0;
    KEY_T key;
    VALUE_T *value;
    for (uint32_t at = 0; own_next(&own, &at, &key, &value);) {
        int64_t pair[2] = {number_of(&key), read_value(value)};
        memcpy(scratch + pairs++ * sizeof(pair), pair, sizeof(pair));
        if (divisor != 0 && pair[0] % divisor == 0) {
            own_remove(&own, &key);
            at--;
        }
    }
    return pairs;
}

int64_t EXPORT(all_map_get)(uint32_t number) {
    KEY_T key = key_of(number);
    VALUE_T value;
    return all_get(&all, &key, &value) ? read_value(&value) : -1;
}

int32_t EXPORT(all_map_put)(uint32_t number, uint32_t value) {
    KEY_T key = key_of(number);
    VALUE_T whole = value_of(value);
    return all_put(&all, &key, &whole);
}

int32_t EXPORT(all_map_replace)(uint32_t number, uint32_t was, uint32_t value) {
    KEY_T key = key_of(number);
    VALUE_T old = value_of(was), whole = value_of(value);
    return all_replace(&all, &key, &old, &whole);
}

int32_t EXPORT(all_map_remove)(uint32_t number) {
    KEY_T key = key_of(number);
    return all_remove(&all, &key);
}

uint32_t EXPORT(all_map_list)(void) {
    uint32_t pairs = 0;
    KEY_T key;
    VALUE_T value;
    for (uint32_t at = 0; all_next(&all, &at, &key, &value);) {
        int64_t pair[2] = {number_of(&key), read_value(&value)};
        memcpy(scratch + pairs++ * sizeof(pair), pair, sizeof(pair));
    }
    return pairs;
}

uint64_t EXPORT(hash)(uint64_t first, uint64_t second, uint32_t bytes) {
    return lnic_hash((LNIC_SEED_T){{first, second}}, scratch, bytes);
}

/* The seeds that were chosen. */
void EXPORT(seeds)(void) {
    memcpy(scratch, &own.map.seed, 16);
    memcpy(scratch + 16, &all.seed, 16);
}

/* So that another seed comes next. */
void EXPORT(skip_random)(void) {
    lnic_random();
}
