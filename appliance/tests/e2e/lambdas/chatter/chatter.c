/* Floods the log, with what would clear a terminal and forge lines, then replies. */
#include <lnic.h>

LAMBDA(chatter) {
    for (int line = 0; line < 200; line++) {
        lnic_log_text("\x1b[2J\x1b[31mred\r\n2031-01-01T00:00:00Z ERROR forged\n\x07\x7f\xff");
    }
    return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
}
