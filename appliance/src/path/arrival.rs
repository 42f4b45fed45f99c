//! A parsed frame, and what becomes of it: its lambda's verdict carried out, or its caller told why not.

use lnic_abi as abi;
use lnic_wire::rpc::{self, Kind, Status};

use super::Attachment;
use crate::deparser::{self, Exit, Refusal};
use crate::frame::Frame;
use crate::handoff::{End, MessageRef, Request};
use crate::ids::{LambdaRef, PortId};
use crate::island::{Context, Npu, Outcome, Task};
use crate::lambda::{Failure, extract::extract};
use crate::matcher::{Egress, Match, Parameters};
use crate::message::Terms;
use crate::observe::DropReason;
use crate::observe::counters::LambdaCounters;
use crate::parser::{self, Parsed, Present};
use crate::path::Role;

/// Bytes of a reply's header.
const RPC_BYTES: u64 = rpc::HEADER_BYTES as u64;

/// A parsed frame, and what is known of its arrival.
pub(super) struct Arrival<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) attachment: &'a Attachment,
    pub(super) time_ns: u64,
    pub(super) terms: Terms,
    /// It came through the message server.
    pub(super) message: Option<MessageRef>,
    /// Most bytes of a reply's datagram that its source may get.
    pub(super) reply_bytes: u32,
}

/// A rule that matched, in a table or in a request that outlives it.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) lambda: LambdaRef,
    pub(super) index: u32,
    pub(super) egress: Egress,
    pub(super) parameters: &'a Parameters,
}

impl<'a> From<Match<'a>> for Found<'a> {
    #[inline(always)]
    fn from(found: Match<'a>) -> Self {
        let rule = found.rule;
        Self { lambda: rule.lambda, index: found.index, egress: rule.egress, parameters: &rule.parameters }
    }
}

impl<'a> Found<'a> {
    #[inline(always)]
    pub(super) fn of(request: &'a Request, lambda: LambdaRef) -> Self {
        let effect = &request.effect;
        Self { lambda, index: effect.index, egress: effect.egress, parameters: &effect.parameters }
    }
}

/// What came of running a lambda on a frame.
#[derive(Clone, Copy)]
pub(super) enum Ran {
    /// The frame's end is decided.
    End(End),
    /// The lambda waits for the answer to a call.
    Suspended(Context),
    /// It trapped or exhausted its budget; the frame's end is decided.
    Failed(End),
}

/// What a lambda's run needs beside the frame.
pub(super) struct Stage<'a> {
    pub(super) attachments: &'a [Attachment],
    pub(super) counters: &'a LambdaCounters,
    /// Microseconds that a unit of fuel stands for, with 32 bits of fraction.
    pub(super) us_per_fuel: u64,
}

impl Stage<'_> {
    /// What a caller is told of the time that its request took.
    #[inline]
    fn service_us(&self, fuel: u64) -> u16 {
        u16::try_from((u128::from(fuel) * u128::from(self.us_per_fuel)) >> 32).unwrap_or(u16::MAX)
    }
}

impl<'a> Arrival<'a> {
    /// The arrival of a frame that was handed over.
    pub(super) fn of(request: &'a Request, attachments: &'a [Attachment]) -> Self {
        Self {
            parsed: &request.parsed,
            attachment: &attachments[request.parsed.key.port.index()],
            time_ns: request.arrival_ns,
            terms: request.terms,
            message: request.message,
            reply_bytes: request.reply_bytes,
        }
    }

    pub(super) fn is_rpc(&self) -> bool {
        self.parsed.key.present.has(Present::RPC)
    }

