//! Questions and their answers, written by hand and built with the wire crate, in a frame of one buffer.

mod arp;
mod echo;
mod ndp;

use std::net::Ipv6Addr;

use lnic_wire::{checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ipv6_extension, protocol};
use proptest::prelude::*;

use self::arp::arp_request;
use self::echo::{ECHO, echo_v4};
use self::ndp::solicitation;
use super::{Answer, answer};
use crate::frame::{Checksum, ChecksumOffload, Frame};
use crate::ids::PortId;
use crate::observe::DropReason;
use crate::parser::{Interface, parse};

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OUR_LINK_LOCAL: &str = "fe80::ff:fe00:1";

struct TestFrame {
    bytes: Vec<u8>,
    capacity: usize,
    /// What was asked of the port; received state until then.
    offload: Result<Option<ChecksumOffload>, Checksum>,
}

impl TestFrame {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), capacity: 2048, offload: Err(Checksum::Good) }
    }
}

impl Frame for TestFrame {
    type External = std::convert::Infallible;

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn resize(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.capacity;
        if fits {
            self.bytes.resize(bytes, 0xA5);
        }
        fits
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn ip_checksum(&self) -> Checksum {
        Checksum::Unknown
    }

    fn l4_checksum(&self) -> Checksum {
        Checksum::Unknown
    }

    fn set_tx_offload(&mut self, offload: Option<ChecksumOffload>) {
        self.offload = Ok(offload);
    }
}

fn interface() -> Interface {
    Interface {
        port: PortId::new(0),
        mac: OURS,
        ipv4: Some([10, 0, 0, 1].into()),
        ipv6: Some("fd00::1".parse().unwrap()),
        rpc_port: 4793,
        service_ports: crate::parser::Ports::NONE,
        promiscuous: false,
        partial_checksums: false,
        mtu: 1500,
    }
}

fn ask_in(frame: &mut TestFrame) -> Answer {
    let before = frame.bytes.clone();
    let parsed = parse(&before, Checksum::Unknown, Checksum::Unknown, &interface()).unwrap();
    let result = answer(frame, &parsed, &interface());
    if result == Answer::Reply {
        assert_eq!(frame.offload, Ok(None), "checksums are made in software");
        assert!(frame.bytes.len() <= frame.capacity);
    } else {
        assert_eq!(frame.bytes, before, "a frame that is not a reply is unchanged");
    }
    result
}

fn ask(bytes: &[u8]) -> (Answer, Vec<u8>) {
    let mut frame = TestFrame::new(bytes);
    (ask_in(&mut frame), frame.bytes)
}

fn drops(bytes: &[u8], reason: DropReason) {
    assert_eq!(ask(bytes).0, Answer::Drop(reason));
}

fn is_not_local(bytes: &[u8]) {
    assert_eq!(ask(bytes).0, Answer::NotLocal);
}

fn from_peer(destination: [u8; 6], ether_type: u16) -> Vec<u8> {
    let mut bytes = vec![0; 14];
    ethernet::Repr { destination, source: PEER, ether_type }.emit(&mut bytes);
    bytes
}

/// Puts a tag between the addresses and the EtherType.
fn tag(bytes: &[u8]) -> Vec<u8> {
    let mut tagged = bytes.to_vec();
    tagged.splice(12..12, [0x81, 0x00, 0xA0, 0x2A]);
    tagged
}

/// An ICMPv6 message in a frame, its checksum made.
fn icmp_v6(
    mac: [u8; 6],
    source: &str,
    destination: &str,
    hop_limit: u8,
    message: &[u8],
    extension: bool,
) -> Vec<u8> {
    let (source, destination): (Ipv6Addr, Ipv6Addr) = (source.parse().unwrap(), destination.parse().unwrap());
    let mut message = message.to_vec();
    let pseudo = checksum::pseudo_ipv6(source, destination, protocol::ICMPV6, message.len() as u16);
    icmpv6::fill_checksum(&mut message, pseudo);
    let mut options = vec![0; if extension { 16 } else { 0 }];
    if extension {
        ipv6_extension::PaddingRepr { next_header: protocol::ICMPV6, length: 1 }.emit(&mut options);
    }
    let ip = ipv6::Repr {
        source,
        destination,
        next_header: if extension { protocol::HOP_BY_HOP } else { protocol::ICMPV6 },
        hop_limit,
        traffic_class: 0x20,
        flow_label: 5,
        payload_bytes: (options.len() + message.len()) as u16,
    };
    let mut bytes = from_peer(mac, ethernet::TYPE_IPV6);
    bytes.resize(54, 0);
    ip.emit(&mut bytes[14..]);
    bytes.extend(options);
    bytes.extend(message);
    bytes
}

#[test]
fn other_protocols_are_not_local() {
    is_not_local(&from_peer(OURS, 0x88CC));
    let mut igmp = echo_v4([10, 0, 0, 2], &[], b"x");
    igmp[23] = 2;
    ipv4::Packet::new_checked(&mut igmp[14..]).unwrap().fill_checksum();
    is_not_local(&igmp);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn every_echo_payload_comes_back(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let (result, reply) = ask(&echo_v4([10, 0, 0, 2], &[], &payload));
        prop_assert_eq!(result, Answer::Reply);
        let echo = icmpv4::Packet::new_checked(&reply[34..]).unwrap();
        prop_assert!(echo.verify_checksum());
        prop_assert_eq!(echo.payload(), &payload[..]);
    }

    #[test]
    fn damage_never_panics(
        which in 0usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let questions = [
            arp_request(|_| {}),
            echo_v4([10, 0, 0, 2], &[7, 7, 4, 10, 0, 0, 9, 0], b"payload"),
            icmp_v6(OURS, "fd00::2", "fd00::1", 64, &ECHO, true),
            icmp_v6(OURS, "fd00::2", "fd00::1", 255, &solicitation("fd00::1", Some(PEER)), false),
        ];
        let mut bytes = questions[which].clone();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes.truncate(cut.index(bytes.len()) + bytes.len() / 2);
        let promiscuous = Interface { promiscuous: true, ..interface() };
        if let Ok(parsed) = parse(&bytes, Checksum::Good, Checksum::Good, &promiscuous) {
            let mut frame = TestFrame::new(&bytes);
            if answer(&mut frame, &parsed, &promiscuous) == Answer::Reply {
                prop_assert_eq!(&frame.bytes[6..12], &OURS[..]);
            }
        }
    }
}
