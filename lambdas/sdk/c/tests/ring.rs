//! Rings against `VecDeque`, and runs that are killed in the middle.
#![allow(missing_docs)]

mod support;

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use support::{Program, have_tools};

const CAPACITY: usize = 16;

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    Force(u32),
    Pop,
    Peek(u32),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(
        prop_oneof![
            12 => any::<u32>().prop_map(Step::Push),
            2 => any::<u32>().prop_map(Step::Force),
            10 => Just(Step::Pop),
            4 => (0..20u32).prop_map(Step::Peek),
            1 => Just(Step::Clear),
        ],
        1..300,
    )
}

/// Laps before the positions wrap around, or none.
fn laps() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX / 16 - 1), any::<u32>()]
}

thread_local! {
    static PROGRAM: std::cell::RefCell<Option<Program>> = const { std::cell::RefCell::new(None) };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_own_ring_is_a_queue(steps in steps(), laps in laps()) {
        if !have_tools() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("ring.c"));
            program.call::<u32, ()>("own_ring_turn", laps.wrapping_mul(16));
            let mut reference: VecDeque<u32> = VecDeque::new();
            for step in steps {
                let is_full = reference.len() == CAPACITY;
                match step {
                    Step::Push(number) => {
                        prop_assert_eq!(program.call::<u32, i32>("own_ring_push", number), i32::from(!is_full));
                        if !is_full {
                            reference.push_back(number);
                        }
                    }
                    Step::Force(number) => {
                        prop_assert_eq!(program.call::<u32, i32>("own_ring_force", number), i32::from(is_full));
                        if is_full {
                            reference.pop_front();
                        }
                        reference.push_back(number);
                    }
                    Step::Pop => {
                        let expected = reference.pop_front().map_or(-1, i64::from);
                        prop_assert_eq!(program.call::<(), i64>("own_ring_pop", ()), expected);
                    }
                    Step::Peek(index) => {
                        let expected = reference.get(index as usize).map_or(-1, |number| i64::from(*number));
                        prop_assert_eq!(program.call::<u32, i64>("own_ring_peek", index), expected);
                    }
                    Step::Clear => {
                        program.call::<(), ()>("own_ring_clear", ());
                        reference.clear();
                    }
                }
                prop_assert_eq!(program.call::<(), u32>("own_ring_count", ()) as usize, reference.len());
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_shared_ring_is_a_queue(steps in steps(), laps in laps()) {
        if !have_tools() {
            return Ok(());
        }
        PROGRAM.with_borrow_mut(|program| {
            let program = program.get_or_insert_with(|| Program::of("ring.c"));
            program.call::<u32, ()>("all_ring_turn", laps);
            let mut reference: VecDeque<u32> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Push(number) | Step::Force(number) => {
                        let room = reference.len() < CAPACITY;
                        prop_assert_eq!(program.call::<u32, i32>("all_ring_push", number), i32::from(room));
                        if room {
                            reference.push_back(number);
                        }
                    }
                    Step::Pop | Step::Peek(_) => {
                        let expected = reference.pop_front().map_or(-1, i64::from);
                        prop_assert_eq!(program.call::<(), i64>("all_ring_pop", ()), expected);
                    }
                    Step::Clear => {}
                }
                prop_assert_eq!(program.call::<(), u32>("all_ring_count", ()) as usize, reference.len());
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_killed_run_leaves_a_shared_ring_usable() {
    if !have_tools() {
        return;
    }
    let mut program = Program::of("ring.c");
    // Positions wrap around on the way.
    program.call::<u32, ()>("all_ring_turn", u32::MAX / 16 - 20);
    let mut random = 5u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    // Items that were pushed and not popped, in their order; and whether their push, or a pop that may have been theirs, was killed.
    let mut expected: VecDeque<(u32, bool)> = VecDeque::new();
    let (mut number, mut killed, mut popped) = (0u32, [0, 0], 0);
    for _ in 0..40_000 {
        if next(2) == 0 {
            number += 1;
            match program.call_within::<u32, i32>("all_ring_push", number, next(400)) {
                Some(1) => expected.push_back((number, false)),
                Some(_) => assert!(!expected.is_empty(), "an empty ring is full"),
                None => {
                    expected.push_back((number, true));
                    killed[0] += 1;
                }
            }
            continue;
        }
        // Half of them get as far as passing over what killed pushes have left.
        let fuel = if next(2) == 0 { next(1500) } else { 100_000 };
        match program.call_within::<(), i64>("all_ring_pop", (), fuel) {
            Some(-1) => assert!(expected.iter().all(|(_, uncertain)| *uncertain), "{expected:?} is empty"),
            Some(found) => {
                let found = u32::try_from(found).expect("a whole item");
                loop {
                    let (number, uncertain) =
                        expected.pop_front().expect("an item that nobody pushed, or one twice");
                    if number == found {
                        break;
                    }
                    assert!(uncertain, "{number} is lost, {found} came");
                }
                popped += 1;
            }
            None => {
                // It has taken the oldest that is there, or nothing.
                for item in &mut expected {
                    let was_certain = !std::mem::replace(&mut item.1, true);
                    if was_certain {
                        break;
                    }
                }
                killed[1] += 1;
            }
        }
    }
    assert!(killed[0] > 1000 && killed[1] > 100 && popped > 5000, "{killed:?} {popped}");
    // All of it can still be used.
    while program.call::<(), i64>("all_ring_pop", ()) != -1 {}
    for number in 0..CAPACITY as u32 {
        assert_eq!(program.call::<u32, i32>("all_ring_push", number), 1, "{number}");
    }
    assert_eq!(program.call::<u32, i32>("all_ring_push", 99), 0);
    for number in 0..CAPACITY as i64 {
        assert_eq!(program.call::<(), i64>("all_ring_pop", ()), number);
    }
}
