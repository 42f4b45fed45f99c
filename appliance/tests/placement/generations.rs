//! A lambda's next generation touches a header that the one before did not, and gets it.

use std::mem::offset_of;

use lnic::lambda::Engine;
use lnic::parser::HeaderSet;
use lnic_abi::Headers;
use lnic_compiler::{HeaderBytes, HeaderUse};
use lnic_wire::rpc::Status;

use super::npus::{Islands, compile, wishes};
use crate::support::frames::*;
use crate::support::lab::{Deployed, Lab, built_from};

/// Answers with two bytes that the body finds out.
fn generation(body: &str) -> (Vec<u8>, HeaderUse) {
    let source = format!(
        "#include <lnic.h>
         LAMBDA(it) {{
             uint16_t found = 0xFFFF;
             {body}
             lnic_store_be16(lnic_payload(match_data), found);
             return lnic_reply(headers, match_data, STATUS_OK, 2);
         }}"
    );
    let wasm = built_from(&source, "it");
    let ready =
        compile(&Engine::new().expect("engine"), &wasm, "it", &wishes(Islands::One)).expect("compiles");
    (wasm, ready.image.shape().header_use)
}

/// What it finds out about a request in VLAN 42.
fn found(wasm: &[u8], header_use: HeaderUse) -> u16 {
    let mut lab = Lab::new(vec![Deployed { header_use, ..Deployed::new(wasm.to_vec(), "it") }], false);
    let datagram = ipv4(&[], 17, &udp4(RPC_PORT, &request(1, b"what?")));
    let received = lab.exchange(&ethernet(Some(42), 0x0800, &datagram));
    assert_eq!(received.len(), 1);
    let reply = reply(&received[0]);
    assert_eq!((reply.header.status(), reply.vlan), (Status::Ok, Some(42)));
    lab.assert_balanced();
    u16::from_be_bytes(reply.payload[..].try_into().expect("two bytes"))
}

#[test]
fn the_next_generation_gets_a_header_that_the_one_before_did_not_touch() {
    let (first, first_use) = generation("");
    let (second, second_use) = generation("if (headers->vlan.valid) { found = headers->vlan.vid; }");
    let mut vlan = HeaderBytes::NONE;
    vlan.insert(offset_of!(Headers, vlan)..offset_of!(Headers, ipv4));
    let tagged = HeaderSet::of(&HeaderUse { read: vlan, written: HeaderBytes::NONE });
    assert!(!HeaderSet::of(&first_use).has(tagged), "{}", HeaderSet::of(&first_use));
    assert!(HeaderSet::of(&second_use).has(tagged), "{}", HeaderSet::of(&second_use));
    assert_eq!(found(&first, first_use), 0xFFFF);
    assert_eq!(found(&second, second_use), 42);
    // By the first's headers the second would not have seen it, and the tag leaves all the same.
    assert_eq!(found(&second, first_use), 0xFFFF);
}
