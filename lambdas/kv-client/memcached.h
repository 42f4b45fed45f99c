/*
 * memcached's text protocol, as far as this lambda speaks it (memcached's protocol.txt): requests as they are sent, and what a reply
 * means. The platform puts the frame header of memcached's UDP protocol before the one and takes it off the other.
 */
#ifndef MEMCACHED_H
#define MEMCACHED_H

#include <lnic.h>

#define KEY_CAPACITY 250
/* Digits of the largest number of 32 bits. */
#define DIGITS 10
/* "get KEY\r\n". */
#define GET_CAPACITY (4 + KEY_CAPACITY + 2)
/* "set KEY FLAGS SECONDS BYTES\r\n", with flags 0. */
#define SET_HEADER_CAPACITY (4 + KEY_CAPACITY + 3 + DIGITS + 1 + DIGITS + 2)
#define LINE_END "\r\n"
#define LINE_END_BYTES 2
/* What follows the value of a get. */
#define VALUE_END "\r\nEND\r\n"
#define VALUE_END_BYTES 7

/* Bytes that are somewhere. */
typedef struct {
    const uint8_t *at;
    uint32_t bytes;
} SPAN_T;

/* Do these bytes begin with a literal? */
#define STARTS_WITH(span, literal) \
    ((span).bytes >= sizeof(literal) - 1 && memcmp((span).at, literal, sizeof(literal) - 1) == 0)

/* Is this a key? A blank or the end of a line in one would end it, and what follows would be a command of the caller's. */
static inline bool is_key(SPAN_T key) {
    if (key.bytes == 0 || key.bytes > KEY_CAPACITY) {
        return false;
    }
    for (uint32_t at = 0; at < key.bytes; at++) {
        if (key.at[at] <= ' ' || key.at[at] == 0x7f) {
            return false;
        }
    }
    return true;
}

static inline uint8_t *put(uint8_t *to, const void *from, uint32_t bytes) {
    memcpy(to, from, bytes);
    return to + bytes;
}

#define PUT_TEXT(to, literal) put(to, "" literal, sizeof(literal) - 1)

static inline uint8_t *put_number(uint8_t *to, uint64_t number) {
    uint8_t digits[20];
    uint32_t first = sizeof(digits);
    do {
        digits[--first] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return put(to, digits + first, sizeof(digits) - first);
}

/* Writes a get of a key, up to GET_CAPACITY bytes; how many they are. */
static inline uint32_t put_get(uint8_t *to, SPAN_T key) {
    uint8_t *end = PUT_TEXT(to, "get ");
    end = put(end, key.at, key.bytes);
    return (uint32_t)(PUT_TEXT(end, LINE_END) - to);
}

/* Writes what stands before the value of a set, up to SET_HEADER_CAPACITY bytes; how many they are. */
static inline uint32_t put_set_header(uint8_t *to, SPAN_T key, uint32_t expiry_s, uint32_t value_bytes) {
    uint8_t *end = PUT_TEXT(to, "set ");
    end = put(end, key.at, key.bytes);
    end = PUT_TEXT(end, " 0 ");
    end = put_number(end, expiry_s);
    end = PUT_TEXT(end, " ");
    end = put_number(end, value_bytes);
    return (uint32_t)(PUT_TEXT(end, LINE_END) - to);
}

/* Takes a number of 32 bits off the front of a text; false if none is there. */
static inline bool take_number(SPAN_T *text, uint32_t *number) {
    uint64_t value = 0;
    uint32_t digits = 0;
    while (digits < text->bytes && digits <= DIGITS && text->at[digits] >= '0' && text->at[digits] <= '9') {
        value = value * 10 + (text->at[digits] - '0');
        digits++;
    }
    text->at += digits;
    text->bytes -= digits;
    *number = (uint32_t)value;
    return digits > 0 && value <= UINT32_MAX;
}

static inline bool take(SPAN_T *text, const void *wanted, uint32_t bytes) {
    if (text->bytes < bytes || memcmp(text->at, wanted, bytes) != 0) {
        return false;
    }
    text->at += bytes;
    text->bytes -= bytes;
    return true;
}

#define TAKE_TEXT(text, literal) take(text, "" literal, sizeof(literal) - 1)

/*
 * What a reply to a get of `key` says: OK, and where in the reply the value is; NOT_FOUND; DATA_LOSS for what is no reply to it.
 * "VALUE KEY FLAGS BYTES\r\n", the value, "\r\nEND\r\n".
 */
static inline uint8_t judge_get(SPAN_T reply, SPAN_T key, SPAN_T *value) {
    if (reply.bytes == 5 && STARTS_WITH(reply, "END" LINE_END)) {
        return STATUS_NOT_FOUND;
    }
    uint32_t flags, bytes;
    bool has_value = TAKE_TEXT(&reply, "VALUE ") && take(&reply, key.at, key.bytes) && TAKE_TEXT(&reply, " ") &&
                     take_number(&reply, &flags) && TAKE_TEXT(&reply, " ") && take_number(&reply, &bytes) &&
                     TAKE_TEXT(&reply, LINE_END);
    if (!has_value || reply.bytes < VALUE_END_BYTES || reply.bytes - VALUE_END_BYTES != bytes ||
        memcmp(reply.at + bytes, VALUE_END, VALUE_END_BYTES) != 0) {
        return STATUS_DATA_LOSS;
    }
    *value = (SPAN_T){reply.at, bytes};
    return STATUS_OK;
}

/* The status that an error of memcached's stands for; OK if the reply is none. */
static inline uint8_t judge_error(SPAN_T reply) {
    if (STARTS_WITH(reply, "SERVER_ERROR out of memory")) {
        return STATUS_RESOURCE_EXHAUSTED;
    }
    if (STARTS_WITH(reply, "SERVER_ERROR object too large") || STARTS_WITH(reply, "CLIENT_ERROR object too large")) {
        return STATUS_OUT_OF_RANGE;
    }
    if (STARTS_WITH(reply, "SERVER_ERROR")) {
        return STATUS_UNAVAILABLE;
    }
    if (STARTS_WITH(reply, "CLIENT_ERROR")) {
        return STATUS_INVALID_ARGUMENT;
    }
    return STARTS_WITH(reply, "ERROR") ? STATUS_UNIMPLEMENTED : STATUS_OK;
}

/* What a reply to a set says. */
static inline uint8_t judge_set(SPAN_T reply) {
    if (reply.bytes == 8 && STARTS_WITH(reply, "STORED" LINE_END)) {
        return STATUS_OK;
    }
    return STARTS_WITH(reply, "NOT_STORED" LINE_END) ? STATUS_ABORTED : STATUS_DATA_LOSS;
}

#endif
