//! Hands memory that was made for an instance to the engine, and shows the host what lies in it.

#![allow(
    unsafe_code,
    reason = "the engine's interface to memory of ours is unsafe, and so is memory that lambdas share"
)]

use std::cell::Cell;
use std::ptr::{self, NonNull};

use wasmtime::{Caller, LinearMemory, Memory, MemoryCreator, MemoryType, Store, Trap};

use super::host::Host;
use crate::memory::LinearBytes;

thread_local! {
    /// Memory for the instance that this thread is making: the engine does not tell a creator whom it serves.
    static OFFERED: Cell<Option<LinearBytes>> = const { Cell::new(None) };
}

/// While it is there, the next instance that this thread makes gets the memory. What nobody took goes with it.
pub(super) struct Offer(());

impl Offer {
    pub(super) fn new(memory: LinearBytes) -> Self {
        OFFERED.set(Some(memory));
        Self(())
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        drop(OFFERED.take());
    }
}

/// Gives instances the memory that was offered to them.
pub(super) struct Offered;

struct Linear {
    memory: LinearBytes,
    bytes: usize,
}

// SAFETY: `LinearBytes` are mapped, readable and writable as long as they are there, at one place; there are at least `bytes`
// of them. Those that others share too are shared with instances of the same lambda only, whose code the engine compiles to
// plain and atomic machine accesses.
unsafe impl LinearMemory for Linear {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.bytes
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size == self.bytes { Ok(()) } else { Err(wasmtime::Error::msg("the memory is fixed")) }
    }

    fn as_ptr(&self) -> *mut u8 {
        self.memory.pointer()
    }
}

// SAFETY: each memory is one that was made for this instance; a guard or room to grow, which it does not have, is refused.
unsafe impl MemoryCreator for Offered {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if guard_size_in_bytes != 0
            || reserved_size_in_bytes.is_some_and(|bytes| bytes > minimum)
            || maximum != Some(minimum)
        {
            return Err("memories have a fixed size and no guards".to_owned());
        }
        let memory = OFFERED.take().ok_or("nobody has made a memory for it")?;
        if memory.bytes() < minimum {
            return Err(format!("memory of {minimum} bytes, and {} were made", memory.bytes()));
        }
        Ok(Box::new(Linear { memory, bytes: minimum }))
    }
}

/// The host's view of a part of a lambda's linear memory that no other instance shares. The engine's own way to it leads over
/// half a dozen cache lines, which costs a lambda that has not run for a while a microsecond.
///
/// Its owner owns the memory's store too, keeps it as long, and borrows the window only while the lambda's code does not run.
pub(super) struct Window {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is a borrow of memory that its owner owns, and goes where its owner goes.
unsafe impl Send for Window {}

impl Window {
    /// `bytes` from `offset` on, which belong to this instance alone; `None` if the memory does not have them.
    pub(super) fn of<T: 'static>(
        memory: &Memory,
        store: &Store<T>,
        offset: usize,
        bytes: usize,
    ) -> Option<Self> {
        let end = offset.checked_add(bytes)?;
        if end > memory.data_size(store) {
            return None;
        }
        // SAFETY: just proven to lie within the memory.
        let base = unsafe { memory.data_ptr(store).add(offset) };
        Some(Self { base: NonNull::new(base)?, bytes })
    }

    /// What is there.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: memories neither move nor shrink (`Linear` refuses growth), the owner keeps the store, and the lambda's code,
        // the only other that writes there, does not run while this borrow of the owner lasts.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

/// A range of the memory of a lambda that has called the host. Other instances may write there at any time, so there is never a
/// reference to its bytes: they are copied.
pub(super) struct Span {
    base: *mut u8,
    bytes: usize,
}

impl Span {
    /// Out of bounds traps.
    pub(super) fn of(caller: &Caller<'_, Host>, address: u32, bytes: u32) -> Result<Self, Trap> {
        let memory = caller.data().memory.ok_or(Trap::MemoryOutOfBounds)?;
        let (address, bytes) = (address as usize, bytes as usize);
        let end = address.checked_add(bytes).ok_or(Trap::MemoryOutOfBounds)?;
        if end > memory.data_size(caller) {
            return Err(Trap::MemoryOutOfBounds);
        }
        // SAFETY: just proven to lie within the memory, or at its end.
        Ok(Self { base: unsafe { memory.data_ptr(caller).add(address) }, bytes })
    }

    /// Copies its first bytes out, as many as both have, and says how many. `caller` is whom the span is of.
    pub(super) fn read(&self, _caller: &Caller<'_, Host>, into: &mut [u8]) -> usize {
        let bytes = self.bytes.min(into.len());
        // SAFETY: memories neither move nor go while the caller is there. `into` is the host's. Another instance may write
        // meanwhile: then bytes are its or those before, and any will do, as the engine's own `memory.copy` has it.
        unsafe { ptr::copy_nonoverlapping(self.base, into.as_mut_ptr(), bytes) };
        bytes
    }

    /// Copies bytes in; false if they do not fit.
    pub(super) fn write(&self, _caller: &mut Caller<'_, Host>, from: &[u8]) -> bool {
        if from.len() > self.bytes {
            return false;
        }
        // SAFETY: as above; the lambda waits for the host.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.base, from.len()) };
        true
    }
}
