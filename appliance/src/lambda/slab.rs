//! Large anonymous mappings, carved into slices for linear memories and for compiled code, so that ten thousand lambdas
//! cost tens of mappings.
//!
//! A slice is zero-filled when it is taken: it was zeroed, or gave its pages back to the kernel, when it was dropped. There are no
//! guards between slices: lambdas check every access against their bound (`engine.rs`), and code is read-only once it may run.

#![allow(unsafe_code, reason = "mappings are made, protected and shared out here and nowhere else")]

use std::collections::BTreeMap;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use wasmtime::{CustomCodeMemory, LinearMemory, Memory, MemoryCreator, MemoryType, Store};

/// Bytes of the first slab. Each next one is as large as those before together, so that few lambdas take little; a slice that is
/// larger has a slab of its own.
const LEAST_SLAB_BYTES: usize = 4 << 20;
/// Most bytes of a slab for several slices.
const SLAB_BYTES: usize = 64 << 20;
/// What memories that `lnic build` makes are multiples of.
const MEMORY_GRANULE: usize = 4 << 10;
/// What a huge page has on most machines. A slice at least as large gives its pages back to the kernel; smaller ones would take
/// a huge page apart, and are overwritten.
const HUGE_BYTES: usize = 2 << 20;
/// What the engine aligns code to.
const CODE_GRANULE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// Slabs of one kind. Slices hold on to them.
pub(super) struct Slabs {
    granule: usize,
    /// In huge pages where the machine has them: slices lie close together, and lambdas that have not run for a while would
    /// wait for the page tables as long as for their memory.
    huge: bool,
    slabs: Mutex<Vec<Slab>>,
}

/// One mapping and what of it is free: offset to bytes, neighbours merged.
struct Slab {
    base: usize,
    bytes: usize,
    free: BTreeMap<usize, usize>,
}

impl Slabs {
    fn new(granule: usize, huge: bool) -> Arc<Self> {
        Arc::new(Self { granule, huge, slabs: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slab>> {
        // What a panic leaves behind is consistent: each change is one call on a map.
        self.slabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A zero-filled slice of at least `bytes`, with the rights of whoever had it before; readable and writable at first.
    fn take(self: &Arc<Self>, bytes: usize) -> io::Result<Slice> {
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(self.granule)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut slabs = self.lock();
        let base = match slabs.iter_mut().find_map(|slab| slab.take(bytes)) {
            Some(base) => base,
            None => {
                let sum: usize = slabs.iter().map(|slab| slab.bytes).sum();
                let mut slab = Slab::map(bytes.max(sum.clamp(LEAST_SLAB_BYTES, SLAB_BYTES)), self.huge)?;
                let base = slab.take(bytes);
                slabs.push(slab);
                base.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?
            }
        };
        Ok(Slice { slabs: Arc::clone(self), base, bytes })
    }

    /// Puts a slice's range back; a slab that is all free is unmapped, but the last one.
    fn give_back(&self, base: usize, bytes: usize) {
        let mut slabs = self.lock();
        let last = slabs.len() == 1;
        if let Some(at) = slabs.iter().position(|slab| slab.contains(base, bytes)) {
            slabs[at].give_back(base, bytes);
            if !last && slabs[at].free.get(&0) == Some(&slabs[at].bytes) {
                slabs.swap_remove(at);
            }
        }
    }

    fn contains(&self, base: usize, bytes: usize) -> bool {
        self.lock().iter().any(|slab| slab.contains(base, bytes))
    }
}

impl Slab {
    fn map(bytes: usize, huge: bool) -> io::Result<Self> {
        // SAFETY: the kernel chooses the address, so no other mapping is touched.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let advice = if huge { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // A kernel without huge pages refuses, which is as good.
        // SAFETY: the range was mapped above; the advice changes no contents.
        let _ = unsafe { rustix::mm::madvise(base, bytes, advice) };
        if huge && bytes <= SLAB_BYTES {
            // Now, and not when a lambda is deployed: to clear a huge page takes a millisecond.
            // SAFETY: as above.
            let _ = unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxPopulateWrite) };
        }
        Ok(Self { base: base.expose_provenance(), bytes, free: BTreeMap::from([(0, bytes)]) })
    }

    fn contains(&self, base: usize, bytes: usize) -> bool {
        base >= self.base && bytes <= self.bytes && base - self.base <= self.bytes - bytes
    }

    /// First fit, so that low ranges fill up and slabs can empty.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&offset, &free) = self.free.iter().find(|range| *range.1 >= bytes)?;
        self.free.remove(&offset);
        if free > bytes {
            self.free.insert(offset + bytes, free - bytes);
        }
        Some(self.base + offset)
    }

    fn give_back(&mut self, base: usize, bytes: usize) {
        let (mut offset, mut bytes) = (base - self.base, bytes);
        if let Some(after) = self.free.remove(&(offset + bytes)) {
            bytes += after;
        }
        if let Some((&before, &length)) = self.free.range(..offset).next_back()
            && before + length == offset
        {
            self.free.remove(&before);
            offset = before;
            bytes += length;
        }
        self.free.insert(offset, bytes);
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the range is one mapping of this slab's own, and no slice of it is left: slices hold on to `Slabs`, and
        // a slab is only removed from it when all of it is free.
        let _ = unsafe { rustix::mm::munmap(ptr::with_exposed_provenance_mut(self.base), self.bytes) };
    }
}

/// A range of a slab that belongs to one owner.
struct Slice {
    slabs: Arc<Slabs>,
    base: usize,
    bytes: usize,
}

impl Slice {
    fn pointer(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base)
    }

