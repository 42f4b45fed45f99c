//! Datagrams in batches: one system call sends or takes up to [`BATCH`].

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use nix::sys::time::TimeSpec;

/// Most datagrams that one system call moves.
pub(crate) const BATCH: usize = 32;
/// A datagram up to a jumbo frame.
pub(crate) const DATAGRAM_BYTES: usize = 9216;

/// Room for datagrams that arrive. Longer ones are cut, so their CRC is wrong.
pub(crate) struct Receiver {
    buffers: [Vec<u8>; BATCH],
    headers: MultiHeaders<()>,
}

impl Receiver {
    pub(crate) fn new(datagram_bytes: usize) -> Self {
        Self {
            buffers: std::array::from_fn(|_| vec![0; datagram_bytes]),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Hands each datagram that has arrived to `take`; how many.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let received =
            recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, MsgFlags::MSG_DONTWAIT, None);
        match received {
            Ok(results) => {
                let mut count = 0;
                for message in results {
                    take(message.iovs().next().unwrap_or_default());
                    count += 1;
                }
                Ok(count)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// Datagrams that wait to be sent.
pub(crate) struct Sender {
    buffers: [Vec<u8>; BATCH],
    lengths: [usize; BATCH],
    /// Those from here up to `staged` have not left yet.
    unsent: usize,
    staged: usize,
    headers: MultiHeaders<()>,
}

impl Sender {
    pub(crate) fn new(datagram_bytes: usize) -> Self {
        Self {
            buffers: std::array::from_fn(|_| vec![0; datagram_bytes]),
            lengths: [0; BATCH],
            unsent: 0,
            staged: 0,
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Whether the kernel did not take all.
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent < self.staged
    }

    /// Sends what is left, then a batch of what `next` writes, as much as the kernel takes now; how many left.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        mut next: impl FnMut(&mut [u8]) -> Option<usize>,
    ) -> io::Result<usize> {
        if !self.is_blocked() {
            (self.unsent, self.staged) = (0, 0);
            while self.staged < BATCH
                && let Some(bytes) = next(&mut self.buffers[self.staged])
            {
                self.lengths[self.staged] = bytes;
                self.staged += 1;
            }
        }
        let before = self.unsent;
        while self.is_blocked() {
            let slices: [_; BATCH] =
                std::array::from_fn(|at| [IoSlice::new(&self.buffers[at][..self.lengths[at]])]);
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut self.headers,
                &slices[self.unsent..self.staged],
                [None; BATCH],
                [],
                MsgFlags::MSG_DONTWAIT,
            );
            match sent {
                Ok(results) => self.unsent += results.count(),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                // Larger than the interface's MTU, a probe that does not pass; or no room in the interface's queue: lost.
                Err(Errno::EMSGSIZE | Errno::ENOBUFS) => self.unsent += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.unsent - before)
    }
}

/// Sleeps until something arrives, something can leave if `blocked`, or the time has passed.
pub(crate) fn sleep(socket: &UdpSocket, blocked: bool, most: Duration) -> io::Result<()> {
    let wanted = if blocked { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    match ppoll(&mut [PollFd::new(socket.as_fd(), wanted)], Some(TimeSpec::from(most)), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
