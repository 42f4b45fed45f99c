//! At most once: whatever the network repeats, the lambda runs once, and its reply comes from the cache.

use crate::*;

#[test]
fn a_repeated_request_is_answered_from_the_cache() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker(), Deployed { slots: (0, 0), ..worker() }]);
        let cookie = cookie(&mut lab, PORT);
        for lambda in [1, 2] {
            let request = |flags| {
                datagram_of(lambda, lambda, b"n", &[Tlv::Cookie(&cookie)], |header| {
                    header.flags = rpc::AT_MOST_ONCE | flags;
                })
            };
            let first = tell(&mut lab, PORT, &request(0));
            assert_eq!(first.len(), 1, "{arrangement:?}");
            assert_eq!(header_of(&first[0]).payload(&first[0]), 1u32.to_be_bytes());
            for flags in [0, rpc::RTX, rpc::RTX] {
                let again = tell(&mut lab, PORT, &request(flags));
                assert_eq!(again, first, "{arrangement:?}");
            }
            let ack = datagram_of(lambda, lambda, &[], &[], |header| header.kind = Kind::Ack);
            assert!(tell(&mut lab, PORT, &ack).is_empty());
            // Its caller has it: it is forgotten, but not that it ran.
            let late = tell(&mut lab, PORT, &request(rpc::RTX));
            assert_eq!(header_of(&late[0]).status(), Status::Stale);
            assert_eq!(lab.count(lambda, |count| &count.invocations), 1, "{arrangement:?}");
        }
        assert_at_rest(&mut lab);
    }
}

#[test]
fn a_burst_of_duplicates_runs_once() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let cookie = cookie(&mut lab, PORT);
        let request = datagram_of(1, 5, b"n", &[Tlv::Cookie(&cookie)], |header| {
            header.flags = rpc::AT_MOST_ONCE | rpc::RTX;
        });
        // While the first runs, the others find it open.
        for _ in 0..40 {
            assert!(lab.peers[0].send(&framed(PORT, &request)));
        }
        lab.settle();
        let answers = headers(&lab.received(0));
        let replies = answers.iter().filter(|header| header.kind == Kind::Reply).count();
        let nacks = answers.iter().filter(|header| header.kind == Kind::Nack).count();
        assert!(replies >= 1 && replies + nacks == 40, "{replies} and {nacks}, {arrangement:?}");
        assert_eq!(lab.count(1, |count| &count.invocations), 1, "{arrangement:?}");
        assert_at_rest(&mut lab);
    }
}

#[test]
fn repeated_messages_of_many_frames_run_once() {
    for arrangement in ALL {
        let mut lab = lab(arrangement, vec![worker()]);
        let cookie = cookie(&mut lab, PORT);
        let message = task(b'n', 5_000);
        let send = |lab: &mut Lab, flags| {
            for (at, part) in (0u16..).zip(message.chunks(1024)) {
                let fragment = datagram_of(1, 9, part, &[Tlv::Cookie(&cookie)], |header| {
                    (header.message_length, header.fragment_index) = (5_000, at);
                    header.flags = rpc::AT_MOST_ONCE | flags;
                });
                assert!(lab.peers[0].send(&framed(PORT, &fragment)));
            }
            lab.settle();
            headers(&lab.received(0))
        };
        let first = send(&mut lab, 0);
        assert_eq!(first.len(), 1, "{arrangement:?}");
        assert_eq!((first[0].status(), first[0].message_length), (Status::Ok, 4));
        for _ in 0..5 {
            let again = send(&mut lab, rpc::RTX);
            assert!(!again.is_empty() && again.iter().all(|header| *header == first[0]), "{again:?}");
        }
        assert_eq!(runs(&mut lab, 1), 1, "{arrangement:?}");
        assert_at_rest(&mut lab);
    }
}
