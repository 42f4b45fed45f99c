//! The derived parser against the full one: who matches, what is verified, which bytes a lambda sees and which leave.

#![allow(unreachable_pub, reason = "parts of one test")]

mod support;

#[path = "derived/extraction.rs"]
mod extraction;
#[path = "derived/generate.rs"]
mod generate;
#[path = "derived/path.rs"]
mod path;

use std::cell::Cell;
use std::net::Ipv4Addr;

use generate::{Shape, a_damage, a_rule, a_shape, damaged, key_survives};
use lnic::frame::{Checksum, FrameSource as _};
use lnic::local::{self, Answer};
use lnic::matcher::{Rule, Table, linear};
use lnic::observe::DropReason;
use lnic::parser::{self, Interface, Parsed, Ports, Present};
use lnic::port::sim::SimPool;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::lab::interface;

const CHECKSUMS: [Checksum; 3] = [Checksum::Unknown, Checksum::Good, Checksum::Bad];

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

/// The interface as it is, and one that takes everything, and replies of services too.
fn interfaces() -> [Interface; 2] {
    let service_ports = Ports::range(1, 1023);
    [interface(0), Interface { promiscuous: true, partial_checksums: true, service_ports, ..interface(0) }]
}

/// Is it a datagram to one of the UDP ports that services reply to?
fn is_for_services(bytes: &[u8], parsed: &Parsed, interface: &Interface) -> bool {
    let key = &parsed.key;
    let is_own = interface.owns_ipv6(key.destination.into())
        || interface.owns_ipv4(Ipv4Addr::from_bits(key.destination as u32)) && key.present.has(Present::IPV4);
    let is_udp = key.present.has(Present::PORTS) && key.protocol == 17;
    is_udp && is_own && bytes[0] & 1 == 0 && interface.service_ports.has(key.destination_port)
}

/// What the full parser makes of a frame from the host's side.
fn of_the_host(parsed: Parsed) -> Parsed {
    let mut parsed = parsed;
    parsed.key.present.add(Present::HOST);
    parsed
}

/// What a local answer would be.
fn answer(bytes: &[u8], parsed: &Parsed, interface: &Interface) -> Answer {
    let mut frame = SimPool::new(1, 2048).frame(bytes).expect("a frame");
    local::answer(&mut frame, parsed, interface)
}

/// How often each outcome was seen: a test that never sees one of them says nothing about it.
#[derive(Default)]
struct Seen {
    same: Cell<u32>,
    matched: Cell<u32>,
    faults: Cell<u32>,
    unwanted: Cell<u32>,
    unwanted_faults: Cell<u32>,
    host_matched: Cell<u32>,
    host_unwanted: Cell<u32>,
}

impl Seen {
    fn count(cell: &Cell<u32>) {
        cell.set(cell.get() + 1);
    }

    fn assert_all(&self, at_least: u32) {
        for (name, cell) in [
            ("same", &self.same),
            ("matched", &self.matched),
            ("faults", &self.faults),
            ("unwanted", &self.unwanted),
            ("unwanted faults", &self.unwanted_faults),
        ] {
            assert!(cell.get() >= at_least, "{name}: {} times", cell.get());
        }
        // One rule in ten is for it.
        for (name, cell) in [("matched", &self.host_matched), ("unwanted", &self.host_unwanted)] {
            assert!(cell.get() >= at_least / 20, "{name} from the host: {} times", cell.get());
        }
    }
}

/// Compares both parsers on a frame.
fn compare(rules: &[Rule], table: &Table, bytes: &[u8], seen: &Seen) {
    for interface in &interfaces() {
        for known in CHECKSUMS {
            let full = parser::parse(bytes, known, known, interface);
            let derived = parser::parse_by(table.plan(), bytes, known, known, interface);
            let Err(DropReason::Unmatched) = derived else {
                // Wanted: all is the same, faults too.
                assert_eq!(derived, full, "{}: {bytes:02x?}", table.plan());
                Seen::count(&seen.same);
                match full {
                    Ok(parsed) if linear::lookup(rules, &parsed.key).is_some() => Seen::count(&seen.matched),
                    Ok(_) => {}
                    Err(_) => Seen::count(&seen.faults),
                }
                continue;
            };
            match full {
                // Unwanted: nothing matches, and nothing is for the appliance itself.
                Ok(parsed) => {
                    Seen::count(&seen.unwanted);
                    assert_eq!(linear::lookup(rules, &parsed.key), None, "{}: {bytes:02x?}", table.plan());
                    assert!(!parsed.key.present.has(Present::RPC));
                    assert!(!is_for_services(bytes, &parsed, interface), "{bytes:02x?}");
                    let answer = answer(bytes, &parsed, interface);
                    let known_fault = answer == Answer::Drop(DropReason::Truncated);
                    assert!(answer == Answer::NotLocal || known_fault, "{answer:?}: {bytes:02x?}");
                }
                Err(fault) => {
                    Seen::count(&seen.unwanted_faults);
                    let before = [DropReason::Truncated, DropReason::NotOurMac, DropReason::Unmatched];
                    assert!(!before.contains(&fault), "{fault}: {bytes:02x?}");
                }
            }
        }
    }
}

