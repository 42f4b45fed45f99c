//! The server, one rule at a time.

#![allow(unreachable_pub, dead_code, reason = "support is shared")]

mod support;

use lnic_message::CHALLENGE_BYTES;
use lnic_message::server::{Action, Answer, Body, Call, Dropped, Message, Server, SlotId, Transmit};
use lnic_wire::rpc::{self, Header, Kind, Status, Tlv};
use support::*;

fn request(sequence: u32, flags: u16, bytes: u32) -> Header {
    Header {
        flags: rpc::CRC | flags,
        fragment_bytes: 100,
        ..Header::request(1, 9 << 32 | u64::from(sequence), bytes)
    }
}

fn run(action: Action<()>) -> (Call<()>, Message) {
    match action {
        Action::Run { call, message } => (call, message),
        other => panic!("{other:?}"),
    }
}

fn status(action: Action<()>) -> Status {
    let head = answer(action);
    assert_eq!((head.header().kind, head.bytes()), (Kind::Reply, rpc::HEADER_BYTES));
    head.header().status()
}

/// Sends all fragments of a message but one of `missing`; what the last one did.
fn send(
    server: &mut Server<()>,
    memory: &mut Memory,
    now_us: u64,
    header: Header,
    cookie: &[u8; 8],
    missing: &[u16],
) -> Action<()> {
    let mut last = Action::Kept;
    for index in 0..header.fragments().expect("fragments") as u16 {
        let header = Header { fragment_index: index, ..header };
        if !missing.contains(&index) {
            let payload = vec![index as u8; usize::from(header.payload_bytes().expect("inside"))];
            last = pass(server, memory, now_us, &datagram(header, &[Tlv::Cookie(cookie)], &payload));
        }
    }
    last
}

/// The vectors of the wire format: an at-most-once request without a cookie, and its reply.
#[test]
fn the_vectors_hold() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    };
    let vector =
        hex("a104900000000007c0ffee01000000010000000d0400000000001388cf892e5268656c6c6f2c206c616d626461");
    let reply =
        hex("a114800000000007c0ffee01000000010000000d040000000020002a8647ed5448454c4c4f2c204c414d424441");
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let (call, message) = run(pass(&mut server, &mut memory, 0, &vector));
    assert_eq!(message, Message::Frame);
    let aux = rpc::reply_aux(Status::Ok, 32, 42);
    let Answer::Reply(head) = server.reply(0, &call, aux, Body::Frame(b"HELLO, LAMBDA"), &mut memory) else {
        panic!("a reply")
    };
    let mut bytes = vec![0; head.bytes()];
    bytes.extend_from_slice(b"HELLO, LAMBDA");
    head.emit(&mut bytes).expect("room");
    assert_eq!(bytes, reply);
    // The same again: the reply comes out of the cache.
    let Action::Replay(head, cached) = pass(&mut server, &mut memory, 1, &vector) else { panic!("a replay") };
    let mut payload = [0; 100];
    assert_eq!(server.cached(cached, &mut payload), Some(13));
    bytes.fill(0);
    bytes[head.bytes()..].copy_from_slice(&payload[..13]);
    head.emit(&mut bytes).expect("room");
    assert_eq!(bytes, reply);
}

#[test]
fn a_message_of_several_fragments_takes_nothing_before_its_cookie() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let header = request(1, 0, 250);
    for cookie in [[0; 8], [3; 8]] {
        let head =
            answer(pass(&mut server, &mut memory, 0, &datagram(header, &[Tlv::Cookie(&cookie)], &[0; 100])));
        assert_eq!((head.header().kind, head.bytes()), (Kind::Challenge, CHALLENGE_BYTES as usize));
    }
    let last = Header { fragment_index: 2, message_length: 201, ..header };
    assert_eq!(
        status(pass(&mut server, &mut memory, 0, &datagram(last, &[], &[0]))),
        Status::Unauthenticated
    );
    assert_eq!(server.usage(), Default::default());
    let cookie = cookie(&mut server, &mut memory, 0);
    let (call, message) = run(send(&mut server, &mut memory, 0, header, &cookie, &[]));
    assert_eq!(message, Message::Slot { slot: SlotId(0), bytes: 250 });
    assert_eq!((memory.slots[0][99], memory.slots[0][100], memory.slots[0][249]), (0, 1, 2));
    assert!(matches!(server.reply(0, &call, 0, Body::Frame(&[]), &mut memory), Answer::Reply(_)));
    assert_eq!(memory.taken, [false]);
}

