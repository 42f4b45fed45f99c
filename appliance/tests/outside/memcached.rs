//! memcached's framing: requests get its header, replies lose it and are put together.

use lnic::observe::DropReason;

use crate::*;

/// Sets a field of a datagram's frame header.
fn with(datagram: &Datagram, at: usize, value: u16) -> Datagram {
    let mut changed = datagram.clone();
    changed.payload[at..at + 2].copy_from_slice(&value.to_be_bytes());
    changed
}

/// A lab whose lambda has asked; and its request.
fn asked(arrangement: Arrangement) -> (Lab, Datagram) {
    let mut lab = lab(arrangement);
    ask(&mut lab, MEMCACHED, PATIENCE_US, b"get hey\r\n");
    let request = resolved(&mut lab).requests.remove(0);
    (lab, request)
}

fn value(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at * 7) >> 4) as u8).collect()
}

#[test]
fn a_request_is_one_datagram_with_an_id_of_its_own() {
    let mut lab = lab(OneLcore);
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..32 {
        ask(&mut lab, MEMCACHED, PATIENCE_US, b"get hey\r\n");
        let sent = if round == 0 { resolved(&mut lab) } else { settled(&mut lab) };
        let payload = &sent.requests[0].payload;
        assert_eq!((&payload[2..8], &payload[8..]), (&[0, 0, 0, 1, 0, 0][..], &b"get hey\r\n"[..]));
        assert!(ids.insert([payload[0], payload[1]]));
    }
    // Not one after the other.
    let in_a_row = ids
        .iter()
        .zip(ids.iter().skip(1))
        .filter(|(a, b)| u16::from_be_bytes(**b) - u16::from_be_bytes(**a) == 1);
    assert!(in_a_row.count() < 8);
    lab.rest();
    assert_ended(&mut lab);
}

#[test]
fn a_long_reply_arrives_as_a_whole_in_whatever_order() {
    for arrangement in ALL {
        for bytes in [1391, 1392, 1393, 2784, 5000, 9216] {
            for turn in 0..3 {
                let (mut lab, request) = asked(arrangement);
                let mut replies = request.memcached_replies(&value(bytes));
                let count = replies.len();
                match turn {
                    1 => replies.reverse(),
                    2 => replies.rotate_left(count / 2),
                    _ => {}
                }
                // All but the last come twice.
                let last = replies.pop().unwrap();
                for reply in &replies {
                    deliver(&mut lab, reply);
                    deliver(&mut lab, reply);
                }
                assert!(told(&mut lab).is_empty());
                deliver(&mut lab, &last);
                let told = told_once(&mut lab);
                assert!(
                    told.is(&value(bytes)),
                    "{arrangement:?}: {bytes} bytes, turn {turn}: {}",
                    told.result
                );
                assert_eq!(lab.dropped(DropReason::StrayReply), count as u64 - 1);
                assert_ended(&mut lab);
            }
        }
    }
}

#[test]
fn what_contradicts_itself_or_the_others_is_left_out() {
    for arrangement in ALL {
        let (mut lab, request) = asked(arrangement);
        let replies = request.memcached_replies(&value(3000));
        deliver(&mut lab, &replies[0]);
        let short = request.reply(&replies[1].payload[..1399]);
        let empty = request.reply(&replies[2].payload[..8]);
        let malformed = [
            request.reply(&[]),
            request.reply(&replies[1].payload[..7]),
            with(&replies[1], 2, 3),
            with(&replies[1], 4, 0),
            with(&replies[1], 4, 4),
            with(&replies[1], 4, 2),
            with(&replies[1], 6, 1),
            short,
            empty,
        ];
        malformed.iter().for_each(|datagram| deliver(&mut lab, datagram));
        let id = u16::from_be_bytes([replies[1].payload[0], replies[1].payload[1]]);
        deliver(&mut lab, &with(&replies[1], 0, id ^ 1));
        assert!(told(&mut lab).is_empty());
        assert_eq!(lab.dropped(DropReason::MalformedReply), malformed.len() as u64, "{arrangement:?}");
        assert_eq!(lab.dropped(DropReason::StrayReply), 1, "another ID");
        deliver(&mut lab, &replies[2]);
        deliver(&mut lab, &replies[1]);
        assert!(told_once(&mut lab).is(&value(3000)), "{arrangement:?}");
        assert_ended(&mut lab);
    }
}

#[test]
fn a_reply_longer_than_a_payload_is_out_of_range() {
    for arrangement in ALL {
        for bytes in [9217, 20_000] {
            let (mut lab, request) = asked(arrangement);
            request.memcached_replies(&value(bytes)).iter().for_each(|reply| deliver(&mut lab, reply));
            assert_eq!(told_once(&mut lab).result, -11, "{arrangement:?}: {bytes}");
            assert_ended(&mut lab);
        }
    }
}

#[test]
fn a_reply_of_which_a_part_is_lost_is_none() {
    for arrangement in ALL {
        let (mut lab, request) = asked(arrangement);
        let replies = request.memcached_replies(&value(4000));
        deliver(&mut lab, &replies[0]);
        deliver(&mut lab, &replies[2]);
        lab.settle();
        pass_us(&mut lab, PATIENCE_US.into());
        assert_eq!(told_once(&mut lab).result, -4, "{arrangement:?}");
        deliver(&mut lab, &replies[1]);
        assert!(told(&mut lab).is_empty());
        // What came of it is not the next one's.
        let told = exchange(&mut lab, MEMCACHED, b"get you\r\n", &value(2000));
        assert!(told.is(&value(2000)), "{arrangement:?}: {}", told.result);
        assert_ended(&mut lab);
    }
}
