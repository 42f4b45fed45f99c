//! Next hops: asked when they are needed, believed when they were asked.

use lnic::observe::DropReason;

use crate::*;

const BROADCAST: [u8; 6] = [0xFF; 6];

#[test]
fn one_question_is_enough_for_all_who_wait() {
    for arrangement in ALL {
        let mut lab = lab(arrangement);
        (0..10).for_each(|at| ask(&mut lab, FOUR, PATIENCE_US, &[at]));
        let sent = settled(&mut lab);
        assert_eq!(sent.questions, [(SERVICE_IPV4.into(), BROADCAST)], "{arrangement:?}");
        assert!(sent.requests.is_empty());
        tell(&mut lab, SERVICE_IPV4, SERVICE_MAC);
        pass_us(&mut lab, 300);
        let requests = settled(&mut lab).requests;
        assert_eq!(requests.len(), 10, "{arrangement:?}");
        requests.iter().for_each(|request| deliver(&mut lab, &request.reply(b"yes")));
        assert_eq!(told(&mut lab).iter().filter(|told| told.is(b"yes")).count(), 10);
        assert_ended(&mut lab);
    }
}

#[test]
fn it_is_asked_ten_times_a_second_and_given_up_after_one() {
    for arrangement in ALL {
        for address in [FOUR, SIX] {
            let mut lab = lab(arrangement);
            ask(&mut lab, address, 10_000_000, b"anybody?");
            let mut questions = settled(&mut lab).questions.len();
            for _ in 0..95 {
                pass_us(&mut lab, 10_000);
                questions += settled(&mut lab).questions.len();
            }
            assert!((9..=10).contains(&questions), "{arrangement:?}: {questions}");
            assert!(told(&mut lab).is_empty());
            pass_us(&mut lab, 60_000);
            assert_eq!(told_once(&mut lab).result, -14, "{arrangement:?}: UNAVAILABLE");
            assert_eq!(lab.counters.requests_unresolved.get(), 1);
            assert_eq!((lab.count(1, |count| &count.requests_failed), lab.counters.requests.get()), (1, 0));
            // Nobody waits: nobody asks.
            pass_us(&mut lab, 5_000_000);
            assert!(settled(&mut lab).questions.is_empty());
            assert_ended(&mut lab);
        }
    }
}

#[test]
fn who_has_less_time_is_told_that_it_is_over() {
    for arrangement in ALL {
        let mut lab = lab(arrangement);
        ask(&mut lab, FOUR, 1_000, b"now or never");
        assert_eq!(settled(&mut lab).questions.len(), 1);
        pass_us(&mut lab, 1_100);
        assert_eq!(told_once(&mut lab).result, -4, "{arrangement:?}: DEADLINE_EXCEEDED");
        // The answer is good for the next.
        tell(&mut lab, SERVICE_IPV4, SERVICE_MAC);
        ask(&mut lab, FOUR, 1_000, b"again");
        assert_eq!(settled(&mut lab).requests.len(), 1);
        assert_ended(&mut lab);
    }
}

#[test]
fn nobody_is_believed_who_was_not_asked() {
    let mut lab = lab(RunToCompletion);
    tell(&mut lab, SERVICE_IPV4, [2, 0, 0, 0, 6, 6]);
    tell(&mut lab, SERVICE_IPV6, [2, 0, 0, 0, 6, 6]);
    assert_eq!(lab.dropped(DropReason::Unmatched), 2, "as ever");
    ask(&mut lab, FOUR, 10_000_000, b"where are you?");
    ask(&mut lab, SIX, 10_000_000, b"where are you?");
    assert_eq!(settled(&mut lab).questions.len(), 2);
    // For others, from others, from a group, from ourselves, by broadcast, without solicitation.
    let four = neighbour_answer(SERVICE_IPV4.into(), SERVICE_MAC);
    let six = neighbour_answer(SERVICE_IPV6.into(), SERVICE_MAC);
    let with = |frame: &[u8], changes: &[(usize, u8)]| {
        let mut frame = frame.to_vec();
        changes.iter().for_each(|&(at, value)| frame[at] = value);
        frame
    };
    for forged in [
        with(&four, &[(31, 8)]),
        with(&four, &[(41, 9)]),
        with(&four, &[(37, 9)]),
        with(&four, &[(22, 3)]),
        with(&four, &[(22, 2), (27, 1)]),
        with(&four, &[(0, 0xFF), (1, 0xFF), (2, 0xFF), (3, 0xFF), (4, 0xFF), (5, 0xFF)]),
        four[..40].to_vec(),
        with(&six, &[(21, 64)]),
        with(&six, &[(56, 0)]),
        with(&six, &[(58, 0x20)]),
        with(&six, &[(77, 8)]),
        with(&six, &[(80, 3)]),
        six[..70].to_vec(),
    ] {
        assert!(lab.peers[0].send(&forged));
        pass_us(&mut lab, 300);
        assert!(settled(&mut lab).requests.is_empty(), "{forged:02x?}");
    }
    tell(&mut lab, SERVICE_IPV4, SERVICE_MAC);
    tell(&mut lab, SERVICE_IPV6, SERVICE_MAC);
    pass_us(&mut lab, 300);
    let requests = settled(&mut lab).requests;
    assert!(requests.len() == 2 && requests.iter().all(|request| request.destination_mac == SERVICE_MAC));
    // Who comes second is not.
    tell(&mut lab, SERVICE_IPV4, [2, 0, 0, 0, 6, 6]);
    ask(&mut lab, FOUR, 1_000, b"still there?");
    assert_eq!(settled(&mut lab).requests[0].destination_mac, SERVICE_MAC);
    assert_ended(&mut lab);
}

