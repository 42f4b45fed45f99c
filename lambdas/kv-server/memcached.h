/* memcached's protocols, as far as a table can answer them: protocol.txt, and the binary protocol's header. */
#ifndef KV_MEMCACHED_H
#define KV_MEMCACHED_H

#include <lnic.h>
#include <wasm_simd128.h>

/* The header before each datagram: request ID, sequence, datagrams in all, reserved; 16 bits each. */
#define FRAME_BYTES 8
/* The largest datagram that memcached sends, and so the largest of ours. */
#define DATAGRAM_BYTES 1400
#define KEY_BYTES 250
/* The largest value that is kept; its reply fits a datagram with any key. */
#define VALUE_BYTES 1024

#define BINARY_REQUEST 0x80
#define BINARY_REPLY 0x81
#define BINARY_BYTES 24

#define OPCODE_GET 0x00
#define OPCODE_SET 0x01
#define OPCODE_ADD 0x02
#define OPCODE_REPLACE 0x03
#define OPCODE_DELETE 0x04
#define OPCODE_FLUSH 0x08
#define OPCODE_GETQ 0x09
#define OPCODE_NOOP 0x0a
#define OPCODE_VERSION 0x0b
#define OPCODE_GETK 0x0c
#define OPCODE_GETKQ 0x0d
#define OPCODE_SETQ 0x11
#define OPCODE_ADDQ 0x12
#define OPCODE_REPLACEQ 0x13
#define OPCODE_DELETEQ 0x14
#define OPCODE_FLUSHQ 0x18

#define BINARY_OK 0x00
#define BINARY_NOT_FOUND 0x01
#define BINARY_EXISTS 0x02
#define BINARY_TOO_LARGE 0x03
#define BINARY_INVALID 0x04
#define BINARY_NOT_STORED 0x05
#define BINARY_UNKNOWN 0x81
#define BINARY_BUSY 0x85

/* Some bytes of a payload. */
typedef struct {
    const uint8_t *at;
    uint32_t bytes;
} TEXT_T;

/* How a reply has to look. */
typedef enum { ASCII_GET, ASCII_GETS, BINARY_GET } FORM_T;

/* A request for the value of one key. */
typedef struct {
    FORM_T form;
    TEXT_T key;
    /* Of the binary protocol; echoed. */
    uint8_t opcode;
    uint32_t opaque;
} GET_T;

/* Copies by vectors: up to 15 bytes more than asked for, which both sides must have room for. */
static inline void copy_vectors(uint8_t *to, const uint8_t *from, uint32_t bytes) {
    for (uint32_t at = 0; at < bytes; at += 16) {
        wasm_v128_store(to + at, wasm_v128_load(from + at));
    }
}

/* Is this how a text begins? */
#define BEGINS(text, literal) \
    ((text).bytes >= sizeof(literal) - 1 && memcmp((text).at, literal, sizeof(literal) - 1) == 0)
#define IS(text, literal) ((text).bytes == sizeof(literal) - 1 && BEGINS(text, literal))

/* Takes the next word off a line without its end; empty at the line's end. */
static inline TEXT_T next_word(TEXT_T *line) {
    while (line->bytes > 0 && *line->at == ' ') {
        line->at++;
        line->bytes--;
    }
    TEXT_T word = {line->at, 0};
    while (word.bytes < line->bytes && word.at[word.bytes] != ' ') {
        word.bytes++;
    }
    line->at += word.bytes;
    line->bytes -= word.bytes;
    return word;
}

/* Takes a line off a text, without "\n" or "\r\n". False if the text has no end of a line. */
static inline bool next_line(TEXT_T *text, TEXT_T *line) {
    for (uint32_t at = 0; at < text->bytes; at++) {
        if (text->at[at] == '\n') {
            *line = (TEXT_T){text->at, at > 0 && text->at[at - 1] == '\r' ? at - 1 : at};
            text->at += at + 1;
            text->bytes -= at + 1;
            return true;
        }
    }
    return false;
}

