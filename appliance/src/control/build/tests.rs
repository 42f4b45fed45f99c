use super::*;

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};

use lnic_abi::{Ethernet, Headers, Ipv4, Ipv6, MatchData, Meta, Rpc, Tcp, Udp, Vlan};

/// True if the tools are there; says so otherwise.
fn have_tools() -> bool {
    let found = find_clang(None).and_then(|clang| find_wasm_ld(None, &clang));
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

const MINIMAL: &str = "#include <lambda.h>\nLAMBDA(minimal) { return DROP; }\n";

#[test]
fn builds_the_lambdas_of_the_repository() {
    if !have_tools() {
        return;
    }
    for (name, entry) in [("echo", "echo"), ("web-server", "web_server")] {
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("out.wasm");
        let report = build(&lambdas().join(name), &with_output(&output)).unwrap();
        assert_eq!(report.entries, [entry]);
        assert_eq!(report.warnings, "");
        assert_eq!((report.memory_bytes % 4096, report.stack_bytes), (0, STACK_BYTES));
        assert_eq!(report.module_bytes, std::fs::metadata(&output).unwrap().len());
        let shape = verify(&std::fs::read(&output).unwrap(), entry, &Limits::default()).unwrap();
        assert_eq!(shape.memory_bytes, report.memory_bytes);
        assert!(!shape.suspends && !shape.writable_globals, "{name}: {shape:?}");
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
    assert_eq!(error.to_string(), format!("{}: no C files (*.c)", empty.path().display()));
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
    let source = folder(&[("bad.c", "#include <lambda.h>\nLAMBDA(bad) { return missing(); }\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    let BuildError::Diagnosed { tool: "clang", diagnostics } = error else { panic!("{error}") };
    assert!(
        diagnostics.starts_with(&format!("{}/bad.c:2:22: error: ", source.path().display())),
        "{diagnostics}"
    );

    let source =
        folder(&[("loose.c", "#include <lambda.h>\nint other(int);\nLAMBDA(loose) { return other(1); }\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    let BuildError::Diagnosed { tool: "wasm-ld", diagnostics } = error else { panic!("{error}") };
    assert!(diagnostics.contains("loose.o: undefined symbol: other"), "{diagnostics}");

    let source = folder(&[("host.c", "#include <stdio.h>\n")]);
    let error = build(source.path(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("'stdio.h' file not found"), "{error}");

    let source = folder(&[("warns.c", "#include <lambda.h>\nLAMBDA(warns) { int unused; return DROP; }\n")]);
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
    assert!(error.to_string().ends_with(": no entry: define one with LAMBDA(name) of <lambda.h>"), "{error}");

    let import = "#include <lambda.h>\n\
        __attribute__((import_module(\"env\"), import_name(\"now\"))) int now(void);\n\
        LAMBDA(importer) { return now(); }\n";
    let error = build(folder(&[("a.c", import)]).path(), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"importer\": imports \"env\".\"now\": a lambda may import \"lnic\".\"call\" and \"lnic\".\"log\" and nothing else"
    );

    let huge = "#include <lambda.h>\nstatic char huge[64 << 20];\nLAMBDA(hoard) { return huge[match_data->length]++; }\n";
    let error = build(folder(&[("a.c", huge)]).path(), &Options::default()).unwrap_err();
    assert!(matches!(error, BuildError::Diagnosed { tool: "wasm-ld", .. }), "{error}");

    // Data that fits, but not with the I/O area.
    let tight = "#include <lambda.h>\n\
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
            "#include <lambda.h>\nstatic char data[{data_bytes}];\nLAMBDA(store) {{ return data[match_data->length]++; }}\n"
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
    let text = format!("#include <lambda.h>\n{declarations}\nLAMBDA(a) {{ {body} }}\n");
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
fn modules_keep_no_names_but_those_of_data_segments() {
    if !have_tools() {
        return;
    }
    let text = "#include <lambda.h>\nstatic const char greeting[] = \"hello, lambda\";\n\
        __attribute__((noinline)) static int private_helper(int x) { return greeting[x & 7]; }\n\
        LAMBDA(a) { return private_helper((int)match_data->length); }\n";
    let source = folder(&[("a.c", text)]);
    let has = |options: &Options, name: &str| {
        let module = std::fs::read(build(source.path(), options).unwrap().file).unwrap();
        module.windows(name.len()).any(|window| window == name.as_bytes())
    };
    let small = Options::default();
    assert!(has(&small, ".rodata") && !has(&small, "private_helper") && !has(&small, "simd128"));
    let debug = Options { debug: true, ..Options::default() };
    assert!(has(&debug, ".rodata") && has(&debug, "private_helper"));
}

#[test]
fn host_calls_of_the_header_are_those_of_the_verifier() {
    if !have_tools() {
        return;
    }
    let body = "char reply[64];\n\
        int32_t bytes = lnic_call(7, lambda_payload(match_data), match_data->length, reply, sizeof reply, 1000);\n\
        if (bytes < 0) { lnic_log_text(\"no answer\"); return lambda_reply(headers, match_data, (uint8_t)-bytes, 0); }\n\
        lnic_log(reply, (uint32_t)bytes);\n\
        return lambda_reply_with(headers, match_data, STATUS_OK, reply, (uint32_t)bytes);";
    assert!(shape("", body, &Options::default()).suspends);
    let logs = shape("", "lnic_log_text(\"hello\"); return DROP;", &Options::default());
    assert!(!logs.suspends && !logs.writable_globals);
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
        ("shared.h", "#include <lambda.h>\nextern int counter;\nint shared(MATCH_DATA_T *);\n"),
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
    let text = "#include <lambda.h>\nLAMBDA(where) { return lambda_reply_text(headers, match_data, 0, __FILE__); }\n";
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
    let dated = folder(&[("a.c", "#include <lambda.h>\nLAMBDA(dated) { return __TIME__[0]; }\n")]);
    assert!(matches!(build(dated.path(), &Options::default()), Err(BuildError::Diagnosed { .. })));
}

/// The header and the host's structures agree on every offset and size.
#[test]
fn the_header_has_the_layout_of_the_abi() {
    if !have_tools() {
        return;
    }
    let mut text = String::from("#include <lambda.h>\nLAMBDA(layout) { return DROP; }\n");
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
