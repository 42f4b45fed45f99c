//! Maps against `HashMap`, the hash against another implementation, and runs that are killed in the middle.
#![allow(missing_docs)]

mod support;

use std::collections::HashMap;
use std::hash::Hasher as _;

use proptest::collection::vec;
use proptest::prelude::*;
use siphasher::sip::SipHasher13;
use support::{Program, build, have_tools};

/// Entries that a map of 64 slots takes.
const CAPACITY: usize = 48;

#[derive(Clone, Debug)]
enum Step {
    Get(u32),
    Enter(u32),
    Put(u32, u32),
    Replace(u32, u32, u32),
    Remove(u32),
    List,
    RemoveMultiples(u32),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // More keys than fit, few values so that replace often meets the right one.
    let (key, value) = (0..70u32, 1..4u32);
    vec(
        prop_oneof![
            8 => key.clone().prop_map(Step::Get),
            8 => key.clone().prop_map(Step::Enter),
            20 => (key.clone(), value.clone()).prop_map(|(key, value)| Step::Put(key, value)),
            6 => (key.clone(), value.clone(), value).prop_map(|(key, was, value)| Step::Replace(key, was, value)),
            14 => key.prop_map(Step::Remove),
            2 => Just(Step::List),
            1 => (2..9u32).prop_map(Step::RemoveMultiples),
            1 => Just(Step::Clear),
        ],
        1..400,
    )
}

fn list(program: &mut Program, pairs: u32) -> Vec<(i64, i64)> {
    let bytes = program.get(0, pairs as usize * 16);
    let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks(16).map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect()
}

