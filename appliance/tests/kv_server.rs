//! The kv-server as a cache: what fills it, what empties it, and that nobody is told what was overwritten before he asked. The memcached
//! behind the host port is played by the tests; `tests/e2e/test_kv_server.py` has the real one.

#![allow(unreachable_pub, reason = "parts of one test")]

mod support;

#[path = "kv_server/coherence.rs"]
mod coherence;
#[path = "kv_server/hostile.rs"]
mod hostile;
#[path = "kv_server/wire.rs"]
mod wire;

use wire::*;

/// Keeps a value as a client's get does; true if it is answered from then on.
fn fill(cache: &mut Cache, key: &[u8], value: &[u8]) -> bool {
    let id = cache.next_id();
    assert_eq!(cache.ask(id, &get(key)), Answer::Passed);
    cache.host_says(id, &value_of(key, 0, value));
    cache.knows(key, value)
}

#[test]
fn the_reply_to_a_get_that_passed_fills_the_table() {
    let mut cache = Cache::new();
    assert_eq!(cache.ask(1, b"get key\r\n"), Answer::Passed);
    cache.host_says(1, b"VALUE key 77 5\r\nvalue\r\nEND\r\n");
    for id in [1, 2, 0xFFFF] {
        let said = Answer::Said(b"VALUE key 77 5\r\nvalue\r\nEND\r\n".to_vec());
        assert_eq!(cache.ask(id, b"get key\r\n"), said);
        assert_eq!(cache.ask(id, b"get key\n"), said);
    }
    assert_eq!(cache.ask(3, b"get ke\r\n"), Answer::Passed);
    assert_eq!(cache.ask(4, b"get keys\r\n"), Answer::Passed);
    cache.assert_quiet();
}

#[test]
fn cas_is_answered_once_it_is_known() {
    let mut cache = Cache::new();
    assert!(fill(&mut cache, b"key", b"value"));
    assert_eq!(cache.ask(9, b"gets key\r\n"), Answer::Passed);
    cache.host_says(9, b"VALUE key 0 5 18446744073709551615\r\nvalue\r\nEND\r\n");
    let with_cas = Answer::Said(b"VALUE key 0 5 18446744073709551615\r\nvalue\r\nEND\r\n".to_vec());
    assert_eq!(cache.ask(10, b"gets key\r\n"), with_cas);
    assert_eq!(
        cache.ask(11, &binary(0x0C, b"key", b"", b"", 5)),
        Answer::Said(binary_value(0x0C, b"key", 0, b"value", 5, u64::MAX))
    );
    assert!(cache.knows(b"key", b"value"));
    cache.assert_quiet();
}

#[test]
fn the_binary_protocol_is_answered_as_it_was_asked() {
    let mut cache = Cache::new();
    // Its replies do not name the key.
    assert_eq!(cache.ask(1, &binary(0x00, b"key", b"", b"", 0xAABB)), Answer::Passed);
    cache.host_says(1, &binary_value(0x00, b"", 3, b"value", 0xAABB, 9));
    for (opcode, key) in [(0x00, &b""[..]), (0x09, b""), (0x0C, b"key"), (0x0D, b"key")] {
        let expected = binary_value(opcode, key, 3, b"value", 0x1234, 9);
        assert_eq!(cache.ask(2, &binary(opcode, b"key", b"", b"", 0x1234)), Answer::Said(expected));
    }
    assert_eq!(cache.ask(3, b"gets key\r\n"), Answer::Said(b"VALUE key 3 5 9\r\nvalue\r\nEND\r\n".to_vec()));
    // Another opaque is another request: this is no reply to it.
    assert_eq!(cache.ask(4, &binary(0x00, b"other", b"", b"", 7)), Answer::Passed);
    cache.host_says(4, &binary_value(0x00, b"", 3, b"value", 8, 9));
    assert_eq!(cache.ask(5, &binary(0x00, b"other", b"", b"", 7)), Answer::Passed);
    cache.assert_quiet();
}

#[test]
fn values_and_keys_of_every_size() {
    let mut cache = Cache::new();
    for (key_bytes, value_bytes, kept) in [
        (1, 0, true),
        (250, 1024, true),
        (16, 1023, true),
        (17, 15, true),
        (31, 16, true),
        (3, 1025, false),
        (8, 1300, false),
    ] {
        let (key, value) = (vec![b'k'; key_bytes], vec![b'\n'; value_bytes]);
        assert_eq!(fill(&mut cache, &key, &value), kept, "{key_bytes} and {value_bytes} bytes");
    }
    assert_eq!(cache.ask(1, &get(&[b'k'; 251])), Answer::Passed);
    cache.assert_quiet();
}

