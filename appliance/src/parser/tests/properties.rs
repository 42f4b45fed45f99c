//! Properties: built frames parse to what they were built of; no bytes make the parser panic or leave the frame.

use proptest::prelude::*;

use super::frames::{self, Upper, interface};
use super::{check, parse};
use crate::frame::Checksum;
use crate::parser::{Interface, Parsed, Present};

#[test]
fn every_combination_parses_to_its_offsets() {
    for recipe in frames::combinations() {
        for padding in [0, 7] {
            let recipe = recipe.clone().padding(padding);
            let parsed = check(&recipe.build()).unwrap_or_else(|reason| panic!("{reason}: {recipe:?}"));
            let transport = recipe.network() + recipe.network_bytes();
            let rpc = matches!(recipe.transport(), Upper::Udp { destination_port: 4793 });
            let l4_payload = transport + recipe.transport().header_bytes();
            assert_eq!(usize::from(parsed.network), recipe.network());
            assert_eq!(usize::from(parsed.transport), transport, "{recipe:?}");
            assert_eq!(usize::from(parsed.rpc), if rpc { l4_payload } else { 0 });
            assert_eq!(usize::from(parsed.payload), l4_payload + if rpc { 32 } else { 0 });
            assert_eq!(usize::from(parsed.end), l4_payload + recipe.payload_bytes());
            let mut present = if recipe.is_ipv4() { Present::IPV4 } else { Present::IPV6 };
            present.add(Present::PORTS);
            if rpc {
                present.add(Present::RPC);
            }
            if recipe.vid().is_some() {
                present.add(Present::VLAN);
            }
            assert_eq!(parsed.key.present, present);
            assert_eq!(parsed.key.vlan, recipe.vid().unwrap_or(0));
            assert_eq!(parsed.key.source_port, 40_000);
            assert!(!parsed.fragment && !parsed.partial_checksum);
        }
    }
}

/// Offsets are in order and inside the frame.
fn in_bounds(parsed: &Parsed, bytes: &[u8]) {
    assert!(parsed.network <= parsed.transport && parsed.transport <= parsed.payload);
    assert!(parsed.payload <= parsed.end && usize::from(parsed.end) <= bytes.len());
    if parsed.key.present.has(Present::RPC) {
        assert!(parsed.rpc + 32 <= parsed.payload);
    }
}

fn lenient() -> Interface {
    Interface { promiscuous: true, partial_checksums: true, ..interface() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..160), ether_type in 0usize..4) {
        let mut bytes = bytes;
        if let Some(field) = bytes.get_mut(12..14) {
            field.copy_from_slice(&[[0x08, 0x00], [0x86, 0xDD], [0x81, 0x00], [0x08, 0x06]][ether_type]);
        }
        if let Some(version) = bytes.get_mut(14) {
            *version = [0x45, 0x60, *version, *version][ether_type];
        }
        for known in [Checksum::Unknown, Checksum::Good] {
            if let Ok(parsed) = parse(&bytes, known, known, &lenient()) {
                in_bounds(&parsed, &bytes);
            }
        }
    }

    #[test]
    fn damaged_frames_never_panic(
        which in 0usize..120,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let recipes = frames::combinations();
        let mut bytes = recipes[which % recipes.len()].build();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let cut = cut.index(bytes.len() + 1);
        for bytes in [&bytes[..], &bytes[..cut]] {
            // With good checksums vouched for, damage reaches deeper.
            for known in [Checksum::Unknown, Checksum::Good] {
                if let Ok(parsed) = parse(bytes, known, known, &lenient()) {
                    in_bounds(&parsed, bytes);
                }
            }
        }
    }
}
