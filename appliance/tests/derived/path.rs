//! The whole path by a derived plan.

use lnic::matcher::{Egress, PortRange, Rule};
use lnic::observe::DropReason;
use lnic::port::Capabilities;
use lnic_abi as abi;
use lnic_compiler::{HeaderBytes, HeaderUse};

use crate::generate::tcp;
use crate::support::frames::*;
use crate::support::lab::{Deployed, Lab, module};

/// A TCP segment to port 80, from the wire.
fn segment() -> Vec<u8> {
    ethernet(None, 0x0800, &ipv4(&[], 6, &tcp(&[&PEER_IPV4, &OUR_IPV4], 80, b"GET /")))
}

fn dropping() -> Deployed {
    Deployed::wat(&module("i32.const -1"))
}

fn wants_tcp(mut lambda: Deployed) -> Deployed {
    lambda.rules = vec![|rule| Rule { protocol: Some(6), source_port: PortRange::Exact(1), ..rule }];
    lambda
}

#[test]
fn damage_behind_the_plan_is_the_hosts_to_find() {
    let mut frame = segment();
    let last = frame.len() - 1;
    frame[last] ^= 1;
    let mut lab = Lab::new(vec![dropping()], true);
    lab.peers[0].send(&frame);
    lab.settle();
    assert_eq!(lab.received(1), [frame.clone()]);
    lab.assert_balanced();
    // With a rule that can want such frames it is looked at, and found.
    let mut lab = Lab::new(vec![wants_tcp(dropping())], true);
    lab.peers[0].send(&frame);
    lab.settle();
    assert_eq!((lab.received(1).len(), lab.dropped(DropReason::TcpChecksum)), (0, 1));
    // Without a host, nobody wants it.
    let mut lab = Lab::new(vec![dropping()], false);
    lab.peers[0].send(&frame);
    lab.settle();
    assert_eq!(lab.dropped(DropReason::Unmatched), 1);
    lab.assert_balanced();
}

#[test]
fn a_partial_checksum_is_completed_for_the_host_although_nobody_decoded_it() {
    let whole = segment();
    let mut partial = whole.clone();
    let length = u16::try_from(whole.len() - 34).unwrap().to_be_bytes();
    let sum = !checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 6], &length]);
    partial[50..52].copy_from_slice(&sum.to_be_bytes());
    let veth = |interface: &mut lnic::parser::Interface| interface.partial_checksums = true;
    for lambda in [dropping(), wants_tcp(dropping())] {
        let mut lab = Lab::with(vec![lambda], true, Capabilities::default(), veth, |port| port);
        lab.peers[0].send(&partial);
        lab.peers[0].send(&whole);
        lab.settle();
        assert_eq!(lab.received(1), [whole.clone(), whole.clone()]);
        lab.assert_balanced();
    }
}

