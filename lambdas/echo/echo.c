/* Answers with what was sent: the shortest lambda, and the base line of every measurement. */
#include <lnic.h>

LAMBDA(echo) {
    return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
}
