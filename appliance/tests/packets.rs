//! Packet scripts: one frame in, what must come out. Frames are made byte by byte, replies are checked field by field.

mod support;

use lnic::frame::{Checksum, Frame as _, FrameSource as _};
use lnic::matcher::{Egress, PortRange, Prefix, Rule, VlanMatch};
use lnic::observe::DropReason;
use lnic::path::Stock;
use lnic::port::Capabilities;
use lnic_wire::rpc::{self, Kind, Status};
use support::caller::Caller;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup, module};
use support::messages::MessageSetup;

const ECHO: u32 = 1;

fn echo() -> Lab {
    Lab::new(vec![Deployed::from_tree("echo", "echo")], false)
}

/// One that takes messages too, if the lambda had slots.
fn with_messages(lambda: Deployed) -> Lab {
    let stock = Stock { jobs: 4, calls: 0 };
    Lab::of(vec![lambda], Setup { messages: Some(MessageSetup::default()), stock, ..Setup::default() })
}

#[test]
fn echo_answers_over_ipv4_and_ipv6() {
    let mut lab = echo();
    for frame in [rpc4(ECHO, b"hello, lambda"), rpc6(ECHO, b"hello, lambda")] {
        let replies = lab.exchange(&frame);
        assert_eq!(replies.len(), 1);
        let reply = reply(&replies[0]);
        assert_eq!(reply.header.kind, Kind::Reply);
        assert_eq!(reply.header.status(), Status::Ok);
        assert_eq!(reply.header.lambda, ECHO);
        assert_eq!(reply.payload, b"hello, lambda");
    }
    lab.assert_balanced();
}

#[test]
fn payloads_of_every_length_come_back() {
    let mut lab = echo();
    let payload: Vec<u8> = (0..=255u8).cycle().take(1440).collect();
    for length in (0..64).chain([100, 511, 512, 1000, 1023, 1024]) {
        let frame = rpc4(ECHO, &payload[..length]);
        assert_eq!(reply(&lab.exchange(&frame)[0]).payload, payload[..length], "{length}");
    }
    // The largest that a 1,500-byte MTU holds, in one fragment.
    let large = request_with(ECHO, &payload, |header| header.fragment_bytes = 1440);
    let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &large)));
    assert_eq!(reply(&lab.exchange(&frame)[0]).payload, payload);
    lab.assert_balanced();
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut lab = echo();
    let mut frame = rpc4(ECHO, b"x");
    frame.resize(frame.len() + 18, 0xEE);
    assert_eq!(reply(&lab.exchange(&frame)[0]).payload, b"x");
}

#[test]
fn vlan_tags_are_kept_and_options_and_extension_headers_are_not() {
    let mut lab = echo();
    let datagram = udp4(RPC_PORT, &request(ECHO, b"tagged"));
    let tagged = ethernet(Some(0xA005), 0x0800, &ipv4(&[], 17, &datagram));
    let got = reply(&lab.exchange(&tagged)[0]);
    assert_eq!((got.vlan, &got.payload[..]), (Some(0xA005), &b"tagged"[..]));

    let options = ethernet(None, 0x0800, &ipv4(&[1, 1, 1, 0], 17, &datagram));
    let replies = lab.exchange(&options);
    assert_eq!(reply(&replies[0]).payload, b"tagged");
    assert_eq!(replies[0][14] & 15, 5, "IPv4 header without its option");
    let source_route = [131, 7, 4, 192, 0, 2, 66, 1];
    let routed = ethernet(None, 0x0800, &ipv4(&source_route, 17, &datagram));
    assert!(lab.exchange(&routed).is_empty());
    assert_eq!(lab.dropped(DropReason::SourceRoute), 1);

    let hop_by_hop = [17, 0, 1, 4, 0, 0, 0, 0];
    let frame = ethernet(None, 0x86DD, &ipv6(0, &hop_by_hop, &udp6(RPC_PORT, &request(ECHO, b"ext"))));
    let replies = lab.exchange(&frame);
    assert_eq!(reply(&replies[0]).payload, b"ext");
    assert_eq!(replies[0][20], 17, "IPv6 header without its extension headers");
    lab.assert_balanced();
}

