//! Scripts that have to fail.

use super::{played, troubles};

#[test]
fn every_wrong_expectation_fails_and_says_why() {
    let cases = [
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { rpc = { status = \"NOT_FOUND\" } }",
            "rpc.status: expected NOT_FOUND, got OK",
        ),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { text = \"b\" }",
            "payload: expected 1 bytes \"b\", got 1 bytes \"a\"",
        ),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { length = 2 }",
            "length of payload: expected 2 bytes, got 1 bytes",
        ),
        ("send = { rpc = {}, text = \"a\" }\nexpect = { prefix = \"b\" }", "beginning of payload"),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { contains = [\"a\", \"b\"] }",
            "payload: expected 1 bytes \"b\" in it",
        ),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { udp = { source_port = 1 } }",
            "udp.source_port: expected 1, got 4793",
        ),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { ipv6 = true }",
            "ethernet.ether_type: expected 0x86dd, got 0x0800",
        ),
        (
            "send = { rpc = {}, vlan = 3, text = \"a\" }\nexpect = { vlan = false }",
            "vlan.vid: expected none, got 3",
        ),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { vlan = { vid = 3, priority = 1 } }",
            "vlan.vid: expected 3, got none",
        ),
        ("send = { rpc = {}, text = \"a\" }\nexpect = { nothing = true }", "frames: expected no more"),
        (
            "send = { rpc = {}, text = \"a\" }\nexpect = { dropped = true }",
            "drops: expected a drop, got none",
        ),
        (
            "send = { udp = {}, text = \"d\" }\nexpect = { dropped = \"truncated\" }",
            "drops: expected truncated, got 1 × lambda_drop",
        ),
        (
            "send = { udp = {}, text = \"d\" }\nexpect = { udp = {} }",
            "frames: expected a frame, ip.protocol 17, got nothing",
        ),
        (
            "send = { udp = {}, text = \"a\" }\nexpect = [{ text = \"a\" }, { text = \"a\" }]",
            "frames: expected a frame, 1 bytes \"a\", got nothing",
        ),
        ("send = { udp = {}, text = \"h\" }\nexpect = { udp = {} }", "side: expected wire, got host"),
        ("send = { udp = {}, text = \"a\" }\nexpect = { to_host = true }", "side: expected host, got wire"),
        ("send = { udp = {}, text = \"l\" }\nlog = []", "log: expected [], got [\"a line\"]"),
        ("send = { udp = {}, text = \"a\" }\nlog = [\"a line\"]", "log: expected [\"a line\"], got []"),
        ("send = { udp = {}, text = \"a\" }\nmax_fuel = 1", "fuel: expected at most 1"),
        (
            "send = { udp = { destination_port = 5000 }, text = \"a\" }\nmax_fuel = 1000",
            "fuel: expected a run with at most 1000, got none: the lambda did not run",
        ),
        (
            "send = { udp = {}, text = \"a\" }\ncounters = { invocations = 2 }",
            "counter invocations: expected 2, got 1",
        ),
        ("send = { udp = {}, text = \"a\" }\nexpect = { frame = \"00\" }", "frame: expected 1 bytes 00"),
        (
            "send = { rpc = {}, text = \"t\" }\nexpect = { rpc = { status = \"OK\" } }",
            "rpc.status: expected OK, got INTERNAL",
        ),
        (
            "send = { rpc = {}, text = \"x\" }\nexpect = { rpc = { status = \"OK\" } }",
            "rpc.status: expected OK, got",
        ),
    ];
    for (step, expected) in cases {
        let report = played(&format!("[[packets]]\n{step}"));
        let found = troubles(&report);
        assert_eq!((report.failed(), report.packets[0].line), (1, 1), "{step}");
        assert!(found.iter().any(|line| line.contains(expected)), "{step}: {found:?}");
    }
}

#[test]
fn a_lambda_that_fails_is_told_so() {
    let notes = |payload: &str| {
        let report = played(&format!(
            "[[packets]]\nsend = {{ rpc = {{}}, text = \"{payload}\" }}\nexpect = {{ rpc = {{ status = \"OK\" }} }}"
        ));
        report.packets[0].trouble.as_ref().unwrap().notes.join("; ")
    };
    assert!(notes("trap").contains("the lambda trapped"));
    assert!(notes("x: for ever").contains("used up its budget"));
}

#[test]
fn repetitions_stop_at_the_first_that_fails() {
    let report = played(
        "[[packets]]\nrepeat = 5\nsend = { udp = {}, text = \"count\" }\nexpect = { bytes = [0, 0, 0, 1] }",
    );
    let trouble = report.packets[0].trouble.as_ref().unwrap();
    assert_eq!((trouble.repetition, report.packets[0].invocations), (Some(2), 2));
}
