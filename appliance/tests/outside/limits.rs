//! What is refused, and how the lambda is told.

use lnic::frame::FrameSource as _;

use crate::*;

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    for arrangement in ALL {
        let mut lab = lab(arrangement);
        let refused = |lab: &mut Lab, service, timeout_us, bytes: usize| {
            ask(lab, service, timeout_us, &vec![7; bytes]);
            told_once(lab).result
        };
        assert_eq!(refused(&mut lab, 4, 1_000, 1), -3, "{arrangement:?}: no such handle");
        assert_eq!(refused(&mut lab, u32::MAX, 1_000, 1), -3);
        assert_eq!(refused(&mut lab, FOUR, 0, 1), -3, "no time");
        assert_eq!(refused(&mut lab, FOUR, u32::MAX, 1), -3);
        assert_eq!(lab.count(1, |count| &count.requests), 0);
        assert_eq!(lab.counters.neighbours_asked.get(), 0);
        assert_ended(&mut lab);
    }
}

/// Asks with as many bytes as it is told.
const LONG: &str = "#include <lnic.h>
    static const uint8_t request[PAYLOAD_CAPACITY + 1];
    LAMBDA(longer) {
        uint8_t *payload = lnic_payload(match_data), reply[4];
        int32_t result = lnic_request((int32_t)lnic_load_be32(payload), request, lnic_load_be32(payload + 4), reply,
                                      lnic_load_be32(payload + 8), 1000);
        lnic_store_be32(payload, (uint32_t)result);
        return lnic_reply(headers, match_data, STATUS_OK, 4);
    }";

#[test]
fn a_request_fits_one_packet() {
    for arrangement in ALL {
        let longer = Deployed::new(built_from(LONG, "longer"), "longer");
        let mut lab = lab_with(arrangement, vec![longer], OutsideSetup::default());
        for (service, most) in [(FOUR, 1472), (SIX, 1452), (MEMCACHED, 1464)] {
            let with = |lab: &mut Lab, bytes: u32| {
                let numbers = [service, bytes, 4].map(u32::to_be_bytes).concat();
                assert!(lab.peers[0].send(&rpc4(1, &numbers)));
                let mut sent = settled(lab);
                for (address, _) in std::mem::take(&mut sent.questions) {
                    tell(lab, address, SERVICE_MAC);
                    pass_us(lab, 300);
                    sent = settled(lab);
                }
                for request in &sent.requests {
                    let framed = if service == MEMCACHED { 8 } else { 0 };
                    assert_eq!(request.payload.len(), bytes as usize + framed);
                    deliver(lab, &answer_of(service, request, b"ok"));
                }
                let others = if sent.others.is_empty() { settled(lab).others } else { sent.others };
                i32::from_be_bytes(*reply(&others[0]).payload.first_chunk().unwrap())
            };
            assert_eq!(with(&mut lab, most), 2, "{arrangement:?}: {most} of service {service}");
            for bytes in [most + 1, 9216, 9217] {
                assert_eq!(with(&mut lab, bytes), -3, "{arrangement:?}: {bytes} of service {service}");
            }
        }
        assert_ended(&mut lab);
    }
}

#[test]
fn a_reply_fits_the_lambdas_buffer() {
    for arrangement in ALL {
        let mut lab = lab(arrangement);
        for service in [FOUR, MEMCACHED] {
            assert!(exchange(&mut lab, service, b"", b"here").is(b"here"));
            for (capacity, expected) in [(5, 5), (4, -11), (0, -11), (9217, -3)] {
                assert!(lab.peers[0].send(&rpc4(1, &asking(service, capacity, 1_000, b"?"))));
                let first = settled(&mut lab);
                first
                    .requests
                    .iter()
                    .for_each(|request| deliver(&mut lab, &answer_of(service, request, b"12345")));
                let all = first.told().into_iter().chain(told(&mut lab));
                let results: Vec<i32> = all.map(|told| told.result).collect();
                assert_eq!(
                    results,
                    [expected],
                    "{arrangement:?}: {capacity} for a reply of service {service}"
                );
            }
        }
        assert_ended(&mut lab);
    }
}

#[test]
fn no_more_are_under_way_than_there_are_places() {
    for arrangement in ALL {
        let setup = OutsideSetup { in_flight: 5, ..OutsideSetup::default() };
        let mut lab = lab_with(arrangement, vec![asker()], setup);
        assert!(exchange(&mut lab, FOUR, b"", b"here").is(b"here"));
        for _ in 0..3 {
            (0..12).for_each(|_| ask(&mut lab, FOUR, PATIENCE_US, b"one of many"));
            let sent = settled(&mut lab);
            // The last quarter, one place here, is not for a lambda that has half of them.
            assert_eq!(sent.requests.len(), 4, "{arrangement:?}");
            let refused = sent.told();
            assert!(refused.len() == 8 && refused.iter().all(|told| told.result == -8), "RESOURCE_EXHAUSTED");
            sent.requests.iter().for_each(|request| deliver(&mut lab, &request.reply(b"ok")));
            assert_eq!(told(&mut lab).iter().filter(|told| told.is(b"ok")).count(), 4);
        }
        assert_eq!(lab.count(1, |count| &count.requests_failed), 24);
        assert_ended(&mut lab);
    }
}

#[test]
fn without_a_frame_nothing_is_asked() {
    let mut lab = lab(OneLcore);
    assert!(exchange(&mut lab, FOUR, b"", b"here").is(b"here"));
    ask(&mut lab, FOUR, PATIENCE_US, b"who has a frame?");
    let mut pool = lab.pool.clone();
    let all: Vec<_> = std::iter::from_fn(|| pool.frame(&[])).collect();
    lab.settle();
    drop(all);
    assert_eq!(told_once(&mut lab).result, -8, "RESOURCE_EXHAUSTED");
    assert!(exchange(&mut lab, FOUR, b"", b"there is").is(b"there is"));
    assert_ended(&mut lab);
}

#[test]
fn an_appliance_without_services_outside_says_so() {
    for arrangement in ALL {
        let setup = OutsideSetup { is_wired: false, ..OutsideSetup::default() };
        let mut lab = lab_with(arrangement, vec![asker()], setup);
        ask(&mut lab, FOUR, PATIENCE_US, b"anybody?");
        assert_eq!(told_once(&mut lab).result, -14, "{arrangement:?}: UNAVAILABLE");
        assert_ended(&mut lab);
    }
}
