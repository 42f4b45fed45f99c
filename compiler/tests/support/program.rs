//! Random C programs whose results do not depend on where their globals lie.
//!
//! Every access stays inside its object, so what the compiler may assume holds; addresses are stored, compared with addresses of
//! the same object and followed, but never become part of a result.

use std::fmt::Write as _;

use fastrand::Rng;

/// Objects of one program.
const ARRAYS: usize = 9;
/// Statements of each function.
const STATEMENTS: std::ops::Range<usize> = 4..12;
const FUNCTIONS: usize = 5;

/// Declared once in a file.
pub(crate) const PRELUDE: &str = r#"
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
#define WHERE(name) __attribute__((section(name)))
#define NOINLINE __attribute__((noinline))
struct record { u8 kind; u16 pair[2]; u64 wide; const u8 *at; u32 span; u32 (*call)(u32); };
NOINLINE static u32 mix(u32 a, u32 b) { a ^= b + 0x9e3779b9u + (a << 6) + (a >> 2); return a * 2654435761u; }
NOINLINE static u32 opaque(u32 a) { __asm__ volatile("" : "+r"(a)); return a; }
"#;

struct Array {
    name: String,
    /// Bytes of an element.
    unit: usize,
    elements: usize,
    constant: bool,
}

impl Array {
    fn bytes(&self) -> usize {
        self.unit * self.elements
    }
}

/// A program with the entry `int {prefix}_f(u32 headers, u32 match_data)`.
pub(crate) fn program(random: &mut Rng, prefix: &str) -> String {
    let mut text = String::new();
    let arrays: Vec<Array> = (0..ARRAYS).map(|at| array(random, prefix, at, &mut text)).collect();
    for function in 0..FUNCTIONS {
        let linkage = if random.bool() { "static" } else { "" };
        writeln!(text, "NOINLINE {linkage} u32 {prefix}_f{function}(u32 x);").unwrap();
    }
    pointers(random, prefix, &arrays, &mut text);
    strings(random, prefix, &mut text);
    for function in 0..FUNCTIONS {
        writeln!(text, "u32 {prefix}_f{function}(u32 x) {{\n  u32 y = x;").unwrap();
        for _ in 0..random.usize(STATEMENTS) {
            statement(random, prefix, &arrays, function, &mut text);
        }
        text.push_str("  return mix(x, y);\n}\n");
    }
    write!(
        text,
        "__attribute__((export_name(\"{prefix}_f\"))) int {prefix}_f(u32 headers, u32 match_data) {{\n\
         u8 *in = (u8 *)headers; u32 *out = (u32 *)(headers + 512); u32 x = *(u32 *)(headers + 16);\n\
         for (u32 turn = 0; turn < 6; turn++) {{\n\
         x = mix(x, in[turn * 7]); x = mix(x, {prefix}_calls[x % {FUNCTIONS}](x)); out[turn] = x;\n\
         u32 length = x % 48;\n\
         __builtin_memcpy(out + 16 + turn * 16, {prefix}_a0, length < sizeof {prefix}_a0 ? length : sizeof {prefix}_a0);\n\
         }}\n"
    )
    .unwrap();
    for array in &arrays {
        let name = &array.name;
        writeln!(text, "for (u32 i = 0; i < sizeof {name}; i++) x = x * 31 + ((const u8 *){name})[i];")
            .unwrap();
    }
    text.push_str("return (int)x;\n}\n");
    text
}

