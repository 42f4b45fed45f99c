/*
 * What is asked: the request's form, and what of it a page needs. Everything is copied out, because the reply is written to where the
 * request lies.
 */
#ifndef WEB_SERVER_REQUEST_H
#define WEB_SERVER_REQUEST_H

#include <lnic.h>
#include <lnic_content.h>

/* Longest query that a template gets; what is longer is cut off. */
#define QUERY_CAPACITY 255
/* Longest address of which the last part is looked at. */
#define NAME_CAPACITY_BYTES 255

/* How a request is written, and with it its reply. */
enum {
    FORM_NUMBER, /* the number of a page */
    FORM_TEXT,   /* "GET /path" */
    FORM_HTTP,   /* an HTTP/1.1 message */
};

/* What is wrong with a request. */
enum {
    ASKED_WELL,
    ASKED_NOTHING,   /* none of the forms */
    ASKED_BADLY,     /* a path that is none */
    ASKED_OTHERWISE, /* another method than GET and HEAD */
};

/* One range of bytes, as Range says it. */
typedef struct {
    bool is_asked;
    bool is_suffix; /* the last so many bytes: in `first` */
    bool has_last;
    uint32_t first;
    uint32_t last;
} RANGE_T;

typedef struct {
    uint8_t form;
    uint8_t problem;
    bool is_head;
    bool has_slash; /* the address ends with a slash */
    uint32_t path_bytes;
    uint32_t query_bytes;
    uint32_t name_bytes;
    /* Values of headers, in the payload; NULL if absent. */
    const uint8_t *if_none_match;
    const uint8_t *if_range;
    uint32_t if_none_match_bytes;
    uint32_t if_range_bytes;
    RANGE_T range;
    uint8_t path[LNIC_CONTENT_PATH_CAPACITY + 1]; /* decoded */
    uint8_t query[QUERY_CAPACITY];
    uint8_t name[NAME_CAPACITY_BYTES]; /* the address's last part, as it was written */
} REQUEST_T;

/* Text that is looked at from its beginning. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} TEXT_T;

static inline uint32_t left(const TEXT_T *text) {
    return (uint32_t)(text->end - text->at);
}

static inline bool starts_with(const TEXT_T *text, const char *prefix, uint32_t bytes) {
    return left(text) >= bytes && memcmp(text->at, prefix, bytes) == 0;
}

/* Takes a prefix, if it is there. */
static inline bool take(TEXT_T *text, const char *prefix, uint32_t bytes) {
    if (!starts_with(text, prefix, bytes)) {
        return false;
    }
    text->at += bytes;
    return true;
}

#define TAKE(text, literal) take(text, "" literal, sizeof(literal) - 1)

static inline uint8_t lower(uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
}

/* Is this the header's name? `name` is in lower case, with its colon. */
static inline bool is_header(const TEXT_T *line, const char *name, uint32_t bytes) {
    if (left(line) < bytes) {
        return false;
    }
    for (uint32_t at = 0; at < bytes; at++) {
        if (lower(line->at[at]) != (uint8_t)name[at]) {
            return false;
        }
    }
    return true;
}

/* Takes a header's name and the blanks behind it. */
static inline bool take_header(TEXT_T *line, const char *name, uint32_t bytes) {
    if (!is_header(line, name, bytes)) {
        return false;
    }
    line->at += bytes;
    while (left(line) > 0 && (*line->at == ' ' || *line->at == '\t')) {
        line->at++;
    }
    return true;
}

#define TAKE_HEADER(line, literal) take_header(line, "" literal, sizeof(literal) - 1)

/* Takes a line, without its end. */
static inline TEXT_T take_line(TEXT_T *text) {
    TEXT_T line = *text;
    while (text->at < text->end && *text->at != '\n') {
        text->at++;
    }
    line.end = text->at;
    if (text->at < text->end) {
        text->at++;
    }
    if (line.end > line.at && line.end[-1] == '\r') {
        line.end--;
    }
    return line;
}

/* Takes a number; false if there is none, or a larger one than 4 billion. */
static inline bool take_number(TEXT_T *text, uint32_t *number) {
    const uint8_t *begin = text->at;
    uint64_t value = 0;
    while (left(text) > 0 && *text->at >= '0' && *text->at <= '9') {
        value = value * 10 + (*text->at - '0');
        if (value > UINT32_MAX) {
            return false;
        }
        text->at++;
    }
    *number = (uint32_t)value;
    return text->at > begin;
}

