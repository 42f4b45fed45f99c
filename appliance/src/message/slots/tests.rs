//! Slots are taken once, given back once, and what is placed stays inside.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::ids::Generation;

/// A slot's memory that can be said to be in use.
#[derive(Clone)]
struct Plain {
    bytes: Rc<Vec<Cell<u8>>>,
    in_use: Rc<Cell<usize>>,
}

impl Plain {
    fn new() -> Self {
        Self { bytes: Rc::new(vec![Cell::new(0); 32]), in_use: Rc::default() }
    }

    fn contents(&self) -> Vec<u8> {
        self.bytes.iter().map(Cell::get).collect()
    }
}

impl External for Plain {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn in_use(&self) -> usize {
        self.in_use.get()
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(place) = offset.checked_add(bytes.len()).and_then(|end| self.bytes.get(offset..end)) else {
            return false;
        };
        place.iter().zip(bytes).for_each(|(cell, byte)| cell.set(*byte));
        true
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let Some(from) = offset.checked_add(bytes.len()).and_then(|end| self.bytes.get(offset..end)) else {
            return false;
        };
        bytes.iter_mut().zip(from).for_each(|(byte, cell)| *byte = cell.get());
        true
    }
}

fn at(slot: u32) -> LambdaRef {
    LambdaRef { slot: LambdaSlot::new(slot), generation: Generation::new(1) }
}

fn lambda(id: u32, slots: &[Plain]) -> LambdaSlots<Plain> {
    LambdaSlots {
        id: LambdaId::new(id),
        lambda: at(id),
        tenant: TenantId(id as u16),
        slots: slots.to_vec(),
        address: 0x1000,
        slot_bytes: 32,
    }
}

#[test]
fn what_is_placed_lies_in_the_lambdas_own_slot_and_nowhere_else() {
    let memory: Vec<Plain> = (0..5).map(|_| Plain::new()).collect();
    let mut slots =
        MessageSlots::new(vec![lambda(7, &memory[..2]), lambda(3, &memory[2..]), lambda(5, &[])], 8, 10);
    assert_eq!((slots.tenant(3), slots.tenant(4)), (Some(TenantId(3)), None));
    assert!(slots.has_slots(LambdaSlot::new(7)) && !slots.has_slots(LambdaSlot::new(5)));
    assert!(!slots.has_slots(LambdaSlot::new(999)));
    let first = slots.take(3, 32).unwrap();
    let second = slots.take(3, 1).unwrap();
    assert_eq!(slots.placed(first, 7), Some(SlotRef { address: 0x1000, bytes: 7, capacity: 32 }));
    assert_eq!(slots.placed(second, 0), Some(SlotRef { address: 0x1000 + 32, bytes: 0, capacity: 32 }));
    assert_eq!((slots.lambda(3), slots.lambda(4)), (Some(LambdaSlot::new(3)), None));
    slots.place(second, 4, &[9; 28]);
    // Neither over the end of the slot nor round the end of the numbers.
    slots.place(second, 5, &[1; 28]);
    slots.place(second, u32::MAX, &[1; 28]);
    slots.place(SlotId(99), 0, &[1]);
    let mut expected = vec![0; 32];
    expected[4..].fill(9);
    for (at, memory) in memory.iter().enumerate() {
        assert_eq!(memory.contents(), if at == 3 { expected.clone() } else { vec![0; 32] }, "{at}");
    }
    let mut read = [0; 28];
    assert!(slots.read(second, 4, &mut read) && read == [9; 28]);
    assert!(!slots.read(second, 5, &mut read) && !slots.read(SlotId(5), 0, &mut read));
}

#[test]
fn each_slot_is_taken_once_and_given_back_once() {
    let memory: Vec<Plain> = (0..2).map(|_| Plain::new()).collect();
    let mut slots = MessageSlots::new(vec![lambda(1, &memory), lambda(2, &[])], 8, 10);
    let taken = [slots.take(1, 32).unwrap(), slots.take(1, 0).unwrap()];
    assert_ne!(taken[0], taken[1]);
    assert_eq!(slots.take(1, 1), Err(Refusal { status: Status::Busy, retry_us: 10 }));
    assert_eq!(slots.take(1, 33).unwrap_err().status, Status::OutOfRange);
    assert_eq!(slots.take(2, 1).unwrap_err().status, Status::Unimplemented);
    assert_eq!(slots.take(9, 1).unwrap_err().status, Status::Unimplemented);
    slots.free(taken[0]);
    slots.free(taken[0]);
    slots.free(SlotId(77));
    assert_eq!(slots.taken(), 1);
    assert_eq!(slots.take(1, 32), Ok(taken[0]));
    assert_eq!(slots.taken(), 2);
}

#[test]
fn one_that_a_port_still_reads_is_not_taken() {
    let memory: Vec<Plain> = (0..2).map(|_| Plain::new()).collect();
    let mut slots = MessageSlots::new(vec![lambda(1, &memory)], 8, 10);
    memory[0].in_use.set(3);
    assert_eq!(slots.take(1, 1), Ok(SlotId(1)));
    assert_eq!(slots.take(1, 1).unwrap_err().status, Status::Busy);
    memory[0].in_use.set(0);
    assert_eq!(slots.take(1, 1), Ok(SlotId(0)));
}

