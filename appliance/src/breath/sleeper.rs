//! How an idle lcore sleeps: on its ports' descriptors and a doorbell, or on a timer where a port has no descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

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
pub struct Sleeper {
    epoll: OwnedFd,
    doorbell: Doorbell,
    mode: Mode,
    longest: Timespec,
    /// Kept open as long as the lcore may sleep on them.
    _descriptors: Vec<OwnedFd>,
}

const PORT: u64 = 0;
const DOORBELL: u64 = 1;

impl Sleeper {
    /// Waits on `descriptors` and the doorbell, at most `longest` at a time.
    pub fn new(
        mode: Mode,
        descriptors: Vec<OwnedFd>,
        doorbell: &Doorbell,
        longest: Duration,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, doorbell.0.as_fd(), epoll::EventData::new_u64(DOORBELL), epoll::EventFlags::IN)?;
        for descriptor in &descriptors {
            epoll::add(&epoll, descriptor, epoll::EventData::new_u64(PORT), epoll::EventFlags::IN)?;
        }
        let longest = Timespec::try_from(longest).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        Ok(Self { epoll, doorbell: doorbell.clone(), mode, longest, _descriptors: descriptors })
    }

    /// Sleeps. True if a port's descriptor or the doorbell ended it.
    pub fn sleep(&mut self) -> bool {
        if let Mode::Timer(time) = self.mode {
            std::thread::sleep(time);
            return false;
        }
        let mut events: [epoll::Event; 8] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 8];
        // An interrupted wait counts as a timeout: the loop polls anyway.
        let count = epoll::wait(&self.epoll, &mut events[..], Some(&self.longest)).unwrap_or(0);
        for event in &events[..count] {
            if event.data.u64() == DOORBELL {
                let mut rings = [0; 8];
                let _ = rustix::io::read(&*self.doorbell.0, &mut rings);
            }
        }
        count > 0
    }
}
