//! Scripts of a lambda that does many things: what passes here, what has to fail and what is wrong beside.

mod failures;
mod mistakes;
mod properties;
mod services;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lnic_registry::ManifestService;

use super::*;
use crate::control::build;

/// Answers, counts, logs, traps, passes on and keeps silent, as its payload says.
const SOURCE: &str = r#"
#include <lnic.h>

static uint32_t count;

LAMBDA(tested) {
    const uint8_t *payload = lnic_payload(match_data);
    switch (match_data->length ? payload[0] : 0) {
    case 'c':
        lnic_store_be32(lnic_payload(match_data), ++count);
        return lnic_reply(headers, match_data, STATUS_OK, 4);
    case 'd':
        return DROP;
    case 'e': {
        uint8_t value[16];
        int32_t bytes = lnic_environment("MODE", 4, value, sizeof(value));
        return lnic_reply_with(headers, match_data, STATUS_OK, value, bytes < 0 ? 0 : (uint32_t)bytes);
    }
    case 'h':
        return TO_HOST;
    case 'l':
        lnic_log("a line", 6);
        break;
    case 'q': {
        uint8_t reply[64];
        int32_t service = lnic_service("cache", 5);
        int32_t bytes = lnic_request((uint32_t)service, payload + 1, match_data->length - 1, reply, sizeof(reply), 50000);
        if (bytes < 0) {
            return lnic_reply(headers, match_data, (uint8_t)-bytes, 0);
        }
        return lnic_reply_with(headers, match_data, STATUS_OK, reply, (uint32_t)bytes);
    }
    case 's': {
        uint8_t value[16];
        int32_t bytes = lnic_secret("KEY", 3, value, sizeof(value));
        return lnic_reply_with(headers, match_data, STATUS_OK, value, bytes < 0 ? 0 : (uint32_t)bytes);
    }
    case 't':
        __builtin_trap();
    case 'w':
        lnic_store_be64(lnic_payload(match_data), headers->meta.time_ns);
        return lnic_reply(headers, match_data, STATUS_OK, 8);
    case 'x':
        for (;;) {
            __asm__ volatile("");
        }
    default:
        break;
    }
    return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
}
"#;

fn wasm() -> &'static [u8] {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tested.c"), SOURCE).unwrap();
        let output = folder.path().join("tested.wasm");
        let options = build::Options { output: Some(output.clone()), ..build::Options::default() };
        build::build(folder.path(), &options).unwrap();
        std::fs::read(output).unwrap()
    });
    &MODULE
}

fn manifest() -> Manifest {
    // UDP but for λ-RPC, which is whose its ID says.
    let rules = [("udp", Some("1-4792")), ("tcp", None), ("icmp", None), ("47", None)];
    let rules = rules.map(|(protocol, ports)| lnic_registry::ManifestRule {
        protocol: Some(protocol.into()),
        destination_port: ports.map(str::to_owned),
        ..Default::default()
    });
    let service = ManifestService { address: "10.77.0.9:11211".into(), ..ManifestService::default() };
    Manifest {
        name: "tested".into(),
        environment: [("MODE".into(), "slow".into())].into(),
        services: [("cache".into(), service)].into(),
        rules: rules.into(),
        ..Manifest::default()
    }
}

fn parse(text: &str) -> Result<Script, Error> {
    from_text(text, Path::new("tests/script.toml"), &manifest())
}

fn played(text: &str) -> Report {
    let script = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    play(&mut Bench::new().unwrap(), &script, wasm(), &[], true).unwrap()
}

/// What is different in the packets of a script, in a line each.
fn troubles(report: &Report) -> Vec<String> {
    let troubles = report.packets.iter().filter_map(|packet| packet.trouble.as_ref());
    let lines = troubles.flat_map(|trouble| &trouble.differences);
    lines.map(|it| format!("{}: expected {}, got {}", it.what, it.expected, it.got)).collect()
}

