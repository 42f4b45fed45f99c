//! Loads a lambda with messages of many packets, and prints JSON: the client of `scripts/bench.sh message`.
//!
//! It keeps `outstanding` requests of one payload on their way from one thread, [`BATCH`] datagrams a system call. The size of
//! datagrams is given, and what arrives can be dropped. With `data`, the payload is that number in 4 bytes, little-endian.
//!
//! ```text
//! messages to=ADDRESS lambda=ID bytes=N [data=NUMBER] [outstanding=1] [requests=N | seconds=S] [warm_up_s=S]
//!          [datagram_bytes=1472] [drop=P] [seed=N] [wait=true]
//! ```
//!
//! With `wait`, it says "ready" once it knows that such datagrams pass, begins when its input has a line, and says "sent" when
//! it has sent what it may without a word of the server's.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lnic_client::Status;
use lnic_message::client::{Config, Event, Machine, RequestOptions};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Most datagrams that one system call moves.
const BATCH: usize = 64;
/// A datagram of the largest MTU.
const DATAGRAM_BYTES: usize = 9216;
/// What the socket may hold of replies that all come at once, and of requests that nobody takes.
const BUFFER_BYTES: usize = 64 << 20;
/// Longest sleep, so that the end is noticed.
const SLEEP_MOST_US: u64 = 10_000;
/// Requests that are long enough to have the size of datagrams tried, and how many of them.
const PROBE_BYTES: usize = 8192;
const PROBES: usize = 8;
/// No request ends later than this.
const LIFETIME_US: u64 = 30_000_000;

/// What is asked for.
struct Plan {
    to: String,
    lambda: u32,
    payload: Arc<[u8]>,
    outstanding: usize,
    requests: u64,
    duration: Duration,
    warm_up: Duration,
    datagram_bytes: u16,
    drop: f64,
    seed: u64,
    wait: bool,
}

impl Plan {
    fn from_args() -> Result<Self, Box<dyn Error>> {
        let mut plan = Self {
            to: String::new(),
            lambda: 1,
            payload: Arc::default(),
            outstanding: 1,
            requests: u64::MAX,
            duration: Duration::from_secs(60),
            warm_up: Duration::ZERO,
            datagram_bytes: 1472,
            drop: 0.0,
            seed: 1,
            wait: false,
        };
        for argument in std::env::args().skip(1) {
            let (key, value) = argument.split_once('=').ok_or(format!("{argument}: not KEY=VALUE"))?;
            match key {
                "to" => plan.to = value.to_owned(),
                "lambda" => plan.lambda = value.parse()?,
                "bytes" => plan.payload = vec![b'x'; value.parse()?].into(),
                "data" => plan.payload = value.parse::<u32>()?.to_le_bytes().to_vec().into(),
                "outstanding" => plan.outstanding = value.parse()?,
                "requests" => plan.requests = value.parse()?,
                "seconds" => plan.duration = Duration::try_from_secs_f64(value.parse()?)?,
                "warm_up_s" => plan.warm_up = Duration::try_from_secs_f64(value.parse()?)?,
                "datagram_bytes" => plan.datagram_bytes = value.parse()?,
                "drop" => plan.drop = value.parse()?,
                "seed" => plan.seed = value.parse()?,
                "wait" => plan.wait = value.parse()?,
                _ => return Err(format!("{key}: no such option").into()),
            }
        }
        Ok(plan)
    }
}

/// What became of the requests, and those of them that were answered after the warm-up.
struct Tally {
    begun: u64,
    answered: u64,
    failed: u64,
    reply_bytes: u64,
    latency_us: Histogram<u64>,
    seconds: f64,
    cpu_s: f64,
}

impl Tally {
    fn new() -> Result<Self, Box<dyn Error>> {
        let latency_us = Histogram::new_with_bounds(1, LIFETIME_US, 3)?;
        Ok(Self { begun: 0, answered: 0, failed: 0, reply_bytes: 0, latency_us, seconds: 0.0, cpu_s: 0.0 })
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Reply(reply) if reply.status == Status::Ok => {
                self.answered += 1;
                self.reply_bytes += reply.payload.len() as u64;
                self.latency_us.saturating_record(reply.round_trip_us);
            }
            Event::Reply(_) | Event::Failed { .. } => self.failed += 1,
        }
    }
}

