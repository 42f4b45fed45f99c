/*
 * The web server of λ-NIC, Listing 2: content lies in the lambda's own memory and is chosen by the address in the request. The
 * content is the folder beside this file, or any other that `lnic build --content FOLDER` or `lnic deploy --content FOLDER` names.
 *
 * A request is one of
 *
 *     an HTTP/1.1 message                    what a browser sends, through the gateway; the reply is one too
 *     "GET /path", with anything behind it   what a person types; the reply is the page
 *     the page's number, 4 bytes, big-endian what a load generator sends; the reply is the page
 *
 * Counters are atomics, so that all NPUs run it and count together.
 */
#include "reply.h"

static uint64_t requests;
static uint64_t file_requests[LNIC_CONTENT_FILES];

/* What a request was counted as. */
typedef struct {
    uint64_t requests;
    uint64_t of_page;
    uint64_t time_ns;
} COUNT_T;

/* What is answered instead of a page: the same to everybody, but each in the form that was asked in. */
typedef struct {
    const char *head; /* of the response, up to the length of the text */
    const char *text;
    uint32_t head_bytes;
    uint32_t text_bytes;
    uint8_t status;
} REFUSAL_T;

#define REFUSAL(status, line, more, text) \
    {"HTTP/1.1 " line "\r\nContent-Type: text/plain; charset=utf-8\r\n" more "Content-Length: ", text, \
     sizeof("HTTP/1.1 " line "\r\nContent-Type: text/plain; charset=utf-8\r\n" more "Content-Length: ") - 1, sizeof(text) - 1, status}

static const REFUSAL_T no_request = REFUSAL(STATUS_INVALID_ARGUMENT, "400 Bad Request", "",
                                            "400: send HTTP, \"GET /path\" or a page number\n");
static const REFUSAL_T no_path = REFUSAL(STATUS_INVALID_ARGUMENT, "400 Bad Request", "", "400: the path is malformed\n");
static const REFUSAL_T no_page = REFUSAL(STATUS_NOT_FOUND, "404 Not Found", "", "404: no such page\n");
static const REFUSAL_T no_method =
    REFUSAL(STATUS_UNIMPLEMENTED, "405 Method Not Allowed", "Allow: GET, HEAD\r\n", "405: GET and HEAD only\n");
static const REFUSAL_T no_room = REFUSAL(STATUS_RESOURCE_EXHAUSTED, "500 Internal Server Error", "",
                                         "500: the page does not fit a reply: raise message_slots and message_kib of lambda.toml\n");

static int refuse(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request,
                  const REFUSAL_T *refusal) {
    begin(match_data);
    bool is_http = request->form == FORM_HTTP;
    if (is_http) {
        put(match_data, refusal->head, refusal->head_bytes);
        put_number(match_data, refusal->text_bytes);
        PUT(match_data, "\r\n\r\n");
    }
    if (!is_http || !request->is_head) {
        put(match_data, refusal->text, refusal->text_bytes);
    }
    return lnic_reply(headers, match_data, is_http ? STATUS_OK : refusal->status, match_data->length);
}

/* What has been put together, if it fits. */
static int send(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request) {
    if (!fits(match_data)) {
        return refuse(headers, match_data, request, &no_room);
    }
    return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
}

/* The value of a name in a template; the name itself if it has none, so that its author sees it. */
static void put_value(MATCH_DATA_T *match_data, const LNIC_CONTENT_PART_T *part, const REQUEST_T *request, const COUNT_T *count) {
    const uint8_t *begin_at = lnic_content_bytes + part->name;
    TEXT_T name = {begin_at, begin_at + part->name_bytes};
#define IS(literal) (part->name_bytes == sizeof(literal) - 1 && starts_with(&name, literal, sizeof(literal) - 1))
    if (IS("requests")) {
        put_number(match_data, count->requests);
    } else if (IS("page.requests")) {
        put_number(match_data, count->of_page);
    } else if (IS("time")) {
        put_seconds(match_data, count->time_ns);
    } else if (IS("request.path")) {
        put_escaped(match_data, request->path, request->path_bytes);
    } else if (IS("request.query")) {
        put_escaped(match_data, request->query, request->query_bytes);
    } else {
        PUT(match_data, "{{");
        put(match_data, name.at, part->name_bytes);
        PUT(match_data, "}}");
    }
#undef IS
}

static int serve_template(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request,
                          const LNIC_CONTENT_T *page, const COUNT_T *count) {
    begin(match_data);
    uint32_t head_bytes = request->form == FORM_HTTP ? page->head_bytes : 0;
    put(match_data, lnic_content_response(page), head_bytes);
    for (uint32_t number = 0; number < page->part_count; number++) {
        const LNIC_CONTENT_PART_T *part = lnic_content_part(page, number);
        put(match_data, lnic_content_bytes + part->text, part->text_bytes);
        if (part->name_bytes > 0) {
            put_value(match_data, part, request, count);
        }
    }
    if (head_bytes > 0 && fits(match_data)) {
        uint32_t length = match_data->length - head_bytes;
        /* From the last digit, in front of the blank line, to the first. */
        uint8_t *digit_at = lnic_payload(match_data) + head_bytes - 4;
        do {
            *--digit_at = (uint8_t)('0' + length % 10);
            length /= 10;
        } while (length > 0);
        if (request->is_head) {
            match_data->length = head_bytes;
        }
    }
    return send(headers, match_data, request);
}