#[test]
fn what_is_missing_is_asked_for_once_and_then_less_often() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let cookie = cookie(&mut server, &mut memory, 0);
    let header = request(1, 0, 1000);
    assert!(matches!(send(&mut server, &mut memory, 0, header, &cookie, &[2, 5, 9]), Action::Kept));
    let mut asked = Vec::new();
    let mut now_us = 0;
    while asked.len() < 3 {
        now_us = server.timeout_us().expect("waits");
        if let Some(Transmit::Control { head, .. }) = server.poll(now_us, &mut memory) {
            assert_eq!((head.header().kind, head.header().missing()), (Kind::Nack, 2));
            let mut bytes = vec![0; head.bytes()];
            head.emit(&mut bytes).expect("room");
            let missing = lnic_message::Missing::of(Header::parse(&bytes).expect("a NACK").tlvs(&bytes));
            asked.push((now_us / 1000, missing.distances().collect::<Vec<_>>()));
        }
    }
    // What lies behind the last that came may be on its way: it is asked for the second time.
    assert_eq!(asked, [(5, vec![0, 3]), (15, vec![0, 3, 7]), (35, vec![0, 3, 7])]);
    let rest = (0..10).filter(|index| ![2, 5, 9].contains(index)).collect::<Vec<_>>();
    run(send(&mut server, &mut memory, now_us, header, &cookie, &rest));
    assert_eq!(server.timeout_us(), None);
}

#[test]
fn fragments_must_agree() {
    let (mut server, mut memory) = (server(), Memory::new(2, 1000));
    let cookie = cookie(&mut server, &mut memory, 0);
    let header = request(1, 0, 1000);
    send(&mut server, &mut memory, 0, header, &cookie, &[3]);
    let mut dropped = |header: Header, bytes: usize| match pass(
        &mut server,
        &mut memory,
        0,
        &datagram(header, &[Tlv::Cookie(&cookie)], &vec![0; bytes]),
    ) {
        Action::Drop(reason) => reason,
        other => panic!("{other:?}"),
    };
    let third = Header { fragment_index: 3, ..header };
    assert_eq!(dropped(Header { lambda: 2, ..third }, 100), Dropped::Inconsistent);
    assert_eq!(dropped(Header { message_length: 900, ..third }, 100), Dropped::Inconsistent);
    assert_eq!(dropped(Header { fragment_bytes: 90, ..third }, 90), Dropped::Inconsistent);
    assert_eq!(dropped(Header { flags: rpc::CRC | rpc::AT_MOST_ONCE, ..third }, 100), Dropped::Inconsistent);
    assert_eq!(dropped(third, 99), Dropped::Shape);
    assert_eq!(dropped(Header { fragment_index: 10, ..third }, 100), Dropped::Shape);
    assert_eq!(dropped(Header { fragment_index: 4, ..third }, 100), Dropped::Duplicate);
    let mut plain = datagram(third, &[Tlv::Cookie(&cookie)], &[0; 100]);
    third.emit(&mut plain);
    plain[2] &= 0x7F;
    plain[1] = 0x06;
    assert!(matches!(pass(&mut server, &mut memory, 0, &plain), Action::Drop(Dropped::NoCrc)));
}