#[test]
fn web_server_serves_pages_and_404() {
    let mut lab = with_messages(Deployed::from_tree("web-server", "web_server"));
    // The page is more than three times its request: who asks shows a cookie.
    let mut caller = Caller::new(PEER_PORT);
    let (status, page) = caller.ask(&mut lab, 1, b"GET /");
    assert_eq!(status, Status::Ok);
    assert!(page.starts_with(b"<!doctype html>"));
    assert!(caller.ask(&mut lab, 1, &0u32.to_be_bytes()) == (Status::Ok, page));
    assert_eq!(lab.counters.challenged.get(), 1);
    for unknown in [&b"GET /nothing"[..], &u32::MAX.to_be_bytes()] {
        let missing = reply(&lab.exchange(&rpc4(1, unknown))[0]);
        assert_eq!(missing.header.status(), Status::NotFound, "{unknown:?}");
    }
    for nonsense in [&b""[..], b"\xff", b"GET", b"GET x", b"GET /%", b"GET /../x", &[b'A'; 1024]] {
        let refused = reply(&lab.exchange(&rpc4(1, nonsense))[0]);
        assert_eq!(refused.header.status(), Status::InvalidArgument, "{nonsense:?}");
    }
    lab.assert_balanced();
}

#[test]
fn damaged_requests_are_dropped_by_name() {
    let mut lab = with_messages(Deployed::from_tree("echo", "echo"));
    let good = request(ECHO, b"payload");
    let damage = |lab: &mut Lab, at: usize, value: u8, reason: DropReason| {
        let mut datagram = good.clone();
        datagram[at] = value;
        let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &datagram)));
        let before = lab.dropped(reason);
        assert!(lab.exchange(&frame).is_empty(), "{reason}");
        assert_eq!(lab.dropped(reason), before + 1, "{reason}");
    };
    damage(&mut lab, 0, 0xA2, DropReason::RpcVersion);
    damage(&mut lab, 0, 0x01, DropReason::RpcVersion);
    damage(&mut lab, 1, 0x94, DropReason::RpcHeader);
    damage(&mut lab, 1, 0x03, DropReason::RpcHeader);
    damage(&mut lab, 1, 0x0F, DropReason::RpcTruncated);
    damage(&mut lab, 31, good[31] ^ 1, DropReason::RpcCrc);
    damage(&mut lab, 35, good[35] ^ 1, DropReason::RpcCrc);

    let frame_of = |datagram: &[u8]| ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, datagram)));
    let lengths = request_with(ECHO, b"payload", |header| header.message_length = 8);
    assert!(lab.exchange(&frame_of(&lengths)).is_empty());
    assert_eq!(lab.dropped(DropReason::RpcLength), 1);
    for kind in [Kind::Reply, Kind::Challenge, Kind::Ack, Kind::Pong, Kind::Cancel] {
        let other = request_with(ECHO, b"payload", |header| header.kind = kind);
        assert!(lab.exchange(&frame_of(&other)).is_empty(), "{kind:?}");
    }
    assert_eq!(lab.dropped(DropReason::RpcType), 3);
    assert_eq!(lab.dropped(DropReason::MessageUnknown), 2);
    // Who waits for more of a reply is told that there is none.
    for kind in [Kind::Nack, Kind::Grant] {
        let other = request_with(ECHO, b"", |header| header.kind = kind);
        assert_eq!(
            reply(&lab.exchange(&frame_of(&other))[0]).header.status(),
            Status::UnknownRpc,
            "{kind:?}"
        );
    }

    let mut checksum = rpc4(ECHO, b"payload");
    *checksum.last_mut().unwrap() ^= 1;
    assert!(lab.exchange(&checksum).is_empty());
    assert_eq!(lab.dropped(DropReason::UdpChecksum), 1);
    lab.assert_balanced();
}

#[test]
fn every_truncation_is_dropped_and_counted() {
    let mut lab = echo();
    for whole in [rpc4(ECHO, b"hello, lambda"), rpc6(ECHO, b"hello, lambda")] {
        for length in 0..whole.len() {
            let before = lab.counters.dropped_total();
            assert!(lab.exchange(&whole[..length]).is_empty(), "{length}");
            assert_eq!(lab.counters.dropped_total(), before + 1, "{length}");
        }
    }
    lab.assert_balanced();
}

