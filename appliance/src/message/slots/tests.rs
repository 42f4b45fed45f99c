//! Slots are taken once, given back once, and what is placed stays inside.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

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

fn lambda(id: u32, slots: &[Plain]) -> LambdaSlots<Plain> {
    LambdaSlots {
        id: LambdaId::new(id),
        lambda: LambdaSlot::new(id),
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
        MessageSlots::new(vec![lambda(7, &memory[..2]), lambda(3, &memory[2..]), lambda(5, &[])], 10);
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
    let mut slots = MessageSlots::new(vec![lambda(1, &memory), lambda(2, &[])], 10);
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
    let mut slots = MessageSlots::new(vec![lambda(1, &memory)], 10);
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
        MessageSlots::new(vec![lambda(1, &memory[..2]), lambda(2, &memory[2..]), lambda(3, &[])], 10);
    for (matched, tenant) in [(2, Some(2)), (3, Some(3)), (4, None)] {
        slots.set_matched(Some(LambdaSlot::new(matched)));
        // Its own, one of another's, and nobody's.
        for id in [matched, 1, 99] {
            assert_eq!(slots.tenant(id), tenant.map(TenantId), "{id} for {matched}");
        }
    }
    slots.set_matched(None);
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
