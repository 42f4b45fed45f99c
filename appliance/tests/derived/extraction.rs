//! A lambda that touches few headers gets those and no others, and what leaves is the same as if it had got all.

use std::cell::Cell;

use lnic::deparser::{Exit, Refusal, deparse, into_reply};
use lnic::frame::{Checksum, Frame as _, FrameSource as _};
use lnic::lambda::extract::{complete, extract, extract_only};
use lnic::matcher::Egress;
use lnic::parser::{self, HeaderSet, Parsed};
use lnic::port::sim::SimPool;
use lnic_abi::Headers;
use lnic_compiler::{HEADER_BYTES, HeaderBytes, HeaderUse};
use lnic_wire::rpc::Status;
use proptest::prelude::*;

use crate::generate::a_shape;
use crate::runner;
use crate::support::lab::interface;

/// A lambda that keeps to what is known of it: every byte that it writes depends on bytes that it may read, and on nothing else.
#[derive(Clone, Debug)]
enum Program {
    /// Writes these values, mixed with the sum of what it reads; `turn` turns a request round first.
    Scribble { header_use: HeaderUse, values: Vec<u8>, mix: bool },
    /// Answers, and touches what that takes.
    Reply(Status),
}

/// What `into_reply` touches: all but the VLAN tag, TCP, and what is known of the frame itself.
fn reply_use() -> HeaderUse {
    let mut touched = HeaderBytes::NONE;
    for bytes in [
        std::mem::offset_of!(Headers, rpc)..std::mem::offset_of!(Headers, vlan),
        std::mem::offset_of!(Headers, ipv4)..std::mem::offset_of!(Headers, tcp),
    ] {
        touched.insert(bytes);
    }
    HeaderUse { read: touched, written: touched }
}

impl Program {
    fn header_use(&self) -> HeaderUse {
        match self {
            Self::Scribble { header_use, .. } => *header_use,
            Self::Reply(_) => reply_use(),
        }
    }

    fn run(&self, headers: &mut Headers) {
        let (header_use, values, mix) = match self {
            Self::Reply(status) => return into_reply(headers, *status, 0),
            Self::Scribble { header_use, values, mix } => (header_use, values, *mix),
        };
        let bytes = bytemuck::bytes_of_mut(headers);
        let sum = header_use.read.ranges().flatten().fold(0u8, |sum, at| sum.wrapping_add(bytes[at]));
        for at in header_use.written.ranges().flatten() {
            bytes[at] = values[at % values.len()].wrapping_add(if mix { sum } else { 0 });
        }
    }
}

fn some_bytes() -> impl Strategy<Value = HeaderBytes> {
    prop::collection::vec((0..HEADER_BYTES, 1usize..6), 0..5).prop_map(|ranges| {
        let mut bytes = HeaderBytes::NONE;
        ranges.into_iter().for_each(|(start, length)| bytes.insert(start..start + length));
        bytes
    })
}

fn a_program() -> impl Strategy<Value = Program> {
    // Zeros and ones are flags: other values of a `valid` byte are rarer in frames that leave.
    let values = prop::collection::vec(prop_oneof![3 => 0u8..2, 1 => any::<u8>()], 1..9);
    let scribble = (some_bytes(), some_bytes(), values, prop::bool::weighted(0.3)).prop_map(
        |(read, written, values, mix)| Program::Scribble {
            header_use: HeaderUse { read, written },
            values,
            mix,
        },
    );
    prop_oneof![4 => scribble, 1 => Just(Program::Reply(Status::Ok))]
}

fn rewrite(
    bytes: &[u8],
    parsed: &Parsed,
    headers: &Headers,
    payload: &[u8],
    egress: Egress,
) -> (Result<(), Refusal>, Vec<u8>) {
    let interface = interface(0);
    let exit = Exit { interface: &interface, mtu: 1500, tx_checksum: false };
    let mut frame = SimPool::new(1, 2048).frame(bytes).expect("a frame");
    let result = deparse(&mut frame, parsed, headers, payload, egress, &exit);
    (result, frame.bytes().to_vec())
}

/// Headers full of what an earlier run left.
fn stale() -> Headers {
    let mut headers = Headers::default();
    bytemuck::bytes_of_mut(&mut headers).fill(0xA5);
    headers
}

#[test]
fn the_frame_that_leaves_is_the_same_as_with_every_header_extracted() {
    let strategy = (a_shape(), a_program(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>());
    let (partial, left, replied) = (Cell::new(0u32), Cell::new(0u32), Cell::new(0u32));
    let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
    runner(20_000)
        .run(&strategy, |(shape, program, payload, any)| {
            let bytes = shape.build();
            let Ok(parsed) = parser::parse(&bytes, Checksum::Unknown, Checksum::Unknown, &interface(0))
            else {
                return Ok(());
            };
            let set = HeaderSet::of(&program.header_use());
            let mut full = Headers::default();
            extract(&bytes, &parsed, 77, &mut full);
            program.run(&mut full);
            let mut derived = stale();
            extract_only(&bytes, &parsed, 77, set, &mut derived);
            program.run(&mut derived);
            complete(&bytes, &parsed, 77, set, &mut derived);
            prop_assert_eq!(derived, full, "{}", set);
            let egress = if any { Egress::Any } else { Egress::Reply };
            let out = rewrite(&bytes, &parsed, &derived, &payload, egress);
            prop_assert_eq!(&out, &rewrite(&bytes, &parsed, &full, &payload, egress));
            if !set.has(HeaderSet::in_frame(&parsed)) {
                count(&partial);
                if out.0.is_ok() {
                    count(if any { &left } else { &replied });
                }
            }
            Ok(())
        })
        .unwrap();
    let counts = [partial.get(), left.get(), replied.get()];
    assert!(partial.get() > 5_000 && left.get() > 1_000 && replied.get() > 20, "{counts:?}");
}

#[test]
fn nothing_is_extracted_but_what_is_touched() {
    let strategy = (a_shape(), some_bytes(), some_bytes());
    runner(5_000)
        .run(&strategy, |(shape, read, written)| {
            let bytes = shape.build();
            let Ok(parsed) = parser::parse(&bytes, Checksum::Unknown, Checksum::Unknown, &interface(0))
            else {
                return Ok(());
            };
            let header_use = HeaderUse { read, written };
            let set = HeaderSet::of(&header_use);
            let mut full = Headers::default();
            extract(&bytes, &parsed, 77, &mut full);
            let mut derived = stale();
            extract_only(&bytes, &parsed, 77, set, &mut derived);
            let (full, derived) = (bytemuck::bytes_of(&full), bytemuck::bytes_of(&derived));
            for at in 0..HEADER_BYTES {
                let mut byte = HeaderBytes::NONE;
                byte.insert(at..at + 1);
                let header = HeaderSet::of(&HeaderUse { read: byte, written: HeaderBytes::NONE });
                // Either as it came, or nothing: never what a run before has left.
                let expected = if set.has(header) { full[at] } else { 0 };
                prop_assert_eq!(derived[at], expected, "byte {} with {}", at, set);
            }
            Ok(())
        })
        .unwrap();
}
