/*
 * Answers with so many bytes as the request asks for: what is measured is how replies go out.
 *
 *     request: bytes 32, little-endian
 *     reply:   so many bytes, of whatever the message's slot held
 */
#include <lnic.h>

LAMBDA(source) {
    uint32_t bytes;
    if (match_data->length < sizeof(bytes)) {
        return lnic_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT, "send a length of 4 bytes\n");
    }
    memcpy(&bytes, lnic_payload(match_data), sizeof(bytes));
    if (bytes > match_data->capacity) {
        return lnic_reply_text(headers, match_data, STATUS_OUT_OF_RANGE, "longer than a slot\n");
    }
    return lnic_reply(headers, match_data, STATUS_OK, bytes);
}
