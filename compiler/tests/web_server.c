/* The web server as one file, with content that is written out: `lnic build` makes it of a folder. */
#include <stdint.h>

#define LNIC_CONTENT_COUNT 3
#define LNIC_CONTENT_FILES 2
#include "../../lambdas/web-server/web_server.c"

const uint8_t lnic_content_bytes[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length:           \r\n\r\n{{requests}} and {{time}}.";
const uint8_t lnic_content_names[] = "//a.txt/b.txt\"tag\"";

const LNIC_CONTENT_PART_T lnic_content_parts[] = {{142, 0, 144, 8}, {154, 5, 161, 4}, {167, 1, 168, 0}};

const LNIC_CONTENT_T lnic_content[LNIC_CONTENT_COUNT] = {
    {0, 1, 13, 5, 0, 64, 17, 26, 5, 0, 0, 0},
    {1, 6, 13, 5, 0, 64, 17, 26, 5, 0, 0, 0},
    {7, 6, 13, 5, 69, 73, 17, 26, 26, 0, 3, 1},
};
