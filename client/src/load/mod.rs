//! Load generator: many requests in flight from one thread, measured.
//!
//! *Closed loop* keeps N requests outstanding: what N waiting callers see, and the most the appliance can do for them.
//! *Open loop* sends at a fixed rate, whatever comes back. Latency counts from when a request was due, not from when it
//! left, so an appliance or a client that stalls is charged for everything that had to wait (no coordinated omission).
//!
//! Nothing is sent again: a request without a reply is lost, and counted. Requests due in the warm-up, and the replies to
//! them, are not measured.

mod batch;
mod generator;
mod outcome;
mod pending;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::{Error, exchange, socket};
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
    /// Flags and priority, as in [`CallOptions`](crate::CallOptions).
    pub flags: u16,
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
        }
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
    let address = plan.address;
    let limit_bytes = socket::payload_limit(address);
    let mut header = exchange::request_header(plan.lambda, plan.payload.len(), plan.flags, limit_bytes)?;
    header.aux = plan.budget_us;
    let mut batch = Batch::new(socket::connect(address)?, header, &plan.payload);
    let mut generator = Generator::new(plan, fastrand::u32(..));
    let mut cpu_start = None;
    let mut cpu_end = None;

    let start = Instant::now();
    let mut active_at = start;
    loop {
        let now = Instant::now();
        let clock = now - start;
        if cpu_start.is_none() && clock >= plan.warm_up {
            cpu_start = Some(thread_cpu());
        }
        if cpu_end.is_none() && clock >= plan.warm_up + plan.duration {
            cpu_end = Some(thread_cpu());
        }

        let received = batch.receive(|datagram| generator.receive(datagram, start.elapsed()));
        let received = tolerate(received, address, &mut generator)?;
        let clock = start.elapsed();
        generator.expire(clock);
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
    let cpu_end = cpu_end.unwrap_or_else(thread_cpu);
    let cpu = cpu_end.saturating_sub(cpu_start.unwrap_or(cpu_end));
    Ok(generator.into_outcome(plan, cpu))
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
