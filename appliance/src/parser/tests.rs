//! Packet scripts: frames as a sender would make them, cut, damaged and padded in every way.

mod frames;
mod properties;

use lnic_wire::{arp, checksum, ethernet, ipv4};

use self::frames::{FRAGMENT, HOP_BY_HOP, Ip, OPTIONS, REQUEST, ROUTING, Recipe, Upper, interface};
use super::{Parsed, Present, complete_checksum, parse};
use crate::frame::Checksum::{self, Bad, Good, Unknown};
use crate::observe::DropReason;

/// Parses with software checksums on the test interface.
fn check(bytes: &[u8]) -> Result<Parsed, DropReason> {
    parse(bytes, Unknown, Unknown, &interface())
}

fn parse_with(bytes: &[u8], ip: Checksum, l4: Checksum) -> Option<DropReason> {
    parse(bytes, ip, l4, &interface()).err()
}

#[test]
fn rpc_vector_in_a_frame_written_by_hand() {
    let mut frame = vec![
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
        0x45, 0, 0, 73, 0x12, 0x34, 0x40, 0, 64, 17, 0x14, 0x3a, 10, 0, 0, 2, 10, 0, 0, 1, // IPv4
        0x9c, 0x40, 0x12, 0xb9, 0, 53, 0, 0, // UDP 40000 to 4793, no checksum
    ];
    frame.extend(REQUEST);
    frame.extend([0xEE; 7]);
    let sum = checksum::finish(checksum::add(0, &frame[14..24]) + checksum::add(0, &frame[26..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let parsed = check(&frame).unwrap();
    assert_eq!(
        (parsed.network, parsed.transport, parsed.rpc, parsed.payload, parsed.end),
        (14, 34, 42, 74, 87)
    );
    assert_eq!(&frame[parsed.payload.into()..parsed.end.into()], b"hello, lambda");
    let key = parsed.key;
    assert_eq!((key.lambda, key.protocol, key.ether_type), (7, 17, 0x0800));
    assert_eq!((key.source_port, key.destination_port), (40000, 4793));
    assert_eq!((key.source, key.destination), (0xFFFF_0A00_0002, 0xFFFF_0A00_0001));
    assert_eq!(key.present.bits(), 1 | 4 | 8);
    assert_eq!(key.port, interface().port);
}

#[test]
fn rpc_to_every_own_address() {
    for ip in [Ip::v4(), Ip::v6(), Ip::link_local()] {
        let parsed = check(&Recipe::new(ip, Upper::udp_to(4793)).payload(&REQUEST).build()).unwrap();
        assert!(parsed.key.present.has(Present::RPC));
        assert_eq!((parsed.key.lambda, parsed.payload - parsed.rpc), (7, 32));
    }
}

#[test]
fn rpc_only_to_own_addresses_and_the_port() {
    let plain = |recipe: Recipe| {
        let parsed = check(&recipe.payload(&REQUEST).build()).unwrap();
        assert!(!parsed.key.present.has(Present::RPC));
        assert_eq!((parsed.key.lambda, parsed.rpc), (0, 0));
        assert_eq!(parsed.payload, parsed.transport + 8);
    };
    plain(Recipe::new(Ip::v4(), Upper::udp_to(4794)));
    plain(Recipe::new(Ip::v4_to([10, 0, 0, 9]), Upper::udp_to(4793)));
    plain(Recipe::new(Ip::v6_to("fd00::9"), Upper::udp_to(4793)));
    // IPv4-mapped is nobody's address on the wire.
    plain(Recipe::new(Ip::v6_to("::ffff:10.0.0.1"), Upper::udp_to(4793)));
    // Sent to all on the link: answering would amplify.
    plain(Recipe::new(Ip::v4(), Upper::udp_to(4793)).destination_mac(ethernet::BROADCAST));
}

#[test]
fn rpc_errors_have_names() {
    let damaged = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut message = REQUEST.to_vec();
        damage(&mut message);
        check(&Recipe::new(Ip::v4(), Upper::udp_to(4793)).payload(&message).build()).unwrap_err()
    };
    assert_eq!(damaged(&|message| message.truncate(31)), DropReason::RpcTruncated);
    assert_eq!(damaged(&|message| message[0] = 0xA2), DropReason::RpcVersion);
    assert_eq!(damaged(&|message| message[1] = 0x03), DropReason::RpcHeader);
    assert_eq!(damaged(&|message| message[1] = 0xF4), DropReason::RpcHeader);
    assert_eq!(damaged(&|message| message[40] ^= 1), DropReason::RpcCrc);
}

#[test]
fn truncation_anywhere_is_named() {
    use DropReason::{IpLength, Truncated};
    for recipe in frames::combinations() {
        let frame = recipe.build();
        let whole = check(&frame).unwrap();
        let header_bytes = if recipe.is_ipv4() { 20 } else { 40 };
        for length in 0..usize::from(whole.end) {
            let reason = check(&frame[..length]).unwrap_err();
            let expected =
                if length < usize::from(whole.network) + header_bytes { Truncated } else { IpLength };
            assert_eq!(reason, expected, "{length} of {} bytes of {recipe:?}", frame.len());
        }
    }
}

#[test]
fn padding_is_not_payload() {
    for padding in [0, 1, 18, 46] {
        let frame = Recipe::new(Ip::v4(), Upper::udp_to(9)).payload(b"ab").padding(padding).build();
        let parsed = check(&frame).unwrap();
        assert_eq!(&frame[parsed.payload.into()..parsed.end.into()], b"ab");
    }
}

#[test]
fn destination_mac() {
    let frame = Recipe::new(Ip::v4(), Upper::udp_to(9)).destination_mac([2, 0, 0, 0, 0, 99]).build();
    assert_eq!(check(&frame), Err(DropReason::NotOurMac));
    let promiscuous = super::Interface { promiscuous: true, ..interface() };
    assert!(parse(&frame, Unknown, Unknown, &promiscuous).is_ok());
    for group in [ethernet::BROADCAST, [0x33, 0x33, 0, 0, 0, 1]] {
        assert!(check(&Recipe::new(Ip::v4(), Upper::udp_to(9)).destination_mac(group).build()).is_ok());
    }
}

#[test]
fn tags() {
    let tagged = |vid| check(&Recipe::new(Ip::v4(), Upper::udp_to(9)).vlan(vid).build()).unwrap();
    let parsed = tagged(0x0FFE);
    assert!(parsed.key.present.has(Present::VLAN));
    assert_eq!((parsed.key.vlan, parsed.network, parsed.key.ether_type), (0x0FFE, 18, 0x0800));
    let priority_tag = tagged(0);
    assert!(priority_tag.key.present.has(Present::VLAN));
    assert_eq!(priority_tag.key.vlan, 0);

    let mut double = Recipe::new(Ip::v4(), Upper::udp_to(9)).vlan(5).build();
    double.splice(12..12, [0x81, 0, 0, 6]);
    let parsed = check(&double).unwrap();
    assert_eq!((parsed.key.vlan, parsed.key.ether_type, parsed.network), (6, 0x8100, 18));
    assert_eq!(parsed.key.present, Present::VLAN);
    assert_eq!(check(&double[..17]), Err(DropReason::Truncated));
}

#[test]
fn arp_and_unknown_types_are_recognised() {
    let mut frame = vec![0xFF; 6];
    frame.extend([2, 0, 0, 0, 0, 2, 0x08, 0x06]);
    frame.extend([0; arp::PACKET_BYTES]);
    let parsed = check(&frame).unwrap();
    assert_eq!((parsed.key.ether_type, parsed.network, parsed.payload, parsed.end), (0x0806, 14, 14, 42));
    assert_eq!((parsed.transport, parsed.key.present), (14, Present::default()));
    frame[12..14].copy_from_slice(&[0x88, 0xCC]);
    assert_eq!(check(&frame).unwrap().key.ether_type, 0x88CC);
    assert_eq!(check(&frame[..14]).unwrap().end, 14);
    assert_eq!(check(&frame[..13]), Err(DropReason::Truncated));
}

#[test]
fn ipv4_header_is_checked() {
    let damaged = |at: usize, value: u8| {
        let mut frame = Recipe::new(Ip::v4(), Upper::udp_to(9)).build();
        frame[14 + at] = value;
        check(&frame).unwrap_err()
    };
    assert_eq!(damaged(0, 0x65), DropReason::IpHeader);
    assert_eq!(damaged(0, 0x44), DropReason::IpHeader);
    assert_eq!(damaged(0, 0x4F), DropReason::IpHeader);
    assert_eq!(damaged(3, 19), DropReason::IpHeader);
    assert_eq!(damaged(2, 1), DropReason::IpLength);
    assert_eq!(damaged(8, 63), DropReason::IpChecksum);

    let mut frame =
        Recipe::new(Ip::V4 { destination: [10, 0, 0, 1], option_words: 3 }, Upper::udp_to(9)).build();
    assert!(check(&frame).is_ok());
    frame[14 + 31] ^= 1;
    assert_eq!(check(&frame), Err(DropReason::IpChecksum), "options are under the checksum");
}

#[test]
fn the_port_may_know_checksums() {
    let good = Recipe::new(Ip::v4(), Upper::udp_to(9)).payload(b"x").build();
    let mut bad_ip = good.clone();
    bad_ip[14 + 8] = 1;
    let mut bad_udp = good.clone();
    *bad_udp.last_mut().unwrap() ^= 1;
    assert_eq!(parse_with(&good, Unknown, Unknown), None);
    assert_eq!(parse_with(&good, Bad, Unknown), Some(DropReason::IpChecksum));
    assert_eq!(parse_with(&good, Unknown, Bad), Some(DropReason::UdpChecksum));
    assert_eq!(parse_with(&bad_ip, Unknown, Good), Some(DropReason::IpChecksum));
    assert_eq!(parse_with(&bad_ip, Good, Unknown), None);
    assert_eq!(parse_with(&bad_udp, Good, Unknown), Some(DropReason::UdpChecksum));
    assert_eq!(parse_with(&bad_udp, Unknown, Good), None);
    let tcp = Recipe::new(Ip::v6(), Upper::Tcp { option_words: 1 }).payload(b"x").build();
    assert_eq!(parse_with(&tcp, Unknown, Bad), Some(DropReason::TcpChecksum));
}

#[test]
fn no_udp_checksum_is_for_ipv4_only() {
    for (ip, result) in [(Ip::v4(), None), (Ip::v6(), Some(DropReason::UdpChecksum))] {
        let mut frame = Recipe::new(ip, Upper::udp_to(9)).payload(b"x").build();
        let field = usize::from(check(&frame).unwrap().transport) + 6;
        frame[field..field + 2].fill(0);
        for known in [Unknown, Good] {
            assert_eq!(parse_with(&frame, Unknown, known), result);
        }
    }
}

#[test]
fn udp_length_is_checked() {
    let with_length = |length: u16| {
        let mut frame = Recipe::new(Ip::v4(), Upper::udp_to(9)).payload(b"abcd").build();
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        // No checksum: only the length decides.
        frame[40..42].fill(0);
        check(&frame).map(|parsed| parsed.end - parsed.payload)
    };
    assert_eq!(with_length(12), Ok(4));
    assert_eq!(with_length(10), Ok(2), "a surplus area is not payload");
    assert_eq!(with_length(8), Ok(0));
    for length in [0, 7, 13, 0xFFFF] {
        assert_eq!(with_length(length), Err(DropReason::UdpLength));
    }
    // IP says that there are fewer bytes than a UDP header has.
    let mut frame = Recipe::new(Ip::v4(), Upper::udp_to(9)).build();
    frame[17] = 27;
    ipv4::Packet::new_checked(&mut frame[14..]).unwrap().fill_checksum();
    assert_eq!(check(&frame), Err(DropReason::UdpLength));
}

#[test]
fn tcp_header_is_checked() {
    let with_words = |words: u8| {
        let mut frame = Recipe::new(Ip::v4(), Upper::Tcp { option_words: 2 }).payload(b"abcd").build();
        frame[46] = words << 4;
        parse(&frame, Unknown, Good, &interface()).map(|parsed| parsed.payload - parsed.transport)
    };
    assert_eq!(with_words(7), Ok(28));
    assert_eq!(with_words(8), Ok(32));
    assert_eq!(with_words(4), Err(DropReason::TcpHeader));
    assert_eq!(with_words(9), Err(DropReason::TcpHeader));
    let mut frame = Recipe::new(Ip::v4(), Upper::Tcp { option_words: 0 }).build();
    frame[17] = 39;
    ipv4::Packet::new_checked(&mut frame[14..]).unwrap().fill_checksum();
    assert_eq!(check(&frame), Err(DropReason::TcpHeader));
}

#[test]
fn ipv4_fragments_are_not_decoded() {
    for flags_offset in [0x2000u16, 0x0001, 0x3FFF, 0x6000] {
        let mut frame = Recipe::new(Ip::v4(), Upper::udp_to(4793)).payload(b"no message").build();
        frame[20..22].copy_from_slice(&flags_offset.to_be_bytes());
        ipv4::Packet::new_checked(&mut frame[14..]).unwrap().fill_checksum();
        let parsed = check(&frame).unwrap();
        assert!(parsed.fragment);
        assert_eq!((parsed.key.present, parsed.key.protocol), (Present::IPV4, 17));
        assert_eq!((parsed.transport, parsed.payload, parsed.key.source_port), (34, 34, 0));
    }
}

#[test]
fn ipv6_fragments_are_not_decoded() {
    for before in [&[][..], &[HOP_BY_HOP], &[OPTIONS, ROUTING]] {
        let extensions = [before, &[FRAGMENT]].concat();
        let frame =
            Recipe::new(Ip::v6().behind(&extensions), Upper::udp_to(4793)).payload(b"no message").build();
        let parsed = check(&frame).unwrap();
        assert!(parsed.fragment);
        assert_eq!((parsed.key.present, parsed.key.protocol), (Present::IPV6, 17));
        assert_eq!(parsed.payload, parsed.transport);
    }
}

#[test]
fn ipv6_header_is_checked() {
    let damaged = |extensions: &[u8], at: usize, value: u8| {
        let mut frame = Recipe::new(Ip::v6().behind(extensions), Upper::udp_to(9)).build();
        frame[14 + at] = value;
        check(&frame).unwrap_err()
    };
    assert_eq!(damaged(&[], 0, 0x40), DropReason::IpHeader);
    assert_eq!(damaged(&[], 5, 200), DropReason::IpLength);
    assert_eq!(damaged(&[HOP_BY_HOP], 41, 200), DropReason::Ipv6Extension);
    assert_eq!(damaged(&[OPTIONS], 40, HOP_BY_HOP), DropReason::Ipv6Extension);
    assert_eq!(damaged(&[ROUTING], 43, 1), DropReason::Ipv6Extension);
    assert_eq!(damaged(&[FRAGMENT], 5, 7), DropReason::Ipv6Extension);
    let long = Recipe::new(Ip::v6().behind(&[OPTIONS; 9]), Upper::udp_to(9)).build();
    assert_eq!(check(&long), Err(DropReason::Ipv6Extension));
    assert!(check(&Recipe::new(Ip::v6().behind(&[OPTIONS; 8]), Upper::udp_to(9)).build()).is_ok());
}

#[test]
fn partial_checksums() {
    let partial = super::Interface { partial_checksums: true, ..interface() };
    for (upper, field) in [(Upper::udp_to(9), 6), (Upper::Tcp { option_words: 0 }, 16)] {
        for ip in [Ip::v4(), Ip::v6()] {
            let recipe = Recipe::new(ip, upper).payload(b"partial").padding(3);
            let whole = recipe.build();
            let parsed = check(&whole).unwrap();
            let field = usize::from(parsed.transport) + field;
            let mut frame = whole.clone();
            frame[field..field + 2].copy_from_slice(&recipe.partial().to_be_bytes());
            assert!(check(&frame).is_err());
            for known in [Unknown, Bad, Good] {
                let parsed = parse(&frame, Unknown, known, &partial).unwrap();
                assert!(parsed.partial_checksum);
                let mut completed = frame.clone();
                complete_checksum(&mut completed, &parsed);
                assert_eq!(completed, whole);
            }
            // A whole checksum is still verified, and left alone.
            let mut untouched = whole.clone();
            complete_checksum(&mut untouched, &parse(&whole, Unknown, Unknown, &partial).unwrap());
            assert_eq!(untouched, whole);
            untouched[field] ^= 1;
            assert!(parse(&untouched, Unknown, Unknown, &partial).is_err());
        }
    }
}

#[test]
fn frames_over_64_kib_do_not_wrap() {
    let payload = vec![7; 65_400];
    let frame = Recipe::new(Ip::v4(), Upper::udp_to(9)).payload(&payload).padding(5000).build();
    let parsed = check(&frame).unwrap();
    assert_eq!(usize::from(parsed.end - parsed.payload), payload.len());
    let too_long = Recipe::new(Ip::v4(), Upper::udp_to(9)).payload(&[7; 65_500]).build();
    assert_eq!(check(&too_long), Err(DropReason::IpLength));
}
