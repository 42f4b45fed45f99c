//! Executable slabs: compiled code of ten thousand lambdas in tens of mappings.
//!
//! Code is read-only once it may run. A slice gives its pages back to the kernel when it is dropped.

#![allow(unsafe_code, reason = "what the engine runs is mapped, written and protected here")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use wasmtime::CustomCodeMemory;

use crate::memory::Extents;

/// Bytes of the first slab. Each next one is as large as those before together, so that few lambdas take little; a slice that is
/// larger has a slab of its own.
const LEAST_SLAB_BYTES: usize = 4 << 20;
/// Most bytes of a slab for several slices.
const SLAB_BYTES: usize = 64 << 20;
/// What the engine aligns code to.
const CODE_GRANULE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// All slabs. Slices hold on to them.
#[derive(Default)]
struct Slabs(Mutex<Vec<Slab>>);

/// One mapping and what of it is free.
struct Slab {
    base: usize,
    bytes: usize,
    extents: Extents,
}

impl Slabs {
    fn lock(&self) -> MutexGuard<'_, Vec<Slab>> {
        // What a panic leaves behind is consistent: each change is one call on a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slice of at least `bytes`, with the rights of whoever had it before; readable and writable at first.
    fn take(self: &Arc<Self>, bytes: usize) -> io::Result<Slice> {
        let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = bytes.max(1).checked_next_multiple_of(CODE_GRANULE).ok_or_else(out_of_memory)?;
        let mut slabs = self.lock();
        let base = match slabs.iter_mut().find_map(|slab| slab.take(bytes)) {
            Some(base) => base,
            None => {
                let sum: usize = slabs.iter().map(|slab| slab.bytes).sum();
                let mut slab = Slab::map(bytes.max(sum.clamp(LEAST_SLAB_BYTES, SLAB_BYTES)))?;
                let base = slab.take(bytes);
                slabs.push(slab);
                base.ok_or_else(out_of_memory)?
            }
        };
        Ok(Slice { slabs: Arc::clone(self), base, bytes })
    }

    /// Puts a slice's range back; a slab that is all free is unmapped, but the last one.
    fn give_back(&self, base: usize, bytes: usize) {
        let mut slabs = self.lock();
        let last = slabs.len() == 1;
        if let Some(at) = slabs.iter().position(|slab| slab.contains(base, bytes)) {
            let slab = &mut slabs[at];
            slab.extents.give_back(base - slab.base, bytes);
            if !last && slab.extents.is_unused() {
                slabs.swap_remove(at);
            }
        }
    }

    fn contains(&self, base: usize, bytes: usize) -> bool {
        self.lock().iter().any(|slab| slab.contains(base, bytes))
    }
}

impl Slab {
    fn map(bytes: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses the address, so no other mapping is touched.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // Rights change by 4 KiB. A kernel without huge pages refuses, which is as good.
        // SAFETY: the range was mapped above; the advice changes no contents.
        let _ = unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxNoHugepage) };
        Ok(Self { base: base.expose_provenance(), bytes, extents: Extents::new(bytes) })
    }

    fn contains(&self, base: usize, bytes: usize) -> bool {
        base >= self.base && bytes <= self.bytes && base - self.base <= self.bytes - bytes
    }

    fn take(&mut self, bytes: usize) -> Option<usize> {
        Some(self.base + self.extents.take(bytes)?)
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

    /// Gives the pages and the range back. Nobody may refer to it any more.
    fn release(&self) {
        // SAFETY: the range belongs to this slice alone and its owner is gone; contents of a private mapping become zero.
        let freed = unsafe { rustix::mm::madvise(self.pointer().cast(), self.bytes, Advice::LinuxDontNeed) };
        // What still holds somebody's code is not handed out again.
        if freed.is_ok() {
            self.slabs.give_back(self.base, self.bytes);
        }
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
        Self(Arc::default())
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
        let slabs = slabs.0.lock();
        assert_eq!((slabs.len(), slabs[0].bytes), (1, LEAST_SLAB_BYTES));
        assert!(slabs[0].extents.is_unused());
    }
}
