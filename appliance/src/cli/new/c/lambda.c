/* Greets whom the message names. */
#include <lnic.h>

#define GREETING "hello, "
#define GREETING_BYTES (sizeof(GREETING) - 1)

LAMBDA(@ENTRY@) {
    uint32_t length = match_data->length;
    if (length == 0) {
        return lnic_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT, "who?");
    }
    uint32_t reply = length + GREETING_BYTES;
    if (reply <= match_data->capacity) {
        uint8_t *payload = lnic_payload(match_data);
        memmove(payload + GREETING_BYTES, payload, length);
        memcpy(payload, GREETING, GREETING_BYTES);
    }
    /* What does not fit leaves empty, with STATUS_RESOURCE_EXHAUSTED. */
    return lnic_reply(headers, match_data, STATUS_OK, reply);
}
