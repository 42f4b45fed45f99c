//! Nobody gets more than three times what it sent before it has shown a cookie.

use lnic_message::AMPLIFICATION;

use crate::*;

/// Lambda 1 has slots, 2 has none; both with requests of which nothing is kept, and at most once.
const CASES: [(u32, u16); 4] = [(1, 0), (2, 0), (1, rpc::AT_MOST_ONCE), (2, rpc::AT_MOST_ONCE)];

fn lambdas() -> Vec<Deployed> {
    vec![worker(), Deployed { slots: (0, 0), ..worker() }]
}

#[test]
fn a_reply_over_three_times_its_request_wants_a_cookie() {
    for arrangement in ALL {
        for (lambda, flags) in CASES {
            let mut lab = lab(arrangement, lambdas());
            let mut ask = |port, tlvs: &[Tlv<'_>], again| {
                let request = datagram_of(lambda, 3, &wants(1_000, 100), tlvs, |header| {
                    header.flags = flags | again;
                });
                let mut answers = tell(&mut lab, port, &request);
                assert_eq!(answers.len(), 1, "{arrangement:?} {lambda} {flags}");
                let answer = answers.remove(0);
                (header_of(&answer), answer)
            };
            let (_, challenge) = ask(PORT, &[], 0);
            let cookie = cookie_in(&challenge);
            for wrong in [[0; 8], [9; 8]] {
                assert_eq!(ask(PORT, &[Tlv::Cookie(&wrong)], rpc::RTX).0.kind, Kind::Challenge);
            }
            let (header, reply) = ask(PORT, &[Tlv::Cookie(&cookie)], rpc::RTX);
            assert_eq!((header.kind, header.status()), (Kind::Reply, Status::Ok), "{lambda} {flags}");
            assert!(header.payload(&reply) == wanted(1_000));
            // At most once it has run; otherwise each time that it came.
            let expected = if flags > 0 { 1 } else { 4 };
            // A cookie is good for its source only.
            assert_eq!(ask(PORT + 1, &[Tlv::Cookie(&cookie)], 0).0.kind, Kind::Challenge);
            let others = u64::from(flags == 0);
            assert_eq!(lab.count(lambda, |count| &count.invocations), expected + others, "{arrangement:?}");
            assert_at_rest(&mut lab);
        }
    }
}

#[test]
fn the_bound_holds_to_the_byte() {
    for arrangement in ALL {
        for (lambda, flags) in CASES {
            let mut lab = lab(arrangement, lambdas());
            for (sequence, request_bytes) in [(1, 5), (3, 40), (5, 300)] {
                let request = |sequence, reply_bytes| {
                    datagram_of(lambda, sequence, &wants(reply_bytes, request_bytes), &[], |header| {
                        header.flags = flags;
                    })
                };
                let sent = request(0, 0).len() as u32;
                let most = sent * AMPLIFICATION - rpc::HEADER_BYTES as u32;
                let within = tell(&mut lab, PORT, &request(sequence, most));
                assert_eq!(within[0].len() as u32, sent * AMPLIFICATION, "{arrangement:?} {lambda} {flags}");
                let over = tell(&mut lab, PORT, &request(sequence + 1, most + 1));
                let header = header_of(&over[0]);
                assert!(over[0].len() as u32 <= sent.max(32), "{} for {sent} bytes", over[0].len());
                // There is no room for a challenge in answer to less than one.
                if sent < lnic_message::CHALLENGE_BYTES {
                    assert_eq!(header.status(), Status::Unauthenticated);
                } else {
                    assert_eq!(header.kind, Kind::Challenge);
                }
            }
            assert_at_rest(&mut lab);
        }
    }
}

#[test]
fn a_long_reply_to_a_short_request_comes_once_a_cookie_was_shown() {
    for arrangement in ALL {
        for options in [RequestOptions::default(), AT_MOST_ONCE] {
            let mut lab = lab(arrangement, vec![worker()]);
            let mut caller = Caller::new(PORT);
            let (status, reply) = caller.ask_with(&mut lab, 1, &wants(50_000, 60), options);
            assert_eq!(status, Status::Ok, "{arrangement:?} {options:?}");
            assert!(reply == wanted(50_000));
            // The first time nobody knew that it would be long, and at most once is only asked for with a cookie.
            let runs = if options.at_most_once { 1 } else { 2 };
            assert_eq!(lab.count(1, |count| &count.invocations), runs);
            assert_at_rest(&mut lab);
        }
    }
}

#[test]
fn a_message_of_many_frames_takes_no_memory_without_a_cookie() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        for at in 0..64u16 {
            let fragment = datagram_of(1, 4, &[0; 1024], &[], |header| {
                (header.message_length, header.fragment_index) = (60_000, at % 58);
            });
            for answer in tell(&mut lab, PORT, &fragment) {
                assert_eq!(header_of(&answer).kind, Kind::Challenge);
            }
            assert_eq!(lab.slots_taken(), 0);
        }
        assert_eq!(lab.next_deadline_ns(), None, "no timer either");
        assert_at_rest(&mut lab);
    }
}
