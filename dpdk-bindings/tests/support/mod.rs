//! What the suites with an EAL of their own have in common, and sockets that hear what a port sends.

#![allow(dead_code, unreachable_pub, reason = "suites use what they need")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::mempool::Mempool;

/// The EAL, started by whoever comes first; it lives as long as the process.
pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let args = EalArgs::new(0, 0, Memory::SmallPages { mib: 128 }).lcore(1, 0).log_level(1);
        Eal::init(&args).unwrap()
    })
}

/// A pool of 4,095 buffers of the usual size.
pub fn pool(name: &str) -> Mempool {
    Mempool::new(eal(), name, 4095, 32, 2048, None).unwrap()
}

/// Moves the calling test's thread into a network namespace that it has alone and that goes with it. False without the privilege,
/// after saying so.
pub fn may_make_interfaces() -> bool {
    // SAFETY: a system call without pointers; it concerns this thread only.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !alone {
        eprintln!("SKIPPED: needs CAP_SYS_ADMIN and CAP_NET_ADMIN");
    }
    alone
}

/// Runs `ip` in the thread's namespace.
pub fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(done.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Hears every frame of an interface.
pub struct PacketSocket(File);

impl PacketSocket {
    /// Opens it in the thread's namespace.
    pub fn open(interface: &str) -> Self {
        use std::os::fd::FromRawFd;
        let every = i32::from((libc::ETH_P_ALL as u16).to_be());
        // SAFETY: a system call without pointers; the descriptor is new and nobody else's.
        let socket = unsafe {
            let descriptor = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, every);
            assert!(descriptor >= 0, "packet socket: {}", std::io::Error::last_os_error());
            File::from_raw_fd(descriptor)
        };
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: all zero is valid for the structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the name is terminated and outlives the call; so does the address, whose length is given.
        let code = unsafe {
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        assert_eq!(code, 0, "bind to {interface}: {}", std::io::Error::last_os_error());
        Self(socket)
    }

    /// The next frame; `None` if none comes in time.
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut frame = vec![0; 65_536];
        // SAFETY: one descriptor to poll; the place outlives the call and has the length that is given.
        let length = unsafe {
            if libc::poll(&raw mut poll, 1, within.as_millis() as i32) != 1 {
                return None;
            }
            libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0)
        };
        frame.truncate(usize::try_from(length).ok()?);
        Some(frame)
    }
}