fn sorted(reference: &HashMap<u32, u32>) -> Vec<(i64, i64)> {
    let mut all: Vec<_> = reference.iter().map(|(key, value)| (i64::from(*key), i64::from(*value))).collect();
    all.sort_unstable();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn an_own_map_is_a_hash_map(steps in steps()) {
        if !have_tools() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("map.c"));
            program.call::<(), ()>("own_map_clear", ());
            let mut reference: HashMap<u32, u32> = HashMap::new();
            for step in steps {
                match step {
                    Step::Get(key) => {
                        let expected = reference.get(&key).map_or(-1, |value| i64::from(*value));
                        prop_assert_eq!(program.call::<u32, i64>("own_map_get", key), expected);
                    }
                    Step::Enter(key) => {
                        let room = reference.contains_key(&key) || reference.len() < CAPACITY;
                        let expected = if room { i64::from(*reference.entry(key).or_insert(0)) } else { -1 };
                        prop_assert_eq!(program.call::<u32, i64>("own_map_enter", key), expected);
                    }
                    Step::Put(key, value) | Step::Replace(key, value, _) => {
                        let room = reference.contains_key(&key) || reference.len() < CAPACITY;
                        if room {
                            reference.insert(key, value);
                        }
                        prop_assert_eq!(program.call::<_, i32>("own_map_put", (key, value)), i32::from(room));
                    }
                    Step::Remove(key) => {
                        let had = reference.remove(&key).is_some();
                        prop_assert_eq!(program.call::<u32, i32>("own_map_remove", key), i32::from(had));
                    }
                    Step::List => {
                        let pairs = program.call::<u32, u32>("own_map_list", 0);
                        let mut found = list(program, pairs);
                        found.sort_unstable();
                        prop_assert_eq!(found, sorted(&reference));
                    }
                    Step::RemoveMultiples(divisor) => {
                        let pairs = program.call::<u32, u32>("own_map_list", divisor);
                        let mut found = list(program, pairs);
                        found.sort_unstable();
                        found.dedup();
                        prop_assert_eq!(found, sorted(&reference), "none is missed");
                        reference.retain(|key, _| key % divisor != 0);
                    }
                    Step::Clear => {
                        program.call::<(), ()>("own_map_clear", ());
                        reference.clear();
                    }
                }
                prop_assert_eq!(program.call::<(), u32>("own_map_count", ()) as usize, reference.len());
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_shared_map_is_a_hash_map(steps in steps()) {
        if !have_tools() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("map.c"));
            for key in 0..70u32 {
                program.call::<u32, i32>("all_map_remove", key);
            }
            let mut reference: HashMap<u32, u32> = HashMap::new();
            for step in steps {
                match step {
                    Step::Get(key) => {
                        let expected = reference.get(&key).map_or(-1, |value| i64::from(*value));
                        prop_assert_eq!(program.call::<u32, i64>("all_map_get", key), expected);
                    }
                    Step::Put(key, _) | Step::Enter(key) => {
                        let value = if let Step::Put(_, value) = step { value } else { 1 };
                        let put = program.call::<_, i32>("all_map_put", (key, value)) == 1;
                        // Its two groups may be full before the map is.
                        prop_assert!(put || (!reference.contains_key(&key) && reference.len() >= 16));
                        if put {
                            reference.insert(key, value);
                        }
                    }
                    Step::Replace(key, was, value) => {
                        let right = reference.get(&key) == Some(&was);
                        let replaced = program.call::<_, i32>("all_map_replace", (key, was, value));
                        prop_assert_eq!(replaced, i32::from(right));
                        if right {
                            reference.insert(key, value);
                        }
                    }
                    Step::Remove(key) | Step::RemoveMultiples(key) => {
                        let had = reference.remove(&key).is_some();
                        prop_assert_eq!(program.call::<u32, i32>("all_map_remove", key), i32::from(had));
                    }
                    Step::List | Step::Clear => {
                        let pairs = program.call::<(), u32>("all_map_list", ());
                        let mut found = list(program, pairs);
                        found.sort_unstable();
                        prop_assert_eq!(found, sorted(&reference));
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_hash_is_siphash_1_3(first: u64, second: u64, bytes in vec(any::<u8>(), 0..80)) {
        if !have_tools() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("map.c"));
            program.put(0, &bytes);
            let mut hasher = SipHasher13::new_with_keys(first, second);
            hasher.write(&bytes);
            let hash = program.call::<_, u64>("hash", (first, second, bytes.len() as u32));
            prop_assert_eq!(hash, hasher.finish());
            Ok(())
        })?;
    }
}

thread_local! {
    static PROGRAM: std::cell::RefCell<Option<Program>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn seeds_are_chosen_once_and_at_random() {
    if !have_tools() {
        return;
    }
    let mut program = Program::of("map.c");
    let mut seeds = Vec::new();
    for _ in 0..2 {
        program.call::<_, i32>("own_map_put", (1u32, 1u32));
        program.call::<_, i32>("all_map_put", (1u32, 1u32));
        program.call::<(), ()>("seeds", ());
        seeds.push(program.get(0, 32).to_vec());
    }
    assert_eq!(seeds[0], seeds[1]);
    for word in seeds[0].chunks(8) {
        assert_ne!(word, [0; 8]);
        assert_eq!(seeds[0].chunks(8).filter(|other| *other == word).count(), 1);
    }
}

/// A random shared map takes 90 of 100 entries in most cases; one that does not is worth knowing of.
#[test]
fn a_shared_map_fills_up_to_nine_of_ten_slots() {
    if !have_tools() {
        return;
    }
    let mut entered = 0;
    let rounds = 20;
    let wasm = build("map.c", "-O3");
    for round in 0..rounds {
        let mut program = Program::new(&wasm);
        // Another seed each time.
        (0..round).for_each(|_| program.call::<(), ()>("skip_random", ()));
        entered +=
            (0..64u32).take_while(|key| program.call::<_, i32>("all_map_put", (*key, 1u32)) == 1).count();
    }
    let share = f64::from(u32::try_from(entered).unwrap()) / f64::from(rounds * 64);
    assert!(share > 0.85, "{share}");
}

/// Operations with too little fuel end anywhere that a budget can end them. Whatever they leave, later ones work.
#[test]
fn a_killed_run_leaves_maps_usable() {
    if !have_tools() {
        return;
    }
    for map in ["own", "all"] {
        let mut program = Program::of("map.c");
        // What may be there: values that were put since the last operation that was not killed; -1 for nothing.
        let mut possible: HashMap<u32, Vec<i64>> = HashMap::new();
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (put, get, remove) =
            (format!("{map}_map_put"), format!("{map}_map_get"), format!("{map}_map_remove"));
        let mut killed = 0;
        for _ in 0..30_000 {
            // Few enough that there is room whatever killed runs have left.
            let (key, value, fuel) = (next(12) as u32, next(1000) as u32 + 1, next(700));
            let known = possible.entry(key).or_insert_with(|| vec![-1]);
            match next(4) {
                0 => match program.call_within::<u32, i32>(&remove, key, fuel) {
                    Some(had) => {
                        assert!(if had == 1 { known.iter().any(|it| *it >= 0) } else { known.contains(&-1) });
                        *known = vec![-1];
                    }
                    None => known.push(-1),
                },
                1 => {
                    let found = program.call::<u32, i64>(&get, key);
                    assert!(known.contains(&found), "{map} {key}: {found} of {known:?}");
                }
                _ => match program.call_within::<_, i32>(&put, (key, value), fuel) {
                    Some(done) => {
                        assert_eq!(done, 1, "{map}: no room for {key}");
                        *known = vec![i64::from(value)];
                    }
                    None => {
                        known.push(i64::from(value));
                        if map == "own" {
                            // Entered, and not yet put.
                            known.push(0);
                        }
                        killed += 1;
                    }
                },
            }
        }
        assert!(killed > 1000, "{killed}");
    }
}
