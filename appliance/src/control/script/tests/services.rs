//! Services of a script: what they are asked, and what they answer.

use super::{assert_passes, played, troubles};

#[test]
fn services_answer_as_the_script_says() {
    let text = |address: &str| {
        format!(
            r#"
        [lambda.services.cache]
        address = "{address}"
        [[services.cache]]
        expect = {{ text = "get a" }}
        reply = {{ text = "VALUE a" }}
        delay_ms = 3
        [[services.cache]]
        expect = {{ prefix = "get" }}
        nothing = true
        [[services.cache]]
        reply = {{ text = "" }}
        [[packets]]
        send = {{ rpc = {{}}, text = "qget a" }}
        expect = {{ rpc = {{ status = "OK" }}, text = "VALUE a" }}
        counters = {{ requests = 1, replies = 1 }}
        [[packets]]
        send = {{ rpc = {{}}, text = "qget b" }}
        expect = {{ rpc = {{ status = "DEADLINE_EXCEEDED" }} }}
        [[packets]]
        send = {{ rpc = {{}}, text = "q" }}
        expect = {{ rpc = {{ status = "OK" }}, length = 0 }}
        "#
        )
    };
    assert_passes(&text("10.77.0.9:11211"));
    assert_passes(&text("[fd77::9]:11211"));
    assert_passes(&text("192.0.2.7:11211"));
    let wrong = text("10.77.0.9:11211").replace("\"get a\" }", "\"get x\" }");
    let report = played(&wrong);
    assert_eq!(report.failed(), 1);
    assert!(
        troubles(&report)[0]
            .starts_with("request to \"cache\": expected 5 bytes \"get x\", got 5 bytes \"get a\"")
    );
}

#[test]
fn memcached_answers_in_as_many_datagrams_as_it_takes() {
    assert_passes(
        r#"
        [lambda.services.cache]
        address = "10.77.0.9:11211"
        framing = "memcached"
        [[services.cache]]
        expect = { text = "get a" }
        reply = { text = "VALUE a" }
        [[services.cache]]
        reply = { text = "long", length = 3000 }
        [[packets]]
        send = { rpc = {}, text = "qget a" }
        expect = { rpc = { status = "OK" }, text = "VALUE a" }
        [[packets]]
        send = { rpc = {}, text = "qget a" }
        expect = { rpc = { status = "OUT_OF_RANGE" } }
        "#,
    );
}

#[test]
fn services_that_are_not_asked_are_told() {
    let report = played(
        "[[services.cache]]\nexpect = { text = \"get a\" }\nreply = { text = \"b\" }\n\
         [[packets]]\nsend = { udp = {}, text = \"a\" }\nexpect = { text = \"a\" }",
    );
    assert_eq!(report.unasked, [(1, "service \"cache\" was asked 0 times, the script says 1".to_owned())]);
    assert_eq!((report.passed(), report.failed()), (1, 1));
}
