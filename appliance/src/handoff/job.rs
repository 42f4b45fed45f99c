//! A request on its way to its lambda and back.

use arrayvec::ArrayVec;
use lnic_abi::PAYLOAD_CAPACITY;

use crate::ids::{LambdaId, LambdaRef, PortId};
use crate::island::Loaded;
use crate::matcher::Effect;
use crate::message::{SlotRef, Terms};
use crate::observe::DropReason;
use crate::outside::Service;
use crate::parser::Parsed;

/// Most lcores that a job passes: a poller, another poller that owns the lambda, its NPU, and one spare.
const HOPS: usize = 4;

/// Which links a job came by, last first to go back.
pub type Route = ArrayVec<u8, HOPS>;

/// A request on its way. Boxed, and recycled by the lcore that made it.
pub struct Job<F> {
    /// What to do.
    pub errand: Errand<F>,
    /// For which lambda.
    pub lambda: LambdaRef,
    /// How it came.
    pub route: Route,
    /// NPU time that it took, in ns; 0 if it did not run.
    pub used_ns: u64,
    /// The lambda itself, when it moves.
    pub loaded: Option<Box<Loaded>>,
}

/// What a job is.
pub enum Errand<F> {
    /// Nothing: a job in store.
    Spare,
    /// A frame from a port.
    Frame {
        /// The frame; changed into what leaves once `end` is set.
        frame: F,
        /// What is known of it.
        request: Request,
        /// How it ends.
        end: Option<End>,
    },
    /// A call from another lambda.
    Call {
        /// Request and reply.
        call: Box<Call>,
        /// Who waits.
        ticket: Ticket,
        /// Whom it is for: found again when it sets out.
        id: LambdaId,
    },
    /// A request to a service outside: for an lcore that has the service's port. The job's lambda is the one that asks.
    Ask {
        /// Request and reply.
        call: Box<Call>,
        /// Who waits.
        ticket: Ticket,
        /// Who is asked.
        service: Service,
    },
    /// A service's reply, for the lcore that asked. The job is no lambda's.
    Reply {
        /// The frame, as it came.
        frame: F,
        /// What is known of it.
        parsed: Parsed,
        /// Why it was not taken.
        refused: Option<DropReason>,
    },
    /// Give the lambda back: it moves.
    Recall,
}

/// What is known of a frame that was parsed and matched.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where its headers lie.
    pub parsed: Parsed,
    /// What the rule that matched gives its lambda. A copy: the table may be another by the time that it runs.
    pub effect: Effect,
    /// When it was polled, in ns since the appliance started.
    pub arrival_ns: u64,
    /// What its caller asks for.
    pub terms: Terms,
    /// Most bytes of a reply's datagram that its source may get.
    pub reply_bytes: u32,
    /// It came through the message server, which gets its reply.
    pub message: Option<MessageRef>,
}

/// A message, as those who run it know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    /// What its poller knows it by: its place, and which message had the place.
    pub call: Ticket,
    /// Where it lies in the lambda's memory; `None` if it is the frame's payload.
    pub slot: Option<SlotRef>,
}

/// How a frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Leaves on a port.
    Send(PortId),
    /// Goes to a host port.
    ToHost(PortId),
    /// Is dropped.
    Drop(DropReason),
    /// A message was answered: the reply is in its slot, or the last bytes of the frame. For its poller.
    Reply {
        /// What the reply's header says: status and time.
        aux: u32,
        /// Bytes of the reply.
        bytes: u32,
    },
    /// A message did not run. For its poller.
    Refused {
        /// What the caller is told.
        status: u8,
        /// When to ask again.
        retry_us: u16,
    },
    /// A message ran and is not answered. For its poller.
    Silent,
    /// The reply is too long for a source without a cookie; the frame, from this port, is the request. For its poller.
    Challenge(PortId),
}

/// A suspended request, as its NPU knows it. A stale one means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its place.
    pub place: u32,
    /// Which request had the place.
    pub serial: u32,
}

/// A call's request and reply, one lambda to another.
pub struct Call {
    request: ArrayVec<u8, PAYLOAD_CAPACITY>,
    /// The answer, valid if `status` is 0.
    pub reply: ArrayVec<u8, PAYLOAD_CAPACITY>,
    /// How it ended, a λ-RPC status; `None` if nobody answers.
    pub status: Option<u8>,
    /// When its caller stops waiting, in ns since the appliance started: from then on it need not run.
    pub deadline_ns: u64,
}

