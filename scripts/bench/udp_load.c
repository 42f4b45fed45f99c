/*
 * Loads a UDP server, closed loop: so many requests outstanding, each sent again as soon as its reply is there. For protocols that
 * `lnic bench` does not speak, whose replies carry a number of the request's at the same place.
 *
 *     udp_load ADDRESS PORT OUTSTANDING WARM_UP_S SECONDS ID_OFFSET ID_BYTES PAYLOAD_IN_HEX
 *
 * OUTSTANDING is a power of two. Prints one line of JSON: replies a second, latencies in µs, requests without a reply within a second,
 * replies that are not as long as the first.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 32
#define OUTSTANDING_MOST 1024
#define DATAGRAM_BYTES 2048
#define SAMPLES (8u << 20)
#define TIMEOUT_NS 1000000000u
/* With nothing to do, it looks for replies so long before it sleeps, as `lnic bench` does. */
#define SPIN_NS 100000u

typedef struct {
    uint32_t number;
    uint64_t sent_ns;
} SLOT_T;

static SLOT_T slots[OUTSTANDING_MOST];
static uint32_t *samples_ns;
static uint32_t sample_count;
static uint8_t payload[DATAGRAM_BYTES];
static size_t payload_bytes;
static uint32_t outstanding, id_offset, id_bytes, id_mask;
static uint64_t replies, lost, odd;
static uint64_t measure_from_ns = UINT64_MAX;
static ssize_t reply_bytes = -1;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "udp_load: %s\n", what);
    exit(2);
}

/* Each request has another number than the slot's last; its lowest bits are the slot. */
static void put_number(uint8_t *datagram, uint32_t slot) {
    for (uint32_t at = 0; at < id_bytes; at++) {
        datagram[id_offset + at] = (uint8_t)(slots[slot].number >> 8 * (id_bytes - 1 - at));
    }
}

static void send_all(int socket, const uint32_t *which, uint32_t count) {
    static uint8_t datagrams[BATCH][DATAGRAM_BYTES];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    uint64_t now = now_ns();
    for (uint32_t at = 0; at < count; at++) {
        memcpy(datagrams[at], payload, payload_bytes);
        put_number(datagrams[at], which[at]);
        slots[which[at]].sent_ns = now;
        parts[at] = (struct iovec){datagrams[at], payload_bytes};
        messages[at].msg_hdr.msg_iov = &parts[at];
        messages[at].msg_hdr.msg_iovlen = 1;
    }
    for (uint32_t done = 0; done < count;) {
        int sent = sendmmsg(socket, messages + done, count - done, 0);
        if (sent < 0 && errno != EINTR && errno != ENOBUFS && errno != ECONNREFUSED) {
            die(strerror(errno));
        }
        done += sent > 0 ? (uint32_t)sent : 0;
    }
}

/* The slot that a reply belongs to, or -1 for one that came too late. */
static int64_t slot_of(const uint8_t *reply, ssize_t bytes) {
    uint32_t number = 0;
    if (bytes < (ssize_t)(id_offset + id_bytes)) {
        return -1;
    }
    for (uint32_t at = 0; at < id_bytes; at++) {
        number = number << 8 | reply[id_offset + at];
    }
    uint32_t slot = number & (outstanding - 1);
    return slots[slot].number == number ? (int64_t)slot : -1;
}

