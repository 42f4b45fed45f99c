//! Calls of one frame against a responder on loopback that loses, repeats, delays, corrupts and mistakes replies.
#![allow(missing_docs, reason = "tests")]

mod responder;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lnic_client::{CallOptions, Client, Counters, Error, Status};
use lnic_wire::rpc::{self, Header};
use responder::{Responder, reply, sealed, upper};

const LOCAL: &str = "127.0.0.1:0";

fn fast() -> CallOptions {
    CallOptions { timeout: Duration::from_secs(2), ..CallOptions::default() }
}

#[test]
fn calls_over_ipv4_and_ipv6() {
    for bind in [LOCAL, "[::1]:0"] {
        let responder = Responder::start(bind, |_, request, payload| vec![upper(request, payload)]);
        let mut client = Client::connect(responder.address()).expect("a socket");
        for call in 0..100_usize {
            let payload = vec![b'a'; call * 14];
            let answer = client.call(7, &payload[..], &fast()).expect("a reply");
            assert_eq!(answer.payload, payload.to_ascii_uppercase());
            assert_eq!(
                (answer.status, answer.credit, answer.service_us, answer.attempts),
                (Status::Ok, 8, 42, 1)
            );
            assert!(answer.round_trip > Duration::ZERO);
        }
        assert_eq!(client.counters(), Counters::default());
    }
}

#[test]
fn requests_say_what_the_caller_asked_for() {
    let responder = Responder::start(LOCAL, |_, request, _| {
        let said = format!("{:x} {}", request.flags, request.budget_us());
        vec![reply(request, Status::Ok, said.as_bytes())]
    });
    let mut client = Client::connect(responder.address()).expect("a socket");
    let mut said = |options| {
        let answer = client.call(7, "", &options).expect("a reply");
        String::from_utf8(answer.payload).expect("text")
    };
    assert_eq!(said(fast()), format!("{:x} 0", rpc::CRC));
    assert_eq!(
        said(CallOptions { idempotent: true, priority: 5, ..fast() }),
        format!("{:x} 0", rpc::CRC | rpc::IDEMPOTENT | 5)
    );
    let left_us: u32 = said(CallOptions { budget_us: 900_000, ..fast() })[5..].parse().expect("a number");
    assert!((800_000..=900_000).contains(&left_us), "{left_us}");
}

#[test]
fn returns_other_statuses() {
    let statuses = [Status::NotFound, Status::DeadlineExceeded, Status::Unauthenticated, Status::Other(99)];
    let responder =
        Responder::start(LOCAL, move |count, request, _| vec![reply(request, statuses[count], b"because")]);
    let mut client = Client::connect(responder.address()).expect("a socket");
    for status in statuses {
        let answer = client.call(7, "", &fast()).expect("a reply");
        assert_eq!((answer.status, &answer.payload[..], answer.attempts), (status, &b"because"[..], 1));
    }
}

#[test]
fn sends_again_what_was_lost() {
    let flags = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&flags);
    let responder = Responder::start(LOCAL, move |count, request, payload| {
        seen.fetch_or(u32::from(request.flags) << (16 * (count % 2)), Ordering::Relaxed);
        if count % 3 == 2 { vec![upper(request, payload)] } else { vec![] }
    });
    let mut client = Client::connect(responder.address()).expect("a socket");
    let answer = client.call(7, "again", &fast()).expect("a reply");
    assert_eq!((answer.attempts, &answer.payload[..]), (3, &b"AGAIN"[..]));
    assert!(answer.round_trip >= Duration::from_millis(300), "100 ms, then 200: {answer:?}");
    assert_eq!(client.counters(), Counters { retransmitted: 2, ..Counters::default() });
    assert_ne!(flags.load(Ordering::Relaxed) & u32::from(rpc::RTX) << 16, 0, "RTX on the second attempt");
}

#[test]
fn gives_up_in_time() {
    let responder = Responder::start(LOCAL, |_, _, _| vec![]);
    let mut client = Client::connect(responder.address()).expect("a socket");
    let start = Instant::now();
    let options = CallOptions { timeout: Duration::from_millis(250), ..fast() };
    let error = client.call(7, "", &options).expect_err("silence");
    assert!(matches!(error, Error::NoReply { waited, .. } if waited >= options.timeout), "{error}");
    assert!((250..900).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn ignores_duplicate_late_foreign_corrupt_and_malformed_replies() {
    let mut late = Vec::new();
    let responder = Responder::start(LOCAL, move |count, request, payload| {
        let good = upper(request, payload);
        match count {
            // Answered twice: the second copy is found by the next call.
            0 => vec![good.clone(), good],
            // Given up: its reply comes during the next call.
            1 => {
                late = good;
                vec![]
            }
            _ => {
                let mut corrupt = good.clone();
                *corrupt.last_mut().expect("bytes") ^= 1;
                let foreign =
                    Header { request: request.request ^ 1 << 50, ..request.reply(Status::Ok, 0, 0, 0) };
                let lambda = Header { lambda: 1, ..request.reply(Status::Ok, 0, 0, 0) };
                let ahead = Header { request: request.request + 5, ..request.reply(Status::Ok, 0, 0, 0) };
                let ack = Header { kind: rpc::Kind::Ack, ..request.reply(Status::Ok, 0, 0, 0) };
                let lies = request.reply(Status::Ok, 0, 0, 100);
                vec![
                    std::mem::take(&mut late),
                    corrupt,
                    sealed(&foreign, b""),
                    sealed(&lambda, b""),
                    sealed(&ahead, b""),
                    sealed(&ack, b""),
                    sealed(&lies, b"short"),
                    b"junk".to_vec(),
                    good,
                ]
            }
        }
    });
    let mut client = Client::connect(responder.address()).expect("a socket");
    assert_eq!(client.call(7, "one", &fast()).expect("a reply").payload, b"ONE");
    // Shorter than the time after which it would be sent again.
    let short = CallOptions { timeout: Duration::from_millis(10), ..fast() };
    assert!(matches!(client.call(7, "two", &short), Err(Error::NoReply { .. })));
    assert_eq!(client.call(7, "three", &fast()).expect("a reply").payload, b"THREE");
    // Late: a copy, one that was given up, one that was never asked for. Unexpected: another lambda's, an ACK.
    let expected =
        Counters { late: 3, foreign: 1, corrupt: 1, malformed: 2, unexpected: 2, retransmitted: 0 };
    assert_eq!(client.counters(), expected);
}

#[test]
fn takes_a_delayed_reply_to_an_earlier_attempt() {
    let responder = Responder::start(LOCAL, |count, request, payload| {
        if count == 0 {
            std::thread::sleep(Duration::from_millis(150));
        }
        vec![upper(request, payload)]
    });
    let mut client = Client::connect(responder.address()).expect("a socket");
    let answer = client.call(7, "slow", &fast()).expect("a reply");
    assert_eq!((answer.attempts, &answer.payload[..]), (2, &b"SLOW"[..]));
    client.call(7, "next", &fast()).expect("a reply");
    assert_eq!(client.counters().late, 1, "the reply to the second attempt");
}

#[test]
fn says_that_nothing_listens() {
    let address = UdpSocket::bind(LOCAL).and_then(|socket| socket.local_addr()).expect("a free port");
    let mut client = Client::connect(address).expect("a socket");
    let start = Instant::now();
    for _ in 0..2 {
        let error = client.call(7, "", &fast()).expect_err("nobody");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "at once");
}
