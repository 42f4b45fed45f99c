//! C programs from a seed. They keep to what C defines, use what makes pointers hard to follow, and come to an end.

use std::fmt::Write as _;

use fastrand::Rng;

/// What every program has. A `words` pointer always has eight words before it ends, a node is never null.
const PRELUDE: &str = r#"#include <lnic.h>
#define NOINLINE __attribute__((noinline))
typedef uint32_t word;
struct node { struct node *next; word value; word *words; uint8_t bytes[8]; word own[12]; };
struct pair { word *words; word count; };
word array0[16], array1[24], untouched[16];
const word constants[16] = { 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144 };
uint8_t bytes0[64];
struct node nodes[4] = {
    { &nodes[1], 1, array0, {0}, {0} }, { &nodes[2], 2, array1, {0}, {0} },
    { &nodes[3], 3, nodes[0].own, {0}, {0} }, { &nodes[0], 4, array1 + 8, {0}, {0} },
};
word *table[4] = { array0, array1, array1 + 4, nodes[2].own };
word **volatile cell = &table[1];
struct pair pairs[3] = { { array0 + 2, 7 }, { array1 + 1, 9 }, { nodes[1].own, 3 } };
const struct { const char *text; word bytes; } texts[3] = { { "one", 3 }, { "three", 5 }, { "eleven", 6 } };
struct node *volatile current = &nodes[2];
__attribute__((export_name("keep"))) word *keep(void) { return untouched; }
typedef word function(word *, word);
NOINLINE static void move_words(word *to, const word *from, word count) { while (count--) *to++ = *from++; }
NOINLINE static void move_bytes(void *to, const void *from, word count) {
    for (word at = 0; at < count; at++) ((uint8_t *)to)[at] = ((const uint8_t *)from)[at];
}
NOINLINE static word sum(const word *from, word count) { word all = 0; for (word at = 0; at < count; at++) all += from[at]; return all; }
NOINLINE static struct pair make(word *words, word count) { struct pair it = { words, count }; return it; }
NOINLINE static word take(struct pair it) { return it.words[it.count & 7]; }
NOINLINE static word *choose(word *left, word *right, word which) { return which & 1 ? left : right; }
NOINLINE static word recurse(word *words, word depth) { word here[8]; here[depth & 7] = words[depth & 7];
    if (depth == 0) return here[0]; words[0]++; return recurse(depth & 1 ? here : words, depth - 1) + here[depth & 7] * 0; }
static word first(word *words, word by) { words[by & 7] += by; return words[1]; }
static word second(word *words, word by) { return words[by & 3] ^ array0[by & 15]; }
static word third(word *words, word by) { words[2] = by; return sum(words, by & 7); }
function *const functions[2] = { first, second };
function *volatile changing = third;
"#;

/// Writes a program with an entry `f`.
pub(crate) fn program(seed: u64) -> String {
    let mut maker = Maker { random: Rng::with_seed(seed), text: PRELUDE.to_owned(), depth: 0 };
    maker.text.push_str("LAMBDA(f) {\n");
    maker.text.push_str(
        "word x = headers->ipv4.source, y = match_data->rule, i = 0; word local0[16], local1[16]; uint8_t buffer[32];
word *p = local0, *q = array0, *g = array1; struct node *n = &nodes[0]; struct node here; struct pair pair = pairs[0];
word *places[4] = { local0, array0, local1, array1 }; uint8_t *h = headers->ethernet.source; uintptr_t hidden; uint64_t wide;
uint8_t *payload = lnic_payload(match_data); const char *text = texts[0].text;
memset(local0, 0, sizeof local0); memset(local1, 1, sizeof local1); memset(buffer, 2, sizeof buffer);
here = nodes[1]; hidden = (uintptr_t)p; wide = 1; (void)q; (void)h; (void)wide; (void)text; (void)i; (void)hidden;\n",
    );
    let statements = maker.random.usize(6..30);
    for _ in 0..statements {
        maker.statement();
    }
    maker.text.push_str("headers->meta.egress_port = (uint16_t)(x + sum(local0, 16) + local1[y & 15] + here.value + pair.count);\n");
    maker.text.push_str("return p[0] & 1 ? FORWARD : DROP;\n}\n");
    maker.text
}

struct Maker {
    random: Rng,
    text: String,
    depth: u32,
}

