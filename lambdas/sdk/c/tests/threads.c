/*
 * Shared maps and rings under many threads, for `clang -fsanitize=thread`: what the engine's NPUs do to one memory. Ends with 0, or says
 * what is wrong.
 */
#define LNIC_NATIVE_TEST
#include "../lnic.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* One access in 64 waits for a random time, one in 8192 for others: so that the unlikely happens, also on two CPUs. */
static _Thread_local uint64_t points = 1;

static void point(void) {
    points = points * 6364136223846793005 + 1442695040888963407 + (uintptr_t)&points;
    uint32_t dice = (uint32_t)(points >> 33);
    if ((dice & 63) == 0) {
        for (volatile uint32_t spin = dice >> 20; spin > 0; spin--) {
        }
    }
    if ((dice & 8191) == 0) {
        sched_yield();
    }
}
#define LNIC_SHARED_POINT() point()

#include "../lnic_shared_map.h"
#include "../lnic_shared_ring.h"

#define THREADS 4
#define BATCHES 20
#ifndef ROUNDS
#define ROUNDS 60000
#endif

#define CHECK(condition, ...)                             \
    do {                                                  \
        if (!(condition)) {                               \
            fprintf(stderr, "line %d: ", __LINE__);       \
            fprintf(stderr, __VA_ARGS__);                 \
            fputc('\n', stderr);                          \
            exit(1);                                      \
        }                                                 \
    } while (0)

uint64_t lnic_random(void) {
    return 0x243f6a8885a308d3;
}

static uint64_t splitmix(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15;
    uint64_t mixed = (*state ^ *state >> 30) * 0xbf58476d1ce4e5b9;
    return mixed ^ mixed >> 27;
}

static void run_all(void *(*body)(void *)) {
    pthread_t threads[THREADS];
    for (size_t at = 0; at < THREADS; at++) {
        CHECK(pthread_create(&threads[at], NULL, body, (void *)at) == 0, "no thread");
    }
    for (size_t at = 0; at < THREADS; at++) {
        pthread_join(threads[at], NULL);
    }
}

/* Values are their first word many times over: parts of two are seen. */
typedef struct {
    uint64_t words[5];
} VALUE_T;

static VALUE_T value_of(uint64_t number) {
    return (VALUE_T){{number, ~number, number * 3, number ^ 0x55, number}};
}

static void check_value(const VALUE_T *value) {
    VALUE_T whole = value_of(value->words[0]);
    CHECK(memcmp(&whole, value, sizeof(whole)) == 0, "parts of several values");
}

LNIC_SHARED_MAP(table, uint64_t, VALUE_T, 32)
LNIC_SHARED_MAP(counts, uint64_t, uint64_t, 32)

static table_T table;
static counts_T counts;
static uint64_t added[THREADS];
static uint64_t batch;

/* Everybody puts, reads and removes the same few keys. */
static void *churn(void *own) {
    uint64_t random = (uint64_t)own + 1 + batch * THREADS;
    for (uint32_t round = 0; round < ROUNDS / BATCHES; round++) {
        uint64_t dice = splitmix(&random), key = dice >> 8 & 15;
        VALUE_T value = value_of(dice), found;
        switch (dice & 7) {
        case 0:
        case 1:
            table_remove(&table, &key);
            break;
        case 2:
        case 3:
            table_put(&table, &key, &value);
            break;
        case 4:
            for (uint32_t at = 0; table_next(&table, &at, &key, &found);) {
                CHECK(key < 16, "a key that nobody put");
                check_value(&found);
            }
            break;
        default:
            if (table_get(&table, &key, &found)) {
                check_value(&found);
            }
        }
    }
    return NULL;
}

/* Counters by replace: none may be lost, and none counted twice. */
static void *count(void *own) {
    uint64_t random = (uint64_t)own + 100, done = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t key = splitmix(&random) & 3, was;
        if (counts_get(&counts, &key, &was)) {
            uint64_t next = was + 1;
            done += counts_replace(&counts, &key, &was, &next);
        }
    }
    added[(size_t)own] = done;
    return NULL;
}

