//! Lcores that end while something is deployed.

use std::time::Duration;

use crate::*;

/// The lcores with an NPU and nothing else.
fn npus(fleet: &Fleet) -> Vec<usize> {
    let workers = fleet.live.workers().iter().enumerate();
    workers.filter(|(_, worker)| worker.poller.is_none()).map(|(at, _)| at).collect()
}

#[test]
fn a_deployment_does_not_wait_for_the_dead() {
    for arrangement in [Behind, Two] {
        for when in 0..4 {
            let mut fleet = Fleet::new(arrangement);
            fleet.live.set_patience(Duration::from_secs(1), Duration::ZERO);
            let wanted = it(&mut fleet, 1);
            fleet.deploy(wanted).expect("it is deployed");
            let victim = npus(&fleet)[0];
            let wanted = vec![it(&mut fleet, 2), counter(&mut fleet, "counter", 2)];
            let mut turn = 0;
            let done = fleet.deploy_while(wanted, |fleet| {
                if turn == when {
                    fleet.kill(victim);
                }
                turn += 1;
            });
            if turn <= when {
                fleet.kill(victim);
            }
            assert!(done.iter().all(Result::is_ok), "{done:?}");
            fleet.settle();
            for run in 1..10 {
                assert_eq!(ask(&mut fleet, 0, 1), ok(2), "{arrangement:?}, death in turn {when}");
                fleet.look_after();
                let (status, count) = ask(&mut fleet, 0, 2);
                assert!(status == Status::Ok && count <= Some(run) || status == Status::Unavailable);
            }
            // And the next one does without it.
            let wanted = it(&mut fleet, 3);
            assert!(
                fleet.deploy(wanted).expect("it is deployed").replicas < fleet.topology.npus.len() as u32
            );
            assert_eq!(ask(&mut fleet, 0, 1), ok(3));
            for name in ["it", "counter"] {
                fleet.remove(&key(name)).expect("it is removed");
            }
            fleet.drain();
            assert_eq!((fleet.live.slots_taken(), fleet.used_bytes()), (0, 0));
        }
    }
}

#[test]
fn what_was_lost_with_an_npu_does_not_keep_a_generation_for_ever() {
    let mut fleet = Fleet::new(Behind);
    fleet.live.set_patience(Duration::from_secs(1), Duration::from_millis(50));
    let wanted = it(&mut fleet, 1);
    fleet.deploy(wanted).expect("it is deployed");
    for _ in 0..60 {
        assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
    }
    for _ in 0..3 {
        fleet.lcores[0].as_mut().unwrap().once();
    }
    let victim = npus(&fleet)[0];
    fleet.kill(victim);
    let wanted = it(&mut fleet, 2);
    fleet.deploy(wanted).expect("it is deployed");
    fleet.drain();
    assert_eq!(fleet.live.slots_taken(), 1);
    let lost = fleet.counters[0].dropped(lnic::observe::DropReason::NpuLost);
    assert!(lost > 0 && fleet.received(0).len() as u64 + lost == 60, "{lost} were lost with it");
    // Slots that have a loss in their count are used again, and drain.
    for round in 0..40u32 {
        let wanted = it(&mut fleet, round % 4 + 1);
        fleet.deploy(wanted).expect("it is deployed");
        assert_eq!(ask(&mut fleet, 0, 1), ok(round % 4 + 1));
        fleet.drain();
    }
    fleet.remove(&key("it")).expect("it is removed");
    fleet.drain();
    assert_eq!((fleet.live.slots_taken(), fleet.used_bytes()), (0, 0));
}
