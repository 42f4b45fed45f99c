//! How an idle lcore sleeps: on its ports' descriptors and a doorbell, or on a timer where a port has no descriptor.

use std::os::fd::OwnedFd;
use std::time::Duration;

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::handoff::Doorbell;

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
    longest: Duration,
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
        if descriptors.len() >= WATCHED {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        Ok(Self { doorbell: doorbell.clone(), descriptors, mode, longest })
    }

    /// Says that the lcore is about to sleep; it must look for work once more before it does.
    pub fn announce(&self) {
        self.doorbell.announce_sleep();
    }

    /// Says that it is awake.
    pub fn retract(&self) {
        self.doorbell.retract_sleep();
    }

    /// Sleeps, at most `longest` if that is given. True if a port's descriptor or the doorbell ended it.
    pub fn sleep(&mut self, longest: Option<Duration>) -> bool {
        if let Mode::Timer(time) = self.mode {
            std::thread::sleep(longest.map_or(time, |longest| longest.min(time)));
            return false;
        }
        let longest = longest.map_or(self.longest, |longest| longest.min(self.longest));
        let timeout = Timespec::try_from(longest).ok();
        let mut watched: ArrayVec<PollFd<'_>, WATCHED> = ArrayVec::new();
        watched.push(PollFd::new(&self.doorbell, PollFlags::IN));
        watched.extend(self.descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)));
        // An interrupted wait counts as a timeout: the loop polls anyway.
        let ready = poll(&mut watched, timeout.as_ref()).unwrap_or(0);
        if !watched[0].revents().is_empty() {
            self.doorbell.answer();
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
        assert!(sleeper.sleep(None));
        let start = Instant::now();
        assert!(!sleeper.sleep(None));
        assert!(start.elapsed() >= Duration::from_millis(19));
    }

    #[test]
    fn a_readable_descriptor_wakes_as_long_as_it_is_readable() {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let doorbell = Doorbell::new().unwrap();
        let mut sleeper = sleeper(vec![reader.into()], &doorbell);
        assert!(!sleeper.sleep(None));
        rustix::io::write(&writer, b"x").unwrap();
        assert!(sleeper.sleep(None) && sleeper.sleep(None));
    }
}
