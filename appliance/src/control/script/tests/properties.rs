//! Whatever is written in a script, and whatever comes over the wire.

use proptest::prelude::*;

use super::super::decode;
use super::{parse, played};

/// A script with something of everything, to be spoiled.
const FULL: &str = r#"
[lambda]
environment = { MODE = "fast" }
[appliance]
scheduling = "dispatcher"
[[services.cache]]
expect = { text = "get", prefix_hex = "67" }
reply = { text = "VALUE" }
delay_ms = 3
[[packets]]
name = "one"
after_ms = 0.5
wait_ms = 10
repeat = 2
send = { rpc = { priority = 1 }, vlan = { vid = 7, priority = 2 }, ipv6 = { hop_limit = 9 }, text = "a", length = 9 }
expect = [{ rpc = { status = "OK" }, contains = "a" }, { to_host = true, contains_hex = ["61"] }]
log = ["a"]
max_fuel = 10
counters = { traps = 0 }
[[packets]]
send = { tcp = { flags = ["syn"] }, from_host = true, hex = "00" }
expect = { tcp = { flags = ["ack"] }, ethernet = { source = "02:00:00:00:00:01" } }
"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_judge_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_spoiled_script_makes_the_judge_panic(at in 0usize..FULL.len(), bytes in 0usize..12, with in "[ -~\n]{0,8}") {
        let end = (at + bytes).min(FULL.len());
        let mut text = FULL.to_owned();
        text.replace_range(at..end, &with);
        let _ = parse(&text);
    }

    #[test]
    fn no_frame_makes_the_decoder_panic(frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0usize..4) {
        let mut frame = frame;
        // Past the EtherType, where there is more to go wrong.
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice([[0x08, 0x00], [0x86, 0xDD], [0x81, 0x00], [0x08, 0x06]][kind].as_slice());
        }
        let decoded = decode::decode(&frame);
        prop_assert!(decoded.payload.end <= frame.len() && decoded.innermost().end <= frame.len());
        prop_assert!(decoded.innermost().start <= decoded.innermost().end);
        let _ = decoded.line();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_frame_is_survived(frame in proptest::collection::vec(any::<u8>(), 1..100)) {
        let hex = frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let report = played(&format!("[[packets]]\nsend = {{ frame = \"{hex}\" }}\nlog = []"));
        prop_assert_eq!(report.failed(), 0);
    }
}
