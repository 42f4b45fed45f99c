//! The system calls of the compile server that have no safe interface.

#![allow(unsafe_code, reason = "fork, and descriptors that come by message")]

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags};
use nix::unistd::{self, ForkResult, Pid};

/// A forked child.
pub(super) struct Child {
    pub(super) pid: Pid,
    /// Readable once it has ended.
    pub(super) ended: OwnedFd,
}

/// Forks. The child runs `work` and ends with its result as exit status, without running anything that was registered for the
/// end of the process, which is the parent's.
pub(super) fn fork(work: impl FnOnce() -> u8) -> io::Result<Child> {
    // SAFETY: a child may do anything if its parent had one thread, as then no lock is held and nothing is half done. That is so:
    // `serve` refuses to start otherwise (`is_single_threaded`) and nothing here makes threads. The exception is this crate's
    // tests, whose other thread waits in the kernel for the one that serves.
    match unsafe { unistd::fork() }? {
        ForkResult::Child => {
            let status = work();
            // SAFETY: ends the process and does nothing before.
            unsafe { libc::_exit(status.into()) }
        }
        ForkResult::Parent { child } => Ok(Child { pid: child, ended: pidfd(child)? }),
    }
}

impl Child {
    /// Ends it, whatever it does. It is waited for as if it had ended by itself.
    pub(super) fn kill(&self) -> io::Result<()> {
        // SAFETY: takes numbers and no information; the descriptor is this child's and nobody else's, also once it has ended.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.ended.as_raw_fd(), libc::SIGKILL, 0_usize, 0_u32)
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// A descriptor that is readable once the child has ended.
fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers; the child has not been waited for, so the ID is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made it, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next descriptor that comes by message; `None` if the other side is gone.
pub(super) fn receive(control: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    // Room for one: what the kernel cannot hand over it closes.
    let mut space = cmsg_space!(RawFd);
    let message =
        socket::recvmsg::<()>(control.as_raw_fd(), &mut into, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control
            && let Some(&fd) = received.first()
        {
            // SAFETY: the kernel has just made it for this process, and nobody else knows it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.bytes == 0 { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Closes every descriptor from `first` on. Nobody may own one of them who goes on to use it.
pub(super) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: takes three numbers. Descriptors that this program opened itself are closed in a child only, where their owners do not
    // run any more, or before there are any.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has this process one thread?
pub(super) fn is_single_threaded() -> io::Result<bool> {
    Ok(fs::read_dir("/proc/self/task")?.count() == 1)
}
