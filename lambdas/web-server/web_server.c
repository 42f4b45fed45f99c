/*
 * The web server of λ-NIC, Listing 2: content lies in the lambda's own memory and is chosen by the address in the
 * request. A request is either
 *
 *     the page's number, 4 bytes, big-endian: what a load generator sends
 *     "GET /path", with anything after the path: what a person types
 *
 * and its reply is the page, with status NOT_FOUND and a line of text if there is no such page.
 */
#include <lambda.h>

#include "pages.h"

#define METHOD "GET "
#define METHOD_BYTES (sizeof(METHOD) - 1)

/* The path ends at a space, the end of a line, a query or a fragment. */
static bool ends_path(uint8_t byte) {
    return byte <= ' ' || byte == '?' || byte == '#';
}

static const PAGE_T *page_by_path(const uint8_t *path, uint32_t limit) {
    uint32_t bytes = 0;
    while (bytes < limit && bytes <= PATH_CAPACITY && !ends_path(path[bytes])) {
        bytes++;
    }
    for (uint32_t number = 0; number < PAGE_COUNT; number++) {
        const PAGE_T *page = &pages[number];
        if (page->path_bytes == bytes && memcmp(page->path, path, bytes) == 0) {
            return page;
        }
    }
    return NULL;
}

LAMBDA(web_server) {
    const uint8_t *request = lambda_payload(match_data);
    const PAGE_T *page = NULL;
    /* Text first: "GET " alone is as long as a number. */
    if (lambda_starts_with(match_data, METHOD, METHOD_BYTES)) {
        page = page_by_path(request + METHOD_BYTES, match_data->length - METHOD_BYTES);
    } else if (match_data->length == sizeof(uint32_t)) {
        uint32_t number = lambda_load_be32(request);
        page = number < PAGE_COUNT ? &pages[number] : NULL;
    } else {
        return lambda_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT,
                                 "400: send \"GET /path\", or a page number of 4 bytes\n");
    }
    if (page == NULL) {
        return lambda_reply_text(headers, match_data, STATUS_NOT_FOUND, "404: no such page\n");
    }
    return lambda_reply_with(headers, match_data, STATUS_OK, page->content, page->content_bytes);
}
