//! Deploying, upgrading, removing.

use crate::*;

#[test]
fn a_lambda_is_deployed_upgraded_and_removed() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let pollers = fleet.peers.len();
        for poller in 0..pollers {
            assert_eq!(ask(&mut fleet, poller, 1), UNKNOWN, "{arrangement:?}");
        }
        for version in 1..=VERSIONS {
            let wanted = it(&mut fleet, version);
            let done = fleet.deploy(wanted).expect("it is deployed");
            assert!(done.replicas as usize == fleet.topology.npus.len());
            for poller in 0..pollers {
                assert_eq!(ask(&mut fleet, poller, 1), ok(version), "{arrangement:?}");
            }
            assert_eq!(fleet.live.lambda_of_id(1), Some((key("it"), version.into())));
            fleet.drain();
            assert_eq!(fleet.live.slots_taken(), 1, "the one before is gone");
        }
        assert!(fleet.used_bytes() > 0);
        fleet.remove(&key("it")).expect("it is removed");
        for poller in 0..pollers {
            assert_eq!(ask(&mut fleet, poller, 1), UNKNOWN, "{arrangement:?}");
        }
        fleet.drain();
        assert_eq!(fleet.live.lambda_of_id(1), None);
        assert!(matches!(fleet.remove(&key("it")), Err(DeployError::NoLambda(_))));
        fleet.assert_empty();
    }
}

#[test]
fn a_pinned_one_begins_anew_with_each_generation() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        for _ in 0..3 {
            let wanted = counter(&mut fleet, "counter", 2);
            assert_eq!(fleet.deploy(wanted).expect("it is deployed").replicas, 1);
            let pollers = fleet.peers.len();
            for run in 1..=6 {
                assert_eq!(ask(&mut fleet, run as usize % pollers, 2), ok(run), "{arrangement:?}");
            }
        }
        fleet.remove(&key("counter")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn what_waits_for_the_old_one_is_answered_by_it_while_the_new_one_works() {
    for arrangement in [Beside, Behind, Two] {
        let mut fleet = Fleet::new(arrangement);
        let wanted = it(&mut fleet, 1);
        fleet.deploy(wanted).expect("it is deployed");
        for _ in 0..40 {
            assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
        }
        // Polled and queued, few of them run.
        fleet.lcores[0].as_mut().unwrap().once();
        let wanted = it(&mut fleet, 2);
        fleet.deploy(wanted).expect("it is deployed");
        fleet.settle();
        let replies = fleet.received(0);
        assert_eq!(replies.len(), 40);
        assert!(replies.iter().all(|frame| reply(frame).payload[..4] == 1u32.to_be_bytes()));
        assert_eq!(ask(&mut fleet, 0, 1), ok(2));
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn slots_are_used_again_ten_thousand_times() {
    let mut fleet = Fleet::with(One, 2);
    let wanted = [1, 2].map(|version| it(&mut fleet, version));
    for turn in 0..10_000u32 {
        let version = turn % 2;
        fleet.deploy(wanted[version as usize].clone()).expect("it is deployed");
        if turn % 97 == 0 {
            assert_eq!(ask(&mut fleet, 0, 1), ok(version + 1));
        }
        fleet.drain();
    }
    assert_eq!(fleet.live.stats().made(), 10_000);
    fleet.remove(&key("it")).expect("it is removed");
    fleet.assert_empty();
}

#[test]
fn a_thousand_are_deployed_at_once() {
    let mut fleet = Fleet::with(Several, 1_100);
    let one = it(&mut fleet, 1);
    let wanted: Vec<Wanted> = (0..1_000u32)
        .map(|at| {
            let mut wanted = Wanted { key: key(&format!("it-{at}")), ..one.clone() };
            wanted.spec.id = lnic::ids::LambdaId::new(at + 1);
            wanted
        })
        .collect();
    let start = std::time::Instant::now();
    let done = fleet.deploy_while(wanted, |_| {});
    let took = start.elapsed();
    assert!(done.iter().all(Result::is_ok));
    assert!(took.as_millis() < 2_000, "{took:?}");
    for at in [1, 500, 1_000] {
        assert_eq!(ask(&mut fleet, 1, at), ok(1));
    }
    let keys: Vec<LambdaKey> = fleet.live.keys().cloned().collect();
    let keys: Vec<&LambdaKey> = keys.iter().collect();
    assert!(fleet.live.remove(&keys).iter().all(Result::is_ok));
    fleet.assert_empty();
}

#[test]
fn rules_lead_to_the_new_generation_and_keep_their_place() {
    let mut fleet = Fleet::new(One);
    let raw = |lambda: u32, ether_type| {
        let any = lnic::matcher::Rule::any(lnic::ids::LambdaRef::default());
        (lambda, lnic::matcher::Rule { ether_type: Some(ether_type), ..any })
    };
    let (_, rule) = raw(1, 0x88B5);
    let first = Wanted { rules: vec![rule.clone()], ..named(&mut fleet, "first", 1, 1) };
    let second = Wanted { rules: vec![rule.clone()], ..named(&mut fleet, "second", 2, 2) };
    fleet.deploy(first.clone()).expect("it is deployed");
    fleet.deploy(second).expect("it is deployed");
    let frame = ethernet(None, 0x88B5, &[1; 50]);
    fleet.exchange(0, &frame);
    let runs = |fleet: &Fleet, name: &str| fleet.stats(&key(name)).map(|stats| stats.invocations);
    assert_eq!((runs(&fleet, "first"), runs(&fleet, "second")), (Some(1), Some(0)), "of equals, the first");
    // An upgrade does not go to the end of the queue.
    fleet.deploy(first).expect("it is deployed");
    fleet.exchange(0, &frame);
    assert_eq!((runs(&fleet, "first"), runs(&fleet, "second")), (Some(2), Some(0)));
    fleet.remove(&key("first")).expect("it is removed");
    fleet.exchange(0, &frame);
    assert_eq!(runs(&fleet, "second"), Some(1));
    fleet.remove(&key("second")).expect("it is removed");
    fleet.assert_empty();
}

#[test]
fn a_quarantined_one_can_be_upgraded_and_removed() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let trap = wat::parse_str(support::lab::module("unreachable")).expect("a module");
        let wanted = fleet.wanted("it", 1, &trap, "entry");
        fleet.deploy(wanted.clone()).expect("it is deployed");
        for _ in 0..40 {
            ask(&mut fleet, 0, 1);
        }
        assert_eq!(ask(&mut fleet, 0, 1).0, Status::Unavailable, "{arrangement:?}");
        let events = fleet.look_after();
        assert_eq!(events, [lnic::control::appliance::Event::Quarantined(key("it"))]);
        let version = it(&mut fleet, 2);
        fleet.deploy(version).expect("it is deployed");
        assert_eq!(ask(&mut fleet, 0, 1), ok(2), "a new generation begins active");
        fleet.deploy(wanted).expect("it is deployed");
        for _ in 0..40 {
            ask(&mut fleet, 0, 1);
        }
        fleet.remove(&key("it")).expect("it is removed");
        assert_eq!(ask(&mut fleet, 0, 1), UNKNOWN);
        fleet.assert_empty();
    }
}
