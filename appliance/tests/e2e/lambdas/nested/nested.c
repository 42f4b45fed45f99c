/* Calls itself, which calls itself, and so on. Replies with how deep that went, and what the last call returned. */
#include <lnic.h>

LAMBDA(nested) {
    uint8_t *payload = lnic_payload(match_data);
    uint8_t reply[8];
    uint32_t depth = 0;
    int32_t timeout_us = match_data->length >= 4 ? (int32_t)lnic_load_be32(payload) : 1;
    int32_t result = lnic_call(match_data->lambda_id, payload, match_data->length, reply, sizeof(reply), timeout_us);
    if (result == sizeof(reply)) {
        depth = lnic_load_be32(reply) + 1;
        result = (int32_t)lnic_load_be32(reply + 4);
    }
    lnic_store_be32(payload, depth);
    lnic_store_be32(payload + 4, (uint32_t)result);
    return lnic_reply(headers, match_data, STATUS_OK, 8);
}
