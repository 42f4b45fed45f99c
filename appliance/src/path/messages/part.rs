//! Parts of messages that arrive, and whole messages on their way to their lambda.

use super::*;
use crate::path::waiting::RETRY_US;

impl<F: Frame, C: Clock> Path<F, C> {
    /// Most bytes that the source of a request with TLVs may get.
    #[cold]
    #[inline(never)]
    pub(in crate::path) fn allowance_bytes(&self, arrival: &Arrival<'_>, frame: &F) -> u32 {
        let Some(messages) = &self.messages else { return arrival.reply_bytes };
        let validated = Datagram::of(arrival, frame).is_some_and(|it| {
            bytes_of(frame, arrival.parsed).is_some_and(|bytes| {
                messages.server.is_validated(arrival.time_ns / 1000, &it.source, &it.header, bytes)
            })
        });
        if validated { u32::MAX } else { arrival.reply_bytes }
    }

    /// Takes what is `staged_part` to the message server.
    #[inline(never)]
    pub(in crate::path) fn take_part(&mut self, mut frame: F, time_ns: u64) {
        let Some(parsed) = self.staged_part.take() else { return };
        let attachment = self.attachments[parsed.key.port.index()];
        let arrival = Arrival {
            parsed: &parsed,
            attachment: &attachment,
            time_ns,
            terms: Terms::default(),
            message: None,
            reply_bytes: u32::MAX,
        };
        let Some(datagram) = Datagram::of(&arrival, &frame) else {
            return self.finish(frame, End::Drop(DropReason::RpcHeader));
        };
        let mut found = None;
        if datagram.header.kind == Kind::Request {
            match self.wanted(&arrival, &datagram, &mut frame) {
                Ok(matched) => found = matched,
                Err(end) => return self.finish(frame, end),
            }
        }
        let Some(messages) = &mut self.messages else {
            let end = arrival.refuse(&mut frame, DropReason::RpcType, Status::Unimplemented, 0);
            return self.finish(frame, end);
        };
        let Some(bytes) = bytes_of(&frame, &parsed) else {
            return self.finish(frame, End::Drop(DropReason::RpcTruncated));
        };
        let matched = found.map(|(_, lambda)| lambda.slot);
        let sleeps = matched.is_some_and(|lambda| self.quarantine.state(lambda).sleeps());
        messages.slots.set_matched(matched, sleeps);
        let action = messages.server.frame(
            time_ns / 1000,
            &datagram.source,
            datagram.route,
            &datagram.header,
            bytes,
            &mut messages.slots,
        );
        messages.note_next();
        let wakes = if messages.slots.was_wanted() { matched } else { None };
        if let Some((slot, offset)) = messages.slots.take_deferred() {
            let start = usize::from(parsed.rpc) + datagram.header.header_bytes;
            let range = start..usize::from(parsed.end);
            if let (Action::Kept, Some(memory), Some(engine)) =
                (&action, messages.slots.memory(slot), &mut messages.engine)
            {
                return match engine.copy(frame, range, memory, offset as usize, slot.0) {
                    Copied::Done(_) => self.counters.placed.add(1),
                    Copied::UnderWay => {
                        self.counters.placed.add(1);
                        self.counters.placed_by_engine.add(1);
                    }
                    Copied::Refused(frame) => self.finish(frame, End::Drop(DropReason::RpcLength)),
                };
            }
            // The frame is needed for more.
            if let (Some(memory), Some(payload)) = (messages.slots.memory(slot), frame.bytes().get(range)) {
                memory.write(offset as usize, payload);
            }
        }
        if let Some(lambda) = wakes
            && self.quarantine.wake(lambda)
        {
            self.mail.ring();
        }
        match action {
            Action::Run { call, message } => {
                let Some((effect, lambda)) = self.whose(found, message) else {
                    return self.finish(frame, End::Drop(DropReason::LambdaGone));
                };
                let whole = Whole { frame, parsed, arrival_ns: time_ns, call, message, effect, lambda };
                let Some(messages) = &mut self.messages else { return };
                if let Some(whole) = messages.hold(whole) {
                    self.run_message(whole);
                }
            }
            Action::Send(head) => self.send_head(frame, &datagram.route, &head),
            Action::Replay(head, reply) => {
                let bytes = head.header().message_length as usize;
                let made = enclose(&mut frame, &attachment, &datagram.route, head.bytes() + bytes, |place| {
                    let rest = place.get_mut(head.bytes()..)?;
                    messages.server.cached(reply, rest)?;
                    head.emit(place)
                });
                self.finish(frame, made);
            }
            Action::Kept => self.counters.placed.add(1),
            Action::Cancelled { .. } => self.finish(frame, End::Drop(DropReason::MessageCancelled)),
            Action::Drop(reason) => self.finish(frame, End::Drop(drop_reason(reason))),
        }
    }

    /// What a whole message gets, and from which lambda. One in a slot is for the lambda that has the slot: it may be older than what the
    /// table leads to now.
    fn whose(&self, found: Option<(Effect, LambdaRef)>, message: Message) -> Option<(Effect, LambdaRef)> {
        match message {
            Message::Frame => found,
            Message::Slot { slot, .. } => {
                let owner = self.messages.as_ref()?.slots.owner(slot)?;
                Some((found.map(|(effect, _)| effect).unwrap_or_default(), owner))
            }
        }
    }

