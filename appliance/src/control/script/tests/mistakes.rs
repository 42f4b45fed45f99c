//! Scripts that are wrong: every mistake is told, with its line.

use super::parse;

#[test]
fn mistakes_are_told_with_their_lines() {
    let cases = [
        ("", "there are no [[packets]]"),
        ("[[packets]]", "1: packet 1: has no `send`"),
        ("[[packets]]\nsend = {}", "2: packet 1: send: says no kind of packet"),
        (
            "[[packets]]\nsend = { rpc = {}, udp = {} }\nexpect = { nothing = true }",
            "2: packet 1: send: rpc and udp: a packet is one of them",
        ),
        ("[[packets]]\nsend = { rpc = {} }", "1: packet 1: nothing that could fail"),
        (
            "[[packets]]\nsend = { rpc = {}, txt = \"\" }",
            "2: [packets.send] txt: unknown key: did you mean \"text\"?",
        ),
        (
            "[[packets]]\nsend = { rpc = {}, text = 1 }",
            "2: [packets.send] text: integer 1: expected a string",
        ),
        (
            "[[packets]]\nname = \"x\"\nsend = { rpc = {} }\nexpect = { rpc = { status = \"OKAY\" } }",
            "4: packet 1 (\"x\"): expect: rpc: status: no status \"OKAY\"",
        ),
        (
            "[[packets]]\nsend = { rpc = {}, hex = \"0\" }\nexpect = { nothing = true }",
            "2: packet 1: send: hex: not pairs of hexadecimal digits",
        ),
        (
            "[[packets]]\nsend = { rpc = {}, hex = \"00\", text = \"\" }\nexpect = { nothing = true }",
            "at most one of them",
        ),
        (
            "[[packets]]\nsend = { rpc = {}, file = \"none\" }\nexpect = { nothing = true }",
            "file tests/none: No such file",
        ),
        ("[[packets]]\nsend = { rpc = {} }\nexpect = {}", "3: packet 1: expect: says nothing"),
        ("[[packets]]\nsend = { rpc = {} }\nexpect = []", "3: packet 1: expect: an empty list"),
        (
            "[[packets]]\nsend = { rpc = {} }\nexpect = { dropped = \"lambda_dropp\" }",
            "did you mean \"lambda_drop\"?",
        ),
        (
            "[[packets]]\nsend = { rpc = {} }\nexpect = { dropped = true, nothing = true }",
            "a frame ends in one way",
        ),
        (
            "[[packets]]\nsend = { rpc = {} }\nexpect = { dropped = true, text = \"\" }",
            "has no fields and no payload",
        ),
        (
            "[[packets]]\nsend = { rpc = { priority = 8 } }\nexpect = { nothing = true }",
            "rpc: priority: 8 is not in 0–7",
        ),
        (
            "[[packets]]\nsend = { udp = {}, length = 1473 }\nexpect = { nothing = true }",
            "1473 bytes of payload: a packet of 1500 bytes has room for 1472",
        ),
        (
            "[[packets]]\nsend = { udp = {}, vlan = 4095 }\nexpect = { nothing = true }",
            "vlan: 4095 is not in 0–4094",
        ),
        (
            "[[packets]]\nsend = { udp = {}, ipv4 = { source = \"fd::1\" } }\nexpect = { nothing = true }",
            "ipv4: source: \"fd::1\" is no address of this family",
        ),
        (
            "[[packets]]\nsend = { udp = {}, ethernet = { source = \"1:2\" } }\nexpect = { nothing = true }",
            "is no MAC address",
        ),
        (
            "[[packets]]\nsend = { rpc = { lambda = \"other\" } }\nexpect = { nothing = true }",
            "neither a λ-RPC ID nor one of the [[lambdas]]",
        ),
        (
            "[[packets]]\nsend = { pcap = \"none\" }\nexpect = { nothing = true }",
            "2: packet 1: send: pcap: capture tests/none",
        ),
        ("[[packets]]\nsend = { udp = {} }\ncounters = { runs = 1 }", "no counter \"runs\""),
        (
            "[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }\nafter_ms = -1",
            "4: packet 1: after_ms: -1 is not in 0–86400000",
        ),
        (
            "[lambda]\nweigth = 3\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "2: [lambda] weigth: unknown key: did you mean \"weight\"?",
        ),
        (
            "[lambda]\nweight = 0\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "2: the lambda: weight: 0 is not in 1–1000",
        ),
        (
            "[secrets]\nKEY = \"a\"\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "2: [secrets] KEY: the manifest's `secrets` does not name it",
        ),
        (
            "lambda.secrets = [\"KEY\"]\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "the manifest names the secret \"KEY\"",
        ),
        (
            "[[services.cach]]\nnothing = true\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "no service of the manifest \"cach\": did you mean \"cache\"?",
        ),
        (
            "[[services.cache]]\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "1: service \"cache\": 1: say what it answers",
        ),
        (
            "[[lambdas]]\n[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }",
            "1: lambda 1: has no source",
        ),
        ("[[packets]\n", "1:"),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.lines().any(|line| line.contains(expected)), "{text}\n{error}\nnot: {expected}");
        assert!(error.lines().all(|line| line.starts_with("tests/script.toml:")), "{error}");
    }
}
