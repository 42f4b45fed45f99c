/*
 * Calls another lambda with whatever the payload says, sensible or not: lambda ID, request address, request bytes, reply
 * address, reply capacity, time-out, and how often, 0 for without end. Address 0 stands for memory that is there. Replies with
 * what the last call returned, and the reply that it got.
 */
#include <lnic.h>

#define REPLY_BYTES 64

LAMBDA(caller) {
    uint8_t *payload = lnic_payload(match_data);
    uint32_t arguments[7];
    uint8_t reply[REPLY_BYTES];
    if (match_data->length < sizeof(arguments)) {
        return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
    }
    for (int at = 0; at < 7; at++) {
        arguments[at] = lnic_load_be32(payload + 4 * at);
    }
    const void *from = arguments[1] == 0 ? payload : (const void *)(uintptr_t)arguments[1];
    void *to = arguments[3] == 0 ? reply : (void *)(uintptr_t)arguments[3];
    int32_t result = 0;
    for (uint32_t call = 0; arguments[6] == 0 || call < arguments[6]; call++) {
        result = lnic_call(arguments[0], from, arguments[2], to, arguments[4], (int32_t)arguments[5]);
    }
    uint32_t bytes = result > 0 && result <= REPLY_BYTES ? (uint32_t)result : 0;
    lnic_store_be32(payload, (uint32_t)result);
    memcpy(payload + 4, reply, bytes);
    return lnic_reply(headers, match_data, STATUS_OK, 4 + bytes);
}
