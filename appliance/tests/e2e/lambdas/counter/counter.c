/* Counts its requests in a global, and replies with the number. */
#include <lambda.h>

static uint32_t count;

LAMBDA(counter) {
    count++;
    lambda_store_be32(lambda_payload(match_data), count);
    return lambda_reply(headers, match_data, STATUS_OK, 4);
}
