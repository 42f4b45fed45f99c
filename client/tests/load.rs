//! The load generator against a responder on loopback.
#![allow(missing_docs, reason = "tests")]

mod appliance;
mod responder;

use std::net::UdpSocket;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use appliance::{Appliance, GROW, REVERSE, Weather};
use lnic_client::load::{self, Mode, Outcome, Plan};
use lnic_client::{Error, Status};
use responder::{Responder, reply, upper};

const LOCAL: &str = "127.0.0.1:0";

fn run(responder: &Responder, mode: Mode) -> Outcome {
    let outcome = load::run(&Plan {
        payload: vec![b'x'; 64],
        warm_up: Duration::from_millis(50),
        duration: Duration::from_millis(300),
        timeout: Duration::from_millis(400),
        ..Plan::new(responder.address(), 7, mode)
    })
    .expect("a run");
    assert_eq!(outcome.sent, outcome.replied + outcome.lost, "{outcome:?}");
    assert_eq!(outcome.statuses.iter().map(|count| count.replies).sum::<u64>(), outcome.replied);
    outcome
}

#[test]
fn closed_loop() {
    for (bind, outstanding) in [(LOCAL, 1), ("[::1]:0", 100)] {
        let responder = Responder::start(bind, |_, request, payload| vec![upper(request, payload)]);
        let outcome = run(&responder, Mode::ClosedLoop { outstanding });
        assert_eq!((outcome.lost, outcome.payload_bytes, outcome.unsent), (0, 64, 0), "{outcome:?}");
        assert!(outcome.achieved_rate > 1_000.0, "{outcome:?}");
        let latency = outcome.latency;
        assert_eq!(latency.samples, outcome.replied);
        let rising = [
            latency.min_us,
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p99_9_us,
            latency.max_us,
        ];
        assert!(rising[0] > 0.0 && rising.is_sorted(), "{latency:?}");
        assert!(outcome.cpu_s > 0.0 && outcome.cpu_s <= 0.31, "{outcome:?}");
    }
}

#[test]
fn open_loop_keeps_its_schedule_while_the_responder_stalls() {
    let responder = Responder::start(LOCAL, |count, request, payload| {
        if count == 400 {
            std::thread::sleep(Duration::from_millis(60));
        }
        vec![upper(request, payload)]
    });
    let outcome = run(&responder, Mode::OpenLoop { rate: 2_000.0 });
    assert_eq!((outcome.sent, outcome.lost, outcome.unsent), (600, 0, 0), "{outcome:?}");
    assert!((outcome.achieved_rate - 2_000.0).abs() < 100.0, "{outcome:?}");
    // 60 ms of 300 stalled: a fifth of all requests waited, not just the one.
    assert!(outcome.latency.p90_us > 20_000.0, "{outcome:?}");
    assert!(outcome.latency.max_us > 50_000.0, "{outcome:?}");
}

#[test]
fn counts_losses_duplicates_and_statuses() {
    let responder = Responder::start(LOCAL, |count, request, payload| match count % 10 {
        0 => vec![],
        1 => vec![upper(request, payload), upper(request, payload)],
        2 => vec![reply(request, Status::Busy, b"")],
        3 => {
            let mut corrupt = upper(request, payload);
            corrupt[40] ^= 0x80;
            vec![corrupt]
        }
        _ => vec![upper(request, payload)],
    });
    let outcome = run(&responder, Mode::OpenLoop { rate: 1_000.0 });
    assert_eq!(outcome.sent, 300);
    assert_eq!((outcome.lost, outcome.loss), (60, 0.2), "{outcome:?}");
    assert_eq!((outcome.duplicate, outcome.corrupt), (35, 35), "{outcome:?}");
    let statuses: Vec<_> = outcome.statuses.iter().map(|count| (&count.status[..], count.replies)).collect();
    assert_eq!(statuses, [("OK", 210), ("BUSY", 30)]);
    assert_eq!(outcome.latency.samples, 210);
}

#[test]
fn a_responder_that_dies_is_measured_and_one_that_never_was_is_refused() {
    let mut plan = Plan::new(
        UdpSocket::bind(LOCAL).and_then(|socket| socket.local_addr()).expect("a free port"),
        7,
        Mode::ClosedLoop { outstanding: 4 },
    );
    plan.warm_up = Duration::ZERO;
    plan.duration = Duration::from_millis(200);
    plan.timeout = Duration::from_millis(50);
    assert!(matches!(load::run(&plan), Err(Error::Refused { .. })));

    let responder = Responder::start(LOCAL, |_, request, payload| vec![upper(request, payload)]);
    plan.address = responder.address();
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| load::run(&plan));
        std::thread::sleep(Duration::from_millis(80));
        drop(responder);
        run.join().expect("no panic").expect("a run")
    });
    assert!(outcome.socket_errors > 0 && outcome.lost > 0 && outcome.replied > 0, "{outcome:?}");
}

fn short(plan: Plan) -> Outcome {
    let plan = Plan {
        warm_up: Duration::from_millis(50),
        duration: Duration::from_millis(400),
        timeout: Duration::from_secs(5),
        ..plan
    };
    let outcome = load::run(&plan).expect("a run");
    assert_eq!(outcome.sent, outcome.replied + outcome.lost, "{outcome:?}");
    outcome
}