#[test]
fn another_ones_id_takes_slots_of_the_lambda_that_a_rule_found() {
    let memory: Vec<Plain> = (0..3).map(|_| Plain::new()).collect();
    let mut slots =
        MessageSlots::new(vec![lambda(1, &memory[..2]), lambda(2, &memory[2..]), lambda(3, &[])], 8, 10);
    for (matched, tenant) in [(2, Some(2)), (3, Some(3)), (4, None)] {
        slots.set_matched(Some(LambdaSlot::new(matched)), false);
        // Its own, one of another's, and nobody's.
        for id in [matched, 1, 99] {
            assert_eq!(slots.tenant(id), tenant.map(TenantId), "{id} for {matched}");
        }
    }
    slots.set_matched(None, false);
    assert_eq!((slots.tenant(1), slots.tenant(99)), (Some(TenantId(1)), None));
    let taken = slots.take_of(LambdaSlot::new(2), 32).unwrap();
    slots.place(taken, 0, &[5; 32]);
    assert_eq!(memory[2].contents(), [5; 32]);
    assert_eq!(slots.take_of(LambdaSlot::new(2), 1).unwrap_err().status, Status::Busy);
    assert_eq!(slots.take_of(LambdaSlot::new(1), 33).unwrap_err().status, Status::OutOfRange);
    for none in [3, 4, 999] {
        assert_eq!(slots.take_of(LambdaSlot::new(none), 1).unwrap_err().status, Status::Unimplemented);
    }
}

#[test]
fn a_message_that_began_ends_where_it_began() {
    let memory: Vec<Plain> = (0..3).map(|_| Plain::new()).collect();
    let outstanding = Arc::new(Outstanding::new(8));
    let mut slots = MessageSlots::new(vec![lambda(1, &memory[..1])], 8, 10);
    slots.count_in(Arc::clone(&outstanding));
    let old = slots.take(1, 32).unwrap();
    // A newer generation with the same ID, in another slot.
    let newer = LambdaSlots { lambda: at(2), ..lambda(1, &memory[1..]) };
    assert!(slots.add(PlacedSlots::new(1, newer)).is_none());
    assert_eq!(slots.lambda(1), Some(LambdaSlot::new(1)), "it was not published");
    let mut ids = Arc::new(MessageIds::new([(LambdaId::new(1), 1)], []));
    slots.swap_ids(&mut ids);
    let new = slots.take(1, 32).unwrap();
    assert_eq!((slots.owner(old), slots.owner(new)), (Some(at(1)), Some(at(2))));
    slots.place(old, 0, &[7; 32]);
    assert_eq!((memory[0].contents(), memory[1].contents()), (vec![7; 32], vec![0; 32]));
    let counts = |slot| outstanding.get(LambdaSlot::new(slot));
    assert_eq!((counts(1), counts(2), slots.taken()), (1, 1, 2));
    assert!(slots.remove(at(1)).is_err(), "it has a message");
    slots.free(old);
    assert_eq!((counts(1), counts(2)), (0, 1));
    let removed = slots.remove(at(1)).unwrap().unwrap();
    assert_eq!((removed.place(), removed.lambda(), removed.is_in_use()), (0, at(1), false));
    assert!(slots.remove(at(1)).unwrap().is_none() && !slots.knows(LambdaSlot::new(1)));
    // Another one at its place: what was known of the old slot means nothing.
    assert!(
        slots.add(PlacedSlots::new(0, LambdaSlots { lambda: at(3), ..lambda(9, &memory[..1]) })).is_none()
    );
    slots.free(old);
    assert_eq!((slots.taken(), counts(1), counts(3)), (1, 0, 0));
    // A lambda on more NPUs keeps its memory, and its messages.
    slots.pass_on(LambdaSlot::new(2), at(4));
    assert_eq!((slots.owner(new), counts(2), counts(4)), (Some(at(4)), 0, 1));
    assert!(slots.has_slots(LambdaSlot::new(4)) && !slots.knows(LambdaSlot::new(2)));
    assert!(slots.remove(at(2)).unwrap().is_none());
    slots.free(new);
    assert_eq!((slots.taken(), counts(4)), (0, 0));
}

#[test]
fn one_that_sleeps_begins_nothing_and_ends_what_began() {
    let memory: Vec<Plain> = (0..2).map(|_| Plain::new()).collect();
    let mut slots = MessageSlots::new(vec![lambda(1, &memory)], 8, 10);
    let taken = slots.take(1, 32).unwrap();
    slots.set_matched(Some(LambdaSlot::new(1)), true);
    slots.place(taken, 0, &[3; 32]);
    assert!(!slots.was_wanted());
    assert_eq!(slots.take(1, 1), Err(Refusal { status: Status::Busy, retry_us: 10 }));
    assert!(slots.was_wanted());
    slots.set_matched(Some(LambdaSlot::new(1)), false);
    assert!(slots.take(1, 1).is_ok() && !slots.was_wanted());
}

#[test]
fn an_id_whose_lambda_was_removed_is_known_while_messages_are_under_way() {
    let mut slots = MessageSlots::new(vec![lambda(1, &[Plain::new()])], 8, 10);
    let mut ids = Arc::new(MessageIds::new([], [LambdaId::new(1)]));
    slots.swap_ids(&mut ids);
    assert!(slots.was_removed(1) && !slots.was_removed(2));
    assert_eq!((slots.tenant(1), slots.take(1, 1).unwrap_err().status), (None, Status::Unimplemented));
}
