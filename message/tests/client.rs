//! The client, one rule at a time, against a server that is played by hand.

#![allow(unreachable_pub, dead_code, reason = "support is shared")]

mod support;

use lnic_message::client::{Config, Error, Event, Failure, Machine, RequestId, RequestOptions};
use lnic_message::{CREDIT, Options, WINDOW};
use lnic_wire::rpc::{self, Header, Kind, Status, Tlv};
use support::datagram;

const ONCE: RequestOptions = RequestOptions {
    at_most_once: true,
    idempotent: false,
    budget_us: 0,
    lifetime_us: 0,
    priority: 0,
    trace: None,
};

fn machine() -> Machine<Vec<u8>> {
    Machine::new(Config::default(), 1)
}

/// All that is sent now.
fn sent(machine: &mut Machine<Vec<u8>>, now_us: u64) -> Vec<(Header, Options)> {
    let mut buffer = [0; 9_000];
    std::iter::from_fn(|| machine.poll_transmit(now_us, &mut buffer).map(|bytes| buffer[..bytes].to_vec()))
        .map(|bytes| {
            let header = Header::parse(&bytes).expect("a header");
            assert!(header.kind != Kind::Request || header.accepts(header.payload(&bytes).len()));
            (header, Options::of(header.tlvs(&bytes)))
        })
        .collect()
}

fn kinds(sent: &[(Header, Options)]) -> Vec<Kind> {
    sent.iter().map(|(header, _)| header.kind).collect()
}