#[test]
fn only_what_was_asked_for_fills_and_only_once() {
    let mut cache = Cache::new();
    let value = value_of(b"key", 0, b"value");
    cache.host_says(1, &value);
    assert!(!cache.knows(b"key", b"value"), "nobody had asked");
    let id = cache.next_id();
    assert_eq!(cache.ask(id, b"get key\r\n"), Answer::Passed);
    cache.host_says(id ^ 1, &value);
    cache.host_says(id, &value_of(b"other", 0, b"value"));
    for damaged in [
        &b"VALUE key 0 6\r\nvalue\r\nEND\r\n"[..],
        b"VALUE key 0 5\r\nvalue\r\nEND\r\n\n",
        b"VALUE key 0 5\r\nvalue\r\n",
        b"VALUE key 4294967296 5\r\nvalue\r\nEND\r\n",
        b"VALUE key 0 5\r\nvalue\r\nVALUE k 0 1\r\nv\r\nEND\r\n",
        b"END\r\n",
    ] {
        cache.host_says(id, damaged);
    }
    cache.host_says_with([id as u8, 0, 0, 0, 0, 2, 0, 0], &value);
    assert!(!cache.knows(b"key", b"value"), "no reply to it yet");
    let id = cache.next_id();
    assert_eq!(cache.ask(id, b"get key\r\n"), Answer::Passed);
    cache.host_says(id, &value);
    assert!(cache.knows(b"key", b"value"));
    cache.write_udp(b"delete key\r\n");
    cache.pass_ms(2 * GUARD_MS);
    cache.host_says(id, &value);
    assert!(!cache.knows(b"key", b"value"), "it had filled before");
    cache.assert_quiet();
}

/// Every command that writes, by text and how it is sent.
fn writes() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b"set key 0 0 1\r\nx\r\n"[..],
        b"set key 0 0 1 noreply\r\nx\r\n",
        b"  set   key 0 0 1\r\nx\r\n",
        b"add key 0 0 1\r\nx\r\n",
        b"replace key 0 0 1\r\nx\r\n",
        b"append key 0 0 1\r\nx\r\n",
        b"prepend key 0 0 1\r\nx\r\n",
        b"cas key 0 0 1 7\r\nx\r\n",
        b"delete key\r\n",
        b"delete key\n",
        b"incr key 1\r\n",
        b"decr key 1\r\n",
        b"touch key 1\r\n",
        b"gat 1 key\r\n",
        b"gats 1 other key\r\n",
        b"ms key 1\r\nx\r\n",
        b"ms key 1 T0\r\nx\r\n",
        b"ms a2V5 1 b\r\nx\r\n",
        b"md key\r\n",
        b"ma key N0\r\n",
        b"mg key T1\r\n",
        b"flush_all\r\n",
        b"flush_all noreply\r\n",
        b"get other\r\nset key 0 0 1\r\nx\r\n",
        b"get key\r\ndelete key\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    for opcode in [
        1u8, 2, 3, 4, 5, 6, 0x0E, 0x0F, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1A, 0x1C, 0x1D, 0x1E,
        0x23, 0x24,
    ] {
        all.push(binary(opcode, b"key", &[0; 8], b"x", 0));
        let mut behind = binary(0x00, b"other", b"", b"", 0);
        behind.extend(binary(opcode, b"key", &[0; 8], b"x", 0));
        all.push(behind);
    }
    all.push(binary(0x08, b"", b"", b"", 0));
    all.push(binary(0x18, b"", &[0; 4], b"", 0));
    all
}

#[test]
fn whatever_writes_empties_and_the_guard_keeps_it_empty() {
    let mut cache = Cache::new();
    for write in writes() {
        for over_tcp in [false, true] {
            cache.pass_ms(2 * GUARD_MS);
            assert!(cache.knows(b"key", b"value") || fill(&mut cache, b"key", b"value"));
            if over_tcp {
                cache.write_tcp(&write)
            } else {
                cache.write_udp(&write)
            }
            let shown = write.escape_ascii();
            assert!(!cache.knows(b"key", b"value"), "{shown}");
            assert!(
                !fill(&mut cache, b"key", b"value"),
                "{shown}: a get right behind it may be answered from before it"
            );
            cache.pass_ms(GUARD_MS - 10);
            assert!(!fill(&mut cache, b"key", b"value"), "{shown}: the guard");
            cache.pass_ms(20);
            assert!(fill(&mut cache, b"key", b"value"), "{shown}: and no more");
        }
    }
    cache.assert_quiet();
}

