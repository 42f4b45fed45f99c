//! Descriptors that a driver opened and does not tell of: the sockets of `net_af_packet` and `net_af_xdp` can be slept on.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// The descriptors that are open now, to compare with later.
pub struct Descriptors(BTreeSet<RawFd>);

impl Descriptors {
    /// What is open now.
    #[must_use]
    pub fn now() -> Self {
        let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        Self(names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Duplicates of the packet sockets (`AF_PACKET`, `AF_XDP`) that were opened since, in the order of their opening: one
    /// per queue. Nobody else may open or close descriptors meanwhile.
    #[must_use]
    pub fn packet_sockets_since(&self) -> Vec<OwnedFd> {
        let opened = Self::now().0;
        opened
            .difference(&self.0)
            .filter(|&&descriptor| is_packet_socket(descriptor))
            .filter_map(|&d| duplicate(d))
            .collect()
    }
}

fn is_packet_socket(descriptor: RawFd) -> bool {
    let mut domain: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both places outlive the call; a descriptor that is no socket, or closed by now, gives an error.
    let code = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    };
    code == 0 && [libc::AF_PACKET, libc::AF_XDP].contains(&domain)
}

fn duplicate(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: only duplicated; if it has been closed meanwhile that fails.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().ok()
}