fn array(random: &mut Rng, prefix: &str, at: usize, text: &mut String) -> Array {
    let (kind, unit) = [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)][random.usize(0..4)];
    let elements = match random.usize(0..8) {
        0..3 => 1,
        3..6 => random.usize(2..20),
        6 => random.usize(20..300),
        _ => random.usize(300..4000),
    };
    let constant = random.usize(0..3) == 0;
    let name = format!("{prefix}_a{at}");
    // Kept in its order and with its size: it may be named by others, or seen by this file only.
    let linkage = if random.bool() { "static " } else { "" };
    let qualifier = if constant { "const " } else { "" };
    let section = match random.usize(0..3) {
        0 => {
            let tier = ["local", "ctm", "imem", "emem"][random.usize(0..4)];
            format!("WHERE(\".{tier}{}\") ", if constant { ".const" } else { "" })
        }
        _ => String::new(),
    };
    let alignment = match random.usize(0..5) {
        0 => format!("_Alignas({}) ", 8 << random.usize(0..4)),
        _ => String::new(),
    };
    write!(text, "{section}{linkage}{alignment}{qualifier}{kind} {name}[{elements}]").unwrap();
    if constant || random.bool() {
        let values: Vec<String> =
            (0..random.usize(1..=elements.min(40))).map(|_| format!("({kind}){}u", random.u32(..))).collect();
        write!(text, " = {{{}}}", values.join(", ")).unwrap();
    }
    text.push_str(";\n");
    Array { name, unit, elements, constant }
}

