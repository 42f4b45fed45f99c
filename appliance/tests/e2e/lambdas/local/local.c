/* Counts its requests, each NPU for itself, and replies with the number. */
#include <lnic.h>

static uint32_t hits LOCAL;

LAMBDA(local) {
    lnic_store_be32(lnic_payload(match_data), ++hits);
    return lnic_reply(headers, match_data, STATUS_OK, 4);
}