/// Its own ARP, echo and λ-RPC are answered whatever the plan.
#[test]
fn what_is_for_the_appliance_itself_is_always_wanted() {
    let mut lab = Lab::new(vec![Deployed::from_tree("echo", "echo")], false);
    assert_eq!(lab.exchange(&arp_request()).len(), 1);
    let mut ping = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = checksum(&[&ping]);
    ping[2..4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(lab.exchange(&ethernet(Some(5), 0x0800, &ipv4(&[], 1, &ping))).len(), 1);
    assert_eq!(reply(&lab.exchange(&rpc4(1, b"four"))[0]).payload, b"four");
    assert_eq!(reply(&lab.exchange(&rpc6(1, b"six"))[0]).payload, b"six");
}

/// Bytes of `EXTRACTED_HEADERS_T` from `start`.
fn bytes(start: usize, count: usize) -> HeaderBytes {
    let mut bytes = HeaderBytes::NONE;
    bytes.insert(start..start + count);
    bytes
}

const TTL: usize = std::mem::offset_of!(abi::Headers, ipv4) + std::mem::offset_of!(abi::Ipv4, ttl);

/// Sets the time to live and forwards; `before` comes first.
fn forwarder(import: &str, before: &str, written: HeaderBytes) -> Deployed {
    let text = module(&format!(
        "{before} (i32.store8 offset={TTL} (local.get $headers) (i32.const 9)) (i32.const 0)"
    ));
    let mut lambda = Deployed::wat(&text.replacen("(module", &format!("(module {import}"), 1));
    lambda.rules = vec![|rule| Rule { destination_port: PortRange::Inclusive(9, 80), ..rule }];
    lambda.egress = Egress::Any;
    lambda.header_use = HeaderUse { read: HeaderBytes::NONE, written };
    lambda
}

fn frames() -> [Vec<u8>; 4] {
    [
        segment(),
        ethernet(Some(7), 0x0800, &ipv4(&[1, 1, 1, 1], 17, &udp4(9, b"datagram"))),
        rpc4(1, b"request"),
        ethernet(None, 0x86DD, &ipv6(17, &[], &udp6(10, b"six"))),
    ]
}

fn left(lambda: Deployed, setup_calls: bool) -> Vec<Vec<u8>> {
    let setup = crate::support::lab::Setup {
        stock: lnic::path::Stock { jobs: 8, calls: if setup_calls { 8 } else { 0 } },
        ..Default::default()
    };
    let mut lab = Lab::of(vec![lambda], setup);
    let left = frames().iter().flat_map(|frame| lab.exchange(frame)).collect();
    lab.assert_balanced();
    left
}

#[test]
fn headers_that_a_lambda_never_touches_leave_as_they_came() {
    let all = left(forwarder("", "", HeaderBytes::all()), false);
    let mut idle = forwarder("", "(return (i32.const 0))", HeaderBytes::NONE);
    idle.header_use = HeaderUse::all();
    assert_eq!(all.len(), 4);
    assert_eq!(left(forwarder("", "", bytes(TTL, 1)), false), all);
    // It writes more than it says: the headers that came count.
    assert_eq!(left(forwarder("", "", HeaderBytes::NONE), false), left(idle, false));
}

#[test]
fn they_do_so_when_it_has_waited_for_a_call() {
    let import = r#"(import "lnic" "call" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let call = "(drop (call $call (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 50)))";
    let all = left(forwarder(import, call, HeaderBytes::all()), true);
    assert_eq!(all, left(forwarder("", "", HeaderBytes::all()), false));
    assert_eq!(left(forwarder(import, call, bytes(TTL, 1)), true), all);
}

#[test]
fn a_lambda_sees_zeros_where_it_said_that_it_does_not_look() {
    // Its payload leaves as the headers that it saw.
    let dump = format!(
        "(memory.copy (i32.load (local.get $match)) (local.get $headers) (i32.const {bytes}))
         (i32.store offset=4 (local.get $match) (i32.const {bytes}))",
        bytes = size_of::<abi::Headers>()
    );
    let datagram = |payload: &[u8]| ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, payload)));
    let seen = |touched: HeaderBytes, frame: &[u8]| {
        let mut lab = Lab::new(vec![forwarder("", &dump, touched)], false);
        // What an earlier frame left in its memory must not show.
        lab.exchange(&rpc4(1, &[0xEE; 200]));
        lab.exchange(&datagram(&[0xEE; 200]));
        let out = lab.exchange(frame);
        out[0][42..].to_vec()
    };
    assert_eq!(seen(bytes(TTL, 0), &datagram(b"x")), [0; size_of::<abi::Headers>()]);
    let some = seen(bytes(TTL, 1), &datagram(b"x"));
    let all = seen(HeaderBytes::all(), &datagram(b"x"));
    let ipv4 = std::mem::offset_of!(abi::Headers, ipv4)..std::mem::offset_of!(abi::Headers, ipv6);
    assert_eq!((some[ipv4.clone()].to_vec(), some[TTL]), (all[ipv4.clone()].to_vec(), 64));
    assert!(some.iter().enumerate().all(|(at, &byte)| byte == 0 || ipv4.contains(&at)));
    assert!(all[..ipv4.start].iter().any(|&byte| byte != 0));
}