/// The same for frames from the host's side, which nothing is asked of but to match.
fn compare_from_host(rules: &[Rule], table: &Table, bytes: &[u8], seen: &Seen) {
    let interface = interfaces()[1];
    let full = parser::parse(bytes, Checksum::Unknown, Checksum::Unknown, &interface);
    let found = |parsed: Parsed| linear::lookup(rules, &of_the_host(parsed).key);
    let matched = full.ok().and_then(found).is_some();
    let Some(plan) = table.host_plan() else {
        assert!(!matched, "no rule is for the host's side: {bytes:02x?}");
        return;
    };
    let derived = parser::parse_by(plan, bytes, Checksum::Unknown, Checksum::Unknown, &interface);
    if derived == Err(DropReason::Unmatched) {
        assert!(!matched, "{plan}: {bytes:02x?}");
        Seen::count(&seen.host_unwanted);
    } else {
        assert_eq!(derived, full, "{plan}: {bytes:02x?}");
        if matched {
            Seen::count(&seen.host_matched);
        }
    }
}

#[test]
fn wanted_frames_parse_the_same_and_unwanted_ones_match_nothing() {
    let strategy = (
        prop::collection::vec(a_rule(), 0..4),
        prop::collection::vec((a_shape(), prop::collection::vec(a_damage(), 0..4)), 1..8),
    );
    let seen = Seen::default();
    runner(4_000)
        .run(&strategy, |(rules, shapes)| {
            let table = Table::build(rules.clone()).unwrap();
            for (shape, damage) in shapes {
                let bytes = shape.build();
                let damaged = damaged(bytes.clone(), &damage);
                for bytes in [&bytes, &damaged] {
                    compare(&rules, &table, bytes, &seen);
                    compare_from_host(&rules, &table, bytes, &seen);
                }
            }
            Ok(())
        })
        .unwrap();
    seen.assert_all(2_000);
}

/// A frame that a rule would match gets every check, whatever is wrong with it: damage that leaves alone what rules test is
/// found by both parsers.
#[test]
fn what_can_match_is_validated_as_ever() {
    let strategy = (
        prop::collection::vec(a_rule(), 1..6),
        prop::collection::vec((a_shape(), prop::collection::vec(a_damage(), 1..4)), 1..8),
    );
    let (matched, faults) = (Cell::new(0u32), Cell::new(0u32));
    runner(4_000)
        .run(&strategy, |(rules, shapes)| {
            let table = Table::build(rules.clone()).unwrap();
            let interface = interface(0);
            for (shape, damage) in shapes {
                let bytes = shape.build();
                let Ok(whole) = parser::parse(&bytes, Checksum::Unknown, Checksum::Unknown, &interface)
                else {
                    continue;
                };
                if linear::lookup(&rules, &whole.key).is_none() {
                    continue;
                }
                Seen::count(&matched);
                let damage: Vec<_> = damage
                    .into_iter()
                    .filter(|damage| key_survives(&shape, &whole, &bytes, damage))
                    .collect();
                let bytes = damaged(bytes, &damage);
                for known in CHECKSUMS {
                    let full = parser::parse(&bytes, known, known, &interface);
                    let derived = parser::parse_by(table.plan(), &bytes, known, known, &interface);
                    prop_assert_eq!(derived, full, "{}", table.plan());
                    if full.is_err() {
                        Seen::count(&faults);
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(
        matched.get() > 2_000 && faults.get() > 2_000,
        "{} matched, {} faults",
        matched.get(),
        faults.get()
    );
}

#[test]
fn a_new_rule_changes_the_plan() {
    let bytes = Shape::tcp(80).build();
    let parse = |table: &Table| {
        parser::parse_by(table.plan(), &bytes, Checksum::Unknown, Checksum::Unknown, &interface(0))
    };
    let rpc = Rule::rpc(lnic::ids::LambdaId::new(1), lnic::ids::LambdaRef::default());
    let before = Table::build(vec![rpc.clone()]).unwrap();
    assert_eq!(parse(&before), Err(DropReason::Unmatched));
    let http = Rule { protocol: Some(6), ..Rule::any(lnic::ids::LambdaRef::default()) };
    let after = Table::build(vec![rpc, http]).unwrap();
    assert_eq!(parse(&after).map(|parsed| parsed.key.destination_port), Ok(80));
}
