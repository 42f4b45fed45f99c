//! Echo over IPv4 and IPv6.

use lnic_wire::{checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, protocol};

use super::{OUR_LINK_LOCAL, OURS, PEER, ask, drops, from_peer, icmp_v6, is_not_local, tag};
use crate::local::Answer;
use crate::observe::DropReason;

/// An ICMP echo request with a payload, to us.
pub(super) fn echo_v4(source: [u8; 4], options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = from_peer(OURS, ethernet::TYPE_IPV4);
    let mut message = vec![0; 8];
    message.extend(payload);
    icmpv4::Repr::EchoRequest { identifier: 0x1234, sequence: 7 }.emit(&mut message);
    let ip = ipv4::Repr {
        source: source.into(),
        destination: [10, 0, 0, 1].into(),
        protocol: protocol::ICMP,
        traffic_class: 0x10,
        identification: 99,
        dont_fragment: true,
        ttl: 3,
        payload_bytes: (options.len() + message.len()) as u16,
    };
    bytes.resize(34, 0);
    ip.emit(&mut bytes[14..]);
    bytes[14] += (options.len() / 4) as u8;
    bytes.extend(options);
    bytes.extend(message);
    ipv4::Packet::new_checked(&mut bytes[14..]).unwrap().fill_checksum();
    bytes
}

#[test]
fn echo_over_ipv4() {
    let payload: Vec<u8> = (0..57).collect();
    for options in [&[][..], &[7, 7, 4, 10, 0, 0, 9, 0]] {
        let mut question = echo_v4([10, 0, 0, 2], options, &payload);
        question.extend([0xEE; 9]);
        for tagged in [false, true] {
            let (result, reply) = ask(&if tagged { tag(&question) } else { question.clone() });
            assert_eq!(result, Answer::Reply);
            assert_eq!(reply[..6], PEER);
            assert_eq!(reply[6..12], OURS);
            let network = if tagged { 18 } else { 14 };
            assert_eq!(
                reply.len(),
                network + 20 + 8 + payload.len(),
                "neither options nor padding are repeated"
            );
            let packet = ipv4::Packet::new_checked(&reply[network..]).unwrap();
            let ip = ipv4::Repr::parse(&packet).unwrap();
            assert_eq!((ip.source.octets(), ip.destination.octets()), ([10, 0, 0, 1], [10, 0, 0, 2]));
            assert_eq!((ip.ttl, ip.traffic_class, ip.dont_fragment), (64, 0x10, true));
            let echo = icmpv4::Packet::new_checked(packet.payload()).unwrap();
            assert_eq!(
                icmpv4::Repr::parse(&echo),
                Ok(icmpv4::Repr::EchoReply { identifier: 0x1234, sequence: 7 })
            );
            assert_eq!(echo.payload(), payload);
        }
    }
}

#[test]
fn echo_over_ipv4_that_asks_nothing_of_us() {
    let mut other_type = echo_v4([10, 0, 0, 2], &[], b"x");
    other_type[34] = 3;
    is_not_local(&other_type);
    let mut to_group = echo_v4([10, 0, 0, 2], &[], b"x");
    to_group[..6].fill(0xFF);
    is_not_local(&to_group);
    let mut to_other = echo_v4([10, 0, 0, 2], &[], b"x");
    to_other[33] = 9;
    ipv4::Packet::new_checked(&mut to_other[14..]).unwrap().fill_checksum();
    is_not_local(&to_other);
    let mut fragment = echo_v4([10, 0, 0, 2], &[], b"x");
    fragment[20] = 0x20;
    ipv4::Packet::new_checked(&mut fragment[14..]).unwrap().fill_checksum();
    is_not_local(&fragment);
}

