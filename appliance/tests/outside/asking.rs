//! A service answers, and the lambda goes on with its reply.

use crate::*;

#[test]
fn a_reply_comes_back() {
    for arrangement in ALL {
        let mut lab = lab(arrangement);
        for service in [FOUR, SIX, MEMCACHED, FAR] {
            for bytes in [0, 1, 7, 300, 1000] {
                let request: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
                let reply: Vec<u8> = (0..bytes).map(|at| (at >> 3) as u8 ^ 0x55).collect();
                let told = exchange(&mut lab, service, &request, &reply);
                assert!(told.is(&reply), "{arrangement:?}: {bytes} of service {service}: {}", told.result);
            }
        }
        assert_eq!(lab.count(1, |count| &count.replies), 20);
        assert_eq!((lab.counters.requests.get(), lab.counters.replies.get()), (20, 20));
        assert_eq!(lab.counters.neighbours_asked.get(), 3, "each hop once");
        assert_ended(&mut lab);
    }
}

#[test]
fn a_request_is_a_datagram_from_the_ports_own_address() {
    let mut lab = lab(RunToCompletion);
    for (service, own) in [(FOUR, IpAddr::from(OUR_IPV4)), (SIX, IpAddr::from(OUR_IPV6))] {
        ask(&mut lab, service, PATIENCE_US, b"hello");
        let questions = settled(&mut lab).questions;
        let address: IpAddr = if service == FOUR { SERVICE_IPV4.into() } else { SERVICE_IPV6.into() };
        assert!(questions.len() == 1 && questions[0].0 == address && questions[0].1[0] & 1 == 1);
        tell(&mut lab, address, SERVICE_MAC);
        pass_us(&mut lab, 300);
        let frame = lab.received(0).remove(0);
        // Time to live, and DF.
        if service == FOUR {
            assert_eq!((frame[22], &frame[20..22]), (64, &[0x40, 0][..]));
        } else {
            assert_eq!((frame[21], &frame[14..18]), (64, &[0x60, 0, 0, 0][..]));
        }
        let request = Datagram::parse(&frame).unwrap();
        assert_eq!((request.source_mac, request.destination_mac), (OUR_MAC, SERVICE_MAC));
        assert_eq!((request.from.ip(), request.to), (own, (address, SERVICE_PORT).into()));
        assert_eq!(request.payload, b"hello");
        deliver(&mut lab, &request.reply(b"world"));
        assert!(told_once(&mut lab).is(b"world"));
    }
    assert_ended(&mut lab);
}

#[test]
fn a_port_that_makes_checksums_is_left_to_make_them() {
    let capabilities = lnic::port::Capabilities { tx_checksum: true, tx_external: false };
    let setup = Setup { capabilities, outside: Some(OutsideSetup::default()), ..RunToCompletion.setup() };
    let mut lab = Lab::of(vec![asker()], setup);
    ask(&mut lab, FOUR, PATIENCE_US, b"hello");
    lab.settle();
    assert!(question(&lab.received(0)[0]).is_some());
    tell(&mut lab, SERVICE_IPV4, SERVICE_MAC);
    let frame = lab.peers[0].receive().expect("the request");
    let offload = frame.offload.expect("an offload");
    assert!(offload.ipv4 && offload.udp && (offload.l2_bytes, offload.l3_bytes) == (14, 20));
    drop(frame);
    lab.rest();
    lab.assert_balanced();
}

#[test]
fn what_is_behind_a_gateway_is_sent_to_it() {
    let mut lab = lab(OneLcore);
    ask(&mut lab, FAR, PATIENCE_US, b"far");
    assert_eq!(settled(&mut lab).questions[0].0, IpAddr::from(GATEWAY_IPV4));
    tell(&mut lab, GATEWAY_IPV4, [2, 0, 0, 0, 0, 0xFE]);
    let request = settled(&mut lab).requests.remove(0);
    assert_eq!(request.destination_mac, [2, 0, 0, 0, 0, 0xFE]);
    assert_eq!(request.to, ([192, 0, 2, 9], SERVICE_PORT).into());
    deliver(&mut lab, &request.reply(b"away"));
    assert!(told_once(&mut lab).is(b"away"));
    assert_ended(&mut lab);
}

#[test]
fn many_are_under_way_at_once_and_each_gets_its_own_reply() {
    for arrangement in ALL {
        for service in [FOUR, MEMCACHED] {
            let mut lab = lab(arrangement);
            assert!(exchange(&mut lab, service, b"first", b"first").is(b"first"));
            for at in 0..32u8 {
                ask(&mut lab, service, PATIENCE_US, &[at; 3]);
            }
            let mut requests = settled(&mut lab).requests;
            // One NPU has 32 instances.
            assert_eq!(requests.len(), 32, "{arrangement:?}");
            requests.reverse();
            requests.rotate_left(11);
            for request in &requests {
                let asked = &request.payload[if service == MEMCACHED { 8 } else { 0 }..];
                deliver(&mut lab, &answer_of(service, request, &[asked, b"!"].concat()));
            }
            let told = told(&mut lab);
            assert_eq!(told.len(), 32, "{arrangement:?}");
            let mut seen = std::collections::BTreeSet::new();
            for one in told {
                let at = one.first[0];
                assert!(one.is(&[at, at, at, b'!']) && seen.insert(at), "{arrangement:?}");
            }
            assert_ended(&mut lab);
        }
    }
}