/* One key that is always there: to be found, whoever is replacing its value, and whatever becomes of its neighbours. */
static void *keep(void *own) {
    uint64_t random = (uint64_t)own + 7, missed = 0, key = 1000, other;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        other = 2000 + (splitmix(&random) & 15);
        if (own == NULL) {
            counts_put(&counts, &key, &(uint64_t){round});
        } else if (round & 1) {
            counts_put(&counts, &other, &(uint64_t){round});
        } else {
            counts_remove(&counts, &other);
        }
        missed += !counts_get(&counts, &key, &other);
    }
    CHECK(missed == 0, "missed %llu times of %d", (unsigned long long)missed, ROUNDS);
    return NULL;
}

/* Of whom, and the how-manieth. */
typedef struct {
    uint32_t owner;
    uint32_t number;
    uint32_t check;
} ITEM_T;

LNIC_SHARED_RING(ring, ITEM_T, 8)

static ring_T ring;
static uint64_t pushed[THREADS], popped[THREADS];
static uint32_t running = THREADS;
static uint8_t seen[THREADS][ROUNDS];

static bool take(uint32_t *last) {
    ITEM_T item;
    if (!ring_pop(&ring, &item)) {
        return false;
    }
    CHECK(item.owner < THREADS && item.number < ROUNDS && item.check == (item.owner ^ ~item.number), "parts of several items");
    CHECK(__atomic_fetch_add(&seen[item.owner][item.number], 1, __ATOMIC_RELAXED) == 0, "an item came twice");
    CHECK(last[item.owner] <= item.number, "items of one thread changed places");
    last[item.owner] = item.number;
    return true;
}

/* Everybody pushes his numbers and pops what there is. */
static void *pass_on(void *own) {
    uint32_t last[THREADS] = {0}, owner = (uint32_t)(size_t)own;
    for (uint32_t number = 0; number < ROUNDS;) {
        ITEM_T item = {owner, number, owner ^ ~number};
        bool done = ring_push(&ring, &item);
        pushed[owner] += done;
        number += done;
        /* Full as often as empty. */
        if (!done || number & 1) {
            popped[owner] += take(last);
        }
    }
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) > 0 || ring_count(&ring) > 0) {
        if (take(last)) {
            popped[owner]++;
        } else {
            sched_yield();
        }
    }
    return NULL;
}

int main(void) {
    uint64_t key;
    for (batch = 0; batch < BATCHES; batch++) {
        run_all(churn);
        /* Whatever happened, it is a map: each key at most once, and all can be removed. */
        uint32_t times[16] = {0};
        VALUE_T value;
        for (uint32_t at = 0; table_next(&table, &at, &key, &value);) {
            CHECK(times[key]++ == 0, "key %llu is there twice", (unsigned long long)key);
        }
        for (key = 0; key < 16; key++) {
            CHECK(table_remove(&table, &key) == times[key], "key %llu cannot be removed", (unsigned long long)key);
        }
        CHECK(!table_next(&table, &(uint32_t){0}, &key, &value), "something is left");
    }

    for (key = 0; key < 4; key++) {
        counts_put(&counts, &key, &(uint64_t){0});
    }
    run_all(count);
    uint64_t sum = 0, expected = 0, found;
    for (key = 0; key < 4; key++) {
        CHECK(counts_get(&counts, &key, &found), "a counter is lost");
        sum += found;
        expected += added[key];
    }
    CHECK(sum == expected && sum > ROUNDS, "counted %llu of %llu", (unsigned long long)sum, (unsigned long long)expected);

    key = 1000;
    CHECK(counts_put(&counts, &key, &(uint64_t){0}), "full");
    run_all(keep);

    run_all(pass_on);
    uint64_t in = 0, out = 0;
    for (size_t at = 0; at < THREADS; at++) {
        in += pushed[at];
        out += popped[at];
    }
    CHECK(in == (uint64_t)THREADS * ROUNDS && in == out, "%llu pushed, %llu popped", (unsigned long long)in,
          (unsigned long long)out);
    return 0;
}
