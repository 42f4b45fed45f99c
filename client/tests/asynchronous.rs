//! The asynchronous client against the state machine's other end, through loss and reordering.
#![allow(missing_docs, reason = "tests")]

mod appliance;

use std::net::UdpSocket;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use appliance::{Appliance, GROW, REVERSE, SILENT, Weather, is_reversed, pattern};
use lnic_client::{AsyncClient, CallOptions, Config, Error, Failure, Status, config_for};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CALM: Weather = Weather { lost_percent: 0, late_percent: 0 };
const STORM: Weather = Weather { lost_percent: 5, late_percent: 5 };

fn options() -> CallOptions {
    CallOptions { timeout: Duration::from_secs(30), ..CallOptions::default() }
}

#[tokio::test]
async fn calls_of_every_length_at_once() {
    for weather in [CALM, STORM] {
        let appliance = Appliance::start(weather);
        let client = AsyncClient::connect(appliance.address).expect("a socket");
        let mut calls = JoinSet::new();
        for (bytes, at_most_once) in
            [(1, true), (100, false), (1_424, true), (5_000, true), (300_000, false), (8 << 20, true)]
        {
            let client = client.clone();
            calls.spawn(async move {
                let payload = pattern(bytes);
                let options = CallOptions { at_most_once, ..options() };
                let reply = client.call(REVERSE, payload.clone(), &options).await.expect("a reply");
                assert_eq!(reply.status, Status::Ok);
                assert!(is_reversed(&reply.payload, &payload), "{bytes} bytes");
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended.expect("no panic");
        }
        assert_eq!(client.open_calls(), 0);
    }
}

#[tokio::test]
async fn many_tasks_share_a_socket_and_each_request_runs_once() {
    let appliance = Appliance::start(STORM);
    let client = AsyncClient::connect(appliance.address).expect("a socket");
    let mut calls = JoinSet::new();
    for number in 0..500_u32 {
        let client = client.clone();
        calls.spawn(async move {
            let once = CallOptions { at_most_once: true, ..options() };
            let payload = number.to_be_bytes();
            let reply = client.call(REVERSE, &payload, &once).await.expect("a reply");
            assert!(is_reversed(&reply.payload, &payload));
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("no panic");
    }
    assert_eq!(appliance.board.runs.load(Relaxed), 500);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let appliance = Appliance::start(CALM);
    let client = AsyncClient::connect(appliance.address).expect("a socket");
    let options = options();
    let call = client.call(SILENT, vec![1; 5_000], &options);
    assert!(timeout(Duration::from_millis(30), call).await.is_err(), "silence");
    assert_eq!(client.open_calls(), 0);
    // The last client may go at once: the CANCEL has left.
    drop(client);
    sleep(Duration::from_millis(50)).await;
    assert_eq!((appliance.board.runs.load(Relaxed), appliance.board.cancels.load(Relaxed)), (1, 1));
}

#[tokio::test]
async fn time_runs_out_and_a_busy_appliance_is_asked_again() {
    let appliance = Appliance::start(CALM);
    let client = AsyncClient::connect(appliance.address).expect("a socket");
    let short = CallOptions { timeout: Duration::from_millis(60), ..options() };
    let error = client.call(SILENT, "abc", &short).await.expect_err("silence");
    assert!(matches!(error, Error::NoReply { waited, .. } if waited >= short.timeout), "{error}");
    appliance.board.busy.store(3, Relaxed);
    let reply = client.call(REVERSE, "abc", &options()).await.expect("a reply");
    assert!(reply.status == Status::Ok && reply.attempts > 3, "{reply:?}");
    appliance.board.busy.store(u32::MAX, Relaxed);
    assert_eq!(client.call(REVERSE, "abc", &short).await.expect("an answer").status, Status::Busy);
}

#[tokio::test]
async fn a_restart_ends_what_may_have_run_and_nothing_else() {
    let appliance = Appliance::start(CALM);
    let client = AsyncClient::connect(appliance.address).expect("a socket");
    let once = CallOptions { at_most_once: true, ..options() };
    client.call(REVERSE, "abc", &once).await.expect("a reply");
    let other = client.clone();
    let lost = tokio::spawn(async move { other.call(SILENT, "abc", &once).await });
    sleep(Duration::from_millis(20)).await;
    appliance.board.restart.store(true, Relaxed);
    sleep(Duration::from_millis(20)).await;
    let reply = client.call(GROW, &100_000_u32.to_be_bytes(), &options()).await.expect("a new cookie");
    assert_eq!(reply.payload.len(), 100_000);
    let result = lost.await.expect("no panic");
    assert!(matches!(result, Err(Error::Failed { failure: Failure::Restarted, .. })), "{result:?}");
}

#[tokio::test]
async fn nobody_there_and_too_many() {
    let nobody = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let client = AsyncClient::connect(nobody).expect("a socket");
    for _ in 0..2 {
        let call = timeout(Duration::from_secs(5), client.call(REVERSE, "abc", &options())).await;
        assert!(matches!(call, Ok(Err(Error::Refused { .. }))), "at once: {call:?}");
    }
    let appliance = Appliance::start(CALM);
    let config = Config { requests: 1, ..config_for(appliance.address) };
    let client = AsyncClient::with_config(appliance.address, config).expect("a socket");
    let (options, other) = (options(), client.clone());
    let call = tokio::spawn(async move { other.call(SILENT, "abc", &options).await });
    sleep(Duration::from_millis(20)).await;
    let error = client.call(REVERSE, "abc", &options).await.expect_err("full");
    assert!(matches!(error, Error::TooManyCalls { requests: 1 }), "{error}");
    call.abort();
}
