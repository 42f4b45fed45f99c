/* Fixed point, as its tests drive it. */
#include "support/support.h"

#include <lnic_fixed.h>

int32_t EXPORT(q16_add)(int32_t left, int32_t right) {
    return lnic_q16_add(left, right);
}

int64_t EXPORT(q32_add)(int64_t left, int64_t right) {
    return lnic_q32_add(left, right);
}

int32_t EXPORT(q16_subtract)(int32_t left, int32_t right) {
    return lnic_q16_subtract(left, right);
}

int64_t EXPORT(q32_subtract)(int64_t left, int64_t right) {
    return lnic_q32_subtract(left, right);
}

int32_t EXPORT(q16_multiply)(int32_t left, int32_t right) {
    return lnic_q16_multiply(left, right);
}

int64_t EXPORT(q32_multiply)(int64_t left, int64_t right) {
    return lnic_q32_multiply(left, right);
}

int32_t EXPORT(q16_divide)(int32_t left, int32_t right) {
    return lnic_q16_divide(left, right);
}

int64_t EXPORT(q32_divide)(int64_t left, int64_t right) {
    return lnic_q32_divide(left, right);
}

int32_t EXPORT(q16_root)(int32_t value) {
    return lnic_q16_root(value);
}

int32_t EXPORT(q16_from)(int32_t value) {
    return lnic_q16_from(value);
}

int32_t EXPORT(q16_whole)(int32_t value) {
    return lnic_q16_whole(value);
}

int32_t EXPORT(q16_round)(int32_t value) {
    return lnic_q16_round(value);
}

int32_t EXPORT(q16_from_q32)(int64_t value) {
    return lnic_q16_from_q32(value);
}

int64_t EXPORT(q32_from_q16)(int32_t value) {
    return lnic_q32_from_q16(value);
}

int64_t EXPORT(q32_from)(int32_t value) {
    return lnic_q32_from(value);
}

int32_t EXPORT(q32_whole)(int64_t value) {
    return lnic_q32_whole(value);
}

int64_t EXPORT(q32_root)(int64_t value) {
    return lnic_q32_root(value);
}

int64_t EXPORT(q32_ratio)(uint32_t part, uint32_t whole) {
    return lnic_q32_ratio(part, whole);
}

int32_t EXPORT(q16_average)(int32_t average, int32_t sample, uint32_t shift) {
    return lnic_q16_average(average, sample, shift);
}

int64_t EXPORT(q32_average)(int64_t average, int64_t sample, uint32_t shift) {
    return lnic_q32_average(average, sample, shift);
}

int32_t EXPORT(constants)(void) {
    return LNIC_Q16(-0.125) == -8192 && LNIC_Q32(1.5) == 3 * LNIC_Q32_ONE / 2 && LNIC_Q16_ONE == 65536;
}
