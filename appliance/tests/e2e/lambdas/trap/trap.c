/* Traps on every request. */
#include <lambda.h>

LAMBDA(trap) {
    __builtin_trap();
}
