/*
 * The key-value client of λ-NIC: gets and sets of a memcached somewhere on the network, over UDP. While memcached answers, the NPU
 * runs others: as many requests are under way on it as lambda.toml says. Requests and replies byte by byte: README.md.
 */
#include <lnic.h>

#include "memcached.h"

/* Of the compact form: the first byte, which no text begins with. */
#define OPCODE_GET 1
#define OPCODE_SET 2
/* Operation, bytes of the key; a set goes on with seconds until it expires. */
#define COMPACT_GET_BYTES 2
#define COMPACT_SET_BYTES 6

#define DEFAULT_TIMEOUT_US 2000
#define MOST_TIMEOUT_US 10000000
#define DEFAULT_ATTEMPTS 2
#define MOST_ATTEMPTS 8
/* Room for what memcached says to a set. */
#define ANSWER_CAPACITY 160

/* What memcached was asked, and how that ended: gets + sets = hits + misses + stored + timeouts + errors. */
enum { GETS, SETS, HITS, MISSES, STORED, TIMEOUTS, ERRORS, RETRIES, REFUSED, COUNTERS };

/* For all NPUs together: by atomics only, which leaves the lambda on all of them. */
static uint64_t counters[COUNTERS];

static const char counter_names[COUNTERS][10] = {
    [GETS] = "gets",         [SETS] = "sets",     [HITS] = "hits",       [MISSES] = "misses",   [STORED] = "stored",
    [TIMEOUTS] = "timeouts", [ERRORS] = "errors", [RETRIES] = "retries", [REFUSED] = "refused",
};

/* Only LAMBDA_INIT writes these. */
static int32_t memcached;
static uint32_t timeout_us;
static uint32_t attempts;

typedef enum { NOTHING, GET, SET, STATS } OPERATION_T;

/* What a caller wants. Keys and values are in the payload. */
typedef struct {
    OPERATION_T operation;
    bool is_text;
    SPAN_T key;
    SPAN_T value;
    uint32_t expiry_s;
} REQUEST_T;

static void count(uint32_t counter) {
    __atomic_fetch_add(&counters[counter], 1, __ATOMIC_RELAXED);
}

/* A number of the environment; the default if it is not there, or is none in the range. */
static uint32_t setting(const char *name, uint32_t name_bytes, uint32_t most, uint32_t otherwise) {
    uint8_t text[DIGITS + 1];
    int32_t bytes = lnic_environment(name, name_bytes, text, sizeof(text));
    if (bytes < 0) {
        return otherwise;
    }
    SPAN_T span = {text, (uint32_t)bytes};
    uint32_t value;
    if (span.bytes <= sizeof(text) && take_number(&span, &value) && span.bytes == 0 && value >= 1 && value <= most) {
        return value;
    }
    lnic_log_text("a number of the environment is out of range: taking the default");
    return otherwise;
}

#define SETTING(name, most, otherwise) setting("" name, sizeof(name) - 1, most, otherwise)

LAMBDA_INIT {
    memcached = lnic_service_text("memcached");
    timeout_us = SETTING("TIMEOUT_US", MOST_TIMEOUT_US, DEFAULT_TIMEOUT_US);
    attempts = SETTING("ATTEMPTS", MOST_ATTEMPTS, DEFAULT_ATTEMPTS);
}

/* Is the first word this one, in either case? A word ends at a blank, or where the text does. */
static bool is_word(SPAN_T text, const char *word, uint32_t bytes) {
    if (text.bytes < bytes || (text.bytes > bytes && text.at[bytes] != ' ')) {
        return false;
    }
    for (uint32_t at = 0; at < bytes; at++) {
        if ((text.at[at] | 0x20) != (uint8_t)word[at]) {
            return false;
        }
    }
    return true;
}

static SPAN_T after(SPAN_T text, uint32_t bytes) {
    return (SPAN_T){text.at + bytes, text.bytes - bytes};
}

/* Without the end of the line that a person's tools may have put there. */
static SPAN_T one_line(SPAN_T text) {
    if (text.bytes > 0 && text.at[text.bytes - 1] == '\n') {
        text.bytes--;
    }
    if (text.bytes > 0 && text.at[text.bytes - 1] == '\r') {
        text.bytes--;
    }
    return text;
}

