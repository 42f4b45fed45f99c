//! The packet's path: joins the stations. Read this first.
//!
//! ```text
//! port.rx ─► parser ─► local ─► message ─► matcher ─► NPU: lambda ─► deparser ─► port.tx
//!              │         │         │          │            │             │
//!              └─────────┴── drop with a named reason, or ─┴─ host port ─┘
//! ```
//!
//! Every frame ends in exactly one way: sent, to host, or dropped with a named reason. `received = sent + to_host + dropped`
//! once traffic rests; `tests/conservation.rs` holds it. Nothing here allocates, locks, logs, asks the clock or calls the
//! system; `tests/no_allocation.rs` holds that. Cost of each station: `scripts/bench.sh path`.

use std::sync::Arc;

use lnic_abi as abi;
use lnic_wire::rpc::Status;

use crate::deparser::{self, Exit, Refusal};
use crate::frame::{Burst, Checksum, Frame};
use crate::ids::PortId;
use crate::island::{Npu, Outcome, Task};
use crate::lambda::Failure;
use crate::lambda::extract::extract;
use crate::local::{self, Answer};
use crate::matcher::{Egress, Match, Table};
use crate::message::{self, Gate};
use crate::observe::DropReason;
use crate::observe::counters::LcoreCounters;
use crate::parser::{self, Interface, Parsed, Present};
use crate::port::Port;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Faces the network. Frames that no rule wants go to the host port, if there is one.
    Wire {
        /// The host port.
        host: Option<PortId>,
    },
    /// Faces the host's own stack: what arrives leaves on the wire port as it is.
    Host {
        /// The wire port.
        wire: PortId,
    },
}

/// A port as one lcore sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Addresses and habits.
    pub interface: Interface,
    /// What it is for.
    pub role: Role,
    /// It makes checksums as it sends.
    pub tx_checksum: bool,
}

/// One lcore's path. Ports are numbered by their place in `attachments`, which is their [`PortId`].
pub struct Path<F> {
    attachments: Box<[Attachment]>,
    table: Arc<Table>,
    npu: Npu,
    counters: Arc<LcoreCounters>,
    outgoing: Box<[Burst<F>]>,
    to_host: Box<[Burst<F>]>,
}

/// How a frame ends.
enum End {
    Send(PortId),
    ToHost(PortId),
    Drop(DropReason),
}

impl<F: Frame> Path<F> {
    /// Joins the stations for the ports of one lcore.
    #[must_use]
    pub fn new(
        attachments: Vec<Attachment>,
        table: Arc<Table>,
        npu: Npu,
        counters: Arc<LcoreCounters>,
    ) -> Self {
        let bursts = || attachments.iter().map(|_| Burst::new()).collect();
        Self { outgoing: bursts(), to_host: bursts(), attachments: attachments.into(), table, npu, counters }
    }

    /// Takes every frame of a burst from `port` to its end. Call [`flush`](Path::flush) before the next burst.
    pub fn process(&mut self, port: PortId, burst: &mut Burst<F>, time_ns: u64) {
        self.counters.received.add(burst.len() as u64);
        for mut frame in burst.drain(..) {
            match self.step(port, &mut frame, time_ns) {
                End::Send(port) => self.outgoing[port.index()].push(frame),
                End::ToHost(port) => self.to_host[port.index()].push(frame),
                End::Drop(reason) => self.counters.drop_frames(reason, 1),
            }
        }
    }

    /// Hands what [`process`](Path::process) left behind to the ports. What a port does not take is dropped and counted.
    pub fn flush(&mut self, ports: &mut [Option<Box<dyn Port<F>>>]) {
        for (at, port) in ports.iter_mut().enumerate() {
            for (burst, sent, full) in [
                (&mut self.outgoing[at], &self.counters.sent, DropReason::TxFull),
                (&mut self.to_host[at], &self.counters.to_host, DropReason::HostFull),
            ] {
                if burst.is_empty() {
                    continue;
                }
                let reason = match port {
                    Some(port) => {
                        sent.add(port.tx(burst) as u64);
                        full
                    }
                    None => DropReason::NoQueue,
                };
                if !burst.is_empty() {
                    self.counters.drop_frames(reason, burst.len() as u64);
                    burst.clear();
                }
            }
        }
    }

