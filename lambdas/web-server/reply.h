/* What is answered: text that is put together where the reply lies. */
#ifndef WEB_SERVER_REPLY_H
#define WEB_SERVER_REPLY_H

#include "request.h"

/* What has been written is match_data->length; more than the capacity if it did not fit. */
static inline bool fits(const MATCH_DATA_T *match_data) {
    return match_data->length <= match_data->capacity;
}

/* From here on the request is gone. */
static inline void begin(MATCH_DATA_T *match_data) {
    match_data->length = 0;
}

static inline void put(MATCH_DATA_T *match_data, const void *from, uint32_t bytes) {
    if (!fits(match_data)) {
        return;
    }
    if (bytes <= match_data->capacity - match_data->length) {
        memcpy(lnic_payload(match_data) + match_data->length, from, bytes);
        match_data->length += bytes;
    } else {
        match_data->length = match_data->capacity + 1;
    }
}

#define PUT(match_data, literal) put(match_data, "" literal, sizeof(literal) - 1)

static inline void put_number(MATCH_DATA_T *match_data, uint64_t number) {
    uint8_t digits[20];
    uint32_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(match_data, digits + at, (uint32_t)sizeof(digits) - at);
}

/* Text of a stranger's: what means something in HTML is written so that it does not. */
static inline void put_escaped(MATCH_DATA_T *match_data, const uint8_t *text, uint32_t bytes) {
    for (uint32_t at = 0; at < bytes; at++) {
        switch (text[at]) {
        case '&':
            PUT(match_data, "&amp;");
            break;
        case '<':
            PUT(match_data, "&lt;");
            break;
        case '>':
            PUT(match_data, "&gt;");
            break;
        case '"':
            PUT(match_data, "&quot;");
            break;
        case '\'':
            PUT(match_data, "&#39;");
            break;
        default:
            put(match_data, text + at, 1);
        }
    }
}

/* Seconds with three places. */
static inline void put_seconds(MATCH_DATA_T *match_data, uint64_t time_ns) {
    uint32_t thousandths = (uint32_t)(time_ns / 1000000 % 1000);
    uint8_t places[4] = {'.', (uint8_t)('0' + thousandths / 100), (uint8_t)('0' + thousandths / 10 % 10),
                         (uint8_t)('0' + thousandths % 10)};
    put_number(match_data, time_ns / 1000000000);
    put(match_data, places, sizeof(places));
}

#endif
