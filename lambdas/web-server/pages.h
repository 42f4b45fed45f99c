/* The site. Pages are numbered by their place in the table; each fits one λ-RPC fragment of 1,024 bytes. */
#ifndef WEB_SERVER_PAGES_H
#define WEB_SERVER_PAGES_H

#include <lambda.h>

/* Longest path in the table. */
#define PATH_CAPACITY 15
/* Longest page. */
#define CONTENT_CAPACITY 1024

typedef struct {
    const char *path;
    const char *content;
    uint32_t path_bytes;
    uint32_t content_bytes;
} PAGE_T;

static const char index_html[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<title>Served from the wire</title>\n"
    "<link rel=\"stylesheet\" href=\"/style.css\">\n"
    "<h1>Served from the wire</h1>\n"
    "<p>This page was sent by a lambda: matched, run and answered before any kernel saw the packet.\n"
    "<ul>\n"
    "<li><a href=\"/about.html\">How it works</a>\n"
    "<li><a href=\"/status.json\">Status</a>\n"
    "</ul>\n"
    "</html>\n";

static const char about_html[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<title>How it works</title>\n"
    "<link rel=\"stylesheet\" href=\"/style.css\">\n"
    "<h1>How it works</h1>\n"
    "<p>A frame goes through seven stations, all on one lcore.\n"
    "<ol>\n"
    "<li><b>Port</b>: bursts come in from a network card, a tap or a ring.\n"
    "<li><b>Parser</b>: finds the headers that deployed lambdas need, and no others.\n"
    "<li><b>Matcher</b>: maps addresses, ports and the lambda ID to a lambda.\n"
    "<li><b>Dispatcher</b>: keeps a queue per lambda and shares the cores by weight.\n"
    "<li><b>NPU</b>: runs the lambda to completion, in a sandbox, within a budget.\n"
    "<li><b>Deparser</b>: writes changed headers back, with lengths and checksums.\n"
    "<li><b>Port</b>: the reply leaves with the next burst.\n"
    "</ol>\n"
    "<p>A lambda is a function in C or Rust, compiled to WebAssembly. It sees the parsed headers and the payload in\n"
    "place, keeps globals between runs, and returns a verdict.\n"
    "<p>Frames that match nothing go to the host, as if nothing were in between.\n"
    "</html>\n";

static const char style_css[] =
    "body { margin: 3em auto; max-width: 40em; font: 16px/1.5 sans-serif; color: #222; }\n"
    "h1 { font-size: 1.4em; border-bottom: 1px solid #ccc; }\n"
    "a { color: #0b5394; }\n"
    "li { margin: 0.3em 0; }\n";

static const char status_json[] = "{\"status\":\"ok\"}\n";

static const char robots_txt[] = "User-agent: *\nDisallow:\n";

/* A size that is checked when it is compiled. */
#define AT_MOST(bytes, capacity) ((bytes) + 0 * sizeof(char[(bytes) <= (capacity) ? 1 : -1]))
#define PAGE(path, content) \
    {path, content, AT_MOST(sizeof(path) - 1, PATH_CAPACITY), AT_MOST(sizeof(content) - 1, CONTENT_CAPACITY)}

static const PAGE_T pages[] = {
    PAGE("/", index_html),
    PAGE("/index.html", index_html),
    PAGE("/about.html", about_html),
    PAGE("/style.css", style_css),
    PAGE("/status.json", status_json),
    PAGE("/robots.txt", robots_txt),
};

#define PAGE_COUNT (sizeof(pages) / sizeof(pages[0]))

#endif