#[test]
fn requests_that_cannot_be_served_are_answered() {
    let mut lab = with_messages(Deployed::from_tree("echo", "echo"));
    let unknown = reply(&lab.exchange(&rpc4(99, b"anybody?"))[0]);
    assert_eq!(unknown.header.status(), Status::Unimplemented);
    assert!(unknown.payload.is_empty());
    let several = request_with(ECHO, &[7; 1024], |header| header.message_length = 5000);
    let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &several)));
    assert_eq!(reply(&lab.exchange(&frame)[0]).header.kind, Kind::Challenge);
    let several = Caller::new(PEER_PORT).ask(&mut lab, ECHO, &[7; 5000]);
    assert_eq!(several, (Status::Unimplemented, Vec::new()), "it has no slots");
    let busy_flags = |header: &mut rpc::Header| header.flags |= rpc::RTX | rpc::IDEMPOTENT | rpc::CE | 3;
    let unknown = request_with(99, b"flags", busy_flags);
    let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &unknown)));
    assert_eq!(reply(&lab.exchange(&frame)[0]).header.flags, rpc::CRC | 3);
    let ping = request_with(0, &[0; 200], |header| header.kind = Kind::Ping);
    let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &ping)));
    let pong = reply(&lab.exchange(&frame)[0]);
    assert_eq!((pong.header.kind, pong.payload.len()), (Kind::Pong, 0));
    lab.assert_balanced();
}

#[test]
fn no_reply_means_none() {
    let mut lab = echo();
    for lambda in [ECHO, 99] {
        let quiet = request_with(lambda, b"quiet", |header| header.flags |= rpc::NOREPLY);
        let frame = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &quiet)));
        assert!(lab.exchange(&frame).is_empty());
    }
    let ping = request_with(0, b"", |header| {
        header.kind = Kind::Ping;
        header.flags |= rpc::NOREPLY;
    });
    assert!(lab.exchange(&ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &ping)))).is_empty());
    assert_eq!(lab.dropped(DropReason::RpcNoReply), 3);
    assert_eq!(lab.counters.lambda(Default::default()).unwrap().invocations.get(), 1);
    lab.assert_balanced();
}

#[test]
fn sources_that_are_not_one_host_are_not_answered() {
    let mut lab = echo();
    for source in
        [[255, 255, 255, 255], [224, 0, 0, 1], [0, 0, 0, 0], [239, 1, 2, 3], [127, 0, 0, 1], OUR_IPV4]
    {
        let datagram = udp(&[&source, &OUR_IPV4], PEER_PORT, RPC_PORT, &request(ECHO, b"x"));
        let mut ip = ipv4(&[], 17, &datagram);
        ip[12..16].copy_from_slice(&source);
        ip[10..12].fill(0);
        let sum = checksum(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        assert!(lab.exchange(&ethernet(None, 0x0800, &ip)).is_empty(), "{source:?}");
    }
    let mut broadcast = rpc4(ECHO, b"x");
    broadcast[6..12].fill(0xFF);
    assert!(lab.exchange(&broadcast).is_empty());
    assert_eq!(lab.dropped(DropReason::SourceAddress), 7);
    lab.assert_balanced();
}

#[test]
fn lambdas_that_fail_cost_an_error_status() {
    let cases = [
        ("unreachable", Status::Internal),
        ("(loop $again (br $again)) i32.const 0", Status::ResourceExhausted),
        ("i32.const 2", Status::Internal),
        ("i32.const 77", Status::Internal),
        // FORWARD with the request as it came: that is no reply, and it may go nowhere else.
        ("i32.const 0", Status::Internal),
        // A payload longer than a frame.
        ("(i32.store offset=4 (local.get $match) (i32.const 2000)) i32.const 0", Status::Internal),
        ("(i32.store offset=4 (local.get $match) (i32.const -1)) i32.const 0", Status::Internal),
    ];
    let mut lab = Lab::new(cases.iter().map(|case| Deployed::wat(&module(case.0))).collect(), false);
    for round in 0..3 {
        for (id, (body, status)) in (1u32..).zip(cases) {
            let got = reply(&lab.exchange(&rpc4(id, b"x"))[0]);
            assert_eq!(got.header.status(), status, "{body}, round {round}");
        }
    }
    lab.assert_balanced();
}

#[test]
fn a_lambda_can_drop_and_hand_to_the_host() {
    let lambdas = vec![Deployed::wat(&module("i32.const -1")), Deployed::wat(&module("i32.const 1"))];
    let mut lab = Lab::new(lambdas, true);
    assert!(lab.exchange(&rpc4(1, b"x")).is_empty());
    assert_eq!(lab.dropped(DropReason::LambdaDrop), 1);
    let frame = rpc4(2, b"for the host");
    assert!(lab.exchange(&frame).is_empty());
    assert_eq!(lab.received(1), [frame], "unchanged");
    lab.assert_balanced();
}

#[test]
fn what_no_rule_wants_goes_to_the_host_and_back() {
    let mut lab = Lab::new(vec![Deployed::from_tree("echo", "echo")], true);
    let strange = ethernet(None, 0x88CC, b"LLDP or so");
    let tcp_less = ethernet(None, 0x0800, &ipv4(&[], 47, b"GRE or so"));
    for frame in [&strange, &tcp_less] {
        assert!(lab.exchange(frame).is_empty());
        assert_eq!(lab.received(1), std::slice::from_ref(frame));
    }
    assert!(lab.peers[1].send(&strange));
    lab.settle();
    assert_eq!(lab.received(0), [strange]);
    lab.assert_balanced();

    let mut alone = echo();
    assert!(alone.exchange(&ethernet(None, 0x88CC, b"LLDP or so")).is_empty());
    assert_eq!(alone.dropped(DropReason::Unmatched), 1);
}

#[test]
fn rules_on_addresses_and_ports_reach_lambdas_without_rpc() {
    let mut deployed = Deployed::from_tree("echo", "echo");
    deployed.rules = vec![|rule| Rule {
        protocol: Some(17),
        destination_port: PortRange::Inclusive(7, 9),
        source: Some("10.77.0.0/16".parse::<Prefix>().unwrap()),
        vlan: VlanMatch::Untagged,
        ..rule
    }];
    let mut lab = Lab::new(vec![deployed], false);
    let replies = lab.exchange(&ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(7, b"old echo"))));
    assert_eq!(replies.len(), 1);
    let udp = &replies[0][34..];
    assert_eq!((&udp[..4], &udp[8..]), (&[0, 7, 0xC3, 0x50][..], &b"old echo"[..]));
    for (vlan, port) in [(None, 10), (Some(5), 7)] {
        assert!(lab.exchange(&ethernet(vlan, 0x0800, &ipv4(&[], 17, &udp4(port, b"no")))).is_empty());
    }
    assert_eq!(lab.dropped(DropReason::Unmatched), 2);
    lab.assert_balanced();
}

