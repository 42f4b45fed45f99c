//! Wakes control, which sleeps in an event loop: a pipe, which that may wait on.

use std::io::pipe;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Wakes control. Clones ring for the same.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Bell {
    /// A silent bell.
    pub fn new() -> std::io::Result<Self> {
        let (reader, writer) = pipe()?;
        // An lcore that rings must never wait.
        rustix::io::ioctl_fionbio(&reader, true)?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok(Self(Arc::new(Ends { reader: reader.into(), writer: writer.into() })))
    }

    /// Rings.
    pub fn ring(&self) {
        // Fails only if it was rung thousands of times and not answered; then it rings anyway.
        let _ = rustix::io::write(&self.0.writer, &[1]);
    }

    /// Silences it. True if it had rung.
    pub fn answer(&self) -> bool {
        let mut rang = false;
        while rustix::io::read(&self.0.reader, &mut [0; 512]).is_ok_and(|bytes| bytes > 0) {
            rang = true;
        }
        rang
    }
}

impl AsFd for Bell {
    /// Readable while it rings.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_until_it_is_answered_and_never_blocks() {
        let bell = Bell::new().unwrap();
        assert!(!bell.answer());
        let other = bell.clone();
        (0..100_000).for_each(|_| other.ring());
        assert!(bell.answer());
        assert!(!bell.answer());
    }
}
