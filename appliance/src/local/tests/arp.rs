//! ARP.

use lnic_wire::{arp, ethernet};

use super::{OURS, PEER, TestFrame, ask, drops, from_peer, interface, is_not_local, tag};
use crate::frame::Checksum;
use crate::local::{Answer, answer};
use crate::observe::DropReason;
use crate::parser::{Interface, parse};

pub(super) fn arp_request(change: impl FnOnce(&mut arp::Repr)) -> Vec<u8> {
    let mut repr = arp::Repr {
        operation: arp::REQUEST,
        source_mac: PEER,
        source_ipv4: [10, 0, 0, 2].into(),
        target_mac: [0; 6],
        target_ipv4: [10, 0, 0, 1].into(),
    };
    change(&mut repr);
    let mut bytes = from_peer(ethernet::BROADCAST, ethernet::TYPE_ARP);
    bytes.resize(42, 0);
    repr.emit(&mut bytes[14..]);
    bytes
}

#[test]
fn arp_by_hand() {
    let question = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x08, 0x06, // Ethernet
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0,
        1, // who has 10.0.0.1
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // padding
    ];
    let expected = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x06, // Ethernet
        0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2,
    ];
    assert_eq!(ask(&question), (Answer::Reply, expected.to_vec()));
    let (result, reply) = ask(&tag(&question));
    assert_eq!(result, Answer::Reply);
    assert_eq!(reply, tag(&expected));
}

#[test]
fn arp_probe_is_answered() {
    let (result, reply) = ask(&arp_request(|arp| arp.source_ipv4 = [0; 4].into()));
    assert_eq!(result, Answer::Reply);
    assert_eq!(arp::Packet::new_checked(&reply[14..]).unwrap().target_ipv4().octets(), [0; 4]);
}

#[test]
fn arp_that_asks_nothing_of_us() {
    is_not_local(&arp_request(|arp| arp.target_ipv4 = [10, 0, 0, 9].into()));
    is_not_local(&arp_request(|arp| arp.operation = arp::REPLY));
    is_not_local(&arp_request(|arp| arp.operation = 9));
    is_not_local(&arp_request(|arp| arp.source_ipv4 = [10, 0, 0, 1].into()));
    let bytes = arp_request(|_| {});
    let no_address = Interface { ipv4: None, ..interface() };
    let parsed = parse(&bytes, Checksum::Unknown, Checksum::Unknown, &no_address).unwrap();
    assert_eq!(answer(&mut TestFrame::new(&bytes), &parsed, &no_address), Answer::NotLocal);
}

#[test]
fn what_a_neighbour_tells_us_of_itself_is_heard() {
    let reply = |change: &dyn Fn(&mut arp::Repr)| {
        let mut bytes = arp_request(|arp| {
            (arp.operation, arp.target_mac) = (arp::REPLY, OURS);
            change(arp);
        });
        bytes[..6].copy_from_slice(&OURS);
        bytes
    };
    let told = Answer::Told([10, 0, 0, 2].into(), PEER);
    let (result, bytes) = ask(&reply(&|_| {}));
    assert_eq!((result, bytes), (told, reply(&|_| {})));
    assert_eq!(ask(&tag(&reply(&|_| {}))).0, told);
    // For others, of a group's, of ours, of no station's; to all.
    is_not_local(&reply(&|arp| arp.target_ipv4 = [10, 0, 0, 9].into()));
    is_not_local(&reply(&|arp| arp.target_mac = PEER));
    is_not_local(&reply(&|arp| arp.source_mac = [1, 0, 0x5E, 0, 0, 1]));
    is_not_local(&reply(&|arp| arp.source_mac = OURS));
    is_not_local(&reply(&|arp| arp.source_mac = [0; 6]));
    for source in [[224, 0, 0, 1], [10, 0, 0, 1], [0, 0, 0, 0], [255, 255, 255, 255]] {
        is_not_local(&reply(&|arp| arp.source_ipv4 = source.into()));
    }
    let mut to_all = reply(&|_| {});
    to_all[..6].fill(0xFF);
    is_not_local(&to_all);
}

#[test]
fn arp_that_must_not_be_answered() {
    let group = |arp: &mut arp::Repr| arp.source_mac = [1, 0, 0x5E, 0, 0, 1];
    drops(&arp_request(group), DropReason::Neighbour);
    for source in [[224, 0, 0, 1], [255, 255, 255, 255], [127, 0, 0, 1], [0, 0, 0, 7]] {
        drops(&arp_request(|arp| arp.source_ipv4 = source.into()), DropReason::Neighbour);
    }
    let mut from_group = arp_request(|_| {});
    from_group[6] |= 1;
    drops(&from_group, DropReason::Neighbour);
    let whole = arp_request(|_| {});
    for length in 14..42 {
        drops(&whole[..length], DropReason::Neighbour);
    }
    let mut other_hardware = whole;
    other_hardware[15] = 6;
    drops(&other_hardware, DropReason::Neighbour);
}
