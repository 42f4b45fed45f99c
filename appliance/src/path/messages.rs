//! Messages: parts in, whole ones to their lambda, replies out in parts. The protocol is `lnic-message`'s; here are the frames.

use std::collections::VecDeque;
use std::ops::Range;

use lnic_abi as abi;
use lnic_message::Head;
use lnic_message::server::{Action, Answer, Body, Call, Dropped, Message, Server, SlotId, Source, Transmit};
use lnic_wire::rpc::{self, Header, Kind, Status};

use super::{Arrival, Clock, Path, Way, unavailable};
use crate::deparser::{self, Exit};
use crate::frame::{External as _, Frame, FrameSource};
use crate::handoff::{End, MessageRef, Request, Ticket};
use crate::ids::{LambdaRef, LambdaSlot, PortId};
use crate::matcher::Effect;
use crate::message::Terms;
use crate::message::copy::{Copied, CopyEngine, Tags};
use crate::message::slots::MessageSlots;
use crate::observe::DropReason;
use crate::parser::{self, Parsed, Present};

/// Frames that are made in one turn: more would keep what arrives waiting.
const MADE: usize = 32;
/// Longest reply that leaves in one frame: a payload of the largest MTU.
const SCRATCH_BYTES: usize = abi::PAYLOAD_CAPACITY;
/// Bytes of a reply that are summed up at a time.
const CRC_PART_BYTES: usize = 512;
/// A request whose lcore has died is given up after so long.
const LOST_NS: u64 = 60_000_000_000;

/// How to send to a source: the headers of a reply to it.
#[derive(Clone, Copy, Default)]
pub struct Route {
    headers: abi::Headers,
}

impl Route {
    fn port(&self) -> PortId {
        PortId::new(self.headers.meta.egress_port)
    }
}

/// A whole message, on its way to its lambda.
struct Whole<F> {
    /// Its last frame.
    frame: F,
    parsed: Parsed,
    arrival_ns: u64,
    call: Call<Route>,
    message: Message,
    effect: Effect,
    lambda: LambdaRef,
}

/// A message that runs.
struct Running {
    call: Call<Route>,
    slot: Option<SlotId>,
    /// The slot is not the server's: it was taken for a message of one frame.
    is_own: bool,
    since_ns: u64,
    serial: u32,
}

/// One lcore's message server, with the slots that it places messages in and the frames that it makes.
pub struct Messages<F: Frame> {
    server: Server<Route>,
    slots: MessageSlots<F::External>,
    frames: Box<dyn FrameSource<Frame = F> + Send>,
    running: Box<[Option<Running>]>,
    free: Vec<u32>,
    serial: u32,
    /// When to look for messages that are lost, if any runs.
    lost_us: Option<u64>,
    scratch: Box<[u8]>,
    /// Who places payloads; the lcore itself if there is none.
    engine: Option<Box<dyn CopyEngine<F> + Send>>,
    /// Whole messages of which copies are under way.
    held: VecDeque<Whole<F>>,
    /// When the server is to be asked next; 0 is at once.
    next_us: Option<u64>,
}

impl<F: Frame> Messages<F> {
    /// At most `running` messages run at a time.
    #[must_use]
    pub fn new(
        server: Server<Route>,
        slots: MessageSlots<F::External>,
        frames: Box<dyn FrameSource<Frame = F> + Send>,
        running: u32,
        engine: Option<Box<dyn CopyEngine<F> + Send>>,
    ) -> Self {
        let mut slots = slots;
        if engine.is_some() {
            slots.defer();
        }
        Self {
            server,
            slots,
            held: VecDeque::with_capacity(if engine.is_some() { running as usize } else { 0 }),
            engine,
            frames,
            running: (0..running).map(|_| None).collect(),
            free: (0..running).rev().collect(),
            serial: 0,
            lost_us: None,
            scratch: vec![0; SCRATCH_BYTES].into(),
            next_us: None,
        }
    }

    /// Does the lambda take messages in slots?
    #[inline]
    pub(super) fn has_slots(&self, lambda: LambdaSlot) -> bool {
        self.slots.has_slots(lambda)
    }

    /// The lambdas' slots.
    pub(super) fn slots_mut(&mut self) -> &mut MessageSlots<F::External> {
        &mut self.slots
    }

    /// Where frames come from that the lcore makes.
    pub(super) fn frames_mut(&mut self) -> &mut dyn FrameSource<Frame = F> {
        &mut *self.frames
    }

