//! What people and programs see.

use super::*;

const GOOD: &str = "[[packets]]\nname = \"comes back\"\nsend = { rpc = {}, text = \"hello\" }\nexpect = { rpc = { status = \"OK\" }, text = \"hello\" }\n";
const BAD: &str = "\n[[packets]]\nname = \"comes back in another way\"\nsend = { rpc = {}, text = \"hello\" }\nexpect = { rpc = { status = \"NOT_FOUND\" }, text = \"hellO\" }\n";

/// The report of a script that echo plays.
fn report(text: &str) -> Report {
    let lambdas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambdas/echo");
    let prepared = source::prepare(&lambdas, None, None, |_| {}).unwrap();
    let script = script::from_text(text, Path::new("tests/echo.toml"), &prepared.manifest).unwrap();
    script::play(&mut Bench::new().unwrap(), &script, &prepared.wasm, &[], true).unwrap()
}

fn printed(text: &str, verbose: bool, json: bool) -> String {
    let mut out = Vec::new();
    print::report(&mut out, &report(text), 1.25, verbose, json).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_passes_is_a_line() {
    assert_eq!(printed(GOOD, false, false), "tests/echo.toml: 1 passed (1.2 ms)\n");
}

#[test]
fn what_fails_is_shown_side_by_side() {
    let expected = "\
tests/echo.toml:2: \"comes back in another way\": failed
    sent      λ-RPC request for lambda 1, 5 bytes \"hello\"
    expected  a frame, rpc.kind reply, rpc.status NOT_FOUND, 5 bytes \"hellO\"
    got       10.77.0.1:4793 > 10.77.0.2:50000 UDP λ-RPC reply OK, 5 bytes \"hello\"
    rpc.status: expected NOT_FOUND, got OK
    payload: expected 5 bytes \"hellO\", got 5 bytes \"hello\"
        first difference at byte 4
        expected
        000000  68 65 6c 6c 4f                                   hellO
                            ^^
        got
        000000  68 65 6c 6c 6f                                   hello
                            ^^
tests/echo.toml: 0 passed, 1 failed (1.2 ms)
";
    assert_eq!(printed(BAD, false, false), expected);
}

#[test]
fn verbose_shows_every_frame() {
    let shown = printed(GOOD, true, false);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("tests/echo.toml:1: \"comes back\": passed, 1 runs, "), "{shown}");
    assert!(lines[1].contains("→ wire") && lines[1].contains("λ-RPC request for lambda 1"), "{shown}");
    assert!(shown.contains("← wire") && shown.contains("68 65 6c 6c 6f"), "{shown}");
}

#[test]
fn programs_get_json() {
    let line: serde_json::Value = serde_json::from_str(&printed(BAD, false, true)).unwrap();
    assert_eq!((&line["passed"], &line["failed"]), (&0.into(), &1.into()));
    let trouble = &line["packets"][0]["trouble"];
    assert_eq!(trouble["differences"][0]["what"], "rpc.status");
    assert_eq!(trouble["differences"][1]["dump"][0], "first difference at byte 4");
    assert_eq!(line["packets"][0]["line"], 2);
}

/// The exit code of `lnic test` on a folder with echo and a script.
fn exit(script: &str, filter: Option<&str>) -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambdas/echo/echo.c");
    std::fs::copy(source, folder.path().join("echo.c")).unwrap();
    std::fs::write(folder.path().join("lambda.toml"), "name = \"echo\"\n").unwrap();
    std::fs::create_dir(folder.path().join("tests")).unwrap();
    if !script.is_empty() {
        std::fs::write(folder.path().join("tests/script.toml"), script).unwrap();
    }
    run(&Args {
        sources: vec![folder.path().into()],
        script: Vec::new(),
        filter: filter.map(str::to_owned),
        verbose: false,
        json: true,
    })
    .unwrap()
}

#[test]
fn exit_codes_mean_something() {
    let is =
        |code: ExitCode, number: u8| assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(number)));
    is(exit(GOOD, None), 0);
    is(exit(BAD, None), 1);
    is(exit(&format!("{GOOD}{BAD}"), None), 1);
    is(exit(&format!("{GOOD}{BAD}"), Some("another")), 1);
    is(exit(&format!("{GOOD}{BAD}"), Some("nobody")), 1);
    is(exit("[[packets]]\nsend = 1\n", None), 2);
    is(exit("[lambda]\nweight = 0\n", None), 2);
    // Nothing was tested.
    is(exit("", None), 1);
}