/// Finds its service when it begins, and asks it twice: with a number that nobody can foretell, and with what it was answered.
const CHATTY: &str = "#include <lnic.h>
    static int32_t known, unknown, early;
    LAMBDA_INIT {
        known = lnic_service_text(\"six\");
        unknown = lnic_service_text(\"seven\");
        early = lnic_request(known, \"\", 0, &unknown, 0, 1000);
    }
    LAMBDA(chatty) {
        uint8_t *payload = lnic_payload(match_data);
        uint64_t number = lnic_random();
        uint8_t reply[64];
        lnic_store_be32(payload, (uint32_t)known);
        lnic_store_be32(payload + 4, (uint32_t)unknown);
        lnic_store_be32(payload + 8, (uint32_t)early);
        int32_t bytes = lnic_request(known, &number, 8, reply, sizeof(reply), 1000);
        if (bytes > 0) {
            bytes = lnic_request(known, reply, (uint32_t)bytes, payload + 12, 64, 1000);
        }
        return lnic_reply(headers, match_data, STATUS_OK, bytes > 0 ? 12 + (uint32_t)bytes : 12);
    }";

#[test]
fn a_lambda_finds_its_services_by_name_and_asks_again_with_what_it_got() {
    for arrangement in ALL {
        let chatty = Deployed::new(built_from(CHATTY, "chatty"), "chatty");
        let mut lab = lab_with(arrangement, vec![chatty], OutsideSetup::default());
        let mut numbers = std::collections::BTreeSet::new();
        for round in 0..3 {
            assert!(lab.peers[0].send(&rpc4(1, &[0; 12])));
            let mut sent = if round == 0 { resolved(&mut lab) } else { settled(&mut lab) };
            let request = sent.requests.remove(0);
            assert!(numbers.insert(request.payload.clone()), "{arrangement:?}: random");
            deliver(&mut lab, &request.reply(b"again"));
            let request = settled(&mut lab).requests.remove(0);
            assert_eq!(request.payload, b"again");
            deliver(&mut lab, &request.reply(b"enough"));
            let reply = reply(&settled(&mut lab).others.remove(0)).payload;
            let numbers = [1i32, -1, -14].map(i32::to_be_bytes).concat();
            assert_eq!(reply, [&numbers[..], b"enough"].concat(), "{arrangement:?}");
        }
        assert_ended(&mut lab);
    }
}

#[test]
fn others_run_while_one_waits() {
    for arrangement in ALL {
        let mut lab = lab_with(arrangement, vec![asker(), echo()], OutsideSetup::default());
        ask(&mut lab, FOUR, PATIENCE_US, b"slow");
        let request = resolved(&mut lab).requests.remove(0);
        for _ in 0..50 {
            let replies = lab.exchange(&rpc4(2, b"quick"));
            assert_eq!(
                (replies.len(), &reply(&replies[0]).payload[..]),
                (1, &b"quick"[..]),
                "{arrangement:?}"
            );
        }
        deliver(&mut lab, &request.reply(b"done"));
        assert!(told_once(&mut lab).is(b"done"));
        assert_ended(&mut lab);
    }
}

/// Has lambda 2 do what it is asked.
const RELAY: &str = "#include <lnic.h>
    LAMBDA(relay) {
        uint8_t *payload = lnic_payload(match_data);
        int32_t bytes = lnic_call(2, payload, match_data->length, payload, match_data->length, 50000);
        return lnic_reply(headers, match_data, bytes < 0 ? STATUS_UNKNOWN : STATUS_OK, bytes < 0 ? 0 : (uint32_t)bytes);
    }";

#[test]
fn one_that_was_called_may_ask_and_is_needed_until_it_is_answered() {
    for arrangement in ALL {
        let relay = Deployed::new(built_from(RELAY, "relay"), "relay");
        let mut lab = lab_with(arrangement, vec![relay, asker()], OutsideSetup::default());
        assert!(lab.peers[0].send(&rpc4(1, &asking(FOUR, 64, PATIENCE_US, b"by another"))));
        let request = resolved(&mut lab).requests.remove(0);
        let second = LambdaSlot::new(1);
        let under_way = |lab: &Lab| {
            let all = std::iter::once(&lab.counters).chain(&lab.npu_counters);
            all.map(|counters| counters.outstanding.get(second)).sum::<u32>()
        };
        // The call, and what it asks.
        assert_eq!(under_way(&lab), 2, "{arrangement:?}");
        deliver(&mut lab, &request.reply(b"yes"));
        assert!(told_once(&mut lab).is(b"yes"), "{arrangement:?}");
        // No longer than its own caller waits.
        assert!(lab.peers[0].send(&rpc4(1, &asking(FOUR, 64, 10 * PATIENCE_US, b"by another"))));
        assert_eq!(settled(&mut lab).requests.len(), 1);
        pass_us(&mut lab, 50_000);
        let answers = settled(&mut lab).others;
        assert_eq!(answers.len(), 1, "{arrangement:?}");
        assert_eq!(under_way(&lab), 0, "{arrangement:?}");
        lab.rest();
        lab.assert_balanced();
    }
}
