//! How an idle lcore sleeps: on its ports' descriptors and a doorbell, or on a timer where a port has no descriptor.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Wakes a sleeping lcore from another thread.
#[derive(Clone)]
pub struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    /// A silent doorbell.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes the lcore, now or when it next falls asleep.
    pub fn ring(&self) {
        // Fails only if 2^64 - 2 rings were never answered; then it rings anyway.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// How to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On descriptors; every port must have one.
    Descriptor,
    /// For this long at a time, whatever comes.
    Timer(Duration),
}

/// One lcore's way to sleep.
///
/// By poll(2), and not by epoll: what is registered with an epoll is woken for every frame, also while the lcore is awake, and on
/// an AF_PACKET socket that costs a fifth of the throughput (`scripts/bench.sh pmd`).
pub struct Sleeper {
    doorbell: Doorbell,
    descriptors: Vec<OwnedFd>,
    mode: Mode,
    longest: Timespec,
}

/// Most descriptors that a sleep watches, the doorbell included: more ports than an lcore polls in earnest.
const WATCHED: usize = 65;

impl Sleeper {
    /// Waits on `descriptors` and the doorbell, at most `longest` at a time.
    pub fn new(
        mode: Mode,
        descriptors: Vec<OwnedFd>,
        doorbell: &Doorbell,
        longest: Duration,
    ) -> std::io::Result<Self> {
        let longest = Timespec::try_from(longest).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        if descriptors.len() >= WATCHED {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        Ok(Self { doorbell: doorbell.clone(), descriptors, mode, longest })
    }

    /// Sleeps. True if a port's descriptor or the doorbell ended it.
    pub fn sleep(&mut self) -> bool {
        if let Mode::Timer(time) = self.mode {
            std::thread::sleep(time);
            return false;
        }
        let mut watched: ArrayVec<PollFd<'_>, WATCHED> = ArrayVec::new();
        watched.push(PollFd::new(&*self.doorbell.0, PollFlags::IN));
        watched.extend(self.descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)));
        // An interrupted wait counts as a timeout: the loop polls anyway.
        let ready = poll(&mut watched, Some(&self.longest)).unwrap_or(0);
        if !watched[0].revents().is_empty() {
            let _ = rustix::io::read(&*self.doorbell.0, &mut [0; 8]);
        }
        ready > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn sleeper(descriptors: Vec<OwnedFd>, doorbell: &Doorbell) -> Sleeper {
        Sleeper::new(Mode::Descriptor, descriptors, doorbell, Duration::from_millis(20)).unwrap()
    }

    #[test]
    fn a_doorbell_wakes_once_and_silence_times_out() {
        let doorbell = Doorbell::new().unwrap();
        let mut sleeper = sleeper(vec![], &doorbell);
        doorbell.ring();
        doorbell.ring();
        assert!(sleeper.sleep());
        let start = Instant::now();
        assert!(!sleeper.sleep());
        assert!(start.elapsed() >= Duration::from_millis(19));
    }

    #[test]
    fn a_readable_descriptor_wakes_as_long_as_it_is_readable() {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let doorbell = Doorbell::new().unwrap();
        let mut sleeper = sleeper(vec![reader.into()], &doorbell);
        assert!(!sleeper.sleep());
        rustix::io::write(&writer, b"x").unwrap();
        assert!(sleeper.sleep() && sleeper.sleep());
    }
}
