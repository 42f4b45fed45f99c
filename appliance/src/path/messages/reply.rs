//! Messages that were answered, and what the server sends by itself.

use super::*;

impl<F: Frame, C: Clock> Path<F, C> {
    /// Puts the frame of a request where it ends.
    #[inline(always)]
    pub(in crate::path) fn finish_request(&mut self, frame: F, message: Option<MessageRef>, end: End) {
        match message {
            None => self.finish(frame, end),
            Some(message) => self.finish_message(frame, message, end),
        }
    }

    /// Gives a message back to the server, and sends what it says.
    #[inline(never)]
    fn finish_message(&mut self, mut frame: F, message: MessageRef, end: End) {
        let now_us = self.clock.now_ns() / 1000;
        let Some(messages) = &mut self.messages else { return self.finish(frame, end) };
        let Some(running) = messages.take(message.call) else { return self.finish(frame, end) };
        let route = *running.call.route();
        let (aux, bytes) = match end {
            End::Reply { aux, bytes } => (aux, bytes),
            // Nothing is sent; who asks again is told that it ended.
            End::Silent => (rpc::reply_aux(Status::Aborted, 0, 0), 0),
            End::Refused { status, retry_us } => {
                let head = messages.server.abandon(
                    &running.call,
                    Status::new(status),
                    retry_us,
                    &mut messages.slots,
                );
                messages.free_own(&running);
                messages.note_next();
                return self.send_or_drop(frame, &route, head);
            }
            other => {
                messages.server.abandon(&running.call, Status::Unavailable, 0, &mut messages.slots);
                messages.free_own(&running);
                messages.note_next();
                return self.finish(frame, other);
            }
        };
        let attachment = self.attachments[route.port().index()];
        let length = bytes as usize;
        // Fits one frame as the caller wants them, whatever TLVs come with it.
        let is_short = length <= usize::from(running.call.header().fragment_bytes) && length <= SCRATCH_BYTES;
        let body = match running.slot {
            Some(slot) if !is_short => Body::Slot { slot, bytes },
            Some(slot) => {
                // It is there: the lambda was given no more.
                let _ = messages.slots.read(slot, 0, &mut messages.scratch[..length]);
                Body::Frame(&messages.scratch[..length])
            }
            None => {
                let whole = frame.bytes();
                let tail = whole.get(whole.len().saturating_sub(length)..).unwrap_or_default();
                let tail = if is_short { tail } else { &[] };
                messages.scratch[..tail.len()].copy_from_slice(tail);
                Body::Frame(&messages.scratch[..tail.len()])
            }
        };
        let is_long = matches!(body, Body::Slot { .. });
        let answer = messages.server.reply(now_us, &running.call, aux, body, &mut messages.slots);
        if !is_long {
            messages.free_own(&running);
        }
        messages.note_next();
        match answer {
            _ if end == End::Silent => self.finish(frame, End::Drop(DropReason::LambdaDrop)),
            Answer::Reply(head) => {
                let payload = &messages.scratch[..length];
                let made = enclose(&mut frame, &attachment, &route, head.bytes() + length, |place| {
                    place.get_mut(head.bytes()..)?.copy_from_slice(payload);
                    head.emit(place)
                });
                self.finish(frame, made);
            }
            Answer::Instead(head) => self.send_head(frame, &route, &head),
            Answer::Queued => {
                self.counters.long_replies.add(1);
                self.counters.placed.add(1);
            }
            Answer::Discard => self.finish(frame, End::Drop(DropReason::RpcNoReply)),
        }
    }

    /// Answers a request with a challenge: its reply is too long for a source that has shown no cookie.
    #[cold]
    #[inline(never)]
    pub(in crate::path) fn challenge(&mut self, mut frame: F, port: PortId) {
        self.counters.challenged.add(1);
        let now_ns = self.clock.now_ns();
        let attachment = self.attachments[port.index()];
        let (ip, l4) = (frame.ip_checksum(), frame.l4_checksum());
        let Ok(parsed) = parser::parse(frame.bytes(), ip, l4, &attachment.interface) else {
            return self.finish(frame, End::Drop(DropReason::RpcHeader));
        };
        let arrival = Arrival {
            parsed: &parsed,
            attachment: &attachment,
            time_ns: now_ns,
            terms: Terms::default(),
            message: None,
            reply_bytes: u32::MAX,
        };
        let Some(datagram) = Datagram::of(&arrival, &frame) else {
            return self.finish(frame, End::Drop(DropReason::RpcHeader));
        };
        let Some(messages) = &self.messages else {
            let end = arrival.refuse(&mut frame, DropReason::RpcType, Status::Unauthenticated, 0);
            return self.finish(frame, end);
        };
        let bytes = u32::from(parsed.end - parsed.rpc);
        let head = messages.server.instead(now_ns / 1000, &datagram.source, &datagram.header, bytes);
        self.send_head(frame, &datagram.route, &head);
    }

