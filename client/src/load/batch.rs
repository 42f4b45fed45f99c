//! Datagrams in batches: one system call sends or takes up to [`BATCH`].

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use lnic_wire::rpc::{self, Header};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use nix::sys::time::TimeSpec;

/// Most datagrams that one system call moves.
const BATCH: usize = 32;
/// Replies of one fragment fit, up to a jumbo frame; longer ones arrive cut and are malformed.
const RECEIVE_BYTES: usize = 9216;

/// A connected socket, requests that wait to be sent, and room for replies.
pub(super) struct Batch {
    socket: UdpSocket,
    header: Header,
    requests: [Vec<u8>; BATCH],
    replies: [Vec<u8>; BATCH],
    /// Requests from here up to `staged` have not left yet.
    unsent: usize,
    staged: usize,
    send_headers: MultiHeaders<()>,
    receive_headers: MultiHeaders<()>,
}

impl Batch {
    /// Every request is `header` with an ID, and `payload`.
    pub(super) fn new(socket: UdpSocket, header: Header, payload: &[u8]) -> Self {
        let mut request = vec![0; rpc::HEADER_BYTES];
        request.extend_from_slice(payload);
        Self {
            socket,
            header,
            requests: std::array::from_fn(|_| request.clone()),
            replies: std::array::from_fn(|_| vec![0; RECEIVE_BYTES]),
            unsent: 0,
            staged: 0,
            send_headers: MultiHeaders::preallocate(BATCH, None),
            receive_headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Whether another request can be staged. After the kernel took a part of a batch, the rest leaves first.
    pub(super) fn has_room(&self) -> bool {
        self.unsent == 0 && self.staged < BATCH
    }

    /// Writes the request with this ID, to leave with the next [`send`](Batch::send).
    pub(super) fn stage(&mut self, request: u64) {
        self.header.request = request;
        self.header.emit_with_crc(&mut self.requests[self.staged]);
        self.staged += 1;
    }

    /// Sends what is staged, as much as the kernel takes now; how many left.
    pub(super) fn send(&mut self) -> io::Result<usize> {
        if self.unsent == self.staged {
            return Ok(0);
        }
        let slices = self.requests.each_ref().map(|request| [IoSlice::new(request)]);
        let no_addresses = [None; BATCH];
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut self.send_headers,
            &slices[self.unsent..self.staged],
            no_addresses,
            [],
            MsgFlags::MSG_DONTWAIT,
        );
        let sent = match sent {
            Ok(results) => results.count(),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.unsent += sent;
        if self.unsent == self.staged {
            (self.unsent, self.staged) = (0, 0);
        }
        Ok(sent)
    }

    /// Hands each datagram that has arrived to `take`; how many.
    pub(super) fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices = self.replies.each_mut().map(|reply| [IoSliceMut::new(reply)]);
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.receive_headers,
            &mut slices,
            MsgFlags::MSG_DONTWAIT,
            None,
        );
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

    /// Sleeps until something arrives, staged requests can leave, or the time has passed.
    pub(super) fn sleep(&self, most: Duration) -> io::Result<()> {
        let wanted = if self.unsent < self.staged {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        match ppoll(&mut [PollFd::new(self.socket.as_fd(), wanted)], Some(TimeSpec::from(most)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
