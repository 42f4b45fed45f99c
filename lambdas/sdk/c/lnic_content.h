/*
 * Content: files that are part of a lambda's module. `lnic build DIR` takes them from DIR/content, or from the folder that
 * `--content` names, and puts how many there are in front of this header.
 *
 *     #include <lnic.h>
 *     #include <lnic_content.h>
 *
 *     LAMBDA(hello) {
 *         const LNIC_CONTENT_T *page = lnic_content_find("/index.html", 11);
 *         if (page == NULL) {
 *             return lnic_reply(headers, match_data, STATUS_NOT_FOUND, 0);
 *         }
 *         return lnic_reply_with(headers, match_data, STATUS_OK, lnic_content_body(page), page->body_bytes);
 *     }
 *
 * A file `content/a/b.html` has the path "/a/b.html"; an `index.html` also that of its folder, with a slash behind it. Hidden files
 * are left out. A file `b.html.tmpl` is a template and has the path "/b.html": what stands between {{ and }} are names, which
 * the lambda puts values in the place of.
 */
#ifndef LNIC_CONTENT_H
#define LNIC_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LNIC_CONTENT_COUNT
#error "no content: make a folder content/ beside the lambda's code, or name one with `lnic build --content FOLDER`"
#endif

/* Longest path. */
#define LNIC_CONTENT_PATH_CAPACITY 255
/* Spaces for a template's length in its head, in front of the last four bytes. */
#define LNIC_CONTENT_LENGTH_DIGITS 10

/* A piece of a template: text, and the name behind it; the last piece has none. Both lie in the file. */
typedef struct {
    uint32_t text;
    uint32_t text_bytes;
    uint32_t name;
    uint32_t name_bytes;
} LNIC_CONTENT_PART_T;

/*
 * A path and its file. There are places and lengths in it and no pointers: whoever reads how the lambda uses its memory
 * then never takes a length for an address. The functions below make pointers of them; no text has a zero at its end.
 */
typedef struct {
    uint32_t path;
    uint32_t path_bytes;
    uint32_t etag;
    uint32_t etag_bytes;
    uint32_t response;
    uint32_t head_bytes;
    uint32_t type_at;    /* where in the head the line of Content-Type begins */
    uint32_t type_bytes; /* of that line, with its end */
    uint32_t body_bytes;
    uint32_t parts;
    uint32_t part_count; /* of a template, else 0 */
    uint32_t file;       /* number of the file: paths of one file have the same; below LNIC_CONTENT_FILES */
} LNIC_CONTENT_T;

/* All paths, sorted by their bytes; and what they speak of. */
extern const LNIC_CONTENT_T lnic_content[LNIC_CONTENT_COUNT];
extern const LNIC_CONTENT_PART_T lnic_content_parts[];
extern const uint8_t lnic_content_names[];
extern const uint8_t lnic_content_bytes[];

/* "/about.html". */
static inline const uint8_t *lnic_content_path(const LNIC_CONTENT_T *entry) {
    return lnic_content_names + entry->path;
}

/* A strong entity tag of the file's bytes, with its quotes. */
static inline const uint8_t *lnic_content_etag(const LNIC_CONTENT_T *entry) {
    return lnic_content_names + entry->etag;
}

/* An HTTP response with status 200: its head, and the body behind it. Of a template, the head has spaces for its length. */
static inline const uint8_t *lnic_content_response(const LNIC_CONTENT_T *entry) {
    return lnic_content_bytes + entry->response;
}

/* The file. */
static inline const uint8_t *lnic_content_body(const LNIC_CONTENT_T *entry) {
    return lnic_content_bytes + entry->response + entry->head_bytes;
}

/* A piece of a template; its text and its name are at these places behind lnic_content_bytes. */
static inline const LNIC_CONTENT_PART_T *lnic_content_part(const LNIC_CONTENT_T *entry, uint32_t number) {
    return &lnic_content_parts[entry->parts + number];
}

/* Compares as memcmp does, and a prefix comes first. */
static inline int lnic_content_compare(const uint8_t *left, uint32_t left_bytes, const uint8_t *right,
                                       uint32_t right_bytes) {
    uint32_t common = left_bytes < right_bytes ? left_bytes : right_bytes;
    for (uint32_t at = 0; at < common; at++) {
        if (left[at] != right[at]) {
            return left[at] < right[at] ? -1 : 1;
        }
    }
    return left_bytes == right_bytes ? 0 : left_bytes < right_bytes ? -1 : 1;
}

/* The entry with this path, or NULL. */
static inline const LNIC_CONTENT_T *lnic_content_find(const void *path, uint32_t bytes) {
    uint32_t low = 0, high = LNIC_CONTENT_COUNT;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const LNIC_CONTENT_T *entry = &lnic_content[middle];
        int order = lnic_content_compare(lnic_content_path(entry), entry->path_bytes, path, bytes);
        if (order == 0) {
            return entry;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

#endif
