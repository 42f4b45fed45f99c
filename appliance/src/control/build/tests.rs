use super::*;

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};

use lnic_abi as abi;
use lnic_abi::{Ethernet, Headers, Ipv4, Ipv6, MatchData, Meta, Rpc, Tcp, Udp, Vlan};

/// True if the tools are there; says so otherwise.
fn have_tools() -> bool {
    let found = c::find(None).and_then(|clang| link::checked(link::of_clang(&clang)?));
    if let Err(error) = &found {
        let _ = writeln!(io::stderr(), "skipped: {error}");
    }
    found.is_ok()
}

fn lambdas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambdas")
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn with_output(output: &Path) -> Options {
    Options { output: Some(output.into()), ..Options::default() }
}

const MINIMAL: &str = "#include <lnic.h>\nLAMBDA(minimal) { return DROP; }\n";

#[test]
fn builds_the_lambdas_of_the_repository() {
    if !have_tools() {
        return;
    }
    let lambdas_and_entries =
        [("echo", "echo"), ("web-server", "web_server"), ("image-transformer", "image_transformer")];
    for (name, entry) in lambdas_and_entries {
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("out.wasm");
        let report = build(&lambdas().join(name), &with_output(&output)).unwrap();
        assert_eq!(report.entries, [entry]);
        assert_eq!(report.warnings, "");
        assert_eq!((report.memory_bytes % 4096, report.stack_bytes), (0, STACK_BYTES));
        assert_eq!(report.module_bytes, std::fs::metadata(&output).unwrap().len());
        let shape = verify(&std::fs::read(&output).unwrap(), entry, &Limits::default()).unwrap();
        assert_eq!(shape.memory_bytes, report.memory_bytes);
        // The web server counts.
        assert_eq!(
            (shape.suspends, shape.writable_globals),
            (false, name == "web-server"),
            "{name}: {shape:?}"
        );
    }
}

#[test]
fn the_default_output_has_the_name_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("rate-limit");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    assert_eq!(default_output(&dir).unwrap(), dir.join("rate-limit.wasm"));
    assert_eq!(default_output(&dir.join("src/..")).unwrap(), dir.join("src/../rate-limit.wasm"));
}

#[test]
fn the_module_is_written_with_the_usual_rights() {
    use std::os::unix::fs::PermissionsExt as _;
    if !have_tools() {
        return;
    }
    let source = folder(&[("a.c", MINIMAL)]);
    let report = build(source.path(), &Options::default()).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&report.file), mode(&source.path().join("a.c")));
    assert_eq!(report.file.parent(), Some(source.path()));
    assert_eq!(std::fs::read_dir(source.path()).unwrap().count(), 2, "nothing is left behind");
}

