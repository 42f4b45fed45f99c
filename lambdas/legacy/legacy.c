/*
 * The public prototype of λ-NIC, for its clients: 20 bytes over UDP port 4369, a job's number and a parameter, and its four jobs. Byte
 * by byte, and what is different: README.md.
 */
#include <lnic.h>

#include "image.h"

enum { JOB_WEB, JOB_IMAGE, JOB_GET, JOB_SET };

#define PARAMETER_BYTES 16

typedef struct {
    uint8_t job[4];
    uint8_t parameter[PARAMETER_BYTES];
} JOB_T;

_Static_assert(sizeof(JOB_T) == 20, "a job has 20 bytes");

#define WEB_REPLY "hi: "
#define CACHE_GET "get hey\r\n"
#define CACHE_SET "set hey 0 0 4\r\ndude\r\n"
#define CACHE_VALUE "VALUE hey "
#define VALUE_END "\r\nEND\r\n"
/* What memcached says to either: values of other clients may be longer than a parameter, and are cut off. */
#define ANSWER_CAPACITY 1024
#define CACHE_ATTEMPTS 2
#define DEFAULT_TIMEOUT_US 2000
#define MOST_TIMEOUT_US 10000000

/* Images that were loaded, or began to be. */
static uint32_t images;

/* Only LAMBDA_INIT writes these. */
static int32_t memcached;
static int32_t timeout_us;

LAMBDA_INIT {
    memcached = lnic_service_text("memcached");
    char digits[8];
    int32_t bytes = lnic_environment_text("TIMEOUT_US", digits, sizeof(digits));
    int32_t value = 0;
    bool is_number = bytes > 0 && bytes <= (int32_t)sizeof(digits);
    for (int32_t at = 0; is_number && at < bytes; at++) {
        is_number = digits[at] >= '0' && digits[at] <= '9';
        value = value * 10 + (digits[at] - '0');
    }
    is_number = is_number && value >= 1 && value <= MOST_TIMEOUT_US;
    timeout_us = is_number ? value : DEFAULT_TIMEOUT_US;
    if (bytes >= 0 && !is_number) {
        lnic_log_text("TIMEOUT_US is out of range: taking the default");
    }
}

/* A text as a parameter: cut off, or filled with blanks as the original gateway does. */
static void set_parameter(JOB_T *job, const void *text, uint32_t bytes) {
    memset(job->parameter, ' ', PARAMETER_BYTES);
    memcpy(job->parameter, text, bytes < PARAMETER_BYTES ? bytes : PARAMETER_BYTES);
}

#define SET_PARAMETER(job, literal) set_parameter(job, "" literal, sizeof(literal) - 1)

/* Asks memcached, and again if it says nothing; bytes of its answer, or minus a status. */
static int32_t ask(const void *request, uint32_t bytes, char *answer) {
    int32_t result = -STATUS_DEADLINE_EXCEEDED;
    for (int attempt = 0; attempt < CACHE_ATTEMPTS && result == -STATUS_DEADLINE_EXCEEDED; attempt++) {
        result = lnic_request(memcached, request, bytes, answer, ANSWER_CAPACITY, timeout_us);
    }
    return result;
}

/* What a client is told instead: memcached was silent, said something else, or nobody could be asked. */
static void fail(JOB_T *job, int32_t result) {
    if (result == -STATUS_DEADLINE_EXCEEDED) {
        SET_PARAMETER(job, "TIMEOUT");
    } else if (result >= 0 || result == -STATUS_OUT_OF_RANGE) {
        SET_PARAMETER(job, "ERROR");
    } else {
        SET_PARAMETER(job, "UNAVAILABLE");
    }
}

