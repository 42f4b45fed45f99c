/*
 * SipHash-1-3: a hash of bytes under a key of 128 bits. Who does not know the key cannot choose bytes that collide, as hash
 * tables that hold what strangers send need it. About 20 instructions, and 14 more for each 8 bytes.
 */
#ifndef LNIC_HASH_H
#define LNIC_HASH_H

#include "lnic.h"

/* The key. Zeros: not yet chosen. */
typedef struct {
    uint64_t words[2];
} LNIC_SEED_T;

#define LNIC_ROTATE(value, bits) ((value) << (bits) | (value) >> (64 - (bits)))

#define LNIC_SIP_ROUND(v0, v1, v2, v3) \
    do {                               \
        v0 += v1;                      \
        v1 = LNIC_ROTATE(v1, 13) ^ v0; \
        v0 = LNIC_ROTATE(v0, 32);      \
        v2 += v3;                      \
        v3 = LNIC_ROTATE(v3, 16) ^ v2; \
        v0 += v3;                      \
        v3 = LNIC_ROTATE(v3, 21) ^ v0; \
        v2 += v1;                      \
        v1 = LNIC_ROTATE(v1, 17) ^ v2; \
        v2 = LNIC_ROTATE(v2, 32);      \
    } while (0)

/* Hash of so many bytes. */
static inline uint64_t lnic_hash(LNIC_SEED_T seed, const void *from, size_t bytes) {
    const uint8_t *at = from;
    uint64_t v0 = seed.words[0] ^ 0x736f6d6570736575, v1 = seed.words[1] ^ 0x646f72616e646f6d;
    uint64_t v2 = seed.words[0] ^ 0x6c7967656e657261, v3 = seed.words[1] ^ 0x7465646279746573;
    size_t left = bytes;
    for (; left >= 8; at += 8, left -= 8) {
        uint64_t word = lnic_load_le64(at);
        v3 ^= word;
        LNIC_SIP_ROUND(v0, v1, v2, v3);
        v0 ^= word;
    }
    uint64_t last = (uint64_t)bytes << 56;
    for (size_t byte = 0; byte < left; byte++) {
        last |= (uint64_t)at[byte] << 8 * byte;
    }
    v3 ^= last;
    LNIC_SIP_ROUND(v0, v1, v2, v3);
    v0 ^= last;
    v2 ^= 0xff;
    LNIC_SIP_ROUND(v0, v1, v2, v3);
    LNIC_SIP_ROUND(v0, v1, v2, v3);
    LNIC_SIP_ROUND(v0, v1, v2, v3);
    return v0 ^ v1 ^ v2 ^ v3;
}

/* The seed of an object that one NPU has at a time: chosen when it is first asked for. */
static inline LNIC_SEED_T lnic_seed(LNIC_SEED_T *seed) {
    if (seed->words[0] == 0) {
        seed->words[1] = lnic_random();
        seed->words[0] = lnic_random() | 1;
    }
    return *seed;
}

/* The same of an object that NPUs share: who is first chooses for all. */
static inline LNIC_SEED_T lnic_shared_seed(LNIC_SEED_T *seed) {
    LNIC_SEED_T chosen;
    for (int word = 0; word < 2; word++) {
        uint64_t found = __atomic_load_n(&seed->words[word], __ATOMIC_SEQ_CST);
        if (found == 0) {
            uint64_t random = lnic_random() | 1;
            if (__atomic_compare_exchange_n(&seed->words[word], &found, random, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_SEQ_CST)) {
                found = random;
            }
        }
        chosen.words[word] = found;
    }
    return chosen;
}

#endif