#[test]
fn a_mac_address_is_confirmed_by_the_one_who_has_it() {
    for arrangement in ALL {
        for (service, address) in [(FOUR, IpAddr::from(SERVICE_IPV4)), (SIX, SERVICE_IPV6.into())] {
            let mut lab = lab(arrangement);
            assert!(exchange(&mut lab, service, b"first", b"first").is(b"first"));
            pass_us(&mut lab, 31_000_000);
            // It is used meanwhile.
            ask(&mut lab, service, PATIENCE_US, b"again");
            let sent = settled(&mut lab);
            assert_eq!(sent.questions, [(address, SERVICE_MAC)], "{arrangement:?}: by unicast");
            deliver(&mut lab, &sent.requests[0].reply(b"yes"));
            assert!(told_once(&mut lab).is(b"yes"));
            tell(&mut lab, address, SERVICE_MAC);
            pass_us(&mut lab, 20_000_000);
            assert!(exchange(&mut lab, service, b"", b"confirmed").is(b"confirmed"));
            // Then it is gone.
            pass_us(&mut lab, 31_000_000);
            for _ in 0..3 {
                ask(&mut lab, service, 10_000, b"there?");
                let sent = settled(&mut lab);
                assert_eq!((sent.questions, sent.requests.len()), (vec![(address, SERVICE_MAC)], 1));
                pass_us(&mut lab, 1_000_000);
                assert_eq!(told_once(&mut lab).result, -4);
            }
            ask(&mut lab, service, 10_000, b"anybody?");
            let sent = settled(&mut lab);
            assert!(sent.questions.len() == 1 && sent.questions[0].1[0] & 1 == 1 && sent.requests.is_empty());
            tell(&mut lab, address, [2, 0, 0, 0, 0, 0x78]);
            pass_us(&mut lab, 300);
            assert_eq!(settled(&mut lab).requests[0].destination_mac, [2, 0, 0, 0, 0, 0x78]);
            assert_ended(&mut lab);
        }
    }
}

#[test]
fn the_hosts_stack_hears_what_the_appliance_hears() {
    let setup = Setup { host_port: true, outside: Some(OutsideSetup::default()), ..OneLcore.setup() };
    let mut lab = Lab::of(vec![asker()], setup);
    ask(&mut lab, FOUR, PATIENCE_US, b"x");
    assert_eq!(settled(&mut lab).questions.len(), 1);
    let answer = neighbour_answer(SERVICE_IPV4.into(), SERVICE_MAC);
    for times in 1..=2 {
        assert!(lab.peers[0].send(&answer));
        lab.settle();
        assert_eq!(lab.received(1), std::slice::from_ref(&answer), "time {times}");
    }
    assert_eq!(settled(&mut lab).requests.len(), 1);
    // What is for the host's own sockets is the host's.
    let own = |port: u16| {
        let from = (SERVICE_IPV4, 53).into();
        let (source_mac, destination_mac) = (SERVICE_MAC, OUR_MAC);
        Datagram { source_mac, destination_mac, from, to: (OUR_IPV4, port).into(), payload: vec![1, 2] }
            .frame()
    };
    assert!(lab.peers[0].send(&own(60_999)) && lab.peers[0].send(&own(61_000)));
    lab.settle();
    assert_eq!(lab.received(1), [own(60_999)]);
    assert_eq!(lab.dropped(DropReason::StrayReply), 1);
    assert_ended(&mut lab);
}
