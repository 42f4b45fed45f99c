//! Memory that is not DPDK's, for buffers to point into: what lies there is sent without being copied into a packet buffer.
//!
//! A [`Region`] is a piece of such memory with its owner, which lives until nothing points into it any more. A [`Slot`] is a part of
//! it with a count of what is under way: buffers that were [attached](crate::mbuf::Mbuf::attach) and that a port still has, and
//! copies into it. [`Slot::in_use`] is 0 once the last of them is done; only then may it be filled anew. Everything is allocated
//! when the slot is made, nothing when it is used.
//!
//! What lies in a region is like the memory of a guest: others may write it at any time (a lambda, a DMA engine), so there is no
//! reference to it, only copies out and in that keep its bounds. Bytes that change while they are sent are sent changed.
//!
//! # Registration
//!
//! Drivers that work in software (`net_tap`, `net_af_packet`, `net_ring`, `net_null`, `dma_skeleton`) read by virtual address and
//! need nothing. A card reads by what its IOMMU maps: [`Region::register`] makes the region known to DPDK and maps it for the
//! ports' devices. What was found by experiment on 22.11:
//! - It works with `--no-huge` and with `--in-memory`, for 4 KiB pages as for huge ones, and needs none of DPDK's own memory to be like
//!   it. Address and length have to be multiples of the page size, else EINVAL; the same memory twice is EEXIST.
//! - Every registration takes one of DPDK's 128 lists of segments, of which its own heap has 1 with `--no-huge` and 6 or so with
//!   `--in-memory`; one more is ENOSPC. So register slabs, not the memories of single lambdas. 256 MiB in pages of 4 KiB take 10 ms.
//! - Devices of the virtual bus answer ENOTSUP to being mapped for: they need it not.
//! - Only addresses that are virtual ones (`--iova-mode=va`, the default here) can be registered.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use crate::eal::Eal;
use crate::error::Error;
use crate::ethdev::{Device, WeakDevice};
use crate::sys;

/// Most of what can be under way for one slot: the counter has 16 bits.
const MOST_IN_USE: u16 = 60_000;

/// Memory that a [`Region`] keeps.
///
/// # Safety
/// From `base`, `bytes` bytes are mapped, readable and writable, at the same place until the value is dropped. All other access to them
/// is such that it may happen at the same time as raw reads and writes: no Rust reference to them exists while slots
/// are read or written, and code that holds none, as a sandbox's, does not count.
pub unsafe trait Backing: Send + Sync {
    /// Its first byte.
    fn base(&self) -> NonNull<u8>;
    /// Its length.
    fn bytes(&self) -> usize;
    /// Size of its pages.
    fn page_bytes(&self) -> usize;
}

/// Handle to external memory. The memory is let go of with the last handle, slot, attached buffer and copy.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

struct Inner {
    // Before the memory: what is registered must not be unmapped.
    registration: OnceLock<Registration>,
    backing: Box<dyn Backing>,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({:p}, {} bytes)", self.0.backing.base(), self.bytes())
    }
}

impl Region {
    /// A region of memory.
    #[must_use]
    pub fn new(backing: impl Backing + 'static) -> Self {
        Self(Arc::new(Inner { registration: OnceLock::new(), backing: Box::new(backing) }))
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.backing.bytes()
    }

    /// Makes it known to DPDK and maps it for `devices`, once; undone when the region goes.
    pub fn register(&self, eal: &Eal, devices: &[&Device]) -> Result<(), Error> {
        let registration = Registration::new(eal, &*self.0.backing, devices)?;
        // Of two at the same time, DPDK has refused one (EEXIST).
        let _ = self.0.registration.set(registration);
        Ok(())
    }

    /// A part of it as a slot; `None` if it is not all within. Whoever makes slots sees to it that they do not overlap: DPDK keeps
    /// them within the region, and no more.
    #[must_use]
    pub fn slot(&self, range: Range<usize>) -> Option<Slot> {
        if range.start > range.end || range.end > self.bytes() {
            return None;
        }
        // SAFETY: within the backing's memory, as was just checked.
        let base = unsafe { self.0.backing.base().add(range.start) };
        let shared = Box::new(Shared {
            info: sys::rte_mbuf_ext_shared_info {
                free_cb: Some(free),
                fcb_opaque: std::ptr::null_mut(),
                refcnt: 1,
            },
            base,
            bytes: range.len(),
            _region: self.clone(),
        });
        let mut shared = NonNull::from(Box::leak(shared));
        // SAFETY: just made, and nobody else has it.
        unsafe { shared.as_mut().info.fcb_opaque = shared.as_ptr().cast() };
        Some(Slot(Reference { shared, _not_sync: PhantomData }))
    }
}