#[test]
fn a_folder_without_c_files_is_named() {
    let empty = folder(&[("notes.txt", ""), (".hidden.c", "")]);
    let error = build(empty.path(), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: neither C files (*.c) nor a crate in Rust (Cargo.toml)", empty.path().display())
    );
    let error = build(Path::new("/nonexistent/lambda"), &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nonexistent/lambda: "), "{error}");
}

#[test]
fn a_missing_compiler_says_what_to_install() {
    let source = folder(&[("a.c", MINIMAL)]);
    let options = Options { clang: Some("/nonexistent/clang".into()), ..Options::default() };
    assert_eq!(
        build(source.path(), &options).unwrap_err().to_string(),
        "/nonexistent/clang not found: apt-get install clang lld, or name it in the environment variable CLANG"
    );
    if have_tools() {
        let options = Options { wasm_ld: Some("/nonexistent/wasm-ld".into()), ..Options::default() };
        assert_eq!(
            build(source.path(), &options).unwrap_err().to_string(),
            "/nonexistent/wasm-ld not found: apt-get install clang lld, or name it in the environment variable WASM_LD"
        );
    }
}

#[test]
fn what_the_compiler_says_passes_through() {
    if !have_tools() {
        return;
    }
    let source = folder(&[("bad.c", "#include <lnic.h>\nLAMBDA(bad) { return missing(); }\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    let BuildError::Diagnosed { tool: "clang", diagnostics } = error else { panic!("{error}") };
    assert!(
        diagnostics.starts_with(&format!("{}/bad.c:2:22: error: ", source.path().display())),
        "{diagnostics}"
    );

    let source =
        folder(&[("loose.c", "#include <lnic.h>\nint other(int);\nLAMBDA(loose) { return other(1); }\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    let BuildError::Diagnosed { tool: "wasm-ld", diagnostics } = error else { panic!("{error}") };
    assert!(diagnostics.contains("loose.o: undefined symbol: other"), "{diagnostics}");

    let source = folder(&[("host.c", "#include <stdio.h>\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("'stdio.h' file not found"), "{error}");

    let source = folder(&[("warns.c", "#include <lnic.h>\nLAMBDA(warns) { int unused; return DROP; }\n")]);
    let report = build(source.path(), &Options::default()).unwrap();
    assert!(report.warnings.contains("unused variable 'unused'"), "{}", report.warnings);
}

#[test]
fn what_a_deployment_refuses_is_not_built() {
    if !have_tools() {
        return;
    }
    let source = folder(&[("a.c", "int helper(int x) { return x; }\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    assert!(error.to_string().ends_with(": no entry: define one with LAMBDA(name) of <lnic.h>"), "{error}");

    let import = "#include <lnic.h>\n\
        __attribute__((import_module(\"env\"), import_name(\"now\"))) int now(void);\n\
        LAMBDA(importer) { return now(); }\n";
    let error = build(folder(&[("a.c", import)]).path(), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"importer\": imports \"env\".\"now\": a lambda may import \"lnic\".\"call\", \"lnic\".\"log\", \"lnic\".\"environment\", \"lnic\".\"secret\", \"lnic\".\"service\", \"lnic\".\"request\", \"lnic\".\"random\" and nothing else"
    );

    let huge = "#include <lnic.h>\nstatic char huge[64 << 20];\nLAMBDA(hoard) { return huge[match_data->length]++; }\n";
    let error = build(folder(&[("a.c", huge)]).path(), &Options::default()).unwrap_err();
    assert!(matches!(error, BuildError::Diagnosed { tool: "wasm-ld", .. }), "{error}");

    // Data that fits, but not with the I/O area.
    let tight = "#include <lnic.h>\n\
        static char data[(64 << 20) - 20480];\nLAMBDA(tight) { return data[match_data->length]++; }\n";
    let error = build(folder(&[("a.c", tight)]).path(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("over the limit of 67108864"), "{error}");

    for stack_bytes in [0, 1000, 16_392, 2 << 20] {
        let options = Options { stack_bytes, ..Options::default() };
        assert!(matches!(build(Path::new("."), &options), Err(BuildError::Stack(_))));
    }
}

#[test]
fn memory_has_room_for_data_stack_and_the_io_area() {
    if !have_tools() {
        return;
    }
    // From just below to just above what so many bytes hold beside the I/O area.
    let room = 28 * 1024 - u64::from(STACK_BYTES) - abi::IO_BYTES as u64;
    for (data_bytes, kib) in [(room - 128, 28), (room + 1, 32), (1 << 20, 1024 + 28)] {
        let text = format!(
            "#include <lnic.h>\nstatic char data[{data_bytes}];\nLAMBDA(store) {{ return data[match_data->length]++; }}\n"
        );
        let source = folder(&[("a.c", &text)]);
        let report = build(source.path(), &Options::default()).unwrap();
        assert_eq!(report.memory_bytes, kib * 1024, "{data_bytes} bytes of data");
        assert!(u64::from(report.data_bytes) >= data_bytes);
    }
    let source = folder(&[("a.c", MINIMAL)]);
    let report = build(source.path(), &Options { stack_bytes: 65_536, ..Options::default() }).unwrap();
    assert_eq!((report.stack_bytes, report.memory_bytes), (65_536, 76 * 1024));
}

/// What the verifier says of a lambda `a` with this body behind `declarations`.
fn shape(declarations: &str, body: &str, options: &Options) -> crate::lambda::Shape {
    let text = format!("#include <lnic.h>\n{declarations}\nLAMBDA(a) {{ {body} }}\n");
    let source = folder(&[("a.c", &text)]);
    let report = build(source.path(), options).unwrap();
    verify(&std::fs::read(report.file).unwrap(), "a", &Limits::default()).unwrap()
}

#[test]
fn a_lambda_with_constants_only_has_no_writable_globals() {
    if !have_tools() {
        return;
    }
    let table = "static const uint16_t table[5] = {7, 5, 3, 2, 1};\n\
                 static const char *const names[2] = {\"first\", \"second\"};";
    let read = "return table[match_data->length & 3] + names[match_data->rule & 1][0];";
    let cases = [
        ("", "return DROP;", false),
        (table, read, false),
        ("static int counter;", "return counter++;", true),
        // One byte hides in the padding before __heap_base.
        ("static const char odd[9] = \"constant\"; static char seen;", "seen++; return odd[seen & 7];", true),
        ("static int counter = 5;", "return counter++;", true),
        ("", "static int counter; return counter++;", true),
        (
            table,
            "static char last; char was = last; last = (char)match_data->length; return table[was & 3];",
            true,
        ),
    ];
    for (declarations, body, writable) in cases {
        for optimise in [Optimise::Speed, Optimise::Size, Optimise::None] {
            for debug in [false, true] {
                let options = Options { optimise, debug, ..Options::default() };
                let found = shape(declarations, body, &options);
                assert_eq!(
                    found.writable_globals, writable,
                    "{declarations} {body} {optimise:?} debug {debug}"
                );
            }
        }
    }
}

#[test]
fn modules_keep_what_moving_needs_and_no_other_custom_section() {
    if !have_tools() {
        return;
    }
    let text = "#include <lnic.h>\nstatic const char greeting[] = \"hello, lambda\";\n\
        static const char *volatile where = greeting + 3;\n\
        __attribute__((noinline)) static int private_helper(int x) { int secret = x & 7; return where[secret]; }\n\
        LAMBDA(a) { return private_helper((int)match_data->length); }\n";
    let source = folder(&[("a.c", text)]);
    let customs = |options: &Options| {
        let module = std::fs::read(build(source.path(), options).unwrap().file).unwrap();
        let mut names = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(&module) {
            if let wasmparser::Payload::CustomSection(section) = payload.unwrap() {
                names.push(section.name().to_owned());
            }
        }
        names
    };
    assert_eq!(customs(&Options::default()), ["linking", "reloc.CODE", "reloc.DATA", "name"]);
    let debug = customs(&Options { debug: true, ..Options::default() });
    for name in ["linking", "reloc.CODE", "reloc.DATA", "name", ".debug_info", "producers"] {
        assert!(debug.iter().any(|found| found == name), "{debug:?}");
    }
}

#[test]
fn host_calls_of_the_header_are_those_of_the_verifier() {
    if !have_tools() {
        return;
    }
    let body = "char reply[64];\n\
        int32_t bytes = lnic_call(7, lnic_payload(match_data), match_data->length, reply, sizeof reply, 1000);\n\
        if (bytes < 0) { lnic_log_text(\"no answer\"); return lnic_reply(headers, match_data, (uint8_t)-bytes, 0); }\n\
        lnic_log(reply, (uint32_t)bytes);\n\
        return lnic_reply_with(headers, match_data, STATUS_OK, reply, (uint32_t)bytes);";
    assert!(shape("", body, &Options::default()).suspends);
    let logs = shape("", "lnic_log_text(\"hello\"); return DROP;", &Options::default());
    assert!(!logs.suspends && !logs.writable_globals);
    // What init reads and keeps is a constant for runs.
    let values = "static char greeting[8]; static int32_t bytes;
        LAMBDA_INIT { bytes = lnic_environment_text(\"GREETING\", greeting, sizeof greeting); }\n";
    let secret =
        "char token[16]; return lnic_secret_text(\"TOKEN\", token, sizeof token) + bytes + greeting[0];";
    assert!(!shape(values, secret, &Options::default()).suspends);
}

#[test]
fn several_files_and_entries_make_one_module() {
    if !have_tools() {
        return;
    }
    let source = folder(&[
        (
            "a.c",
            "#include \"shared.h\"\nLAMBDA(first) { return shared(match_data); }\nLAMBDA_INIT { counter = 1; }\n",
        ),
        (
            "b.c",
            "#include \"shared.h\"\nint counter;\nint shared(MATCH_DATA_T *m) { return (int)m->length + counter; }\n\
                 LAMBDA(second) { return shared(match_data); }\n",
        ),
        ("shared.h", "#include <lnic.h>\nextern int counter;\nint shared(MATCH_DATA_T *);\n"),
    ]);
    for optimise in [Optimise::Speed, Optimise::Size, Optimise::None] {
        let report = build(source.path(), &Options { optimise, ..Options::default() }).unwrap();
        assert_eq!(report.entries, ["first", "second"]);
        let module = std::fs::read(&report.file).unwrap();
        assert!(verify(&module, "second", &Limits::default()).unwrap().has_init);
    }
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    if !have_tools() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let text =
        "#include <lnic.h>\nLAMBDA(where) { return lnic_reply_text(headers, match_data, 0, __FILE__); }\n";
    let (here, there) = (folder(&[("a.c", text)]), folder(&[("a.c", text)]));
    for debug in [false, true] {
        let bytes = |dir: &Path| {
            let options = Options { debug, ..with_output(&out.path().join("out.wasm")) };
            std::fs::read(build(dir, &options).unwrap().file).unwrap()
        };
        let module = bytes(here.path());
        assert_eq!(module, bytes(here.path()));
        assert_eq!(module, bytes(there.path()));
        assert_eq!(module, bytes(&there.path().join(".")));
        let name = here.path().file_name().unwrap().as_encoded_bytes();
        assert!(!module.windows(name.len()).any(|window| window == name), "the module holds a path");
    }
    let dated = folder(&[("a.c", "#include <lnic.h>\nLAMBDA(dated) { return __TIME__[0]; }\n")]);
    assert!(matches!(build(dated.path(), &Options::default()), Err(BuildError::Diagnosed { .. })));
}

/// Of each tier a variable and a constant, initialised and not.
const TIERS: &str = "#include <lnic.h>\n\
    static uint32_t local_first LOCAL = 1, local_zeros[1 << 14] LOCAL;\n\
    static uint32_t ctm_first CTM = 2, ctm_zeros[1 << 14] CTM;\n\
    static uint32_t imem_first IMEM = 3, imem_zeros[1 << 16] IMEM;\n\
    static uint32_t *emem_first EMEM = &imem_zeros[7]; static uint32_t emem_zeros[5 << 20] EMEM;\n\
    static const uint8_t local_table[3] LOCAL_CONST = {1, 2, 0};\n\
    static const uint8_t ctm_table[3] CTM_CONST = {3, 4, 0};\n\
    static const char *const imem_table[2] IMEM_CONST = {\"first\", \"st\"};\n\
    static const uint8_t *const emem_table[2] EMEM_CONST = {local_table + 1, ctm_table + 3};\n\
    static uint64_t anywhere[9], *volatile inside = &anywhere[4];\n\
    LAMBDA(tiers) {\n\
        uint32_t i = match_data->rule;\n\
        local_zeros[i]++; ctm_zeros[i]++; imem_zeros[i]++; emem_zeros[i]++; anywhere[i]++;\n\
        return (int)(local_first++ + ctm_first++ + imem_first++ + *emem_first++ + local_table[i] + ctm_table[i]\n\
            + imem_table[i & 1][i] + *emem_table[i & 1] + *inside);\n\
    }\n";

#[test]
fn objects_of_all_tiers_can_be_moved_and_zeros_are_not_in_the_file() {
    use lnic_compiler::module::{Kind, Module};
    use lnic_compiler::mover::{Assignment, Layout, relocate};
    use lnic_compiler::{Sharing, Tier};

    if !have_tools() {
        return;
    }
    let source = folder(&[("tiers.c", TIERS)]);
    for optimise in [Optimise::Speed, Optimise::Size, Optimise::None] {
        for debug in [false, true] {
            let options = Options { optimise, debug, ..Options::default() };
            let report = build(source.path(), &options).unwrap();
            assert_eq!(report.warnings, "");
            assert!(report.memory_bytes > 20 << 20 && report.module_bytes < 16_384, "{report:?}");
            let wasm = std::fs::read(&report.file).unwrap();
            let module = Module::read(&wasm).unwrap();
            assert!(module.is_movable() && module.unplaced().is_empty());
            for (tier, zeros_bytes) in
                [("local", 1 << 16), ("ctm", 1 << 16), ("imem", 1 << 18), ("emem", 20 << 20)]
            {
                for (suffix, kind) in [("zeros", Kind::Variable), ("table", Kind::Constant)] {
                    let name = format!("{tier}_{suffix}");
                    let object = module.objects().iter().find(|object| object.name == name).unwrap();
                    assert_eq!((object.kind, object.wanted.map(Tier::name)), (kind, Some(tier)), "{name}");
                    assert!(kind == Kind::Constant || object.bytes == zeros_bytes, "{object:?}");
                }
            }
            let order: Vec<usize> = (0..module.objects().len()).rev().collect();
            let assignments: Vec<Assignment> = module
                .objects()
                .iter()
                .map(|object| match object.wanted {
                    None | Some(Tier::Local) => Assignment { tier: Tier::Local, sharing: Sharing::Instance },
                    Some(Tier::Ctm) => Assignment { tier: Tier::Ctm, sharing: Sharing::Island },
                    Some(tier) => Assignment { tier, sharing: Sharing::All },
                })
                .collect();
            for layout in [Layout::Dense { tier: Tier::Local }, Layout::Windows { assignments: &assignments }]
            {
                let moved = relocate(&module, &order, layout, 64 << 20).unwrap();
                let shape = verify(&moved.wasm, "tiers", &Limits::default()).unwrap();
                assert_eq!(shape.memory_bytes, moved.plan.bytes());
                assert!(shape.writable_globals);
                assert!(moved.wasm.len() < 16_384);
            }
        }
    }
}

#[test]
fn moved_constants_are_still_known_as_constants() {
    use lnic_compiler::Tier;
    use lnic_compiler::module::Module;
    use lnic_compiler::mover::{Layout, relocate};

    if !have_tools() {
        return;
    }
    let constants =
        "static const uint8_t odd[7] = {1, 0}; static const uint32_t more[3] IMEM_CONST = {0, 1, 0};";
    let read = "odd[match_data->rule & 3] + more[match_data->rule & 1]";
    for (declarations, body, writable) in [
        (constants.to_owned(), format!("return (int)({read});"), false),
        // Zeroed variables: before and behind constants, once moved.
        (format!("{constants} static int zeroed;"), format!("return (int)({read} + zeroed++);"), true),
        (format!("{constants} static int five = 5;"), format!("return (int)({read} + five++);"), true),
    ] {
        let text = format!("#include <lnic.h>\n{declarations}\nLAMBDA(a) {{ {body} }}\n");
        let source = folder(&[("a.c", &text)]);
        let wasm = std::fs::read(build(source.path(), &Options::default()).unwrap().file).unwrap();
        let is_writable = |wasm: &[u8]| verify(wasm, "a", &Limits::default()).unwrap().writable_globals;
        assert_eq!(is_writable(&wasm), writable, "{declarations}");
        let module = Module::read(&wasm).unwrap();
        let mut order: Vec<usize> = (0..module.objects().len()).collect();
        for _ in 0..order.len() {
            order.rotate_left(1);
            let moved = relocate(&module, &order, Layout::Dense { tier: Tier::Local }, 1 << 20).unwrap();
            assert_eq!(is_writable(&moved.wasm), writable, "{declarations} {order:?}");
        }
    }
}

#[test]
fn an_address_of_the_linkers_leaves_objects_where_they_are() {
    if !have_tools() {
        return;
    }
    let text = "#include <lnic.h>\nextern uint8_t __heap_base; static uint32_t counter;\n\
        LAMBDA(a) { counter++; return (int)(uintptr_t)&__heap_base; }\n";
    let source = folder(&[("a.c", text)]);
    let report = build(source.path(), &Options::default()).unwrap();
    let wasm = std::fs::read(&report.file).unwrap();
    let module = lnic_compiler::module::Module::read(&wasm).unwrap();
    // Later linkers keep the relocation, and say whose address it is.
    if module.is_movable() {
        assert_eq!(module.unplaced()[0].name, "__heap_base");
    } else {
        assert!(report.warnings.contains("warning: wasm-ld cannot keep relocations"), "{}", report.warnings);
    }
}

/// The header and the host's structures agree on every offset and size.
#[test]
fn the_header_has_the_layout_of_the_abi() {
    if !have_tools() {
        return;
    }
    let mut text = String::from("#include <lnic.h>\nLAMBDA(layout) { return DROP; }\n");
    macro_rules! layout {
        ($c:literal, $rust:ident, $($field:ident),+) => {
            writeln!(text, "_Static_assert(sizeof({}) == {}, \"size\");", $c, size_of::<$rust>()).unwrap();
            $(writeln!(text, "_Static_assert(offsetof({}, {}) == {}, \"offset\");", $c, stringify!($field),
                offset_of!($rust, $field)).unwrap();
            writeln!(text, "_Static_assert(sizeof((({}*)0)->{}) == {}, \"size\");", $c, stringify!($field),
                size_of_field(|value: &$rust| size_of_val(&value.$field))).unwrap();)+
            // A field that this test does not know does not compile.
            let _ = |value: $rust| { let $rust { $($field: _),+ } = value; };
        };
    }
    layout! { "META_T", Meta, time_ns, frame_length, ingress_port, egress_port }
    layout! { "RPC_T", Rpc,
        valid, kind, status, credit, flags, service_us, lambda_id, budget_us, request_id, message_length,
        fragment_bytes, fragment_index
    }
    layout! { "ETHERNET_T", Ethernet, destination, source, ether_type, valid, reserved }
    layout! { "VLAN_T", Vlan, valid, pcp, dei, reserved, vid, reserved2 }
    layout! { "IPV4_T", Ipv4,
        valid, tos, ttl, protocol, identification, dont_fragment, options_bytes, source, destination, total_length,
        reserved
    }
    layout! { "IPV6_T", Ipv6,
        valid, traffic_class, hop_limit, protocol, flow_label, source, destination, payload_length, extension_bytes
    }
    layout! { "UDP_T", Udp, valid, reserved, source_port, destination_port, length }
    layout! { "TCP_T", Tcp, valid, flags, source_port, destination_port, window, sequence, acknowledgement }
    layout! { "EXTRACTED_HEADERS_T", Headers, meta, rpc, ethernet, vlan, ipv4, ipv6, udp, tcp }
    layout! { "MATCH_DATA_T", MatchData,
        payload, length, capacity, lambda_id, rule, parameters_length, parameters
    }
    for (name, value) in [
        ("FORWARD", i64::from(abi::FORWARD)),
        ("DROP", i64::from(abi::DROP)),
        ("TO_HOST", i64::from(abi::TO_HOST)),
        ("PAYLOAD_CAPACITY", abi::PAYLOAD_CAPACITY as i64),
        ("PARAMETERS_CAPACITY", abi::PARAMETERS_CAPACITY as i64),
        ("LOG_CAPACITY", abi::LOG_CAPACITY as i64),
        ("NAME_CAPACITY", abi::NAME_CAPACITY as i64),
    ] {
        writeln!(text, "_Static_assert({name} == {value}, \"value\");").unwrap();
    }
    let report = build(folder(&[("layout.c", &text)]).path(), &Options::default());
    if let Err(error) = report {
        panic!("{error}");
    }
}

fn size_of_field<T: Default>(size: impl FnOnce(&T) -> usize) -> usize {
    size(&T::default())
}