impl Maker {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.usize(..from.len())]
    }

    fn number(&mut self) -> String {
        let words = self.words();
        match self.random.u32(..16) {
            0..4 => "x".into(),
            4..7 => "y".into(),
            7 => self.random.u32(..100).to_string(),
            8 => format!("{words}[x & 7]"),
            9 => "n->value".into(),
            10 => "headers->udp.source_port".into(),
            11 => "match_data->parameters[y & 63]".into(),
            12 => "constants[x & 15]".into(),
            13 => "(x * 2654435761u >> 20)".into(),
            14 => "h[y % 6]".into(),
            _ => "(word)((uintptr_t)p >> 4 & 7)".into(),
        }
    }

    fn words(&mut self) -> &'static str {
        self.pick(&[
            "p",
            "p",
            "q",
            "g",
            "n->words",
            "pair.words",
            "places[x & 3]",
            "table[y & 3]",
            "here.own",
            "(*cell)",
        ])
    }

    /// A pointer that outlives the run.
    fn lasting(&mut self) -> &'static str {
        self.pick(&[
            "g",
            "array0 + (x & 7)",
            "array1 + 3",
            "n->own",
            "table[x & 3]",
            "nodes[y & 3].own + 2",
            "(*cell)",
        ])
    }

    fn statement(&mut self) {
        let (a, b) = (self.number(), self.number());
        let (words, from) = (self.words(), self.words());
        let lasting = self.lasting();
        let text = match self.random.u32(..46) {
            0 => format!("p = {words};"),
            1 => format!("q = {from};"),
            2 => format!("g = {lasting};"),
            3 => "p = local0 + (x & 7);".into(),
            4 => format!("{words}[{a} & 7] = {b};"),
            5 => format!("x += {words}[{a} & 7];"),
            6 => format!("y ^= {a} + {b};"),
            7 => format!("table[{a} & 3] = {lasting};"),
            8 => format!("places[{a} & 3] = {words};"),
            9 => format!("move_words({words}, {from}, {a} & 7);"),
            10 => format!("x = sum({words}, {a} & 7);"),
            11 => "n = n->next;".into(),
            12 => format!("n->words = {lasting};"),
            13 => format!("n->bytes[{a} & 7] = (uint8_t){b};"),
            14 => format!("n = &nodes[{a} & 3];"),
            15 => "current = n; n = current->next;".into(),
            16 => "here = *n;".into(),
            17 => "*n = nodes[x & 3];".into(),
            18 => format!("pair = make({words}, {a});"),
            19 => "y += take(pair);".into(),
            20 => format!("p = choose({words}, {from}, {a});"),
            21 => format!("x += functions[{a} & 1]({words}, {b});"),
            22 => format!("x ^= changing({words}, {a}); changing = functions[{b} & 1];"),
            23 => format!("headers->ipv4.ttl = (uint8_t){a};"),
            24 => format!("((uint8_t *)headers)[{a} % 160] ^= 1;"),
            25 => format!(
                "h = {};",
                self.pick(&[
                    "headers->ethernet.source",
                    "headers->ipv6.destination",
                    "buffer",
                    "payload",
                    "match_data->parameters",
                    "bytes0"
                ])
            ),
            26 => format!("h[{a} % 6] = (uint8_t){b};"),
            27 => format!("payload[{a} & 255] += 1;"),
            28 => format!("move_bytes(&q, &{}, sizeof q);", self.pick(&["p", "g", "n->words", "pair.words"])),
            29 => format!("hidden = (uintptr_t){words} + 12; p = (word *)(hidden - 12);"),
            30 => format!("hidden = (uintptr_t){words} ^ x; p = (word *)(hidden ^ x);"),
            31 => format!("memcpy(&wide, {words}, 8); wide += {a}; memcpy({from} + 2, &wide, 8);"),
            32 => format!("memcpy(buffer, {words}, {a} & 31);"),
            33 => "x += (word)(p - p) + (p == q) + (word)(p > local0 ? 1 : 2);".into(),
            34 => format!("text = texts[{a} % 3].text; x += (uint8_t)text[{b} % 3];"),
            35 => "x += memcmp(h, buffer, 6) < 0;".into(),
            36 => "cell = &table[x & 3]; *cell = array0;".into(),
            37 => format!("__atomic_fetch_add(&array0[{a} & 15], 1, __ATOMIC_SEQ_CST);"),
            38 => format!("x += recurse({words}, {a} & 3);"),
            39 => "LNIC_SWAP(headers->ethernet.source, headers->ethernet.destination);".into(),
            40 => format!("pairs[{a} % 3] = make({lasting}, {b});"),
            41 => format!("pair = pairs[{a} % 3];"),
            _ if self.depth < 3 => return self.block(&a),
            42 => "{ word **where = places; where += x & 3; p = *where; }".into(),
            43 => {
                "{ struct node *other = &here; other->next = n; other->next->value++; n = here.next; }".into()
            }
            44 => "for (word k = 0; k < 4; k++) places[k] = table[k];".into(),
            _ => "bytes0[y & 63] = bytes0[x & 63];".into(),
        };
        self.text.push_str(&text);
        self.text.push('\n');
    }

    fn block(&mut self, condition: &str) {
        self.depth += 1;
        let head = match self.random.u32(..3) {
            0 => format!("if ({condition} & 1) {{\n"),
            1 => format!("for (word k{0} = 0; k{0} < ({condition} & 3) + 1; k{0}++) {{\n", self.depth),
            _ => {
                format!("switch ({condition} & 3) {{ case 0: p = array1; break; case 1: q = local1; }} {{\n")
            }
        };
        let _ = write!(self.text, "{head}");
        for _ in 0..self.random.usize(1..4) {
            self.statement();
        }
        self.text.push_str("}\n");
        self.depth -= 1;
    }
}
