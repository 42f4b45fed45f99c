/* Replies with a length that is too long: by so many bytes as the payload says, or by all that there are. */
#include <lnic.h>

LAMBDA(oversized) {
    uint32_t over = match_data->length >= 4 ? lnic_load_be32(lnic_payload(match_data)) : 0;
    int verdict = lnic_reply(headers, match_data, STATUS_OK, match_data->length);
    match_data->length = over == 0 ? UINT32_MAX : match_data->capacity + over;
    return verdict;
}
