/* Never answers. */
#include <lambda.h>

LAMBDA(mute) {
    return DROP;
}
