//! An appliance on a loopback socket: the state machine's other end, with weather on the way.
#![allow(dead_code, reason = "support is shared")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lnic_message::server::{
    Action, Answer, Body, Limits, Message, Refusal, Server, SlotId, Slots, Source, TenantId, Transmit,
};
use lnic_message::{Head, MESSAGE_BYTES};
use lnic_wire::rpc::{self, Header, Status};
use nix::sys::socket::{setsockopt, sockopt};

/// Answers with the request reversed.
pub(crate) const REVERSE: u32 = 7;
/// Never answers.
pub(crate) const SILENT: u32 = 8;
/// Answers with as many bytes as the first four of the request say.
pub(crate) const GROW: u32 = 9;

/// More than the largest UDP payload.
const DATAGRAM_BYTES: usize = 1 << 16;

/// As many slots as are asked for.
#[derive(Default)]
struct Memory {
    slots: BTreeMap<u32, Vec<u8>>,
    last: u32,
}

impl Memory {
    fn insert(&mut self, bytes: Vec<u8>) -> SlotId {
        self.last += 1;
        self.slots.insert(self.last, bytes);
        SlotId(self.last)
    }
}

impl Slots for Memory {
    fn tenant(&self, _: u32) -> Option<TenantId> {
        Some(TenantId(0))
    }

    fn take(&mut self, _: u32, bytes: u32) -> Result<SlotId, Refusal> {
        Ok(self.insert(vec![0; bytes as usize]))
    }

    fn place(&mut self, slot: SlotId, offset: u32, bytes: &[u8]) {
        let slot = self.slots.get_mut(&slot.0).expect("a slot that is taken");
        slot[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn free(&mut self, slot: SlotId) {
        self.slots.remove(&slot.0).expect("a slot that is taken");
    }
}

/// What happens on the way, in each direction.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Datagrams lost of a hundred.
    pub(crate) lost_percent: u8,
    /// Datagrams of a hundred that come after later ones.
    pub(crate) late_percent: u8,
}

/// What a test says to the appliance, and reads from it.
#[derive(Default)]
pub(crate) struct Board {
    stop: AtomicBool,
    /// It loses its state.
    pub(crate) restart: AtomicBool,
    /// So many requests more are answered BUSY.
    pub(crate) busy: AtomicU32,
    /// Requests that ran.
    pub(crate) runs: AtomicU32,
    /// CANCELs that came.
    pub(crate) cancels: AtomicU32,
    /// Datagrams that were lost or late.
    pub(crate) disturbed: AtomicU32,
}

/// A thread that serves until it is dropped.
pub(crate) struct Appliance {
    pub(crate) address: SocketAddr,
    pub(crate) board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Appliance {
    pub(crate) fn start(weather: Weather) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        Self::on(socket, weather)
    }

    pub(crate) fn on(socket: UdpSocket, weather: Weather) -> Self {
        // A message's credit of jumbo frames, if the kernel lets us.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let board = Arc::new(Board::default());
        let mut machine = Machine {
            socket,
            board: Arc::clone(&board),
            server: server(1),
            life: 1,
            memory: Memory::default(),
            started: Instant::now(),
            weather,
            random: fastrand::Rng::with_seed(4793),
            held: Vec::new(),
        };
        Self { address, board, thread: Some(std::thread::spawn(move || machine.run())) }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.board.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        if let (Some(Err(panic)), false) = (joined, std::thread::panicking()) {
            std::panic::resume_unwind(panic);
        }
    }
}

fn server(life: u32) -> Server<u16> {
    Server::new(Limits::default(), [life as u8; 16], life)
}

struct Machine {
    socket: UdpSocket,
    board: Arc<Board>,
    server: Server<u16>,
    life: u32,
    memory: Memory,
    started: Instant,
    weather: Weather,
    random: fastrand::Rng,
    /// Late replies.
    held: Vec<(u16, Vec<u8>)>,
}

impl Machine {
    fn run(&mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let mut late: Vec<(u16, Vec<u8>)> = Vec::new();
        while !self.board.stop.load(Ordering::Relaxed) {
            if self.board.restart.swap(false, Ordering::Relaxed) {
                self.life += 1;
                (self.server, self.memory) = (server(self.life), Memory::default());
            }
            match self.socket.recv_from(&mut buffer) {
                Ok((bytes, from)) => {
                    let datagram = &buffer[..bytes];
                    match self.fate() {
                        Fate::Lost => {}
                        Fate::Late => late.push((from.port(), datagram.to_vec())),
                        Fate::Passes => {
                            self.serve(datagram, from.port());
                            if self.random.u8(0..4) == 0 {
                                self.serve_late(&mut late);
                            }
                        }
                    }
                }
                Err(_) => {
                    self.serve_late(&mut late);
                    self.send_held();
                }
            }
            self.poll();
        }
    }

