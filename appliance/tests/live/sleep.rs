//! Other numbers of NPUs, and none.

use lnic::control::appliance::Event;
use lnic::observe::DropReason;
use lnic::path::WAITING_FRAMES;

use crate::*;

#[test]
fn as_many_npus_as_are_asked_for() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let npus = fleet.topology.npus.len() as u32;
        let wanted = it(&mut fleet, 1);
        assert_eq!(fleet.deploy(wanted).expect("it is deployed").replicas, npus);
        for (replicas, available) in [(Some(1), 1), (Some(2), npus.min(2)), (Some(100), npus), (None, npus)] {
            assert_eq!(fleet.scale(&key("it"), replicas).expect("it is scaled"), available);
            for poller in 0..fleet.peers.len() {
                assert_eq!(ask(&mut fleet, poller, 1), ok(1), "{replicas:?} in {arrangement:?}");
            }
            fleet.drain();
        }
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn state_that_is_shared_stays_and_a_pinned_one_does_not_move() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = counter(&mut fleet, "counter", 1);
        fleet.deploy(wanted).expect("it is deployed");
        let source = "#include <lnic.h>
            static uint32_t count;
            LAMBDA(shared) {
                uint32_t now = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
                lnic_store_be32(lnic_payload(match_data), now);
                return lnic_reply(headers, match_data, STATUS_OK, 4);
            }";
        let wanted = fleet.wanted("shared", 2, &built_from(source, "shared"), "shared");
        fleet.deploy(wanted).expect("it is deployed");
        for (turn, replicas) in (1..).zip([Some(1), Some(2), None]) {
            assert_eq!(
                (ask(&mut fleet, 0, 1), ask(&mut fleet, 0, 2)),
                (ok(turn), ok(turn)),
                "{arrangement:?}"
            );
            for name in ["counter", "shared"] {
                fleet.scale(&key(name), replicas).expect("it is scaled");
            }
            fleet.drain();
        }
        for name in ["counter", "shared"] {
            fleet.remove(&key(name)).expect("it is removed");
        }
        fleet.assert_empty();
    }
}

#[test]
fn the_first_request_wakes_and_none_is_lost() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = it(&mut fleet, 1);
        fleet.deploy(wanted).expect("it is deployed");
        for _ in 0..3 {
            assert_eq!(fleet.scale(&key("it"), Some(0)).expect("it sleeps"), 0);
            fleet.drain();
            assert_eq!(fleet.used_bytes(), 0, "its memory is back");
            assert_eq!(fleet.stats(&key("it")).unwrap().state, "asleep");
            for _ in 0..10 {
                assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
            }
            fleet.settle();
            assert!(fleet.received(0).is_empty(), "they wait");
            assert_eq!(fleet.look_after(), [Event::Woken(key("it"))]);
            fleet.settle();
            let replies = fleet.received(0);
            assert_eq!(replies.len(), 10, "{arrangement:?}");
            assert!(replies.iter().all(|frame| reply(frame).payload[..4] == 1u32.to_be_bytes()));
            assert_eq!(fleet.look_after(), []);
        }
        assert_eq!(fleet.sum(|counters| &counters.parked), 30);
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn one_that_is_deployed_asleep_wakes_in_the_version_that_is_wanted_then() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = Wanted { replicas: Some(0), ..it(&mut fleet, 1) };
        assert_eq!(fleet.deploy(wanted).expect("it is deployed").replicas, 0);
        assert_eq!(fleet.used_bytes(), 0);
        assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
        fleet.settle();
        // While it waits, another version comes: it is that one's.
        let wanted = it(&mut fleet, 2);
        fleet.deploy(wanted).expect("it is deployed");
        fleet.settle();
        assert_eq!(reply(&fleet.received(0)[0]).payload[..4], 2u32.to_be_bytes(), "{arrangement:?}");
        // Nor does it wait for one that was removed.
        fleet.scale(&key("it"), Some(0)).expect("it sleeps");
        assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
        fleet.settle();
        fleet.remove(&key("it")).expect("it is removed");
        fleet.settle();
        assert_eq!(reply(&fleet.received(0)[0]).header.status(), Status::Unimplemented);
        fleet.assert_empty();
    }
}

#[test]
fn there_is_room_for_so_many_and_time_for_so_long() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = Wanted { replicas: Some(0), ..it(&mut fleet, 1) };
        fleet.deploy(wanted).expect("it is deployed");
        for _ in 0..WAITING_FRAMES + 10 {
            assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
        }
        fleet.settle();
        let told: Vec<Reply> = fleet.received(0).iter().map(|frame| reply(frame)).collect();
        assert_eq!(told.len(), 10, "{arrangement:?}");
        assert!(
            told.iter().all(|told| told.header.status() == Status::Busy && told.header.service_us() > 1_000)
        );
        fleet.clock.pass(1_000_000_000);
        fleet.settle();
        let told: Vec<Reply> = fleet.received(0).iter().map(|frame| reply(frame)).collect();
        assert_eq!(told.len(), WAITING_FRAMES);
        assert!(told.iter().all(|told| told.header.status() == Status::Unavailable));
        assert_eq!(fleet.sum(|counters| &counters.parked), WAITING_FRAMES as u64);
        assert_eq!(fleet.look_after(), [Event::Woken(key("it"))]);
        assert_eq!(ask(&mut fleet, 0, 1), ok(1));
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn what_is_under_way_ends_before_it_sleeps() {
    for arrangement in [Beside, Behind, Two] {
        let mut fleet = Fleet::new(arrangement);
        let wanted = it(&mut fleet, 1);
        fleet.deploy(wanted).expect("it is deployed");
        for _ in 0..40 {
            assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
        }
        fleet.lcores[0].as_mut().unwrap().once();
        fleet.scale(&key("it"), Some(0)).expect("it sleeps");
        fleet.drain();
        let replies = fleet.received(0);
        assert_eq!(replies.len(), 40);
        assert!(replies.iter().all(|frame| reply(frame).header.status() == Status::Ok), "{arrangement:?}");
        assert_eq!(fleet.counters[0].dropped(DropReason::LambdaGone), 0);
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}