fn say(machine: &mut Machine<Vec<u8>>, now_us: u64, about: &Header, kind: Kind, aux: u32, tlvs: &[Tlv<'_>]) {
    let header = Header { kind, aux, flags: rpc::CRC, message_length: 0, fragment_index: 0, ..*about };
    machine.frame(now_us, &datagram(header, tlvs, &[]));
}

fn status(machine: &mut Machine<Vec<u8>>, now_us: u64, about: &Header, status: Status, hint_us: u16) {
    say(machine, now_us, about, Kind::Reply, rpc::reply_aux(status, 0, hint_us), &[]);
}

/// Answers the first PING with a cookie.
fn open(machine: &mut Machine<Vec<u8>>, now_us: u64) {
    let sent = sent(machine, now_us);
    assert_eq!((kinds(&sent), sent[0].1.cookie), (vec![Kind::Ping], Some([0; 8])));
    say(machine, now_us + 100, &sent[0].0, Kind::Challenge, 0, &[Tlv::Cookie(&[4; 8]), Tlv::Epoch(7)]);
}

fn only(machine: &mut Machine<Vec<u8>>) -> Event {
    let event = machine.poll_event().expect("an event");
    assert_eq!(machine.poll_event(), None);
    event
}

fn failed(id: RequestId, failure: Failure) -> Event {
    Event::Failed { id, failure }
}

#[test]
fn a_short_request_goes_at_once_and_with_room_for_a_challenge() {
    let mut machine = machine();
    machine
        .request(0, 7, vec![1; 13], RequestOptions { budget_us: 5_000, priority: 3, ..Default::default() })
        .unwrap();
    let first = sent(&mut machine, 10);
    assert_eq!(first.len(), 1);
    let (header, options) = first[0];
    assert_eq!(
        (header.kind, header.lambda, header.priority(), header.budget_us()),
        (Kind::Request, 7, 3, 4_990)
    );
    assert_eq!((header.flags, options.cookie, header.header_bytes), (rpc::CRC | 3, Some([0; 8]), 48));
    let reply = header.reply(Status::Ok, 9, 42, 5);
    machine.frame(110, &datagram(reply, &[], b"hello"));
    let Event::Reply(reply) = only(&mut machine) else { panic!("a reply") };
    assert_eq!(
        (reply.status, &reply.payload[..], reply.service_us, reply.credit),
        (Status::Ok, &b"hello"[..], 42, 9)
    );
    assert_eq!((reply.round_trip_us, reply.attempts), (110, 1));
    assert_eq!((sent(&mut machine, 200), machine.timeout_us()), (vec![], None), "nothing to acknowledge");
}

#[test]
fn one_cookie_serves_until_it_is_refused() {
    let mut machine = machine();
    for _ in 0..2 {
        machine.request(0, 7, vec![1; 3_000], RequestOptions::default()).unwrap();
    }
    open(&mut machine, 0);
    let first = sent(&mut machine, 200);
    assert_eq!(first.len(), 6);
    assert!(first.iter().all(|(header, options)| header.flags == rpc::CRC && options.cookie == Some([4; 8])));
    // Every fragment of one request is refused: it is sent once more, the other not.
    for (header, _) in first.iter().filter(|(header, _)| header.request == first[0].0.request) {
        say(&mut machine, 300, header, Kind::Challenge, 0, &[Tlv::Cookie(&[5; 8]), Tlv::Epoch(7)]);
    }
    let second = sent(&mut machine, 300);
    assert_eq!(second.iter().map(|(header, _)| header.fragment_index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(
        second.iter().all(|(header, options)| header.flags & rpc::RTX != 0 && options.cookie == Some([5; 8]))
    );
}

#[test]
fn what_ran_in_another_life_fails_and_what_was_not_sent_goes() {
    let mut machine = Machine::new(Config { in_flight: 2, ..Config::default() }, 1);
    let ids = [(); 3].map(|()| machine.request(0, 7, vec![1; 10], ONCE).unwrap());
    open(&mut machine, 0);
    let first = sent(&mut machine, 200);
    assert_eq!(first.len(), 2);
    say(&mut machine, 300, &first[0].0, Kind::Challenge, 0, &[Tlv::Cookie(&[5; 8]), Tlv::Epoch(8)]);
    assert_eq!(only(&mut machine), failed(ids[0], Failure::Restarted));
    let second = sent(&mut machine, 300);
    assert_eq!(second.iter().map(|(header, _)| header.request).collect::<Vec<_>>(), [ids[2].0]);
    // The other one was sent in the earlier life too: it is not sent again.
    assert_eq!(
        sent(&mut machine, 300_000).iter().filter(|(header, _)| header.request == ids[1].0).count(),
        0
    );
    assert_eq!(only(&mut machine), failed(ids[1], Failure::Restarted));
}

#[test]
fn a_server_without_cookies_is_served_without() {
    let mut machine = machine();
    machine.request(0, 7, vec![1; 10], ONCE).unwrap();
    let ping = sent(&mut machine, 0)[0].0;
    say(&mut machine, 100, &ping, Kind::Pong, 0, &[]);
    assert_eq!(sent(&mut machine, 100)[0].0.flags, rpc::CRC | rpc::AT_MOST_ONCE);
}

#[test]
fn requests_stay_within_the_window() {
    let mut machine = machine();
    for _ in 0..WINDOW + 10 {
        machine.request(0, 7, vec![1; 10], ONCE).unwrap();
    }
    open(&mut machine, 0);
    let first = sent(&mut machine, 200);
    assert_eq!(first.len(), WINDOW as usize);
    status(&mut machine, 300, &first[1].0, Status::Ok, 0);
    assert_eq!(kinds(&sent(&mut machine, 300)), [Kind::Ack], "the oldest is open");
    status(&mut machine, 300, &first[0].0, Status::Ok, 0);
    assert_eq!(kinds(&sent(&mut machine, 300)), [Kind::Ack, Kind::Request, Kind::Request]);
}

#[test]
fn grants_and_nacks_say_what_goes() {
    let mut machine = machine();
    machine.request(0, 7, vec![1; 100 * 1024], RequestOptions::default()).unwrap();
    open(&mut machine, 0);
    let first = sent(&mut machine, 200);
    assert_eq!(first.len(), CREDIT as usize);
    let indices = |sent: Vec<(Header, Options)>| {
        sent.iter().map(|(header, _)| header.fragment_index).collect::<Vec<_>>()
    };
    let about = first[0].0;
    say(&mut machine, 300, &about, Kind::Grant, 66, &[]);
    assert_eq!(indices(sent(&mut machine, 300)), [64, 65]);
    say(&mut machine, 400, &about, Kind::Nack, 3, &[Tlv::Bitmap(&[0x90])]);
    assert_eq!(indices(sent(&mut machine, 400)), [3, 6]);
    // Nobody says anything: the last one again, and the longer the less often.
    let mut times = Vec::new();
    while times.len() < 4 {
        let now_us = machine.timeout_us().expect("waits");
        times.extend(indices(sent(&mut machine, now_us)).into_iter().map(|index| (now_us - 400, index)));
    }
    assert_eq!(times, [(15_000, 65), (45_000, 65), (105_000, 65), (225_000, 65)]);
}

#[test]
fn a_busy_server_is_asked_with_one_fragment() {
    let mut machine = machine();
    machine.request(0, 7, vec![1; 10 * 1024], RequestOptions::default()).unwrap();
    open(&mut machine, 0);
    let first = sent(&mut machine, 200);
    status(&mut machine, 300, &first[0].0, Status::Busy, 2_000);
    assert_eq!(sent(&mut machine, 2_299), []);
    let again = sent(&mut machine, 300 + 2_000 * 3);
    assert_eq!((again.len(), again[0].0.fragment_index, again[0].0.flags & rpc::RTX), (1, 0, rpc::RTX));
    say(&mut machine, 9_000, &first[0].0, Kind::Nack, 1, &[Tlv::Bitmap(&[0xFF, 0x80])]);
    assert_eq!(sent(&mut machine, 9_000).len(), 9);
}

#[test]
fn a_server_that_is_busy_to_the_end_has_answered() {
    let mut machine = machine();
    let options = RequestOptions { lifetime_us: 50_000, budget_us: 20_000, ..RequestOptions::default() };
    let id = machine.request(0, 7, vec![1; 10], options).unwrap();
    let first = sent(&mut machine, 0);
    assert_eq!(first[0].0.budget_us(), 20_000);
    status(&mut machine, 300, &first[0].0, Status::Busy, 30_000);
    let last = sent(&mut machine, 49_999);
    assert!(last.is_empty(), "it waits as long as it was told");
    assert_eq!(kinds(&sent(&mut machine, 50_000)), [Kind::Cancel]);
    let Event::Reply(reply) = only(&mut machine) else { panic!("an answer") };
    assert_eq!((reply.id, reply.status, reply.payload.len()), (id, Status::Busy, 0));
}

#[test]
fn a_budget_may_be_shorter_than_the_wait() {
    let mut machine = machine();
    let options = RequestOptions { lifetime_us: 500_000, budget_us: 20_000, ..RequestOptions::default() };
    let id = machine.request(0, 7, vec![1; 10], options).unwrap();
    sent(&mut machine, 0);
    let again = sent(&mut machine, 100_000);
    assert_eq!((kinds(&again), again[0].0.budget_us()), (vec![Kind::Request], 1), "0 would be no budget");
    sent(&mut machine, 500_000);
    assert_eq!(only(&mut machine), failed(id, Failure::DeadlineExceeded));
}

#[test]
fn what_fits_a_datagram_goes_in_one() {
    let config = Config { single_datagram_bytes: 1472, ..Config::default() };
    let mut machine = Machine::new(config, 1);
    machine.request(0, 7, vec![1; 1424], RequestOptions::default()).unwrap();
    machine.request(0, 7, vec![1; 1425], RequestOptions::default()).unwrap();
    let first = sent(&mut machine, 0);
    assert_eq!(kinds(&first), [Kind::Ping, Kind::Request], "the longer one waits for a cookie");
    assert_eq!((first[1].0.fragment_bytes, first[1].0.fragments()), (1424, Some(1)));
    say(&mut machine, 100, &first[0].0, Kind::Challenge, 0, &[Tlv::Cookie(&[4; 8]), Tlv::Epoch(7)]);
    let second = sent(&mut machine, 200);
    assert_eq!(second.iter().map(|(header, _)| header.fragment_bytes).collect::<Vec<_>>(), [1024, 1024]);
}

#[test]
fn time_runs_out_with_a_cancel() {
    let mut machine = machine();
    let options = RequestOptions { budget_us: 50_000, ..RequestOptions::default() };
    let id = machine.request(0, 7, vec![1; 10], options).unwrap();
    assert_eq!(kinds(&sent(&mut machine, 0)), [Kind::Request]);
    assert_eq!(kinds(&sent(&mut machine, 50_000)), [Kind::Cancel]);
    assert_eq!(only(&mut machine), failed(id, Failure::DeadlineExceeded));
}

#[test]
fn sizes_are_tried_until_one_does_not_pass() {
    let mut machine = Machine::new(Config { probes: Config::PROBES_IPV4.to_vec(), ..Config::default() }, 1);
    assert_eq!(machine.fragment_bytes(), rpc::FRAGMENT_BYTES);
    machine.request(0, 7, vec![1; 3_000], RequestOptions::default()).unwrap();
    open(&mut machine, 0);
    let first = sent(&mut machine, 200);
    let probe = first.iter().find(|(header, _)| header.kind == Kind::Ping).expect("a probe").0;
    assert_eq!(probe.message_length, 1440);
    say(&mut machine, 300, &probe, Kind::Pong, 1472, &[]);
    assert_eq!(machine.fragment_bytes(), 1440 - 16);
    // The next size is lost three times, and then not tried any more.
    let mut tries = 0;
    for step in 0..1_000 {
        let now_us = 300 + step * 5_000;
        tries += sent(&mut machine, now_us).iter().filter(|(header, _)| header.kind == Kind::Ping).count();
    }
    assert_eq!((tries, machine.fragment_bytes()), (3, 1440 - 16));
}

#[test]
fn a_long_reply_is_asked_for_and_acknowledged() {
    let mut machine = machine();
    let id = machine.request(0, 7, vec![1; 10], RequestOptions::default()).unwrap();
    let (header, _) = sent(&mut machine, 0)[0];
    let fragment = |index: u16| {
        let reply = Header { fragment_index: index, ..header.reply(Status::Ok, 0, 0, 3_000) };
        datagram(reply, &[], &vec![index as u8; usize::from(reply.payload_bytes().expect("inside"))])
    };
    machine.frame(100, &fragment(2));
    machine.frame(100, &fragment(0));
    assert_eq!(sent(&mut machine, 100), []);
    let nack = sent(&mut machine, 100 + 5_000);
    assert_eq!((kinds(&nack), nack[0].0.missing()), (vec![Kind::Nack], 1));
    machine.frame(5_200, &fragment(1));
    let Event::Reply(reply) = only(&mut machine) else { panic!("a reply") };
    assert_eq!(
        (reply.id, reply.payload.len(), reply.payload[1023], reply.payload[1024], reply.payload[2999]),
        (id, 3_000, 0, 1, 2)
    );
    assert_eq!(kinds(&sent(&mut machine, 5_200)), [Kind::Ack]);
    // The ACK was lost.
    machine.frame(9_000, &fragment(2));
    assert_eq!(kinds(&sent(&mut machine, 9_000)), [Kind::Ack]);
}

#[test]
fn what_is_too_much_is_refused() {
    let mut machine = Machine::new(Config { requests: 1, reply_bytes: 100, ..Config::default() }, 1);
    assert_eq!(
        machine.request(0, 7, vec![0; (64 << 20) + 1], RequestOptions::default()),
        Err(Error::TooLong { bytes: (64 << 20) + 1 })
    );
    let id = machine.request(0, 7, vec![0; 10], RequestOptions::default()).unwrap();
    assert_eq!(
        machine.request(0, 7, vec![0; 10], RequestOptions::default()),
        Err(Error::Full { requests: 1 })
    );
    let (header, _) = sent(&mut machine, 0)[0];
    machine.frame(1, &datagram(header.reply(Status::Ok, 0, 0, 101), &[], &[0; 101]));
    assert_eq!(only(&mut machine), failed(id, Failure::ReplyTooLong { bytes: 101 }));
    assert_eq!(kinds(&sent(&mut machine, 1)), [Kind::Cancel]);
}

#[test]
fn a_cancelled_request_makes_room_and_leaves_nothing_behind() {
    let mut machine = Machine::new(Config { in_flight: 1, ..Config::default() }, 1);
    let first = machine.request(0, 7, vec![1; 100], RequestOptions::default()).unwrap();
    assert_eq!(kinds(&sent(&mut machine, 0)), [Kind::Request]);
    let second = machine.request(0, 7, vec![2; 100], RequestOptions::default()).unwrap();
    assert!(sent(&mut machine, 0).is_empty(), "one at a time");
    assert!(machine.cancel(first) && !machine.cancel(first));
    assert_eq!(machine.timeout_us(), Some(0));
    let next = sent(&mut machine, 10);
    assert_eq!(kinds(&next), [Kind::Cancel, Kind::Request]);
    assert_eq!(next[1].0.request, second.0);
    status(&mut machine, 20, &next[1].0, Status::Ok, 0);
    assert!(matches!(only(&mut machine), Event::Reply(_)));
    // What waited for a cookie that nobody needs any more.
    let waiting = machine.request(20, 7, vec![1; 10], ONCE).unwrap();
    assert_eq!(kinds(&sent(&mut machine, 20)), [Kind::Ping]);
    assert!(machine.cancel(waiting));
    assert!(sent(&mut machine, 1_000_000).is_empty(), "the cookie is not asked for again");
    assert_eq!((machine.open_requests(), machine.timeout_us()), (0, None));
}
