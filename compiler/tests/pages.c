/* Pages by their address: a table of pointers to texts, and a copy of the one that was asked for. */
#include <lnic.h>

typedef struct {
    const char *path;
    const char *content;
    uint32_t path_bytes;
    uint32_t content_bytes;
} PAGE_T;

#define PAGE(path, content) {path, content, sizeof(path) - 1, sizeof(content) - 1}

static const PAGE_T pages[] = {
    PAGE("/", "<!doctype html><title>Home</title>\n"),
    PAGE("/about.html", "<!doctype html><title>How it works</title>\n"),
    PAGE("/robots.txt", "User-agent: *\nDisallow:\n"),
};

LAMBDA(pages_by_path) {
    const uint8_t *path = lnic_payload(match_data);
    for (uint32_t number = 0; number < sizeof(pages) / sizeof(pages[0]); number++) {
        const PAGE_T *page = &pages[number];
        if (page->path_bytes == match_data->length && memcmp(page->path, path, match_data->length) == 0) {
            return lnic_reply_with(headers, match_data, STATUS_OK, page->content, page->content_bytes);
        }
    }
    return lnic_reply_text(headers, match_data, STATUS_NOT_FOUND, "404: no such page\n");
}
