//! An appliance with the kv-server between a client and a memcached that the tests play.

use std::sync::LazyLock;

use lnic::matcher::{Parameters, PortRange, Rule, Side};
use lnic::path::Stock;

use crate::support::frames::*;
use crate::support::lab::{Deployed, Lab, Setup, built};

pub const MEMCACHED: u16 = 11211;
/// The guard time, by default.
pub const GUARD_MS: u64 = 1_000;

static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built("kv-server"));

/// What became of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kv-server answered, with this text.
    Said(Vec<u8>),
    /// It went on to the host, as it was.
    Passed,
}

pub struct Cache {
    pub lab: Lab,
    id: u16,
    /// Client's port of the TCP connection.
    flow: u16,
}

fn requests(rule: Rule) -> Rule {
    Rule { protocol: Some(17), destination_port: PortRange::Exact(MEMCACHED), ..rule }
}

fn segments(rule: Rule) -> Rule {
    Rule { protocol: Some(6), destination_port: PortRange::Exact(MEMCACHED), ..rule }
}

fn replies(rule: Rule) -> Rule {
    let parameters = Parameters::new(b"host").expect("parameters");
    Rule {
        side: Side::Host,
        protocol: Some(17),
        source_port: PortRange::Exact(MEMCACHED),
        parameters,
        ..rule
    }
}

/// A datagram with memcached's frame header.
pub fn framed(id: u16, text: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], text].concat()
}

pub fn get(key: &[u8]) -> Vec<u8> {
    [b"get ", key, b"\r\n"].concat()
}

/// The reply to a get.
pub fn value_of(key: &[u8], flags: u32, value: &[u8]) -> Vec<u8> {
    let lengths = format!(" {flags} {}\r\n", value.len());
    [b"VALUE ", key, lengths.as_bytes(), value, b"\r\nEND\r\n"].concat()
}

/// A request of the binary protocol.
pub fn binary(opcode: u8, key: &[u8], extras: &[u8], value: &[u8], opaque: u32) -> Vec<u8> {
    let body = u32::try_from(key.len() + extras.len() + value.len()).unwrap();
    let mut request = vec![0x80, opcode];
    request.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    request.extend([u8::try_from(extras.len()).unwrap(), 0, 0, 0]);
    request.extend(body.to_be_bytes());
    request.extend(opaque.to_be_bytes());
    request.extend([0; 8]);
    [&request[..], extras, key, value].concat()
}

/// The reply to a get of the binary protocol.
pub fn binary_value(opcode: u8, key: &[u8], flags: u32, value: &[u8], opaque: u32, cas: u64) -> Vec<u8> {
    let mut reply = binary(opcode, key, &flags.to_be_bytes(), value, opaque);
    reply[0] = 0x81;
    reply[16..24].copy_from_slice(&cas.to_be_bytes());
    reply
}

/// A frame of the client's, to memcached.
pub fn client_frame(payload: &[u8]) -> Vec<u8> {
    ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(MEMCACHED, payload)))
}

/// A frame of the memcached's, to the client.
pub fn host_frame(payload: &[u8]) -> Vec<u8> {
    let datagram = udp(&[&OUR_IPV4, &PEER_IPV4], MEMCACHED, PEER_PORT, payload);
    let mut packet = ipv4(&[], 17, &datagram);
    packet[12..20].copy_from_slice(&[OUR_IPV4, PEER_IPV4].concat());
    let mut frame = ethernet(None, 0x0800, &packet);
    frame[..12].copy_from_slice(&[PEER_MAC, OUR_MAC].concat());
    frame
}

/// A segment of a stream to memcached.
pub fn segment(flow: u16, data: &[u8]) -> Vec<u8> {
    let mut header = [flow.to_be_bytes(), MEMCACHED.to_be_bytes()].concat();
    header.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0]);
    let mut segment = [&header[..], data].concat();
    let length = u16::try_from(segment.len()).unwrap().to_be_bytes();
    let sum = checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 6], &length, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ethernet(None, 0x0800, &ipv4(&[], 6, &segment))
}

impl Cache {
    pub fn new() -> Self {
        Self::with_fuel(1_000_000)
    }

