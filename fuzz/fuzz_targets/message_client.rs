//! The client's machine, whatever a server says, however time passes: it takes no more than its bounds, says no more than makes sense,
//! and each request ends once.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use lnic_fuzz::words::{Input, datagram};
use lnic_message::client::{Config, Event, Machine, RequestId, RequestOptions};
use lnic_wire::rpc::{Header, Kind};

/// Most datagrams that one event can cause: a window of fragments for each request, and words about them.
const MOST_SENT: usize = 2_000;

fn config() -> Config {
    Config { requests: 8, in_flight: 4, reply_bytes: 5_000, buffered_bytes: 8_000, ..Config::default() }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut machine: Machine<Vec<u8>> = Machine::new(config(), 7);
    let (mut open, mut ids) = (BTreeSet::new(), Vec::new());
    let mut now_us = 1_000_000u64;
    let mut buffer = [0; 2048];
    let mut poll = |machine: &mut Machine<Vec<u8>>, now_us| {
        for sent in 0.. {
            let Some(bytes) = machine.poll_transmit(now_us, &mut buffer) else { break };
            assert!(sent < MOST_SENT, "it sends for ever");
            assert!(bytes <= 1232, "{bytes} bytes");
            let header = Header::parse(&buffer[..bytes]).expect("what is sent can be read");
            let is_callers = !matches!(header.kind, Kind::Reply | Kind::Challenge | Kind::Pong);
            assert!(is_callers && header.accepts(bytes - header.header_bytes), "{header:?}");
        }
    };
    let ended = |machine: &mut Machine<Vec<u8>>, open: &mut BTreeSet<RequestId>| {
        while let Some(event) = machine.poll_event() {
            let id = match event {
                Event::Reply(reply) => {
                    assert!(reply.payload.len() <= 5_000);
                    reply.id
                }
                Event::Failed { id, .. } => id,
            };
            assert!(open.remove(&id), "{id:?} ends twice, or never began");
        }
    };
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => now_us += u64::from(input.number() % 1_000_000),
            1 => {
                let flags = input.byte();
                let options = RequestOptions {
                    at_most_once: flags & 1 != 0,
                    idempotent: flags & 2 != 0,
                    budget_us: if flags & 4 != 0 { input.number() } else { 0 },
                    lifetime_us: 0,
                    priority: flags >> 5,
                    trace: (flags & 8 != 0).then_some([3; 25]),
                };
                let bytes = input.number() as usize % 4_000;
                let lambda = 1 + u32::from(input.byte() % 4);
                match machine.request(now_us, lambda, vec![7; bytes], options) {
                    Ok(id) => {
                        assert!(open.insert(id), "an ID of its own");
                        ids.push(id.0);
                    }
                    Err(_) => assert_eq!(open.len(), config().requests),
                }
            }
            2 => poll(&mut machine, now_us),
            3 => {
                let at = usize::from(input.byte());
                if let Some(&id) = ids.get(at % ids.len().max(1)) {
                    ended(&mut machine, &mut open);
                    let id = RequestId(id);
                    assert_eq!(machine.cancel(id), open.remove(&id));
                }
            }
            _ => {
                // About a request of its own, or one near it: PINGs have IDs too.
                let request = |at: u8, step: u8| {
                    let id = ids.get(usize::from(at) % ids.len().max(1)).copied().unwrap_or(0);
                    id.wrapping_add(u64::from(step % 4))
                };
                let datagram = datagram(&mut input, request, &[[0; 8], [1; 8], [2; 8]]);
                machine.frame(now_us, &datagram);
            }
        }
        ended(&mut machine, &mut open);
        assert_eq!(machine.open_requests(), open.len());
    }
    // Whatever was said, every request ends in time.
    for _ in 0..200 {
        poll(&mut machine, now_us);
        ended(&mut machine, &mut open);
        now_us += 30_000_000;
    }
    assert!(open.is_empty() && machine.open_requests() == 0);
    assert_eq!(machine.timeout_us(), None);
});
