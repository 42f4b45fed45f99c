//! Properties that every protocol holds: `parse` after `emit` is identity, and no bytes make a view panic.

use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::{
    arp, checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ipv6_extension, ndp, protocol, tcp, udp, vlan,
};

fn ipv4_address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn ipv6_address() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

/// A buffer that was used before: emit must overwrite all of its header.
fn dirty(header_bytes: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xA5; header_bytes];
    bytes.extend_from_slice(payload);
    bytes
}

proptest! {
    #[test]
    fn ethernet_and_vlan(destination: [u8; 6], source: [u8; 6], ether_type: u16, priority in 0u8..8,
                         drop_eligible: bool, vid in 0u16..4096) {
        let repr = ethernet::Repr { destination, source, ether_type };
        let mut bytes = dirty(ethernet::HEADER_BYTES, &[]);
        repr.emit(&mut bytes);
        prop_assert_eq!(ethernet::Repr::parse(&ethernet::Frame::new_checked(&bytes[..]).unwrap()), repr);

        let repr = vlan::Repr { priority, drop_eligible, vid, ether_type };
        let mut bytes = dirty(vlan::HEADER_BYTES, &[]);
        repr.emit(&mut bytes);
        prop_assert_eq!(vlan::Repr::parse(&vlan::Packet::new_checked(&bytes[..]).unwrap()), repr);
    }

    #[test]
    fn arp(operation in 1u16..3, source_mac: [u8; 6], source_ipv4 in ipv4_address(), target_mac: [u8; 6],
           target_ipv4 in ipv4_address()) {
        let repr = arp::Repr { operation, source_mac, source_ipv4, target_mac, target_ipv4 };
        let mut bytes = dirty(arp::PACKET_BYTES, &[]);
        repr.emit(&mut bytes);
        prop_assert_eq!(arp::Repr::parse(&arp::Packet::new_checked(&bytes[..]).unwrap()), Ok(repr));
    }

    #[test]
    fn ipv4(source in ipv4_address(), destination in ipv4_address(), protocol: u8, traffic_class: u8,
            identification: u16, dont_fragment: bool, ttl: u8, payload in payload()) {
        let repr = ipv4::Repr {
            source, destination, protocol, traffic_class, identification, dont_fragment, ttl,
            payload_bytes: payload.len() as u16,
        };
        let mut bytes = dirty(ipv4::HEADER_BYTES, &payload);
        repr.emit(&mut bytes);
        bytes.extend([0; 3]);
        let packet = ipv4::Packet::new_checked(&bytes[..]).unwrap();
        prop_assert_eq!(ipv4::Repr::parse(&packet), Ok(repr));
        prop_assert_eq!(packet.payload(), &payload[..]);
        let mut packet = ipv4::Packet::new_checked(bytes.clone()).unwrap();
        packet.set_ttl(ttl.wrapping_add(1));
        prop_assert!(!packet.verify_checksum());
        packet.fill_checksum();
        prop_assert!(packet.verify_checksum());
    }

    #[test]
    fn ipv6(source in ipv6_address(), destination in ipv6_address(), next_header: u8, hop_limit: u8,
            traffic_class: u8, flow_label in 0u32..1 << 20, payload in payload()) {
        let repr = ipv6::Repr {
            source, destination, next_header, hop_limit, traffic_class, flow_label,
            payload_bytes: payload.len() as u16,
        };
        let mut bytes = dirty(ipv6::HEADER_BYTES, &payload);
        repr.emit(&mut bytes);
        bytes.extend([0; 3]);
        let packet = ipv6::Packet::new_checked(&bytes[..]).unwrap();
        prop_assert_eq!(ipv6::Repr::parse(&packet), repr);
        prop_assert_eq!(packet.payload(), &payload[..]);
    }

    #[test]
    fn ipv6_extension_headers(next_header: u8, length in 0u8..32, offset in 0u16..8192, more_fragments: bool,
                              identification: u32) {
        let repr = ipv6_extension::PaddingRepr { next_header, length };
        let mut bytes = dirty(repr.header_bytes(), &[]);
        repr.emit(&mut bytes);
        let header = ipv6_extension::Header::new_checked(protocol::HOP_BY_HOP, &bytes[..]).unwrap();
        prop_assert_eq!(header.header_bytes(), bytes.len());
        prop_assert_eq!(ipv6_extension::PaddingRepr::parse(&header), Ok(repr));

        let offset_bytes = offset * 8;
        let repr = ipv6_extension::FragmentRepr { next_header, offset_bytes, more_fragments, identification };
        let mut bytes = dirty(ipv6_extension::HEADER_BYTES, &[]);
        repr.emit(&mut bytes);
        let header = ipv6_extension::Fragment::new_checked(&bytes[..]).unwrap();
        prop_assert_eq!(ipv6_extension::FragmentRepr::parse(&header), repr);
    }

    #[test]
    fn udp(source in ipv4_address(), destination in ipv4_address(), source_port: u16, destination_port: u16,
           payload in payload()) {
        let repr = udp::Repr { source_port, destination_port };
        let mut bytes = dirty(udp::HEADER_BYTES, &payload);
        let pseudo = checksum::pseudo_ipv4(source, destination, protocol::UDP, bytes.len() as u16);
        repr.emit(&mut bytes, pseudo);
        bytes.extend([1, 2, 3]);
        let packet = udp::Packet::new_checked(&bytes[..]).unwrap();
        prop_assert_eq!(udp::Repr::parse(&packet, pseudo, false), Ok(repr));
        prop_assert_eq!(packet.payload(), &payload[..]);
        prop_assert_ne!(packet.checksum(), 0);
    }

    #[test]
    fn echo(identifier: u16, sequence: u16, payload in payload(), pseudo in 0u64..1 << 40) {
        for repr in [icmpv4::Repr::EchoRequest { identifier, sequence }, icmpv4::Repr::EchoReply { identifier, sequence }] {
            let mut bytes = dirty(icmpv4::HEADER_BYTES, &payload);
            repr.emit(&mut bytes);
            prop_assert_eq!(icmpv4::Repr::parse(&icmpv4::Packet::new_checked(&bytes[..]).unwrap()), Ok(repr));
        }
        for repr in [icmpv6::Repr::EchoRequest { identifier, sequence }, icmpv6::Repr::EchoReply { identifier, sequence }] {
            let mut bytes = dirty(icmpv6::HEADER_BYTES, &payload);
            repr.emit(&mut bytes, pseudo);
            let packet = icmpv6::Packet::new_checked(&bytes[..]).unwrap();
            prop_assert_eq!(icmpv6::Repr::parse(&packet, pseudo), Ok(repr));
        }
    }

    #[test]
    fn neighbour_discovery(target in ipv6_address(), link: Option<[u8; 6]>, router: bool, solicited: bool,
                           overrides: bool, pseudo in 0u64..1 << 40) {
        prop_assume!(!target.is_multicast());
        for repr in [
            ndp::Repr::Solicitation { target, source_link: link },
            ndp::Repr::Advertisement { router, solicited, overrides, target, target_link: link },
        ] {
            let mut bytes = dirty(repr.message_bytes(), &[]);
            repr.emit(&mut bytes, pseudo);
            prop_assert_eq!(ndp::Repr::parse(&ndp::Packet::new_checked(&bytes[..]).unwrap(), pseudo), Ok(repr));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..128), first: u8, number: u8) {
        touch(&mut bytes, number);
        // Plausible first bytes get further.
        for likely in [first, 0x45, 0x4F, 0x60, 135, 136] {
            if let Some(byte) = bytes.first_mut() {
                *byte = likely;
            }
            touch(&mut bytes, number);
        }
    }
}

