/* Turns as often as the payload says, and replies; without a payload, or for 0, it never ends. */
#include <lambda.h>

LAMBDA(spin) {
    uint32_t turns = match_data->length >= 4 ? lambda_load_be32(lambda_payload(match_data)) : 0;
    for (uint32_t turn = 0; turns == 0 || turn < turns; turn++) {
        __asm__ volatile("" ::: "memory");
    }
    return lambda_reply(headers, match_data, STATUS_OK, match_data->length);
}