    /// What the rule that takes a request gives it, and its lambda; `None` if there is no rule any more, but the message may have begun
    /// before. Or how its frame ends.
    fn wanted(
        &self,
        arrival: &Arrival<'_>,
        datagram: &Datagram,
        frame: &mut F,
    ) -> Result<Option<(Effect, LambdaRef)>, End> {
        let unimplemented =
            |frame: &mut F| arrival.refuse(frame, DropReason::Unmatched, Status::Unimplemented, 0);
        let Some(found) = self.table.lookup(&arrival.parsed.key) else {
            if self.messages.as_ref().is_some_and(|it| it.slots.was_removed(datagram.header.lambda)) {
                return Ok(None);
            }
            self.counters.unknown_lambda.add(1);
            return Err(unimplemented(frame));
        };
        let rule = found.rule;
        let Some(count) = self.counters.lambda(rule.lambda.slot) else {
            return Err(End::Drop(DropReason::LambdaGone));
        };
        let state = self.quarantine.state(rule.lambda.slot);
        if state.sleeps() && !self.messages.as_ref().is_some_and(|it| it.slots.knows(rule.lambda.slot)) {
            // A message is not kept waiting, it may be long.
            count.busy.add(1);
            self.ask_to_wake(rule.lambda.slot);
            return Err(arrival.refuse(frame, DropReason::LambdaBusy, Status::Busy, RETRY_US));
        }
        // Slots are found by ID. Where a rule sends an ID elsewhere, messages of several frames are not for it.
        let is_owner = self
            .messages
            .as_ref()
            .is_some_and(|messages| messages.slots.lambda(datagram.header.lambda) == Some(rule.lambda.slot));
        if !is_owner && u32::from(datagram.header.fragment_bytes) < datagram.header.message_length {
            return Err(unimplemented(frame));
        }
        if !state.may_go_on() {
            return Err(unavailable(arrival, frame, count));
        }
        Ok(Some((found.effect(), rule.lambda)))
    }

    /// Tells the caller of a message that did not run.
    #[cold]
    fn refuse_whole(
        &mut self,
        frame: F,
        call: &Call<Route>,
        lambda: LambdaRef,
        status: Status,
        retry_us: u16,
    ) {
        let Some(messages) = &mut self.messages else { return };
        let head = messages.server.abandon(call, status, retry_us, &mut messages.slots);
        messages.note_next();
        if let Some(count) = self.counters.lambda(lambda.slot) {
            count.busy.add(1);
        }
        self.send_or_drop(frame, call.route(), head);
    }

    /// Runs messages whose copies are complete.
    pub(super) fn run_held(&mut self) {
        let Some(messages) = &mut self.messages else { return };
        let Some(engine) = &mut messages.engine else { return };
        engine.flush();
        // What they were for is in the slots.
        let mut complete = Tags::new();
        engine.poll(&mut complete);
        for _ in 0..messages.held.len() {
            let Some(messages) = &mut self.messages else { return };
            let Some(whole) = messages.held.pop_front() else { return };
            if let Some(whole) = messages.hold(whole) {
                self.run_message(whole);
            }
        }
    }

    /// Sends a whole message on its way to its lambda.
    fn run_message(&mut self, whole: Whole<F>) {
        let Whole { frame, parsed, arrival_ns, call, message, effect, lambda } = whole;
        if message == Message::Frame && self.quarantine.state(lambda.slot).sleeps() {
            self.ask_to_wake(lambda.slot);
            return self.refuse_whole(frame, &call, lambda, Status::Busy, RETRY_US);
        }
        let Some(messages) = &mut self.messages else { return };
        let (slot, bytes, is_own) = match message {
            Message::Slot { slot, bytes } => (Some(slot), bytes, false),
            Message::Frame if messages.has_slots(lambda.slot) => {
                let payload = frame.bytes().get(usize::from(parsed.payload)..usize::from(parsed.end));
                let payload = payload.unwrap_or_default();
                match messages.place_one(lambda.slot, payload) {
                    Ok(slot) => (Some(slot), payload.len() as u32, true),
                    Err((status, retry_us)) => {
                        return self.refuse_whole(frame, &call, lambda, status, retry_us);
                    }
                }
            }
            Message::Frame => (None, 0, false),
        };
        let header = *call.header();
        let placed = slot.and_then(|slot| messages.slots.placed(slot, bytes));
        let running = Running { call, slot, is_own, since_ns: arrival_ns, serial: 0 };
        let call = match messages.keep(running) {
            Ok(call) => call,
            Err(running) => {
                messages.free_own(&running);
                let head = messages.server.abandon(&running.call, Status::Busy, 1000, &mut messages.slots);
                messages.note_next();
                return self.send_or_drop(frame, running.call.route(), head);
            }
        };
        messages.note_next();
        self.counters.messages.add(1);
        let request = Request {
            parsed,
            effect,
            arrival_ns,
            terms: Terms {
                budget_us: header.aux,
                priority: (header.flags & rpc::PRIORITY_MASK) as u8,
                no_reply: header.flags & rpc::NOREPLY != 0,
                has_tlvs: false,
            },
            // The server judges it.
            reply_bytes: u32::MAX,
            message: Some(MessageRef { call, slot: placed }),
        };
        let place = self.places.get(lambda.slot.index()).copied().unwrap_or_default();
        self.staged = Some((request, lambda));
        self.mark_ns = self.clock.now_ns();
        self.set_out(frame, Way::Place(place));
    }
}

const fn drop_reason(reason: Dropped) -> DropReason {
    match reason {
        Dropped::NoCrc => DropReason::MessageNoCrc,
        Dropped::Kind => DropReason::RpcType,
        Dropped::Shape => DropReason::RpcLength,
        Dropped::Inconsistent => DropReason::MessageInconsistent,
        Dropped::Duplicate => DropReason::MessageDuplicate,
        Dropped::Ungranted => DropReason::MessageUngranted,
        Dropped::Refused => DropReason::MessageRefused,
        Dropped::NoReply => DropReason::RpcNoReply,
        Dropped::Unknown => DropReason::MessageUnknown,
    }
}
