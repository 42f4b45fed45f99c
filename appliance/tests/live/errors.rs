//! What does not fit is refused, and leaves nothing behind.

use lnic::ids::LambdaId;

use crate::*;

/// Deploys what fails, and asserts that nothing of it stays.
fn refused(fleet: &mut Fleet, wanted: Wanted) -> String {
    fleet.drain();
    let before = (fleet.live.slots_taken(), fleet.used_bytes());
    let error = fleet.deploy(wanted).expect_err("it does not fit");
    fleet.drain();
    assert_eq!((fleet.live.slots_taken(), fleet.used_bytes()), before, "{error}");
    error.to_string()
}

#[test]
fn errors_name_what_does_not_fit() {
    for arrangement in ALL {
        let mut fleet = Fleet::with(arrangement, 3);
        let first = it(&mut fleet, 1);
        fleet.deploy(first.clone()).expect("it is deployed");
        let taken = named(&mut fleet, "other", 1, 1);
        assert_eq!(refused(&mut fleet, taken), "lambda \"other\": id 1 is lambda \"it\"'s already");
        let mut heavy = named(&mut fleet, "heavy", 2, 1);
        heavy.spec.weight = 0;
        if fleet.topology.dispatchers.is_empty() {
            heavy.spec.weight = 1;
        } else {
            assert_eq!(refused(&mut fleet, heavy), "lambda \"heavy\": weight 0: must be 1 to 1000");
        }
        let slots = Wanted { key: key("slots"), ..first.clone() };
        let mut slots = Wanted {
            spec: lnic::control::topology::LambdaSpec { message_slots: 2, ..slots.spec.clone() },
            ..slots
        };
        slots.spec.id = LambdaId::new(3);
        assert_eq!(
            refused(&mut fleet, slots),
            "lambda \"slots\": 2 message slots, but its module was prepared for 0"
        );
        let empty = lnic::matcher::PortRange::Inclusive(2, 1);
        let any = lnic::matcher::Rule::any(lnic::ids::LambdaRef::default());
        let mut rules = named(&mut fleet, "rules", 4, 1);
        rules.rules = vec![lnic::matcher::Rule { source_port: empty, ..any }];
        assert!(refused(&mut fleet, rules).contains("port range 2-1 is empty"));
        let big = support::lab::module("i32.const 0").replace("\"memory\") 1 1)", "\"memory\") 32 32)");
        let wasm = wat::parse_str(big).expect("a module");
        let mut big = fleet.wanted("big", 5, &wasm, "entry");
        big.key.namespace = "small".to_owned();
        let error = refused(&mut fleet, big);
        assert!(error.contains("tenant \"small\"") || error.contains("quota"), "{error}");
        // Slots: one is taken, two are left.
        for (at, id) in [(1, 11), (2, 12)] {
            let wanted = named(&mut fleet, &format!("it-{at}"), id, 1);
            fleet.deploy(wanted).expect("there is room");
        }
        let more = named(&mut fleet, "more", 13, 1);
        assert!(refused(&mut fleet, more).contains("room for 3 lambdas"));
        let upgrade = it(&mut fleet, 2);
        assert!(refused(&mut fleet, upgrade).contains("room for 3 lambdas"), "an upgrade needs a slot too");
        assert_eq!(ask(&mut fleet, 0, 1), ok(1), "what was there goes on");
        fleet.remove(&key("it-1")).expect("it is removed");
        fleet.drain();
        let upgrade = it(&mut fleet, 2);
        fleet.deploy(upgrade).expect("there is room again");
        assert_eq!(ask(&mut fleet, 0, 1), ok(2));
        fleet.remove(&key("it")).expect("it is removed");
        fleet.remove(&key("it-2")).expect("it is removed");
        fleet.assert_empty();
    }
}

#[test]
fn one_that_fails_does_not_hinder_others() {
    let mut fleet = Fleet::new(Several);
    let good = named(&mut fleet, "good", 1, 1);
    let taken = named(&mut fleet, "taken", 1, 1);
    let better = named(&mut fleet, "better", 2, 2);
    let done = fleet.deploy_while(vec![good, taken, better.clone(), better], |_| {});
    let errors: Vec<Option<String>> =
        done.iter().map(|done| done.as_ref().err().map(ToString::to_string)).collect();
    assert_eq!(
        errors,
        [
            None,
            Some("lambda \"taken\": id 1 is lambda \"good\"'s already".to_owned()),
            None,
            Some("lambda \"better\": is to be deployed twice at once".to_owned())
        ]
    );
    assert_eq!((ask(&mut fleet, 0, 1), ask(&mut fleet, 1, 2)), (ok(1), ok(2)));
    assert!(fleet.live.remove(&[&key("good"), &key("better")]).iter().all(Result::is_ok));
    fleet.assert_empty();
}

#[test]
fn namespaces_are_bounded_and_come_free() {
    let mut fleet = Fleet::new(One);
    // The configuration has two, "default" and "small".
    let in_namespace = |fleet: &mut Fleet, at: u32| {
        let mut wanted = named(fleet, "it", at, 1);
        wanted.key.namespace = format!("n{at}");
        wanted
    };
    for at in [1, 2] {
        let wanted = in_namespace(&mut fleet, at);
        fleet.deploy(wanted).expect("there is room");
    }
    let third = in_namespace(&mut fleet, 3);
    assert!(refused(&mut fleet, third.clone()).contains("there are 4 namespaces"));
    fleet.remove(&LambdaKey::new("n1", "it")).expect("it is removed");
    fleet.drain();
    fleet.deploy(third).expect("there is room again");
    assert_eq!(ask(&mut fleet, 0, 3), ok(1));
    for name in ["n2", "n3"] {
        fleet.remove(&LambdaKey::new(name, "it")).expect("it is removed");
    }
    fleet.assert_empty();
}

#[test]
fn an_lcore_that_does_not_answer_is_named_and_follows_later() {
    let mut fleet = Fleet::new(Several);
    let first = it(&mut fleet, 1);
    fleet.deploy(first).expect("it is deployed");
    fleet.live.set_patience(std::time::Duration::ZERO, std::time::Duration::ZERO);
    // Nobody breathes.
    let second = it(&mut fleet, 2);
    fleet.live.begin();
    fleet.live.prepare(second.clone());
    fleet.live.complete();
    let silent = fleet.live.silent();
    assert!(silent.is_some() && !fleet.live.is_published());
    let told = fleet.live.finish(silent).remove(0).expect_err("nobody answered").to_string();
    assert_eq!(told, format!("lambda \"it\": {} does not answer", silent.unwrap()));
    fleet.drain();
    assert_eq!((ask(&mut fleet, 0, 1), fleet.live.slots_taken()), (ok(1), 1), "it was taken back");
    // It answers, but one does not look at the new table: the others do, and it follows.
    fleet.live.begin();
    fleet.live.prepare(second);
    fleet.live.complete();
    fleet.breathe();
    fleet.live.advance();
    fleet.lcores[0].as_mut().unwrap().once();
    fleet.live.advance();
    let silent = fleet.live.silent();
    assert_eq!(silent, Some(fleet.live.workers()[1].lcore));
    let done = fleet.live.finish(silent).remove(0).expect("it is in force for the others");
    assert_eq!(done.silent, silent);
    assert_eq!(fleet.live.slots_taken(), 2, "the old one is still needed");
    fleet.drain();
    assert_eq!((ask(&mut fleet, 1, 1), fleet.live.slots_taken()), (ok(2), 1));
    fleet.remove(&key("it")).expect("it is removed");
    fleet.assert_empty();
}
