//! Nobody is told what was overwritten, and acknowledged, before he asked; whatever is under way meanwhile, and wherever TCP cuts.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::fill;
use crate::wire::*;

/// One of a stream's commands.
#[derive(Clone, Debug)]
struct Command {
    bytes: Vec<u8>,
    /// The key that it writes.
    writes: Option<usize>,
}

const KEYS: [&[u8]; 6] = [b"a", b"key", b"set", b"0123456789", &[b'k'; 250], b"get"];

fn a_command() -> impl Strategy<Value = Command> {
    // Data that looks like commands, and some that does not.
    let data = prop::collection::vec(prop::sample::select(b"set gx\r\n\x80\x01\0".to_vec()), 0..40);
    (0usize..8, 0..KEYS.len(), data).prop_map(|(kind, at, data)| {
        let key = KEYS[at];
        let text =
            |name: &str, behind: &str| [name.as_bytes(), b" ", key, behind.as_bytes(), b"\r\n"].concat();
        let line = |name: &str| text(name, &format!(" 0 0 {}", data.len()));
        let with_data = |line: Vec<u8>| [&line[..], &data, b"\r\n"].concat();
        let (bytes, writes) = match kind {
            0 => (text("get", ""), false),
            1 => (text("mg", " v"), false),
            2 => (with_data(line("set")), true),
            3 => (with_data(line("append")), true),
            4 => (text("delete", ""), true),
            5 => (with_data([b"ms ", key, format!(" {}", data.len()).as_bytes(), b"\r\n"].concat()), true),
            6 => (text("incr", " 1"), true),
            _ => (text("touch", " 10"), true),
        };
        Command { bytes, writes: writes.then_some(at) }
    })
}

fn a_binary_command() -> impl Strategy<Value = Command> {
    let data = prop::collection::vec(any::<u8>(), 0..40);
    let opcode = prop::sample::select(vec![0x00u8, 0x0C, 0x01, 0x04, 0x11, 0x0E, 0x1C]);
    (opcode, 0..KEYS.len(), data).prop_map(|(opcode, at, data)| {
        let is_get = matches!(opcode, 0x00 | 0x0C);
        let (extras, data): (&[u8], &[u8]) = match opcode {
            0x01 | 0x11 => (&[0; 8], &data),
            0x0E => (&[], &data),
            0x1C => (&[0; 4], &[]),
            _ => (&[], &[]),
        };
        Command { bytes: binary(opcode, KEYS[at], extras, data, 7), writes: (!is_get).then_some(at) }
    })
}

#[test]
fn no_write_is_missed_wherever_a_stream_is_cut() {
    let mut cache = Cache::new();
    let stream = prop_oneof![
        prop::collection::vec(a_command(), 1..12),
        prop::collection::vec(a_binary_command(), 1..12)
    ];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    let (kept, emptied) = (Cell::new(0u32), Cell::new(0u32));
    let cell = std::cell::RefCell::new(&mut cache);
    TestRunner::new(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })
        .run(&(stream, cuts), |(stream, cuts)| {
            let mut cache = cell.borrow_mut();
            cache.new_flow();
            cache.pass_ms(2 * GUARD_MS);
            for key in KEYS {
                if !cache.knows(key, b"value") {
                    prop_assert!(fill(&mut cache, key, b"value"));
                }
            }
            let bytes: Vec<u8> = stream.iter().flat_map(|command| command.bytes.clone()).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            for pair in places.windows(2) {
                cache.write_tcp(&bytes[pair[0]..pair[1]]);
            }
            for (at, key) in KEYS.iter().enumerate() {
                let written = stream.iter().any(|command| command.writes == Some(at));
                let known = cache.knows(key, b"value");
                prop_assert!(!(written && known), "{} of {}", key.escape_ascii(), bytes.escape_ascii());
                if !written {
                    let count = if known { &kept } else { &emptied };
                    count.set(count.get() + 1);
                }
            }
            Ok(())
        })
        .unwrap();
    // It is careful, and not blind.
    assert!(kept.get() > emptied.get() / 10, "{} kept, {} emptied for nothing", kept.get(), emptied.get());
    cache.assert_quiet();
}

/// memcached writes when it has all of a value; its command line may have passed long before.
#[test]
fn a_value_that_comes_late_is_a_write_still() {
    let mut cache = Cache::new();
    let set = binary(0x01, b"key", &[0; 8], b"new", 0);
    let streams: [&[&[u8]]; 5] = [
        &[b"set key 0 0 3\r\n", b"new\r\n"],
        &[b"set key 0 0 3\r\n", b"ne", b"w\r\n"],
        &[b"set ke", b"y 0 0 3\r\nnew\r\n"],
        &[b"ms key 3\r\n", b"new\r\n"],
        &[&set[..35], &set[35..]],
    ];
    for stream in streams {
        let shown = stream.concat().escape_ascii().to_string();
        cache.new_flow();
        for (at, part) in stream.iter().enumerate() {
            cache.write_tcp(part);
            assert!(!cache.knows(b"key", b"old") && !fill(&mut cache, b"key", b"old"), "{shown}, part {at}");
            cache.pass_ms(GUARD_MS - 100);
            assert!(!fill(&mut cache, b"key", b"old"), "{shown}, part {at}: within the guard time");
            cache.pass_ms(GUARD_MS / 2 + 100);
            if at + 1 < stream.len() {
                // memcached has the old value until the last part is there.
                assert!(fill(&mut cache, b"key", b"old"), "{shown}, part {at}");
            }
        }
        assert!(fill(&mut cache, b"key", b"new"), "{shown}");
        cache.write_udp(b"delete key\r\n");
        cache.pass_ms(2 * GUARD_MS);
    }
    cache.assert_quiet();
}

