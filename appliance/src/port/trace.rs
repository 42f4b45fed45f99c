//! Shows every frame that passes a port to a sink: a pcap writer, a test, a printer.

use std::os::fd::OwnedFd;

use super::{Capabilities, Port};
use crate::frame::{Burst, Frame};

/// Which way a frame passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the appliance.
    Rx,
    /// Out of it.
    Tx,
}

/// Sees frames as they pass.
pub trait Sink {
    /// One frame; the bytes are as on the wire, but for checksums that the port makes later.
    fn see(&mut self, direction: Direction, bytes: &[u8]);
}

impl<F: FnMut(Direction, &[u8])> Sink for F {
    fn see(&mut self, direction: Direction, bytes: &[u8]) {
        self(direction, bytes);
    }
}

/// A port whose frames a sink sees. The sink runs on the lcore: what it costs, every frame pays.
pub struct Trace<P, S> {
    port: P,
    sink: S,
}

impl<P, S> Trace<P, S> {
    /// Wraps `port`.
    pub fn new(port: P, sink: S) -> Self {
        Self { port, sink }
    }
}

impl<F, P, S> Port<F> for Trace<P, S>
where
    F: Frame,
    P: Port<F>,
    S: Sink,
{
    fn rx(&mut self, burst: &mut Burst<F>) -> usize {
        let first = burst.len();
        let count = self.port.rx(burst);
        for frame in &burst[first..] {
            self.sink.see(Direction::Rx, frame.bytes());
        }
        count
    }

    fn tx(&mut self, burst: &mut Burst<F>) -> usize {
        // A frame is gone once it is sent, so it is seen before; those that stay are offered, and seen, again.
        for frame in burst.iter() {
            self.sink.see(Direction::Tx, frame.bytes());
        }
        self.port.tx(burst)
    }

    fn capabilities(&self) -> Capabilities {
        // What is recorded is one slice.
        Capabilities { tx_external: false, ..self.port.capabilities() }
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
