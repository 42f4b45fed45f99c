//! Callers of the simulated appliance: the client's state machine, its datagrams in frames, time that passes by itself.

use lnic_message::client::{Config, Event, Machine, Reply, RequestId, RequestOptions};
use lnic_wire::rpc::{Header, Status};

use super::fleet::Fleet;
use super::frames::*;
use super::lab::Lab;

/// What happens to what the appliance sends; a fault port sees to the other direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// A datagram is lost.
    pub drop: f64,
    /// It comes twice.
    pub duplicate: f64,
    /// It comes after the one behind it.
    pub reorder: f64,
    /// One bit of it is flipped.
    pub corrupt: f64,
}

/// A simulated appliance, as callers see it.
pub trait World {
    /// The time.
    fn peek_ns(&self) -> u64;
    /// Lets time pass.
    fn pass_ns(&self, ns: u64);
    /// Sends it a frame. False if the pool is empty.
    fn send(&mut self, frame: &[u8]) -> bool;
    /// Breathes until nothing is left to do.
    fn work(&mut self);
    /// What it sent.
    fn sent(&mut self) -> Vec<Vec<u8>>;
    /// When it has something to do by itself.
    fn deadline_ns(&self) -> Option<u64>;
}

impl World for Lab {
    fn peek_ns(&self) -> u64 {
        self.clock.peek_ns()
    }

    fn pass_ns(&self, ns: u64) {
        self.clock.pass(ns);
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.peers[0].send(frame)
    }

    fn work(&mut self) {
        self.settle();
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.received(0)
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.next_deadline_ns()
    }
}

impl World for Fleet {
    fn peek_ns(&self) -> u64 {
        self.clock.peek_ns()
    }

    fn pass_ns(&self, ns: u64) {
        self.clock.pass(ns);
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.peers[0].send(frame)
    }

    fn work(&mut self) {
        self.settle();
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.received(0)
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.next_deadline_ns()
    }
}

/// A client at the peer's address, with a UDP port of its own.
pub struct Caller {
    pub machine: Machine<Vec<u8>>,
    pub port: u16,
    weather: Weather,
    random: fastrand::Rng,
    /// How requests ended, in order.
    pub events: Vec<Event>,
}

impl Caller {
    pub fn new(port: u16) -> Self {
        Self::in_weather(port, Weather::default(), u64::from(port))
    }

    pub fn in_weather(port: u16, weather: Weather, seed: u64) -> Self {
        let config = Config { lifetime_us: 30_000_000, ..Config::default() };
        let random = fastrand::Rng::with_seed(seed);
        Self { machine: Machine::new(config, seed), port, weather, random, events: Vec::new() }
    }

    pub fn request(
        &mut self,
        lab: &impl World,
        lambda: u32,
        payload: Vec<u8>,
        options: RequestOptions,
    ) -> RequestId {
        self.machine.request(now_us(lab), lambda, payload, options).expect("room")
    }

    /// Sends a request and returns the status and payload of its reply.
    pub fn ask(&mut self, lab: &mut impl World, lambda: u32, payload: &[u8]) -> (Status, Vec<u8>) {
        self.ask_with(lab, lambda, payload, RequestOptions::default())
    }

    pub fn ask_with(
        &mut self,
        lab: &mut impl World,
        lambda: u32,
        payload: &[u8],
        options: RequestOptions,
    ) -> (Status, Vec<u8>) {
        self.request(lab, lambda, payload.to_vec(), options);
        converse(lab, &mut [self]);
        match self.events.pop() {
            Some(Event::Reply(reply)) => (reply.status, reply.payload),
            other => panic!("{other:?} in place of a reply"),
        }
    }

    /// The replies that came since the last look; there was nothing but replies.
    pub fn replies(&mut self) -> Vec<Reply> {
        let events = self.events.drain(..);
        let reply = |event| match event {
            Event::Reply(reply) => reply,
            failed => panic!("{failed:?}"),
        };
        events.map(reply).collect()
    }