/* The number that a word is; false if it is none, or more than `most`. */
static inline bool decimal(TEXT_T word, uint64_t most, uint64_t *number) {
    uint64_t value = 0;
    if (word.bytes == 0 || word.bytes > 20) {
        return false;
    }
    for (uint32_t at = 0; at < word.bytes; at++) {
        uint32_t digit = word.at[at] - '0';
        if (digit > 9 || value > (most - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

/* Writes a number; returns the bytes that it has. */
static inline uint32_t put_decimal(uint8_t *to, uint64_t number) {
    uint8_t digits[20];
    uint32_t count = 0;
    do {
        digits[count++] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (uint32_t at = 0; at < count; at++) {
        to[at] = digits[count - 1 - at];
    }
    return count;
}

/* Does the frame header say that this datagram is the only one? memcached ignores all others. */
static inline bool is_alone(const uint8_t *payload, uint32_t bytes) {
    return bytes > FRAME_BYTES && lnic_load_be16(payload + 4) == 1;
}

/*
 * Is the datagram's text a request for one key, and nothing else? What asks for several, or says more behind it, is another's to
 * answer: memcached's or the store's.
 */
static inline bool parse_get(TEXT_T text, GET_T *get) {
    if (text.bytes >= BINARY_BYTES && text.at[0] == BINARY_REQUEST) {
        uint8_t opcode = text.at[1];
        uint32_t key_bytes = lnic_load_be16(text.at + 2);
        *get = (GET_T){BINARY_GET, {text.at + BINARY_BYTES, key_bytes}, opcode, 0};
        memcpy(&get->opaque, text.at + 12, 4);
        return (opcode == OPCODE_GET || opcode == OPCODE_GETK || opcode == OPCODE_GETQ || opcode == OPCODE_GETKQ) &&
               key_bytes > 0 && key_bytes <= KEY_BYTES && text.at[4] == 0 && text.at[5] == 0 &&
               lnic_load_be32(text.at + 8) == key_bytes && text.bytes == BINARY_BYTES + key_bytes;
    }
    *get = (GET_T){.form = ASCII_GET};
    uint32_t start = 4;
    if (BEGINS(text, "gets ")) {
        get->form = ASCII_GETS;
        start = 5;
    } else if (!BEGINS(text, "get ")) {
        return false;
    }
    /* "\r\n" at the end, or "\n". */
    uint32_t end = text.bytes;
    if (text.at[end - 1] != '\n') {
        return false;
    }
    end -= text.at[end - 2] == '\r' ? 2 : 1;
    if (end <= start || end - start > KEY_BYTES) {
        return false;
    }
    get->key = (TEXT_T){text.at + start, end - start};
    for (uint32_t at = start; at < end; at++) {
        if (text.at[at] == ' ' || text.at[at] == '\n' || text.at[at] == '\r') {
            return false;
        }
    }
    return true;
}

/* Writes the frame header of the only datagram of a reply: the request's ID is in place. */
static inline void put_frame(uint8_t *payload) {
    memcpy(payload + 2, "\0\0\0\1\0\0", 6);
}

/* Writes the header of a reply of the binary protocol. `opaque` is as it came. */
static inline void put_binary(uint8_t *to, uint8_t opcode, uint16_t status, uint32_t opaque, uint64_t cas,
                              uint32_t extras_bytes, uint32_t key_bytes, uint32_t value_bytes) {
    to[0] = BINARY_REPLY;
    to[1] = opcode;
    lnic_store_be16(to + 2, (uint16_t)key_bytes);
    to[4] = (uint8_t)extras_bytes;
    to[5] = 0;
    lnic_store_be16(to + 6, status);
    lnic_store_be32(to + 8, extras_bytes + key_bytes + value_bytes);
    memcpy(to + 12, &opaque, 4);
    lnic_store_be64(to + 16, cas);
}

#endif
