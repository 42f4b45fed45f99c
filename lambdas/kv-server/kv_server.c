/*
 * memcached's UDP protocol, answered out of a table in EMEM: as a cache in front of the memcached behind the host port, or as the store
 * itself. README.md says what it promises.
 */
#include <lnic.h>

#include "store.h"

/* What a rule's parameters say of its frames. */
#define FROM_HOST 'h'

static bool is_store;

/* The milliseconds that a variable says, in whole ticks; `otherwise` if it says none. */
static uint64_t ticks_of(int32_t value_bytes, const uint8_t *value, uint64_t otherwise_ms) {
    uint64_t ms = otherwise_ms;
    if (value_bytes >= 0 && (value_bytes > 20 || !decimal((TEXT_T){value, (uint32_t)value_bytes}, 1000000000, &ms))) {
        lnic_log_text("kv-server: GUARD_MS and MAX_AGE_MS are milliseconds: the default it is");
        ms = otherwise_ms;
    }
    return (ms * 1000000 >> TICK_SHIFT) + 1;
}

LAMBDA_INIT {
    uint8_t value[20];
    int32_t bytes = lnic_environment_text("BACKEND", value, sizeof(value));
    is_store = bytes == 4 && memcmp(value, "none", 4) == 0;
    if (!is_store && bytes != -1 && !(bytes == 4 && memcmp(value, "host", 4) == 0)) {
        lnic_log_text("kv-server: BACKEND is \"host\" or \"none\": \"host\" it is");
    }
    bytes = lnic_environment_text("GUARD_MS", value, sizeof(value));
    guard_ticks = ticks_of(bytes, value, 1000);
    bytes = lnic_environment_text("MAX_AGE_MS", value, sizeof(value));
    age_ticks = ticks_of(bytes, value, 10000);
}

LAMBDA(kv_server) {
    /* From 1: 0 is never. */
    uint64_t now = (headers->meta.time_ns >> TICK_SHIFT) + 1;
    bool from_host = match_data->parameters_length > 0 && match_data->parameters[0] == FROM_HOST;
    if (!is_store && __atomic_load_n(&written_all, __ATOMIC_RELAXED) == 0) {
        /* What was written before the first frame came, nobody has noted. */
        note(&written_all, now);
    }
    if (headers->tcp.valid) {
        return is_store ? TO_HOST : cache_segment(headers, match_data, now);
    }
    if (from_host) {
        return is_store ? TO_HOST : cache_reply(headers, match_data, now);
    }
    return is_store ? store_request(headers, match_data, now) : cache_request(headers, match_data, now);
}
