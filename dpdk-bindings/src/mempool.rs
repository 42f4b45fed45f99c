//! Pools of packet buffers.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::eal::Eal;
use crate::error::Error;
use crate::mbuf::Mbuf;
use crate::sys;

/// Bytes in front of a fresh buffer's data.
pub const HEADROOM_BYTES: u16 = sys::LNIC_MBUF_HEADROOM;

/// Handle to a pool. The pool is freed with its last handle if no buffer is out; else it stays, so that a buffer can always
/// go home.
#[derive(Clone)]
pub struct Mempool(Arc<Inner>);

struct Inner {
    pool: NonNull<sys::rte_mempool>,
    name: String,
    buffers: u32,
    data_bytes: u16,
    _eal: Eal,
}

// SAFETY: mempools may be used by any thread; per-lcore caches are indexed by the caller's lcore, and threads that are not
// DPDK's bypass them.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Makes a pool of `buffers` with `data_bytes` of room behind the headroom each. `cache` buffers are kept per lcore.
    /// `numa_node` `None` is any.
    pub fn new(
        eal: &Eal,
        name: &str,
        buffers: u32,
        cache: u32,
        data_bytes: u16,
        numa_node: Option<u32>,
    ) -> Result<Self, Error> {
        const ACTION: &str = "make mempool";
        let invalid = || Error::new(ACTION, name, libc::EINVAL);
        let c_name = CString::new(name).map_err(|_| invalid())?;
        let room = data_bytes.checked_add(HEADROOM_BYTES).ok_or_else(invalid)?;
        let node = numa_node.map_or(-1, |node| c_int::try_from(node).unwrap_or(-1));
        // SAFETY: the name outlives the call and is copied.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), buffers, cache, 0, room, node) };
        let pool = NonNull::new(pool).ok_or_else(|| Error::from_errno(ACTION, name))?;
        Ok(Self(Arc::new(Inner { pool, name: name.to_owned(), buffers, data_bytes, _eal: eal.clone() })))
    }

    /// A buffer without data; `None` if the pool is empty.
    #[inline]
    #[must_use]
    pub fn allocate(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive; a buffer that comes out is fresh and ours alone.
        unsafe { Mbuf::from_raw(sys::rte_pktmbuf_alloc(self.0.pool.as_ptr())) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Bytes that a fresh buffer has room for.
    #[must_use]
    pub fn data_bytes(&self) -> u16 {
        self.0.data_bytes
    }

    /// Buffers in all.
    #[must_use]
    pub fn buffers(&self) -> u32 {
        self.0.buffers
    }

    /// Buffers that are free, per-lcore caches included. Walks the caches: not for the path.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { sys::rte_mempool_avail_count(self.0.pool.as_ptr()) }
    }

    /// Buffers that are out: in bursts, in receive queues, in a driver's hands.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.0.buffers.saturating_sub(self.available())
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.0.pool.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: no handle is left, so nobody allocates; if all buffers are home, nobody has one either.
        unsafe {
            if sys::rte_mempool_avail_count(self.pool.as_ptr()) == self.buffers {
                sys::rte_mempool_free(self.pool.as_ptr());
            } else {
                // Keeps the EAL, and with it the memory, for the buffers that are still out.
                std::mem::forget(self._eal.clone());
            }
        }
    }
}
