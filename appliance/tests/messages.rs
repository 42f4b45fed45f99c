//! Messages through the whole simulated appliance, in all its arrangements: the client's state machine sends, frames arrive,
//! fragments land in slots of the lambda's own memory, it runs, and the reply leaves out of the slot.

mod support;

#[path = "messages/amplification.rs"]
mod amplification;
#[path = "messages/death.rs"]
mod death;
#[path = "messages/hostile.rs"]
mod hostile;
#[path = "messages/once.rs"]
mod once;
#[path = "messages/outcomes.rs"]
mod outcomes;
#[path = "messages/places.rs"]
mod places;
#[path = "messages/transfer.rs"]
mod transfer;

use std::sync::LazyLock;

use lnic_message::client::RequestOptions;
use lnic_wire::rpc::{self, Header, Kind, Status, Tlv};
use support::arrangements::*;
use support::caller::*;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup, built_from};
use support::messages::{EPOCH, MessageSetup};

/// UDP port of a test's first caller.
const PORT: u16 = 40_000;
/// Fuel for a lambda that touches each byte of a long message.
const FUEL: u64 = 200_000_000;

const AT_MOST_ONCE: RequestOptions = RequestOptions {
    at_most_once: true,
    idempotent: false,
    budget_us: 0,
    lifetime_us: 0,
    priority: 0,
    trace: None,
};

fn setup(arrangement: Arrangement) -> Setup {
    Setup { messages: Some(MessageSetup::default()), frames: 1024, ..arrangement.setup() }
}

fn lab(arrangement: Arrangement, lambdas: Vec<Deployed>) -> Lab {
    Lab::of(lambdas, setup(arrangement))
}

/// Answers with each byte changed: it has read and written the message where it lies.
fn flip() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let source = "#include <lnic.h>
            LAMBDA(flip) {
                uint8_t *payload = lnic_payload(match_data);
                for (uint32_t at = 0; at < match_data->length; at++) {
                    payload[at] ^= 0x5A;
                }
                return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
            }";
        built_from(source, "flip")
    });
    Deployed { fuel: FUEL, slots: (8, 128 << 10), ..Deployed::new(MODULE.clone(), "flip") }
}

/// What [`flip`] makes of a message.
fn flipped(message: &[u8]) -> Vec<u8> {
    message.iter().map(|byte| byte ^ 0x5A).collect()
}

/// Bytes that tell whether each is in its place.
fn body(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..bytes).map(|_| random.u8(..)).collect()
}

/// Does what the first byte of its message says, and counts how often it has run.
fn worker() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let source = "#include <lnic.h>
            static uint32_t runs;
            LAMBDA(worker) {
                uint8_t *payload = lnic_payload(match_data);
                uint32_t bytes = match_data->length > 4 ? lnic_load_be32(payload + 1) : 0;
                runs++;
                switch (match_data->length ? payload[0] : 0) {
                case 't':
                    __builtin_trap();
                case 'l':
                    for (volatile uint32_t turn = 0;; turn++) {
                    }
                case 'd':
                    return DROP;
                case 'v':
                    return 77;
                case 'h':
                    return TO_HOST;
                case 'o':
                    lnic_reply(headers, match_data, STATUS_OK, 0);
                    match_data->length = match_data->capacity + 1;
                    return FORWARD;
                case 'r':
                    for (uint32_t at = 0; at < bytes; at++) {
                        payload[at] = (uint8_t)at;
                    }
                    return lnic_reply(headers, match_data, STATUS_OK, bytes);
                default:
                    lnic_store_be32(payload, runs);
                    return lnic_reply(headers, match_data, STATUS_OK, 4);
                }
            }";
        built_from(source, "worker")
    });
    let module = Deployed::new(MODULE.clone(), "worker");
    Deployed { pinned: true, slots: (4, 64 << 10), ..module }
}

/// A message for [`worker`] of so many bytes.
fn task(what: u8, bytes: usize) -> Vec<u8> {
    let mut task = vec![what];
    task.resize(bytes, 0);
    task
}

/// A message for [`worker`] that asks for a reply of so many bytes.
fn wants(reply_bytes: u32, bytes: usize) -> Vec<u8> {
    let mut task = task(b'r', bytes);
    task[1..5].copy_from_slice(&reply_bytes.to_be_bytes());
    task
}

/// What [`worker`] answers to that.
fn wanted(reply_bytes: u32) -> Vec<u8> {
    (0..reply_bytes).map(|at| at as u8).collect()
}

/// How often a [`worker`] has run, by its own count.
fn runs(lab: &mut Lab, lambda: u32) -> u32 {
    let (status, payload) = Caller::new(9_999).ask(lab, lambda, b"n");
    assert_eq!(status, Status::Ok);
    // This one counts too.
    u32::from_be_bytes(payload.try_into().expect("a count")) - 1
}

/// A request of one session for lambda `lambda`, adjusted, with TLVs.
fn datagram_of(
    lambda: u32,
    sequence: u32,
    payload: &[u8],
    tlvs: &[Tlv<'_>],
    adjust: impl Fn(&mut Header),
) -> Vec<u8> {
    let request = 0x5E55_1011_u64 << 32 | u64::from(sequence);
    let mut header = Header::request(lambda, request, payload.len() as u32);
    let mut area = [0; rpc::HEADER_CAPACITY - rpc::HEADER_BYTES];
    let area_bytes = rpc::emit_tlvs(tlvs, &mut area).expect("they fit");
    header.header_bytes += area_bytes;
    adjust(&mut header);
    let mut datagram = vec![0; rpc::HEADER_BYTES];
    datagram.extend_from_slice(&area[..area_bytes]);
    datagram.extend_from_slice(payload);
    header.emit_with_crc(&mut datagram);
    datagram
}

/// Sends a datagram from a port; the datagrams that come back there.
fn tell(lab: &mut Lab, port: u16, bytes: &[u8]) -> Vec<Vec<u8>> {
    let frames = lab.exchange(&framed(port, bytes));
    let datagrams = frames.iter().filter_map(|frame| datagram(frame));
    datagrams.inspect(|(to, _)| assert_eq!(*to, port)).map(|(_, bytes)| bytes.to_vec()).collect()
}

fn header_of(bytes: &[u8]) -> Header {
    Header::parse(bytes).expect("the appliance sends what can be read")
}

/// The cookie of a challenge.
fn cookie_in(bytes: &[u8]) -> [u8; 8] {
    let header = header_of(bytes);
    assert_eq!(header.kind, Kind::Challenge);
    let options = lnic_message::Options::of(header.tlvs(bytes));
    assert_eq!(options.epoch, Some(EPOCH));
    options.cookie.expect("a cookie")
}

/// A cookie for a port, for the asking.
fn cookie(lab: &mut Lab, port: u16) -> [u8; 8] {
    let ping = datagram_of(0, 1, &[], &[Tlv::Cookie(&[0; 8])], |header| header.kind = Kind::Ping);
    let answers = tell(lab, port, &ping);
    assert_eq!(answers.len(), 1);
    cookie_in(&answers[0])
}

/// Nothing is left: no slot, no timer, no frame.
fn assert_at_rest(lab: &mut Lab) {
    lab.rest();
    assert_eq!(lab.slots_taken(), 0, "slots");
    lab.assert_balanced();
}