    /// Sends what the server wants sent by now. True if there was anything.
    #[inline(never)]
    pub(in crate::path) fn send_messages(&mut self) -> bool {
        self.run_held();
        let now_us = self.clock.now_ns() / 1000;
        let mut made = 0;
        while made < MADE {
            let Some(messages) = &mut self.messages else { break };
            if messages.next_us.is_none_or(|next| next > now_us) {
                break;
            }
            if messages.lost_us.is_some_and(|lost| lost <= now_us) {
                messages.give_up_lost(now_us);
            }
            let Some(transmit) = messages.server.poll(now_us, &mut messages.slots) else {
                messages.note_next();
                break;
            };
            made += 1;
            self.counters.made.add(1);
            // Without a frame it is as if it had been lost on the way.
            let Some(mut frame) = messages.frames.frame(&[]) else {
                self.counters.drop_frames(DropReason::NoFrame, 1);
                continue;
            };
            let end = match transmit {
                Transmit::Control { route, head, .. } => {
                    let attachment = &self.attachments[route.port().index()];
                    enclose(&mut frame, attachment, &route, head.bytes(), |place| head.emit(place))
                }
                Transmit::Fragment { route, head, slot, offset, bytes, .. } => {
                    let attachment = &self.attachments[route.port().index()];
                    let slots = &messages.slots;
                    let range = offset as usize..offset as usize + bytes as usize;
                    // Where the port reads the slot itself, and sums it up too, the reply leaves without a copy.
                    if attachment.tx_external
                        && attachment.tx_checksum
                        && let Some(memory) = slots.memory(slot)
                        && append(&mut frame, attachment, &route, &head, memory, range)
                    {
                        self.counters.sent_in_place.add(1);
                        self.finish(frame, End::Send(route.port()));
                        continue;
                    }
                    enclose(&mut frame, attachment, &route, head.bytes() + bytes as usize, |place| {
                        let payload = place.get_mut(head.bytes()..)?;
                        slots.read(slot, offset, payload).then_some(())?;
                        head.emit(place)
                    })
                }
            };
            self.finish(frame, end);
        }
        if let Some(messages) = &mut self.messages {
            messages.note_next();
        }
        self.flush_ports();
        made > 0
    }

    pub(super) fn send_or_drop(&mut self, frame: F, route: &Route, head: Option<Head>) {
        match head {
            Some(head) => self.send_head(frame, route, &head),
            None => self.finish(frame, End::Drop(DropReason::RpcNoReply)),
        }
    }

    /// Sends a datagram without payload in place of a frame.
    pub(super) fn send_head(&mut self, mut frame: F, route: &Route, head: &Head) {
        let attachment = self.attachments[route.port().index()];
        let end = enclose(&mut frame, &attachment, route, head.bytes(), |place| head.emit(place));
        self.finish(frame, end);
    }
}

/// Makes a frame one with a fragment that the port will read where it lies. False if that is not possible.
fn append<F: Frame>(
    frame: &mut F,
    attachment: &crate::path::Attachment,
    route: &Route,
    head: &Head,
    memory: &F::External,
    range: Range<usize>,
) -> bool {
    let interface = &attachment.interface;
    let exit = Exit { interface, mtu: interface.mtu, tx_checksum: true };
    let payload_crc = |mut crc: u32| {
        // Once through the cache, which the port finds warm.
        let mut part = [0; CRC_PART_BYTES];
        let mut at = range.start;
        while at < range.end {
            let bytes = (range.end - at).min(CRC_PART_BYTES);
            if !memory.read(at, &mut part[..bytes]) {
                break;
            }
            crc = rpc::crc_append(crc, &part[..bytes]);
            at += bytes;
        }
        crc
    };
    let bytes = head.bytes() + range.len();
    let fill = |area: &mut [u8]| head.emit_apart(area, payload_crc);
    deparser::enclose_before(frame, &route.headers, bytes, range.len(), &exit, fill).is_ok()
        && frame.append_external(memory, range.clone())
}
