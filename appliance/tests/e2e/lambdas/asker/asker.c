/*
 * Asks a service: which one (0 "first", 1 "second"), time-out, and behind that the request. Replies with what the request returned,
 * and the service's reply.
 */
#include <lnic.h>

#define ARGUMENTS_BYTES 8
#define REPLY_BYTES 2048

static int32_t services[2];

LAMBDA_INIT {
    services[0] = lnic_service_text("first");
    services[1] = lnic_service_text("second");
}

LAMBDA(asker) {
    uint8_t *payload = lnic_payload(match_data);
    uint8_t reply[REPLY_BYTES];
    if (match_data->length < ARGUMENTS_BYTES) {
        return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
    }
    uint32_t which = lnic_load_be32(payload);
    int32_t timeout_us = (int32_t)lnic_load_be32(payload + 4);
    int32_t result = lnic_request(which < 2 ? services[which] : -1, payload + ARGUMENTS_BYTES,
                                  match_data->length - ARGUMENTS_BYTES, reply, sizeof(reply), timeout_us);
    uint32_t bytes = result > 0 ? (uint32_t)result : 0;
    lnic_store_be32(payload, (uint32_t)result);
    memcpy(payload + 4, reply, bytes);
    return lnic_reply(headers, match_data, STATUS_OK, 4 + bytes);
}
