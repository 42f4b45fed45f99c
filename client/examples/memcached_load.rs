//! Loads a server of memcached's UDP protocol, and prints JSON: the client of `scripts/bench.sh kv`.
//!
//! It stores `keys` values of `value_bytes` first, then keeps `outstanding` requests on their way from one thread, [`BATCH`] datagrams a
//! system call: gets of random keys, and sets of them, `set_share` of all. A request that is not answered within [`LOST_US`] counts as
//! lost, and another takes its place. With `open` it waits for no replies, and sends for as long as it lives: a backlog for
//! `scripts/bench/drain.py`.
//!
//! ```text
//! memcached_load to=ADDRESS:PORT [keys=N] [value_bytes=N] [set_share=P] [outstanding=1] [seconds=S] [warm_up_s=S] [seed=N]
//!                [open=true]
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

/// Most datagrams that one system call moves.
const BATCH: usize = 64;
/// The largest datagram of memcached's, and more.
const DATAGRAM_BYTES: usize = 2048;
/// What the socket may hold of replies that come at once.
const BUFFER_BYTES: usize = 16 << 20;
/// A request without a reply is given up after so long.
const LOST_US: u64 = 200_000;
/// Times that a value is sent until it is stored.
const TRIES: usize = 20;
/// Requests that can be on their way: an ID has a place among them, and a part that tells them apart.
const OUTSTANDING: usize = 1024;
/// memcached's header before each datagram.
const FRAME_BYTES: usize = 8;

/// What is asked for.
struct Plan {
    to: String,
    keys: u32,
    value_bytes: usize,
    set_share: f64,
    outstanding: usize,
    duration: Duration,
    warm_up: Duration,
    seed: u64,
    open: bool,
}

impl Plan {
    fn from_args() -> Result<Self, Box<dyn Error>> {
        let mut plan = Self {
            to: String::new(),
            keys: 1000,
            value_bytes: 32,
            set_share: 0.0,
            outstanding: 1,
            duration: Duration::from_secs(5),
            warm_up: Duration::ZERO,
            seed: 1,
            open: false,
        };
        for argument in std::env::args().skip(1) {
            let (key, value) = argument.split_once('=').ok_or(format!("{argument}: not KEY=VALUE"))?;
            match key {
                "to" => plan.to = value.to_owned(),
                "keys" => plan.keys = value.parse()?,
                "value_bytes" => plan.value_bytes = value.parse()?,
                "set_share" => plan.set_share = value.parse()?,
                "outstanding" => plan.outstanding = value.parse::<usize>()?.clamp(1, OUTSTANDING),
                "seconds" => plan.duration = Duration::try_from_secs_f64(value.parse()?)?,
                "warm_up_s" => plan.warm_up = Duration::try_from_secs_f64(value.parse()?)?,
                "seed" => plan.seed = value.parse()?,
                "open" => plan.open = value.parse()?,
                _ => return Err(format!("{key}: no such option").into()),
            }
        }
        Ok(plan)
    }
}

/// A request on its way.
#[derive(Clone, Copy, Default)]
struct Request {
    sent_us: u64,
    /// Distinguishes it from those that had its place before.
    turn: u16,
    is_open: bool,
    is_get: bool,
}

/// What became of the requests after the warm-up.
struct Tally {
    answered: u64,
    misses: u64,
    failed: u64,
    lost: u64,
    latency_us: Histogram<u64>,
}

struct Client {
    socket: UdpSocket,
    out: Vec<Vec<u8>>,
    /// Datagrams in `out` that have not left.
    staged: usize,
    unsent: usize,
    into: Vec<Vec<u8>>,
    send_headers: MultiHeaders<()>,
    receive_headers: MultiHeaders<()>,
    requests: Vec<Request>,
    free: Vec<u16>,
    started: Instant,
    random: fastrand::Rng,
    value: Vec<u8>,
}

