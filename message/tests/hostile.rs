//! Arbitrary datagrams, mostly well-formed, into both ends: no panic, no bound exceeded, nothing left behind.

#![allow(unreachable_pub, dead_code, reason = "support is shared")]

mod support;

use lnic_message::client::{Config, Machine, RequestOptions};
use lnic_message::server::{Action, Body};
use lnic_wire::rpc::{self, Header, Kind, Tlv};
use proptest::prelude::*;
use support::*;

#[derive(Clone, Debug)]
struct Frame {
    kind: u8,
    flags: u16,
    numbers: (u32, u32, u32),
    message_length: u32,
    fragment_bytes: u16,
    fragment_index: u16,
    aux: u32,
    /// None, the server's, or another.
    cookie: u8,
    bitmap: Option<Vec<u8>>,
    epoch: Option<u32>,
    right_length: bool,
    payload_bytes: usize,
    raw: Option<Vec<u8>>,
    pass_us: u64,
}

fn few<T: Clone + std::fmt::Debug + Arbitrary + 'static>(values: Vec<T>) -> BoxedStrategy<T> {
    prop_oneof![4 => proptest::sample::select(values), 1 => any::<T>()].boxed()
}

fn frame() -> impl Strategy<Value = Frame> {
    (
        (0..=8_u8, any::<u16>(), (0..3_u32, 0..3_u32, few(vec![1, 2, 3, 40, 200]))),
        (
            few(vec![0, 50, 300, 4000, 9999]),
            few(vec![0_u16, 16, 50, 100, 1000]),
            few(vec![0_u16, 1, 2, 5, 63, 64]),
        ),
        (
            few(vec![0_u32, 1, 3, 64, 100]),
            0..3_u8,
            proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40)),
        ),
        (proptest::option::of(76..79_u32), prop::bool::weighted(0.9), 0..200_usize),
        proptest::option::weighted(0.05, proptest::collection::vec(any::<u8>(), 0..200)),
        prop_oneof![Just(0_u64), 0..50_000_u64, 0..10_000_000_u64],
    )
        .prop_map(|(a, b, c, d, raw, pass_us)| Frame {
            kind: a.0,
            flags: a.1,
            numbers: a.2,
            message_length: b.0,
            fragment_bytes: b.1,
            fragment_index: b.2,
            aux: c.0,
            cookie: c.1,
            bitmap: c.2,
            epoch: d.0,
            right_length: d.1,
            payload_bytes: d.2,
            raw,
            pass_us,
        })
}

impl Frame {
    fn datagram(&self, cookie: &[u8; 8], request: u64) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let header = Header {
            kind: Kind::new(self.kind).expect("a kind"),
            flags: self.flags | rpc::CRC,
            message_length: self.message_length,
            fragment_bytes: self.fragment_bytes,
            fragment_index: self.fragment_index,
            aux: self.aux,
            ..Header::request(self.numbers.0, request, 0)
        };
        let payload_bytes = match header.payload_bytes() {
            Some(bytes) if self.right_length => usize::from(bytes),
            _ => self.payload_bytes,
        };
        let mut tlvs = Vec::new();
        match self.cookie {
            1 => tlvs.push(Tlv::Cookie(cookie)),
            2 => tlvs.push(Tlv::Cookie(&[9; 8])),
            _ => {}
        }
        tlvs.extend(self.bitmap.as_deref().map(Tlv::Bitmap));
        tlvs.extend(self.epoch.map(Tlv::Epoch));
        datagram(header, &tlvs, &vec![7; payload_bytes])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_server_stays_in_bounds(frames in proptest::collection::vec(frame(), 1..200), reply_bytes in 0..9_000_u32) {
        let (mut server, mut memory) = (server(), Memory::new(4, 10_000));
        let mut now_us = 1_000_000;
        let mut calls = Vec::new();
        for frame in &frames {
            now_us += frame.pass_us;
            let cookie = cookie(&mut server, &mut memory, now_us);
            let request = u64::from(frame.numbers.1) << 32 | u64::from(frame.numbers.2);
            let bytes = frame.datagram(&cookie, request);
            if let Ok(header) = Header::parse(&bytes) {
                match server.frame(now_us, &SOURCE, (), &header, &bytes, &mut memory) {
                    Action::Run { call, .. } => calls.push(call),
                    Action::Send(head) => prop_assert!(head.emit(&mut vec![0; head.bytes()]).is_some()),
                    Action::Replay(_, reply) => prop_assert!(server.cached(reply, &mut [0; 70_000]).is_some()),
                    Action::Kept | Action::Cancelled { .. } | Action::Drop(_) => {}
                }
            }
            if calls.len() > 3 {
                let call = calls.swap_remove(0);
                match memory.taken.iter().position(|taken| !taken) {
                    Some(free) if reply_bytes > 1_000 => {
                        memory.taken[free] = true;
                        let body = Body::Slot { slot: lnic_message::server::SlotId(free as u32), bytes: reply_bytes };
                        server.reply(now_us, &call, 0, body, &mut memory);
                    }
                    _ => {
                        server.reply(now_us, &call, 0, Body::Frame(&vec![1; reply_bytes as usize]), &mut memory);
                    }
                }
            }
            let polled = std::iter::from_fn(|| server.poll(now_us, &mut memory)).take(100_000).count();
            prop_assert!(polled < 100_000, "it sends for ever");
            let (usage, limits) = (server.usage(), limits());
            prop_assert!(usage.exchanges <= limits.exchanges && usage.sessions <= limits.sessions);
            prop_assert!(usage.cached_bytes <= limits.cache_bytes);
        }
        for call in calls {
            server.abandon(&call, rpc::Status::Busy, 0, &mut memory);
        }
        for _ in 0..1_000 {
            now_us += limits().hold_us / 100;
            while server.poll(now_us, &mut memory).is_some() {}
        }
        let usage = server.usage();
        prop_assert_eq!((usage.exchanges, usage.cached_bytes, usage.timers), (0, 0, 0));
        prop_assert!(memory.taken.iter().all(|taken| !taken));
    }

    #[test]
    fn the_client_stays_in_bounds(frames in proptest::collection::vec(frame(), 1..200), seed: u64, lengths in proptest::collection::vec(0..9_000_usize, 1..6)) {
        let config = Config { reply_bytes: 8_000, buffered_bytes: 20_000, ..Config::default() };
        let mut machine = Machine::new(config, seed);
        let mut now_us = 1_000_000;
        let mut ids = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let options = RequestOptions { at_most_once: number % 2 == 0, ..RequestOptions::default() };
            ids.push(machine.request(now_us, 1, vec![3; *length], options).expect("room"));
        }
        let mut buffer = [0; 2048];
        let mut events = 0;
        for frame in &frames {
            now_us += frame.pass_us;
            let id = ids[frame.numbers.1 as usize % ids.len()].0;
            machine.frame(now_us, &frame.datagram(&[4; 8], id + u64::from(frame.numbers.2 % 2)));
            let sent = std::iter::from_fn(|| machine.poll_transmit(now_us, &mut buffer)).take(100_000).count();
            prop_assert!(sent < 100_000, "it sends for ever");
            events += std::iter::from_fn(|| machine.poll_event()).count();
        }
        for _ in 0..100 {
            now_us += 1_000_000;
            while machine.poll_transmit(now_us, &mut buffer).is_some() {}
            events += std::iter::from_fn(|| machine.poll_event()).count();
        }
        prop_assert_eq!((events, machine.open_requests(), machine.timeout_us()), (ids.len(), 0, None));
    }
}