    fn fate(&mut self) -> Fate {
        let random = self.random.u8(0..100);
        let Weather { lost_percent, late_percent } = self.weather;
        let fate = match random {
            _ if random < lost_percent => Fate::Lost,
            _ if random < lost_percent + late_percent => Fate::Late,
            _ => return Fate::Passes,
        };
        self.board.disturbed.fetch_add(1, Ordering::Relaxed);
        fate
    }

    fn serve_late(&mut self, late: &mut Vec<(u16, Vec<u8>)>) {
        for (from, datagram) in late.drain(..) {
            self.serve(&datagram, from);
        }
    }

    fn send_held(&mut self) {
        for (to, datagram) in self.held.drain(..) {
            let _ = self.socket.send_to(&datagram, ("127.0.0.1", to));
        }
    }

    fn poll(&mut self) {
        let now_us = self.now_us();
        while let Some(transmit) = self.server.poll(now_us, &mut self.memory) {
            match transmit {
                Transmit::Control { route, head, .. } => self.send(route, &head, &[]),
                Transmit::Fragment { route, head, slot, offset, bytes, .. } => {
                    let (start, end) = (offset as usize, (offset + bytes) as usize);
                    let fragment = self.memory.slots[&slot.0][start..end].to_vec();
                    self.send(route, &head, &fragment);
                }
            }
        }
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn serve(&mut self, datagram: &[u8], from: u16) {
        let header = Header::parse(datagram).expect("a header");
        let source = Source { port: from, ..Source::default() };
        let now_us = self.now_us();
        if header.kind == rpc::Kind::Cancel {
            self.board.cancels.fetch_add(1, Ordering::Relaxed);
        }
        match self.server.frame(now_us, &source, from, &header, datagram, &mut self.memory) {
            Action::Run { call, message } => {
                let busy = &self.board.busy;
                let less = |left: u32| left.checked_sub(1);
                if busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                    let head = self.server.abandon(&call, Status::Busy, 300, &mut self.memory);
                    return head.into_iter().for_each(|head| self.send(from, &head, &[]));
                }
                self.board.runs.fetch_add(1, Ordering::Relaxed);
                if header.lambda == SILENT {
                    return;
                }
                let mut reply = match message {
                    Message::Frame => header.payload(datagram).to_vec(),
                    Message::Slot { slot, .. } => self.memory.slots[&slot.0].clone(),
                };
                if header.lambda == GROW {
                    let bytes = u32::from_be_bytes(*reply.first_chunk().expect("a length"));
                    reply = vec![0x5A; bytes.min(MESSAGE_BYTES) as usize];
                } else {
                    reply.reverse();
                }
                let body = if reply.len() <= usize::from(header.fragment_bytes) {
                    Body::Frame(&reply)
                } else {
                    Body::Slot { slot: self.memory.insert(reply.clone()), bytes: reply.len() as u32 }
                };
                let aux = rpc::reply_aux(Status::Ok, 1, 2);
                match self.server.reply(now_us, &call, aux, body, &mut self.memory) {
                    Answer::Reply(head) => self.send(from, &head, &reply),
                    Answer::Instead(head) => self.send(from, &head, &[]),
                    Answer::Queued | Answer::Discard => {}
                }
            }
            Action::Send(head) => self.send(from, &head, &[]),
            Action::Replay(head, reply) => {
                let mut payload = vec![0; DATAGRAM_BYTES];
                let bytes = self.server.cached(reply, &mut payload).expect("a frame");
                self.send(from, &head, &payload[..bytes]);
            }
            Action::Kept | Action::Cancelled { .. } | Action::Drop(_) => {}
        }
    }

    fn send(&mut self, to: u16, head: &Head, payload: &[u8]) {
        let mut datagram = vec![0; head.bytes()];
        datagram.extend_from_slice(payload);
        head.emit(&mut datagram).expect("room");
        match self.fate() {
            Fate::Lost => {}
            Fate::Late => self.held.push((to, datagram)),
            Fate::Passes => {
                let _ = self.socket.send_to(&datagram, ("127.0.0.1", to));
                if self.random.u8(0..4) == 0 {
                    self.send_held();
                }
            }
        }
    }
}

enum Fate {
    Lost,
    Late,
    Passes,
}

/// Bytes that differ.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect()
}

/// Whether one is the other, reversed.
pub(crate) fn is_reversed(reply: &[u8], request: &[u8]) -> bool {
    reply.iter().eq(request.iter().rev())
}