/// What buffers that are attached to a slot share. One allocation for each slot; freed by whoever lets go of it last.
#[repr(C)]
struct Shared {
    info: sys::rte_mbuf_ext_shared_info,
    base: NonNull<u8>,
    bytes: usize,
    _region: Region,
}

/// What a driver calls when the last buffer goes home after its slot has gone.
unsafe extern "C" fn free(_address: *mut c_void, shared: *mut c_void) {
    // SAFETY: `Region::slot` put it there, leaked from a box; the count has just become 0, so this is the one end of it.
    drop(unsafe { Box::from_raw(shared.cast::<Shared>()) });
}

/// One count of [`Shared`].
struct Reference {
    shared: NonNull<Shared>,
    /// Counting up is for one thread: that of the slot. Counting down is for all.
    _not_sync: PhantomData<*mut ()>,
}

// SAFETY: the count is atomic and the memory is raw.
unsafe impl Send for Reference {}

impl Reference {
    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: alive while it is counted. Its fields but the count are written by nobody after it is made.
        unsafe { self.shared.as_ref() }
    }

    #[inline]
    fn count(&self) -> &AtomicU16 {
        // SAFETY: alive as above, aligned; everybody counts atomically (DPDK by __atomic builtins; by plain stores only where there is one
        // reference left, and then it is the caller's own).
        unsafe { AtomicU16::from_ptr(&raw mut (*self.shared.as_ptr()).info.refcnt) }
    }

    /// Counts one more, for a buffer or a copy; false if there are too many.
    #[inline]
    fn take(&self) -> bool {
        // Only this thread counts up, so it cannot have become more meanwhile.
        let room = self.count().load(Ordering::Relaxed) < MOST_IN_USE;
        if room {
            self.count().fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    #[inline]
    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let shared = self.shared();
        let within = offset.checked_add(bytes.len()).is_some_and(|end| end <= shared.bytes);
        if within {
            // SAFETY: within the memory, which is raw; the destination is a reference, which cannot point there.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    shared.base.as_ptr().add(offset),
                    bytes.as_mut_ptr(),
                    bytes.len(),
                );
            }
        }
        within
    }

    #[inline]
    fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let shared = self.shared();
        let within = offset.checked_add(bytes.len()).is_some_and(|end| end <= shared.bytes);
        if within {
            // SAFETY: within the memory, which is raw; the source is a reference, which cannot point there.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), shared.base.as_ptr().add(offset), bytes.len());
            }
        }
        within
    }
}

impl Drop for Reference {
    #[inline]
    fn drop(&mut self) {
        if self.count().fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the last: nobody else has it.
            drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
        }
    }
}

/// A part of a region that buffers can be attached to and that copies can go to. One thread's at a time.
///
/// It may be dropped while it is in use: its memory stays until the port has let go of it.
pub struct Slot(Reference);

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:p}, {} bytes, {} in use)", self.0.shared().base, self.bytes(), self.in_use())
    }
}

impl Slot {
    /// Its length.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.shared().bytes
    }

    /// Attached buffers that are not home yet, holds, and copies under way. Whoever reads 0 sees everything that was written.
    #[inline]
    #[must_use]
    pub fn in_use(&self) -> usize {
        usize::from(self.0.count().load(Ordering::Acquire)) - 1
    }

    /// Copies bytes in. False, and nothing copied, if they are not all within.
    #[inline]
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        self.0.write(offset, bytes)
    }

    /// Copies bytes out. False, and nothing copied, if they are not all within.
    #[inline]
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        self.0.read(offset, bytes)
    }

    /// Keeps the slot in use for somebody, as an attached buffer does; `None` if too many have it, or the range is not within.
    #[inline]
    #[must_use]
    pub fn hold(&self, range: Range<usize>) -> Option<Hold> {
        if range.start > range.end || range.end > self.bytes() || !self.0.take() {
            return None;
        }
        Some(Hold { reference: Reference { shared: self.0.shared, _not_sync: PhantomData }, range })
    }
}

/// A range of a slot, in use until this is dropped.
pub struct Hold {
    reference: Reference,
    range: Range<usize>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({:p}, {:?})", self.reference.shared().base, self.range)
    }
}

impl Hold {
    /// Bytes of the range.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Copies the range's bytes out. False, and nothing copied, if there are not as many.
    #[must_use]
    pub fn read(&self, bytes: &mut [u8]) -> bool {
        bytes.len() == self.range.len() && self.reference.read(self.range.start, bytes)
    }