#[test]
fn messages_in_both_loops() {
    let appliance = Appliance::start(Weather::default());
    for mode in [Mode::ClosedLoop { outstanding: 4 }, Mode::OpenLoop { rate: 50.0 }] {
        let outcome =
            short(Plan { payload: vec![b'x'; 20_000], ..Plan::new(appliance.address, REVERSE, mode) });
        assert_eq!((outcome.lost, outcome.retransmitted, outcome.socket_errors), (0, 0, 0), "{outcome:?}");
        assert!(outcome.replied >= 20 && outcome.latency.samples == outcome.replied, "{outcome:?}");
        let expected_mbit_s = outcome.achieved_rate * 20_000.0 * 8.0 / 1e6;
        for goodput_mbit_s in [outcome.request_mbit_s, outcome.reply_mbit_s] {
            assert!((goodput_mbit_s / expected_mbit_s - 1.0).abs() < 1e-6, "{outcome:?}");
        }
    }
}

#[test]
fn messages_are_sent_again_and_nobody_is_refused() {
    let appliance = Appliance::start(Weather { lost_percent: 5, late_percent: 5 });
    let outcome = short(Plan {
        payload: vec![b'x'; 20_000],
        ..Plan::new(appliance.address, REVERSE, Mode::ClosedLoop { outstanding: 4 })
    });
    assert_eq!((outcome.lost, outcome.retransmitted > 0), (0, true), "{outcome:?}");
    let nobody = UdpSocket::bind(LOCAL).and_then(|socket| socket.local_addr()).expect("a free port");
    let plan = Plan {
        payload: vec![b'x'; 20_000],
        ..Plan::new(nobody, REVERSE, Mode::ClosedLoop { outstanding: 4 })
    };
    assert!(matches!(load::run(&plan), Err(Error::Refused { .. })));
}

#[test]
fn frames_get_a_cookie_where_the_reply_is_long() {
    let appliance = Appliance::start(Weather::default());
    // 36 bytes of request: UNAUTHENTICATED, then a challenge; 132 bytes: a challenge.
    for (payload_bytes, reply_bytes) in [(4, 500_u32), (100, 1_000)] {
        let mut payload = vec![0; payload_bytes];
        payload[..4].copy_from_slice(&reply_bytes.to_be_bytes());
        let runs = appliance.board.runs.load(Relaxed);
        let outcome = short(Plan {
            payload,
            ..Plan::new(appliance.address, GROW, Mode::ClosedLoop { outstanding: 8 })
        });
        assert_eq!((outcome.lost, outcome.malformed, outcome.unexpected), (0, 0, 0), "{outcome:?}");
        assert!((1..=24).contains(&outcome.challenged), "once and again: {outcome:?}");
        let statuses: Vec<_> = outcome.statuses.iter().map(|count| &count.status[..]).collect();
        assert_eq!(statuses, ["OK"]);
        let ran = u64::from(appliance.board.runs.load(Relaxed) - runs);
        assert!(outcome.replied > 100 && ran >= outcome.replied, "{outcome:?}");
        let expected_mbit_s = outcome.achieved_rate * f64::from(reply_bytes) * 8.0 / 1e6;
        assert!((outcome.reply_mbit_s / expected_mbit_s - 1.0).abs() < 1e-6, "{outcome:?}");
    }
    let outcome = short(Plan {
        payload: vec![1; 64],
        ..Plan::new(appliance.address, REVERSE, Mode::ClosedLoop { outstanding: 8 })
    });
    assert_eq!(outcome.challenged, 0, "an echo needs none");
}

#[test]
fn frames_are_told_of_replies_that_take_several() {
    let appliance = Appliance::start(Weather::default());
    let mut plan = Plan::new(appliance.address, GROW, Mode::ClosedLoop { outstanding: 1 });
    plan.payload = 5_000_u32.to_be_bytes().to_vec();
    plan.duration = Duration::from_millis(200);
    plan.warm_up = Duration::ZERO;
    plan.timeout = Duration::from_millis(150);
    let outcome = load::run(&plan).expect("a run");
    assert!(outcome.fragmented >= 5 && outcome.replied == 0, "{outcome:?}");
    plan.messages = true;
    let outcome = load::run(&plan).expect("a run");
    assert!(outcome.replied > 0 && outcome.fragmented == 0 && outcome.lost == 0, "{outcome:?}");
}

#[test]
fn refuses_plans_that_cannot_be_run() {
    let plan = Plan::new("127.0.0.1:1".parse().expect("an address"), 7, Mode::OpenLoop { rate: f64::NAN });
    assert!(matches!(load::run(&plan), Err(Error::Plan(_))));
    let plan = Plan { mode: Mode::ClosedLoop { outstanding: 0 }, ..plan };
    assert!(matches!(load::run(&plan), Err(Error::Plan(_))));
    let payload = vec![0; (64 << 20) + 1];
    let plan = Plan { mode: Mode::ClosedLoop { outstanding: 1 }, payload, ..plan };
    assert!(matches!(load::run(&plan), Err(Error::PayloadTooLong { .. })));
}
