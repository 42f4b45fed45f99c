/* Replies with a byte of a table that is too large for all tiers but the shared ones. */
#include <lnic.h>

#define TABLE_BYTES (600 << 10)

/* Volatile, or the compiler would know what is in it. */
static const volatile uint8_t table[TABLE_BYTES] = {[0] = 3, [7] = 5, [TABLE_BYTES - 1] = 9};

LAMBDA(constants) {
    uint8_t *payload = lnic_payload(match_data);
    if (match_data->length < 4) {
        return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
    }
    payload[0] = table[lnic_load_be32(payload) % TABLE_BYTES];
    return lnic_reply(headers, match_data, STATUS_OK, 1);
}
