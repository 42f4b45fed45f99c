//! Copies by a DMA engine. Names DPDK, as the links between lcores do: what an engine reads and writes is a matter of its buffers and its
//! memory, and nothing between would be left to abstract.

use std::ops::Range;

use dpdk_bindings::dmadev::DmaQueue;
use dpdk_bindings::external::Slot;
use dpdk_bindings::mbuf::Mbuf;

use super::{Copied, Copies, CopyEngine, Tags};

/// Shortest copy that is worth a descriptor, if the configuration says nothing else: handing one over costs the lcore 50–60 ns, copying
/// 256 bytes to memory that is in no cache 52, 1,440 bytes 130 (to memory that is in one, 38). `scripts/bench.sh copy`.
pub const THRESHOLD_BYTES: usize = 512;

/// A channel of a DMA engine, and the lcore for what is short, for what finds the channel full and for what the engine fails at.
pub struct Dma {
    queue: DmaQueue,
    threshold_bytes: usize,
    copies: Copies,
}

impl Dma {
    /// Copies by `queue` what has at least `threshold_bytes`.
    #[must_use]
    pub fn new(queue: DmaQueue, threshold_bytes: usize) -> Self {
        Self { queue, threshold_bytes, copies: Copies::default() }
    }
}

impl CopyEngine<Mbuf> for Dma {
    #[inline]
    fn copy(&mut self, frame: Mbuf, range: Range<usize>, to: &Slot, offset: usize, tag: u32) -> Copied<Mbuf> {
        let bytes = range.len();
        let mut frame = frame;
        if bytes >= self.threshold_bytes
            && frame.data().get(range.clone()).is_some()
            && let Some(end) = offset.checked_add(bytes)
            && let Some(hold) = to.hold(offset..end)
        {
            match self.queue.copy(frame, range.clone(), hold, tag) {
                Ok(()) => {
                    self.copies.engine += 1;
                    return Copied::UnderWay;
                }
                Err((given_back, _hold)) => {
                    frame = given_back;
                    self.copies.full += 1;
                    // It may be full of what it has not been told of.
                    self.queue.submit();
                }
            }
        }
        if !frame.data().get(range).is_some_and(|bytes| to.write(offset, bytes)) {
            return Copied::Refused(frame);
        }
        self.copies.inline += 1;
        Copied::Done(frame)
    }

    #[inline]
    fn flush(&mut self) {
        self.queue.submit();
    }

    #[inline]
    fn poll(&mut self, complete: &mut Tags) -> bool {
        let Self { queue, copies, .. } = self;
        let room = complete.remaining_capacity() as u16;
        let ended = queue.completed(room, |copy| {
            if !copy.is_copied {
                copies.failed += 1;
                // Both lengths were checked when it set out.
                let bytes = copy.from.data().get(copy.start..copy.start + copy.to.bytes());
                let done = bytes.is_some_and(|bytes| copy.to.write(bytes));
                debug_assert!(done);
            }
            complete.push(copy.tag);
        });
        ended > 0
    }

    fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    fn copies(&self) -> Copies {
        self.copies
    }
}