#[test]
fn busy_when_slots_are_out_and_room_again_after_cancel() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let cookie = cookie(&mut server, &mut memory, 0);
    send(&mut server, &mut memory, 0, request(1, 0, 1000), &cookie, &[3]);
    let first = datagram(request(2, 0, 1000), &[Tlv::Cookie(&cookie)], &[0; 100]);
    let busy = answer(pass(&mut server, &mut memory, 0, &first));
    assert_eq!((busy.header().status(), busy.header().service_us()), (Status::Busy, 77));
    let cancel = Header { kind: Kind::Cancel, ..request(1, 0, 0) };
    assert!(matches!(pass(&mut server, &mut memory, 0, &datagram(cancel, &[], &[])), Action::Kept));
    assert!(matches!(pass(&mut server, &mut memory, 0, &first), Action::Kept));
    // A late fragment of what was cancelled does not begin it anew.
    assert!(matches!(
        send(&mut server, &mut memory, 0, request(1, 0, 1000), &cookie, &[]),
        Action::Drop(Dropped::Duplicate)
    ));
}

#[test]
fn a_lambda_keeps_the_slot_of_a_cancelled_request_until_it_is_done() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let cookie = cookie(&mut server, &mut memory, 0);
    let (call, _) = run(send(&mut server, &mut memory, 0, request(1, 0, 1000), &cookie, &[]));
    let cancel = datagram(Header { kind: Kind::Cancel, ..request(1, 0, 0) }, &[], &[]);
    assert!(matches!(pass(&mut server, &mut memory, 0, &cancel), Action::Cancelled { lambda: 1, .. }));
    assert_eq!(memory.taken, [true]);
    assert!(matches!(server.reply(0, &call, 0, Body::Frame(b"late"), &mut memory), Answer::Discard));
    assert_eq!(memory.taken, [false]);
}

#[test]
fn at_most_once_runs_once() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let shown = cookie(&mut server, &mut memory, 0);
    let once = |sequence: u32, again: bool| {
        let flags = rpc::AT_MOST_ONCE | if again { rpc::RTX } else { 0 };
        datagram(request(sequence, flags, 5), &[Tlv::Cookie(&shown)], b"hello")
    };
    let (call, _) = run(pass(&mut server, &mut memory, 0, &once(100, false)));
    // It runs: nothing is missing.
    let head = answer(pass(&mut server, &mut memory, 0, &once(100, true)));
    assert_eq!((head.header().kind, head.header().missing()), (Kind::Nack, 1));
    assert!(matches!(server.reply(0, &call, 0, Body::Frame(b"HELLO"), &mut memory), Answer::Reply(_)));
    assert!(matches!(pass(&mut server, &mut memory, 0, &once(100, true)), Action::Replay(..)));
    // Acknowledged, or below the window: its reply is gone, and it does not run.
    let ack = datagram(Header { kind: Kind::Ack, ..request(100, 0, 0) }, &[], &[]);
    assert!(matches!(pass(&mut server, &mut memory, 0, &ack), Action::Kept));
    assert_eq!(server.usage().cached_bytes, 0);
    assert_eq!(status(pass(&mut server, &mut memory, 0, &once(100, true))), Status::Stale);
    assert_eq!(status(pass(&mut server, &mut memory, 0, &once(36, true))), Status::Stale);
    let (call, _) = run(pass(&mut server, &mut memory, 0, &once(37, true)));
    // What was given back without having run may run.
    let head = server.abandon(&call, Status::Busy, 9, &mut memory).expect("an answer");
    assert_eq!((head.header().status(), head.header().service_us()), (Status::Busy, 9));
    run(pass(&mut server, &mut memory, 0, &once(37, true)));
    // In its next life the server knows nothing: the cookie says so.
    let mut next = Server::new(limits(), [6; 16], 78);
    for sequence in [37, 38] {
        let head = answer(pass(&mut next, &mut memory, 0, &once(sequence, true)));
        assert_eq!((head.header().kind, head.options().epoch), (Kind::Challenge, Some(78)));
    }
    let stale = datagram(request(38, rpc::AT_MOST_ONCE | rpc::RTX, 5), &[], b"hello");
    assert_eq!(status(pass(&mut next, &mut memory, 0, &stale)), Status::Stale);
    for (epoch, stale) in [(77, true), (78, false)] {
        let known = datagram(request(38, rpc::AT_MOST_ONCE | rpc::RTX, 5), &[Tlv::Epoch(epoch)], b"hello");
        let action = pass(&mut next, &mut memory, 0, &known);
        assert_eq!(matches!(action, Action::Send(_)), stale, "{action:?}");
    }
}

