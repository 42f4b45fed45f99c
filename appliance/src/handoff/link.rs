//! The two ends of a link between lcores.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use arrayvec::ArrayVec;
use dpdk_bindings::ring::{Consumer, Producer};

use super::{Doorbell, Errand, Job};
use crate::frame::BURST;

/// Jobs in hand.
pub type Jobs<F> = ArrayVec<Box<Job<F>>, BURST>;

/// Where jobs go in.
pub trait Sink<F> {
    /// Puts jobs in from the front; what does not fit stays.
    fn put(&mut self, jobs: &mut Jobs<F>);
}

/// Where jobs come out.
pub trait Source<F> {
    /// Takes jobs out until `jobs` is full or none are left.
    fn take(&mut self, jobs: &mut Jobs<F>);
}

impl<F: Send> Sink<F> for Producer<Box<Job<F>>> {
    #[inline]
    fn put(&mut self, jobs: &mut Jobs<F>) {
        self.enqueue(jobs);
    }
}

impl<F: Send> Source<F> for Consumer<Box<Job<F>>> {
    #[inline]
    fn take(&mut self, jobs: &mut Jobs<F>) {
        self.dequeue(jobs);
    }
}

/// One direction within one thread, for simulations.
struct Memory<F>(Rc<RefCell<VecDeque<Box<Job<F>>>>>);

impl<F> Sink<F> for Memory<F> {
    fn put(&mut self, jobs: &mut Jobs<F>) {
        self.0.borrow_mut().extend(jobs.drain(..));
    }
}

impl<F> Source<F> for Memory<F> {
    fn take(&mut self, jobs: &mut Jobs<F>) {
        let mut waiting = self.0.borrow_mut();
        let count = waiting.len().min(jobs.remaining_capacity());
        jobs.extend(waiting.drain(..count));
    }
}

/// A link within one thread, for simulations: its ends.
#[must_use]
pub fn memory<F: 'static>(capacity: u32) -> (Client<F>, Server<F>) {
    let direction = || {
        let queue = Rc::new(RefCell::new(VecDeque::with_capacity(capacity as usize)));
        (
            Box::new(Memory(Rc::clone(&queue))) as Box<dyn Sink<F>>,
            Box::new(Memory(queue)) as Box<dyn Source<F>>,
        )
    };
    let ((there, taken), (back, returned)) = (direction(), direction());
    (Client::new(there, returned, capacity, None), Server::new(taken, back, None))
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Jobs that went over.
    pub jobs: u64,
    /// The other lcore was asleep and was rung for.
    pub rang: bool,
}

/// The end that hands jobs over.
pub struct Client<F> {
    there: Box<dyn Sink<F>>,
    back: Box<dyn Source<F>>,
    outgoing: Jobs<F>,
    doorbell: Option<Doorbell>,
    room: u32,
    capacity: u32,
    /// Frames among what is out.
    frames: u32,
}

/// What went with a link that was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Jobs that were out.
    pub jobs: u32,
    /// Frames among them.
    pub frames: u32,
}

/// Where a link leads that was cut.
struct Nowhere;

impl<F> Sink<F> for Nowhere {
    fn put(&mut self, _jobs: &mut Jobs<F>) {}
}

impl<F> Source<F> for Nowhere {
    fn take(&mut self, _jobs: &mut Jobs<F>) {}
}

impl<F> Client<F> {
    /// Joins two directions, each of which holds at least `capacity` jobs. `doorbell` wakes the server's lcore.
    #[must_use]
    pub fn new(
        there: Box<dyn Sink<F>>,
        back: Box<dyn Source<F>>,
        capacity: u32,
        doorbell: Option<Doorbell>,
    ) -> Self {
        Self { there, back, outgoing: Jobs::new(), doorbell, room: capacity, capacity, frames: 0 }
    }

    /// Hands a job over, with the next flush. Given back if the link is full.
    #[inline]
    pub fn send(&mut self, job: Box<Job<F>>) -> Result<(), Box<Job<F>>> {
        if self.room == 0 {
            return Err(job);
        }
        if self.outgoing.is_full() {
            self.there.put(&mut self.outgoing);
        }
        let is_frame = matches!(job.errand, Errand::Frame { .. });
        self.outgoing.try_push(job).map_err(|full| full.element())?;
        self.room -= 1;
        self.frames += u32::from(is_frame);
        Ok(())
    }

    /// True if every job that was handed over is back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.room == self.capacity
    }

    /// Lets go of what was sent since the last time, and wakes the other lcore if it sleeps.
    #[inline]
    pub fn flush(&mut self) -> Flushed {
        flush(&mut *self.there, &mut self.outgoing, self.doorbell.as_ref())
    }

    /// Takes back jobs that are done.
    #[inline]
    pub fn receive(&mut self, jobs: &mut Jobs<F>) {
        let before = jobs.len();
        self.back.take(jobs);
        let came = &jobs[before..];
        self.room += came.len() as u32;
        self.frames -= came.iter().filter(|job| matches!(job.errand, Errand::Frame { .. })).count() as u32;
    }

    /// Cuts the link, whose other end is gone: nothing can be handed over any more, and what is out never comes back.
    pub fn sever(&mut self) -> Lost {
        let lost = Lost { jobs: self.capacity - self.room, frames: self.frames };
        self.outgoing.clear();
        (self.there, self.back) = (Box::new(Nowhere), Box::new(Nowhere));
        (self.room, self.capacity, self.frames, self.doorbell) = (0, 0, 0, None);
        lost
    }
}