impl Client {
    fn connect(plan: &Plan) -> Result<Self, Box<dyn Error>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(&plan.to)?;
        // Beyond the system's limits, which is root's right; else what they allow.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES));
        Ok(Self {
            socket,
            out: (0..BATCH).map(|_| Vec::with_capacity(DATAGRAM_BYTES)).collect(),
            staged: 0,
            unsent: 0,
            into: (0..BATCH).map(|_| vec![0; DATAGRAM_BYTES]).collect(),
            send_headers: MultiHeaders::preallocate(BATCH, None),
            receive_headers: MultiHeaders::preallocate(BATCH, None),
            requests: vec![Request::default(); plan.outstanding],
            free: (0..plan.outstanding as u16).collect(),
            started: Instant::now(),
            random: fastrand::Rng::with_seed(plan.seed),
            value: vec![b'v'; plan.value_bytes],
        })
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Writes the next request into a datagram; false if none may be sent now.
    fn stage(&mut self, plan: &Plan, now_us: u64) -> bool {
        if self.staged == BATCH {
            return false;
        }
        let Some(place) = self.free.pop() else { return false };
        let request = &mut self.requests[usize::from(place)];
        let is_get = self.random.f64() >= plan.set_share;
        *request =
            Request { sent_us: now_us, turn: request.turn.wrapping_add(1) % 64, is_open: true, is_get };
        let id = request.turn << 10 | place;
        let key = self.random.u32(..plan.keys);
        write_request(&mut self.out[self.staged], id, key, (!is_get).then_some(&self.value));
        self.staged += 1;
        true
    }

    /// Sends what is staged, as much as the kernel takes.
    fn send(&mut self) -> Result<(), Errno> {
        if self.unsent == self.staged {
            return Ok(());
        }
        let slices: Vec<_> =
            self.out[self.unsent..self.staged].iter().map(|datagram| [IoSlice::new(datagram)]).collect();
        let (file, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        match sendmmsg(file, &mut self.send_headers, &slices, [None; BATCH], [], flags) {
            Ok(results) => self.unsent += results.count(),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR | Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error),
        }
        if self.unsent == self.staged {
            (self.unsent, self.staged) = (0, 0);
        }
        Ok(())
    }

