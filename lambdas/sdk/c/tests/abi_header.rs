//! `lnic_abi.h` is what `lnic-abi` says.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, ItemType, Language, SortKey, Style};
use lnic_abi as abi;
use lnic_abi::{Ethernet, Headers, Ipv4, Ipv6, MatchData, Meta, Rpc, Tcp, Udp, Vlan};

/// Writes the header instead of comparing it.
const WRITE: &str = "LNIC_WRITE_HEADER";

/// What C calls the structures: Listing 1 of the paper has the first two.
const TYPES: [(&str, &str); 10] = [
    ("Headers", "EXTRACTED_HEADERS_T"),
    ("MatchData", "MATCH_DATA_T"),
    ("Meta", "META_T"),
    ("Rpc", "RPC_T"),
    ("Ethernet", "ETHERNET_T"),
    ("Vlan", "VLAN_T"),
    ("Ipv4", "IPV4_T"),
    ("Ipv6", "IPV6_T"),
    ("Udp", "UDP_T"),
    ("Tcp", "TCP_T"),
];

/// Constants that only the host needs.
const HOST_ONLY: [&str; 9] = [
    "EXPORT_MEMORY",
    "EXPORT_HEAP_BASE",
    "EXPORT_STACK_POINTER",
    "EXPORT_DATA_END",
    "IO_ALIGN",
    "IO_HEADERS",
    "IO_MATCH_DATA",
    "IO_PAYLOAD",
    "IO_BYTES",
];

const PREAMBLE: &str = "\
/*
 * Layout of headers and match data, and the numbers that lnic and a lambda share: ABI version 1.
 *
 * Made from lambdas/abi, in Rust; do not edit. The assertions at the end are what the Rust compiler has laid out.
 */";

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The header as it should be.
fn generate() -> String {
    let renamed: HashMap<String, String> = TYPES
        .iter()
        .chain(&[("VERSION", "LNIC_ABI_VERSION")])
        .map(|(rust, c)| ((*rust).to_owned(), (*c).to_owned()))
        .collect();
    let mut config = Config {
        language: Language::C,
        header: Some(PREAMBLE.into()),
        include_guard: Some("LNIC_ABI_H".into()),
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h"].map(String::from).into(),
        after_includes: Some(names()),
        style: Style::Type,
        documentation_style: DocumentationStyle::C,
        line_length: 110,
        tab_width: 4,
        trailer: Some(assertions()),
        ..Config::default()
    };
    config.constant.sort_by = Some(SortKey::None);
    config.export.item_types = vec![ItemType::Constants, ItemType::Structs];
    config.export.exclude = HOST_ONLY.map(String::from).into();
    config.export.include = TYPES.map(|(rust, _)| rust.to_owned()).into();
    config.export.rename = renamed.clone();
    let bindings = Builder::new()
        .with_config(config)
        .with_src(folder("../../abi/src/rpc.rs"))
        .with_src(folder("../../abi/src/lib.rs"))
        .generate()
        .unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    plain(&String::from_utf8(text).unwrap(), &renamed)
}

/// Names of imports, exports and sections. They get a prefix: they are the SDK's business and not that of authors.
fn names() -> String {
    let mut text = String::from(
        "\n/* Names that the linker writes into a module: exports, imports, and sections of objects. */\n",
    );
    macro_rules! names {
        ($($name:ident),+) => {
            $(writeln!(text, "#define LNIC_{} \"{}\"", stringify!($name), abi::$name).unwrap();)+
        };
    }
    names! {
        EXPORT_VERSION, EXPORT_INIT, IMPORT_MODULE, IMPORT_CALL, IMPORT_LOG, IMPORT_ENVIRONMENT, IMPORT_SECRET,
        IMPORT_SERVICE, IMPORT_REQUEST, IMPORT_RANDOM, SECTION_LOCAL, SECTION_CTM, SECTION_IMEM, SECTION_EMEM,
        SECTION_LOCAL_CONST, SECTION_CTM_CONST, SECTION_IMEM_CONST, SECTION_EMEM_CONST
    }
    text
}

