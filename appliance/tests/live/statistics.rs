//! Statistics follow deployments, and do not go back.

use crate::*;

#[test]
fn a_lambda_counts_on_over_its_generations_and_a_slot_does_not() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let mut expected = 0;
        for version in 1..=VERSIONS {
            let wanted = it(&mut fleet, version);
            fleet.deploy(wanted).expect("it is deployed");
            for _ in 0..7 {
                ask(&mut fleet, 0, 1);
                expected += 1;
                let stats = fleet.stats(&key("it")).unwrap();
                assert_eq!((stats.invocations, stats.forwarded), (expected, expected), "{arrangement:?}");
                assert_eq!((stats.generation, stats.namespace.as_str()), (version.into(), "default"));
                assert!(stats.memory_bytes.values().sum::<u64>() > 0);
            }
            if version % 2 == 0 {
                fleet.drain();
            }
        }
        assert_eq!(fleet.live.stats().made(), u64::from(VERSIONS));
        fleet.remove(&key("it")).expect("it is removed");
        assert!(fleet.stats(&key("it")).is_none());
        fleet.drain();
        // Others in the same slots begin at nothing.
        for at in 0..SLOTS_TO_FILL {
            let wanted = named(&mut fleet, &format!("it-{at}"), at + 10, 1);
            fleet.deploy(wanted).expect("it is deployed");
            let stats = fleet.stats(&key(&format!("it-{at}"))).unwrap();
            assert_eq!((stats.invocations, stats.service.max_ns), (0, 0), "{arrangement:?}");
        }
        let keys: Vec<LambdaKey> = fleet.live.keys().cloned().collect();
        assert!(fleet.live.remove(&keys.iter().collect::<Vec<_>>()).iter().all(Result::is_ok));
        fleet.assert_empty();
    }
}

const SLOTS_TO_FILL: u32 = 8;

#[test]
fn commands_are_counted_and_their_time_is_known() {
    let mut fleet = Fleet::new(Several);
    let wanted = it(&mut fleet, 1);
    fleet.deploy(wanted).expect("it is deployed");
    for counters in &fleet.counters {
        assert_eq!(counters.commands.get(), 2, "a load and a view");
        assert!(counters.longest_command_ns.get() > 0);
    }
}