    /// Copies bytes into the range. False, and nothing copied, if there are not as many.
    #[must_use]
    pub fn write(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.range.len() && self.reference.write(self.range.start, bytes)
    }

    /// Where it begins.
    #[inline]
    pub(crate) fn address(&self) -> NonNull<u8> {
        // SAFETY: within the slot, as was checked when it was made.
        unsafe { self.reference.shared().base.add(self.range.start) }
    }

    /// The structure that DPDK counts in.
    #[inline]
    pub(crate) fn shared_info(&self) -> *mut sys::rte_mbuf_ext_shared_info {
        self.reference.shared.as_ptr().cast()
    }
}

/// What has been registered and mapped.
struct Registration {
    base: NonNull<u8>,
    bytes: usize,
    /// Mapped for these. A handle would keep open a device that may have buffers which keep the region.
    mapped: Vec<WeakDevice>,
    _eal: Eal,
}

// SAFETY: it only remembers an address, to give it back to DPDK, which locks.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    fn new(eal: &Eal, backing: &dyn Backing, devices: &[&Device]) -> Result<Self, Error> {
        const ACTION: &str = "register memory";
        let (base, bytes, page_bytes) = (backing.base(), backing.bytes(), backing.page_bytes());
        let subject = || format!("of {bytes} bytes in pages of {page_bytes}");
        // SAFETY: reads the configuration.
        if unsafe { sys::rte_eal_iova_mode() } != sys::rte_iova_mode::RTE_IOVA_VA {
            return Err(Error::new(ACTION, format!("{}: addresses are physical", subject()), libc::ENOTSUP));
        }
        if page_bytes == 0 {
            return Err(Error::new(ACTION, subject(), libc::EINVAL));
        }
        let mut addresses: Vec<u64> =
            (0..bytes / page_bytes).map(|page| (base.as_ptr() as usize + page * page_bytes) as u64).collect();
        let pages = u32::try_from(addresses.len()).map_err(|_| Error::new(ACTION, subject(), libc::E2BIG))?;
        // SAFETY: the backing says that the memory is mapped; DPDK copies the addresses.
        let code = unsafe {
            sys::rte_extmem_register(base.as_ptr().cast(), bytes, addresses.as_mut_ptr(), pages, page_bytes)
        };
        if code != 0 {
            return Err(Error::from_code(ACTION, subject(), code));
        }
        let mut registration = Self { base, bytes, mapped: Vec::new(), _eal: eal.clone() };
        for device in devices {
            let bus_device = device.bus_device()?;
            // SAFETY: the device is attached while we hold it; the memory is registered.
            let code = unsafe {
                sys::rte_dev_dma_map(bus_device, base.as_ptr().cast(), base.as_ptr() as u64, bytes)
            };
            match code {
                0 => registration.mapped.push(device.downgrade()),
                // A device of the virtual bus, which reads by virtual address.
                _ if Error::from_code(ACTION, "", code).errno == libc::ENOTSUP => {}
                code => return Err(Error::from_code("map memory for", device.name(), code)),
            }
        }
        Ok(registration)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for device in &self.mapped {
            // With a device that has gone, its mapping has.
            if let Some(Ok(bus_device)) = device.upgrade().map(|device| device.bus_device()) {
                // SAFETY: the device is attached, and the memory is mapped for it; nothing points there any more.
                unsafe {
                    let base = self.base.as_ptr();
                    sys::rte_dev_dma_unmap(bus_device, base.cast(), base as u64, self.bytes);
                }
            }
        }
        // SAFETY: registered by `new`, once.
        unsafe { sys::rte_extmem_unregister(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Anonymous memory in 4 KiB pages, zeroed: a backing for tests, benchmarks and whoever has no other.
pub struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns raw memory, which any thread may use.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Size of a page.
    pub const PAGE_BYTES: usize = 4096;

    /// At least so many bytes, in whole pages.
    pub fn new(bytes: usize) -> Result<Self, Error> {
        const ACTION: &str = "map memory";
        let refused = |errno| Error::new(ACTION, format!("of {bytes} bytes"), errno);
        let rounded =
            bytes.max(1).checked_next_multiple_of(Self::PAGE_BYTES).ok_or_else(|| refused(libc::ENOMEM))?;
        // SAFETY: a new mapping, which disturbs none.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                rounded,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(refused(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOMEM)));
        }
        NonNull::new(base.cast())
            .map(|base| Self { base, bytes: rounded })
            .ok_or_else(|| refused(libc::ENOMEM))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; who needs it holds the region, which holds this.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: private memory of this length that nobody else has a reference to; it moves never.
unsafe impl Backing for Pages {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn page_bytes(&self) -> usize {
        Self::PAGE_BYTES
    }
}
