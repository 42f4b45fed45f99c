//! A port in memory, for tests, simulations and benchmarks: deterministic, no root, no hugepages.
//!
//! A [`SimPool`] recycles its buffers, so a running simulation allocates nothing; [`SimPort::pair`] gives the appliance's end
//! and the [`SimPeer`] that plays the network. External memory, if the capabilities say so, is read only when the network takes the frame:
//! what is reused too early arrives wrong, as from a card.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use dpdk_bindings::external::{Hold, Slot};

use super::{Capabilities, Port};
use crate::frame::{Burst, Checksum, ChecksumOffload, Frame, FrameSource};

/// A bounded pool of equal buffers.
#[derive(Clone)]
pub struct SimPool(Rc<PoolInner>);

struct PoolInner {
    free: RefCell<Vec<Box<[u8]>>>,
    frames: usize,
    frame_bytes: usize,
}

impl SimPool {
    /// Allocates `frames` buffers of `frame_bytes` each.
    #[must_use]
    pub fn new(frames: usize, frame_bytes: usize) -> Self {
        let free = (0..frames).map(|_| vec![0; frame_bytes].into_boxed_slice()).collect();
        Self(Rc::new(PoolInner { free: RefCell::new(free), frames, frame_bytes }))
    }

    /// Buffers that are not in use.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.free.borrow().len()
    }

    /// Buffers in all.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.0.frames
    }
}

thread_local! {
    /// Pools of this thread that are known by a number.
    static POOLS: RefCell<BTreeMap<u64, SimPool>> = const { RefCell::new(BTreeMap::new()) };
}

impl SimPool {
    /// The pool as something that an lcore could take along: frames come from it on this thread only, elsewhere there are none.
    #[must_use]
    pub fn sendable(&self) -> SendablePool {
        POOLS.with_borrow_mut(|pools| {
            let number = pools.last_key_value().map_or(0, |(last, _)| last + 1);
            pools.insert(number, self.clone());
            SendablePool(number)
        })
    }
}

/// A [`SimPool`] by its number.
pub struct SendablePool(u64);

impl FrameSource for SendablePool {
    type Frame = SimFrame;

    fn frame(&mut self, bytes: &[u8]) -> Option<SimFrame> {
        POOLS.with_borrow_mut(|pools| pools.get_mut(&self.0)?.frame(bytes))
    }

    fn capacity(&self) -> usize {
        POOLS.with_borrow(|pools| pools.get(&self.0).map_or(0, FrameSource::capacity))
    }
}

impl Drop for SendablePool {
    fn drop(&mut self) {
        // At the thread's end the pools may have gone before.
        let _ = POOLS.try_with(|pools| pools.borrow_mut().remove(&self.0));
    }
}

impl FrameSource for SimPool {
    type Frame = SimFrame;

    fn capacity(&self) -> usize {
        self.0.frame_bytes
    }

    fn frame(&mut self, bytes: &[u8]) -> Option<SimFrame> {
        if bytes.len() > self.0.frame_bytes {
            return None;
        }
        let mut buffer = self.0.free.borrow_mut().pop()?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Some(SimFrame {
            buffer,
            length: bytes.len(),
            pool: Rc::clone(&self.0),
            ip_checksum: Checksum::Unknown,
            l4_checksum: Checksum::Unknown,
            offload: None,
            external: None,
        })
    }
}

/// A frame of a [`SimPool`]; goes back to it when dropped.
pub struct SimFrame {
    buffer: Box<[u8]>,
    length: usize,
    pool: Rc<PoolInner>,
    /// What the simulated card says of the IPv4 header checksum.
    pub ip_checksum: Checksum,
    /// What the simulated card says of the UDP or TCP checksum.
    pub l4_checksum: Checksum,
    /// What the deparser asked the card for.
    pub offload: Option<ChecksumOffload>,
    /// What follows `buffer`'s bytes.
    external: Option<Hold>,
}

impl SimFrame {
    /// Reads the external memory, as a card does when it sends, and lets go of it.
    fn join(&mut self) {
        let Some(external) = self.external.take() else { return };
        let end = self.length + external.bytes();
        // It had room when it was appended, and the frame's length is fixed since.
        if external.read(&mut self.buffer[self.length..end]) {
            self.length = end;
        }
    }
}

impl Drop for SimFrame {
    fn drop(&mut self) {
        self.pool.free.borrow_mut().push(std::mem::take(&mut self.buffer));
    }
}

impl Frame for SimFrame {
    type External = Slot;

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.length]
    }

    fn is_whole(&self) -> bool {
        self.external.is_none()
    }

    fn resize(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.buffer.len() && self.is_whole();
        if fits {
            self.length = bytes;
        }
        fits
    }

    fn capacity(&self) -> usize {
        self.buffer.len()
    }

    fn append_external(&mut self, memory: &Slot, range: Range<usize>) -> bool {
        // One range is all that a reply's fragment needs.
        if !self.is_whole() || !self.length.is_multiple_of(2) || range.len() > self.buffer.len() - self.length
        {
            return false;
        }
        self.external = memory.hold(range);
        !self.is_whole()
    }

    fn ip_checksum(&self) -> Checksum {
        self.ip_checksum
    }

    fn l4_checksum(&self) -> Checksum {
        self.l4_checksum
    }

    fn set_tx_offload(&mut self, offload: Option<ChecksumOffload>) {
        self.offload = offload;
    }
}

