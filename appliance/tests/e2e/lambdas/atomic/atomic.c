/* Counts its requests by atomics, whichever instance they come to, and replies with the number. Asked with the number of a lambda, it
 * calls that first: several of its requests are then under way at once. */
#include <lnic.h>

#define PATIENCE_US 100000

static uint32_t hits;

LAMBDA(atomic) {
    uint8_t *payload = lnic_payload(match_data);
    if (match_data->length >= 4 && lnic_call(lnic_load_be32(payload), payload, 4, payload, 4, PATIENCE_US) < 0) {
        return lnic_reply(headers, match_data, STATUS_INTERNAL, 0);
    }
    lnic_store_be32(payload, __atomic_add_fetch(&hits, 1, __ATOMIC_RELAXED));
    return lnic_reply(headers, match_data, STATUS_OK, 4);
}