static void get(JOB_T *job) {
    char answer[ANSWER_CAPACITY];
    int32_t bytes = ask(CACHE_GET, sizeof(CACHE_GET) - 1, answer);
    if (bytes == 5 && memcmp(answer, "END\r\n", 5) == 0) {
        SET_PARAMETER(job, "NOT_FOUND");
        return;
    }
    const int32_t end_bytes = sizeof(VALUE_END) - 1;
    int32_t at = sizeof(CACHE_VALUE) - 1;
    if (bytes < at + end_bytes || memcmp(answer, CACHE_VALUE, sizeof(CACHE_VALUE) - 1) != 0) {
        fail(job, bytes);
        return;
    }
    /* Flags and length, to the end of the line; the value is what is left. */
    while (at < bytes && answer[at] != '\n') {
        at++;
    }
    at++;
    if (at > bytes - end_bytes || memcmp(answer + bytes - end_bytes, VALUE_END, sizeof(VALUE_END) - 1) != 0) {
        fail(job, bytes);
        return;
    }
    set_parameter(job, answer + at, (uint32_t)(bytes - end_bytes - at));
}

static void set(JOB_T *job) {
    char answer[ANSWER_CAPACITY];
    int32_t bytes = ask(CACHE_SET, sizeof(CACHE_SET) - 1, answer);
    if (bytes == 8 && memcmp(answer, "STORED\r\n", 8) == 0) {
        SET_PARAMETER(job, "STORED");
    } else {
        fail(job, bytes);
    }
}

/* Runs a job, and makes its request the reply. False if there is no such job. */
static bool run(JOB_T *job) {
    switch (lnic_load_be32(job->job)) {
    case JOB_WEB:
        memcpy(job->parameter, WEB_REPLY, sizeof(WEB_REPLY) - 1);
        return true;
    case JOB_IMAGE: {
        uint32_t number = __atomic_load_n(&images, __ATOMIC_RELAXED);
        lnic_store_be32(job->parameter, image_grey_checksum());
        lnic_store_be32(job->parameter + 4, number);
        return true;
    }
    case JOB_GET:
        get(job);
        return true;
    case JOB_SET:
        set(job);
        return true;
    default:
        return false;
    }
}

/* λ-RPC, which the prototype did not know: jobs, and images in and out. */
static int serve_rpc(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data) {
    uint8_t *payload = lnic_payload(match_data);
    JOB_T job;
    switch (match_data->length) {
    case sizeof(job):
        memcpy(&job, payload, sizeof(job));
        if (!run(&job)) {
            return lnic_reply_text(headers, match_data, STATUS_UNIMPLEMENTED, "jobs are 0 to 3\n");
        }
        return lnic_reply_with(headers, match_data, STATUS_OK, &job, sizeof(job));
    case 0:
        if (match_data->capacity >= IMAGE_PIXELS) {
            image_grey(payload);
        }
        return lnic_reply(headers, match_data, STATUS_OK, IMAGE_PIXELS);
    case IMAGE_BYTES: {
        uint32_t number = __atomic_add_fetch(&images, 1, __ATOMIC_RELAXED);
        image_load(payload);
        uint8_t reply[8];
        lnic_store_be32(reply, image_grey_checksum());
        lnic_store_be32(reply + 4, number);
        return lnic_reply_with(headers, match_data, STATUS_OK, reply, sizeof(reply));
    }
    default:
        return lnic_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT,
                               "send a job of 20 bytes, an image of 256 x 256 RGBA pixels, or nothing\n");
    }
}

LAMBDA(legacy) {
    if (headers->rpc.valid) {
        return serve_rpc(headers, match_data);
    }
    /* From the same port comes another of its kind, not a client: the two would answer each other for ever. */
    bool is_server = headers->udp.valid && headers->udp.source_port == headers->udp.destination_port;
    if (match_data->length != sizeof(JOB_T) || is_server) {
        return DROP;
    }
    /* Not in place: memcached's answer is waited for, and an unknown job goes to the host as it came. */
    JOB_T job;
    memcpy(&job, lnic_payload(match_data), sizeof(job));
    if (!run(&job)) {
        return TO_HOST;
    }
    return lnic_reply_with(headers, match_data, STATUS_OK, &job, sizeof(job));
}
