use lnic_wire::rpc::Tlv;

use super::*;

const SESSION: u32 = 5;

const fn at(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// 1 ms of warm-up, 10 ms measured, 2 ms timeout.
fn generator(mode: Mode) -> (Plan, Generator) {
    let mut plan = Plan::new("127.0.0.1:4793".parse().expect("an address"), 7, mode);
    plan.warm_up = at(1_000);
    plan.duration = at(10_000);
    plan.timeout = at(2_000);
    let generator = Generator::new(&plan, SESSION);
    (plan, generator)
}

fn reply(request: u64, status: Status) -> Vec<u8> {
    let mut datagram = vec![0; rpc::HEADER_BYTES];
    Header::request(7, request, 0).reply(status, 0, 0, 0).emit_with_crc(&mut datagram);
    datagram
}

#[test]
fn closed_loop_keeps_n_outstanding() {
    let (plan, mut generator) = generator(Mode::ClosedLoop { outstanding: 3 });
    let all: Vec<u64> = std::iter::from_fn(|| generator.due(at(0))).collect();
    assert_eq!(all.len(), 3);
    generator.receive(&reply(all[0], Status::Ok), at(1_100));
    let measured = generator.due(at(1_100)).expect("one answered, one due");
    assert_eq!(generator.due(at(1_100)), None);
    generator.receive(&reply(measured, Status::Ok), at(1_150));
    generator.receive(&reply(measured, Status::Ok), at(1_151));
    generator.expire(at(2_001));
    assert_eq!(std::iter::from_fn(|| generator.due(at(2_001))).count(), 3, "the lost are replaced");
    assert_eq!(generator.due(at(11_000)), None);
    assert!(!generator.is_done(at(11_000)));
    generator.expire(at(13_000));
    assert!(generator.is_done(at(13_000)));

    let outcome = generator.into_outcome(&plan, at(500));
    assert_eq!((outcome.sent, outcome.replied, outcome.lost), (4, 1, 3));
    assert_eq!((outcome.duplicate, outcome.late, outcome.foreign), (1, 0, 0));
    assert_eq!((outcome.achieved_rate, outcome.reply_rate), (200.0, 200.0), "both replies arrived in time");
    assert_eq!((outcome.latency.samples, outcome.latency.max_us.round()), (1, 50.0));
}

#[test]
fn open_loop_charges_what_had_to_wait() {
    let (plan, mut generator) = generator(Mode::OpenLoop { rate: 1_000.0 });
    assert!(generator.due(at(0)).is_some());
    assert_eq!(generator.due(at(999)), None);
    assert_eq!(generator.next_event(at(999)), at(1_000));
    // The client stalls until 5 ms: requests due at 1–5 ms leave at once.
    let burst: Vec<u64> = std::iter::from_fn(|| generator.due(at(5_000))).collect();
    assert_eq!(burst.len(), 5);
    for request in burst {
        generator.receive(&reply(request, Status::Ok), at(5_000));
    }
    generator.expire(at(2_001));
    // It never recovers.
    assert!(!generator.is_done(at(12_999)));
    assert_eq!(generator.due(at(13_000)), None);
    assert!(generator.is_done(at(13_000)));

    let outcome = generator.into_outcome(&plan, at(500));
    assert_eq!((outcome.sent, outcome.replied, outcome.lost, outcome.unsent), (5, 5, 0, 5));
    assert_eq!(outcome.max_send_lag_us, 4_000.0);
    assert_eq!(outcome.latency.min_us, 0.0);
    assert!((outcome.latency.p50_us - 2_000.0).abs() < 2.0, "{:?}", outcome.latency);
    assert!((outcome.latency.max_us - 4_000.0).abs() < 4.0, "{:?}", outcome.latency);
}

#[test]
fn counts_replies_by_status_and_what_is_none() {
    let (plan, mut generator) = generator(Mode::ClosedLoop { outstanding: 8 });
    let requests: Vec<u64> = std::iter::from_fn(|| generator.due(at(1_000))).collect();
    generator.receive(&reply(requests[0], Status::Ok), at(1_001));
    generator.receive(&reply(requests[1], Status::Busy), at(1_001));
    generator.receive(&reply(requests[2], Status::Other(77)), at(1_001));
    generator.receive(&reply(requests[3] ^ 1 << 40, Status::Ok), at(1_001));
    generator.receive(&reply(requests[3] + 1_000, Status::Ok), at(1_001));
    let mut corrupt = reply(requests[3], Status::Ok);
    corrupt[31] ^= 1;
    generator.receive(&corrupt, at(1_001));
    generator.receive(&corrupt[..20], at(1_001));
    generator.expire(at(3_001));
    generator.receive(&reply(requests[3], Status::Ok), at(3_001));

    let outcome = generator.into_outcome(&plan, at(0));
    let statuses: Vec<_> = outcome.statuses.iter().map(|count| (&count.status[..], count.replies)).collect();
    assert_eq!(statuses, [("OK", 1), ("BUSY", 1), ("STATUS_77", 1)]);
    assert_eq!((outcome.replied, outcome.lost, outcome.latency.samples), (3, 5, 1));
    assert_eq!((outcome.foreign, outcome.corrupt, outcome.malformed, outcome.late), (2, 1, 1, 1));
}

fn about(request: u64, kind: Kind, tlvs: &[Tlv<'_>]) -> Vec<u8> {
    let mut area = [0; 64];
    let area_bytes = rpc::emit_tlvs(tlvs, &mut area).expect("fits");
    let header_bytes = rpc::HEADER_BYTES + area_bytes;
    let mut datagram = [&[0; rpc::HEADER_BYTES], &area[..area_bytes]].concat();
    Header { kind, header_bytes, ..Header::request(7, request, 0) }.emit_with_crc(&mut datagram);
    datagram
}

#[test]
fn challenges_are_answered_within_bounds() {
    let (plan, mut generator) = generator(Mode::ClosedLoop { outstanding: 1 });
    let request = generator.due(at(1_000)).expect("due");
    assert_eq!(generator.cookie(), None);
    generator.receive(&about(request, Kind::Challenge, &[]), at(1_001));
    generator.receive(&about(request, Kind::Challenge, &[Tlv::Cookie(&[0; 8])]), at(1_001));
    assert_eq!((generator.due(at(1_001)), generator.cookie()), (None, None), "no cookie");
    for cookie in 1..=3 {
        generator.receive(&about(request, Kind::Challenge, &[Tlv::Cookie(&[cookie; 8])]), at(1_001));
        assert_eq!((generator.due(at(1_001)), generator.cookie()), (Some(request), Some([cookie; 8])));
    }
    generator.receive(&about(request, Kind::Challenge, &[Tlv::Cookie(&[4; 8])]), at(1_001));
    assert_eq!((generator.due(at(1_001)), generator.cookie()), (None, Some([3; 8])), "not for ever");
    for kind in [Kind::Grant, Kind::Nack, Kind::Pong, Kind::Request] {
        generator.receive(&about(request, kind, &[]), at(1_001));
    }
    generator.receive(&reply(request, Status::Ok), at(1_002));
    generator.receive(&about(request, Kind::Challenge, &[Tlv::Cookie(&[5; 8])]), at(1_003));
    let outcome = generator.into_outcome(&plan, at(0));
    assert_eq!((outcome.sent, outcome.replied, outcome.latency.max_us.round()), (1, 1, 2.0));
    assert_eq!((outcome.challenged, outcome.malformed, outcome.unexpected, outcome.late), (3, 2, 4, 2));
}

#[test]
fn unauthenticated_asks_for_a_cookie_once() {
    let (plan, mut generator) = generator(Mode::ClosedLoop { outstanding: 2 });
    let bare: Vec<u64> = std::iter::from_fn(|| generator.due(at(1_000))).collect();
    for &request in &bare {
        generator.receive(&reply(request, Status::Unauthenticated), at(1_001));
        assert_eq!((generator.due(at(1_001)), generator.cookie()), (Some(request), Some([0; 8])));
    }
    // It means it: these, and one that asked for a challenge from the start.
    for &request in &bare {
        generator.receive(&reply(request, Status::Unauthenticated), at(1_002));
        let next = generator.due(at(1_002)).expect("another");
        generator.receive(&reply(next, Status::Unauthenticated), at(1_003));
    }
    let outcome = generator.into_outcome(&plan, at(0));
    assert_eq!((outcome.statuses[0].replies, outcome.challenged), (4, 2), "{outcome:?}");
}