    /// True if the caller does not wait any more.
    #[inline]
    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        self.terms.budget_us > 0
            && now_ns.saturating_sub(self.time_ns) > u64::from(self.terms.budget_us) * 1000
    }

    /// Runs the rule's lambda on the frame and carries out its verdict. Returns the fuel that it used too.
    ///
    /// Inlined where frames run at once, and only there: see [`run_job`](Self::run_job).
    #[inline(always)]
    pub(super) fn run<F: Frame>(
        &self,
        npu: &mut Npu,
        stage: &Stage<'_>,
        found: Found<'_>,
        frame: &mut F,
    ) -> (Ran, u64) {
        let task = self.task(found, frame);
        let (outcome, fuel) = npu.run(found.lambda, &task);
        if !matches!(outcome, Outcome::Gone | Outcome::Busy) {
            stage.counters.invocations.add(1);
        }
        (self.judge(outcome, stage, found.egress, fuel, frame), fuel)
    }

    /// The same for those who come less often, or from further away.
    #[inline(never)]
    pub(super) fn run_job<F: Frame>(
        &self,
        npu: &mut Npu,
        stage: &Stage<'_>,
        found: Found<'_>,
        frame: &mut F,
    ) -> (Ran, u64) {
        self.run(npu, stage, found, frame)
    }

    /// Carries out what a lambda decided.
    #[inline]
    pub(super) fn judge<F: Frame>(
        &self,
        outcome: Outcome<'_>,
        stage: &Stage<'_>,
        egress: Egress,
        fuel: u64,
        frame: &mut F,
    ) -> Ran {
        let count = stage.counters;
        if let Outcome::Suspended(context) = outcome {
            return Ran::Suspended(context);
        }
        count.fuel.add(fuel);
        Ran::End(match outcome {
            Outcome::Forward { .. }
                if self.terms.no_reply && egress == Egress::Reply && self.message.is_none() =>
            {
                count.forwarded.add(1);
                End::Drop(DropReason::RpcNoReply)
            }
            Outcome::Forward { payload, .. }
                if payload.len() as u64 + RPC_BYTES > self.reply_bytes.into() =>
            {
                count.forwarded.add(1);
                End::Challenge(self.parsed.key.port)
            }
            Outcome::Answer { headers, bytes } => {
                if headers.rpc.valid == 0 || headers.rpc.kind != Kind::Reply.raw() {
                    count.bad_verdicts.add(1);
                    return Ran::End(self.fail(frame, DropReason::LambdaVerdict, Status::Internal));
                }
                count.forwarded.add(1);
                let service_us = stage.service_us(fuel);
                let aux = rpc::reply_aux(Status::new(headers.rpc.status), headers.rpc.credit, service_us);
                End::Reply { aux, bytes }
            }
            Outcome::Forward { headers, payload } => {
                if headers.rpc.valid != 0 && headers.rpc.kind == Kind::Reply.raw() {
                    headers.rpc.service_us = stage.service_us(fuel);
                }
                let made = match stage.attachments.get(usize::from(headers.meta.egress_port)) {
                    Some(out) => {
                        deparser::deparse(frame, self.parsed, headers, payload, egress, &self.exit(out))
                    }
                    None => Err(Refusal::Headers),
                };
                if made.is_ok() {
                    count.forwarded.add(1);
                    if self.message.is_some() && headers.rpc.valid != 0 {
                        let status = Status::new(headers.rpc.status);
                        let aux = rpc::reply_aux(status, headers.rpc.credit, headers.rpc.service_us);
                        #[expect(clippy::cast_possible_truncation, reason = "it fits a frame")]
                        return Ran::End(End::Reply { aux, bytes: payload.len() as u32 });
                    }
                    return Ran::End(End::Send(PortId::new(headers.meta.egress_port)));
                }
                count.bad_verdicts.add(1);
                self.fail(frame, DropReason::LambdaVerdict, Status::Internal)
            }
            Outcome::Drop => {
                count.dropped.add(1);
                if self.message.is_some() { End::Silent } else { End::Drop(DropReason::LambdaDrop) }
            }
            Outcome::ToHost if self.message.is_some() => {
                count.bad_verdicts.add(1);
                self.fail(frame, DropReason::LambdaVerdict, Status::Internal)
            }
            Outcome::ToHost => {
                count.to_host.add(1);
                self.to_host(frame)
            }
            Outcome::BadVerdict => {
                count.bad_verdicts.add(1);
                self.fail(frame, DropReason::LambdaVerdict, Status::Internal)
            }
            Outcome::Failed(Failure::Trap) => {
                count.traps.add(1);
                return Ran::Failed(self.fail(frame, DropReason::LambdaTrap, Status::Internal));
            }
            Outcome::Failed(Failure::Budget) => {
                count.exhausted.add(1);
                let end = self.fail(frame, DropReason::LambdaBudget, Status::ResourceExhausted);
                return Ran::Failed(end);
            }
            Outcome::Busy => {
                count.busy.add(1);
                // When an instance is free again depends on whom it waits for.
                self.refuse(frame, DropReason::LambdaBusy, Status::Busy, 1)
            }
            Outcome::Gone => {
                count.unavailable.add(1);
                self.refuse(frame, DropReason::LambdaGone, Status::Unavailable, 0)
            }
            Outcome::Suspended(context) => return Ran::Suspended(context),
        })
    }

    /// The frame as its lambda's task.
    #[inline(always)]
    pub(super) fn task<'t, F: Frame>(&'t self, found: Found<'t>, frame: &'t F) -> Task<'t> {
        Task {
            bytes: frame.bytes(),
            parsed: self.parsed,
            time_ns: self.time_ns,
            rule: found.index,
            parameters: found.parameters,
            capacity: self.capacity(frame),
            slot: self.message.and_then(|message| message.slot),
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

    /// Hands the frame to the other side, as it came but for a checksum that its sender left to a card: the host's stack would
    /// not take that from a port, and the wire has no card. From the wire that is the host, and from the host the wire.
    #[cold]
    pub(super) fn to_host<F: Frame>(&self, frame: &mut F) -> End {
        let end = match self.attachment.role {
            Role::Wire { host: Some(host) } => End::ToHost(host),
            Role::Wire { host: None } => return End::Drop(DropReason::Unmatched),
            Role::Host { wire } => End::Send(wire),
        };
        parser::complete_checksum(frame.bytes_mut(), self.parsed);
        end
    }

    /// A request ran, and did not end well: its caller is told, a frame without one is dropped for the reason.
    #[cold]
    fn fail<F: Frame>(&self, frame: &mut F, reason: DropReason, status: Status) -> End {
        match self.message {
            Some(_) => End::Reply { aux: rpc::reply_aux(status, 0, 0), bytes: 0 },
            None => self.refuse(frame, reason, status, 0),
        }
    }

    /// A request did not run. A caller is told the status, with BUSY also when to ask again; a frame without one is dropped for the reason.
    #[cold]
    pub(super) fn refuse<F: Frame>(
        &self,
        frame: &mut F,
        reason: DropReason,
        status: Status,
        retry_us: u16,
    ) -> End {
        if self.message.is_some() {
            return End::Refused { status: status.raw(), retry_us };
        }
        if !self.is_rpc() {
            return End::Drop(reason);
        }
        if self.terms.no_reply {
            return End::Drop(DropReason::RpcNoReply);
        }
        self.answer(frame, status, retry_us)
    }

    /// Answers a λ-RPC request with a status and no payload.
    #[cold]
    pub(super) fn answer<F: Frame>(&self, frame: &mut F, status: Status, retry_us: u16) -> End {
        let mut headers = self.headers(frame);
        deparser::into_reply(&mut headers, status, retry_us);
        self.send(frame, &headers)
    }

    #[cold]
    pub(super) fn pong<F: Frame>(&self, frame: &mut F) -> End {
        let mut headers = self.headers(frame);
        deparser::into_pong(&mut headers);
        self.send(frame, &headers)
    }

    /// All headers of the frame.
    pub(super) fn headers<F: Frame>(&self, frame: &F) -> abi::Headers {
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

    fn exit(&self, out: &Attachment) -> Exit<'a> {
        Exit { interface: &self.attachment.interface, mtu: out.interface.mtu, tx_checksum: out.tx_checksum }
    }
}
