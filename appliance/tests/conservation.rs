//! Every frame ends in exactly one way, whatever arrives: random bytes, mutated frames, faults on the way, a full port.

mod support;

use std::sync::LazyLock;

use lnic::frame::Frame as _;
use lnic::matcher::{Rule, Side, VlanMatch};
use lnic::path::Stock;
use lnic::port::Capabilities;
use lnic::port::fault::{Fault, Faults};
use lnic::port::sim::SimPool;
use lnic_wire::rpc::{self, Header, Kind, Tlv};
use proptest::prelude::*;
use support::caller::framed;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup, module};
use support::messages::MessageSetup;

fn lambdas() -> Vec<Deployed> {
    vec![
        Deployed { slots: (3, 4096), ..Deployed::from_tree("echo", "echo") },
        Deployed { slots: (2, 4096), ..Deployed::wat(&module("unreachable")) },
        Deployed::wat(&module("i32.const -1")),
        Deployed { rules: vec![from_host], ..Deployed::wat(&module("i32.const 1")) },
        Deployed { rules: vec![tagged_from_host], ..Deployed::wat(&module("i32.const 0")) },
    ]
}

/// Datagrams of the host's.
fn from_host(rule: Rule) -> Rule {
    Rule { side: Side::Host, protocol: Some(17), ..rule }
}

/// Tagged frames of the host's, before that.
fn tagged_from_host(rule: Rule) -> Rule {
    Rule { side: Side::Host, priority: 1, vlan: VlanMatch::Exact(7), ..rule }
}

fn setup(host_port: bool) -> Setup {
    let messages = Some(MessageSetup::default());
    Setup { host_port, messages, stock: Stock { jobs: 16, calls: 0 }, ..Setup::default() }
}

/// A cookie for [`PEER_PORT`], for the asking. It is the same for all labs at their start.
static COOKIE: LazyLock<[u8; 8]> = LazyLock::new(|| {
    let mut lab = Lab::of(lambdas(), setup(false));
    let mut datagram = [0; 48];
    assert_eq!(rpc::emit_tlvs(&[Tlv::Cookie(&[0; 8])], &mut datagram[32..]), Some(16));
    let ping = Header { kind: Kind::Ping, header_bytes: 48, ..Header::request(0, 1, 0) };
    ping.emit_with_crc(&mut datagram);
    let challenge = lab.exchange(&framed(PEER_PORT, &datagram));
    let (_, bytes) = support::caller::datagram(&challenge[0]).expect("a challenge");
    let header = Header::parse(bytes).expect("a challenge");
    lnic_message::Options::of(header.tlvs(bytes)).cookie.expect("a cookie")
});

/// A part of a message, or a word about one, of few requests, so that they meet. The cookie is put in when it is known.
#[derive(Clone, Debug)]
struct Part {
    kind: u8,
    flags: u16,
    lambda: u32,
    request: u64,
    index: u16,
    aux: u32,
}

fn part() -> impl Strategy<Value = Part> {
    let kind = prop_oneof![4 => Just(0u8), 1 => 0..9u8];
    let flags = prop::sample::select(vec![0, rpc::RTX, rpc::AT_MOST_ONCE, rpc::NOREPLY]);
    (kind, flags, 1u32..4, 0u64..4, 0u16..3, 0u32..70).prop_map(
        |(kind, flags, lambda, request, index, aux)| Part {
            kind,
            flags,
            lambda,
            request,
            index,
            aux: if kind == 0 { 0 } else { aux },
        },
    )
}

impl Part {
    /// Of a message of 2,500 bytes.
    fn frame(&self, cookie: &[u8; 8]) -> Vec<u8> {
        let kind = Kind::new(self.kind).expect("a kind");
        let (length, bytes) = match (kind, self.index) {
            (Kind::Request, 2) => (2500, 452),
            (Kind::Request, _) => (2500, 1024),
            _ => (0, 0),
        };
        let header = Header {
            kind,
            header_bytes: 48,
            flags: self.flags,
            message_length: length,
            fragment_index: if length > 0 { self.index } else { 0 },
            aux: self.aux,
            ..Header::request(self.lambda, self.request, 0)
        };
        let mut datagram = vec![7; 48 + bytes];
        assert_eq!(rpc::emit_tlvs(&[Tlv::Cookie(cookie)], &mut datagram[32..48]), Some(16));
        header.emit_with_crc(&mut datagram);
        framed(PEER_PORT, &datagram)
    }
}

