//! Copies of payload from frames to their final place in external memory: the one copy that a message takes.
//!
//! [`Inline`] copies at once. [`dma::Dma`] lets another unit copy: the frame is kept until its copy is complete, so a message is whole
//! only when [`External::in_use`] of its slot is 0, not when its last fragment has been seen. What each costs:
//! `scripts/bench.sh copy`.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::frame::{BURST, External, Frame};

// What is fuzzed is built without DPDK.
#[cfg(not(fuzzing))]
pub mod dma;

/// Tags of copies that are complete.
pub type Tags = ArrayVec<u32, BURST>;

/// What became of a copy.
#[derive(Debug)]
pub enum Copied<F> {
    /// It is complete; the frame can be used anew.
    Done(F),
    /// The engine has the frame until [`CopyEngine::poll`] gives the tag.
    UnderWay,
    /// The range is not within the frame, or not within the memory there. Nothing was copied.
    Refused(F),
}

/// How many copies went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// By the lcore.
    pub inline: u64,
    /// By the engine.
    pub engine: u64,
    /// By the lcore because the engine had no room.
    pub full: u64,
    /// By the lcore because the engine failed.
    pub failed: u64,
}

/// Copies payload into external memory, now or later. Ranges of the memory that are under way at the same time must not overlap, or either's
/// bytes are there afterwards: place every fragment once.
pub trait CopyEngine<F: Frame> {
    /// Copies `range` of the frame's bytes to `offset` of `to`. `tag` tells the caller by what it was for, when it was not done at once.
    fn copy(&mut self, frame: F, range: Range<usize>, to: &F::External, offset: usize, tag: u32)
    -> Copied<F>;

    /// Lets what was enqueued begin: once a burst.
    fn flush(&mut self) {}

    /// Appends the tags of copies that are complete since, in order; their frames are freed. Once a breath. True if there were any.
    fn poll(&mut self, _complete: &mut Tags) -> bool {
        false
    }

    /// Copies that are not complete: who has some does not sleep.
    fn in_flight(&self) -> usize {
        0
    }

    /// What it did so far.
    fn copies(&self) -> Copies;
}

/// Copies at once, by the lcore: the default.
#[derive(Debug, Default)]
pub struct Inline {
    copies: Copies,
}

impl<F: Frame> CopyEngine<F> for Inline {
    #[inline]
    fn copy(
        &mut self,
        frame: F,
        range: Range<usize>,
        to: &F::External,
        offset: usize,
        _tag: u32,
    ) -> Copied<F> {
        if !frame.bytes().get(range).is_some_and(|bytes| to.write(offset, bytes)) {
            return Copied::Refused(frame);
        }
        self.copies.inline += 1;
        Copied::Done(frame)
    }

    fn copies(&self) -> Copies {
        self.copies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameSource as _;
    use crate::port::sim::{SimFrame, SimPool};
    use dpdk_bindings::external::{Pages, Region};

    #[test]
    fn inline_is_done_at_once_and_keeps_bounds() {
        let mut pool = SimPool::new(1, 64);
        let slot = Region::new(Pages::new(4096).unwrap()).slot(0..100).unwrap();
        let mut engine = Inline::default();
        let mut frame = Some(pool.frame(b"headers payload").unwrap());
        for (range, offset) in [(8..16, 0), (16..17, 0), (8..15, 94), (8..15, usize::MAX), (15..15, 101)] {
            match engine.copy(frame.take().unwrap(), range.clone(), &slot, offset, 0) {
                Copied::Refused(given_back) => frame = Some(given_back),
                _ => panic!("{range:?} to {offset}"),
            }
        }
        let copied: Copied<SimFrame> = engine.copy(frame.unwrap(), 8..15, &slot, 93, 0);
        let Copied::Done(frame) = copied else { panic!("it is done at once") };
        assert_eq!(frame.bytes(), b"headers payload");
        let mut bytes = [1; 100];
        assert!(slot.read(0, &mut bytes));
        assert_eq!((&bytes[..93], &bytes[93..]), (&[0; 93][..], &b"payload"[..]));
        let engine: &dyn CopyEngine<SimFrame> = &engine;
        assert_eq!(engine.copies(), Copies { inline: 1, ..Copies::default() });
        assert_eq!((engine.in_flight(), slot.in_use()), (0, 0));
    }
}