/// A connected socket and its buffers.
struct Datagrams {
    socket: UdpSocket,
    out: Vec<Vec<u8>>,
    /// Bytes of each datagram to send; those from `unsent` on have not left.
    lengths: Vec<usize>,
    unsent: usize,
    into: Vec<Vec<u8>>,
    send_headers: MultiHeaders<()>,
    receive_headers: MultiHeaders<()>,
}

impl Datagrams {
    fn connect(to: &str) -> Result<Self, Box<dyn Error>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(lnic_client::resolve(to)?)?;
        // Beyond the system's limits, which is root's right; else what they allow.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES));
        let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &BUFFER_BYTES));
        let buffers = || (0..BATCH).map(|_| vec![0; DATAGRAM_BYTES]).collect();
        Ok(Self {
            socket,
            out: buffers(),
            lengths: Vec::with_capacity(BATCH),
            unsent: 0,
            into: buffers(),
            send_headers: MultiHeaders::preallocate(BATCH, None),
            receive_headers: MultiHeaders::preallocate(BATCH, None),
        })
    }

    /// Sends what the machine has, as much as the kernel takes; how many datagrams left.
    fn send(&mut self, machine: &mut Machine<Arc<[u8]>>, now_us: u64) -> Result<usize, Errno> {
        if self.unsent == self.lengths.len() {
            (self.unsent, _) = (0, self.lengths.clear());
            while self.lengths.len() < BATCH
                && let Some(bytes) = machine.poll_transmit(now_us, &mut self.out[self.lengths.len()])
            {
                self.lengths.push(bytes);
            }
        }
        if self.lengths.is_empty() {
            return Ok(0);
        }
        let waiting = self.out.iter().zip(&self.lengths).skip(self.unsent);
        let slices: Vec<_> = waiting.map(|(datagram, &bytes)| [IoSlice::new(&datagram[..bytes])]).collect();
        let (file, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let sent = match sendmmsg(file, &mut self.send_headers, &slices, [None; BATCH], [], flags) {
            Ok(results) => results.count(),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => 0,
            Err(error) => return Err(error),
        };
        self.unsent += sent;
        Ok(sent)
    }

    /// Hands each datagram that has arrived to `take`; how many.
    fn receive(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize, Errno> {
        let mut slices: Vec<_> = self.into.iter_mut().map(|place| [IoSliceMut::new(place)]).collect();
        let (file, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        match recvmmsg(file, &mut self.receive_headers, &mut slices, flags, None) {
            Ok(results) => Ok(results.map(|it| take(it.iovs().next().unwrap_or_default())).count()),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether the kernel did not take all.
    fn is_blocked(&self) -> bool {
        self.unsent < self.lengths.len()
    }

    /// Sleeps until something arrives, what waits can leave, or the time has passed.
    fn sleep(&self, most_us: u64) -> Result<(), Errno> {
        let wanted =
            if self.is_blocked() { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let most = TimeSpec::from(Duration::from_micros(most_us));
        match ppoll(&mut [PollFd::new(self.socket.as_fd(), wanted)], Some(most), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A machine on a socket.
struct Client {
    datagrams: Datagrams,
    machine: Machine<Arc<[u8]>>,
    started: Instant,
    random: fastrand::Rng,
    drop: f64,
    sent: u64,
    received: u64,
    dropped: u64,
}

impl Client {
    fn connect(plan: &Plan) -> Result<Self, Box<dyn Error>> {
        let config = Config {
            requests: plan.outstanding,
            in_flight: plan.outstanding,
            probes: vec![plan.datagram_bytes],
            lifetime_us: LIFETIME_US,
            ..Config::default()
        };
        Ok(Self {
            datagrams: Datagrams::connect(&plan.to)?,
            machine: Machine::new(config, fastrand::u64(..)),
            started: Instant::now(),
            random: fastrand::Rng::with_seed(plan.seed),
            drop: plan.drop,
            sent: 0,
            received: 0,
            dropped: 0,
        })
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Receives what has come; whether anything did.
    fn receive(&mut self) -> Result<bool, Errno> {
        let now_us = self.now_us();
        let received = self.datagrams.receive(|datagram| {
            if self.drop > 0.0 && self.random.f64() < self.drop {
                self.dropped += 1;
            } else {
                self.machine.frame(now_us, datagram);
            }
        })?;
        self.received += received as u64;
        Ok(received > 0)
    }

    /// Sends what can be sent; whether anything was.
    fn send(&mut self) -> Result<bool, Errno> {
        let now_us = self.now_us();
        let sent = self.datagrams.send(&mut self.machine, now_us)?;
        self.sent += sent as u64;
        Ok(sent > 0)
    }

    fn sleep(&mut self) -> Result<(), Errno> {
        let now_us = self.now_us();
        let wait_us = self.machine.timeout_us().map_or(SLEEP_MOST_US, |at_us| at_us.saturating_sub(now_us));
        self.datagrams.sleep(wait_us.min(SLEEP_MOST_US))
    }

    /// Has the machine try the size of its datagrams, with requests that are long enough for it to do so.
    fn probe(&mut self, plan: &Plan) -> Result<(), Box<dyn Error>> {
        let payload: Arc<[u8]> = vec![0; PROBE_BYTES].into();
        let before = self.machine.fragment_bytes();
        for _ in 0..PROBES {
            let options = RequestOptions::default();
            self.machine.request(self.now_us(), plan.lambda, Arc::clone(&payload), options)?;
            while self.machine.open_requests() > 0 {
                if !(self.receive()? | self.send()?) {
                    self.sleep()?;
                }
            }
            while self.send()? {}
            while let Some(event) = self.machine.poll_event() {
                if let Event::Failed { failure, .. } = event {
                    return Err(failure.into());
                }
            }
            if self.machine.fragment_bytes() > before {
                return Ok(());
            }
        }
        Err(format!("datagrams of {} bytes do not pass", plan.datagram_bytes).into())
    }

    /// Keeps requests on their way until the plan's end.
    fn run(&mut self, plan: &Plan) -> Result<Tally, Box<dyn Error>> {
        let begin_us = self.now_us();
        let measured_us = begin_us + plan.warm_up.as_micros() as u64;
        let end_us = measured_us + plan.duration.as_micros() as u64;
        let options = RequestOptions { idempotent: true, ..RequestOptions::default() };
        let mut tally = Tally::new()?;
        let mut cpu_before = None;
        let mut begun = 0;
        let mut announces = plan.wait;
        (self.sent, self.received, self.dropped) = (0, 0, 0);
        loop {
            let received = self.receive()?;
            let now_us = self.now_us();
            if cpu_before.is_none() && now_us >= measured_us {
                cpu_before = Some(cpu()?);
            }
            while let Some(event) = self.machine.poll_event() {
                if (measured_us..=end_us).contains(&now_us) {
                    tally.add(event);
                }
            }
            while self.machine.open_requests() < plan.outstanding && begun < plan.requests && now_us < end_us
            {
                self.machine.request(now_us, plan.lambda, Arc::clone(&plan.payload), options)?;
                begun += 1;
            }
            let sent = self.send()?;
            if self.machine.open_requests() == 0 && !sent || now_us > end_us {
                let seconds = (now_us.min(end_us).saturating_sub(measured_us)) as f64 / 1e6;
                (tally.begun, tally.seconds) = (begun, seconds);
                tally.cpu_s = (cpu()? - cpu_before.ok_or("it ended in the warm-up")?).as_secs_f64();
                return Ok(tally);
            }
            if !received && !sent {
                if announces && begun == plan.requests && !self.datagrams.is_blocked() {
                    announces = false;
                    println!("sent");
                }
                self.sleep()?;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::from_args()?;
    let mut client = Client::connect(&plan)?;
    client.probe(&plan)?;
    if plan.wait {
        println!("ready");
        std::io::stdin().read_line(&mut String::new())?;
    }
    let tally = client.run(&plan)?;
    let latency = |quantile| tally.latency_us.value_at_quantile(quantile) as f64;
    let figures = [
        ("begun", tally.begun as f64),
        ("answered", tally.answered as f64),
        ("failed", tally.failed as f64),
        ("seconds", tally.seconds),
        ("cpu_s", tally.cpu_s),
        ("request_bytes_per_s", tally.answered as f64 * plan.payload.len() as f64 / tally.seconds),
        ("reply_bytes_per_s", tally.reply_bytes as f64 / tally.seconds),
        ("p50_us", latency(0.5)),
        ("p99_us", latency(0.99)),
        ("fragment_bytes", f64::from(client.machine.fragment_bytes())),
        ("datagrams_sent", client.sent as f64),
        ("datagrams_received", client.received as f64),
        ("dropped", client.dropped as f64),
        ("retransmitted", client.machine.counters().retransmitted as f64),
    ];
    let fields: Vec<_> = figures.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    println!("{{{}}}", fields.join(", "));
    Ok(())
}

/// CPU time of this thread.
fn cpu() -> Result<Duration, Errno> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)
}
