//! Mappings: slabs, and reservations that parts of slabs are mapped into.
//!
//! Every page of a slab is there before anybody sees it, and files are sealed against shrinking: neither a lambda nor the host
//! can touch a page that the kernel does not have.

#![allow(unsafe_code, reason = "memory is mapped, zeroed and written here and nowhere else")]

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::Hugepages;
use super::pages::{self, HUGE_BYTES, Pages};

/// A slab's memory.
pub(super) struct Mapping {
    raw: MmapRaw,
    /// What can be mapped elsewhere too.
    file: Option<File>,
    pages: Pages,
    /// It lies on the NUMA node that was asked for, if one was.
    pub(super) is_on_node: bool,
}

impl Mapping {
    /// Memory for slices that nobody shares; at least `bytes`, at most `limit_bytes`.
    pub(super) fn private(
        bytes: usize,
        limit_bytes: usize,
        hugepages: Hugepages,
        node: Option<u32>,
    ) -> io::Result<Self> {
        if hugepages != Hugepages::Off {
            let rounded = bytes.next_multiple_of(HUGE_BYTES);
            let huge = if rounded <= limit_bytes {
                MmapOptions::new().len(rounded).huge(Some(HUGE_BYTES.trailing_zeros() as u8)).map_anon()
            } else {
                Err(io::ErrorKind::OutOfMemory.into())
            };
            match huge.and_then(|map| Self::prefault(map.into(), Pages::Huge, node)) {
                Ok(mapping) => return Ok(mapping),
                Err(error) if hugepages == Hugepages::Required => return Err(error),
                Err(_) => {}
            }
        }
        // It need not be backed by swap: it is prefaulted.
        let raw = MmapRaw::from(MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?);
        // Slices lie close together, and lambdas that have not run for a while would wait for the page tables as long as for
        // their memory.
        let pages = if pages::transparent() && raw.advise(Advice::HugePage).is_ok() {
            Pages::Transparent
        } else {
            Pages::Small
        };
        Self::prefault(raw, pages, node)
    }

    fn prefault(raw: MmapRaw, pages: Pages, node: Option<u32>) -> io::Result<Self> {
        let is_on_node = prefer(&raw, node);
        // Now, and not when a lambda is deployed: to clear a huge page takes a millisecond.
        match raw.advise(Advice::PopulateWrite) {
            // Before Linux 5.14 there is no such advice. Small pages are never missing then either, only late; hugepages were
            // reserved by the mapping.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
            _ => Ok(Self { raw, file: None, pages, is_on_node }),
        }
    }

    /// Memory that can be mapped several times; `bytes` are a multiple of the pages'.
    pub(super) fn shared(bytes: usize, pages: Pages, node: Option<u32>) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let flags = match pages {
            Pages::Gigantic => flags | MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB,
            Pages::Huge => flags | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
            Pages::Transparent | Pages::Small => flags,
        };
        let file = File::from(rustix::fs::memfd_create("lnic-windows", flags)?);
        file.set_len(bytes as u64)?;
        let raw = MmapOptions::new().len(bytes).map_raw(&file)?;
        let is_on_node = prefer(&raw, node);
        // Unlike a touch, it fails cleanly where there is no page.
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { raw, file: Some(file), pages, is_on_node })
    }

    pub(super) fn bytes(&self) -> usize {
        self.raw.len()
    }

    pub(super) fn pages(&self) -> Pages {
        self.pages
    }

    /// The address of an offset; both are the caller's to keep within.
    pub(super) fn pointer(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.raw.len(), "offset {offset} of {} bytes", self.raw.len());
        // SAFETY: within the mapping, or its end; mappings are not at address 0.
        unsafe { NonNull::new_unchecked(self.raw.as_mut_ptr().add(offset)) }
    }

    /// Zero-fills. The range belongs to the caller alone, who is a slice: nobody reads or writes there meanwhile.
    pub(super) fn zero(&self, offset: usize, bytes: usize) {
        assert!(self.has(offset, bytes), "{bytes} bytes at {offset} of {}", self.raw.len());
        // SAFETY: inside the mapping, which is writable. That nobody else uses the range is the caller's promise; a lambda
        // that breaks it would only see zeros, as what it shares it shares with itself.
        unsafe { ptr::write_bytes(self.raw.as_mut_ptr().add(offset), 0, bytes) };
    }

    /// Writes. The range belongs to the caller alone, as for [`zero`](Self::zero).
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.has(offset, bytes.len()), "{} bytes at {offset} of {}", bytes.len(), self.raw.len());
        // SAFETY: as above; what is written comes from elsewhere, so the two do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.as_mut_ptr().add(offset), bytes.len());
        }
    }

    fn has(&self, offset: usize, bytes: usize) -> bool {
        offset.checked_add(bytes).is_some_and(|end| end <= self.raw.len())
    }
}

/// Asks for pages of a NUMA node before there are any. False if the kernel refuses: then they come from anywhere.
fn prefer(raw: &MmapRaw, node: Option<u32>) -> bool {
    const MPOL_PREFERRED: libc::c_int = 1;
    let Some(node) = node else { return true };
    let mut mask = [0u64; 16];
    let Some(word) = mask.get_mut(node as usize / 64) else { return false };
    *word = 1 << (node % 64);
    // SAFETY: the range is one mapping of ours; the kernel reads as many bits of the mask as there are, and one less than told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            raw.as_mut_ptr(),
            raw.len(),
            MPOL_PREFERRED,
            mask.as_ptr(),
            mask.len() * 64 + 1,
            0,
        )
    };
    result == 0
}

