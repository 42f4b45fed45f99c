//! Deparser against parser: what nobody changed comes out as it came in, what was changed comes out valid.

mod support;

use lnic::deparser::{Exit, Refusal, deparse, enclose, into_reply};
use lnic::frame::{Checksum, Frame as _, FrameSource as _};
use lnic::lambda::extract::extract;
use lnic::matcher::Egress;
use lnic::observe::DropReason::{IpChecksum, IpHeader, IpLength, NotOurMac, UdpChecksum, UdpLength};
use lnic::parser::{self, Parsed};
use lnic::port::sim::{SimFrame, SimPool};
use lnic_abi::Headers;
use lnic_wire::rpc::Status;
use proptest::prelude::*;
use support::frames::*;
use support::lab::interface;

fn parse(frame: &[u8]) -> (Parsed, Headers) {
    let parsed =
        parser::parse(frame, Checksum::Unknown, Checksum::Unknown, &interface(0)).expect("a valid frame");
    let mut headers = Headers::default();
    extract(frame, &parsed, 1, &mut headers);
    (parsed, headers)
}

fn rewrite(
    frame: &[u8],
    egress: Egress,
    mtu: u16,
    change: impl FnOnce(&mut Headers),
    payload: &[u8],
) -> (Result<(), Refusal>, SimFrame) {
    let (parsed, mut headers) = parse(frame);
    change(&mut headers);
    let mut out = SimPool::new(1, 4096).frame(frame).expect("a frame");
    let interface = interface(0);
    let result = deparse(
        &mut out,
        &parsed,
        &headers,
        payload,
        egress,
        &Exit { interface: &interface, mtu, tx_checksum: false },
    );
    (result, out)
}

fn tcp4(payload: &[u8], options: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let mut segment = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, words << 4, 0x18, 1, 0, 0, 0, 0, 0];
    segment.extend(options);
    segment.extend(payload);
    let length = u16::try_from(segment.len()).unwrap().to_be_bytes();
    let sum = checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 6], &length, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// A frame of any shape that the parser decodes.
fn shapes() -> impl Strategy<Value = Vec<u8>> {
    let vlan = prop::option::of(0u16..0xFFFF);
    let payload = prop::collection::vec(any::<u8>(), 0..600);
    (vlan, payload, 0usize..4, 0u8..8, 1u32..9).prop_map(|(vlan, payload, options, kind, lambda)| {
        let no_operation = vec![1; options * 4];
        // Destination options, padded: type 60, then what follows.
        let extension = |next: u8| if options > 0 { vec![next, 0, 1, 4, 0, 0, 0, 0] } else { vec![] };
        let first = |next: u8| if options > 0 { 60 } else { next };
        match kind {
            0 => {
                ethernet(vlan, 0x0800, &ipv4(&no_operation, 17, &udp4(RPC_PORT, &request(lambda, &payload))))
            }
            1 => ethernet(vlan, 0x0800, &ipv4(&no_operation, 17, &udp4(9, &payload))),
            2 => ethernet(vlan, 0x0800, &ipv4(&no_operation, 6, &tcp4(&payload, &no_operation))),
            3 => ethernet(vlan, 0x0800, &ipv4(&no_operation, 47, &payload)),
            4 => {
                let datagram = udp6(RPC_PORT, &request(lambda, &payload));
                ethernet(vlan, 0x86DD, &ipv6(first(17), &extension(17), &datagram))
            }
            5 => ethernet(vlan, 0x86DD, &ipv6(first(17), &extension(17), &udp6(9, &payload))),
            6 => ethernet(vlan, 0x86DD, &ipv6(first(47), &extension(47), &payload)),
            _ => ethernet(vlan, 0x88CC, &payload),
        }
    })
}

