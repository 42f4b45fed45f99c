//! What the derived parser saves: the plan that deployed lambdas and rules need against the full one. Suites `path` and `memory`.

use std::hint::black_box;
use std::mem::offset_of;
use std::time::Instant;

use lnic::frame::{BURST, Checksum};
use lnic::matcher::{PortRange, Rule};
use lnic::parser::{self, Plan};
use lnic_compiler::{HeaderBytes, HeaderUse};

use crate::report::{Better, Figure};
use crate::support::frames::*;
use crate::support::lab::{Deployed, Lab, interface, module};

/// Measures `work` in rounds; `work` handles `frames` frames.
pub struct Rounds {
    pub rounds: usize,
    repeats: usize,
}

impl Rounds {
    /// As many as there is time for.
    pub fn new(quick: bool) -> Self {
        if quick { Self { rounds: 11, repeats: 400 } } else { Self { rounds: 41, repeats: 2000 } }
    }

    /// ns per call of `work`, one value a round.
    pub fn each<T>(&self, mut work: impl FnMut() -> T) -> Vec<f64> {
        self.measure(BURST, || {
            for _ in 0..BURST {
                black_box(work());
            }
        })
    }

    /// ns per frame, one value a round.
    pub fn measure(&self, frames: usize, mut work: impl FnMut()) -> Vec<f64> {
        work();
        (0..self.rounds)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..self.repeats {
                    work();
                }
                start.elapsed().as_nanos() as f64 / (self.repeats * frames) as f64
            })
            .collect()
    }
}

/// A TCP segment that nobody asked for.
fn tcp4(payload: usize) -> Vec<u8> {
    let mut segment = vec![0x5A; 20 + payload];
    segment[..20].copy_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    let length = u16::try_from(segment.len()).expect("a segment").to_be_bytes();
    let sum = checksum(&[&PEER_IPV4, &OUR_IPV4, &[0, 6], &length, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ethernet(None, 0x0800, &ipv4(&[], 6, &segment))
}

/// The parser alone.
pub fn stations(rounds: &Rounds, suite: &str) -> Vec<Figure> {
    let ns = |name: &str, values: &[f64]| {
        Figure::of_rounds(format!("{suite}/{name}"), "ns/frame", Better::Lower, values)
    };
    let (interface, mut figures) = (interface(0), Vec::new());
    let frame = rpc4(1, &[0x5A; 64]);
    for (name, plan) in [("full", Plan::FULL), ("derived", Plan::OWN)] {
        let values = rounds.each(|| {
            let (unknown, plan) = (Checksum::Unknown, black_box(&plan));
            parser::parse_by(plan, black_box(&frame), unknown, unknown, &interface)
        });
        figures.push(ns(&format!("parser/{name}_echo"), &values));
    }
    // No rule wants it: only λ-RPC is deployed.
    let segment = tcp4(1460);
    for (name, plan) in [("full", Plan::FULL), ("derived", Plan::OWN)] {
        let values = rounds.each(|| {
            let (unknown, plan) = (Checksum::Unknown, black_box(&plan));
            parser::parse_by(plan, black_box(&segment), unknown, unknown, &interface)
        });
        figures.push(ns(&format!("parser/{name}_1500_byte_tcp_unmatched"), &values));
    }
    figures
}

/// The whole path.
pub fn paths(rounds: &Rounds, suite: &str) -> Vec<Figure> {
    let ns = |name: &str, values: &[f64]| {
        Figure::of_rounds(format!("{suite}/{name}"), "ns/frame", Better::Lower, values)
    };
    let mut figures = Vec::new();
    let (frame, segment) = (rpc4(1, &[0x5A; 64]), tcp4(1460));
    let udp = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, &[0x5A; 22])));
    // A lambda that looks at the payload only, and what it saves that no header is extracted for it.
    for (name, touched) in [("full", HeaderBytes::all()), ("derived", HeaderBytes::NONE)] {
        let mut counter = Deployed::wat(&module("i32.const -1"));
        counter.rules =
            vec![|rule| Rule { protocol: Some(17), destination_port: PortRange::Exact(9), ..rule }];
        counter.header_use = HeaderUse { read: touched, written: touched };
        let mut lab = Lab::new(vec![counter], false);
        let values = rounds.measure(BURST, || {
            for _ in 0..BURST {
                lab.peers[0].send(&udp);
            }
            lab.breath.once();
        });
        figures.push(ns(&format!("all/{name}_64_byte_udp_no_headers"), &values));
    }
    // What echo touches: neither the VLAN tag nor TCP.
    let mut touched = HeaderBytes::NONE;
    touched.insert(0..offset_of!(lnic_abi::Headers, vlan));
    touched.insert(offset_of!(lnic_abi::Headers, ipv4)..offset_of!(lnic_abi::Headers, tcp));
    for (name, touched) in [("full", HeaderBytes::all()), ("derived", touched)] {
        let mut echo = Deployed::from_tree("echo", "echo");
        echo.header_use = HeaderUse { read: touched, written: touched };
        let mut lab = Lab::new(vec![echo], false);
        let values = rounds.measure(BURST, || {
            for _ in 0..BURST {
                lab.peers[0].send(&frame);
            }
            lab.breath.once();
            while lab.peers[0].receive().is_some() {}
        });
        figures.push(ns(&format!("all/{name}_echo"), &values));
    }
    // Frames that go to the host; with a rule that wants all of TCP, but never that frame.
    let tcp_from_port_1: fn(Rule) -> Rule =
        |rule| Rule { protocol: Some(6), source_port: PortRange::Exact(1), ..rule };
    for (name, rules) in [("full", vec![tcp_from_port_1]), ("derived", vec![])] {
        let mut echo = Deployed::from_tree("echo", "echo");
        echo.rules = rules;
        let mut lab = Lab::new(vec![echo], true);
        let values = rounds.measure(BURST, || {
            for _ in 0..BURST {
                lab.peers[0].send(&segment);
            }
            lab.breath.once();
            while lab.peers[1].receive().is_some() {}
        });
        figures.push(ns(&format!("all/{name}_1500_byte_tcp_to_host"), &values));
    }
    figures
}
