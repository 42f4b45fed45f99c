//! What an idle lcore can sleep on: the descriptors of receive interrupts, and those that a driver opened and does not tell of. The
//! sockets of `net_af_packet` and `net_af_xdp` are of the second kind.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// The descriptors that are open now, to compare with later.
pub struct Descriptors(BTreeSet<RawFd>);

impl Descriptors {
    /// What is open now.
    #[must_use]
    pub fn now() -> Self {
        let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let mut open: BTreeSet<RawFd> =
            names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        // Reading the folder took a descriptor, which the next one that is opened gets again.
        // SAFETY: asks for the flags; a descriptor that is closed gives an error.
        open.retain(|&descriptor| unsafe { libc::fcntl(descriptor, libc::F_GETFD) } >= 0);
        Self(open)
    }

    /// Duplicates of the packet sockets that were opened since, in the order of their numbers: one per queue, and the queues' order as
    /// long as nobody else opens or closes descriptors meanwhile. Of `AF_PACKET` sockets only those that are bound to `interface`,
    /// if it is known; `AF_XDP` sockets do not tell theirs.
    #[must_use]
    pub fn packet_sockets_since(&self, interface: Option<u32>) -> Vec<OwnedFd> {
        let opened = Self::now().0;
        opened
            .difference(&self.0)
            .copied()
            .filter(|&descriptor| match socket_option(descriptor, libc::SO_DOMAIN) {
                Some(libc::AF_XDP) => true,
                Some(libc::AF_PACKET) => {
                    interface.is_none_or(|wanted| bound_interface(descriptor) == Some(wanted))
                }
                _ => false,
            })
            .filter_map(duplicate)
            .collect()
    }
}

/// A descriptor that becomes readable when frames wait at a receive queue.
pub struct Wake {
    descriptor: OwnedFd,
    kind: Kind,
}

/// How a descriptor falls silent.
enum Kind {
    /// Polling the queue empty is enough, and reading it would take a frame (`net_tap`), or is the driver's to do (mlx5).
    Level,
    /// As `Level`; but an error, such as "network is down", stays and wakes until it is read.
    Socket,
    /// An epoll instance of ours that reports each event once: those of a counter that nobody reads (VFIO, `net_virtio_user`), or of
    /// the driver's own epoll instance over such counters, which come and go with the peer (`net_vhost`).
    Edge {
        /// What it watches.
        _watched: OwnedFd,
    },
}

impl Wake {
    /// A driver's socket.
    #[must_use]
    pub fn socket(descriptor: OwnedFd) -> Self {
        Self { descriptor, kind: Kind::Socket }
    }

    /// A receive interrupt's descriptor; `None` if the process has no descriptor left.
    #[must_use]
    pub fn interrupt(descriptor: OwnedFd) -> Option<Self> {
        if !stays_readable(&descriptor) {
            return Some(Self { descriptor, kind: Kind::Level });
        }
        // SAFETY: gives a fresh descriptor or an error.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return None;
        }
        // SAFETY: fresh, and owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
        // SAFETY: both descriptors are open, the place outlives the call.
        let code = unsafe {
            let (epoll, watched) = (epoll.as_raw_fd(), descriptor.as_raw_fd());
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, watched, &raw mut event)
        };
        (code == 0).then_some(Self { descriptor: epoll, kind: Kind::Edge { _watched: descriptor } })
    }

    /// The descriptor, to sleep on.
    #[must_use]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Silences it after it has woken somebody, so that only what comes next wakes again. Poll the queue afterwards.
    pub fn silence(&self) {
        match self.kind {
            Kind::Level => {}
            // Reading the error clears it.
            Kind::Socket => _ = socket_option(self.descriptor.as_raw_fd(), libc::SO_ERROR),
            Kind::Edge { .. } => {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: there is room for the one event that it can have; 0 does not wait.
                unsafe { libc::epoll_wait(self.descriptor.as_raw_fd(), &raw mut event, 1, 0) };
            }
        }
    }
}

/// True for descriptors that stay readable although the queue has been polled empty.
fn stays_readable(descriptor: &OwnedFd) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).is_ok_and(|target| {
        matches!(target.to_str(), Some("anon_inode:[eventfd]" | "anon_inode:[eventpoll]"))
    })
}

/// An integer option of a socket; `None` if it is none.
fn socket_option(descriptor: RawFd, option: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both places outlive the call; a descriptor that is no socket, or closed by now, gives an error.
    let code = unsafe {
        libc::getsockopt(descriptor, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut length)
    };
    (code == 0).then_some(value)
}

/// Interface that an `AF_PACKET` socket is bound to.
fn bound_interface(descriptor: RawFd) -> Option<u32> {
    // SAFETY: zero is valid for every field.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: both places outlive the call, which writes at most `length` bytes.
    let code = unsafe { libc::getsockname(descriptor, (&raw mut address).cast(), &raw mut length) };
    (code == 0).then_some(u32::try_from(address.sll_ifindex).ok()?)
}

fn duplicate(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: only duplicated; if it has been closed meanwhile that fails.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> OwnedFd {
        // SAFETY: a fresh descriptor, owned from here on. Blocking, on purpose.
        unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) }
    }

    fn ring(descriptor: &OwnedFd) {
        // SAFETY: writes 8 bytes of a constant.
        unsafe { libc::write(descriptor.as_raw_fd(), std::ptr::from_ref(&1_u64).cast(), 8) };
    }

    fn readable(descriptor: &OwnedFd) -> bool {
        let mut poll = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the place outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    #[test]
    fn a_counter_wakes_once_for_each_event() {
        let counter = counter();
        let wake = Wake::interrupt(counter.try_clone().unwrap()).unwrap();
        wake.silence();
        for _ in 0..3 {
            assert!(!readable(wake.descriptor()));
            ring(&counter);
            assert!(readable(wake.descriptor()) && readable(wake.descriptor()));
            wake.silence();
        }
        assert!(!readable(wake.descriptor()));
    }

    #[test]
    fn counters_behind_an_epoll_instance_wake_once_for_each_event() {
        let (first, second) = (counter(), counter());
        // SAFETY: a fresh descriptor, owned from here on.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let wake = Wake::interrupt(epoll.try_clone().unwrap()).unwrap();
        for counter in [&first, &second] {
            // A peer has come.
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
            // SAFETY: both descriptors are open, the place outlives the call.
            let code = unsafe {
                let (epoll, counter) = (epoll.as_raw_fd(), counter.as_raw_fd());
                libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, counter, &raw mut event)
            };
            assert_eq!(code, 0);
            for _ in 0..3 {
                assert!(!readable(wake.descriptor()));
                ring(counter);
                assert!(readable(wake.descriptor()));
                wake.silence();
            }
        }
        assert!(!readable(wake.descriptor()));
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let wake = Wake::interrupt(reader.into()).unwrap();
        std::io::Write::write_all(&mut writer, b"frame").unwrap();
        wake.silence();
        assert!(readable(wake.descriptor()), "a tap's frame is not taken");
    }

    #[test]
    fn only_packet_sockets_count() {
        let before = Descriptors::now();
        let counter = counter();
        assert!(!before.0.contains(&counter.as_raw_fd()));
        assert!(Descriptors::now().0.contains(&counter.as_raw_fd()));
        assert!(before.packet_sockets_since(None).is_empty());
    }
}