#[test]
fn echo_over_ipv4_that_must_not_be_answered() {
    for source in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255], [127, 0, 0, 1], [10, 0, 0, 1]] {
        drops(&echo_v4(source, &[], b"x"), DropReason::SourceAddress);
    }
    let mut from_group = echo_v4([10, 0, 0, 2], &[], b"x");
    from_group[6] |= 1;
    drops(&from_group, DropReason::SourceAddress);
    let mut damaged = echo_v4([10, 0, 0, 2], &[], b"x");
    damaged[42] ^= 1;
    drops(&damaged, DropReason::IcmpChecksum);
    let mut short = echo_v4([10, 0, 0, 2], &[], b"");
    short[17] = 27;
    ipv4::Packet::new_checked(&mut short[14..]).unwrap().fill_checksum();
    drops(&short, DropReason::Truncated);
}

pub(super) const ECHO: [u8; 11] = [128, 0, 0, 0, 0x12, 0x34, 0, 7, b'a', b'b', b'c'];

#[test]
fn echo_over_ipv6() {
    for (source, destination) in [("fd00::2", "fd00::1"), ("fe80::2", OUR_LINK_LOCAL)] {
        for extension in [false, true] {
            let mut question = icmp_v6(OURS, source, destination, 1, &ECHO, extension);
            question.extend([0xEE; 5]);
            let (result, reply) = ask(&tag(&question));
            assert_eq!(result, Answer::Reply);
            assert_eq!(
                (&reply[..6], &reply[6..12], &reply[12..18]),
                (&PEER[..], &OURS[..], &tag(&question)[12..18])
            );
            assert_eq!(reply.len(), 18 + 40 + ECHO.len());
            let packet = ipv6::Packet::new_checked(&reply[18..]).unwrap();
            let ip = ipv6::Repr::parse(&packet);
            assert_eq!(
                (ip.source.to_string(), ip.destination.to_string()),
                (destination.into(), source.into())
            );
            assert_eq!((ip.next_header, ip.hop_limit, ip.traffic_class), (58, 64, 0x20));
            let echo = icmpv6::Packet::new_checked(packet.payload()).unwrap();
            let pseudo = checksum::pseudo_ipv6(ip.source, ip.destination, 58, ip.payload_bytes);
            let expected = icmpv6::Repr::EchoReply { identifier: 0x1234, sequence: 7 };
            assert_eq!((icmpv6::Repr::parse(&echo, pseudo), echo.payload()), (Ok(expected), &b"abc"[..]));
        }
    }
}

#[test]
fn icmpv6_that_asks_nothing_of_us() {
    is_not_local(&icmp_v6(OURS, "fd00::2", "fd00::9", 64, &ECHO, false));
    is_not_local(&icmp_v6([0x33, 0x33, 0, 0, 0, 1], "fd00::2", "ff02::1", 64, &ECHO, false));
    is_not_local(&icmp_v6([0x33, 0x33, 0, 0, 0, 1], "fd00::2", "fd00::1", 64, &ECHO, false));
    // Echo reply, router solicitation and advertisement, neighbour advertisement, redirect, MLD.
    for kind in [129, 133, 134, 136, 137, 130, 143, 1] {
        let mut message = [0; 24];
        message[0] = kind;
        is_not_local(&icmp_v6(OURS, "fe80::2", "fd00::1", 255, &message, false));
    }
}

#[test]
fn echo_over_ipv6_that_must_not_be_answered() {
    for source in ["::", "::1", "ff02::1", "fd00::1", OUR_LINK_LOCAL] {
        drops(&icmp_v6(OURS, source, "fd00::1", 64, &ECHO, false), DropReason::SourceAddress);
    }
    let mut damaged = icmp_v6(OURS, "fd00::2", "fd00::1", 64, &ECHO, false);
    *damaged.last_mut().unwrap() ^= 1;
    drops(&damaged, DropReason::IcmpChecksum);
    for length in 0..8 {
        drops(&icmp_v6(OURS, "fd00::2", "fd00::1", 64, &ECHO[..length], false), DropReason::Truncated);
    }
}
