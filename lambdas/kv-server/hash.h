/*
 * SipHash-1-3 (Aumasson, Bernstein) under a key that nobody outside knows: which keys of a table collide, and which words stand for
 * an exchange, cannot be found out by sending.
 */
#ifndef KV_HASH_H
#define KV_HASH_H

#include <lnic.h>

/* Drawn once for all NPUs, by whoever needs it first; 0 is none yet. */
static uint64_t hash_secret[2] EMEM;

typedef struct {
    uint64_t a, b, c, d;
} SIP_T;

static inline uint64_t rotate_left(uint64_t word, int bits) {
    return word << bits | word >> (64 - bits);
}

static inline void sip_round(SIP_T *sip) {
    sip->a += sip->b;
    sip->c += sip->d;
    sip->b = rotate_left(sip->b, 13) ^ sip->a;
    sip->d = rotate_left(sip->d, 16) ^ sip->c;
    sip->a = rotate_left(sip->a, 32);
    sip->c += sip->b;
    sip->a += sip->d;
    sip->b = rotate_left(sip->b, 17) ^ sip->c;
    sip->d = rotate_left(sip->d, 21) ^ sip->a;
    sip->c = rotate_left(sip->c, 32);
}

static inline void sip_add(SIP_T *sip, uint64_t word) {
    sip->d ^= word;
    sip_round(sip);
    sip->a ^= word;
}

static uint64_t hash_draw(uint64_t *secret) {
    uint64_t none = 0, drawn = lnic_random() | 1;
    /* Who comes second takes what the first has drawn. */
    return __atomic_compare_exchange_n(secret, &none, drawn, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? drawn : none;
}

static inline uint64_t hash_word(uint64_t *secret) {
    uint64_t word = __atomic_load_n(secret, __ATOMIC_RELAXED);
    return word != 0 ? word : hash_draw(secret);
}

static inline SIP_T sip_begin(void) {
    uint64_t k0 = hash_word(&hash_secret[0]), k1 = hash_word(&hash_secret[1]);
    return (SIP_T){k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                   k1 ^ 0x7465646279746573};
}

static inline uint64_t sip_end(SIP_T *sip) {
    sip->c ^= 0xff;
    sip_round(sip);
    sip_round(sip);
    sip_round(sip);
    return sip->a ^ sip->b ^ sip->c ^ sip->d;
}

/* Hash of some bytes; a word of them at a time. */
static inline uint64_t hash_bytes(const uint8_t *from, uint32_t bytes) {
    SIP_T sip = sip_begin();
    uint64_t last = (uint64_t)bytes << 56, word;
    for (; bytes >= 8; from += 8, bytes -= 8) {
        memcpy(&word, from, 8);
        sip_add(&sip, word);
    }
    for (uint32_t at = 0; at < bytes; at++) {
        last |= (uint64_t)from[at] << (8 * at);
    }
    sip_add(&sip, last);
    return sip_end(&sip);
}

#endif
