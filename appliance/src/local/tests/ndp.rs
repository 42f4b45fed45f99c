//! Neighbour discovery.

use std::net::Ipv6Addr;

use lnic_wire::{checksum, ethernet, ipv6, ndp};

use super::{OUR_LINK_LOCAL, OURS, PEER, TestFrame, ask, ask_in, drops, icmp_v6, is_not_local};
use crate::local::Answer;
use crate::observe::DropReason;

pub(super) fn solicitation(target: &str, source_link: Option<[u8; 6]>) -> Vec<u8> {
    let repr = ndp::Repr::Solicitation { target: target.parse().unwrap(), source_link };
    let mut message = vec![0; repr.message_bytes()];
    repr.emit(&mut message, 0);
    message
}

/// The advertisement in a reply, with its IP header and the MAC that it goes to.
fn advertisement(reply: &[u8]) -> ([u8; 6], ipv6::Repr, ndp::Repr) {
    let frame = ethernet::Frame::new_checked(reply).unwrap();
    assert_eq!(frame.source(), OURS);
    let packet = ipv6::Packet::new_checked(frame.payload()).unwrap();
    let ip = ipv6::Repr::parse(&packet);
    assert_eq!((reply.len(), ip.hop_limit, ip.next_header), (14 + 40 + 32, 255, 58));
    let pseudo = checksum::pseudo_ipv6(ip.source, ip.destination, 58, ip.payload_bytes);
    let message = ndp::Packet::new_checked(packet.payload()).unwrap();
    (frame.destination(), ip, ndp::Repr::parse(&message, pseudo).unwrap())
}

#[test]
fn neighbour_solicitations_are_answered() {
    for target in ["fd00::1", OUR_LINK_LOCAL] {
        let address: Ipv6Addr = target.parse().unwrap();
        let group = ipv6::solicited_node(address);
        let to_group = (ipv6::multicast_mac(group), group.to_string());
        for (mac, destination) in [to_group, (OURS, target.into())] {
            for (link, reply_to) in [(None, PEER), (Some([2, 0, 0, 0, 0, 7]), [2, 0, 0, 0, 0, 7])] {
                for extension in [false, true] {
                    let message = solicitation(target, link);
                    let (result, reply) =
                        ask(&icmp_v6(mac, "fe80::2", &destination, 255, &message, extension));
                    assert_eq!(result, Answer::Reply);
                    let (to, ip, repr) = advertisement(&reply);
                    assert_eq!(
                        (to, ip.source, ip.destination.to_string()),
                        (reply_to, address, "fe80::2".into())
                    );
                    assert_eq!(
                        repr,
                        ndp::Repr::Advertisement {
                            router: false,
                            solicited: true,
                            overrides: true,
                            target: address,
                            target_link: Some(OURS),
                        }
                    );
                }
            }
        }
    }
}

#[test]
fn duplicate_address_detection_is_answered_to_all() {
    let question = icmp_v6(
        [0x33, 0x33, 0xFF, 0, 0, 1],
        "::",
        "ff02::1:ff00:1",
        255,
        &solicitation("fd00::1", None),
        false,
    );
    let (result, reply) = ask(&question);
    assert_eq!(result, Answer::Reply);
    let (to, ip, repr) = advertisement(&reply);
    assert_eq!((to, ip.destination), ([0x33, 0x33, 0, 0, 0, 1], ipv6::ALL_NODES));
    assert!(matches!(repr, ndp::Repr::Advertisement { solicited: false, overrides: true, .. }));
}