impl Call {
    /// An empty one, 18 KiB.
    #[must_use]
    pub fn empty() -> Box<Self> {
        Box::new(Self { request: ArrayVec::new(), reply: ArrayVec::new(), status: None, deadline_ns: 0 })
    }

    /// Fills in the request, and how long its caller waits. False if it is too long.
    pub fn fill(&mut self, request: &[u8], deadline_ns: u64) -> bool {
        self.deadline_ns = deadline_ns;
        self.reply.clear();
        self.status = None;
        self.request.clear();
        self.request.try_extend_from_slice(request).is_ok()
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Places a part of a reply, the rest of which may come before or after; [`complete`](Self::complete) says that all is there. False,
    /// and nothing placed, if there is no room.
    pub fn place(&mut self, offset: usize, part: &[u8]) -> bool {
        let end = offset.saturating_add(part.len());
        if end > PAYLOAD_CAPACITY {
            return false;
        }
        // Every byte of it is written before the reply is complete.
        self.reply.extend((self.reply.len()..end).map(|_| 0));
        self.reply[offset..end].copy_from_slice(part);
        true
    }

    /// What was placed is the reply.
    pub fn complete(&mut self) {
        self.status = Some(0);
    }

    /// Fills in a reply; one that is too long becomes `OUT_OF_RANGE`.
    pub fn answer(&mut self, status: u8, reply: &[u8]) {
        const OUT_OF_RANGE: u8 = 11;
        self.reply.clear();
        let fits = self.reply.try_extend_from_slice(reply).is_ok();
        self.status = Some(if fits { status } else { OUT_OF_RANGE });
    }
}

impl<F> Job<F> {
    /// A job in store.
    #[must_use]
    pub fn spare() -> Box<Self> {
        Box::new(Self {
            errand: Errand::Spare,
            lambda: LambdaRef::default(),
            route: Route::new(),
            used_ns: 0,
            loaded: None,
        })
    }

    /// When nobody waits for the answer of a lambda's call any more; a frame's caller is asked before it runs.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        match &self.errand {
            Errand::Call { call, .. } => call.deadline_ns,
            _ => u64::MAX,
        }
    }

    /// Makes a spare job one for `lambda`.
    #[inline]
    pub fn begin(&mut self, lambda: LambdaRef, errand: Errand<F>) {
        self.errand = errand;
        self.lambda = lambda;
        self.route.clear();
        self.used_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_nothing_of_the_one_before() {
        let mut call = Call::empty();
        assert!(call.fill(b"first", 1) && call.request() == b"first");
        call.answer(0, b"answer");
        assert_eq!((call.status, &call.reply[..]), (Some(0), &b"answer"[..]));
        assert!(call.fill(b"", 1));
        assert_eq!((call.request(), call.status, &call.reply[..]), (&b""[..], None, &b""[..]));
    }

    #[test]
    fn a_call_holds_a_whole_payload_and_not_a_byte_more() {
        let mut call = Call::empty();
        let longest = vec![7; PAYLOAD_CAPACITY];
        let over = vec![7; PAYLOAD_CAPACITY + 1];
        assert!(call.fill(&longest, 1) && call.request() == longest);
        assert!(!call.fill(&over, 1));
        assert_eq!(call.request(), b"");
        call.answer(0, &longest);
        assert_eq!((call.status, &call.reply[..]), (Some(0), &longest[..]));
        call.answer(0, &over);
        assert_eq!((call.status, call.reply.len()), (Some(11), 0), "OUT_OF_RANGE");
    }

    #[test]
    fn a_job_begins_without_a_past() {
        let mut job: Box<Job<()>> = Job::spare();
        job.route.push(3);
        job.used_ns = 5;
        let lambda = LambdaRef { slot: crate::ids::LambdaSlot::new(1), ..LambdaRef::default() };
        job.begin(lambda, Errand::Recall);
        assert!(job.route.is_empty() && matches!(job.errand, Errand::Recall));
        assert_eq!((job.used_ns, job.lambda), (0, lambda));
    }
}
