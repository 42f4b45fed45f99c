//! Rules for what comes from the host's side: whom they match, where verdicts lead, and that all else leaves as ever.

#![allow(unreachable_pub, reason = "parts of one test")]

mod support;

use lnic::ids::PortId;
use lnic::matcher::{PortRange, Rule, Side};
use lnic::observe::DropReason;
use lnic::path::Stock;
use lnic::port::Capabilities;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup, module};

/// Datagrams to port 53 that the host sends.
fn dns_of_the_host(rule: Rule) -> Rule {
    Rule { side: Side::Host, protocol: Some(17), destination_port: PortRange::Exact(53), ..rule }
}

fn with_rule(lambda: Deployed, rule: fn(Rule) -> Rule) -> Deployed {
    Deployed { rules: vec![rule], ..lambda }
}

fn verdict(verdict: &str) -> Deployed {
    with_rule(Deployed::wat(&module(verdict)), dns_of_the_host)
}

fn echo() -> Deployed {
    with_rule(Deployed::from_tree("echo", "echo"), dns_of_the_host)
}

/// Jobs are what such frames become.
fn setups() -> Vec<Setup> {
    let stock = Stock { jobs: 64, calls: 0 };
    vec![
        Setup { host_port: true, stock, ..Setup::default() },
        Setup { host_port: true, ..Setup::dispatcher() },
        Setup { host_port: true, npu_here: false, npus: 2, ..Setup::dispatcher() },
    ]
}

fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(port, payload)))
}

/// What leaves on the wire, and what on the host port, for a frame from the host's side.
fn from_host(lab: &mut Lab, frame: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    assert!(lab.peers[1].send(frame));
    lab.settle();
    (lab.received(0), lab.received(1))
}

#[test]
fn a_reply_goes_back_to_the_host() {
    for setup in setups() {
        let mut lab = Lab::of(vec![echo()], setup);
        let (wire, host) = from_host(&mut lab, &datagram(53, b"who is it?"));
        assert_eq!((wire.len(), host.len()), (0, 1));
        assert_eq!(host[0][..12], [PEER_MAC, OUR_MAC].concat(), "turned round");
        assert_eq!(host[0][34..36], 53u16.to_be_bytes());
        assert_eq!(&host[0][42..], b"who is it?");
        assert_eq!(lab.count(1, |count| &count.forwarded), 1);
        assert_eq!((lab.counters.sent.get(), lab.counters.to_host.get()), (1, 0));
        lab.assert_balanced();
    }
}

#[test]
fn what_a_lambda_passes_on_leaves_on_the_wire_unchanged() {
    for setup in setups() {
        let mut lab = Lab::of(vec![verdict("i32.const 1")], setup);
        let frame = datagram(53, b"to a name server");
        assert_eq!(from_host(&mut lab, &frame), (vec![frame], vec![]));
        assert_eq!(lab.count(1, |count| &count.to_host), 1);
        assert_eq!((lab.counters.sent.get(), lab.counters.to_host.get()), (1, 0));
        lab.assert_balanced();
    }
}

#[test]
fn failures_and_drops_end_like_those_of_the_wire() {
    for (body, reason) in [
        ("i32.const -1", DropReason::LambdaDrop),
        ("unreachable", DropReason::LambdaTrap),
        ("(loop $again (br $again)) i32.const 0", DropReason::LambdaBudget),
        // FORWARD as it came: that would go on, and a lambda that may only reply does not decide where.
        ("i32.const 0", DropReason::LambdaVerdict),
    ] {
        for setup in setups() {
            let mut lab = Lab::of(vec![verdict(body)], setup);
            assert_eq!(from_host(&mut lab, &datagram(53, b"x")), (vec![], vec![]));
            assert_eq!(lab.dropped(reason), 1, "{body}");
            lab.assert_balanced();
        }
    }
}

#[test]
fn a_rule_for_one_side_leaves_the_other_alone() {
    for setup in setups() {
        let on_the_wire = with_rule(verdict("i32.const -1"), |rule| Rule {
            protocol: Some(17),
            destination_port: PortRange::Exact(54),
            ..rule
        });
        let mut lab = Lab::of(vec![verdict("i32.const -1"), on_the_wire], setup);
        // From the host: the first has what goes to 53, and nobody what goes to 54.
        let frame = datagram(54, b"of the host");
        assert_eq!(from_host(&mut lab, &frame), (vec![frame], vec![]));
        assert_eq!(from_host(&mut lab, &datagram(53, b"of the host")), (vec![], vec![]));
        assert_eq!(lab.dropped(DropReason::LambdaDrop), 1);
        // From the wire it is the other way round.
        let frame = datagram(53, b"of the wire");
        assert!(lab.exchange(&frame).is_empty());
        assert_eq!(lab.received(1), [frame]);
        assert!(lab.exchange(&datagram(54, b"of the wire")).is_empty());
        assert_eq!(lab.dropped(DropReason::LambdaDrop), 2);
        lab.assert_balanced();
    }
}