/// A valid frame of one of the kinds that the path treats differently.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    (0u32..8, prop::collection::vec(any::<u8>(), 0..300), 0u8..6).prop_map(|(lambda, payload, kind)| {
        match kind {
            0 => rpc4(lambda, &payload),
            1 => rpc6(lambda, &payload),
            2 => ethernet(Some(7), 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &request(lambda, &payload)))),
            3 => ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, &payload))),
            4 => ethernet(None, 0x0806, &payload),
            _ => ethernet(None, 0x86DD, &ipv6(58, &[], &payload)),
        }
    })
}

fn arriving() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => valid(),
        3 => (valid(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut frame, at, value)| {
            let at = at.index(frame.len());
            frame[at] = value;
            frame
        }),
        1 => (valid(), any::<prop::sample::Index>()).prop_map(|(mut frame, at)| {
            frame.truncate(at.index(frame.len()));
            frame
        }),
        1 => prop::collection::vec(any::<u8>(), 0..1600),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn received_is_sent_and_to_host_and_dropped(
        frames in prop::collection::vec(arriving(), 1..120),
        parts in prop::collection::vec(part(), 0..60),
        host in any::<bool>(),
        room in prop_oneof![Just(usize::MAX), 0usize..40],
        partial in any::<bool>(),
        faults in (0.0..0.3f64, 0.0..0.3f64, 0.0..0.3f64, 0.0..0.3f64, any::<u64>()),
    ) {
        let source = SimPool::new(512, 2048);
        let (drop, duplicate, corrupt, reorder, seed) = faults;
        let faults = Faults { seed, drop, duplicate, corrupt, reorder };
        let mut lab = Lab::with_setup(
            lambdas(),
            setup(host),
            |interface| interface.partial_checksums = partial,
            |port| Box::new(Fault::new(port, source.clone(), faults)),
        );
        lab.peers[0].set_room(room);
        // Parts among the others.
        let mut parts = parts.iter();
        for (at, frame) in frames.iter().enumerate() {
            prop_assert!(lab.peers[0].send(frame));
            // What the host sends leaves as long as it is.
            if host && at.is_multiple_of(3) && frame.len() <= 1514 {
                prop_assert!(lab.peers[1].send(frame));
            }
            if let Some(part) = parts.next() {
                prop_assert!(lab.peers[0].send(&part.frame(&COOKIE)));
            }
        }
        lab.settle();
        for sent in lab.received(0) {
            prop_assert!(sent.len() <= 1514 + 4, "{} bytes", sent.len());
        }
        lab.rest();
        prop_assert_eq!(lab.slots_taken(), 0);
        lab.assert_balanced();
        prop_assert_eq!(source.available(), source.frames());
    }
}

#[test]
fn a_fault_port_injects_what_it_counts() {
    let pool = SimPool::new(2048, 256);
    let (port, mut peer) = lnic::port::sim::SimPort::pair(&pool, Capabilities::default());
    let faults = Faults { seed: 7, drop: 0.1, duplicate: 0.1, corrupt: 0.1, reorder: 0.1 };
    let mut port = Fault::new(port, pool.clone(), faults);
    let frames = 1000u16;
    for number in 0..frames {
        assert!(peer.send(&number.to_be_bytes().repeat(8)));
    }
    let mut received = Vec::new();
    let mut burst = lnic::frame::Burst::new();
    while peer.waiting() > 0 || !burst.is_empty() {
        use lnic::port::Port as _;
        port.rx(&mut burst);
        received.extend(burst.drain(..).map(|frame| frame.bytes().to_vec()));
    }
    let injected = port.injected();
    let expected = u64::from(frames) - injected.dropped + injected.duplicated;
    assert_eq!(received.len() as u64, expected);
    for count in [injected.dropped, injected.duplicated, injected.corrupted, injected.reordered] {
        assert!((50..200).contains(&count), "{injected:?}");
    }
    let damaged = received.iter().filter(|frame| frame[..2].repeat(8) != **frame).count() as u64;
    assert!(damaged >= injected.corrupted, "{damaged} of {injected:?}");
}
