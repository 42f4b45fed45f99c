/* Traps on every request. */
#include <lnic.h>

LAMBDA(trap) {
    __builtin_trap();
}