    /// One frame, up to the decision where it goes.
    #[inline]
    fn step(&mut self, port: PortId, frame: &mut F, time_ns: u64) -> End {
        if !frame.is_whole() {
            return End::Drop(DropReason::Chained);
        }
        let attachment = &self.attachments[port.index()];
        let interface = &attachment.interface;
        let host = match attachment.role {
            Role::Wire { host } => host,
            Role::Host { wire } => {
                complete_checksum(frame, interface);
                return End::Send(wire);
            }
        };
        let parsed = match parser::parse(frame.bytes(), frame.ip_checksum(), frame.l4_checksum(), interface) {
            Ok(parsed) => parsed,
            Err(reason) => return End::Drop(reason),
        };
        if parsed.fragment {
            return host.map_or(End::Drop(DropReason::Fragment), End::ToHost);
        }
        let mut arrival = Arrival { parsed: &parsed, attachment, time_ns, no_reply: false };
        if parsed.key.present.has(Present::RPC) {
            match message::judge(frame.bytes(), &parsed, interface) {
                Gate::Run { no_reply } => arrival.no_reply = no_reply,
                Gate::Pong => {
                    self.counters.pongs.add(1);
                    return arrival.pong(frame);
                }
                Gate::Refuse(status) => {
                    self.counters.multi_fragment.add(1);
                    return arrival.answer(frame, status);
                }
                Gate::Drop(reason) => return End::Drop(reason),
            }
        } else {
            match local::answer(frame, &parsed, interface) {
                Answer::NotLocal => {}
                Answer::Reply => {
                    self.counters.answered.add(1);
                    return End::Send(port);
                }
                Answer::Drop(reason) => return End::Drop(reason),
            }
        }
        match self.table.lookup(&parsed.key) {
            Some(found) => arrival.run(&mut self.npu, &self.counters, &self.attachments, found, frame),
            None if arrival.is_rpc() => {
                self.counters.unknown_lambda.add(1);
                arrival.refuse(frame, DropReason::Unmatched, Status::Unimplemented)
            }
            None => arrival.to_host(frame),
        }
    }
}

/// A frame of the host's stack may leave its checksum to a card; the wire's may be none.
///
/// Kept out of line, away from the path's own parser.
#[cold]
#[inline(never)]
fn complete_checksum<F: Frame>(frame: &mut F, interface: &Interface) {
    // Whatever the parser has against a frame, it is the host's, and leaves as it is.
    if interface.partial_checksums
        && let Ok(parsed) = parser::parse(frame.bytes(), Checksum::Good, Checksum::Unknown, interface)
    {
        parser::complete_checksum(frame.bytes_mut(), &parsed);
    }
}

/// A parsed frame, and what is known of its arrival.
struct Arrival<'a> {
    parsed: &'a Parsed,
    attachment: &'a Attachment,
    time_ns: u64,
    /// λ-RPC: the caller wants no reply.
    no_reply: bool,
}

