/*
 * Fractions without floating point: Q16.16 in an int32_t, from −32768 to 32768 less 1/65536, and Q32.32 in an int64_t, of 9 decimal
 * digits behind the point. Results are the exact ones, cut off towards zero, and clamped to the largest or smallest number where
 * they are out of range: nothing overflows, wraps or traps. A quotient by 0 is the largest number with the dividend's sign, 0 / 0 is 0.
 *
 * Q16.16 costs a few instructions each, a quotient one 64-bit division, a root 24 steps. Q32.32: a product 4 multiplications, a quotient
 * one 64-bit division or two, or 32 steps if the divisor is 1 or more, a root 48 steps.
 */
#ifndef LNIC_FIXED_H
#define LNIC_FIXED_H

#include "lnic.h"

typedef int32_t LNIC_Q16_T;
typedef int64_t LNIC_Q32_T;

#define LNIC_Q16_ONE ((LNIC_Q16_T)1 << 16)
#define LNIC_Q32_ONE ((LNIC_Q32_T)1 << 32)

/* A constant from a decimal fraction, at compile time: LNIC_Q16(0.125). */
#define LNIC_Q16(number) ((LNIC_Q16_T)((number) * 65536.0))
#define LNIC_Q32(number) ((LNIC_Q32_T)((number) * 4294967296.0))

/* Clamps a number to a Q16.16's range. */
static inline LNIC_Q16_T lnic_q16_clamp(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (LNIC_Q16_T)value;
}

/* From a whole number, and to one: cut off towards zero, or rounded, halves away from zero. */
static inline LNIC_Q16_T lnic_q16_from(int32_t whole) {
    return lnic_q16_clamp((int64_t)whole * LNIC_Q16_ONE);
}

static inline int32_t lnic_q16_whole(LNIC_Q16_T value) {
    return value / LNIC_Q16_ONE;
}

static inline int32_t lnic_q16_round(LNIC_Q16_T value) {
    return (int32_t)(((int64_t)value + (value < 0 ? -LNIC_Q16_ONE / 2 : LNIC_Q16_ONE / 2)) / LNIC_Q16_ONE);
}

static inline LNIC_Q16_T lnic_q16_add(LNIC_Q16_T left, LNIC_Q16_T right) {
    return lnic_q16_clamp((int64_t)left + right);
}

static inline LNIC_Q16_T lnic_q16_subtract(LNIC_Q16_T left, LNIC_Q16_T right) {
    return lnic_q16_clamp((int64_t)left - right);
}

static inline LNIC_Q16_T lnic_q16_multiply(LNIC_Q16_T left, LNIC_Q16_T right) {
    return lnic_q16_clamp((int64_t)left * right / LNIC_Q16_ONE);
}

static inline LNIC_Q16_T lnic_q16_divide(LNIC_Q16_T dividend, LNIC_Q16_T divisor) {
    if (divisor == 0) {
        return dividend > 0 ? INT32_MAX : dividend < 0 ? INT32_MIN : 0;
    }
    return lnic_q16_clamp((int64_t)dividend * LNIC_Q16_ONE / divisor);
}

/* The largest number whose square is at most value × 2^(2 × steps), bit by bit: 32 + `steps` steps, or fewer for a small value. */
static inline uint64_t lnic_root(uint64_t value, uint32_t steps) {
    uint64_t root = 0, rest = 0;
    uint32_t left = steps;
    for (uint32_t pair = value == 0 ? 0 : (64 - (uint32_t)__builtin_clzll(value) + 1) / 2; pair > 0 || left > 0;) {
        uint64_t next = 0;
        if (pair > 0) {
            pair--;
            next = value >> 2 * pair & 3;
        } else {
            left--;
        }
        rest = rest << 2 | next;
        root <<= 1;
        if (rest >= 2 * root + 1) {
            rest -= 2 * root + 1;
            root++;
        }
    }
    return root;
}

/* The square root; 0 of a negative number. */
static inline LNIC_Q16_T lnic_q16_root(LNIC_Q16_T value) {
    return value <= 0 ? 0 : (LNIC_Q16_T)lnic_root((uint32_t)value, 8);
}

/*
 * A moving average, weighted exponentially: a new sample counts 1/2^shift, with a shift from 0 to 31. The change is rounded down, so
 * an average of samples that stay the same ends at most 2^shift − 1 units below them: use Q32.32 where shifts are large.
 */
static inline LNIC_Q16_T lnic_q16_average(LNIC_Q16_T average, LNIC_Q16_T sample, uint32_t shift) {
    return (LNIC_Q16_T)(average + (((int64_t)sample - average) >> (shift & 31)));
}