static REQUEST_T parse_text(SPAN_T text) {
    REQUEST_T request = {.is_text = true};
    if (is_word(one_line(text), "stats", 5) && one_line(text).bytes == 5) {
        request.operation = STATS;
    } else if (text.bytes > 4 && is_word(text, "get", 3)) {
        request.operation = GET;
        request.key = one_line(after(text, 4));
    } else if (text.bytes > 4 && is_word(text, "set", 3)) {
        SPAN_T rest = after(text, 4);
        uint32_t key_bytes = 0;
        while (key_bytes < rest.bytes && key_bytes <= KEY_CAPACITY && rest.at[key_bytes] != ' ') {
            key_bytes++;
        }
        /* Without the blank there is no value, not even an empty one. */
        if (key_bytes < rest.bytes) {
            request.operation = SET;
            request.key = (SPAN_T){rest.at, key_bytes};
            request.value = after(rest, key_bytes + 1);
        }
    }
    return request;
}

static REQUEST_T parse_compact(SPAN_T bytes) {
    REQUEST_T request = {.operation = NOTHING};
    bool is_get = bytes.at[0] == OPCODE_GET;
    uint32_t header_bytes = is_get ? COMPACT_GET_BYTES : COMPACT_SET_BYTES;
    if (bytes.bytes < header_bytes) {
        return request;
    }
    SPAN_T rest = after(bytes, header_bytes);
    uint32_t key_bytes = bytes.at[1];
    /* What follows the key of a get may be anything: requests of equal length are easier on who makes them. */
    if (rest.bytes >= key_bytes) {
        request.operation = is_get ? GET : SET;
        request.key = (SPAN_T){rest.at, key_bytes};
        request.value = is_get ? (SPAN_T){0} : after(rest, key_bytes);
        request.expiry_s = is_get ? 0 : lnic_load_be32(bytes.at + 2);
    }
    return request;
}

/* Asks memcached, again if it says nothing, and no longer than the caller waits. Bytes of its reply, or minus a status. */
static int32_t ask(const EXTRACTED_HEADERS_T *headers, const void *request, uint32_t request_bytes, void *reply,
                   uint32_t reply_capacity) {
    uint32_t left_us = headers->rpc.valid && headers->rpc.budget_us != 0 ? headers->rpc.budget_us : UINT32_MAX;
    int32_t result = -STATUS_DEADLINE_EXCEEDED;
    for (uint32_t attempt = 0; attempt < attempts && left_us > 0; attempt++) {
        if (attempt > 0) {
            count(RETRIES);
        }
        uint32_t wait_us = timeout_us < left_us ? timeout_us : left_us;
        left_us -= wait_us;
        result = lnic_request(memcached, request, request_bytes, reply, reply_capacity, (int32_t)wait_us);
        if (result != -STATUS_DEADLINE_EXCEEDED) {
            break;
        }
    }
    return result;
}

/* The end of a request that has no better answer: a line for people. What memcached itself said has been copied to the payload. */
static int fail(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, uint8_t status) {
    count(status == STATUS_DEADLINE_EXCEEDED ? TIMEOUTS : ERRORS);
    switch (status) {
    case STATUS_DEADLINE_EXCEEDED:
        return lnic_reply_text(headers, match_data, status, "memcached did not answer in time\n");
    case STATUS_RESOURCE_EXHAUSTED:
        return lnic_reply_text(headers, match_data, status, "too many requests wait for memcached\n");
    case STATUS_OUT_OF_RANGE:
        return lnic_reply_text(headers, match_data, status, "the value is longer than a reply can be\n");
    case STATUS_INVALID_ARGUMENT:
        return lnic_reply_text(headers, match_data, status, "the value does not fit one packet\n");
    case STATUS_DATA_LOSS:
        return lnic_reply_text(headers, match_data, status, "memcached's answer is no answer to this\n");
    default:
        return lnic_reply_text(headers, match_data, status, "memcached cannot be reached\n");
    }
}

/* memcached's own words, if they are an error's. */
static bool fails_by_itself(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, SPAN_T answer, int *verdict) {
    uint8_t status = judge_error(answer);
    if (status == STATUS_OK) {
        return false;
    }
    count(ERRORS);
    *verdict = lnic_reply_with(headers, match_data, status, answer.at, answer.bytes);
    return true;
}

