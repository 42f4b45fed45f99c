/*
 * SIMD helpers for lambdas in C: sixteen bytes at a time with WebAssembly's 128-bit vectors, which the engine makes the
 * machine's own. `lnic build` has this header beside lnic.h:
 *
 *     #include <lnic.h>
 *     #include <lnic_simd.h>
 *
 * Vectors are loaded and stored at any address. Metering counts a vector instruction as it counts another.
 */
#ifndef LNIC_SIMD_H
#define LNIC_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

/*
 * Luma of ITU-R 601, as Pillow's convert("L") has it: (19595 R + 38470 G + 7471 B + 32768) >> 16, alpha ignored.
 */
#define LNIC_LUMA_RED 19595
#define LNIC_LUMA_GREEN 38470
#define LNIC_LUMA_BLUE 7471
#define LNIC_LUMA_HALF 0x8000

/* Grey of one RGBA pixel. */
static inline uint8_t lnic_luma(const uint8_t *rgba) {
    return (uint8_t)((rgba[0] * LNIC_LUMA_RED + rgba[1] * LNIC_LUMA_GREEN + rgba[2] * LNIC_LUMA_BLUE +
                      LNIC_LUMA_HALF) >>
                     16);
}

/* Grey of four RGBA pixels, one in each 32-bit lane. */
static inline v128_t lnic_simd_luma_4(v128_t rgba) {
    /* Green's weight is too large for a signed 16-bit lane: twice the green, half the weight. */
    const v128_t red_blue_weights = wasm_i32x4_const_splat(LNIC_LUMA_BLUE << 16 | LNIC_LUMA_RED);
    const v128_t green_weight = wasm_i32x4_const_splat(LNIC_LUMA_GREEN / 2);
    v128_t red_blue = wasm_v128_and(rgba, wasm_i32x4_const_splat(0x00ff00ff));
    v128_t twice_green = wasm_v128_and(wasm_u32x4_shr(rgba, 7), wasm_i32x4_const_splat(0x1fe));
    v128_t sum = wasm_i32x4_add(wasm_i32x4_dot_i16x8(red_blue, red_blue_weights),
                                wasm_i32x4_dot_i16x8(twice_green, green_weight));
    return wasm_u32x4_shr(wasm_i32x4_add(sum, wasm_i32x4_const_splat(LNIC_LUMA_HALF)), 16);
}

/* Grey of the sixteen RGBA pixels, 64 bytes, at `rgba`. */
static inline v128_t lnic_simd_luma_16(const uint8_t *rgba) {
    v128_t first = lnic_simd_luma_4(wasm_v128_load(rgba));
    v128_t second = lnic_simd_luma_4(wasm_v128_load(rgba + 16));
    v128_t third = lnic_simd_luma_4(wasm_v128_load(rgba + 32));
    v128_t fourth = lnic_simd_luma_4(wasm_v128_load(rgba + 48));
    return wasm_u8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(first, second),
                                   wasm_i16x8_narrow_i32x4(third, fourth));
}

/*
 * RGBA pixels to grey ones, a byte each. `grey` may be `rgba`, or lie before it: each byte is read before it is overwritten.
 */
static inline void lnic_simd_rgba_to_grey(uint8_t *grey, const uint8_t *rgba, size_t pixels) {
    size_t at = 0;
    for (; pixels - at >= 16; at += 16) {
        wasm_v128_store(grey + at, lnic_simd_luma_16(rgba + 4 * at));
    }
    for (; at < pixels; at++) {
        grey[at] = lnic_luma(rgba + 4 * at);
    }
}

/*
 * Bytes. Each takes a step for 16 of them, and one for each that is left over; nothing behind the last byte is read.
 */

/* Where the first such byte is; `bytes` if there is none. */
static inline size_t lnic_simd_find(const void *from, size_t bytes, uint8_t byte) {
    const uint8_t *at = from;
    const v128_t wanted = wasm_u8x16_splat(byte);
    size_t done = 0;
    for (; bytes - done >= 16; done += 16) {
        uint32_t hits = wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(at + done), wanted));
        if (hits != 0) {
            return done + (size_t)__builtin_ctz(hits);
        }
    }
    while (done < bytes && at[done] != byte) {
        done++;
    }
    return done;
}

/* Where the first byte is that is one or the other, such as the end of a word or of a line; `bytes` if there is none. */
static inline size_t lnic_simd_find_either(const void *from, size_t bytes, uint8_t one, uint8_t other) {
    const uint8_t *at = from;
    const v128_t ones = wasm_u8x16_splat(one), others = wasm_u8x16_splat(other);
    size_t done = 0;
    for (; bytes - done >= 16; done += 16) {
        v128_t block = wasm_v128_load(at + done);
        uint32_t hits = wasm_i8x16_bitmask(wasm_v128_or(wasm_i8x16_eq(block, ones), wasm_i8x16_eq(block, others)));
        if (hits != 0) {
            return done + (size_t)__builtin_ctz(hits);
        }
    }
    while (done < bytes && at[done] != one && at[done] != other) {
        done++;
    }
    return done;
}

