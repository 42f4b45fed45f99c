/* What the test programs have in common. */
#include <lnic.h>

#define EXPORT(name) __attribute__((export_name(#name))) name

static uint8_t scratch[65536];

uint8_t *EXPORT(io)(void) {
    return scratch;
}
