/* Answers with what was sent: the shortest lambda, and the base line of every measurement. */
#include <lambda.h>

LAMBDA(echo) {
    return lambda_reply(headers, match_data, STATUS_OK, match_data->length);
}
