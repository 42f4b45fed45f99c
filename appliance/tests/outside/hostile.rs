//! Services that lie, and others that speak for them.

use lnic::observe::DropReason;
use proptest::prelude::*;

use crate::*;

#[test]
fn a_reply_comes_from_whom_was_asked_to_where_it_was_asked() {
    for arrangement in ALL {
        for service in [FOUR, SIX, MEMCACHED] {
            let mut lab = lab(arrangement);
            ask(&mut lab, service, PATIENCE_US, b"who are you?");
            let request = resolved(&mut lab).requests.remove(0);
            let right = answer_of(service, &request, b"me");
            let mut wrong = vec![right.clone(); 6];
            wrong[0].from.set_ip(if service == SIX {
                "fd77::8".parse().unwrap()
            } else {
                "10.77.0.8".parse().unwrap()
            });
            wrong[1].from.set_port(SERVICE_PORT + 1);
            wrong[2].to.set_port(if right.to.port() == 65_535 { 61_000 } else { right.to.port() + 1 });
            // Our address, in the other one's words.
            wrong[3].to.set_port(61_000 + (right.to.port() - 61_000 + 2000) % 4000);
            wrong[4].from = (SERVICE_IPV4, 53).into();
            wrong[4].to.set_ip(OUR_IPV4.into());
            wrong[5].from.set_port(0);
            for forged in &wrong {
                deliver(&mut lab, forged);
            }
            // With a VLAN tag, and not to us.
            let frame = right.frame();
            let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
            assert!(lab.peers[0].send(&tagged));
            let mut damaged = frame.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert!(lab.peers[0].send(&damaged));
            assert!(told(&mut lab).is_empty(), "{arrangement:?}");
            assert_eq!(lab.dropped(DropReason::StrayReply), 7, "{arrangement:?}");
            assert_eq!(lab.dropped(DropReason::UdpChecksum), 1);
            let group = [&[0xFF; 6], &frame[6..]].concat();
            assert!(lab.peers[0].send(&group));
            assert!(told(&mut lab).is_empty(), "to all");
            deliver(&mut lab, &right);
            assert!(told_once(&mut lab).is(b"me"), "{arrangement:?}");
            deliver(&mut lab, &right);
            assert!(told(&mut lab).is_empty());
            assert_eq!(lab.dropped(DropReason::StrayReply), 8);
            assert_ended(&mut lab);
        }
    }
}

#[test]
fn nobody_is_answered_before_he_has_asked() {
    let mut lab = lab(OneLcore);
    ask(&mut lab, FOUR, PATIENCE_US, b"where?");
    settled(&mut lab);
    // It waits for the next hop. Somebody tries every port.
    let (source_mac, destination_mac) = (SERVICE_MAC, OUR_MAC);
    for port in UDP_PORTS {
        let (from, to) = ((SERVICE_IPV4, SERVICE_PORT).into(), (OUR_IPV4, port).into());
        deliver(&mut lab, &Datagram { source_mac, destination_mac, from, to, payload: b"here!".to_vec() });
        if port % 64 == 0 {
            lab.settle();
        }
    }
    assert!(told(&mut lab).is_empty());
    assert_eq!(lab.dropped(DropReason::StrayReply), UDP_PORTS.len() as u64);
    tell(&mut lab, SERVICE_IPV4, SERVICE_MAC);
    let request = settled(&mut lab).requests.remove(0);
    deliver(&mut lab, &request.reply(b"here"));
    assert!(told_once(&mut lab).is(b"here"));
    assert_ended(&mut lab);
}

/// What the network does.
#[derive(Clone, Debug)]
enum Event {
    Ask {
        service: u32,
        timeout_us: u32,
        bytes: usize,
    },
    /// One of the requests seen so far is answered: whole, or only a part of it.
    Answer {
        which: prop::sample::Index,
        bytes: usize,
        part: prop::sample::Index,
        is_whole: bool,
    },
    /// One is answered with a byte changed.
    Lie {
        which: prop::sample::Index,
        at: prop::sample::Index,
        value: u8,
    },
    /// All neighbours that were asked answer.
    Tell,
    Pass {
        us: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0u32..4, 1u32..3000, 0usize..100).prop_map(|(service, timeout_us, bytes)| Event::Ask { service, timeout_us, bytes }),
        4 => (index(), 0usize..6000, index(), any::<bool>())
            .prop_map(|(which, bytes, part, is_whole)| Event::Answer { which, bytes, part, is_whole }),
        2 => (index(), index(), any::<u8>()).prop_map(|(which, at, value)| Event::Lie { which, at, value }),
        1 => Just(Event::Tell),
        2 => (0u64..4000).prop_map(|us| Event::Pass { us }),
        1 => (0u64..40_000_000).prop_map(|us| Event::Pass { us }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_network_does_every_request_ends_once(
        arrangement in prop::sample::select(ALL.to_vec()),
        in_flight in 1u32..20,
        events in prop::collection::vec(event(), 0..120),
    ) {
        let setup = OutsideSetup { in_flight, ..OutsideSetup::default() };
        let mut lab = lab_with(arrangement, vec![asker()], setup);
        let (mut requests, mut questions, mut asked, mut answered) = (Vec::new(), Vec::new(), 0, 0);
        for event in events {
            match event {
                Event::Ask { service, timeout_us, bytes } => {
                    ask(&mut lab, service, timeout_us, &vec![7; bytes]);
                    asked += 1;
                }
                Event::Answer { which, bytes, part, is_whole } if !requests.is_empty() => {
                    let request: &Datagram = &requests[which.index(requests.len())];
                    let value = vec![(bytes / 31) as u8; bytes];
                    let mut parts = request.memcached_replies(&value);
                    if !is_whole {
                        parts.swap_remove(part.index(parts.len()));
                    }
                    parts.push(request.reply(&value[..bytes.min(1400)]));
                    parts.iter().for_each(|part| deliver(&mut lab, part));
                }
                Event::Lie { which, at, value } if !requests.is_empty() => {
                    let request: &Datagram = &requests[which.index(requests.len())];
                    let mut frame = request.memcached_replies(b"a lie").remove(0).frame();
                    let at = at.index(frame.len());
                    frame[at] = value;
                    assert!(lab.peers[0].send(&frame));
                }
                Event::Answer { .. } | Event::Lie { .. } => {}
                Event::Tell => {
                    for address in std::mem::take(&mut questions) {
                        tell(&mut lab, address, SERVICE_MAC);
                    }
                }
                Event::Pass { us } => pass_us(&mut lab, us),
            }
            let sent = settled(&mut lab);
            questions.extend(sent.questions.into_iter().map(|(address, _)| address));
            requests.extend(sent.requests);
            answered += sent.others.len();
        }
        // `rest` lets everybody's time be over.
        lab.rest();
        answered += sent(&mut lab.peers[0]).others.len();
        prop_assert_eq!(answered, asked, "every caller is told");
        assert_ended(&mut lab);
    }
}
