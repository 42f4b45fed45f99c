//! Rings of owned pointers between lcores, packet buffers or boxes: bounded, lock-free.

use std::ffi::{CString, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::eal::Eal;
use crate::error::Error;
use crate::mbuf::Mbuf;
use crate::sys;

/// What a ring can carry: a value that is one pointer, and owns what it points to.
///
/// # Safety
/// The type has the size and the representation of a non-null pointer.
pub unsafe trait Pointer: Send {}

// SAFETY: `repr(transparent)` over a pointer.
unsafe impl Pointer for Mbuf {}
// SAFETY: a box of a sized type is a non-null pointer.
unsafe impl<T: Send> Pointer for Box<T> {}

/// Who may use each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One producer, one consumer. The handles are not `Clone`.
    Single,
    /// Any number of each.
    Many,
}

struct Inner<P: Pointer> {
    ring: NonNull<sys::rte_ring>,
    _eal: Eal,
    _carries: PhantomData<P>,
}

// SAFETY: rings are made to be shared by threads; `Sharing::Single` is upheld by `&mut` on handles that cannot be cloned. What
// they carry is `Send`.
unsafe impl<P: Pointer> Send for Inner<P> {}
// SAFETY: as above.
unsafe impl<P: Pointer> Sync for Inner<P> {}

impl<P: Pointer> Drop for Inner<P> {
    fn drop(&mut self) {
        let mut left = ArrayVec::<P, 64>::new();
        while dequeue(self, &mut left) > 0 {
            left.clear();
        }
        // SAFETY: neither end is left.
        unsafe { sys::rte_ring_free(self.ring.as_ptr()) };
    }
}

/// The end that puts pointers in.
pub struct Producer<P: Pointer>(Arc<Inner<P>>);

/// The end that takes them out.
pub struct Consumer<P: Pointer>(Arc<Inner<P>>);

/// Makes a ring for up to `capacity` pointers; what is in it when both ends are gone is freed.
pub fn new<P: Pointer>(
    eal: &Eal,
    name: &str,
    capacity: u32,
    numa_node: Option<u32>,
    sharing: Sharing,
) -> Result<(Producer<P>, Consumer<P>), Error> {
    const ACTION: &str = "make ring";
    let c_name = CString::new(name).map_err(|_| Error::new(ACTION, name, libc::EINVAL))?;
    // One slot of a ring stays empty.
    let slots = capacity.checked_add(1).and_then(u32::checked_next_power_of_two);
    let slots = slots.ok_or_else(|| Error::new(ACTION, name, libc::EINVAL))?;
    let flags = match sharing {
        Sharing::Single => sys::LNIC_RING_F_SP_ENQ | sys::LNIC_RING_F_SC_DEQ,
        Sharing::Many => 0,
    };
    let node = numa_node.map_or(-1, |node| i32::try_from(node).unwrap_or(-1));
    // SAFETY: the name outlives the call and is copied.
    let ring = unsafe { sys::rte_ring_create(c_name.as_ptr(), slots, node, flags) };
    let ring = NonNull::new(ring).ok_or_else(|| Error::from_errno(ACTION, name))?;
    let inner = Arc::new(Inner { ring, _eal: eal.clone(), _carries: PhantomData });
    Ok((Producer(Arc::clone(&inner)), Consumer(inner)))
}

impl<P: Pointer> Producer<P> {
    /// Puts pointers in from the front; what does not fit stays, in order. Returns how many went in.
    #[inline]
    pub fn enqueue<const N: usize>(&mut self, burst: &mut ArrayVec<P, N>) -> usize {
        let count = burst.len() as c_uint;
        // SAFETY: a `Pointer` is one; those that went in are forgotten below, so each has one owner.
        let sent = unsafe {
            let pointers = burst.as_ptr().cast::<*mut c_void>();
            sys::rte_ring_enqueue_burst(self.0.ring.as_ptr(), pointers, count, std::ptr::null_mut())
        } as usize;
        forget_front(burst, sent);
        sent
    }

    /// Pointers in the ring.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: the ring is alive.
        unsafe { sys::rte_ring_count(self.0.ring.as_ptr()) as usize }
    }

    /// True if the ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<P: Pointer> Consumer<P> {
    /// Appends pointers until the burst is full or the ring empty. Returns how many came.
    #[inline]
    pub fn dequeue<const N: usize>(&mut self, burst: &mut ArrayVec<P, N>) -> usize {
        dequeue(&self.0, burst)
    }
}

#[inline]
fn dequeue<P: Pointer, const N: usize>(inner: &Inner<P>, burst: &mut ArrayVec<P, N>) -> usize {
    let first = burst.len();
    let room = burst.remaining_capacity() as c_uint;
    // SAFETY: there is room for so many pointers behind the burst's last; each that comes out is owned by nobody else.
    unsafe {
        let place = burst.as_mut_ptr().add(first).cast::<*mut c_void>();
        let count =
            sys::rte_ring_dequeue_burst(inner.ring.as_ptr(), place, room, std::ptr::null_mut()) as usize;
        burst.set_len(first + count);
        count
    }
}

/// Removes the first `count` values, which have another owner now, and closes the gap.
#[inline]
pub(crate) fn forget_front<T, const N: usize>(burst: &mut ArrayVec<T, N>, count: usize) {
    let left = burst.len() - count;
    // SAFETY: the first `count` are forgotten, not dropped; the rest move to the front, each once.
    unsafe {
        let start = burst.as_mut_ptr();
        std::ptr::copy(start.add(count), start, left);
        burst.set_len(left);
    }
}