#[test]
fn what_only_reads_empties_nothing() {
    let mut cache = Cache::new();
    assert!(fill(&mut cache, b"key", b"value"));
    for read in [
        &b"get key other\r\n"[..],
        b"gets key\r\n",
        b"mg key v\r\n",
        b"mn\r\n",
        b"version\r\n",
        b"stats\r\n",
        b"set other 0 0 3\r\nkey\r\n",
        b"VALUE key 0 1\r\nx\r\n",
        b"quit\r\n",
        &binary(0x0A, b"", b"", b"", 0),
        &binary(0x01, b"other", &[0; 8], b"key", 0),
    ] {
        cache.write_tcp(read);
        cache.write_udp(read);
        assert!(cache.knows(b"key", b"value"), "{}", read.escape_ascii());
    }
    cache.assert_quiet();
}

#[test]
fn a_reply_that_was_under_way_when_a_write_came_is_not_kept() {
    let mut cache = Cache::new();
    assert_eq!(cache.ask(1, b"get key\r\n"), Answer::Passed);
    cache.write_tcp(b"set key 0 0 3\r\nnew\r\n");
    // However late it is, and whoever asks again with the same ID.
    cache.pass_ms(GUARD_MS + 50);
    assert_eq!(cache.ask(1, b"get key\r\n"), Answer::Passed);
    cache.host_says(1, &value_of(b"key", 0, b"old"));
    assert!(!cache.knows(b"key", b"old"));
    cache.assert_quiet();
}

#[test]
fn entries_age() {
    let mut cache = Cache::new();
    assert!(fill(&mut cache, b"key", b"value"));
    cache.pass_ms(9_900);
    assert!(cache.knows(b"key", b"value"));
    cache.pass_ms(200);
    assert!(!cache.knows(b"key", b"value"), "10 s after it was asked for");
    assert!(fill(&mut cache, b"key", b"value"));
    cache.assert_quiet();
}

/// Has a get passed, and answers it: what happens to a cache whose runs may end early. Nothing is expected of it.
fn offer(cache: &mut Cache, value: &[u8]) {
    let id = cache.next_id();
    for (port, frame) in [(0, client_frame(&framed(id, b"get key\r\n"))), (1, host_frame(&framed(id, value)))]
    {
        assert!(cache.lab.peers[port].send(&frame));
        cache.lab.settle();
    }
    for port in [0, 1] {
        cache.lab.received(port);
    }
}

/// A run that is stopped where it writes keeps its set for a while, and leaves nothing that would be answered.
#[test]
fn a_run_that_is_stopped_leaves_no_lock_and_no_half_value() {
    let (small, large) = (value_of(b"key", 0, b"small"), value_of(b"key", 0, &[b'x'; 1024]));
    // The least that a small value needs, from nothing to an answer.
    let suffices = |fuel: &u64| {
        // With too little, not even its init ends.
        let Ok(mut cache) = std::panic::catch_unwind(|| Cache::with_fuel(*fuel)) else { return false };
        offer(&mut cache, &small);
        offer(&mut cache, &small);
        cache.exhausted() == 0
    };
    let least = (1_000..20_000).step_by(100).find(suffices).expect("fuel for a small value") + 100;
    let (mut stopped, mut held) = (0, 0);
    for fuel in (least..least + 4_000).step_by(100) {
        let mut cache = Cache::with_fuel(fuel);
        assert!(fill(&mut cache, b"key", b"small"), "with {fuel} units");
        cache.write_tcp(b"delete key\r\n");
        cache.pass_ms(2 * GUARD_MS);
        offer(&mut cache, &large);
        if cache.exhausted() == 0 {
            break;
        }
        stopped += 1;
        // Whoever comes now waits, for so long that it has no fuel left; he would be told nothing otherwise.
        cache.pass_ms(1);
        let before = cache.exhausted();
        offer(&mut cache, &small);
        held += u32::from(cache.exhausted() > before);
        // Later nobody does, and what is there is no half of anything.
        cache.pass_ms(1_100);
        let before = cache.exhausted();
        assert!(!cache.knows(b"key", b"small"), "with {fuel} units");
        cache.write_tcp(b"delete key\r\n");
        cache.pass_ms(2 * GUARD_MS);
        assert!(fill(&mut cache, b"key", b"again"), "with {fuel} units");
        assert_eq!(cache.exhausted(), before, "with {fuel} units");
    }
    assert!(stopped > 0 && held > 0, "{stopped} stopped, {held} of them in a set that they held");
}

#[test]
fn more_keys_than_room_push_others_out() {
    let mut cache = Cache::new();
    let keys: Vec<Vec<u8>> = (0..60_000u32).map(|number| number.to_string().into_bytes()).collect();
    for key in &keys {
        assert!(fill(&mut cache, key, key));
    }
    let kept = keys.iter().filter(|key| cache.knows(key, key)).count();
    assert!((30_000..=32_768).contains(&kept), "{kept} of 32,768 entries");
    cache.assert_quiet();
}
