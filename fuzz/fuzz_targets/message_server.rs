//! The message server, whatever datagrams come, whenever lambdas are done, however time passes: tables keep their bounds, slots are
//! freed once each, nobody without a cookie gets more than three times what it sent, and in the end nothing is left.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use lnic_fuzz::words::{Input, datagram};
use lnic_message::server::{
    Action, Answer, Body, Call, Limits, Message, Refusal, Server, SlotId, Slots, Source, TenantId, Transmit,
};
use lnic_message::{AMPLIFICATION, Head, Options};
use lnic_wire::rpc::{self, Header, Kind, Status};

const SLOTS: usize = 6;
const SLOT_BYTES: u32 = 4096;
const EPOCH: u32 = 2;

/// Slots of lambdas 1 and 2; 3 takes one frame, and there is no other.
#[derive(Default)]
struct Memory {
    /// Bytes that each was taken for.
    taken: [Option<u32>; SLOTS],
}

impl Slots for Memory {
    fn tenant(&self, lambda: u32) -> Option<TenantId> {
        (1..=3).contains(&lambda).then_some(TenantId((lambda % 2) as u16))
    }

    fn take(&mut self, lambda: u32, bytes: u32) -> Result<SlotId, Refusal> {
        let refuse = |status| Refusal { status, retry_us: 7 };
        if lambda == 3 {
            return Err(refuse(Status::Unimplemented));
        }
        if bytes > SLOT_BYTES {
            return Err(refuse(Status::OutOfRange));
        }
        let free = self.taken.iter().position(Option::is_none).ok_or(refuse(Status::Busy))?;
        self.taken[free] = Some(bytes);
        Ok(SlotId(free as u32))
    }

    fn place(&mut self, slot: SlotId, offset: u32, bytes: &[u8]) {
        let taken = self.taken[slot.0 as usize].expect("a slot that is taken");
        assert!(offset as usize + bytes.len() <= taken as usize, "within the message");
    }

    fn free(&mut self, slot: SlotId) {
        assert!(self.taken[slot.0 as usize].take().is_some(), "freed twice");
    }
}

/// What a source sent and got.
#[derive(Default)]
struct Account {
    in_bytes: usize,
    out_bytes: usize,
    given: BTreeSet<[u8; 8]>,
    has_shown: bool,
}

impl Account {
    fn received(&mut self, header: &Header, datagram: &[u8]) {
        self.in_bytes += datagram.len();
        let cookie = Options::of(header.tlvs(datagram)).cookie;
        self.has_shown |= cookie.is_some_and(|cookie| self.given.contains(&cookie));
    }

    fn sent(&mut self, head: &Head, payload_bytes: usize) {
        assert!(head.emit(&mut vec![0; head.bytes() + payload_bytes]).is_some());
        self.out_bytes += head.bytes() + payload_bytes;
        if head.header().kind == Kind::Challenge {
            self.given.extend(head.options().cookie);
        }
        let most = self.in_bytes * AMPLIFICATION as usize;
        assert!(self.has_shown || self.out_bytes <= most, "{} bytes for {}", self.out_bytes, self.in_bytes);
    }
}

fn limits() -> Limits {
    Limits {
        exchanges: 5,
        exchanges_per_tenant: 4,
        fragments: 128,
        message_bytes: 5000,
        sessions: 4,
        entries_per_address: 6,
        cache_bytes: 4096,
        cache_bytes_per_tenant: 2048,
        tenants: 2,
        require_crc: false,
        ..Limits::default()
    }
}

struct World {
    server: Server<u8>,
    memory: Memory,
    accounts: [Account; 3],
    running: Vec<(Call<u8>, Option<SlotId>)>,
    now_us: u64,
}