/* Does the list of entity tags name the page's, or all? A weak one is good enough for this. */
static bool names_tag(const uint8_t *list, uint32_t bytes, const LNIC_CONTENT_T *page) {
    if (list == NULL) {
        return false;
    }
    if (bytes == 1 && *list == '*') {
        return true;
    }
    for (uint32_t at = 0; at + page->etag_bytes <= bytes; at++) {
        /* With its quotes it is no part of another. */
        if (list[at] == '"' && memcmp(list + at, lnic_content_etag(page), page->etag_bytes) == 0) {
            return true;
        }
    }
    return false;
}

static void put_tag(MATCH_DATA_T *match_data, const LNIC_CONTENT_T *page) {
    PUT(match_data, "ETag: ");
    put(match_data, lnic_content_etag(page), page->etag_bytes);
    PUT(match_data, "\r\n");
}

static int serve_range(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request,
                       const LNIC_CONTENT_T *page) {
    begin(match_data);
    const RANGE_T *range = &request->range;
    uint32_t bytes = page->body_bytes, first = range->first, end = bytes;
    if (range->is_suffix) {
        first = range->first < bytes ? bytes - range->first : 0;
    } else if (range->has_last && range->last < bytes) {
        end = range->last + 1;
    }
    if (first >= end) {
        PUT(match_data, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */");
        put_number(match_data, bytes);
        PUT(match_data, "\r\nContent-Length: 0\r\n\r\n");
        return send(headers, match_data, request);
    }
    PUT(match_data, "HTTP/1.1 206 Partial Content\r\n");
    put(match_data, lnic_content_response(page) + page->type_at, page->type_bytes);
    put_tag(match_data, page);
    PUT(match_data, "Content-Range: bytes ");
    put_number(match_data, first);
    PUT(match_data, "-");
    put_number(match_data, end - 1);
    PUT(match_data, "/");
    put_number(match_data, bytes);
    PUT(match_data, "\r\nContent-Length: ");
    put_number(match_data, end - first);
    PUT(match_data, "\r\n\r\n");
    put(match_data, lnic_content_body(page) + first, end - first);
    return send(headers, match_data, request);
}

/* A file as it is. */
static int serve_file(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request,
                      const LNIC_CONTENT_T *page) {
    begin(match_data);
    if (request->form != FORM_HTTP) {
        put(match_data, lnic_content_body(page), page->body_bytes);
    } else if (names_tag(request->if_none_match, request->if_none_match_bytes, page)) {
        PUT(match_data, "HTTP/1.1 304 Not Modified\r\n");
        put_tag(match_data, page);
        PUT(match_data, "\r\n");
    } else if (request->is_head) {
        put(match_data, lnic_content_response(page), page->head_bytes);
    } else if (request->range.is_asked &&
               (request->if_range == NULL ||
                (request->if_range_bytes == page->etag_bytes &&
                 memcmp(request->if_range, lnic_content_etag(page), page->etag_bytes) == 0))) {
        return serve_range(headers, match_data, request, page);
    } else {
        put(match_data, lnic_content_response(page), page->head_bytes + page->body_bytes);
    }
    return send(headers, match_data, request);
}

/* Links of a page are relative to its address: that of a folder's index has to end with a slash. */
static int redirect(EXTRACTED_HEADERS_T *headers, MATCH_DATA_T *match_data, const REQUEST_T *request) {
    begin(match_data);
    PUT(match_data, "HTTP/1.1 301 Moved Permanently\r\nLocation: ./");
    put(match_data, request->name, request->name_bytes);
    PUT(match_data, "/");
    if (request->query_bytes > 0) {
        PUT(match_data, "?");
        put(match_data, request->query, request->query_bytes);
    }
    PUT(match_data, "\r\nContent-Length: 0\r\n\r\n");
    return send(headers, match_data, request);
}

/* The page of a path; that of a folder also without the slash at its end. */
static const LNIC_CONTENT_T *page_of(REQUEST_T *request) {
    if (request->path_bytes > LNIC_CONTENT_PATH_CAPACITY) {
        return NULL;
    }
    const LNIC_CONTENT_T *page = lnic_content_find(request->path, request->path_bytes);
    if (page == NULL) {
        request->path[request->path_bytes] = '/';
        page = lnic_content_find(request->path, request->path_bytes + 1);
    }
    return page;
}

LAMBDA(web_server) {
    REQUEST_T request;
    const LNIC_CONTENT_T *page;
    COUNT_T count = {__atomic_add_fetch(&requests, 1, __ATOMIC_RELAXED), 0, headers->meta.time_ns};
    /* Not the texts behind it: what is in them is told by their lengths. */
    memset(&request, 0, offsetof(REQUEST_T, path));
    if (match_data->length == sizeof(uint32_t) && !lnic_starts_with(match_data, "GET ", 4)) {
        uint32_t number = lnic_load_be32(lnic_payload(match_data));
        page = number < LNIC_CONTENT_COUNT ? &lnic_content[number] : NULL;
    } else {
        read_request(match_data, &request);
        switch (request.problem) {
        case ASKED_NOTHING:
            return refuse(headers, match_data, &request, &no_request);
        case ASKED_BADLY:
            return refuse(headers, match_data, &request, &no_path);
        case ASKED_OTHERWISE:
            return refuse(headers, match_data, &request, &no_method);
        }
        page = page_of(&request);
    }
    if (page == NULL) {
        return refuse(headers, match_data, &request, &no_page);
    }
    bool is_folder = lnic_content_path(page)[page->path_bytes - 1] == '/';
    if (request.form == FORM_HTTP && is_folder && !request.has_slash && request.name_bytes > 0) {
        return redirect(headers, match_data, &request);
    }
    count.of_page = __atomic_add_fetch(&file_requests[page->file], 1, __ATOMIC_RELAXED);
    if (page->part_count > 0) {
        return serve_template(headers, match_data, &request, page, &count);
    }
    return serve_file(headers, match_data, &request, page);
}
