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

    /// Takes over who waits in another, under the same tickets, and becomes it: this one has as many places or more.
    pub(super) fn take_over(&mut self, other: &mut Self) {
        for (place, waiting) in self.places.iter_mut().zip(&mut other.places) {
            *place = waiting.take();
        }
        self.free.clear();
        let is_free = |at: &u32| self.places[*at as usize].is_none();
        self.free.extend((0..self.places.len() as u32).rev().filter(is_free));
        (self.serial, self.next_deadline_ns) = (other.serial, other.next_deadline_ns);
        std::mem::swap(self, other);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, LambdaId, LambdaRef, LambdaSlot};
    use crate::island::{Budget, CallTask, Loaded, Npu, Outcome};
    use crate::lambda::{Engine, HostSide, Image, Instance, Limits};
    use proptest::prelude::*;

    /// A context: there is no other way to one than to suspend a lambda.
    fn context() -> Context {
        const WAT: &str = r#"(module
            (import "lnic" "call" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1 1)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (func (export "lnic_abi_1"))
            (func (export "entry") (param i32 i32) (result i32)
                (call $call (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))))"#;
        let engine = Engine::new().unwrap();
        engine.prepare_thread();
        let image =
            Image::compile(&engine, &wat::parse_str(WAT).unwrap(), "entry", &Limits::default()).unwrap();
        let instance =
            Instance::new(&image, 10_000, &HostSide::detached(), &image.detached_seat().unwrap()).unwrap();
        let lambda = LambdaRef { slot: LambdaSlot::new(0), generation: Generation::new(1) };
        let budget = Budget { fuel: 10_000, time_ns: 10_000 };
        let mut npu = Npu::new(1);
        npu.load(lambda, Loaded::new(LambdaId::new(1), lambda.generation, budget, instance, vec![]));
        match npu.run_call(lambda, &CallTask { request: &[], time_ns: 0 }).0 {
            Outcome::Suspended(context) => context,
            _ => panic!("it does not wait"),
        }
    }

    /// A job that can be told from others.
    fn job(number: u32) -> Box<Job<()>> {
        let mut job = Job::spare();
        job.lambda.slot = LambdaSlot::new(number);
        job
    }

    fn number(waiting: &Waiting<()>) -> u32 {
        waiting.job.lambda.slot.raw()
    }

    #[test]
    fn a_ticket_is_good_for_one_request() {
        let (context, mut suspended) = (context(), Suspended::new(1));
        let first = suspended.insert(job(1), context, 10).ok().unwrap();
        assert_eq!(
            suspended.insert(job(2), context, 10).err().unwrap().lambda.slot.raw(),
            2,
            "it is given back"
        );
        assert_eq!(number(&suspended.take(first).unwrap()), 1);
        assert!(suspended.take(first).is_none());
        let second = suspended.insert(job(3), context, 10).ok().unwrap();
        assert_eq!(second.place, first.place);
        assert!(suspended.take(first).is_none(), "an answer to the one before");
        assert_eq!(number(&suspended.take_late(10).unwrap()), 3);
        assert!(suspended.take(second).is_none() && suspended.is_empty());
        assert!(suspended.take(Ticket { place: 99, serial: 1 }).is_none());
    }

    #[test]
    fn nothing_waits_where_there_is_no_room() {
        let mut suspended = Suspended::new(0);
        assert!(suspended.insert(job(1), context(), 10).is_err());
        assert!(suspended.is_empty() && suspended.take_late(u64::MAX).is_none());
        assert_eq!(suspended.next_deadline_ns(), u64::MAX);
    }

    /// What a lambda, an answer or the clock may do.
    #[derive(Clone, Debug)]
    enum Event {
        Suspend {
            wait_ns: u64,
        },
        /// The answer to one of the calls made so far, whether somebody still waits for it or not.
        Answer(prop::sample::Index),
        Pass {
            ns: u64,
        },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0u64..100).prop_map(|wait_ns| Event::Suspend { wait_ns }),
            2 => any::<prop::sample::Index>().prop_map(Event::Answer),
            2 => (0u64..60).prop_map(|ns| Event::Pass { ns }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn everybody_is_woken_once_and_nobody_late(
            places in 0u32..8,
            events in prop::collection::vec(event(), 0..200),
        ) {
            let (context, mut suspended, mut now_ns) = (context(), Suspended::new(places), 0);
            // Every ticket ever given, and of those that still wait the deadline.
            let mut tickets: Vec<(Ticket, Option<u64>)> = Vec::new();
            for event in events {
                let waiting = tickets.iter().filter(|(_, deadline)| deadline.is_some()).count() as u32;
                match event {
                    Event::Suspend { wait_ns } => {
                        let given = suspended.insert(job(tickets.len() as u32), context, now_ns + wait_ns);
                        prop_assert_eq!(given.is_ok(), waiting < places);
                        tickets.extend(given.ok().map(|ticket| (ticket, Some(now_ns + wait_ns))));
                    }
                    Event::Answer(which) if !tickets.is_empty() => {
                        let at = which.index(tickets.len());
                        let woken = suspended.take(tickets[at].0);
                        let waited = tickets[at].1.take();
                        prop_assert_eq!(woken.is_some(), waited.is_some());
                        prop_assert!(woken.is_none_or(|woken| number(&woken) == at as u32));
                    }
                    Event::Answer(_) => {}
                    Event::Pass { ns } => {
                        now_ns += ns;
                        while let Some(late) = suspended.take_late(now_ns) {
                            let deadline = tickets[number(&late) as usize].1.take();
                            prop_assert!(deadline.is_some_and(|deadline| deadline <= now_ns));
                        }
                        prop_assert!(tickets.iter().flat_map(|(_, deadline)| deadline).all(|&deadline| deadline > now_ns));
                    }
                }
                let waiting = || tickets.iter().filter_map(|(_, deadline)| *deadline);
                prop_assert_eq!(suspended.len() as usize, waiting().count());
                prop_assert_eq!(suspended.is_empty(), waiting().count() == 0);
                prop_assert!(suspended.next_deadline_ns() <= waiting().min().unwrap_or(u64::MAX));
            }
        }
    }
}