#[test]
fn a_port_can_be_named() {
    for (port, is_matched) in [(1, true), (0, false)] {
        let rule: fn(Rule) -> Rule = match port {
            0 => |rule| Rule { port: Some(PortId::new(0)), ..dns_of_the_host(rule) },
            _ => |rule| Rule { port: Some(PortId::new(1)), ..dns_of_the_host(rule) },
        };
        let mut lab = Lab::of(vec![with_rule(verdict("i32.const -1"), rule)], setups().remove(0));
        assert_eq!(from_host(&mut lab, &datagram(53, b"x")).0.is_empty(), is_matched);
        lab.assert_balanced();
    }
}

/// The host's frames are its own: a fault is for whom they are sent to to find, and what is none of the rule's is not looked at.
#[test]
fn what_cannot_match_leaves_as_it_is() {
    let whole = datagram(53, b"which is damaged");
    let mut damaged = whole.clone();
    damaged[45] ^= 1;
    let mut fragment = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(53, b"part")));
    fragment[20] = 0x20;
    let sum = {
        fragment[24..26].fill(0);
        checksum(&[&fragment[14..34]])
    };
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    let echo_request = ethernet(None, 0x0800, &ipv4(&[], 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]));
    for setup in setups() {
        let mut lab = Lab::of(vec![echo()], setup);
        for frame in [
            &damaged,
            &fragment,
            &echo_request,
            &arp_request(),
            // To the port's own address: the appliance is not asked from there.
            &rpc4(1, b"to the appliance"),
            &whole[..30].to_vec(),
            &vec![0xAA; 9],
        ] {
            assert_eq!(from_host(&mut lab, frame), (vec![frame.clone()], vec![]), "{frame:02x?}");
        }
        assert_eq!((lab.counters.answered.get(), lab.counters.pongs.get()), (0, 0));
        lab.assert_balanced();
    }
}

#[test]
fn partial_checksums_are_complete_on_either_way() {
    let whole = datagram(53, b"checksum left to a card");
    let mut partial = whole.clone();
    let udp_bytes = u16::try_from(whole.len() - 34).unwrap();
    let pseudo = !checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 17], &udp_bytes.to_be_bytes()]);
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let veth = |interface: &mut lnic::parser::Interface| interface.partial_checksums = true;
    // A rule that wants it and passes it on, one that wants another port, and none.
    let other: fn(Rule) -> Rule =
        |rule| Rule { destination_port: PortRange::Exact(54), ..dns_of_the_host(rule) };
    for lambdas in [
        vec![verdict("i32.const 1")],
        vec![with_rule(verdict("i32.const 1"), other)],
        vec![Deployed::from_tree("echo", "echo")],
    ] {
        let mut lab = Lab::with_setup(lambdas, setups().remove(0), veth, |port| port);
        assert_eq!(from_host(&mut lab, &partial), (vec![whole.clone()], vec![]));
        lab.assert_balanced();
    }
    let mut lab = Lab::with_setup(vec![echo()], setups().remove(0), veth, |port| port);
    let (_, host) = from_host(&mut lab, &partial);
    assert_eq!(checksum(&[&host[0][26..34], &[0, 17], &udp_bytes.to_be_bytes(), &host[0][34..]]), 0);
    lab.assert_balanced();
}

#[test]
fn a_quarantined_lambda_gets_nothing_from_the_host_either() {
    let mut setup = setups().remove(0);
    setup.failures = 1;
    let mut lab = Lab::of(vec![verdict("unreachable")], setup);
    for _ in 0..3 {
        assert_eq!(from_host(&mut lab, &datagram(53, b"x")), (vec![], vec![]));
    }
    assert_eq!(lab.dropped(DropReason::LambdaTrap), 1);
    assert_eq!(lab.dropped(DropReason::LambdaQuarantined), 2);
    lab.assert_balanced();
}

/// Without jobs in store such a frame is refused, not lost.
#[test]
fn without_a_job_a_frame_is_dropped_and_counted() {
    let setup = Setup { host_port: true, ..Setup::default() };
    let mut lab = Lab::with_setup(vec![echo()], setup, |_| {}, |port| port);
    assert_eq!(from_host(&mut lab, &datagram(53, b"x")), (vec![], vec![]));
    assert_eq!(lab.dropped(DropReason::LambdaBusy), 1);
    let frame = datagram(54, b"x");
    assert_eq!(from_host(&mut lab, &frame), (vec![frame], vec![]));
    assert!(!Capabilities::default().tx_checksum, "checksums above were the appliance's");
    lab.assert_balanced();
}