    /// Sends what is due, up to a burst. True if there was anything.
    pub fn transmit(&mut self, lab: &mut impl World) -> bool {
        let mut buffer = [0; 1500];
        let mut any = false;
        for _ in 0..32 {
            let Some(bytes) = self.machine.poll_transmit(now_us(lab), &mut buffer) else { break };
            any = true;
            assert!(lab.send(&framed(self.port, &buffer[..bytes])), "the pool is empty");
        }
        any
    }

    /// Takes the datagrams for its port out of frames.
    pub fn receive(&mut self, lab: &impl World, frames: &[Vec<u8>]) {
        let mine = frames.iter().filter_map(|frame| datagram(frame)).filter(|(port, _)| *port == self.port);
        let mut datagrams: Vec<Vec<u8>> = mine.map(|(_, bytes)| bytes.to_vec()).collect();
        for at in 1..datagrams.len() {
            if self.random.f64() < self.weather.reorder {
                datagrams.swap(at - 1, at);
            }
        }
        for mut bytes in datagrams {
            if self.random.f64() < self.weather.drop {
                continue;
            }
            if self.random.f64() < self.weather.corrupt {
                let bit = self.random.usize(..bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for _ in 0..1 + usize::from(self.random.f64() < self.weather.duplicate) {
                self.machine.frame(now_us(lab), &bytes);
            }
        }
        self.events.extend(std::iter::from_fn(|| self.machine.poll_event()));
    }
}

pub fn now_us(lab: &impl World) -> u64 {
    lab.peek_ns() / 1000
}

/// A datagram in a frame to the appliance.
pub fn framed(port: u16, datagram: &[u8]) -> Vec<u8> {
    let upper = udp(&[&PEER_IPV4, &OUR_IPV4], port, RPC_PORT, datagram);
    ethernet(None, 0x0800, &ipv4(&[], 17, &upper))
}

/// The λ-RPC datagram of a frame from the appliance, and the UDP port that it goes to.
pub fn datagram(frame: &[u8]) -> Option<(u16, &[u8])> {
    let ip = frame.get(14..)?;
    if frame[12..14] != [8, 0] || ip.get(9) != Some(&17) {
        return None;
    }
    let upper = ip.get(usize::from(ip[0] & 15) * 4..)?;
    assert_eq!(upper[..2], RPC_PORT.to_be_bytes());
    Some((u16::from_be_bytes([upper[2], upper[3]]), &upper[8..]))
}

/// The headers of the λ-RPC datagrams in frames.
pub fn headers(frames: &[Vec<u8>]) -> Vec<Header> {
    let datagrams = frames.iter().filter_map(|frame| datagram(frame));
    datagrams.map(|(_, bytes)| Header::parse(bytes).expect("the appliance sends what can be read")).collect()
}

/// Lets callers and appliance speak, in virtual time, until every request has ended.
pub fn converse(lab: &mut impl World, callers: &mut [&mut Caller]) {
    let until_ns = lab.peek_ns() + 300_000_000_000;
    loop {
        step(lab, callers);
        // What ends a request is said at once: words like ACKs go out before this returns.
        let open = callers.iter().any(|caller| caller.machine.timeout_us().is_some());
        if !open {
            return;
        }
        assert!(lab.peek_ns() < until_ns, "a request that does not end");
        pass(lab, callers);
    }
}

/// Everybody says what is due now.
pub fn step(lab: &mut impl World, callers: &mut [&mut Caller]) {
    loop {
        let mut any = false;
        for caller in callers.iter_mut() {
            any |= caller.transmit(lab);
        }
        lab.work();
        let frames = lab.sent();
        for caller in callers.iter_mut() {
            caller.receive(lab, &frames);
        }
        if !any && frames.is_empty() {
            return;
        }
    }
}

/// Lets time pass until somebody has something to do.
pub fn pass(lab: &impl World, callers: &[&mut Caller]) {
    let now_ns = lab.peek_ns();
    let callers = callers.iter().filter_map(|caller| caller.machine.timeout_us());
    let next_ns = callers.map(|us| us * 1000).chain(lab.deadline_ns()).min().unwrap_or(now_ns);
    lab.pass_ns(next_ns.saturating_sub(now_ns).max(20_000));
}