/// The end that takes jobs and gives them back.
pub struct Server<F> {
    there: Box<dyn Source<F>>,
    back: Box<dyn Sink<F>>,
    outgoing: Jobs<F>,
    doorbell: Option<Doorbell>,
}

impl<F> Server<F> {
    /// Joins two directions. `doorbell` wakes the client's lcore.
    #[must_use]
    pub fn new(there: Box<dyn Source<F>>, back: Box<dyn Sink<F>>, doorbell: Option<Doorbell>) -> Self {
        Self { there, back, outgoing: Jobs::new(), doorbell }
    }

    /// Takes jobs.
    #[inline]
    pub fn receive(&mut self, jobs: &mut Jobs<F>) {
        self.there.take(jobs);
    }

    /// Gives a job back, with the next flush. There is room: the client has counted.
    #[inline]
    pub fn give_back(&mut self, job: Box<Job<F>>) {
        if self.outgoing.is_full() {
            self.back.put(&mut self.outgoing);
        }
        self.outgoing.push(job);
    }

    /// Lets go of what was given back, and wakes the client's lcore if it sleeps.
    #[inline]
    pub fn flush(&mut self) -> Flushed {
        flush(&mut *self.back, &mut self.outgoing, self.doorbell.as_ref())
    }
}

#[inline]
fn flush<F>(there: &mut dyn Sink<F>, outgoing: &mut Jobs<F>, doorbell: Option<&Doorbell>) -> Flushed {
    if outgoing.is_empty() {
        return Flushed::default();
    }
    let jobs = outgoing.len();
    there.put(outgoing);
    Flushed { jobs: (jobs - outgoing.len()) as u64, rang: doorbell.is_some_and(Doorbell::ring_if_asleep) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LambdaSlot;

    fn job(number: usize) -> Box<Job<()>> {
        let mut job = Job::spare();
        job.lambda.slot = LambdaSlot::new(number as u32);
        job
    }

    fn numbers(jobs: &mut Jobs<()>) -> Vec<usize> {
        jobs.drain(..).map(|job| job.lambda.slot.index()).collect()
    }

    #[test]
    fn a_link_holds_what_it_can_until_it_comes_back() {
        const CAPACITY: usize = BURST * 3 + 5;
        let (mut client, mut server) = memory(CAPACITY as u32);
        let mut jobs = Jobs::new();
        for round in 0..3 {
            assert!(client.is_idle());
            for number in 0..CAPACITY {
                assert!(client.send(job(number)).is_ok(), "{number} in round {round}");
            }
            assert_eq!(client.send(job(777)).err().unwrap().lambda.slot.raw(), 777, "it is given back");
            client.flush();
            let mut arrived = Vec::new();
            while arrived.len() < CAPACITY {
                server.receive(&mut jobs);
                assert!(!jobs.is_empty(), "{} arrived", arrived.len());
                for job in jobs.drain(..) {
                    arrived.push(job.lambda.slot.index());
                    // Taken is not done: there is room again only once it is back.
                    assert!(client.send(self::job(888)).is_err());
                    server.give_back(job);
                }
            }
            assert_eq!(arrived, (0..CAPACITY).collect::<Vec<_>>());
            server.flush();
            let mut back = Vec::new();
            while !client.is_idle() {
                client.receive(&mut jobs);
                assert!(!jobs.is_empty(), "{} back", back.len());
                back.extend(numbers(&mut jobs));
            }
            assert_eq!(back, arrived);
        }
    }

    #[test]
    fn what_is_not_flushed_stays_unless_there_is_a_burst() {
        let (mut client, mut server) = memory(255);
        let mut jobs = Jobs::new();
        assert!((0..=BURST).all(|number| client.send(job(number)).is_ok()));
        server.receive(&mut jobs);
        assert_eq!(numbers(&mut jobs), (0..BURST).collect::<Vec<_>>());
        server.receive(&mut jobs);
        assert!(jobs.is_empty());
        assert_eq!(client.flush(), Flushed { jobs: 1, rang: false });
        assert_eq!(client.flush(), Flushed::default());
        server.receive(&mut jobs);
        assert_eq!(numbers(&mut jobs), [BURST]);
        assert!(!client.is_idle());
    }

    #[test]
    fn only_who_sleeps_is_rung_for_and_only_once() {
        let memory = || Memory(Rc::default());
        let doorbell = Doorbell::new().unwrap();
        let mut client: Client<()> =
            Client::new(Box::new(memory()), Box::new(memory()), 8, Some(doorbell.clone()));
        let mut rang = || {
            assert!(client.send(job(0)).is_ok());
            client.flush().rang
        };
        assert!(!rang(), "it is awake");
        doorbell.announce_sleep();
        assert!(rang());
        assert!(!rang(), "it has been rung for");
        doorbell.announce_sleep();
        doorbell.retract_sleep();
        assert!(!rang(), "it found work by itself");
        doorbell.announce_sleep();
        assert_eq!(client.flush(), Flushed::default(), "nothing was handed over");
    }
}
