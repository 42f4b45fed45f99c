//! What DPDK says when it refuses, with the thing that it refused and the errno's name.

use std::fmt;

use crate::sys;

/// A DPDK call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was to be done, such as "configure".
    pub action: &'static str,
    /// On what, such as a device's name; may be empty.
    pub subject: String,
    /// Positive errno.
    pub errno: i32,
}

impl Error {
    /// From a return code: DPDK gives either a negative errno, or -1 and `rte_errno`.
    pub(crate) fn from_code(action: &'static str, subject: impl Into<String>, code: i32) -> Self {
        let errno = if code < -1 { -code } else { rte_errno() };
        Self { action, subject: subject.into(), errno }
    }

    /// From a null pointer: the reason is in `rte_errno`.
    pub(crate) fn from_errno(action: &'static str, subject: impl Into<String>) -> Self {
        Self { action, subject: subject.into(), errno: rte_errno() }
    }

    pub(crate) fn new(action: &'static str, subject: impl Into<String>, errno: i32) -> Self {
        Self { action, subject: subject.into(), errno }
    }
}

fn rte_errno() -> i32 {
    // SAFETY: reads a thread local of the calling thread.
    unsafe { sys::lnic_errno() }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        let text = std::io::Error::from_raw_os_error(self.errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match name(self.errno) {
            Some(name) => write!(f, ": {text} ({name})"),
            None => write!(f, ": {text} (errno {})", self.errno),
        }
    }
}

impl std::error::Error for Error {}

macro_rules! names {
    ($($name:ident)*) => {
        /// The errno's name, for those that DPDK returns.
        fn name(errno: i32) -> Option<&'static str> {
            match errno {
                $(libc::$name => Some(stringify!($name)),)*
                1001 => Some("E_RTE_SECONDARY"),
                1002 => Some("E_RTE_NO_CONFIG"),
                _ => None,
            }
        }
    };
}

names! {
    EPERM ENOENT EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR EINVAL ENFILE
    EMFILE ENOTTY EFBIG ENOSPC ERANGE ENAMETOOLONG ENOSYS ENOTSUP EALREADY EADDRINUSE ENETDOWN ENETUNREACH ENOBUFS ETIMEDOUT
    ECONNREFUSED EPROTO EOVERFLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_thing_and_the_errno() {
        let error = Error::new("probe", "net_tap0", libc::ENODEV);
        assert_eq!(error.to_string(), "probe net_tap0: No such device (ENODEV)");
        assert_eq!(
            Error::from_code("start", "", -libc::EBUSY).to_string(),
            "start: Device or resource busy (EBUSY)"
        );
    }
}
