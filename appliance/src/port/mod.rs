//! Station 1: frames in and out.
//!
//! A [`Port`] is one queue pair of one interface, owned by one lcore. Drivers: `dpdk` (anything that DPDK drives), `sim`
//! (in memory, for tests and benchmarks), `pcap` (files), `internal` (the control plane). [`fault`] and [`trace`] wrap any of them.

use std::os::fd::OwnedFd;

use crate::frame::{Burst, Frame};

pub mod dpdk;
pub mod fault;
pub mod internal;
pub mod pcap;
pub mod sim;
pub mod trace;

/// What a port can do for those who make frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Makes IPv4 and UDP checksums as it sends.
    pub tx_checksum: bool,
    /// Sends frames with external memory appended, [`Frame::append_external`].
    pub tx_external: bool,
}

/// One queue pair, owned by one lcore.
pub trait Port<F: Frame> {
    /// Appends arrived frames until the burst is full; returns how many.
    fn rx(&mut self, burst: &mut Burst<F>) -> usize;

    /// Sends from the front; what could not be sent stays in the burst, in order. Returns how many left.
    fn tx(&mut self, burst: &mut Burst<F>) -> usize;

    /// What it can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// A duplicate of the descriptor that becomes readable when frames wait; `None` if the port can only be polled.
    fn readable(&self) -> Option<OwnedFd> {
        None
    }

    /// Called before an lcore sleeps on [`readable`](Port::readable), and with `false` when it wakes.
    fn arm(&mut self, _sleeping: bool) {}

    /// True once nothing will ever arrive again (a replayed file has ended).
    fn exhausted(&self) -> bool {
        false
    }
}

impl<F: Frame, P: Port<F> + ?Sized> Port<F> for Box<P> {
    fn rx(&mut self, burst: &mut Burst<F>) -> usize {
        (**self).rx(burst)
    }

    fn tx(&mut self, burst: &mut Burst<F>) -> usize {
        (**self).tx(burst)
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn readable(&self) -> Option<OwnedFd> {
        (**self).readable()
    }

    fn arm(&mut self, sleeping: bool) {
        (**self).arm(sleeping);
    }

    fn exhausted(&self) -> bool {
        (**self).exhausted()
    }
}