/// A range of addresses that parts of slabs are mapped into. Until then it can be neither read nor written.
pub(super) struct Reservation {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a range of addresses that this owns alone; what it is used for is up to its owner.
unsafe impl Send for Reservation {}
// SAFETY: shared, it only tells where it is.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// `bytes`, a multiple of pages, such that `phase` bytes from its start there is a multiple of `align_bytes`, a power of two.
    pub(super) fn new(bytes: usize, align_bytes: usize, phase: usize) -> io::Result<Self> {
        let least = super::GRANULE_BYTES;
        let spare = if align_bytes > least { align_bytes } else { 0 };
        let all = bytes.checked_add(spare).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the address, so no other mapping is touched.
        let start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), all, ProtFlags::empty(), flags) }?;
        let before = if spare == 0 {
            0
        } else {
            // The first address from `start` on that is congruent to minus `phase`.
            (start.addr() + phase).next_multiple_of(align_bytes) - (start.addr() + phase)
        };
        let after = spare - before;
        // SAFETY: `before` is at most `spare`, so both ranges are within what was just mapped, and nobody knows them.
        unsafe {
            let base = start.byte_add(before);
            if before > 0 {
                rustix::mm::munmap(start, before)?;
            }
            if after > 0 {
                rustix::mm::munmap(base.byte_add(bytes), after)?;
            }
            Ok(Self { base: NonNull::new_unchecked(base.cast()), bytes })
        }
    }

    /// Maps a part of a shared slab, which outlives the reservation's use, at an offset.
    pub(super) fn map(
        &mut self,
        at: usize,
        mapping: &Mapping,
        offset: usize,
        bytes: usize,
    ) -> io::Result<()> {
        let inside = at.checked_add(bytes).is_some_and(|end| end <= self.bytes) && mapping.has(offset, bytes);
        let Some(file) = mapping.file.as_ref().filter(|_| inside) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // Page tables too, so that no invocation pays for them.
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: it replaces a part of this reservation, which belongs to it alone, by pages of a sealed file that are all there.
        unsafe {
            let place = self.base.as_ptr().add(at).cast();
            rustix::mm::mmap(place, bytes, rights, flags, file, offset as u64)?;
        }
        Ok(())
    }

    pub(super) fn pointer(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range belongs to this alone, and its owner is going.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pointer: *const u8, bytes: usize) -> Vec<u8> {
        // SAFETY: the tests map as many.
        unsafe { std::slice::from_raw_parts(pointer, bytes) }.to_vec()
    }

    #[test]
    fn what_is_written_is_seen_wherever_it_is_mapped() {
        let mapping = Mapping::shared(64 << 10, Pages::Small, None).unwrap();
        let mut one = Reservation::new(8 << 10, 4096, 0).unwrap();
        let mut two = Reservation::new(12 << 10, 4096, 0).unwrap();
        one.map(4096, &mapping, 8192, 4096).unwrap();
        two.map(0, &mapping, 8192, 8192).unwrap();
        mapping.write(8190, b"abcdef");
        // SAFETY: mapped above.
        assert_eq!(read(unsafe { one.pointer().as_ptr().add(4096) }, 4), b"cdef");
        assert_eq!(read(two.pointer().as_ptr(), 4), b"cdef");
        mapping.zero(8192, 1);
        assert_eq!(read(two.pointer().as_ptr(), 4), b"\0def");
    }

    #[test]
    fn nothing_is_mapped_outside_a_reservation_or_a_slab() {
        let shared = Mapping::shared(64 << 10, Pages::Small, None).unwrap();
        let private = Mapping::private(64 << 10, usize::MAX, Hugepages::Off, None).unwrap();
        let mut reservation = Reservation::new(8 << 10, 4096, 0).unwrap();
        assert!(reservation.map(4096, &shared, 0, 8192).is_err());
        assert!(reservation.map(0, &shared, 60 << 10, 8192).is_err());
        assert!(reservation.map(usize::MAX, &shared, 0, 4096).is_err());
        assert!(reservation.map(0, &private, 0, 4096).is_err());
        assert!(reservation.map(0, &shared, 100, 4096).is_err());
        assert!(reservation.map(0, &shared, 0, 4096).is_ok());
    }

    #[test]
    fn reservations_are_aligned_where_it_matters() {
        for (align, phase) in [(4096, 0), (HUGE_BYTES, 0), (HUGE_BYTES, 28 << 10), (HUGE_BYTES, 5 << 20)] {
            let reservation = Reservation::new(10 << 20, align, phase).unwrap();
            assert_eq!((reservation.pointer().addr().get() + phase) % align, 0);
        }
        assert!(Reservation::new(usize::MAX, HUGE_BYTES, 0).is_err());
    }

    #[test]
    fn a_file_under_a_slab_is_all_there_and_cannot_shrink() {
        let mapping = Mapping::shared(1 << 20, Pages::Small, None).unwrap();
        let file = mapping.file.as_ref().unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        assert_eq!(blocks * 512, 1 << 20);
        for bytes in [0, (1 << 20) - 1, 2 << 20] {
            assert_eq!(file.set_len(bytes).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(rustix::fs::fcntl_add_seals(file, SealFlags::WRITE).is_err());
    }

    #[test]
    #[should_panic(expected = "4096 bytes at 61441 of 65536")]
    fn nobody_zeroes_beyond_a_slab() {
        Mapping::shared(64 << 10, Pages::Small, None).unwrap().zero((60 << 10) + 1, 4096);
    }
}