#[test]
fn a_nul_ends_a_command_for_memcached() {
    let mut cache = Cache::new();
    for write in [&b"delete key\0zzz\r\n"[..], b"flush_all\0zzz\r\n", b"md a2V5 base64\r\n"] {
        assert!(fill(&mut cache, b"key", b"value"));
        cache.write_udp(write);
        assert!(!cache.knows(b"key", b"value"), "{}", write.escape_ascii());
        cache.pass_ms(2 * GUARD_MS);
    }
    cache.assert_quiet();
}

/// What happens at a time.
#[derive(Clone, Debug)]
enum Event {
    /// A client asks for a key.
    Ask(usize),
    /// A client writes it, over UDP or TCP.
    Write(usize, bool),
    /// memcached does what a request says; its reply is at the appliance after so long.
    Get {
        key: usize,
        id: u16,
        reply_ms: u64,
    },
    Set {
        key: usize,
        value: u64,
        reply_ms: u64,
    },
    /// It is there.
    Value {
        key: usize,
        id: u16,
        value: u64,
    },
    Stored {
        key: usize,
        value: u64,
    },
}

const SHARED: [&[u8]; 3] = [b"x", b"y", b"z"];
/// A request is done by memcached within so long, and so long is its reply under way: less than the guard together.
const WAY_MS: u64 = 450;

/// Clients, memcached and the time.
struct World {
    cache: Cache,
    /// By time, and in order within it.
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    now_ms: u64,
    last: u64,
    /// What memcached has, by key.
    values: [u64; 3],
    /// What was acknowledged.
    acknowledged: [u64; 3],
    /// Least value that the asker of a request may be told.
    least: HashMap<u16, u64>,
    hits: u32,
}

impl World {
    fn at(&mut self, time_ms: u64, event: Event) {
        self.serial += 1;
        self.events.insert((time_ms, self.serial), event);
    }

    fn happen(&mut self, event: Event, way_ms: (u64, u64)) {
        let (there_ms, back_ms) = way_ms;
        match event {
            Event::Ask(key) => {
                let id = self.cache.next_id();
                let least = self.acknowledged[key];
                match self.cache.ask(id, &get(SHARED[key])) {
                    Answer::Said(text) => {
                        self.hits += 1;
                        let text = String::from_utf8(text).unwrap();
                        let value: u64 = text.lines().nth(1).unwrap().parse().unwrap();
                        assert!(value >= least, "{value} after {least} was acknowledged");
                    }
                    Answer::Passed => {
                        self.least.insert(id, least);
                        self.at(self.now_ms + there_ms, Event::Get { key, id, reply_ms: back_ms });
                    }
                }
            }
            Event::Write(key, over_tcp) => {
                self.last += 1;
                let value = self.last;
                let digits = value.to_string();
                let text =
                    [b"set ", SHARED[key], format!(" 0 0 {}\r\n{digits}\r\n", digits.len()).as_bytes()]
                        .concat();
                if over_tcp {
                    self.cache.write_tcp(&text)
                } else {
                    self.cache.write_udp(&text)
                }
                self.at(self.now_ms + there_ms, Event::Set { key, value, reply_ms: back_ms });
            }
            Event::Get { key, id, reply_ms } => {
                let value = self.values[key];
                self.at(self.now_ms + reply_ms, Event::Value { key, id, value });
            }
            Event::Set { key, value, reply_ms } => {
                // Writes under way together may come in any order; the later is as good as the earlier.
                self.values[key] = self.values[key].max(value);
                self.at(self.now_ms + reply_ms, Event::Stored { key, value });
            }
            Event::Value { key, id, value } => {
                if value > 0 {
                    self.cache.host_says(id, &value_of(SHARED[key], 0, value.to_string().as_bytes()));
                }
                assert!(value >= self.least[&id]);
            }
            Event::Stored { key, value } => self.acknowledged[key] = self.acknowledged[key].max(value),
        }
    }
}

#[test]
fn no_read_is_older_than_what_was_acknowledged_before_it() {
    let hits = Cell::new(0);
    // One for all cases, emptied in between.
    let cache = std::cell::RefCell::new(None);
    let start = prop_oneof![
        6 => (0..SHARED.len()).prop_map(Event::Ask),
        1 => (0..SHARED.len(), any::<bool>()).prop_map(|(key, over_tcp)| Event::Write(key, over_tcp)),
    ];
    let ways = prop::collection::vec((0..WAY_MS, 0..WAY_MS), 64);
    let starts = prop::collection::vec((start, 0u64..400), 1..250);
    TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })
        .run(&(starts, ways), |(starts, ways)| {
            let mut world = World {
                cache: cache.take().unwrap_or_else(Cache::new),
                events: BTreeMap::new(),
                serial: 0,
                now_ms: 0,
                last: 0,
                values: [0; 3],
                acknowledged: [0; 3],
                least: HashMap::new(),
                hits: 0,
            };
            world.cache.write_tcp(b"flush_all\r\n");
            world.cache.pass_ms(2 * GUARD_MS);
            let mut time_ms = 0;
            for (event, after_ms) in starts {
                time_ms += after_ms;
                world.at(time_ms, event);
            }
            let mut ways = ways.into_iter().cycle();
            while let Some(((time_ms, _), event)) = world.events.pop_first() {
                world.cache.pass_ms(time_ms - world.now_ms);
                world.now_ms = time_ms;
                world.happen(event, ways.next().unwrap());
            }
            world.cache.assert_quiet();
            hits.set(hits.get() + world.hits);
            cache.replace(Some(world.cache));
            Ok(())
        })
        .unwrap();
    assert!(hits.get() > 500, "{} hits: the table was hardly asked", hits.get());
}