#[test]
fn checksums_that_the_port_has_judged_are_believed() {
    let mut lab = echo();
    let mut wrong = rpc4(ECHO, b"x");
    wrong[40..42].copy_from_slice(&[0xBA, 0xAD]);
    let mut send = |judged: Checksum| {
        let mut frame = lab.pool.frame(&wrong).unwrap();
        frame.l4_checksum = judged;
        lab.peers[0].send_frame(frame);
        lab.settle();
        lab.received(0).len()
    };
    assert_eq!([send(Checksum::Unknown), send(Checksum::Good), send(Checksum::Bad)], [0, 1, 0]);
    assert_eq!(lab.dropped(DropReason::UdpChecksum), 2);
}

#[test]
fn partial_checksums_of_virtual_peers_are_taken_where_allowed() {
    let mut frame = rpc4(ECHO, b"partial");
    let udp_bytes = u16::try_from(frame.len() - 34).unwrap();
    let pseudo = !checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 17], &udp_bytes.to_be_bytes()]);
    frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let lambdas = || vec![Deployed::from_tree("echo", "echo")];
    let mut strict = Lab::new(lambdas(), false);
    assert!(strict.exchange(&frame).is_empty());
    let lenient = |interface: &mut lnic::parser::Interface| interface.partial_checksums = true;
    let mut lenient = Lab::with(lambdas(), false, Capabilities::default(), lenient, |port| port);
    assert_eq!(reply(&lenient.exchange(&frame)[0]).payload, b"partial");
}

#[test]
fn a_partial_checksum_is_completed_on_the_way_to_the_host() {
    let whole = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(53, b"for the host")));
    let mut partial = whole.clone();
    let udp_bytes = u16::try_from(whole.len() - 34).unwrap();
    let pseudo = !checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 17], &udp_bytes.to_be_bytes()]);
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let lenient = |interface: &mut lnic::parser::Interface| interface.partial_checksums = true;
    let mut lab = Lab::with(vec![], true, Capabilities::default(), lenient, |port| port);
    assert!(lab.exchange(&partial).is_empty());
    assert_eq!(lab.received(1), [whole]);
    lab.assert_balanced();
}