fn payload_of(frame: &[u8]) -> Vec<u8> {
    let (parsed, _) = parse(frame);
    frame[usize::from(parsed.payload)..usize::from(parsed.end)].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn an_unchanged_frame_comes_out_as_it_came_in(frame in shapes()) {
        let payload = payload_of(&frame);
        let (result, out) = rewrite(&frame, Egress::Any, 1500, |_| {}, &payload);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(out.bytes(), &frame[..]);
    }

    #[test]
    fn a_tag_and_a_payload_can_change_and_all_else_stays(
        frame in shapes(),
        vlan in prop::option::of(0u16..4095),
        payload in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let change = |headers: &mut Headers| {
            headers.vlan.valid = u8::from(vlan.is_some());
            headers.vlan.vid = vlan.unwrap_or(0);
            headers.ethernet.source = [2, 9, 9, 9, 9, 9];
        };
        let (result, out) = rewrite(&frame, Egress::Any, 1500, change, &payload);
        prop_assert_eq!(result, Ok(()));
        let (before, after) = (parse(&frame).1, parse(out.bytes()).1);
        prop_assert_eq!(payload_of(out.bytes()), payload);
        prop_assert_eq!(after.vlan.valid != 0, vlan.is_some());
        prop_assert_eq!(after.vlan.vid, vlan.unwrap_or(0));
        prop_assert_eq!(after.ipv4.options_bytes, before.ipv4.options_bytes);
        prop_assert_eq!(after.ipv6.extension_bytes, before.ipv6.extension_bytes);
        prop_assert_eq!(after.tcp, before.tcp);
        prop_assert_eq!((after.udp.source_port, after.rpc.request_id), (before.udp.source_port, before.rpc.request_id));
    }

    #[test]
    fn any_headers_make_a_valid_frame_or_are_refused_and_the_frame_is_unchanged(
        frame in shapes(),
        noise in prop::collection::vec((0usize..160, any::<u8>()), 0..12),
        payload in prop::collection::vec(any::<u8>(), 0..1600),
        reply in any::<bool>(),
    ) {
        let mut has_udp = false;
        let change = |headers: &mut Headers| {
            for &(at, value) in &noise {
                bytemuck::bytes_of_mut(headers)[at] = value;
            }
            has_udp = headers.udp.valid != 0;
        };
        let egress = if reply { Egress::Reply } else { Egress::Any };
        let (result, out) = rewrite(&frame, egress, 1500, change, &payload);
        match result {
            Ok(()) => {
                prop_assert!(!reply, "noise made no reply");
                prop_assert!(out.bytes().len() <= 1518);
                let promiscuous = lnic::parser::Interface { promiscuous: true, ..interface(0) };
                // What the platform writes is right. What a lambda with the right to it says of its own payload, such as that
                // it begins with an extension header, may be nonsense.
                match parser::parse(out.bytes(), Checksum::Unknown, Checksum::Unknown, &promiscuous) {
                    Ok(_) => {}
                    Err(reason @ (IpLength | IpHeader | IpChecksum | NotOurMac)) => prop_assert!(false, "{}", reason),
                    Err(reason @ (UdpLength | UdpChecksum)) => prop_assert!(!has_udp, "{}", reason),
                    Err(_) => {}
                }
            }
            Err(_) => prop_assert_eq!(out.bytes(), &frame[..]),
        }
    }
}

/// The headers of the reply to `frame`.
fn turn(headers: &mut Headers) {
    into_reply(headers, Status::Ok, 0);
}

#[test]
fn a_reply_may_leave_and_nothing_else() {
    for frame in [rpc4(1, b"question"), rpc6(1, b"question")] {
        let (result, out) = rewrite(&frame, Egress::Reply, 1500, turn, b"answer");
        assert_eq!(result, Ok(()));
        assert_eq!(reply(out.bytes()).payload, b"answer");
        let elsewhere: [fn(&mut Headers); 14] = [
            |headers| headers.meta.egress_port = 1,
            |headers| headers.ethernet.destination[5] ^= 1,
            |headers| headers.vlan.valid = 1,
            |headers| headers.rpc.lambda_id ^= 1,
            |headers| headers.ipv4.source ^= 1,
            |headers| headers.ipv4.destination ^= 1,
            |headers| headers.ipv6.source[15] ^= 1,
            |headers| headers.ipv6.destination[15] ^= 1,
            |headers| headers.udp.destination_port ^= 1,
            |headers| headers.udp.source_port ^= 1,
            |headers| headers.rpc.request_id ^= 1,
            |headers| headers.rpc.kind = 0,
            |headers| headers.rpc.valid = 0,
            // Another protocol in the reply's place: a TCP reset, or a tunnel.
            |headers| {
                (headers.rpc.valid, headers.udp.valid) = (0, 0);
                (headers.ipv4.protocol, headers.ipv6.protocol) = (6, 6);
            },
        ];
        let ipv4 = parse(&frame).1.ipv4.valid != 0;
        for (case, spoof) in elsewhere.iter().enumerate() {
            if (4..6).contains(&case) && !ipv4 || (6..8).contains(&case) && ipv4 {
                continue;
            }
            let change = |headers: &mut Headers| {
                turn(headers);
                spoof(headers);
            };
            let (result, out) = rewrite(&frame, Egress::Reply, 1500, change, b"answer");
            assert_eq!(result, Err(Refusal::NotAReply), "case {case}");
            assert_eq!(out.bytes(), frame);
        }
    }
}

#[test]
fn a_reply_bears_the_ports_own_mac_whatever_the_lambda_says() {
    let change = |headers: &mut Headers| {
        turn(headers);
        headers.ethernet.source = [2, 9, 9, 9, 9, 9];
    };
    let (result, out) = rewrite(&rpc4(1, b"x"), Egress::Reply, 1500, change, b"x");
    assert_eq!(result, Ok(()));
    assert_eq!(out.bytes()[6..12], OUR_MAC);
}