fn assert_passes(text: &str) {
    let report = played(text);
    assert_eq!(troubles(&report), Vec::<String>::new(), "{text}");
    assert!(report.failed() == 0 && report.passed() > 0);
}

#[test]
fn every_kind_of_packet_gets_there() {
    assert_passes(
        r#"
        [[packets]]
        send = { rpc = {}, text = "answer" }
        expect = { rpc = { status = "OK" }, text = "answer" }
        [[packets]]
        send = { rpc = { priority = 5, idempotent = true, budget_us = 100 }, ipv6 = true, vlan = 7, text = "answer" }
        expect = { rpc = { status = "OK", priority = 5 }, ipv6 = { source = "fd77::1", destination = "fd77::2" }, vlan = 7, text = "answer" }
        [[packets]]
        send = { rpc = { at_most_once = true }, text = "" }
        expect = { rpc = { status = "OK" }, length = 0 }
        [[packets]]
        send = { udp = { source_port = 9, destination_port = 4369 }, ipv4 = { source = "10.77.0.200", ttl = 3 }, hex = "00 01" }
        expect = { udp = { source_port = 4369, destination_port = 9 }, ipv4 = { destination = "10.77.0.200", ttl = 64 }, bytes = [0, 1], vlan = false }
        [[packets]]
        send = { tcp = { destination_port = 80, flags = ["syn"] }, text = "h" }
        expect = { to_host = true, tcp = { flags = ["syn"], destination_port = 80 }, text = "h" }
        [[packets]]
        send = { ip = { protocol = 47 }, text = "d" }
        expect = { dropped = "lambda_drop" }
        [[packets]]
        send = { ethernet = { ether_type = 0x88b5 }, text = "no rule" }
        expect = { to_host = true, ethernet = { ether_type = 0x88b5 }, text = "no rule" }
        [[packets]]
        send = { icmp = { identifier = 7 }, text = "echo" }
        expect = { icmp = { identifier = 7, sequence = 1 }, text = "echo" }
        [[packets]]
        send = { from_host = true, udp = {}, text = "out" }
        expect = { to_wire = true, udp = { source_port = 7 }, text = "out" }
        [[packets]]
        send = { frame = "02 00 00 00 00 01 02 00 00 00 00 02 08 00 45" }
        expect = { dropped = true }
        "#,
    );
}

#[test]
fn state_carries_over_and_each_script_begins_anew() {
    let text = r#"
        [[packets]]
        send = { udp = {}, text = "count" }
        expect = { bytes = [0, 0, 0, 1] }
        [[packets]]
        repeat = 9
        send = { udp = {}, text = "count" }
        expect = { length = 4 }
        [[packets]]
        send = { udp = {}, text = "count" }
        expect = { bytes = [0, 0, 0, 11] }
        counters = { invocations = 1, traps = 0 }
        "#;
    assert_passes(text);
    let (once, again) = (played(text), played(text));
    let fuel = |report: &Report| report.packets.iter().map(|packet| packet.fuel).collect::<Vec<_>>();
    assert_eq!(fuel(&once), fuel(&again));
    assert_eq!(once.packets[1].invocations, 9);
    assert_eq!(once.packets[0].trace, again.packets[0].trace);
}

#[test]
fn a_script_says_how_its_lambda_is_deployed() {
    assert_passes(
        r#"
        [lambda]
        environment = { MODE = "fast" }
        secrets = ["KEY"]
        [secrets]
        KEY = "hush"
        [appliance]
        scheduling = "dispatcher"
        host_port = false
        [[packets]]
        send = { rpc = {}, text = "environment" }
        expect = { rpc = { status = "OK" }, text = "fast" }
        [[packets]]
        send = { rpc = {}, text = "secret" }
        expect = { text = "hush" }
        [[packets]]
        send = { ethernet = { ether_type = 0x88b5 }, text = "no rule" }
        expect = { dropped = "unmatched" }
        "#,
    );
    assert_passes("[[packets]]\nsend = { rpc = {}, text = \"e\" }\nexpect = { text = \"slow\" }");
}

