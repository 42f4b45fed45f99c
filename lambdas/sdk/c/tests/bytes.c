/* SIMD helpers, text and bytes, as their tests drive them. The second operand lies at OTHER. */
#include "support/support.h"

#include <lnic_simd.h>
#include <lnic_text.h>

#define OTHER 8192

uint32_t EXPORT(find)(uint32_t at, uint32_t bytes, uint32_t byte) {
    return lnic_simd_find(scratch + at, bytes, (uint8_t)byte);
}

uint32_t EXPORT(find_either)(uint32_t at, uint32_t bytes, uint32_t one, uint32_t other) {
    return lnic_simd_find_either(scratch + at, bytes, (uint8_t)one, (uint8_t)other);
}

uint32_t EXPORT(until)(uint32_t at, uint32_t bytes, uint32_t byte) {
    return lnic_until(scratch + at, bytes, (uint8_t)byte);
}

uint32_t EXPORT(count)(uint32_t at, uint32_t bytes, uint32_t byte) {
    return lnic_simd_count(scratch + at, bytes, (uint8_t)byte);
}

int32_t EXPORT(equal)(uint32_t at, uint32_t bytes) {
    return lnic_simd_equal(scratch + at, scratch + OTHER, bytes);
}

int32_t EXPORT(equal_text)(uint32_t at, uint32_t bytes) {
    return lnic_simd_equal_text(scratch + at, scratch + OTHER, bytes);
}

int32_t EXPORT(compare)(uint32_t at, uint32_t bytes) {
    return memcmp(scratch + at, scratch + OTHER, bytes);
}

uint64_t EXPORT(sum)(uint32_t at, uint32_t bytes) {
    return lnic_simd_sum(scratch + at, bytes);
}

uint32_t EXPORT(checksum)(uint32_t at, uint32_t bytes) {
    return lnic_simd_checksum(scratch + at, bytes);
}

void EXPORT(lower)(uint32_t to, uint32_t from, uint32_t bytes) {
    lnic_simd_lower(scratch + to, scratch + from, bytes);
}

uint32_t EXPORT(copy)(uint32_t to, uint32_t capacity, uint32_t from, uint32_t bytes) {
    return lnic_copy(scratch + to, capacity, scratch + from, bytes);
}

int64_t EXPORT(parse_decimal)(uint32_t bytes) {
    uint64_t value = 0;
    uint32_t taken = lnic_parse_decimal(scratch, bytes, &value);
    memcpy(scratch + OTHER, &value, 8);
    return taken;
}

int64_t EXPORT(parse_hex)(uint32_t bytes) {
    uint64_t value = 0;
    uint32_t taken = lnic_parse_hex(scratch, bytes, &value);
    memcpy(scratch + OTHER, &value, 8);
    return taken;
}

int32_t EXPORT(prefix)(uint32_t bytes, uint32_t prefix_bytes) {
    return lnic_has_prefix(scratch, bytes, scratch + OTHER, prefix_bytes);
}

/* Byte order: a number through each store and load, turned round twice. */
int32_t EXPORT(order)(uint64_t value) {
    uint8_t *at = scratch + 1;
    lnic_store_be64(at, value);
    bool same = lnic_load_be64(at) == value && at[0] == value >> 56 && lnic_be64(lnic_load_le64(at)) == value;
    lnic_store_be32(at, (uint32_t)value);
    same &= lnic_load_be32(at) == (uint32_t)value && at[3] == (uint8_t)value && lnic_be32(lnic_load_le32(at)) == (uint32_t)value;
    lnic_store_be16(at, (uint16_t)value);
    same &= lnic_load_be16(at) == (uint16_t)value && at[1] == (uint8_t)value && lnic_be16(lnic_load_le16(at)) == (uint16_t)value;
    lnic_store_le64(at, value);
    same &= lnic_load_le64(at) == value && at[0] == (uint8_t)value;
    lnic_store_le32(at, (uint32_t)value);
    same &= lnic_load_le32(at) == (uint32_t)value && at[0] == (uint8_t)value;
    lnic_store_le16(at, (uint16_t)value);
    return same && lnic_load_le16(at) == (uint16_t)value && at[0] == (uint8_t)value;
}

/* One of each, in a line of so many bytes; returns its length, and whether it is cut in the 32nd bit. */
uint32_t EXPORT(format)(uint32_t capacity, uint64_t number, uint32_t small, uint32_t digits) {
    LNIC_TEXT_T text = lnic_text(scratch, capacity);
    uint8_t mac[6];
    memcpy(mac, &number, 6);
    lnic_put_text(&text, "n=");
    lnic_put_decimal(&text, number);
    lnic_put_byte(&text, ' ');
    lnic_put_signed(&text, (int64_t)number);
    lnic_put_byte(&text, ' ');
    lnic_put_hex(&text, number, digits);
    lnic_put_byte(&text, ' ');
    lnic_put_ipv4(&text, small);
    lnic_put_byte(&text, ' ');
    lnic_put_mac(&text, mac);
    lnic_put_byte(&text, ' ');
    lnic_put_q16(&text, (int32_t)small);
    return text.length | (uint32_t)text.is_cut << 31;
}

void EXPORT(log)(uint64_t number) {
    LNIC_LINE(line, 32);
    lnic_put_text(&line, "line ");
    lnic_put_hex(&line, number, 4);
    lnic_log_line(&line);
    lnic_log_number("number ", (int64_t)number);
}