    fn protect(&self, flags: MprotectFlags) -> io::Result<()> {
        // SAFETY: the range belongs to this slice alone, and both ends are multiples of the page size.
        unsafe { rustix::mm::mprotect(self.pointer().cast(), self.bytes, flags) }.map_err(io::Error::from)
    }

    /// Zero-fills, and gives the range back. Nobody may refer to it any more.
    fn release(&self) {
        if self.slabs.huge && self.bytes < HUGE_BYTES {
            // SAFETY: the range belongs to this slice alone, its owner is gone, and slices of huge slabs are always writable.
            unsafe { ptr::write_bytes(self.pointer(), 0, self.bytes) };
            return self.slabs.give_back(self.base, self.bytes);
        }
        // SAFETY: the range belongs to this slice alone and its owner is gone; contents of a private mapping become zero.
        let zeroed = unsafe { rustix::mm::madvise(self.pointer().cast(), self.bytes, Advice::LinuxDontNeed) };
        // What could not be zeroed is not handed out again.
        if zeroed.is_ok() {
            self.slabs.give_back(self.base, self.bytes);
        }
    }
}

/// Moves this process's heap into huge pages, as far as the kernel does that (Linux 6.1). What lambdas are made of besides memory
/// and code lies all over it, and with 4 KiB pages ten thousand of them spend more time on page tables than on their work.
/// Takes about a millisecond for each 10 MB; call it when many lambdas have been made.
pub fn gather_heap() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Some(range) =
        maps.lines().find(|line| line.ends_with("[heap]")).and_then(|line| line.split(' ').next())
    else {
        return;
    };
    let mut ends = range.split('-').map(|end| usize::from_str_radix(end, 16).unwrap_or(0));
    let (Some(from), Some(to)) = (ends.next(), ends.next()) else { return };
    let (from, to) = (from.next_multiple_of(HUGE_BYTES), to / HUGE_BYTES * HUGE_BYTES);
    for page in (from..to).step_by(HUGE_BYTES) {
        // SAFETY: within the heap, which only grows and shrinks at its end; the advice changes no contents. What the kernel
        // does not do for want of memory stays as it is.
        unsafe { libc::madvise(ptr::with_exposed_provenance_mut(page), HUGE_BYTES, libc::MADV_COLLAPSE) };
    }
}