impl Arrival<'_> {
    fn is_rpc(&self) -> bool {
        self.parsed.key.present.has(Present::RPC)
    }

    /// Runs the rule's lambda on the frame and carries out its verdict.
    #[inline]
    fn run<F: Frame>(
        &self,
        npu: &mut Npu,
        counters: &LcoreCounters,
        attachments: &[Attachment],
        found: Match<'_>,
        frame: &mut F,
    ) -> End {
        let rule = found.rule;
        let task = Task {
            bytes: frame.bytes(),
            parsed: self.parsed,
            time_ns: self.time_ns,
            rule: found.index,
            parameters: &rule.parameters,
            capacity: self.capacity(frame),
        };
        let Some(count) = counters.lambda(rule.lambda.slot) else { return End::Drop(DropReason::LambdaGone) };
        let (outcome, fuel) = npu.run(rule.lambda, &task);
        if !matches!(outcome, Outcome::Gone) {
            count.invocations.add(1);
        }
        count.fuel.add(fuel);
        match outcome {
            Outcome::Forward { .. } if self.no_reply && rule.egress == Egress::Reply => {
                count.forwarded.add(1);
                End::Drop(DropReason::RpcNoReply)
            }
            Outcome::Forward { headers, payload } => {
                let made = match attachments.get(usize::from(headers.meta.egress_port)) {
                    Some(out) => {
                        deparser::deparse(frame, self.parsed, headers, payload, rule.egress, &self.exit(out))
                    }
                    None => Err(Refusal::Headers),
                };
                if made.is_ok() {
                    count.forwarded.add(1);
                    return End::Send(PortId::new(headers.meta.egress_port));
                }
                count.bad_verdicts.add(1);
                self.refuse(frame, DropReason::LambdaVerdict, Status::Internal)
            }
            Outcome::Drop => {
                count.dropped.add(1);
                End::Drop(DropReason::LambdaDrop)
            }
            Outcome::ToHost => {
                count.to_host.add(1);
                self.to_host(frame)
            }
            Outcome::BadVerdict => {
                count.bad_verdicts.add(1);
                self.refuse(frame, DropReason::LambdaVerdict, Status::Internal)
            }
            Outcome::Failed(Failure::Trap) => {
                count.traps.add(1);
                self.refuse(frame, DropReason::LambdaTrap, Status::Internal)
            }
            Outcome::Failed(Failure::Budget) => {
                count.exhausted.add(1);
                self.refuse(frame, DropReason::LambdaBudget, Status::ResourceExhausted)
            }
            Outcome::Gone => self.refuse(frame, DropReason::LambdaGone, Status::Unavailable),
        }
    }

    /// Most payload bytes that can leave in place of those that came.
    #[inline]
    fn capacity<F: Frame>(&self, frame: &F) -> u32 {
        let mtu = usize::from(self.attachment.interface.mtu) + usize::from(self.parsed.network);
        let room = frame.capacity().min(mtu).saturating_sub(self.parsed.payload.into());
        #[expect(clippy::cast_possible_truncation, reason = "at most the payload's part of the I/O area")]
        let capacity = room.min(abi::PAYLOAD_CAPACITY) as u32;
        capacity
    }

    /// Hands the frame to the host's side, as it came but for a checksum that its sender left to a card: the host's stack would
    /// not take that from a port.
    #[cold]
    fn to_host<F: Frame>(&self, frame: &mut F) -> End {
        let Role::Wire { host: Some(host) } = self.attachment.role else {
            return End::Drop(DropReason::Unmatched);
        };
        parser::complete_checksum(frame.bytes_mut(), self.parsed);
        End::ToHost(host)
    }

    /// A caller is told the status; a frame without one is dropped for the reason.
    #[cold]
    fn refuse<F: Frame>(&self, frame: &mut F, reason: DropReason, status: Status) -> End {
        if !self.is_rpc() {
            return End::Drop(reason);
        }
        if self.no_reply {
            return End::Drop(DropReason::RpcNoReply);
        }
        self.answer(frame, status)
    }

    /// Answers a λ-RPC request with a status and no payload.
    #[cold]
    fn answer<F: Frame>(&self, frame: &mut F, status: Status) -> End {
        let mut headers = self.headers(frame);
        deparser::into_reply(&mut headers, status);
        self.send(frame, &headers)
    }

    #[cold]
    fn pong<F: Frame>(&self, frame: &mut F) -> End {
        let mut headers = self.headers(frame);
        deparser::into_pong(&mut headers);
        self.send(frame, &headers)
    }

    fn headers<F: Frame>(&self, frame: &F) -> abi::Headers {
        let mut headers = abi::Headers::default();
        extract(frame.bytes(), self.parsed, self.time_ns, &mut headers);
        headers
    }

    /// Sends headers that the appliance itself made, without payload, back where the frame came from.
    fn send<F: Frame>(&self, frame: &mut F, headers: &abi::Headers) -> End {
        let exit = self.exit(self.attachment);
        match deparser::deparse_own(frame, self.parsed, headers, &exit) {
            Ok(()) => End::Send(self.parsed.key.port),
            Err(_) => End::Drop(DropReason::TxSize),
        }
    }

    fn exit<'a>(&'a self, out: &Attachment) -> Exit<'a> {
        Exit { interface: &self.attachment.interface, mtu: out.interface.mtu, tx_checksum: out.tx_checksum }
    }
}
