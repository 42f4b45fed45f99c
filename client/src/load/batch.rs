//! One request, many times: only its ID differs, so a batch of them is written in place and sent by one system call.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use lnic_wire::rpc::{self, HEADER_BYTES, Header, Tlv};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use crate::datagrams::{BATCH, DATAGRAM_BYTES, Receiver, sleep};

/// A connected socket, requests that wait to be sent, and room for replies.
pub(super) struct Batch {
    socket: UdpSocket,
    header: Header,
    cookie: Option<[u8; 8]>,
    requests: [Vec<u8>; BATCH],
    /// Requests from here up to `staged` have not left yet.
    unsent: usize,
    staged: usize,
    send_headers: MultiHeaders<()>,
    receiver: Receiver,
}

impl Batch {
    /// Every request is `header` with an ID, and `payload`.
    pub(super) fn new(socket: UdpSocket, header: Header, payload: &[u8]) -> Self {
        let request = [&[0; HEADER_BYTES], payload].concat();
        Self {
            socket,
            header,
            cookie: None,
            requests: std::array::from_fn(|_| request.clone()),
            unsent: 0,
            staged: 0,
            send_headers: MultiHeaders::preallocate(BATCH, None),
            receiver: Receiver::new(DATAGRAM_BYTES),
        }
    }

    /// Requests carry this cookie from now on, as soon as those that are staged have left.
    pub(super) fn show(&mut self, cookie: Option<[u8; 8]>) {
        if cookie == self.cookie || self.staged > 0 {
            return;
        }
        self.cookie = cookie;
        let mut area = [0; 2 * HEADER_BYTES];
        let tlvs = cookie.as_ref().map(Tlv::Cookie);
        let area_bytes = rpc::emit_tlvs(tlvs.as_slice(), &mut area).expect("room for a cookie");
        for request in &mut self.requests {
            request.splice(HEADER_BYTES..self.header.header_bytes, area[..area_bytes].iter().copied());
        }
        self.header.header_bytes = HEADER_BYTES + area_bytes;
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
    pub(super) fn receive(&mut self, take: impl FnMut(&[u8])) -> io::Result<usize> {
        self.receiver.receive(&self.socket, take)
    }

    /// Sleeps until something arrives, staged requests can leave, or the time has passed.
    pub(super) fn sleep(&self, most: Duration) -> io::Result<()> {
        sleep(&self.socket, self.unsent < self.staged, most)
    }
}
