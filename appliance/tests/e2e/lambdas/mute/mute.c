/* Never answers. */
#include <lnic.h>

LAMBDA(mute) {
    return DROP;
}