/* How many such bytes there are. */
static inline size_t lnic_simd_count(const void *from, size_t bytes, uint8_t byte) {
    const uint8_t *at = from;
    const v128_t wanted = wasm_u8x16_splat(byte);
    size_t count = 0, done = 0;
    for (; bytes - done >= 16; done += 16) {
        count += (size_t)__builtin_popcount(wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(at + done), wanted)));
    }
    for (; done < bytes; done++) {
        count += at[done] == byte;
    }
    return count;
}

/* Are they the same? Stops at the first sixteen that differ: not for comparing secrets. */
static inline bool lnic_simd_equal(const void *left, const void *right, size_t bytes) {
    const uint8_t *a = left, *b = right;
    size_t done = 0;
    for (; bytes - done >= 16; done += 16) {
        if (!wasm_i8x16_all_true(wasm_i8x16_eq(wasm_v128_load(a + done), wasm_v128_load(b + done)))) {
            return false;
        }
    }
    while (done < bytes && a[done] == b[done]) {
        done++;
    }
    return done == bytes;
}

/* Sum of all bytes. */
static inline uint64_t lnic_simd_sum(const void *from, size_t bytes) {
    const uint8_t *at = from;
    /* Two lanes of 64 bits, of which each step adds to both. */
    v128_t sums = wasm_i64x2_const_splat(0);
    size_t done = 0;
    for (; bytes - done >= 16; done += 16) {
        v128_t quads = wasm_u32x4_extadd_pairwise_u16x8(wasm_u16x8_extadd_pairwise_u8x16(wasm_v128_load(at + done)));
        sums = wasm_i64x2_add(sums, wasm_i64x2_add(wasm_u64x2_extend_low_u32x4(quads), wasm_u64x2_extend_high_u32x4(quads)));
    }
    uint64_t sum = (uint64_t)wasm_i64x2_extract_lane(sums, 0) + (uint64_t)wasm_i64x2_extract_lane(sums, 1);
    for (; done < bytes; done++) {
        sum += at[done];
    }
    return sum;
}

/*
 * Sum of big-endian words of 16 bits, of which the last is filled up with a zero: what the Internet checksum folds (RFC 1071).
 * lnic_simd_checksum is its complement, as it stands in headers.
 */
static inline uint64_t lnic_simd_sum_be16(const void *from, size_t bytes) {
    const uint8_t *at = from;
    v128_t sums = wasm_i64x2_const_splat(0);
    size_t done = 0;
    for (; bytes - done >= 16; done += 16) {
        v128_t block = wasm_v128_load(at + done);
        v128_t words = wasm_v128_or(wasm_i16x8_shl(block, 8), wasm_u16x8_shr(block, 8));
        v128_t pairs = wasm_u32x4_extadd_pairwise_u16x8(words);
        sums = wasm_i64x2_add(sums, wasm_i64x2_add(wasm_u64x2_extend_low_u32x4(pairs), wasm_u64x2_extend_high_u32x4(pairs)));
    }
    uint64_t sum = (uint64_t)wasm_i64x2_extract_lane(sums, 0) + (uint64_t)wasm_i64x2_extract_lane(sums, 1);
    for (; done < bytes; done++) {
        sum += (uint64_t)at[done] << (done % 2 == 0 ? 8 : 0);
    }
    return sum;
}

static inline uint16_t lnic_simd_checksum(const void *from, size_t bytes) {
    uint64_t sum = lnic_simd_sum_be16(from, bytes);
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

/* A–Z become a–z; other bytes stay. `to` may be `from`. */
static inline void lnic_simd_lower(void *to, const void *from, size_t bytes) {
    uint8_t *out = to;
    const uint8_t *in = from;
    size_t done = 0;
    for (; bytes - done >= 16; done += 16) {
        v128_t block = wasm_v128_load(in + done);
        v128_t is_upper = wasm_u8x16_lt(wasm_i8x16_sub(block, wasm_u8x16_const_splat('A')), wasm_u8x16_const_splat(26));
        wasm_v128_store(out + done, wasm_v128_or(block, wasm_v128_and(is_upper, wasm_u8x16_const_splat(0x20))));
    }
    for (; done < bytes; done++) {
        out[done] = (uint8_t)(in[done] - 'A') < 26 ? in[done] | 0x20 : in[done];
    }
}

/* Are they the same if A–Z are a–z? */
static inline bool lnic_simd_equal_text(const void *left, const void *right, size_t bytes) {
    const uint8_t *a = left, *b = right;
    uint8_t blocks[2][16];
    for (size_t done = 0, part; done < bytes; done += part) {
        part = bytes - done < 16 ? bytes - done : 16;
        lnic_simd_lower(blocks[0], a + done, part);
        lnic_simd_lower(blocks[1], b + done, part);
        if (!lnic_simd_equal(blocks[0], blocks[1], part)) {
            return false;
        }
    }
    return true;
}

#endif
