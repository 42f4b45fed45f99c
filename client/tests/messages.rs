//! The blocking client against the state machine's other end, through loss and reordering.
#![allow(missing_docs, reason = "tests")]

mod appliance;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use appliance::{Appliance, GROW, REVERSE, SILENT, Weather, is_reversed, pattern};
use lnic_client::{CallOptions, Client, Config, Error, Failure, Status, config_for};

const CALM: Weather = Weather { lost_percent: 0, late_percent: 0 };
const STORM: Weather = Weather { lost_percent: 5, late_percent: 5 };

fn options() -> CallOptions {
    CallOptions { timeout: Duration::from_secs(30), ..CallOptions::default() }
}

#[test]
fn calls_of_every_length() {
    let appliance = Appliance::start(CALM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    for (bytes, at_most_once) in [
        (0, true),
        (1, false),
        (1_024, true),
        (1_424, false),
        (1_425, false),
        (300_000, false),
        (8 << 20, true),
    ] {
        let payload = pattern(bytes);
        let reply = client
            .call(REVERSE, payload.clone(), &CallOptions { at_most_once, ..options() })
            .expect("a reply");
        assert_eq!(reply.status, Status::Ok);
        assert!(is_reversed(&reply.payload, &payload), "{bytes} bytes");
    }
    // As far as the receive buffer that the kernel grants allows.
    assert!([1472 - 48, 8972 - 48].contains(&client.fragment_bytes()), "{}", client.fragment_bytes());
}

#[test]
fn a_storm_loses_nothing() {
    let appliance = Appliance::start(STORM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    for (bytes, at_most_once) in [(1, true), (100, false), (5_000, true), (300_000, false), (8 << 20, true)] {
        let payload = pattern(bytes);
        let reply = client
            .call(REVERSE, payload.clone(), &CallOptions { at_most_once, ..options() })
            .expect("a reply");
        assert!(is_reversed(&reply.payload, &payload), "{bytes} bytes");
    }
    assert!(appliance.board.disturbed.load(Relaxed) > 100 && client.counters().retransmitted > 10);
}

#[test]
fn at_most_once_runs_once_through_a_storm() {
    let appliance = Appliance::start(STORM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    let once = CallOptions { at_most_once: true, ..options() };
    let mut open: BTreeSet<_> =
        (0..500).map(|_| client.start(REVERSE, "abc", &once).expect("room")).collect();
    assert_eq!(client.open_calls(), 500);
    while let Some((id, result)) = client.wait() {
        assert_eq!(result.expect("a reply").payload, b"cba");
        assert!(open.remove(&id), "it ends once");
    }
    assert!(open.is_empty() && client.open_calls() == 0);
    assert_eq!(appliance.board.runs.load(Relaxed), 500);
}

#[test]
fn a_short_request_has_a_long_reply() {
    let appliance = Appliance::start(CALM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    for bytes in [1_000_u32, 3 << 20] {
        let reply = client.call(GROW, &bytes.to_be_bytes(), &options()).expect("a reply");
        assert_eq!((reply.status, reply.payload.len()), (Status::Ok, bytes as usize));
        assert!(reply.payload.iter().all(|&byte| byte == 0x5A));
    }
    let config = Config { reply_bytes: 5_000, ..config_for(appliance.address) };
    let mut client = Client::with_config(appliance.address, config).expect("a socket");
    let error = client.call(GROW, &5_001_u32.to_be_bytes(), &options()).expect_err("too long");
    assert!(
        matches!(error, Error::Failed { failure: Failure::ReplyTooLong { bytes: 5_001 }, .. }),
        "{error}"
    );
}

#[test]
fn a_busy_appliance_is_asked_again() {
    let appliance = Appliance::start(CALM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    for at_most_once in [false, true] {
        appliance.board.busy.store(3, Relaxed);
        let reply = client.call(REVERSE, "abc", &CallOptions { at_most_once, ..options() }).expect("a reply");
        assert_eq!((reply.status, &reply.payload[..]), (Status::Ok, &b"cba"[..]));
        assert!(reply.attempts > 3, "{reply:?}");
    }
    appliance.board.busy.store(u32::MAX, Relaxed);
    let short = CallOptions { timeout: Duration::from_millis(50), ..options() };
    assert_eq!(client.call(REVERSE, "abc", &short).expect("an answer").status, Status::Busy);
}

#[test]
fn time_runs_out_and_the_appliance_is_told() {
    let appliance = Appliance::start(CALM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    let short = CallOptions { timeout: Duration::from_millis(60), ..options() };
    let start = Instant::now();
    let error = client.call(SILENT, vec![1; 5_000], &short).expect_err("silence");
    assert!(matches!(error, Error::NoReply { waited, .. } if waited >= short.timeout), "{error}");
    assert!((60..600).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    // A call that is cancelled, and one whose client goes.
    let id = client.start(SILENT, vec![1; 5_000], &options()).expect("room");
    assert!(client.wait_for(Duration::from_millis(20)).is_none());
    assert!(client.cancel(id) && !client.cancel(id));
    assert!(client.wait().is_none(), "none is open");
    client.start(SILENT, vec![1; 5_000], &options()).expect("room");
    assert!(client.wait_for(Duration::from_millis(20)).is_none());
    drop(client);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(appliance.board.cancels.load(Relaxed), 3);
}

#[test]
fn a_restart_ends_what_may_have_run_and_nothing_else() {
    let appliance = Appliance::start(CALM);
    let mut client = Client::connect(appliance.address).expect("a socket");
    let once = CallOptions { at_most_once: true, ..options() };
    client.call(REVERSE, "abc", &once).expect("a reply");
    let lost = client.start(SILENT, "abc", &once).expect("room");
    assert!(client.wait_for(Duration::from_millis(20)).is_none());
    appliance.board.restart.store(true, Relaxed);
    std::thread::sleep(Duration::from_millis(20));
    let payload = pattern(100_000);
    let reply = client.call(REVERSE, payload.clone(), &options()).expect("it needs a new cookie");
    assert!(is_reversed(&reply.payload, &payload));
    let (id, result) = client.wait().expect("the other call");
    assert_eq!(id, lost);
    assert!(matches!(result, Err(Error::Failed { failure: Failure::Restarted, .. })), "{result:?}");
    client.call(REVERSE, "abc", &once).expect("a new life");
}

#[test]
fn a_gap_between_two_lives_is_survived() {
    let appliance = Appliance::start(CALM);
    let address = appliance.address;
    let mut client = Client::connect(address).expect("a socket");
    client.call(REVERSE, "abc", &options()).expect("a reply");
    drop(appliance);
    let short = CallOptions { timeout: Duration::from_millis(300), ..options() };
    let error = client.call(REVERSE, "abc", &short).expect_err("nobody is there");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        Appliance::on(UdpSocket::bind(address).expect("the port is free"), CALM)
    });
    assert_eq!(client.call(REVERSE, "abc", &options()).expect("a reply").payload, b"cba");
    drop(thread.join());
}

#[test]
fn refuses_what_is_too_much() {
    let appliance = Appliance::start(CALM);
    let config = Config { requests: 2, ..config_for(appliance.address) };
    let mut client = Client::with_config(appliance.address, config).expect("a socket");
    let error = client.start(REVERSE, vec![0; (64 << 20) + 1], &options()).expect_err("too long");
    assert_eq!(error.to_string(), "payload of 67108865 bytes: a message has at most 67108864");
    for _ in 0..2 {
        client.start(REVERSE, "abc", &options()).expect("room");
    }
    let error = client.start(REVERSE, "abc", &options()).expect_err("full");
    assert!(matches!(error, Error::TooManyCalls { requests: 2 }), "{error}");
}
