//! Each limit, with a client that goes over it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lnic::control::http::{Limits, Settings};
use lnic::control::plane::LambdaKey;

use crate::harness::{Client, PATIENCE, Server, bearer, user, wait_until};
use crate::plane::PlaneDouble;

fn settings(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut limits = Limits::default();
    change(&mut limits);
    Settings { limits, ..Settings::default() }
}

fn server(change: impl FnOnce(&mut Limits)) -> Server {
    Server::start(PlaneDouble::new().with_lambda("default", "echo"), settings(change))
}

const SHORT: Duration = Duration::from_millis(300);

/// Closed by the limit: not at once, and not by the patience of the test.
fn assert_cut<S: std::io::Read + std::io::Write>(client: &mut Client<S>, limit: Duration) {
    let after = client.closed().expect("the server closes the connection");
    assert!(
        after + Duration::from_millis(50) >= limit && after < limit * 4 + Duration::from_secs(3),
        "{after:?}"
    );
}

#[test]
fn headers_have_to_arrive_in_time() {
    let server = server(|limits| limits.header_time = SHORT);
    let mut silent = server.connect();
    assert_cut(&mut silent, SHORT);
    // One byte now and then does not help.
    let mut slow = server.connect();
    let start = Instant::now();
    let cut = b"GET /healthz HTTP/1.1\r\nHost: a-name-that-takes-its-time\r\n\r\n".iter().find(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        slow.send(&[**byte]).is_err()
    });
    assert!(cut.is_some() && start.elapsed() >= SHORT);
    // Nor does a request that was well.
    let mut second = server.connect();
    assert_eq!(second.ask("GET", "/healthz", None, None).status, 200);
    second.send(b"GET /healthz HT").unwrap();
    assert_cut(&mut second, SHORT);
    server.assert_well();
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    let server = server(|limits| limits.idle_time = SHORT);
    let mut client = server.connect();
    for _ in 0..4 {
        assert_eq!(client.ask("GET", "/healthz", None, None).status, 200);
        std::thread::sleep(SHORT / 2);
    }
    assert_eq!(client.ask("GET", "/healthz", None, None).status, 200);
    assert_cut(&mut client, SHORT);
    // A log that is followed is no idle connection.
    let mut reader = server.connect();
    reader.send(b"GET /v1/logs?follow=true HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    assert!(reader.head().starts_with("HTTP/1.1 200"));
    std::thread::sleep(SHORT * 4);
    server.plane.log(&LambdaKey::new("default", "echo"), "still there");
    assert!(reader.chunk().is_some());
}

#[test]
fn headers_have_a_length() {
    let server = server(|_| {});
    let with = |bytes: usize| {
        let mut client = server.connect();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: l\r\nX: {}\r\n\r\n", "x".repeat(bytes));
        client.send(request.as_bytes()).unwrap();
        client.answer().expect("an answer").status
    };
    assert_eq!(with(15 << 10), 200);
    assert_eq!(with(17 << 10), 431);
    let mut many = server.connect();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: l\r\n{}\r\n", "A: b\r\n".repeat(200));
    many.send(request.as_bytes()).unwrap();
    assert_eq!(many.answer().expect("an answer").status, 431);
    let mut path = server.connect();
    path.send(format!("GET /{} HTTP/1.1\r\nHost: l\r\n\r\n", "a".repeat(20 << 10)).as_bytes()).unwrap();
    assert!(path.answer().is_none_or(|answer| [414, 431].contains(&answer.status)));
    server.assert_well();
}

#[test]
fn bodies_have_to_arrive_in_time() {
    let server = server(|limits| limits.body_time = SHORT);
    let mut client = server.connect();
    client.send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 1000000\r\n\r\n\0asm").unwrap();
    let start = Instant::now();
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, answer.error().contains("in time")), (408, true));
    assert!(start.elapsed() >= SHORT && start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    // A byte now and then earns nothing.
    let mut client = server.connect();
    client.send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    let start = Instant::now();
    while start.elapsed() < SHORT * 3 && client.send(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.answer().map(|answer| answer.status), Some(408));
    // One that is on its way is waited for longer than that.
    let mut client = server.connect();
    client
        .send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 262152\r\n\r\n\0asm\x01\0\0\0")
        .unwrap();
    for _ in 0..8 {
        client.send(&[0; 32 << 10]).unwrap();
        std::thread::sleep(SHORT / 4);
    }
    assert_eq!(client.answer().expect("an answer").status, 201);
}

