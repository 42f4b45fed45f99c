//! The lambdas' memory, and what they compute: a request says how long its reply is to be, and every byte of both is known.

use lnic_message::server::{Refusal, SlotId, Slots, TenantId};
use lnic_wire::rpc::Status;

/// Bytes that a request needs to say what it wants.
pub(crate) const LEAST_BYTES: usize = 16;

/// A request of so many bytes, with a number of its own, for a reply of so many bytes.
pub(crate) fn request(number: u64, bytes: usize, reply_bytes: u32) -> Vec<u8> {
    let mut payload = pattern(number, bytes.max(LEAST_BYTES));
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload[8..12].copy_from_slice(&reply_bytes.to_be_bytes());
    payload
}

/// Number and reply length of a request whose every byte is right.
pub(crate) fn read(payload: &[u8]) -> Option<(u64, u32)> {
    let number = u64::from_be_bytes(payload.get(..8)?.try_into().ok()?);
    let reply_bytes = u32::from_be_bytes(payload.get(8..12)?.try_into().ok()?);
    (payload == request(number, payload.len(), reply_bytes)).then_some((number, reply_bytes))
}

/// The reply to a request with this number.
pub(crate) fn reply(number: u64, bytes: u32) -> Vec<u8> {
    pattern(!number, bytes as usize)
}

fn pattern(number: u64, bytes: usize) -> Vec<u8> {
    let key = (number as u32).wrapping_mul(0x9E37_79B1);
    (0..bytes as u32).map(|at| (at.wrapping_mul(0x85EB_CA6B) ^ key).to_be_bytes()[1]).collect()
}

#[derive(Debug)]
struct Slot {
    lambda: u32,
    bytes: Vec<u8>,
    placed_bytes: usize,
}

/// Slots of lambdas 1 and 2; lambda 3 takes requests of one frame only.
#[derive(Debug)]
pub(crate) struct Memory {
    slots: Vec<Option<Slot>>,
    of_a_lambda: usize,
}

impl Memory {
    pub(crate) fn new(of_a_lambda: usize) -> Self {
        Self { slots: Vec::new(), of_a_lambda }
    }

    /// What a slot holds, every byte of which was placed once.
    pub(crate) fn message(&self, slot: SlotId) -> &[u8] {
        let slot = self.slots[slot.0 as usize].as_ref().expect("a slot that is taken");
        assert_eq!(slot.placed_bytes, slot.bytes.len(), "each byte moves once");
        &slot.bytes
    }

    /// A buffer for a reply; there is always one.
    pub(crate) fn reply(&mut self, bytes: Vec<u8>) -> SlotId {
        self.insert(Slot { lambda: 0, placed_bytes: bytes.len(), bytes })
    }

    pub(crate) fn part(&self, slot: SlotId, offset: u32, bytes: u32) -> &[u8] {
        let slot = self.slots[slot.0 as usize].as_ref().expect("a slot that is taken");
        &slot.bytes[offset as usize..(offset + bytes) as usize]
    }

    pub(crate) fn taken(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn insert(&mut self, slot: Slot) -> SlotId {
        let free = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[free] = Some(slot);
        SlotId(free as u32)
    }
}

impl Slots for Memory {
    fn tenant(&self, lambda: u32) -> Option<TenantId> {
        (1..=3).contains(&lambda).then_some(TenantId((lambda % 2) as u16))
    }

    fn take(&mut self, lambda: u32, bytes: u32) -> Result<SlotId, Refusal> {
        if lambda == 3 {
            return Err(Refusal { status: Status::Unimplemented, retry_us: 0 });
        }
        if self.slots.iter().flatten().filter(|slot| slot.lambda == lambda).count() >= self.of_a_lambda {
            return Err(Refusal { status: Status::Busy, retry_us: 700 });
        }
        Ok(self.insert(Slot { lambda, bytes: vec![0; bytes as usize], placed_bytes: 0 }))
    }

    fn place(&mut self, slot: SlotId, offset: u32, bytes: &[u8]) {
        let slot = self.slots[slot.0 as usize].as_mut().expect("a slot that is taken");
        slot.bytes[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        slot.placed_bytes += bytes.len();
    }

    fn free(&mut self, slot: SlotId) {
        assert!(self.slots[slot.0 as usize].take().is_some(), "freed twice");
    }
}
