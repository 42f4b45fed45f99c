//! Messages of several frames: they end where they began, whatever is deployed meanwhile.

use lnic_message::client::RequestOptions;

use crate::support::caller::{Caller, converse, step};
use crate::*;

const SLOT_BYTES: u32 = 16 << 10;
const PORT: u16 = 40_000;

fn with_slots(fleet: &mut Fleet, version: u32) -> Wanted {
    let module = &MODULES[version as usize - 1];
    let wanted = fleet.wanted_with("it", 1, module, "version", (4, SLOT_BYTES));
    Wanted { generation: version.into(), ..wanted }
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| at as u8).collect()
}

/// The version that answered, and that the rest is what was sent.
fn version(payload: &[u8], bytes: usize) -> u32 {
    let (version, rest) = payload.split_first_chunk::<4>().expect("a version");
    assert!(rest == &body(bytes)[4..], "{} bytes of {bytes}", payload.len());
    u32::from_be_bytes(*version)
}

/// Sends what is due, but breathes only so often: part of a message is there then.
fn begin(fleet: &mut Fleet, caller: &mut Caller, bytes: usize) {
    caller.request(fleet, 1, body(bytes), RequestOptions::default());
    // Cookies first.
    for _ in 0..3 {
        step(fleet, &mut [&mut *caller]);
    }
}

#[test]
fn messages_reach_what_is_deployed() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let mut caller = Caller::new(PORT);
        for generation in 1..=3 {
            let wanted = with_slots(&mut fleet, generation);
            fleet.deploy(wanted).expect("it is deployed");
            for bytes in [16, 1_000, 9_000, 16_000] {
                let (status, payload) = caller.ask(&mut fleet, 1, &body(bytes));
                assert_eq!((status, version(&payload, bytes)), (Status::Ok, generation), "{arrangement:?}");
            }
            fleet.drain();
            assert_eq!(fleet.live.slots_taken(), 1, "{arrangement:?}");
        }
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

/// Begins a message, lets `change` happen while part of it is in its slot, and returns what answers.
fn interrupted(arrangement: Arrangement, change: impl Fn(&mut Fleet)) -> (Fleet, u32) {
    const BYTES: usize = 12_000;
    let mut fleet = Fleet::new(arrangement);
    let wanted = with_slots(&mut fleet, 1);
    fleet.deploy(wanted).expect("it is deployed");
    let mut caller = Caller::new(PORT);
    // It knows the cookie.
    let (_, payload) = caller.ask(&mut fleet, 1, &body(BYTES));
    assert_eq!(version(&payload, BYTES), 1);
    fleet.drain();
    caller.request(&fleet, 1, body(BYTES), RequestOptions::default());
    let mut buffer = [0; 1500];
    for _ in 0..3 {
        let now_us = fleet.clock.peek_ns() / 1000;
        let bytes = caller.machine.poll_transmit(now_us, &mut buffer).expect("a fragment");
        assert!(fleet.peers[0].send(&support::caller::framed(PORT, &buffer[..bytes])));
    }
    fleet.settle();
    change(&mut fleet);
    let slots = fleet.live.slots_taken();
    converse(&mut fleet, &mut [&mut caller]);
    let replies = caller.replies();
    assert_eq!((replies.len(), replies[0].status), (1, Status::Ok), "{arrangement:?}, {slots} slots");
    let answered = version(&replies[0].payload, BYTES);
    (fleet, answered)
}

#[test]
fn one_that_began_ends_with_the_old_generation() {
    for arrangement in ALL {
        let (mut fleet, answered) = interrupted(arrangement, |fleet| {
            let wanted = with_slots(fleet, 2);
            fleet.deploy(wanted).expect("it is deployed");
            fleet.settle();
            assert_eq!(fleet.live.slots_taken(), 2, "the old one is needed");
        });
        assert_eq!(answered, 1, "{arrangement:?}");
        let mut caller = Caller::new(PORT + 1);
        let (_, payload) = caller.ask(&mut fleet, 1, &body(9_000));
        assert_eq!(version(&payload, 9_000), 2);
        fleet.drain();
        assert_eq!(fleet.live.slots_taken(), 1);
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn nor_is_one_lost_whose_lambda_is_removed() {
    for arrangement in ALL {
        let (mut fleet, answered) = interrupted(arrangement, |fleet| {
            fleet.remove(&key("it")).expect("it is removed");
            // Who comes now gets what unknown ones get.
            assert_eq!(ask(fleet, 0, 1), UNKNOWN);
            assert_eq!(fleet.live.lambda_of_id(1), Some((key("it"), 1)), "it drains");
        });
        assert_eq!(answered, 1, "{arrangement:?}");
        fleet.assert_empty();
    }
}

#[test]
fn nor_by_other_numbers_of_npus() {
    for arrangement in [Several, Behind, Two] {
        let (mut fleet, _) = interrupted(arrangement, |fleet| {
            assert_eq!(fleet.scale(&key("it"), Some(1)).expect("it is scaled"), 1);
        });
        let mut caller = Caller::new(PORT + 1);
        let (_, payload) = caller.ask(&mut fleet, 1, &body(9_000));
        assert_eq!(version(&payload, 9_000), 1);
        fleet.drain();
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn one_that_began_before_sleep_ends_and_the_next_wakes_it() {
    for arrangement in ALL {
        let (mut fleet, answered) = interrupted(arrangement, |fleet| {
            assert_eq!(fleet.scale(&key("it"), Some(0)).expect("it sleeps"), 0);
        });
        assert_eq!(answered, 1, "{arrangement:?}");
        fleet.drain();
        assert_eq!(fleet.used_bytes(), 0, "its memory is back");
        assert_eq!(fleet.look_after(), []);
        let mut caller = Caller::new(PORT + 1);
        caller.request(&fleet, 1, body(9_000), RequestOptions::default());
        while caller.machine.timeout_us().is_some() {
            step(&mut fleet, &mut [&mut caller]);
            fleet.look_after();
            support::caller::pass(&fleet, &[&mut caller]);
        }
        let replies = caller.replies();
        assert_eq!((replies.len(), replies[0].status), (1, Status::Ok), "{arrangement:?}");
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn a_reply_that_a_port_still_reads_keeps_its_memory() {
    let mut fleet = Fleet::offloading(One);
    let wanted = with_slots(&mut fleet, 1);
    fleet.deploy(wanted).expect("it is deployed");
    let mut caller = Caller::new(PORT);
    begin(&mut fleet, &mut caller, 12_000);
    let wanted = with_slots(&mut fleet, 2);
    fleet.deploy(wanted).expect("it is deployed");
    converse(&mut fleet, &mut [&mut caller]);
    assert_eq!(version(&caller.replies()[0].payload, 12_000), 1);
    assert!(fleet.sum(|counters| &counters.sent_in_place) > 0, "the slot itself was sent");
    fleet.remove(&key("it")).expect("it is removed");
    fleet.assert_empty();
}