#[test]
fn a_partial_checksum_of_the_host_is_completed_on_the_way_out() {
    let mut whole = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(53, b"from the host")));
    // To somebody behind the wire, from the host's own MAC.
    whole[..12].copy_from_slice(&[[2, 7, 7, 7, 7, 7], [2, 8, 8, 8, 8, 8]].concat());
    let mut partial = whole.clone();
    let udp_bytes = u16::try_from(whole.len() - 34).unwrap();
    let pseudo = !checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 17], &udp_bytes.to_be_bytes()]);
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let nonsense = vec![0xAA; 40];
    let lenient = |interface: &mut lnic::parser::Interface| interface.partial_checksums = true;
    let mut lab = Lab::with(vec![], true, Capabilities::default(), lenient, |port| port);
    for frame in [&partial, &nonsense] {
        assert!(lab.peers[1].send(frame));
    }
    lab.settle();
    assert_eq!(lab.received(0), [whole, nonsense]);
    lab.assert_balanced();
}

#[test]
fn an_echo_of_nothing_but_zeros_has_a_right_checksum() {
    let mut lab = Lab::new(vec![], false);
    let mut request = vec![8, 0, 0, 0, 0, 0, 0, 0];
    let sum = checksum(&[&request]);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    let replies = lab.exchange(&ethernet(None, 0x0800, &ipv4(&[], 1, &request)));
    assert_eq!(replies[0][34..], [0, 0, 0xFF, 0xFF, 0, 0, 0, 0]);
}

#[test]
fn a_lambda_does_not_answer_groups_for_anybody() {
    let mut deployed = Deployed::from_tree("echo", "echo");
    deployed.rules = vec![|rule| Rule { protocol: Some(17), ..rule }];
    let mut lab = Lab::new(vec![deployed], false);
    let good = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(7, b"x")));
    assert_eq!(lab.exchange(&good).len(), 1);
    let mut forged = good;
    forged[6..12].fill(0xFF);
    assert!(lab.exchange(&forged).is_empty());
    assert_eq!(lab.dropped(DropReason::LambdaVerdict), 1);
    lab.assert_balanced();
}

#[test]
fn a_port_that_makes_checksums_is_asked_to() {
    let capabilities = Capabilities { tx_checksum: true, ..Capabilities::default() };
    let mut lab =
        Lab::with(vec![Deployed::from_tree("echo", "echo")], false, capabilities, |_| {}, |port| port);
    assert!(lab.peers[0].send(&rpc4(ECHO, b"offload")));
    lab.settle();
    let frame = lab.peers[0].receive().unwrap();
    let asked = frame.offload.expect("offload");
    assert_eq!((asked.l2_bytes, asked.l3_bytes, asked.ipv4, asked.udp), (14, 20, true, true));
    // What a card does: sums the datagram over the pseudo-header's sum that lies in the field.
    let mut bytes = frame.bytes().to_vec();
    let ip_sum = checksum(&[&bytes[14..34]]);
    bytes[24..26].copy_from_slice(&ip_sum.to_be_bytes());
    let udp_sum = checksum(&[&bytes[34..]]);
    bytes[40..42].copy_from_slice(&udp_sum.to_be_bytes());
    assert_eq!(reply(&bytes).payload, b"offload");
}

#[test]
fn a_full_port_drops_by_name() {
    let mut lab = echo();
    lab.peers[0].set_room(3);
    for _ in 0..10 {
        assert!(lab.peers[0].send(&rpc4(ECHO, b"x")));
    }
    lab.settle();
    assert_eq!(lab.received(0).len(), 3);
    assert_eq!(lab.dropped(DropReason::TxFull), 7);
    lab.assert_balanced();
}

#[test]
fn a_lambda_with_the_right_to_may_send_elsewhere() {
    // Clears the VLAN tag and halves the payload: what leaves is still addressed as it came.
    let body = "(i32.store8 offset=64 (local.get $headers) (i32.const 0))
                (i32.store offset=4 (local.get $match) (i32.const 4)) i32.const 0";
    let mut deployed = Deployed::wat(&module(body));
    deployed.egress = Egress::Any;
    deployed.rules = vec![|rule| Rule { destination_port: PortRange::Exact(9), ..rule }];
    let mut lab = Lab::new(vec![deployed], false);
    let options = [1, 1, 1, 0];
    let replies = lab.exchange(&ethernet(Some(5), 0x0800, &ipv4(&options, 17, &udp4(9, b"12345678"))));
    let untagged = ethernet(None, 0x0800, &ipv4(&options, 17, &udp4(9, b"1234")));
    assert_eq!(replies, [untagged]);
    lab.assert_balanced();
}
