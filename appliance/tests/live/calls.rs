//! Lambdas that call others, while both change.

use crate::*;

/// Calls lambda 2 with what it was sent, and answers the call's result and its reply's first bytes.
static CALLER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let source = "#include <lnic.h>
        LAMBDA(caller) {
            uint8_t *payload = lnic_payload(match_data);
            uint8_t reply[64];
            int32_t result = lnic_call(2, payload, match_data->length, reply, sizeof(reply), 1000000);
            if (result < 4) {
                lnic_store_be32(payload, (uint32_t)result);
                return lnic_reply(headers, match_data, STATUS_UNAVAILABLE, 4);
            }
            memcpy(payload, reply, 4);
            return lnic_reply(headers, match_data, STATUS_OK, 4);
        }";
    built_from(source, "caller")
});

fn caller(fleet: &mut Fleet) -> Wanted {
    fleet.wanted("caller", 1, &CALLER, "caller")
}

fn callee(fleet: &mut Fleet, version: u32) -> Wanted {
    named(fleet, "callee", 2, version)
}

#[test]
fn a_suspending_lambda_finds_room_where_there_was_none() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = callee(&mut fleet, 1);
        fleet.deploy(wanted).expect("it is deployed");
        let wanted = caller(&mut fleet);
        fleet.deploy(wanted).expect("it is deployed");
        for version in 1..=3 {
            for poller in 0..fleet.peers.len() {
                for _ in 0..20 {
                    assert_eq!(ask(&mut fleet, poller, 1), ok(version), "{arrangement:?}");
                }
            }
            let wanted = callee(&mut fleet, version + 1);
            fleet.deploy(wanted).expect("it is deployed");
        }
        fleet.drain();
        for name in ["caller", "callee"] {
            fleet.remove(&key(name)).expect("it is removed");
        }
        fleet.assert_empty();
    }
}

#[test]
fn who_is_suspended_goes_on_with_the_code_that_it_began_with() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = vec![caller(&mut fleet), callee(&mut fleet, 1)];
        assert!(fleet.deploy_while(wanted, |_| {}).iter().all(Result::is_ok));
        for round in 0..30u32 {
            for _ in 0..3 {
                assert!(fleet.peers[0].send(&rpc4(1, &[0; 16])));
            }
            // Some are under way, somewhere.
            for _ in 0..round % 5 {
                fleet.breathe();
            }
            let wanted = vec![caller(&mut fleet), callee(&mut fleet, round % 4 + 1)];
            assert!(fleet.deploy_while(wanted, |_| {}).iter().all(Result::is_ok));
            fleet.settle();
            let replies = fleet.received(0);
            assert_eq!(replies.len(), 3, "{arrangement:?} in round {round}");
            assert!(replies.iter().all(|frame| reply(frame).header.status() == Status::Ok));
            fleet.drain();
        }
        for name in ["caller", "callee"] {
            fleet.remove(&key(name)).expect("it is removed");
        }
        fleet.assert_empty();
    }
}

#[test]
fn a_call_to_one_that_was_removed_is_told_so() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = vec![caller(&mut fleet), callee(&mut fleet, 1)];
        assert!(fleet.deploy_while(wanted, |_| {}).iter().all(Result::is_ok));
        assert_eq!(ask(&mut fleet, 0, 1), ok(1));
        fleet.remove(&key("callee")).expect("it is removed");
        assert_eq!(ask(&mut fleet, 0, 1).0, Status::Unavailable, "{arrangement:?}");
        fleet.remove(&key("caller")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn a_call_wakes_whom_it_is_for() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = vec![caller(&mut fleet), callee(&mut fleet, 3)];
        assert!(fleet.deploy_while(wanted, |_| {}).iter().all(Result::is_ok));
        fleet.scale(&key("callee"), Some(0)).expect("it sleeps");
        fleet.drain();
        assert!(fleet.peers[0].send(&rpc4(1, &[0; 16])));
        fleet.settle();
        assert!(fleet.received(0).is_empty());
        assert_eq!(fleet.look_after(), [lnic::control::appliance::Event::Woken(key("callee"))]);
        fleet.settle();
        let replies = fleet.received(0);
        assert_eq!(replies.len(), 1, "{arrangement:?}");
        assert_eq!(reply(&replies[0]).payload[..4], 3u32.to_be_bytes());
        for name in ["caller", "callee"] {
            fleet.remove(&key(name)).expect("it is removed");
        }
        fleet.assert_empty();
    }
}