/// Tables of addresses, with how far each may be followed.
fn pointers(random: &mut Rng, prefix: &str, arrays: &[Array], text: &mut String) {
    let target = |random: &mut Rng| {
        let array = &arrays[random.usize(0..arrays.len())];
        // One past the end, too.
        let offset = random.usize(0..=array.bytes());
        (format!("(u8 *){} + {offset}", array.name), offset, array.bytes())
    };
    let targets: Vec<_> = (0..random.usize(3..9)).map(|_| target(random)).collect();
    let list = |of: &dyn Fn(&(String, usize, usize)) -> String| {
        targets.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let constant = if random.bool() { "const " } else { "" };
    writeln!(text, "static u8 *{constant}{prefix}_at[] = {{{}}};", list(&|target| target.0.clone())).unwrap();
    writeln!(text, "static const int {prefix}_low[] = {{{}}};", list(&|target| format!("-{}", target.1)))
        .unwrap();
    writeln!(text, "static const u32 {prefix}_span[] = {{{}}};", list(&|target| target.2.to_string()))
        .unwrap();
    writeln!(text, "static u8 *{prefix}_cursor; static u32 {prefix}_cursor_of;").unwrap();

    let calls: Vec<String> = (0..FUNCTIONS).map(|at| format!("{prefix}_leaf{at}")).collect();
    for (at, name) in calls.iter().enumerate() {
        writeln!(
            text,
            "static u32 {name}(u32 x) {{ static u32 seen = {at}; seen += x; return seen ^ {}u; }}",
            random.u32(..)
        )
        .unwrap();
    }
    let functions: Vec<String> = (0..FUNCTIONS).map(|at| format!("{prefix}_f{at}")).collect();
    writeln!(text, "static u32 (*const {prefix}_calls[])(u32) = {{{}}};", functions.join(", ")).unwrap();
    let records: Vec<String> = (0..random.usize(1..6))
        .map(|_| {
            let array = &arrays[random.usize(0..arrays.len())];
            let call = &calls[random.usize(0..calls.len())];
            let (kind, first, second) = (random.u8(..), random.u16(..), random.u16(..));
            let wide = random.u64(..);
            let (name, span) = (&array.name, array.bytes());
            format!("{{{kind}, {{{first}, {second}}}, {wide}ull, (const u8 *){name}, {span}, {call}}}")
        })
        .collect();
    writeln!(text, "static struct record {prefix}_records[] = {{{}}};", records.join(", ")).unwrap();
}

/// Some are the ends of others: the linker lays them over each other.
fn strings(random: &mut Rng, prefix: &str, text: &mut String) {
    let all = ["lambda", "a longer lambda", "da", "", "other", "another", "the lambda of another"];
    let list: Vec<String> = (0..4).map(|_| format!("\"{}\"", all[random.usize(0..all.len())])).collect();
    writeln!(text, "static const char *const {prefix}_texts[] = {{{}}};", list.join(", ")).unwrap();
}

fn statement(random: &mut Rng, prefix: &str, arrays: &[Array], function: usize, text: &mut String) {
    let array = &arrays[random.usize(0..arrays.len())];
    let other = &arrays[random.usize(0..arrays.len())];
    let variables: Vec<&Array> = arrays.iter().filter(|array| !array.constant).collect();
    let variable = (!variables.is_empty()).then(|| variables[random.usize(0..variables.len())]);
    let (name, elements) = (&array.name, array.elements);
    let constant = random.u32(..);
    let line = match (random.usize(0..14), variable) {
        (0, _) => format!("y = mix(y, (u32){name}[x % {elements}]);"),
        (1, Some(Array { name, elements, .. })) => format!("{name}[(x + y) % {elements}] += y;"),
        // The constant becomes part of the address.
        (2, _) => {
            let far = random.usize(1..5000);
            format!("{{ u32 i = opaque(y % {elements} + {far}); y = mix(y, (u32){name}[i - {far}]); }}")
        }
        (3, _) => format!("for (u32 i = 0; i < {elements}; i++) y = y * 33 + (u32){name}[i];"),
        (4, Some(to)) => {
            let bytes = random.usize(0..=to.bytes().min(other.bytes()));
            format!("__builtin_memmove({}, {}, {bytes});", to.name, other.name)
        }
        (5, Some(to)) => {
            let from = random.usize(0..=to.bytes());
            format!(
                "__builtin_memset((u8 *){} + {from}, (int)y, opaque(y) % {});",
                to.name,
                to.bytes() - from + 1
            )
        }
        (6, _) => format!(
            "{{ u32 i = y % (sizeof {prefix}_at / sizeof *{prefix}_at);\n\
             y = mix(y, {prefix}_at[i][{prefix}_low[i] + (int)(x % {prefix}_span[i])]); }}"
        ),
        (7, _) => format!(
            "if (y & 1) {{ {prefix}_cursor_of = y % (sizeof {prefix}_at / sizeof *{prefix}_at); \
             {prefix}_cursor = {prefix}_at[{prefix}_cursor_of]; }}\n\
             else if ({prefix}_cursor) y = mix(y, {prefix}_cursor[{prefix}_low[{prefix}_cursor_of] + \
             (int)(x % {prefix}_span[{prefix}_cursor_of])]);"
        ),
        (8, _) => format!(
            "y = mix(y, {prefix}_texts[x & 3][0]); for (const char *c = {prefix}_texts[y & 3]; *c; c++) y += (u8)*c;"
        ),
        (9, _) => {
            let cases: Vec<String> =
                (0..12).map(|case| format!("case {case}: y ^= {}u; break;", random.u32(..))).collect();
            format!("switch (x % 13) {{ {} default: y++; }}", cases.join(" "))
        }
        (10, _) => {
            let texts: Vec<String> = (0..8)
                .map(|case| {
                    format!(
                        "case {case}: p = (const u8 *){}; n = {}; break;",
                        arrays[case].name,
                        arrays[case].bytes()
                    )
                })
                .collect();
            format!(
                "{{ const u8 *p; u32 n; switch (y & 7) {{ {} default: p = (const u8 *){name}; n = 1; }} \
                 y = mix(y, p[x % n]); }}",
                texts.join(" ")
            )
        }
        (11, _) => format!(
            "{{ struct record *r = &{prefix}_records[x % (sizeof {prefix}_records / sizeof *{prefix}_records)];\n\
             y = mix(y, r->call(x)); y = mix(y, r->at[y % r->span]); r->pair[y & 1] += y; r->wide ^= y;\n\
             if (r->at == (const u8 *){name}) y ^= {constant}u; }}"
        ),
        (12, _) => "{ static u16 runs[3]; y = mix(y, ++runs[x % 3]); \
                    static u8 last = 7; y += last; last = (u8)x; }"
            .to_owned(),
        // Calls go to later functions only: they end.
        (13, _) if function + 1 < FUNCTIONS => format!("y = mix(y, {prefix}_f{}(y));", function + 1),
        _ => format!(
            "{{ u32 local[8]; for (u32 i = 0; i < 8; i++) local[i] = x * i; y = mix(y, local[y & 7]); \
             y = mix(y, (u32)(&{name}[y % {elements}] - {name})); }}"
        ),
    };
    writeln!(text, "  {line}").unwrap();
}