#[test]
fn neighbour_solicitations_are_validated() {
    let ask_for = |source: &str, destination: &str, hop_limit: u8, message: &[u8]| {
        icmp_v6([0x33, 0x33, 0xFF, 0, 0, 1], source, destination, hop_limit, message, false)
    };
    let group = "ff02::1:ff00:1";
    let link = Some(PEER);
    let good = solicitation("fd00::1", link);
    is_not_local(&ask_for("fd00::2", group, 255, &solicitation("fd00::9", link)));
    is_not_local(&ask_for("fd00::2", "fd00::9", 255, &good));
    let refused = |bytes: &[u8]| drops(bytes, DropReason::Neighbour);
    refused(&ask_for("fd00::2", group, 254, &good));
    refused(&ask_for("::", group, 255, &good));
    refused(&ask_for("::", "ff02::1", 255, &solicitation("fd00::1", None)));
    refused(&ask_for("::", "fd00::1", 255, &solicitation("fd00::1", None)));
    refused(&ask_for("ff02::1", group, 255, &good));
    refused(&ask_for("fd00::1", group, 255, &good));
    refused(&ask_for("fd00::2", group, 255, &solicitation("fd00::1", Some([0x33, 0x33, 0, 0, 0, 1]))));
    let mut code = good.clone();
    code[1] = 1;
    refused(&ask_for("fd00::2", group, 255, &code));
    let mut empty_option = good.clone();
    empty_option[25] = 0;
    refused(&ask_for("fd00::2", group, 255, &empty_option));
    for length in 8..24 {
        refused(&ask_for("fd00::2", group, 255, &good[..length]));
    }
    let mut damaged = ask_for("fd00::2", group, 255, &good);
    *damaged.last_mut().unwrap() ^= 1;
    drops(&damaged, DropReason::IcmpChecksum);
    let mut from_group = ask_for("fd00::2", group, 255, &good);
    from_group[6] |= 1;
    refused(&from_group);
}

#[test]
fn a_full_buffer_cannot_grow() {
    let bytes = icmp_v6(OURS, "fd00::2", "fd00::1", 255, &solicitation("fd00::1", None), false);
    let mut frame = TestFrame { capacity: bytes.len() + 7, ..TestFrame::new(&bytes) };
    assert_eq!(ask_in(&mut frame), Answer::Drop(DropReason::TxSize));
    let mut frame = TestFrame { capacity: bytes.len() + 8, ..TestFrame::new(&bytes) };
    assert_eq!(ask_in(&mut frame), Answer::Reply);
}

#[test]
fn what_a_neighbour_tells_us_of_itself_is_heard() {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
    let advertisement = |solicited, target_link| {
        let target = "fd00::7".parse().unwrap();
        let repr = ndp::Repr::Advertisement { router: true, solicited, overrides: true, target, target_link };
        let mut message = vec![0; repr.message_bytes()];
        repr.emit(&mut message, 0);
        message
    };
    let whole = advertisement(true, Some(MAC));
    let told = Answer::Told("fd00::7".parse().unwrap(), MAC);
    for to in ["fd00::1", OUR_LINK_LOCAL] {
        assert_eq!(ask(&icmp_v6(OURS, "fd00::7", to, 255, &whole, false)).0, told);
    }
    // Who is asked by unicast may leave out his address: it is the frame's.
    let short = advertisement(true, None);
    let told = Answer::Told("fd00::7".parse().unwrap(), PEER);
    assert_eq!(ask(&icmp_v6(OURS, "fd00::7", "fd00::1", 255, &short, false)).0, told);
    // To all, from a router away, without being asked, with an impossible MAC address, of our own address.
    is_not_local(&icmp_v6([0x33, 0x33, 0, 0, 0, 1], "fd00::7", "ff02::1", 255, &whole, false));
    is_not_local(&icmp_v6([0x33, 0x33, 0, 0, 0, 1], "fd00::7", "fd00::1", 255, &whole, false));
    is_not_local(&icmp_v6(OURS, "fd00::7", "fd00::1", 254, &whole, false));
    for message in [
        advertisement(false, Some(MAC)),
        advertisement(false, None),
        advertisement(true, Some(OURS)),
        advertisement(true, Some([0; 6])),
        advertisement(true, Some([0x33, 0x33, 0, 0, 0, 1])),
    ] {
        is_not_local(&icmp_v6(OURS, "fd00::7", "fd00::1", 255, &message, false));
    }
    let own = ndp::Repr::Advertisement {
        router: false,
        solicited: true,
        overrides: true,
        target: "fd00::1".parse().unwrap(),
        target_link: Some(MAC),
    };
    let mut message = vec![0; own.message_bytes()];
    own.emit(&mut message, 0);
    is_not_local(&icmp_v6(OURS, "fd00::7", "fd00::1", 255, &message, false));
    // Damaged, or cut off.
    let mut damaged = icmp_v6(OURS, "fd00::7", "fd00::1", 255, &whole, false);
    *damaged.last_mut().unwrap() ^= 1;
    is_not_local(&damaged);
}