/// Makes the linear memories of lambdas.
pub(super) struct MemorySlabs(Arc<Slabs>);

impl MemorySlabs {
    pub(super) fn new() -> Self {
        Self(Slabs::new(MEMORY_GRANULE, true))
    }
}

struct SlabMemory {
    slice: Slice,
    bytes: usize,
}

impl Drop for SlabMemory {
    fn drop(&mut self) {
        self.slice.release();
    }
}

// SAFETY: the slice belongs to this memory alone until it is dropped, is mapped as long, and never moves or changes its size;
// it is at least `bytes` long and zero-filled at first.
unsafe impl LinearMemory for SlabMemory {
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
        self.slice.pointer()
    }
}

// SAFETY: each memory is a slice of its own; a guard or room to grow, which a slice does not have, is refused.
unsafe impl MemoryCreator for MemorySlabs {
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
            return Err("a slab holds memories of a fixed size without guards".to_owned());
        }
        let slice = self.0.take(minimum).map_err(|error| format!("memory of {minimum} bytes: {error}"))?;
        Ok(Box::new(SlabMemory { slice, bytes: minimum }))
    }
}

/// The host's view of a part of a lambda's linear memory. The engine's own way to it leads over half a dozen cache lines, which
/// costs a lambda that has not run for a while a microsecond.
///
/// Its owner owns the memory's store too, keeps it as long, and borrows the window only while the lambda's code does not run.
pub(super) struct Window {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is a borrow of memory that its owner owns, and goes where its owner goes.
unsafe impl Send for Window {}

impl Window {
    /// `bytes` from `offset` on; `None` if the memory does not have them.
    pub(super) fn of<T: 'static>(
        memory: &Memory,
        store: &Store<T>,
        offset: usize,
        bytes: usize,
    ) -> Option<Self> {
        let inside = memory.data(store).get(offset..)?.get(..bytes)?.len();
        // SAFETY: just proven to lie within the memory.
        let base = unsafe { memory.data_ptr(store).add(offset) };
        Some(Self { base: NonNull::new(base)?, bytes: inside })
    }

    /// What is there.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: memories neither move nor shrink (`MemorySlabs` refuses growth), the owner keeps the store, and the lambda's
        // code, the only other that writes there, does not run while this borrow of the owner lasts.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

/// Holds the compiled code of lambdas.
///
/// Pages are written while they are no code yet, and executable and read-only from then on. Neighbours with the same rights
/// are one mapping to the kernel.
#[derive(Clone)]
pub(super) struct CodeSlabs(Arc<Slabs>);

impl CodeSlabs {
    pub(super) fn new() -> Self {
        Self(Slabs::new(CODE_GRANULE, false))
    }

    /// Copies code into a slab and makes it read-only and executable.
    pub(super) fn publish(&self, code: &[u8]) -> io::Result<CodeSlice> {
        let published = CodeSlice { slice: self.0.take(code.len())?, bytes: code.len() };
        // Where code has been before, the range is still executable.
        published.slice.protect(MprotectFlags::READ | MprotectFlags::WRITE)?;
        // SAFETY: the slice is mapped, writable, at least as long as `code`, and nobody else knows it yet.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), published.slice.pointer(), code.len()) };
        published.slice.protect(MprotectFlags::READ | MprotectFlags::EXEC)?;
        Ok(published)
    }
}

/// Published code. Whoever drops it sees to it that nothing runs in it, or refers to it, any more.
pub(super) struct CodeSlice {
    slice: Slice,
    bytes: usize,
}

impl CodeSlice {
    /// The code, as it was published.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `bytes` of the slice were written before it was published, are readable, and do not change until it is
        // dropped.
        unsafe { std::slice::from_raw_parts(self.slice.pointer(), self.bytes) }
    }

    /// The same for the engine, which takes a pointer.
    pub(super) fn pointer(&self) -> NonNull<[u8]> {
        NonNull::from(self.as_slice())
    }
}

