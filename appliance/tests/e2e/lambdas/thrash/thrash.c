/* Reads and writes all over its memory, more than any cache holds, and never ends. */
#include <lnic.h>

#define WORDS (1u << 22)

static uint32_t words[WORDS];

LAMBDA(thrash) {
    for (uint32_t at = 1;; at = at * 1664525u + 1013904223u) {
        ((volatile uint32_t *)words)[at % WORDS] += at;
    }
}