#[test]
fn time_passes_when_it_is_told_to() {
    assert_passes(
        r#"
        [[packets]]
        send = { udp = {}, text = "what time", length = 8 }
        expect = { hex = "00000000 3b9aca00" }
        [[packets]]
        after_ms = 1.5
        send = { udp = {}, text = "what time", length = 8 }
        expect = { hex = "00000000 3bb1ad60" }
        [[packets]]
        send = { udp = {}, text = "drop" }
        expect = { dropped = "lambda_drop" }
        [[packets]]
        send = { udp = {}, text = "what time", length = 8 }
        expect = { hex = "00000000 3bb1ad60" }
        "#,
    );
}

#[test]
fn messages_of_several_frames_are_put_together() {
    assert_passes(
        r#"
        [lambda]
        message_slots = 2
        message_kib = 64
        [[packets]]
        send = { rpc = {}, text = "0123456789", length = 40000 }
        expect = { rpc = { status = "OK" }, prefix = "01234567890123", length = 40000 }
        [[packets]]
        send = { rpc = {}, text = "z", length = 70000 }
        expect = { rpc = { status = "OUT_OF_RANGE" } }
        [[packets]]
        send = { rpc = { at_most_once = true }, ipv6 = true, text = "count", length = 3000 }
        expect = { bytes = [0, 0, 0, 1] }
        "#,
    );
}

#[test]
fn what_is_made_by_hand_is_sent_as_it_is() {
    assert_passes(
        r#"
        [[packets]]
        send = { rpc = { request_id = 77 }, text = "abc" }
        expect = { rpc = { status = "OK", request_id = 77 }, text = "abc" }
        [[packets]]
        send = { rpc = { no_reply = true }, text = "abc" }
        expect = { dropped = "rpc_no_reply" }
        [[packets]]
        send = { rpc = { kind = "reply", status = "NOT_FOUND" }, text = "abc" }
        expect = { dropped = "rpc_type" }
        [[packets]]
        send = { rpc = { message_length = 9000 }, text = "abc" }
        expect = { dropped = true }
        [[packets]]
        send = { rpc = { lambda = 99 }, text = "abc" }
        expect = { rpc = { status = "UNIMPLEMENTED" } }
        "#,
    );
}

#[test]
fn files_lie_beside_the_script() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sent"), b"from a file").unwrap();
    let text = "[[packets]]\nsend = { udp = {}, file = \"sent\" }\nexpect = { file = \"sent\" }";
    let path: PathBuf = folder.path().join("script.toml");
    std::fs::write(&path, text).unwrap();
    let script = read(&path, &manifest()).unwrap();
    let report = play(&mut Bench::new().unwrap(), &script, wasm(), &[], false).unwrap();
    assert_eq!((report.passed(), report.failed()), (1, 0));
    assert!(matches!(read(&folder.path().join("none"), &manifest()), Err(Error::Read { .. })));
}

#[test]
fn no_script_is_played_with_a_lambda_that_nobody_would_take() {
    let text = "[[packets]]\nsend = { udp = {} }\nexpect = { nothing = true }";
    let script = parse(text).unwrap();
    let played = play(&mut Bench::new().unwrap(), &script, b"no module", &[], false);
    assert!(matches!(played, Err(Error::Prepare { .. })), "{played:?}");
    let port = Manifest {
        rules: vec![lnic_registry::ManifestRule { port: Some("eth9".into()), ..Default::default() }],
        ..manifest()
    };
    let script = from_text(text, Path::new("script.toml"), &port).unwrap();
    let played = play(&mut Bench::new().unwrap(), &script, wasm(), &[], false);
    assert!(matches!(played, Err(Error::Manifest(_))), "{played:?}");
}
