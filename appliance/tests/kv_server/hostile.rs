//! Whatever comes, nothing fails, nothing is answered but gets, and no answer is more than a datagram.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::fill;
use crate::wire::*;

/// Pieces that requests and replies are made of.
fn a_piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"get ",
        b"gets ",
        b"set ",
        b"gat 0 ",
        b"ms ",
        b"mg ",
        b"flush_all",
        b"VALUE ",
        b"END\r\n",
        b"key",
        b"key 0 5\r\nvalue",
        b" 0 0 5",
        b" b",
        b"\r\n",
        b"\n",
        b" ",
        b"\x80\x00",
        b"\x80\x01\x00\x03\x08",
        b"\x81\x00\x00\x00\x04",
        b"\x80",
        b"\0\0\0\0",
        b"99999999999999999999",
        b"18446744073709551616",
    ];
    prop_oneof![
        4 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 0usize..1400).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn a_text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(a_piece(), 0..8).prop_map(|pieces| {
        let mut text = pieces.concat();
        text.truncate(1450);
        text
    })
}

#[test]
fn nothing_fails_and_only_gets_are_answered() {
    let mut cache = Cache::new();
    assert!(fill(&mut cache, b"key", b"value"));
    let header = prop_oneof![Just([0, 7, 0, 0, 0, 1, 0, 0]), any::<[u8; 8]>()];
    let cell = std::cell::RefCell::new(&mut cache);
    TestRunner::new(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })
        .run(&(header, a_text(), 0u8..4), |(header, text, way)| {
            let mut cache = cell.borrow_mut();
            let datagram = [&header[..], &text].concat();
            match way {
                0 => cache.write_tcp(&text),
                1 => cache.host_sends(&host_frame(&datagram)),
                2 => cache.host_sends(&host_frame(&text)),
                _ => {
                    let frame = client_frame(&datagram);
                    let answers = cache.lab.exchange(&frame);
                    let passed = cache.lab.received(1);
                    prop_assert_eq!(answers.len() + passed.len(), 1);
                    if let Some(answer) = answers.first() {
                        prop_assert!(
                            text.starts_with(b"get") || text[0] == 0x80,
                            "{:?}",
                            text.escape_ascii().to_string()
                        );
                        prop_assert!(answer.len() <= 42 + 1400);
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    cache.assert_quiet();
}

/// The most work that a packet can ask for stays within a run's budget.
#[test]
fn no_packet_costs_more_than_a_run_has() {
    let mut cache = Cache::new();
    let key = [b'k'; 250];
    let long: Vec<Vec<u8>> = vec![
        b"\ns".repeat(725),
        b"s\n".repeat(725),
        b"\nset k ".repeat(200),
        b"\ngat 0 a a a a a a a a a a a a\n".repeat(48),
        b"\nset ".repeat(290),
        b"\n ".repeat(725),
        b" ".repeat(1450),
        b"gat 0 a ".repeat(181),
        b"a ".repeat(725),
        [b"gat 0".to_vec(), b" a".repeat(700), b"\r\n".to_vec()].concat(),
        b"\x80\x01".repeat(725),
        b"\x80\x01\x00\xFA\x00".repeat(290),
        b"\x80\x01\x00\x08\x00\x00".repeat(240),
        b"\x80".repeat(1450),
        [b"mg k".to_vec(), b" v".repeat(720)].concat(),
        [b"get ".to_vec(), key.to_vec(), b"\r\n".to_vec()].concat(),
        b"get ".repeat(360),
    ];
    let before = cache.lab.count(1, |count| &count.fuel);
    for text in &long {
        let fuel = cache.lab.count(1, |count| &count.fuel);
        cache.write_udp(text);
        let used = cache.lab.count(1, |count| &count.fuel) - fuel;
        // 100 µs; the budget is 2,000.
        assert!(used < 500_000, "{} units: {}", used, text[..20].escape_ascii());
        cache.write_tcp(text);
        cache.host_says(1, text);
    }
    assert!(cache.lab.count(1, |count| &count.fuel) > before);
    cache.assert_quiet();
}
