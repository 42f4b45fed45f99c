/*
 * SIMD helpers for lambdas in C: sixteen bytes at a time with WebAssembly's 128-bit vectors, which the engine makes the
 * machine's own. `lnic build` has this header beside lambda.h:
 *
 *     #include <lambda.h>
 *     #include <lambda_simd.h>
 *
 * Vectors are loaded and stored at any address. Metering counts a vector instruction as it counts another.
 */
#ifndef LNIC_LAMBDA_SIMD_H
#define LNIC_LAMBDA_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

/*
 * Luma of ITU-R 601, as Pillow's convert("L") has it: (19595 R + 38470 G + 7471 B + 32768) >> 16, alpha ignored.
 */
#define LAMBDA_LUMA_RED 19595
#define LAMBDA_LUMA_GREEN 38470
#define LAMBDA_LUMA_BLUE 7471
#define LAMBDA_LUMA_HALF 0x8000

/* Grey of one RGBA pixel. */
static inline uint8_t lambda_luma(const uint8_t *rgba) {
    return (uint8_t)((rgba[0] * LAMBDA_LUMA_RED + rgba[1] * LAMBDA_LUMA_GREEN + rgba[2] * LAMBDA_LUMA_BLUE +
                      LAMBDA_LUMA_HALF) >>
                     16);
}

/* Grey of four RGBA pixels, one in each 32-bit lane. */
static inline v128_t lambda_simd_luma_4(v128_t rgba) {
    /* Green's weight is too large for a signed 16-bit lane: twice the green, half the weight. */
    const v128_t red_blue_weights = wasm_i32x4_const_splat(LAMBDA_LUMA_BLUE << 16 | LAMBDA_LUMA_RED);
    const v128_t green_weight = wasm_i32x4_const_splat(LAMBDA_LUMA_GREEN / 2);
    v128_t red_blue = wasm_v128_and(rgba, wasm_i32x4_const_splat(0x00ff00ff));
    v128_t twice_green = wasm_v128_and(wasm_u32x4_shr(rgba, 7), wasm_i32x4_const_splat(0x1fe));
    v128_t sum = wasm_i32x4_add(wasm_i32x4_dot_i16x8(red_blue, red_blue_weights),
                                wasm_i32x4_dot_i16x8(twice_green, green_weight));
    return wasm_u32x4_shr(wasm_i32x4_add(sum, wasm_i32x4_const_splat(LAMBDA_LUMA_HALF)), 16);
}

/* Grey of the sixteen RGBA pixels, 64 bytes, at `rgba`. */
static inline v128_t lambda_simd_luma_16(const uint8_t *rgba) {
    v128_t first = lambda_simd_luma_4(wasm_v128_load(rgba));
    v128_t second = lambda_simd_luma_4(wasm_v128_load(rgba + 16));
    v128_t third = lambda_simd_luma_4(wasm_v128_load(rgba + 32));
    v128_t fourth = lambda_simd_luma_4(wasm_v128_load(rgba + 48));
    return wasm_u8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(first, second),
                                   wasm_i16x8_narrow_i32x4(third, fourth));
}

/*
 * RGBA pixels to grey ones, a byte each. `grey` may be `rgba`, or lie before it: each byte is read before it is overwritten.
 */
static inline void lambda_simd_rgba_to_grey(uint8_t *grey, const uint8_t *rgba, size_t pixels) {
    size_t at = 0;
    for (; pixels - at >= 16; at += 16) {
        wasm_v128_store(grey + at, lambda_simd_luma_16(rgba + 4 * at));
    }
    for (; at < pixels; at++) {
        grey[at] = lambda_luma(rgba + 4 * at);
    }
}

#endif