impl Drop for CodeSlice {
    fn drop(&mut self) {
        // The rights stay, so that neighbours stay one mapping.
        self.slice.release();
    }
}

impl CustomCodeMemory for CodeSlabs {
    fn required_alignment(&self) -> usize {
        CODE_GRANULE
    }

    /// Code in a slab is executable already. Code elsewhere would be a way round this file, and is refused.
    fn publish_executable(&self, code: *const u8, bytes: usize) -> wasmtime::Result<()> {
        if self.0.contains(code.addr(), bytes) {
            Ok(())
        } else {
            Err(wasmtime::Error::msg("code outside the slabs"))
        }
    }

    /// Its slice does that when it is dropped.
    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writable(slice: &mut Slice) -> &mut [u8] {
        // SAFETY: the slice is borrowed and mapped for reading and writing.
        unsafe { std::slice::from_raw_parts_mut(slice.pointer(), slice.bytes) }
    }

    #[test]
    fn slices_are_disjoint_zero_filled_and_reused() {
        let slabs = Slabs::new(MEMORY_GRANULE, true);
        let mut taken: Vec<Slice> = (1..=100).map(|kib| slabs.take(kib * 1024).unwrap()).collect();
        for (at, slice) in taken.iter_mut().enumerate() {
            assert!(writable(slice).iter().all(|byte| *byte == 0), "slice {at} is not zero-filled");
            writable(slice).fill(at as u8 + 1);
        }
        let mut ranges: Vec<_> = taken.iter().map(|slice| (slice.base, slice.bytes)).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        // Every second one, then the rest: ranges merge in both orders.
        for slice in taken.iter().step_by(2).chain(taken.iter().skip(1).step_by(2)) {
            slice.release();
        }
        drop(taken);
        assert_eq!(slabs.lock().len(), 1);
        assert_eq!(slabs.lock()[0].free, BTreeMap::from([(0, LEAST_SLAB_BYTES)]));
        let mut again = slabs.take(1 << 20).unwrap();
        assert!(writable(&mut again).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_large_slice_has_a_slab_of_its_own_that_goes_with_it() {
        let slabs = Slabs::new(MEMORY_GRANULE, true);
        let small = slabs.take(1).unwrap();
        let large = slabs.take(SLAB_BYTES + 1).unwrap();
        assert_eq!((small.bytes, large.bytes), (MEMORY_GRANULE, SLAB_BYTES + MEMORY_GRANULE));
        assert_eq!(slabs.lock().len(), 2);
        large.release();
        assert_eq!(slabs.lock().len(), 1);
        assert!(slabs.take(usize::MAX).is_err());
    }

    #[test]
    fn code_is_never_writable_and_executable() {
        let rights = |code: &CodeSlice| {
            let address = code.as_slice().as_ptr().addr();
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let line = maps.lines().find(|line| {
                let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let bound = |text| usize::from_str_radix(text, 16).unwrap();
                (bound(start)..bound(end)).contains(&address)
            });
            line.unwrap().split(' ').nth(1).unwrap().to_owned()
        };
        let slabs = CodeSlabs::new();
        let codes: Vec<_> = (1..=50u8).map(|at| slabs.publish(&[at; 5000]).unwrap()).collect();
        for (at, code) in (1..=50u8).zip(&codes) {
            assert_eq!(rights(code), "r-xp");
            assert_eq!(code.as_slice(), [at; 5000]);
            assert!(slabs.publish_executable(code.as_slice().as_ptr(), 4096).is_ok());
        }
        assert!(slabs.publish_executable([0u8; 8].as_ptr(), 8).is_err());
        drop(codes);
        // Reused, so writable in between.
        assert_eq!(slabs.publish(&[7; 100]).unwrap().as_slice(), [7; 100]);
        assert_eq!(slabs.0.lock()[0].free, BTreeMap::from([(0, LEAST_SLAB_BYTES)]));
    }
}