static inline int digit(uint8_t byte) {
    byte = lower(byte);
    return byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* "/." and "/.." are places of a file system, which there is none of. `from` is the slash, `bytes` where the next is, or the end. */
static inline bool is_dots(const uint8_t *path, uint32_t from, uint32_t to) {
    uint32_t bytes = to - from;
    return (bytes == 2 && path[from + 1] == '.') || (bytes == 3 && path[from + 1] == '.' && path[from + 2] == '.');
}

/* Takes the path of an address, decoded; false if it is none. */
static inline bool take_path(TEXT_T *text, REQUEST_T *request) {
    uint32_t bytes = 0, slash = 0;
    if (left(text) == 0 || *text->at != '/') {
        return false;
    }
    while (left(text) > 0 && *text->at > ' ' && *text->at != '?' && *text->at != '#') {
        uint8_t byte = *text->at++;
        if (byte == '%') {
            if (left(text) < 2 || digit(text->at[0]) < 0 || digit(text->at[1]) < 0) {
                return false;
            }
            byte = (uint8_t)(digit(text->at[0]) << 4 | digit(text->at[1]));
            text->at += 2;
            if (byte < ' ' || byte == 0x7f) {
                return false;
            }
        }
        if (byte == '/') {
            if (bytes > 0 && is_dots(request->path, slash, bytes)) {
                return false;
            }
            slash = bytes;
        }
        /* No page has a longer path: the last byte is kept only to tell that it is longer. */
        if (bytes <= LNIC_CONTENT_PATH_CAPACITY) {
            request->path[bytes++] = byte;
        }
    }
    request->path_bytes = bytes;
    return !is_dots(request->path, slash, bytes);
}

/* Takes the query behind a path; what it is cut off to is copied. */
static inline void take_query(TEXT_T *text, REQUEST_T *request) {
    const uint8_t *begin = NULL;
    if (left(text) > 0 && *text->at == '?') {
        begin = ++text->at;
    }
    while (left(text) > 0 && *text->at > ' ' && *text->at != '#') {
        text->at++;
    }
    if (begin != NULL) {
        uint32_t bytes = (uint32_t)(text->at - begin);
        request->query_bytes = bytes < QUERY_CAPACITY ? bytes : QUERY_CAPACITY;
        memcpy(request->query, begin, request->query_bytes);
    }
    while (left(text) > 0 && *text->at > ' ') {
        text->at++;
    }
}

/* The last part of an address, up to its query. */
static inline void note_name(const uint8_t *address, const uint8_t *end, REQUEST_T *request) {
    const uint8_t *name = address, *at = address;
    for (; at < end && *at > ' ' && *at != '?' && *at != '#'; at++) {
        if (*at == '/') {
            name = at + 1;
        }
    }
    uint32_t bytes = (uint32_t)(at - name);
    request->has_slash = bytes == 0;
    /* One that is longer is nobody's. */
    request->name_bytes = bytes <= NAME_CAPACITY_BYTES ? bytes : 0;
    memcpy(request->name, name, request->name_bytes);
}

/* "bytes=0-499", "bytes=500-", "bytes=-500"; anything else is as if it had not been said. */
static inline void note_range(TEXT_T value, RANGE_T *range) {
    RANGE_T found = {.is_asked = true};
    if (!TAKE(&value, "bytes=")) {
        return;
    }
    if (TAKE(&value, "-")) {
        found.is_suffix = true;
        if (!take_number(&value, &found.first)) {
            return;
        }
    } else {
        if (!take_number(&value, &found.first) || !TAKE(&value, "-")) {
            return;
        }
        found.has_last = left(&value) > 0;
        if (found.has_last && (!take_number(&value, &found.last) || found.last < found.first)) {
            return;
        }
    }
    if (left(&value) == 0) {
        *range = found;
    }
}

static inline void note_headers(TEXT_T text, REQUEST_T *request) {
    while (left(&text) > 0) {
        TEXT_T line = take_line(&text);
        if (left(&line) == 0) {
            return;
        }
        switch (lower(*line.at)) {
        case 'i':
            if (TAKE_HEADER(&line, "if-none-match:")) {
                request->if_none_match = line.at;
                request->if_none_match_bytes = left(&line);
            } else if (TAKE_HEADER(&line, "if-range:")) {
                request->if_range = line.at;
                request->if_range_bytes = left(&line);
            }
            break;
        case 'r':
            if (TAKE_HEADER(&line, "range:")) {
                note_range(line, &request->range);
            }
            break;
        case 'x':
            /* The address as its sender knows it: a gateway takes away what is in front of ours. */
            if (TAKE_HEADER(&line, "x-forwarded-uri:")) {
                note_name(line.at, line.end, request);
            }
            break;
        }
    }
}

/* The address of a request, and for HTTP what is behind it. */
static inline void read_address(TEXT_T text, REQUEST_T *request) {
    const uint8_t *address = text.at;
    bool is_path = take_path(&text, request);
    take_query(&text, request);
    if (starts_with(&text, " HTTP/1.", 8)) {
        request->form = FORM_HTTP;
        note_name(address, text.at, request);
        take_line(&text);
        note_headers(text, request);
    }
    if (!is_path) {
        request->problem = ASKED_BADLY;
    }
}

/* Is it a method that is not ours, of HTTP? Its line says so at its end. */
static inline bool is_other_method(TEXT_T text) {
    TEXT_T line = take_line(&text);
    while (left(&line) > 0 && *line.at != ' ') {
        line.at++;
    }
    while (left(&line) > 0 && !starts_with(&line, " HTTP/1.", 8)) {
        line.at++;
    }
    return left(&line) > 0;
}

/* What is asked with a method and an address. */
static inline void read_request(const MATCH_DATA_T *match_data, REQUEST_T *request) {
    const uint8_t *payload = lnic_payload(match_data);
    TEXT_T text = {payload, payload + match_data->length};
    request->form = FORM_TEXT;
    if (TAKE(&text, "GET ")) {
        read_address(text, request);
    } else if (TAKE(&text, "HEAD ")) {
        request->is_head = true;
        read_address(text, request);
        if (request->form != FORM_HTTP) {
            request->problem = ASKED_NOTHING;
        }
    } else if (is_other_method(text)) {
        request->form = FORM_HTTP;
        request->problem = ASKED_OTHERWISE;
    } else {
        request->problem = ASKED_NOTHING;
    }
}

#endif