/// Calls every accessor of every view that takes the bytes.
fn touch(bytes: &mut [u8], number: u8) {
    if let Ok(mut view) = ethernet::Frame::new_checked(&mut bytes[..]) {
        let repr = ethernet::Repr::parse(&view);
        let _ = view.payload();
        view.set_destination(repr.destination);
        view.set_source(repr.source);
        view.set_ether_type(repr.ether_type);
        let _ = view.payload_mut();
    }
    if let Ok(view) = vlan::Packet::new_checked(&bytes[..]) {
        let _ = (vlan::Repr::parse(&view), view.payload());
    }
    if let Ok(view) = arp::Packet::new_checked(&bytes[..]) {
        let _ = arp::Repr::parse(&view);
    }
    if let Ok(mut view) = ipv4::Packet::new_checked(&mut bytes[..]) {
        let _ = (ipv4::Repr::parse(&view), view.options().count(), view.payload().len(), view.checksum());
        let _ = view.payload_mut().len();
    }
    if let Ok(mut view) = ipv6::Packet::new_checked(&mut bytes[..]) {
        let _ = (ipv6::Repr::parse(&view), view.payload().len());
        let _ = view.payload_mut().len();
    }
    if let Ok(chain) = ipv6_extension::skip(number, bytes) {
        assert!(chain.bytes <= bytes.len());
    }
    if let Ok(view) = ipv6_extension::Header::new_checked(number, &bytes[..]) {
        let _ = (ipv6_extension::PaddingRepr::parse(&view), view.segments_left(), view.payload());
    }
    if let Ok(view) = ipv6_extension::Fragment::new_checked(&bytes[..]) {
        let _ = (ipv6_extension::FragmentRepr::parse(&view), view.payload());
    }
    if let Ok(view) = icmpv4::Packet::new_checked(&bytes[..]) {
        let _ = (icmpv4::Repr::parse(&view), view.payload(), view.checksum());
    }
    if let Ok(view) = icmpv6::Packet::new_checked(&bytes[..]) {
        let _ = (icmpv6::Repr::parse(&view, 0), view.payload(), view.checksum());
    }
    if let Ok(view) = ndp::Packet::new_checked(&bytes[..]) {
        let _ = (ndp::Repr::parse(&view, 0), view.link(ndp::SOURCE_LINK), view.link(ndp::TARGET_LINK));
    }
    if let Ok(mut view) = udp::Packet::new_checked(&mut bytes[..]) {
        let _ = (udp::Repr::parse(&view, 0, true), view.payload());
        let _ = view.payload_mut();
    }
    if let Ok(view) = tcp::Packet::new_checked(&bytes[..]) {
        let _ = (view.flags(), view.window(), view.sequence(), view.acknowledgement());
        let _ = (view.verify_checksum(0), view.payload(), view.source_port(), view.destination_port());
    }
}