    /// One whose runs may use so much.
    pub fn with_fuel(fuel: u64) -> Self {
        let rules: Vec<fn(Rule) -> Rule> = vec![requests, segments, replies];
        let lambda = Deployed { rules, fuel, ..Deployed::new(MODULE.clone(), "kv_server") };
        let setup = Setup { host_port: true, stock: Stock { jobs: 16, calls: 0 }, ..Setup::default() };
        let mut cache = Self { lab: Lab::of(vec![lambda], setup), id: 0x4000, flow: PEER_PORT };
        // Some time after the first frame, which counts as a write of everything. With little fuel it may not arrive.
        cache.lab.exchange(&segment(PEER_PORT, b"version\r\n"));
        cache.lab.received(1);
        cache.pass_ms(2 * GUARD_MS);
        cache
    }

    pub fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }

    /// What is written over TCP from now on belongs to another connection.
    pub fn new_flow(&mut self) {
        self.flow = self.flow.checked_add(1).unwrap_or(PEER_PORT);
    }

    pub fn pass_ms(&self, ms: u64) {
        self.lab.clock.pass(ms * 1_000_000);
    }

    /// Sends a client's datagram.
    pub fn ask(&mut self, id: u16, text: &[u8]) -> Answer {
        let frame = client_frame(&framed(id, text));
        let answers = self.lab.exchange(&frame);
        let passed = self.lab.received(1);
        match (answers.as_slice(), passed.as_slice()) {
            ([answer], []) => {
                assert_eq!(answer[..12], [PEER_MAC, OUR_MAC].concat());
                assert_eq!(answer[34..38], [MEMCACHED.to_be_bytes(), PEER_PORT.to_be_bytes()].concat());
                assert_eq!(answer[42..50], [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0]].concat());
                assert!(answer.len() - 42 <= 1400, "{} bytes", answer.len() - 42);
                Answer::Said(answer[50..].to_vec())
            }
            ([], [passed]) => {
                assert_eq!(*passed, frame);
                Answer::Passed
            }
            others => panic!("{others:02x?}"),
        }
    }

    /// Is a get of this key answered with this value, without the host? It does not fill the table.
    pub fn knows(&mut self, key: &[u8], value: &[u8]) -> bool {
        let id = self.next_id();
        match self.ask(id, &get(key)) {
            Answer::Said(text) => {
                assert_eq!(text, value_of(key, 0, value));
                true
            }
            Answer::Passed => false,
        }
    }

    pub fn host_says(&mut self, id: u16, text: &[u8]) {
        self.host_sends(&host_frame(&framed(id, text)));
    }

    pub fn host_says_with(&mut self, header: [u8; 8], text: &[u8]) {
        self.host_sends(&host_frame(&[&header[..], text].concat()));
    }

    /// A frame from the host: whatever it does here, it leaves.
    pub fn host_sends(&mut self, frame: &[u8]) {
        assert!(self.lab.peers[1].send(frame));
        self.lab.settle();
        assert_eq!((self.lab.received(0), self.lab.received(1)), (vec![frame.to_vec()], vec![]));
    }

    pub fn write_udp(&mut self, text: &[u8]) {
        let id = self.next_id();
        assert_eq!(self.ask(id, text), Answer::Passed);
    }

    pub fn write_tcp(&mut self, data: &[u8]) {
        let frame = segment(self.flow, data);
        assert!(self.lab.exchange(&frame).is_empty());
        assert_eq!(self.lab.received(1), [frame]);
    }

    /// Runs that ended for want of fuel.
    pub fn exhausted(&self) -> u64 {
        self.lab.count(1, |count| &count.exhausted)
    }

    /// Nothing failed, and every frame has ended.
    pub fn assert_quiet(&mut self) {
        for (name, count) in [
            ("traps", self.lab.count(1, |count| &count.traps)),
            ("exhausted", self.lab.count(1, |count| &count.exhausted)),
            ("bad verdicts", self.lab.count(1, |count| &count.bad_verdicts)),
            ("busy", self.lab.count(1, |count| &count.busy)),
        ] {
            assert_eq!(count, 0, "{name}");
        }
        self.lab.assert_balanced();
    }
}
