/* Counts its requests in a global, and replies with the number. */
#include <lnic.h>

static uint32_t count;

LAMBDA(counter) {
    count++;
    lnic_store_be32(lnic_payload(match_data), count);
    return lnic_reply(headers, match_data, STATUS_OK, 4);
}