#[test]
fn a_long_reply_waits_for_the_cookie() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let header = Header { fragment_bytes: 200, ..request(1, rpc::AT_MOST_ONCE, 16) };
    let (call, _) = run(pass(&mut server, &mut memory, 0, &datagram(header, &[], &[0; 16])));
    let Answer::Instead(head) = server.reply(0, &call, 0, Body::Frame(&[8; 150]), &mut memory) else {
        panic!("182 bytes are more than 3 × 48")
    };
    assert_eq!(head.header().kind, Kind::Challenge);
    let cookie = head.options().cookie.expect("a cookie");
    let again = Header { flags: header.flags | rpc::RTX, ..header };
    let action = pass(&mut server, &mut memory, 0, &datagram(again, &[Tlv::Cookie(&cookie)], &[0; 16]));
    let Action::Replay(_, reply) = action else { panic!("{action:?}") };
    let mut payload = [0; 150];
    assert_eq!((server.cached(reply, &mut payload), payload), (Some(150), [8; 150]));
}

#[test]
fn a_reply_of_several_fragments_leaves_its_slot_until_the_ack() {
    let (mut server, mut memory) = (server(), Memory::new(2, 9000));
    let cookie = cookie(&mut server, &mut memory, 0);
    let header = request(1, 0, 16);
    let bytes = datagram(header, &[Tlv::Cookie(&cookie)], &[0; 16]);
    let (call, _) = run(pass(&mut server, &mut memory, 0, &bytes));
    memory.taken[0] = true;
    let body = Body::Slot { slot: SlotId(0), bytes: 8_950 };
    assert!(matches!(server.reply(0, &call, 5, body, &mut memory), Answer::Queued));
    let sent = |server: &mut Server<()>, memory: &mut Memory, now_us: u64| {
        let mut sent = Vec::new();
        while let Some(transmit) = server.poll(now_us, memory) {
            let Transmit::Fragment { head, slot: SlotId(0), offset, bytes, .. } = transmit else {
                panic!("{transmit:?}")
            };
            let header = head.header();
            assert_eq!((header.kind, header.aux, head.options().epoch), (Kind::Reply, 5, Some(77)));
            assert_eq!(
                (offset, bytes),
                (u32::from(header.fragment_index) * 100, u32::from(header.payload_bytes().unwrap()))
            );
            sent.push((header.fragment_index, header.flags & rpc::RTX != 0));
        }
        sent
    };
    // As many as may be on their way, and no more until there is a GRANT.
    assert_eq!(sent(&mut server, &mut memory, 0), (0..64).map(|index| (index, false)).collect::<Vec<_>>());
    let say = |kind, aux, tlvs: &[Tlv<'_>]| datagram(Header { kind, aux, ..header }, tlvs, &[]);
    pass(&mut server, &mut memory, 0, &say(Kind::Grant, 66, &[]));
    assert_eq!(sent(&mut server, &mut memory, 0), [(64, false), (65, false)]);
    pass(&mut server, &mut memory, 0, &say(Kind::Nack, 7, &[Tlv::Bitmap(&[0b1010_0000])]));
    assert_eq!(sent(&mut server, &mut memory, 0), [(7, true), (9, true)]);
    assert_eq!(sent(&mut server, &mut memory, 30_000), [(65, true)], "nobody says anything");
    pass(&mut server, &mut memory, 40_000, &say(Kind::Ack, 0, &[]));
    assert_eq!(memory.taken, [false, false]);
    assert_eq!(sent(&mut server, &mut memory, 1_000_000), []);
    assert_eq!(server.usage().exchanges, 0);
    assert_eq!(
        status(pass(&mut server, &mut memory, 1_000_000, &say(Kind::Grant, 90, &[]))),
        Status::UnknownRpc
    );
}

#[test]
fn pong_says_how_much_was_heard() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let ping = Header { kind: Kind::Ping, message_length: 1440, fragment_bytes: 1440, ..request(1, 0, 0) };
    let head = answer(pass(&mut server, &mut memory, 0, &datagram(ping, &[], &[0; 1440])));
    assert_eq!((head.header().kind, head.header().aux, head.bytes()), (Kind::Pong, 1472, 32));
}