static int get(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request) {
    uint8_t asked[GET_CAPACITY];
    uint32_t asked_bytes = put_get(asked, request->key);
    /* The request's key is overwritten by the reply. */
    SPAN_T key = {asked + 4, request->key.bytes};
    uint8_t *payload = lnic_payload(match_data);
    uint32_t capacity = match_data->capacity < PAYLOAD_CAPACITY ? match_data->capacity : PAYLOAD_CAPACITY;
    count(GETS);
    int32_t result = ask(headers, asked, asked_bytes, payload, capacity);
    if (result < 0) {
        return fail(headers, match_data, (uint8_t)-result);
    }
    SPAN_T answer = {payload, (uint32_t)result};
    int verdict;
    if (fails_by_itself(headers, match_data, answer, &verdict)) {
        return verdict;
    }
    SPAN_T value;
    uint8_t status = judge_get(answer, key, &value);
    if (status == STATUS_DATA_LOSS) {
        return fail(headers, match_data, status);
    }
    count(status == STATUS_OK ? HITS : MISSES);
    if (status == STATUS_NOT_FOUND) {
        return lnic_reply_text(headers, match_data, status, "no such key\n");
    }
    return lnic_reply_with(headers, match_data, status, value.at, value.bytes);
}

static int set(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request) {
    uint8_t header[SET_HEADER_CAPACITY], answer[ANSWER_CAPACITY];
    uint32_t header_bytes = put_set_header(header, request->key, request->expiry_s, request->value.bytes);
    uint8_t *payload = lnic_payload(match_data);
    uint32_t value_bytes = request->value.bytes;
    uint32_t asked_bytes = header_bytes + value_bytes + LINE_END_BYTES;
    count(SETS);
    if (asked_bytes > match_data->capacity) {
        return fail(headers, match_data, STATUS_INVALID_ARGUMENT);
    }
    /* The value stays where it is, or nearly: the request is put together around it. */
    memmove(payload + header_bytes, request->value.at, value_bytes);
    memcpy(payload, header, header_bytes);
    memcpy(payload + header_bytes + value_bytes, LINE_END, LINE_END_BYTES);
    int32_t result = ask(headers, payload, asked_bytes, answer, sizeof(answer));
    if (result < 0) {
        /* Nothing that memcached says to a set is that long. */
        return fail(headers, match_data, result == -STATUS_OUT_OF_RANGE ? STATUS_DATA_LOSS : (uint8_t)-result);
    }
    SPAN_T said = {answer, (uint32_t)result};
    int verdict;
    if (fails_by_itself(headers, match_data, said, &verdict)) {
        return verdict;
    }
    uint8_t status = judge_set(said);
    if (status != STATUS_OK) {
        return fail(headers, match_data, status);
    }
    count(STORED);
    if (request->is_text) {
        return lnic_reply_text(headers, match_data, status, "STORED\n");
    }
    return lnic_reply(headers, match_data, status, 0);
}

static int stats(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data) {
    uint8_t text[COUNTERS * (sizeof(counter_names[0]) + 1 + 20 + 1)];
    uint8_t *end = text;
    for (uint32_t counter = 0; counter < COUNTERS; counter++) {
        end = put(end, counter_names[counter], strlen(counter_names[counter]));
        end = PUT_TEXT(end, " ");
        end = put_number(end, __atomic_load_n(&counters[counter], __ATOMIC_RELAXED));
        end = PUT_TEXT(end, "\n");
    }
    return lnic_reply_with(headers, match_data, STATUS_OK, text, (uint32_t)(end - text));
}

LAMBDA(kv_client) {
    SPAN_T payload = {lnic_payload(match_data), match_data->length};
    REQUEST_T request = {.operation = NOTHING};
    if (payload.bytes > 0 && (payload.at[0] == OPCODE_GET || payload.at[0] == OPCODE_SET)) {
        request = parse_compact(payload);
    } else {
        request = parse_text(payload);
    }
    if (request.operation == STATS) {
        return stats(headers, match_data);
    }
    if (request.operation == NOTHING) {
        count(REFUSED);
        return lnic_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT,
                               "send \"get KEY\", \"set KEY VALUE\" or \"stats\"\n");
    }
    if (!is_key(request.key)) {
        count(REFUSED);
        return lnic_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT,
                               "a key is 1 to 250 bytes, without blanks and control characters\n");
    }
    if (memcached < 0) {
        count(REFUSED);
        return lnic_reply_text(headers, match_data, STATUS_FAILED_PRECONDITION,
                               "deployed without [services.memcached]\n");
    }
    return request.operation == GET ? get(headers, match_data, &request) : set(headers, match_data, &request);
}