/// Comments in this SDK's style, with C's names where Rust's documentation has links.
fn plain(text: &str, renamed: &HashMap<String, String>) -> String {
    let mut linked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let (name, after) = after.split_once("`]").expect("a link that ends");
        linked.push_str(before);
        linked.push_str(renamed.get(name).map_or(name, String::as_str));
        rest = after;
    }
    linked.push_str(rest);
    let (mut plain, mut lines) = (String::with_capacity(text.len()), linked.lines().peekable());
    let mut of_constant = false;
    while let Some(line) = lines.next() {
        // Constants that belong together stand together.
        if line.is_empty() && of_constant && lines.peek() == Some(&"/*") {
            continue;
        }
        of_constant = line.starts_with("#define");
        if let Some((name, value)) = line.rsplit_once(" -").filter(|_| of_constant) {
            writeln!(plain, "{name} (-{value})").unwrap();
            continue;
        }
        if line.trim() != "/*" || lines.peek().is_some_and(|line| line.starts_with(" * ")) {
            if line.starts_with("typedef") {
                // A type stands for itself, with its comment.
                let comment = plain.trim_end().rfind("\n/*").expect("a documented type");
                plain.insert(comment + 1, '\n');
            }
            writeln!(plain, "{line}").unwrap();
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<&str> = lines.by_ref().map(str::trim).take_while(|line| *line != "*/").collect();
        if let [only] = words[..] {
            writeln!(plain, "{indent}/* {only} */").unwrap();
        } else {
            let body = words.join(&format!("\n{indent} * "));
            writeln!(plain, "{indent}/*\n{indent} * {body}\n{indent} */").unwrap();
        }
    }
    let plain = plain.replace("\n\n\n", "\n\n");
    plain.replace('`', "")
}

/// Size and offset of every field as the Rust compiler has them. A field that is not named here does not compile.
fn assertions() -> String {
    let mut text = String::new();
    macro_rules! layout {
        ($rust:ident: $($field:ident),+) => {
            let c = TYPES.iter().find(|(rust, _)| *rust == stringify!($rust)).unwrap().1;
            $(writeln!(text, "_Static_assert(offsetof({c}, {0}) == {1}, \"{c}.{0}\");", stringify!($field),
                offset_of!($rust, $field)).unwrap();
            writeln!(text, "_Static_assert(sizeof((({c} *)0)->{0}) == {1}, \"{c}.{0}\");", stringify!($field),
                size_of_field(|value: &$rust| size_of_val(&value.$field))).unwrap();)+
            writeln!(text, "_Static_assert(sizeof({c}) == {}, \"{c}\");", size_of::<$rust>()).unwrap();
            let _ = |value: $rust| { let $rust { $($field: _),+ } = value; };
        };
    }
    layout! { Meta: time_ns, frame_length, ingress_port, egress_port }
    layout! { Rpc:
        valid, kind, status, credit, flags, service_us, lambda_id, budget_us, request_id, message_length,
        fragment_bytes, fragment_index
    }
    layout! { Ethernet: destination, source, ether_type, valid, reserved }
    layout! { Vlan: valid, pcp, dei, reserved, vid, reserved2 }
    layout! { Ipv4:
        valid, tos, ttl, protocol, identification, dont_fragment, options_bytes, source, destination, total_length,
        reserved
    }
    layout! { Ipv6:
        valid, traffic_class, hop_limit, protocol, flow_label, source, destination, payload_length, extension_bytes
    }
    layout! { Udp: valid, reserved, source_port, destination_port, length }
    layout! { Tcp: valid, flags, source_port, destination_port, window, sequence, acknowledgement }
    layout! { Headers: meta, rpc, ethernet, vlan, ipv4, ipv6, udp, tcp }
    layout! { MatchData: payload, length, capacity, lambda_id, rule, parameters_length, parameters }
    text.trim_end().to_owned()
}

fn size_of_field<T: Default>(size: impl FnOnce(&T) -> usize) -> usize {
    size(&T::default())
}

#[test]
fn the_header_is_what_the_abi_says() {
    let (path, generated) = (folder("lnic_abi.h"), generate());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(generated.lines()).take_while(|(found, made)| found == made).count() + 1;
    assert!(
        found == generated,
        "lnic_abi.h is not what lambdas/abi says, from line {line}: write it anew by\n    \
         {WRITE}=1 cargo test --release -p lnic -p lnic-sdk-c --test abi_header"
    );
}

#[test]
fn every_constant_of_the_abi_is_in_the_header_or_is_the_hosts() {
    let header = generate();
    let mut constants = 0;
    for source in ["lib.rs", "rpc.rs"] {
        let text = std::fs::read_to_string(folder("../../abi/src").join(source)).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("pub const ")) {
            let name = line.split(':').next().unwrap();
            let defined = ["", "LNIC_", "LNIC_ABI_"]
                .iter()
                .any(|prefix| header.lines().any(|it| it.starts_with(&format!("#define {prefix}{name} "))));
            assert_ne!(defined, HOST_ONLY.contains(&name), "{name}");
            constants += 1;
        }
    }
    assert!(constants > 60, "{constants}");
}

#[test]
fn no_link_and_no_name_of_rust_is_left() {
    let header = generate();
    for left in ["[`", "`", "usize", "u32;", "Headers ", "MatchData"] {
        assert!(!header.contains(left), "{left}");
    }
}