#[test]
fn a_budget_that_ends_while_fragments_come_is_answered() {
    let (mut server, mut memory) = (server(), Memory::new(1, 1000));
    let cookie = cookie(&mut server, &mut memory, 0);
    send(&mut server, &mut memory, 0, Header { aux: 3_000, ..request(1, 0, 1000) }, &cookie, &[3]);
    let Some(Transmit::Control { head, .. }) = server.poll(3_500, &mut memory) else { panic!("an answer") };
    assert_eq!(head.header().status(), Status::DeadlineExceeded);
    assert_eq!((memory.taken, server.usage().exchanges), (vec![false], 0));
}

#[test]
fn one_address_cannot_have_everything() {
    let mut server = Server::new(
        lnic_message::server::Limits { entries_per_address: 3, sessions: 100, ..limits() },
        [5; 16],
        77,
    );
    let mut memory = Memory::new(1, 1000);
    let cookie = cookie(&mut server, &mut memory, 0);
    let ran = (0..10_u64).filter(|session| {
        let header = Header { request: session << 32 | 1, ..request(0, rpc::AT_MOST_ONCE, 5) };
        let action = pass(&mut server, &mut memory, 0, &datagram(header, &[Tlv::Cookie(&cookie)], b"hello"));
        matches!(action, Action::Run { .. })
    });
    assert_eq!(ran.count(), 3);
}

/// `cargo test --release -p lnic-message --test server fragment_cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "prints what it measured")]
fn fragment_cost() {
    const ROUNDS: u32 = 20_000;
    let (mut server, mut memory) = (server(), Memory::new(1, 10_000));
    let cookie = cookie(&mut server, &mut memory, 0);
    let fragments = |sequence: u32| -> Vec<(Header, Vec<u8>)> {
        let header = Header { fragment_bytes: 1024, ..request(sequence, 0, 8 * 1024) };
        (0..8_u16)
            .map(|index| {
                let bytes =
                    datagram(Header { fragment_index: index, ..header }, &[Tlv::Cookie(&cookie)], &[7; 1024]);
                (Header::parse(&bytes).expect("a header"), bytes)
            })
            .collect()
    };
    let messages: Vec<_> = (0..64).map(fragments).collect();
    let start = std::time::Instant::now();
    for round in 0..ROUNDS {
        for (header, bytes) in &messages[(round % 64) as usize] {
            let action = server.frame(0, &SOURCE, (), header, bytes, &mut memory);
            if let Action::Run { call, .. } = action {
                server.reply(0, &call, 0, Body::Frame(b"done"), &mut memory);
                let ack = Header { kind: Kind::Ack, message_length: 0, ..*header };
                server.frame(0, &SOURCE, (), &ack, &bytes[..48], &mut memory);
                // Forgets the exchange, so that the same message may come again.
                while server.usage().exchanges > 0 {
                    let _ = server.poll(200_000, &mut memory);
                }
            }
        }
    }
    let ns = start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS * 8);
    println!("{ns:.0} ns for each fragment of 1,024 bytes, copied, of messages of 8, with reply and ACK");
}