#[test]
fn answers_have_to_come_in_time() {
    // The plane double is never slow, but a body that is on its way is waited for, and then the request's time begins.
    let server = server(|limits| {
        limits.request_time = SHORT;
        limits.body_time = SHORT * 4;
    });
    let mut client = server.connect();
    client.send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    let start = Instant::now();
    let answer = client.answer().expect("an answer");
    assert_eq!(answer.status, 504);
    assert!(answer.error().contains("may still be done"));
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 4, "{:?}", start.elapsed());
    let mut client = server.connect();
    client.send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 8\r\n\r\n").unwrap();
    for byte in b"\0asm\x01\0\0\0" {
        std::thread::sleep(SHORT / 3);
        client.send(&[*byte]).unwrap();
    }
    assert_eq!(client.answer().expect("an answer").status, 201, "it took twice the time, and moved on");
}

#[test]
fn who_does_not_read_is_cut_off() {
    let server = server(|limits| limits.write_time = SHORT);
    let mut client = server.connect();
    // Answers of 60 KB each, none of which is read.
    client.send(&b"GET /v1/openapi.json HTTP/1.1\r\nHost: l\r\n\r\n".repeat(1000)).unwrap();
    std::thread::sleep(SHORT * 3);
    let mut bytes = Vec::new();
    let _ = client.stream.read_to_end(&mut bytes);
    assert!(!bytes.is_empty() && bytes.len() < 20 << 20, "{} bytes came", bytes.len());
    // Who reads slowly but reads is not.
    let server = self::server(|limits| {
        limits.write_time = SHORT;
        limits.bytes_per_s = 32 << 10;
    });
    let mut client = server.connect();
    client.send(&b"GET /v1/openapi.json HTTP/1.1\r\nHost: l\r\n\r\n".repeat(20)).unwrap();
    for _ in 0..20 {
        std::thread::sleep(SHORT / 5);
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
}

#[test]
fn connections_are_counted() {
    let server = server(|limits| limits.connections = 4);
    let mut held: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut held {
        assert_eq!(client.ask("GET", "/healthz", None, None).status, 200);
    }
    let mut fifth = server.connect();
    fifth.stream.set_read_timeout(Some(SHORT)).unwrap();
    fifth.send(b"GET /healthz HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    assert!(fifth.answer().is_none(), "it waits");
    held.pop();
    fifth.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(fifth.answer().expect("its turn has come").status, 200);
}

#[test]
fn connections_of_one_address_are_counted() {
    let users = user("root", "\"*\" = \"admin\"");
    let settings = settings(|limits| {
        limits.connections_per_source = 3;
        limits.handshake_time = SHORT;
    });
    let server = Server::start_network(PlaneDouble::new(), settings, &users);
    let held: Vec<_> = (0..3).map(|_| server.connect_tls().unwrap()).collect();
    let mut fourth = Client::new(server.connect_tcp());
    assert!(fourth.closed().expect("closed") < SHORT, "at once");
    drop(held);
    wait_until("their places are free", || {
        server
            .connect_tls()
            .is_ok_and(|mut client| client.ask("GET", "/v1/info", Some(&bearer("root")), None).status == 200)
    });
    // A handshake that does not go on.
    let mut silent = Client::new(server.connect_tcp());
    assert_cut(&mut silent, SHORT);
    let mut garbage = server.connect_tcp();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(Client::new(garbage).closed().is_some());
}

#[test]
fn a_server_that_stops_ends_what_goes_on() {
    let mut server = Server::start(PlaneDouble::new(), Settings { stop_time: SHORT, ..settings(|_| {}) });
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/healthz", None, None).status, 200);
    let mut stuck = server.connect();
    stuck.send(b"POST /v1/modules HTTP/1.1\r\nHost: l\r\nContent-Length: 10\r\n\r\n").unwrap();
    std::thread::sleep(SHORT);
    let socket = server.socket();
    let start = Instant::now();
    server.handle.take().unwrap().stop();
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 6, "{:?}", start.elapsed());
    assert!(idle.closed().is_some() && stuck.closed().is_some());
    assert!(UnixStream::connect(socket).is_err(), "nobody listens any more");
}