impl World {
    fn arrive(&mut self, port: u8, datagram: &[u8]) {
        let Ok(header) = Header::parse(datagram) else { return };
        let source = Source { address: [port; 16], port: 4000, interface: 0 };
        let account = &mut self.accounts[usize::from(port)];
        account.received(&header, datagram);
        match self.server.frame(self.now_us, &source, port, &header, datagram, &mut self.memory) {
            Action::Run { call, message } => {
                let slot = match message {
                    Message::Frame => None,
                    Message::Slot { slot, bytes } => {
                        assert_eq!(self.memory.taken[slot.0 as usize], Some(bytes));
                        Some(slot)
                    }
                };
                self.running.push((call, slot));
            }
            Action::Send(head) => account.sent(&head, 0),
            Action::Replay(head, reply) => {
                let bytes = self.server.cached(reply, &mut [0; 70_000]).expect("it is there");
                assert_eq!(bytes, head.header().message_length as usize);
                account.sent(&head, bytes);
            }
            Action::Kept | Action::Cancelled { .. } | Action::Drop(_) => {}
        }
    }

    /// A lambda is done.
    fn done(&mut self, input: &mut Input<'_>) {
        if self.running.is_empty() {
            return;
        }
        let at = usize::from(input.byte()) % self.running.len();
        let (call, slot) = self.running.swap_remove(at);
        let (how, bytes) = (input.byte(), input.number() % (SLOT_BYTES + 1));
        let account = &mut self.accounts[usize::from(*call.route())];
        let payload = vec![1; bytes as usize];
        let body = match (how % 4, slot) {
            (0, _) => {
                let head = self.server.abandon(&call, Status::Busy, 9, &mut self.memory);
                return head.iter().for_each(|head| account.sent(head, 0));
            }
            (1, Some(slot)) => Body::Slot { slot, bytes },
            (2, _) => match slots_take(&mut self.memory) {
                Some(slot) => Body::Slot { slot, bytes },
                None => Body::Frame(&payload),
            },
            _ => Body::Frame(&payload),
        };
        let aux = rpc::reply_aux(Status::Ok, 1, 1);
        match self.server.reply(self.now_us, &call, aux, body, &mut self.memory) {
            Answer::Reply(head) => account.sent(&head, payload.len()),
            Answer::Instead(head) => account.sent(&head, 0),
            Answer::Queued | Answer::Discard => {}
        }
    }

    fn poll(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it sends for ever");
            match self.server.poll(self.now_us, &mut self.memory) {
                None => break,
                Some(Transmit::Control { route, head, .. }) => {
                    self.accounts[usize::from(route)].sent(&head, 0);
                }
                Some(Transmit::Fragment { route, head, slot, offset, bytes, .. }) => {
                    assert!(self.memory.taken[slot.0 as usize].is_some(), "out of a slot that is taken");
                    assert!(offset + bytes <= SLOT_BYTES);
                    self.accounts[usize::from(route)].sent(&head, bytes as usize);
                }
            }
        }
        let (usage, limits) = (self.server.usage(), limits());
        assert!(usage.exchanges <= limits.exchanges && usage.sessions <= limits.sessions);
        assert!(usage.cached_bytes <= limits.cache_bytes);
        assert!(self.server.timeout_us() != Some(0), "all that was due is sent");
    }
}

/// A slot of its own for a reply.
fn slots_take(memory: &mut Memory) -> Option<SlotId> {
    memory.take(1, SLOT_BYTES).ok()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut world = World {
        server: Server::new(limits(), [5; 16], EPOCH),
        memory: Memory::default(),
        accounts: Default::default(),
        running: Vec::new(),
        now_us: 1_000_000,
    };
    while !input.is_empty() {
        let what = input.byte();
        match what % 8 {
            0 => world.now_us += u64::from(input.number() % 2_000_000),
            1 => world.done(&mut input),
            2 => world.poll(),
            _ => {
                let port = what / 8 % 3;
                let cookies: Vec<_> =
                    world.accounts.iter().flat_map(|one| one.given.iter().copied()).collect();
                let request = |session, sequence| u64::from(session & 7) << 32 | u64::from(sequence & 0x7F);
                world.arrive(port, &datagram(&mut input, request, &cookies));
            }
        }
    }
    for (call, _) in std::mem::take(&mut world.running) {
        world.server.abandon(&call, Status::Unavailable, 0, &mut world.memory);
    }
    for _ in 0..200 {
        world.poll();
        world.now_us += limits().hold_us / 50;
    }
    let usage = world.server.usage();
    assert_eq!((usage.exchanges, usage.cached_bytes, usage.timers), (0, 0, 0));
    assert!(world.memory.taken.iter().all(Option::is_none), "slots that nobody has");
});