/* Takes what has come, and sends as much again. */
static uint32_t turn(int socket) {
    static uint8_t datagrams[BATCH][DATAGRAM_BYTES];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    uint32_t free_slots[BATCH], freed = 0;
    for (int at = 0; at < BATCH; at++) {
        parts[at] = (struct iovec){datagrams[at], DATAGRAM_BYTES};
        messages[at].msg_hdr.msg_iov = &parts[at];
        messages[at].msg_hdr.msg_iovlen = 1;
    }
    int received = recvmmsg(socket, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = now_ns();
    for (int at = 0; at < received; at++) {
        ssize_t bytes = messages[at].msg_len;
        int64_t slot = slot_of(datagrams[at], bytes);
        if (slot < 0) {
            continue;
        }
        reply_bytes = reply_bytes < 0 ? bytes : reply_bytes;
        odd += bytes != reply_bytes;
        if (slots[slot].sent_ns >= measure_from_ns) {
            replies++;
            if (sample_count < SAMPLES) {
                samples_ns[sample_count++] = (uint32_t)(now - slots[slot].sent_ns);
            }
        }
        /* From here on its number is the next one's: a second reply is nobody's. */
        slots[slot].number = (slots[slot].number + outstanding) & id_mask;
        free_slots[freed++] = (uint32_t)slot;
    }
    if (freed > 0) {
        send_all(socket, free_slots, freed);
    }
    return freed;
}

static void send_overdue(int socket) {
    uint64_t now = now_ns();
    for (uint32_t slot = 0; slot < outstanding; slot++) {
        if (now - slots[slot].sent_ns > TIMEOUT_NS) {
            lost++;
            slots[slot].number = (slots[slot].number + outstanding) & id_mask;
            send_all(socket, &slot, 1);
        }
    }
}

static int by_value(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double quantile_us(double share) {
    return sample_count == 0 ? 0 : samples_ns[(uint32_t)(share * (sample_count - 1))] / 1e3;
}

int main(int count, char **words) {
    if (count != 9) {
        die("ADDRESS PORT OUTSTANDING WARM_UP_S SECONDS ID_OFFSET ID_BYTES PAYLOAD_IN_HEX");
    }
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    outstanding = (uint32_t)atoi(words[3]);
    id_offset = (uint32_t)atoi(words[6]);
    id_bytes = (uint32_t)atoi(words[7]);
    payload_bytes = strlen(words[8]) / 2;
    if (inet_pton(AF_INET, words[1], &server.sin_addr) != 1) {
        die("no IPv4 address");
    }
    if (outstanding == 0 || outstanding > OUTSTANDING_MOST || (outstanding & (outstanding - 1)) != 0) {
        die("OUTSTANDING is a power of two up to 1024");
    }
    if (id_bytes < 2 || id_bytes > 4 || payload_bytes > sizeof(payload) || id_offset + id_bytes > payload_bytes) {
        die("a number of 2 to 4 bytes lies in the payload");
    }
    for (size_t at = 0; at < payload_bytes; at++) {
        if (sscanf(words[8] + 2 * at, "%2hhx", &payload[at]) != 1) {
            die("the payload is hexadecimal");
        }
    }
    id_mask = id_bytes == 4 ? UINT32_MAX : (1u << 8 * id_bytes) - 1;
    samples_ns = malloc(SAMPLES * sizeof(*samples_ns));
    int made = socket(AF_INET, SOCK_DGRAM, 0);
    int buffer_bytes = 4 << 20;
    if (samples_ns == NULL || made < 0 || connect(made, (struct sockaddr *)&server, sizeof(server)) != 0) {
        die(strerror(errno));
    }
    setsockopt(made, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));

    uint64_t start = now_ns();
    measure_from_ns = start + (uint64_t)(atof(words[4]) * 1e9);
    uint64_t end = measure_from_ns + (uint64_t)(atof(words[5]) * 1e9);
    for (uint32_t slot = 0; slot < outstanding; slot++) {
        slots[slot].number = slot;
        send_all(made, &slot, 1);
    }
    uint64_t busy = start, checked = start;
    for (uint64_t now = start; now < end; now = now_ns()) {
        if (turn(made) > 0) {
            busy = now;
        } else if (now - busy > SPIN_NS) {
            struct pollfd wanted = {.fd = made, .events = POLLIN};
            poll(&wanted, 1, 10);
        }
        if (now - checked > TIMEOUT_NS / 10) {
            send_overdue(made);
            checked = now;
        }
    }
    qsort(samples_ns, sample_count, sizeof(*samples_ns), by_value);
    printf("{\"rate\": %.1f, \"replies\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"lost\": %llu, \"odd\": %llu}\n",
           (double)replies / ((double)(end - measure_from_ns) / 1e9), (unsigned long long)replies, quantile_us(0.5),
           quantile_us(0.99), (unsigned long long)lost, (unsigned long long)odd);
    return replies > 0 ? 0 : 1;
}