static inline LNIC_Q32_T lnic_q32_from(int32_t whole) {
    return (LNIC_Q32_T)whole * LNIC_Q32_ONE;
}

/* A ratio of whole numbers, such as hits / requests; LNIC_Q32's largest if `whole` is 0 or the ratio is out of range. */
static inline LNIC_Q32_T lnic_q32_ratio(uint32_t part, uint32_t whole) {
    uint64_t ratio = whole == 0 ? UINT64_MAX : ((uint64_t)part << 32) / whole;
    return ratio > INT64_MAX ? INT64_MAX : (LNIC_Q32_T)ratio;
}

static inline LNIC_Q16_T lnic_q16_from_q32(LNIC_Q32_T value) {
    return lnic_q16_clamp(value / 65536);
}

static inline LNIC_Q32_T lnic_q32_from_q16(LNIC_Q16_T value) {
    return (LNIC_Q32_T)value * 65536;
}

static inline int32_t lnic_q32_whole(LNIC_Q32_T value) {
    return (int32_t)(value / LNIC_Q32_ONE);
}

static inline LNIC_Q32_T lnic_q32_add(LNIC_Q32_T left, LNIC_Q32_T right) {
    LNIC_Q32_T sum;
    return __builtin_add_overflow(left, right, &sum) ? left < 0 ? INT64_MIN : INT64_MAX : sum;
}

static inline LNIC_Q32_T lnic_q32_subtract(LNIC_Q32_T left, LNIC_Q32_T right) {
    LNIC_Q32_T difference;
    return __builtin_sub_overflow(left, right, &difference) ? left < 0 ? INT64_MIN : INT64_MAX : difference;
}

/* The number without its sign: that of INT64_MIN fits too. */
static inline uint64_t lnic_q32_magnitude(LNIC_Q32_T value) {
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/* The number with this sign, clamped. */
static inline LNIC_Q32_T lnic_q32_signed(uint64_t magnitude, bool negative) {
    if (negative) {
        return magnitude > INT64_MAX ? INT64_MIN : -(LNIC_Q32_T)magnitude;
    }
    return magnitude > INT64_MAX ? INT64_MAX : (LNIC_Q32_T)magnitude;
}

static inline LNIC_Q32_T lnic_q32_multiply(LNIC_Q32_T left, LNIC_Q32_T right) {
    /* By halves: there is no product of 128 bits. */
    uint64_t a = lnic_q32_magnitude(left), b = lnic_q32_magnitude(right);
    uint64_t a_high = a >> 32, a_low = (uint32_t)a, b_high = b >> 32, b_low = (uint32_t)b;
    uint64_t high = a_high * b_high, crossed, sum, product;
    bool negative = (left < 0) != (right < 0);
    if (high > UINT32_MAX || __builtin_add_overflow(a_high * b_low, a_low * b_high, &crossed) ||
        __builtin_add_overflow(crossed, a_low * b_low >> 32, &sum) ||
        __builtin_add_overflow(high << 32, sum, &product)) {
        product = UINT64_MAX;
    }
    return lnic_q32_signed(product, negative);
}

static inline LNIC_Q32_T lnic_q32_divide(LNIC_Q32_T dividend, LNIC_Q32_T divisor) {
    if (divisor == 0) {
        return dividend > 0 ? INT64_MAX : dividend < 0 ? INT64_MIN : 0;
    }
    uint64_t a = lnic_q32_magnitude(dividend), b = lnic_q32_magnitude(divisor);
    uint64_t whole = a / b, rest = a % b, fraction = 0;
    bool negative = (dividend < 0) != (divisor < 0);
    if (whole > UINT32_MAX) {
        return lnic_q32_signed(UINT64_MAX, negative);
    }
    if (b <= UINT32_MAX) {
        fraction = (rest << 32) / b;
    } else {
        for (int bit = 0; bit < 32; bit++) {
            bool carry = rest >> 63;
            rest <<= 1;
            fraction <<= 1;
            if (carry || rest >= b) {
                rest -= b;
                fraction |= 1;
            }
        }
    }
    return lnic_q32_signed(whole << 32 | fraction, negative);
}

/* The square root; 0 of a negative number. */
static inline LNIC_Q32_T lnic_q32_root(LNIC_Q32_T value) {
    return value <= 0 ? 0 : (LNIC_Q32_T)lnic_root((uint64_t)value, 16);
}

/* A moving average, as lnic_q16_average, with a shift from 0 to 63. Both are to be at most 2^30 from zero. */
static inline LNIC_Q32_T lnic_q32_average(LNIC_Q32_T average, LNIC_Q32_T sample, uint32_t shift) {
    return average + (lnic_q32_subtract(sample, average) >> (shift & 63));
}

#endif