    /// Is anything to be sent, now or later, or being copied?
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.next_us.is_some() || !self.is_at_rest()
    }

    /// True if nothing is being copied.
    pub(super) fn is_at_rest(&self) -> bool {
        self.held.is_empty() && self.engine.as_ref().is_none_or(|engine| engine.in_flight() == 0)
    }

    /// When something is to be sent.
    pub(super) fn next_ns(&self) -> Option<u64> {
        if !self.is_at_rest() {
            return Some(0);
        }
        Some(self.next_us?.saturating_mul(1000))
    }

    /// Slots with a message in them, or a reply.
    #[must_use]
    pub fn slots_taken(&self) -> usize {
        self.slots.taken()
    }

    #[expect(clippy::result_large_err, reason = "what is not kept is given back")]
    fn keep(&mut self, mut running: Running) -> Result<Ticket, Running> {
        let Some(place) = self.free.pop() else { return Err(running) };
        self.serial = self.serial.wrapping_add(1);
        running.serial = self.serial;
        self.lost_us.get_or_insert((running.since_ns + LOST_NS) / 1000 + 1);
        self.running[place as usize] = Some(running);
        Ok(Ticket { place, serial: self.serial })
    }

    /// The message of a ticket, unless it was given up.
    fn take(&mut self, ticket: Ticket) -> Option<Running> {
        let place = self.running.get_mut(ticket.place as usize)?;
        let running = place.take_if(|running| running.serial == ticket.serial)?;
        self.free.push(ticket.place);
        Some(running)
    }

    /// Those whose NPU has died with them are not coming back. Looked for no more often than one can be lost.
    #[cold]
    fn give_up_lost(&mut self, now_us: u64) {
        self.lost_us = None;
        for at in 0..self.running.len() {
            let Some(running) = &self.running[at] else { continue };
            let lost_us = (running.since_ns + LOST_NS) / 1000 + 1;
            if lost_us > now_us {
                self.lost_us = Some(self.lost_us.map_or(lost_us, |first| first.min(lost_us)));
            } else if let Some(lost) = self.running[at].take() {
                self.free.push(at as u32);
                self.server.abandon(&lost.call, Status::Unavailable, 0, &mut self.slots);
                self.free_own(&lost);
            }
        }
    }

    fn free_own(&mut self, running: &Running) {
        if let (Some(slot), true) = (running.slot, running.is_own) {
            lnic_message::server::Slots::free(&mut self.slots, slot);
        }
    }

    /// Keeps a message of which copies are under way; gives back one that is all there.
    fn hold(&mut self, whole: Whole<F>) -> Option<Whole<F>> {
        let Message::Slot { slot, .. } = whole.message else { return Some(whole) };
        if self.slots.memory(slot).is_none_or(|memory| memory.in_use() == 0) {
            return Some(whole);
        }
        self.held.push_back(whole);
        None
    }

    fn note_next(&mut self) {
        self.next_us = [self.server.timeout_us(), self.lost_us].into_iter().flatten().min();
    }

    /// Copies one frame's payload to a slot of its own; the slot, or whom to refuse.
    fn place_one(&mut self, lambda: LambdaSlot, payload: &[u8]) -> Result<SlotId, (Status, u16)> {
        #[expect(clippy::cast_possible_truncation, reason = "a frame is under 64 KiB")]
        let slot = self
            .slots
            .take_of(lambda, payload.len() as u32)
            .map_err(|refusal| (refusal.status, refusal.retry_us))?;
        if let Some(memory) = self.slots.memory(slot) {
            memory.write(0, payload);
        }
        Ok(slot)
    }
}

/// A datagram of λ-RPC and where it came from.
struct Datagram {
    header: Header,
    source: Source,
    route: Route,
}

impl Datagram {
    fn of<F: Frame>(arrival: &Arrival<'_>, frame: &F) -> Option<Self> {
        let key = &arrival.parsed.key;
        let header = Header::parse_again(bytes_of(frame, arrival.parsed)?).ok()?;
        let vlan = if key.present.has(Present::VLAN) { u32::from(key.vlan) + 1 } else { 0 };
        let source = Source {
            address: key.source.to_be_bytes(),
            port: key.source_port,
            interface: u32::from(key.port.raw()) << 16 | vlan,
        };
        let mut headers = arrival.headers(frame);
        deparser::into_reply(&mut headers, Status::Ok, 0);
        Some(Self { header, source, route: Route { headers } })
    }
}

/// The λ-RPC datagram of a frame.
fn bytes_of<'a, F: Frame>(frame: &'a F, parsed: &Parsed) -> Option<&'a [u8]> {
    frame.bytes().get(usize::from(parsed.rpc)..usize::from(parsed.end))
}

/// Makes a frame one with a datagram to a source.
fn enclose<F: Frame>(
    frame: &mut F,
    attachment: &crate::path::Attachment,
    route: &Route,
    datagram_bytes: usize,
    fill: impl FnOnce(&mut [u8]) -> Option<()>,
) -> End {
    let interface = &attachment.interface;
    let exit = Exit { interface, mtu: interface.mtu, tx_checksum: attachment.tx_checksum };
    match deparser::enclose(frame, &route.headers, datagram_bytes, &exit, fill) {
        Ok(()) => End::Send(route.port()),
        Err(_) => End::Drop(DropReason::TxSize),
    }
}

mod part;
mod reply;
