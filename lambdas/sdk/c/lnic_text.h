/*
 * Text without a C library: lines made piece by piece, and numbers read. Nothing here is terminated by a zero: text is bytes and how many.
 *
 *     LNIC_LINE(line, 128);
 *     lnic_put_text(&line, "from ");
 *     lnic_put_ipv4(&line, headers->ipv4.source);
 *     lnic_put_text(&line, " bytes ");
 *     lnic_put_decimal(&line, match_data->length);
 *     lnic_log_line(&line);
 *
 * A piece that does not fit whole is left out, and so is all that follows: a line is cut between pieces. Putting costs a copy, of a number a division
 * for each two digits. Or with one number only: lnic_log_number("misses ", misses).
 */
#ifndef LNIC_TEXT_H
#define LNIC_TEXT_H

#include "lnic.h"

/* Text that is being made. */
typedef struct {
    uint8_t *bytes;
    uint32_t length;
    uint32_t capacity;
    bool is_cut; /* something did not fit */
} LNIC_TEXT_T;

/* Most digits of a number of 64 bits. */
#define LNIC_DECIMAL_BYTES 20

/* An empty line on the stack, with room for so many bytes. */
#define LNIC_LINE(name, room)       \
    uint8_t name##_bytes[room];     \
    LNIC_TEXT_T name = {name##_bytes, 0, room, false}

/* Text that is made in memory of the author's, such as the payload: lnic_text(lnic_payload(match_data), match_data->capacity). */
static inline LNIC_TEXT_T lnic_text(void *bytes, uint32_t capacity) {
    return (LNIC_TEXT_T){bytes, 0, capacity, false};
}

/* Room for so many bytes at the end; NULL if there is none. */
static inline uint8_t *lnic_put_room(LNIC_TEXT_T *text, uint32_t bytes) {
    if (text->is_cut || bytes > text->capacity - text->length) {
        text->is_cut = true;
        return NULL;
    }
    uint8_t *room = text->bytes + text->length;
    text->length += bytes;
    return room;
}

static inline void lnic_put(LNIC_TEXT_T *text, const void *from, uint32_t bytes) {
    uint8_t *room = lnic_put_room(text, bytes);
    if (room != NULL) {
        memcpy(room, from, bytes);
    }
}

/* A string literal, without its terminating zero. */
#define lnic_put_text(text, literal) lnic_put(text, "" literal, sizeof(literal) - 1)

static inline void lnic_put_byte(LNIC_TEXT_T *text, uint8_t byte) {
    lnic_put(text, &byte, 1);
}

/* Writes the digits so that they end before `end`; returns where they begin. At most LNIC_DECIMAL_BYTES. */
static inline uint8_t *lnic_decimal_before(uint8_t *end, uint64_t value) {
    do {
        *--end = '0' + value % 10;
        value /= 10;
    } while (value != 0);
    return end;
}

static inline void lnic_put_decimal(LNIC_TEXT_T *text, uint64_t value) {
    uint8_t digits[LNIC_DECIMAL_BYTES], *end = digits + sizeof(digits), *first = lnic_decimal_before(end, value);
    lnic_put(text, first, (uint32_t)(end - first));
}

static inline void lnic_put_signed(LNIC_TEXT_T *text, int64_t value) {
    uint8_t digits[LNIC_DECIMAL_BYTES + 1], *end = digits + sizeof(digits);
    uint8_t *first = lnic_decimal_before(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0) {
        *--first = '-';
    }
    lnic_put(text, first, (uint32_t)(end - first));
}

/* The last `digits` hexadecimal digits, 1–16, in lower case. */
static inline void lnic_put_hex(LNIC_TEXT_T *text, uint64_t value, uint32_t digits) {
    uint8_t *room = digits <= 16 ? lnic_put_room(text, digits) : NULL;
    for (uint32_t at = 0; room != NULL && at < digits; at++) {
        uint8_t digit = value >> 4 * (digits - 1 - at) & 15;
        room[at] = digit < 10 ? '0' + digit : 'a' + digit - 10;
    }
}

/* 10.0.0.1 */
static inline void lnic_put_ipv4(LNIC_TEXT_T *text, uint32_t address) {
    uint8_t digits[15], *end = digits + sizeof(digits), *first = end;
    for (uint32_t byte = 0; byte < 4; byte++) {
        if (byte > 0) {
            *--first = '.';
        }
        first = lnic_decimal_before(first, address >> 8 * byte & 0xff);
    }
    lnic_put(text, first, (uint32_t)(end - first));
}

/* 02:00:00:00:00:01 */
static inline void lnic_put_mac(LNIC_TEXT_T *text, const uint8_t *address) {
    LNIC_LINE(whole, 17);
    for (uint32_t byte = 0; byte < 6; byte++) {
        if (byte > 0) {
            lnic_put_byte(&whole, ':');
        }
        lnic_put_hex(&whole, address[byte], 2);
    }
    lnic_put(text, whole.bytes, whole.length);
}

/* A Q16.16 of lnic_fixed.h with three decimals, cut off: -1.500 */
static inline void lnic_put_q16(LNIC_TEXT_T *text, int32_t value) {
    uint32_t magnitude = value < 0 ? 0 - (uint32_t)value : (uint32_t)value;
    LNIC_LINE(whole, 10);
    if (value < 0) {
        lnic_put_byte(&whole, '-');
    }
    lnic_put_decimal(&whole, magnitude >> 16);
    /* One digit before the three, so that zeros behind the point are there. */
    uint8_t digits[4];
    lnic_decimal_before(digits + 4, 1000 + ((uint64_t)(magnitude & 0xffff) * 1000 >> 16));
    digits[0] = '.';
    lnic_put(&whole, digits, 4);
    lnic_put(text, whole.bytes, whole.length);
}

/* Writes the line to the appliance's log: see lnic_log. */
static inline void lnic_log_line(const LNIC_TEXT_T *text) {
    lnic_log(text->bytes, text->length);
}

/* A log line of some text and a number: of the text, at most 64 bytes. */
static inline void lnic_log_pair(const void *label, uint32_t bytes, int64_t value) {
    LNIC_LINE(line, 64 + LNIC_DECIMAL_BYTES + 1);
    lnic_put(&line, label, bytes < 64 ? bytes : 64);
    lnic_put_signed(&line, value);
    lnic_log_line(&line);
}

#define lnic_log_number(literal, value) lnic_log_pair("" literal, sizeof(literal) - 1, value)

/*
 * Numbers at the beginning of text. Return how many bytes they take; 0, and no number, if there is no digit or the number has more
 * than 64 bits. At most `bytes` are read.
 */

static inline uint32_t lnic_parse_decimal(const void *from, uint32_t bytes, uint64_t *value) {
    const uint8_t *text = from;
    uint64_t number = 0;
    uint32_t at = 0;
    for (; at < bytes && text[at] >= '0' && text[at] <= '9'; at++) {
        uint64_t digit = text[at] - '0';
        if (number > (UINT64_MAX - digit) / 10) {
            return 0;
        }
        number = number * 10 + digit;
    }
    if (at > 0) {
        *value = number;
    }
    return at;
}

/* A hexadecimal digit's value; 16 if it is none. */
static inline uint32_t lnic_hex_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : 16;
}

static inline uint32_t lnic_parse_hex(const void *from, uint32_t bytes, uint64_t *value) {
    const uint8_t *text = from;
    uint64_t number = 0;
    uint32_t at = 0;
    for (uint32_t digit; at < bytes && (digit = lnic_hex_digit(text[at])) < 16; at++) {
        if (number >> 60 != 0) {
            return 0;
        }
        number = number << 4 | digit;
    }
    if (at > 0) {
        *value = number;
    }
    return at;
}

/* Does text begin with these bytes? */
static inline bool lnic_has_prefix(const void *text, uint32_t bytes, const void *prefix, uint32_t prefix_bytes) {
    return bytes >= prefix_bytes && memcmp(text, prefix, prefix_bytes) == 0;
}

#define lnic_has_prefix_text(text, bytes, literal) lnic_has_prefix(text, bytes, "" literal, sizeof(literal) - 1)

/* How many bytes lie before the first `stop`; all if there is none. lnic_simd_find is quicker in long text. */
static inline uint32_t lnic_until(const void *from, uint32_t bytes, uint8_t stop) {
    const uint8_t *text = from;
    uint32_t at = 0;
    while (at < bytes && text[at] != stop) {
        at++;
    }
    return at;
}

#endif