#[test]
fn groups_arp_and_tcp_are_not_answered() {
    let mut from_all = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, b"x")));
    from_all[6..12].fill(0xFF);
    let to_group = {
        let group = [239, 1, 2, 3];
        let mut ip = ipv4(&[], 17, &udp(&[&PEER_IPV4, &group], PEER_PORT, 9, b"x"));
        ip[16..20].copy_from_slice(&group);
        ip[10..12].fill(0);
        let sum = checksum(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(None, 0x0800, &ip)
    };
    let inner_tag = ethernet(Some(5), 0x8100, &[0, 7, 8, 0]);
    let tcp = ethernet(None, 0x0800, &ipv4(&[], 6, &tcp4(b"x", &[])));
    for frame in [from_all, to_group, arp_request(), inner_tag, tcp] {
        let (result, out) = rewrite(&frame, Egress::Reply, 1500, turn, &payload_of(&frame));
        assert_eq!(result, Err(Refusal::NotAReply));
        assert_eq!(out.bytes(), frame);
    }
}

#[test]
fn contradictions_are_refused() {
    let frame = rpc4(1, b"x");
    let contradictions: [fn(&mut Headers); 6] = [
        |headers| headers.ipv6.valid = 1,
        |headers| headers.udp.valid = 0,
        |headers| headers.tcp.valid = 1,
        |headers| headers.ipv4.valid = 0,
        |headers| headers.rpc.kind = 9,
        |headers| (headers.udp.valid, headers.rpc.valid, headers.tcp.valid) = (0, 0, 1),
    ];
    for (case, change) in contradictions.into_iter().enumerate() {
        let (result, out) = rewrite(&frame, Egress::Any, 1500, change, b"x");
        assert_eq!(result, Err(Refusal::Headers), "case {case}");
        assert_eq!(out.bytes(), frame);
    }
}

#[test]
fn frames_over_the_mtu_or_the_buffer_are_refused() {
    let frame = rpc4(1, b"x");
    let fits = 1500 - 20 - 8 - 32;
    assert_eq!(rewrite(&frame, Egress::Reply, 1500, turn, &vec![7; fits]).0, Ok(()));
    assert_eq!(rewrite(&frame, Egress::Reply, 1500, turn, &vec![7; fits + 1]).0, Err(Refusal::TooLarge));
    let (result, out) = rewrite(&frame, Egress::Reply, 9000, turn, &[7; 5000]);
    assert_eq!(result, Err(Refusal::TooLarge));
    assert_eq!(out.bytes(), frame);
}

proptest! {
    #[test]
    fn an_enclosed_datagram_is_a_valid_frame_to_the_addresses_of_its_headers(
        v6 in any::<bool>(),
        tag in proptest::option::of(0u16..4095),
        datagram in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let request = if v6 { rpc6(1, b"x") } else { rpc4(1, b"x") };
        let (_, mut headers) = parse(&request);
        turn(&mut headers);
        if let Some(vid) = tag {
            headers.vlan = lnic_abi::Vlan { valid: 1, vid, ..lnic_abi::Vlan::default() };
        }
        let interface = interface(0);
        let exit = Exit { interface: &interface, mtu: interface.mtu, tx_checksum: false };
        // Whatever the frame held before.
        let mut out = SimPool::new(1, 2048).frame(&[0xAA; 700]).expect("a frame");
        let made = enclose(&mut out, &headers, datagram.len(), &exit, |place| {
            place.copy_from_slice(&datagram);
            Some(())
        });
        let l3_bytes = if v6 { 48 } else { 28 } + datagram.len();
        prop_assert_eq!(made.is_ok(), l3_bytes <= 1500);
        if made.is_ok() {
            // As the peer sees it: for any MAC, and nothing that a length or a checksum is wrong with.
            let peer = parser::Interface { promiscuous: true, ..interface };
            let parsed = parser::parse(out.bytes(), Checksum::Unknown, Checksum::Unknown, &peer).expect("valid");
            prop_assert_eq!(parsed.key.destination, addresses(&headers).1);
            prop_assert_eq!(parsed.key.source, addresses(&headers).0);
            prop_assert_eq!(parsed.key.destination_port, headers.udp.destination_port);
            prop_assert_eq!(&out.bytes()[usize::from(parsed.payload)..usize::from(parsed.end)], &datagram[..]);
            prop_assert_eq!(&out.bytes()[..6], &headers.ethernet.destination);
            prop_assert_eq!(&out.bytes()[6..12], &interface.mac);
            prop_assert_eq!(tag, parsed.key.present.has(parser::Present::VLAN).then_some(parsed.key.vlan));
        }
    }
}

/// Source and destination as a key has them.
fn addresses(headers: &Headers) -> (u128, u128) {
    if headers.ipv6.valid != 0 {
        return (u128::from_be_bytes(headers.ipv6.source), u128::from_be_bytes(headers.ipv6.destination));
    }
    let mapped = |address: u32| 0xFFFF << 32 | u128::from(address);
    (mapped(headers.ipv4.source), mapped(headers.ipv4.destination))
}
