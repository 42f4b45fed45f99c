//! Requests whose lambda waits for the answer to a call.

use crate::handoff::{Job, Ticket};
use crate::island::Context;

/// One of them.
pub(super) struct Waiting<F> {
    pub(super) job: Box<Job<F>>,
    pub(super) context: Context,
    /// When it is woken without an answer.
    pub(super) deadline_ns: u64,
    serial: u32,
}

/// All of an lcore's.
pub(super) struct Suspended<F> {
    places: Box<[Option<Waiting<F>>]>,
    free: Vec<u32>,
    serial: u32,
    /// No deadline is earlier.
    next_deadline_ns: u64,
}

impl<F> Suspended<F> {
    pub(super) fn new(places: u32) -> Self {
        Self {
            places: (0..places).map(|_| None).collect(),
            free: (0..places).rev().collect(),
            serial: 0,
            next_deadline_ns: u64::MAX,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    pub(super) fn len(&self) -> u32 {
        (self.places.len() - self.free.len()) as u32
    }

    /// Keeps a request until its answer comes; gives it back if there is no place.
    pub(super) fn insert(
        &mut self,
        job: Box<Job<F>>,
        context: Context,
        deadline_ns: u64,
    ) -> Result<Ticket, Box<Job<F>>> {
        let Some(place) = self.free.pop() else { return Err(job) };
        self.serial = self.serial.wrapping_add(1);
        self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
        self.places[place as usize] = Some(Waiting { job, context, deadline_ns, serial: self.serial });
        Ok(Ticket { place, serial: self.serial })
    }

    /// The request that waits under a ticket, unless its time was up.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Waiting<F>> {
        let place = self.places.get_mut(ticket.place as usize)?;
        let waiting = place.take_if(|waiting| waiting.serial == ticket.serial)?;
        self.free.push(ticket.place);
        Some(waiting)
    }

    /// A request whose time is up, if there is one. Looks at all of them only when a deadline has passed.
    pub(super) fn take_late(&mut self, now_ns: u64) -> Option<Waiting<F>> {
        if now_ns < self.next_deadline_ns {
            return None;
        }
        let late = self
            .places
            .iter()
            .position(|place| place.as_ref().is_some_and(|waiting| waiting.deadline_ns <= now_ns));
        let Some(place) = late else {
            let deadlines = self.places.iter().flatten().map(|waiting| waiting.deadline_ns);
            self.next_deadline_ns = deadlines.min().unwrap_or(u64::MAX);
            return None;
        };
        self.free.push(place as u32);
        self.places[place].take()
    }

    /// When the next time is up; `u64::MAX` if nobody waits. May be too early, never too late.
    pub(super) fn next_deadline_ns(&self) -> u64 {
        self.next_deadline_ns
    }
}