    /// Takes the replies that have come; how many.
    fn receive(&mut self, tally: &mut Tally) -> Result<usize, Errno> {
        let now_us = self.now_us();
        let mut slices: Vec<_> = self.into.iter_mut().map(|place| [IoSliceMut::new(place)]).collect();
        let (file, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let results = match recvmmsg(file, &mut self.receive_headers, &mut slices, flags, None) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut count = 0;
        for result in results {
            let datagram = result.iovs().next().unwrap_or_default();
            let (Some(id), Some(text)) = (datagram.first_chunk::<2>(), datagram.get(FRAME_BYTES..)) else {
                continue;
            };
            let id = u16::from_be_bytes(*id);
            let (place, turn) = (id & 1023, id >> 10);
            let Some(request) = self.requests.get_mut(usize::from(place)) else { continue };
            if !request.is_open || request.turn != turn {
                continue;
            }
            request.is_open = false;
            self.free.push(place);
            count += 1;
            tally.answered += 1;
            tally.latency_us.saturating_record(now_us - request.sent_us);
            match (request.is_get, text) {
                (true, [b'V', ..]) | (false, [b'S', b'T', ..]) => {}
                (true, [b'E', b'N', ..]) => tally.misses += 1,
                _ => tally.failed += 1,
            }
        }
        Ok(count)
    }

    /// Gives up what is not answered.
    fn give_up(&mut self, now_us: u64, tally: &mut Tally) {
        for (place, request) in (0u16..).zip(&mut self.requests) {
            if request.is_open && now_us > request.sent_us + LOST_US {
                request.is_open = false;
                self.free.push(place);
                tally.lost += 1;
            }
        }
    }

    fn sleep(&self, most: Duration) -> Result<(), Errno> {
        let most = TimeSpec::from(most);
        match ppoll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], Some(most), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stores all values, one at a time.
    fn fill(&mut self, plan: &Plan) -> Result<(), Box<dyn Error>> {
        let (mut datagram, mut reply) = (Vec::new(), [0; DATAGRAM_BYTES]);
        self.socket.set_read_timeout(Some(Duration::from_micros(LOST_US)))?;
        for key in 0..plan.keys {
            write_request(&mut datagram, key as u16, key, Some(&self.value));
            let is_stored = (0..TRIES).any(|_| {
                self.socket.send(&datagram).is_ok()
                    && self.socket.recv(&mut reply).is_ok_and(|bytes| reply[..bytes].ends_with(b"STORED\r\n"))
            });
            if !is_stored {
                return Err(format!("key {key}: not stored in {TRIES} tries").into());
            }
        }
        Ok(())
    }

    /// Sends without end. What comes back is left to the kernel to drop.
    fn send_for_ever(&mut self, plan: &Plan) -> Result<(), Errno> {
        loop {
            for place in 0..self.requests.len() as u16 {
                self.free.push(place);
                self.stage(plan, 0);
                self.free.clear();
                if self.staged == BATCH {
                    self.send()?;
                }
            }
        }
    }

    fn run(&mut self, plan: &Plan) -> Result<(Tally, f64), Box<dyn Error>> {
        let tally = || Tally {
            answered: 0,
            misses: 0,
            failed: 0,
            lost: 0,
            latency_us: Histogram::new_with_bounds(1, 10_000_000, 3).expect("bounds"),
        };
        let mut measured = tally();
        let begin_us = self.now_us();
        let mut from_us = begin_us + plan.warm_up.as_micros() as u64;
        let mut is_warm = false;
        let mut looked_us = begin_us;
        loop {
            let now_us = self.now_us();
            if !is_warm && now_us >= from_us {
                (is_warm, from_us, measured) = (true, now_us, tally());
            }
            if is_warm && now_us >= from_us + plan.duration.as_micros() as u64 {
                return Ok((measured, (now_us - from_us) as f64 / 1e6));
            }
            if now_us > looked_us + LOST_US / 4 {
                looked_us = now_us;
                self.give_up(now_us, &mut measured);
            }
            while self.unsent == 0 && self.stage(plan, now_us) {}
            self.send()?;
            if self.receive(&mut measured)? == 0 && (self.free.is_empty() || self.staged > 0) {
                self.sleep(Duration::from_millis(1))?;
            }
        }
    }
}

/// A get, or with a value a set, of a key.
fn write_request(datagram: &mut Vec<u8>, id: u16, key: u32, value: Option<&Vec<u8>>) {
    use std::io::Write as _;
    datagram.clear();
    datagram.extend_from_slice(&id.to_be_bytes());
    datagram.extend_from_slice(&[0, 0, 0, 1, 0, 0]);
    // Writing to a vector does not fail.
    let _ = match value {
        Some(value) => {
            let line = write!(datagram, "set memcached-key-{key:010} 0 0 {}\r\n", value.len());
            datagram.extend_from_slice(value);
            line.and(write!(datagram, "\r\n"))
        }
        None => write!(datagram, "get memcached-key-{key:010}\r\n"),
    };
}

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::from_args()?;
    let mut client = Client::connect(&plan)?;
    client.fill(&plan)?;
    if plan.open {
        return Ok(client.send_for_ever(&plan)?);
    }
    let (tally, seconds) = client.run(&plan)?;
    let quantile = |part| tally.latency_us.value_at_quantile(part);
    println!(
        "{{\"answered\": {}, \"seconds\": {seconds:.3}, \"misses\": {}, \"failed\": {}, \"lost\": {}, \"p50_us\": {}, \"p99_us\": {}}}",
        tally.answered,
        tally.misses,
        tally.failed,
        tally.lost,
        quantile(0.5),
        quantile(0.99),
    );
    Ok(())
}
