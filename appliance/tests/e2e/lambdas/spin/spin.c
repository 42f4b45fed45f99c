/* Turns as often as the payload says, and replies; without a payload, or for 0, it never ends. */
#include <lnic.h>

LAMBDA(spin) {
    uint32_t turns = match_data->length >= 4 ? lnic_load_be32(lnic_payload(match_data)) : 0;
    for (uint32_t turn = 0; turns == 0 || turn < turns; turn++) {
        __asm__ volatile("" ::: "memory");
    }
    return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
}
