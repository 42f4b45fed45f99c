//! Load generator: many requests in flight from one thread, measured.
//!
//! *Closed loop* keeps N requests outstanding: what N waiting callers see, and the most the appliance can do for them.
//! *Open loop* sends at a fixed rate, whatever comes back. Latency counts from when a request was due, not from when it
//! left, so an appliance or a client that stalls is charged for everything that had to wait (no coordinated omission).
//!
//! Requests of one frame are sent by the batch, and nothing is sent again but what the appliance wants to see a cookie with: a
//! request without a reply is lost, and counted. Longer ones, and all if [`Plan::messages`] asks for it, are calls of a
//! [`Client`](crate::Client), which sends again what was lost and waits for a busy appliance. Requests due in the warm-up, and the replies to
//! them, are not measured.

mod batch;
mod generator;
mod messages;
mod outcome;
mod pending;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lnic_message::MESSAGE_BYTES;
use lnic_wire::rpc::Header;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::{Error, options, socket};
use batch::Batch;
use generator::Generator;
pub use outcome::{Latency, Outcome, StatusCount};

/// A sleep ends about this much late (the kernel's timer slack is 50 µs), so it begins only if there is more to wait.
const SLEEP_SLACK: Duration = Duration::from_micros(60);
/// Longest sleep, so that a run notices its end.
const SLEEP_MOST: Duration = Duration::from_millis(100);

/// Who decides when the next request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A reply does: so many requests are outstanding at any time, 1–65,536.
    ClosedLoop {
        /// Requests outstanding.
        outstanding: u32,
    },
    /// The clock does.
    OpenLoop {
        /// Requests a second.
        rate: f64,
    },
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Appliance.
    pub address: SocketAddr,
    /// Lambda ID.
    pub lambda: u32,
    /// Payload of every request.
    pub payload: Vec<u8>,
    /// Closed or open loop.
    pub mode: Mode,
    /// Time before anything is measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub duration: Duration,
    /// A request without a reply for so long is lost; so the run ends this much later at most.
    pub timeout: Duration,
    /// With nothing to do, poll for so long before sleeping: lower latency for CPU time.
    pub spin: Duration,
    /// Budget that the appliance is told, in µs; 0 is none.
    pub budget_us: u32,
    /// Flags and priority, as in λ-RPC's header; of messages `AT_MOST_ONCE`, `IDEMPOTENT` and the priority.
    pub flags: u16,
    /// Send requests as messages though they fit a frame: for lambdas whose replies do not.
    pub messages: bool,
}

impl Plan {
    /// A plan of 10 s after 1 s of warm-up, without payload.
    #[must_use]
    pub fn new(address: SocketAddr, lambda: u32, mode: Mode) -> Self {
        Self {
            address,
            lambda,
            payload: Vec::new(),
            mode,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            spin: Duration::from_micros(100),
            budget_us: 0,
            flags: 0,
            messages: false,
        }
    }

    /// The header of its requests, without IDs, if they are sent as frames.
    fn frame_header(&self) -> Option<Header> {
        let limit_bytes = socket::payload_limit(self.address);
        let header = options::single_header(self.lambda, self.payload.len(), self.flags, limit_bytes)?;
        (!self.messages).then_some(Header { aux: self.budget_us, ..header })
    }

    /// Whether requests are sent as messages.
    #[must_use]
    pub fn sends_messages(&self) -> bool {
        self.frame_header().is_none()
    }

    fn check(&self) -> Result<(), Error> {
        let day = Duration::from_secs(86_400);
        match self.mode {
            Mode::ClosedLoop { outstanding } if !(1..=1 << 16).contains(&outstanding) => {
                Err(Error::Plan("1 to 65,536 requests can be outstanding"))
            }
            Mode::OpenLoop { rate } if !(0.01..=20e6).contains(&rate) => {
                Err(Error::Plan("the rate is 0.01 to 20,000,000 requests a second"))
            }
            _ if self.duration.is_zero() => Err(Error::Plan("the duration is zero")),
            _ if self.timeout.is_zero() || self.timeout > Duration::from_secs(60) => {
                Err(Error::Plan("the timeout is more than 0 and at most 60 s"))
            }
            _ if self.payload.len() > MESSAGE_BYTES as usize => {
                Err(Error::PayloadTooLong { bytes: self.payload.len(), limit_bytes: MESSAGE_BYTES as usize })
            }
            _ if self.duration > day || self.warm_up > day => Err(Error::Plan("a run takes at most a day")),
            _ => Ok(()),
        }
    }
}

/// Runs a plan to its end on this thread.
///
/// # Errors
/// [`Error::Plan`], [`Error::PayloadTooLong`]; [`Error::Refused`] and [`Error::Socket`] if the socket fails before any reply.
pub fn run(plan: &Plan) -> Result<Outcome, Error> {
    plan.check()?;
    match plan.frame_header() {
        Some(header) => run_frames(plan, header),
        None => messages::run(plan),
    }
}

fn run_frames(plan: &Plan, header: Header) -> Result<Outcome, Error> {
    let address = plan.address;
    let mut batch = Batch::new(socket::connect(address)?, header, &plan.payload);
    let mut generator = Generator::new(plan, fastrand::u32(..));
    let mut cpu = CpuMeter::default();

    let start = Instant::now();
    let mut active_at = start;
    loop {
        let now = Instant::now();
        cpu.tick(plan, now - start);

        let received = batch.receive(|datagram| generator.receive(datagram, start.elapsed()));
        let received = tolerate(received, address, &mut generator)?;
        let clock = start.elapsed();
        generator.expire(clock);
        batch.show(generator.cookie());
        while batch.has_room() {
            let Some(request) = generator.due(clock) else { break };
            batch.stage(request);
        }
        let sent = batch.send();
        let sent = tolerate(sent, address, &mut generator)?;
        if generator.is_done(clock) {
            break;
        }

        if received + sent > 0 {
            active_at = now;
            continue;
        }
        let idle = generator.next_event(clock).saturating_sub(start.elapsed()).min(SLEEP_MOST);
        if now - active_at < plan.spin || idle <= SLEEP_SLACK {
            // Lets a server on the same core have it.
            std::thread::yield_now();
        } else {
            batch.sleep(idle - SLEEP_SLACK).map_err(|source| Error::socket(address, source))?;
        }
    }
    Ok(generator.into_outcome(plan, cpu.used()))
}

/// CPU time of this thread in the measured time.
#[derive(Default)]
struct CpuMeter {
    start: Option<Duration>,
    end: Option<Duration>,
}

impl CpuMeter {
    /// Looks at the clock, if the measured time has begun or ended since.
    fn tick(&mut self, plan: &Plan, clock: Duration) {
        if self.start.is_none() && clock >= plan.warm_up {
            self.start = Some(thread_cpu());
        }
        if self.end.is_none() && clock >= plan.warm_up + plan.duration {
            self.end = Some(thread_cpu());
        }
    }

    fn used(self) -> Duration {
        let end = self.end.unwrap_or_else(thread_cpu);
        end.saturating_sub(self.start.unwrap_or(end))
    }
}

/// A socket's error ends the run only if the appliance has never answered: one that restarts is worth measuring.
fn tolerate(
    result: std::io::Result<usize>,
    address: SocketAddr,
    generator: &mut Generator,
) -> Result<usize, Error> {
    result.or_else(|source| {
        if generator.has_answers() {
            generator.count_socket_error();
            Ok(0)
        } else {
            Err(Error::socket(address, source))
        }
    })
}

/// CPU time that this thread has used.
fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
