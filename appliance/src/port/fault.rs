//! Injects faults into what a port receives: drop, duplicate, corrupt, reorder. Seeded, so that a failure can be replayed.

use std::os::fd::OwnedFd;

use super::{Capabilities, Port};
use crate::frame::{Burst, Frame, FrameSource};

/// How likely each fault is, 0–1 for each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Seed of the sequence of faults.
    pub seed: u64,
    /// The frame is lost.
    pub drop: f64,
    /// The frame arrives twice.
    pub duplicate: f64,
    /// One bit of the frame is flipped.
    pub corrupt: f64,
    /// The frame changes places with the one before it.
    pub reorder: f64,
}

/// How many faults were injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Frames lost.
    pub dropped: u64,
    /// Frames doubled.
    pub duplicated: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
    /// Frames that changed places.
    pub reordered: u64,
}

/// A port with faults on its way in.
pub struct Fault<P, S> {
    port: P,
    source: S,
    faults: Faults,
    random: fastrand::Rng,
    injected: Injected,
}

impl<P, S> Fault<P, S> {
    /// Wraps `port`; duplicates are made from `source`.
    pub fn new(port: P, source: S, faults: Faults) -> Self {
        Self {
            port,
            source,
            faults,
            random: fastrand::Rng::with_seed(faults.seed),
            injected: Injected::default(),
        }
    }

    /// What was injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.injected
    }
}

impl<P, S> Port<S::Frame> for Fault<P, S>
where
    P: Port<S::Frame>,
    S: FrameSource,
{
    fn rx(&mut self, burst: &mut Burst<S::Frame>) -> usize {
        let first = burst.len();
        self.port.rx(burst);
        let mut at = first;
        while at < burst.len() {
            if self.random.f64() < self.faults.drop {
                burst.remove(at);
                self.injected.dropped += 1;
                continue;
            }
            if self.random.f64() < self.faults.corrupt {
                let bytes = burst[at].bytes_mut();
                if !bytes.is_empty() {
                    let bit = self.random.usize(..bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    self.injected.corrupted += 1;
                }
            }
            if at > first && self.random.f64() < self.faults.reorder {
                burst.swap(at - 1, at);
                self.injected.reordered += 1;
            }
            if !burst.is_full()
                && self.random.f64() < self.faults.duplicate
                && let Some(copy) = self.source.frame(burst[at].bytes())
            {
                burst.insert(at, copy);
                self.injected.duplicated += 1;
                at += 1;
            }
            at += 1;
        }
        burst.len() - first
    }

    fn tx(&mut self, burst: &mut Burst<S::Frame>) -> usize {
        self.port.tx(burst)
    }

    fn capabilities(&self) -> Capabilities {
        self.port.capabilities()
    }

    fn readable(&self) -> Option<OwnedFd> {
        self.port.readable()
    }

    fn arm(&mut self, sleeping: bool) {
        self.port.arm(sleeping);
    }

    fn exhausted(&self) -> bool {
        self.port.exhausted()
    }
}