#[derive(Default)]
struct Link {
    to_appliance: RefCell<VecDeque<SimFrame>>,
    from_appliance: RefCell<VecDeque<SimFrame>>,
    /// Frames that the appliance may send before its queue is full.
    room: Cell<usize>,
}

/// The appliance's end.
pub struct SimPort {
    link: Rc<Link>,
    capabilities: Capabilities,
}

/// The network's end: what it sends, the appliance receives.
pub struct SimPeer {
    link: Rc<Link>,
    pool: SimPool,
}

impl SimPort {
    /// A link with both its ends. Neither end's queue is bounded until [`SimPeer::set_room`] says so.
    #[must_use]
    pub fn pair(pool: &SimPool, capabilities: Capabilities) -> (SimPort, SimPeer) {
        let link = Rc::new(Link { room: Cell::new(usize::MAX), ..Link::default() });
        (SimPort { link: Rc::clone(&link), capabilities }, SimPeer { link, pool: pool.clone() })
    }
}

impl Port<SimFrame> for SimPort {
    fn rx(&mut self, burst: &mut Burst<SimFrame>) -> usize {
        let mut waiting = self.link.to_appliance.borrow_mut();
        let count = waiting.len().min(burst.remaining_capacity());
        burst.extend(waiting.drain(..count));
        count
    }

    fn tx(&mut self, burst: &mut Burst<SimFrame>) -> usize {
        let room = self.link.room.get();
        let count = burst.len().min(room);
        self.link.from_appliance.borrow_mut().extend(burst.drain(..count));
        if room != usize::MAX {
            self.link.room.set(room - count);
        }
        count
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl SimPeer {
    /// Sends a frame to the appliance; false if the pool is empty or the frame does not fit its buffers.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(frame) = self.pool.frame(bytes) else { return false };
        self.send_frame(frame);
        true
    }

    /// Sends a frame as it is, offload state included.
    pub fn send_frame(&mut self, frame: SimFrame) {
        self.link.to_appliance.borrow_mut().push_back(frame);
    }

    /// The next frame that the appliance sent, with what external memory holds now.
    pub fn receive(&mut self) -> Option<SimFrame> {
        let mut frame = self.link.from_appliance.borrow_mut().pop_front()?;
        frame.join();
        Some(frame)
    }

    /// Lets the appliance send this many more frames, then its queue is full.
    pub fn set_room(&mut self, frames: usize) {
        self.link.room.set(frames);
    }

    /// Frames that the appliance has not polled yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.link.to_appliance.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpdk_bindings::external::{Pages, Region};

    #[test]
    fn external_memory_is_read_when_the_network_takes_the_frame() {
        let mut pool = SimPool::new(4, 128);
        let slot = Region::new(Pages::new(4096).unwrap()).slot(0..100).unwrap();
        assert!(slot.write(0, &[1; 100]));
        let (mut port, mut peer) =
            SimPort::pair(&pool, Capabilities { tx_external: true, ..Capabilities::default() });
        assert!(port.capabilities().tx_external);
        let mut burst = Burst::new();
        let mut send = |pool: &mut SimPool, port: &mut SimPort, range: Range<usize>| {
            let mut frame = pool.frame(b"headers.").unwrap();
            assert!(frame.append_external(&slot, range.clone()), "{range:?}");
            assert!(!frame.append_external(&slot, 0..1) && !frame.resize(6) && !frame.is_whole());
            burst.push(frame);
            let taken = port.tx(&mut burst);
            burst.clear();
            taken
        };
        assert_eq!((send(&mut pool, &mut port, 10..90), slot.in_use()), (1, 1));
        // Whoever writes before the port has let go, spoils what is sent.
        assert!(slot.write(10, &[2; 40]));
        let frame = peer.receive().unwrap();
        assert!(frame.is_whole() && slot.in_use() == 0);
        assert_eq!(frame.bytes(), [b"headers.", &[2; 40][..], &[1; 40]].concat());
        // What is not taken lets go when it is dropped.
        peer.set_room(0);
        assert_eq!((send(&mut pool, &mut port, 0..100), slot.in_use()), (0, 0));
        drop(frame);
        assert_eq!(pool.available(), pool.frames());
        for range in [0..101, 100..101, 0..121] {
            let mut frame = pool.frame(&[0; 8]).unwrap();
            assert!(!frame.append_external(&slot, range) && frame.is_whole());
        }
        assert!(!pool.frame(b"odd").unwrap().append_external(&slot, 0..10));
        let mut long = pool.frame(&[0; 100]).unwrap();
        assert!(!long.append_external(&slot, 0..29) && long.append_external(&slot, 0..28));
    }
}
