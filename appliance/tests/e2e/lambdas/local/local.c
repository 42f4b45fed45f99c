/* Counts its requests, each NPU for itself, and replies with the number. */
#include <lambda.h>

static uint32_t hits LOCAL;

LAMBDA(local) {
    lambda_store_be32(lambda_payload(match_data), ++hits);
    return lambda_reply(headers, match_data, STATUS_OK, 4);
}
