//! Services outside: requests that lambdas have sent, out as datagrams; replies in, back to who waits.
//!
//! An lcore that polls asks by itself; one that does not hands the request to the one that it works for, as a job, and gets it back
//! answered. With several queues a reply may come to another lcore than had asked: its UDP port says whose it is, and the frame goes
//! there as a job, to end where it came from.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use lnic_abi as abi;
use lnic_wire::ethernet::MacAddress;
use lnic_wire::rpc::Status;
use lnic_wire::{ethernet, ipv4, ipv6, protocol, udp};

use super::{Clock, Path, Place};
use crate::deparser::{self, Exit, Refusal};
use crate::frame::Frame;
use crate::handoff::{End, Errand, Job};
use crate::ids::{LambdaRef, LambdaSlot, PortId};
use crate::lambda::Answer;
use crate::observe::DropReason;
use crate::outside::memcached::{Header, Taken};
use crate::outside::neighbour::{MOST_BYTES, question, source};
use crate::outside::{Framing, HopId, Look, Neighbours, Outside, Pending, Place as Asking, Service};
use crate::parser::{Interface, Parsed, Present};

/// A next hop that has not answered for so long is not there, for those who wait for it.
const UNRESOLVED_NS: u64 = 1_000_000_000;
/// Longest time that a request may wait, whatever its lambda asks for: it has a place that others need, and keeps its generation.
pub(super) const MOST_WAIT_NS: u64 = 10_000_000_000;
/// Between two looks whether a next hop has answered, which another lcore may have heard.
const LOOK_NS: u64 = 200_000;
/// Who asked waits so much longer than its request: it comes back with a status at its time, and is at hand if the lambda asks again.
pub(super) const GRACE_NS: u64 = 5_000_000;
const TTL: u8 = 64;
/// No lambda's: a job with a reply is the lcore's own.
const NOBODY: LambdaSlot = LambdaSlot::new(u32::MAX);

/// What an lcore has under way outside.
pub(super) struct Asker<F: Frame> {
    neighbours: Arc<Neighbours>,
    pending: Pending<Box<Job<F>>>,
    others: Box<[(RangeInclusive<u16>, u8)]>,
    elsewhere: Box<[(PortId, u8)]>,
    /// When to look again for the next hops of those that wait.
    next_look_ns: Cell<u64>,
}

impl<F: Frame> Asker<F> {
    pub(super) fn new(outside: Outside) -> Self {
        Self {
            neighbours: outside.neighbours,
            pending: Pending::new(outside.udp_ports, outside.in_flight),
            others: outside.others.into(),
            elsewhere: outside.elsewhere.into(),
            next_look_ns: Cell::new(0),
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.pending.is_empty()
    }

    /// When something is to be done by itself; `None` if nothing is.
    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        if self.pending.is_empty() {
            return None;
        }
        let look_ns = if self.pending.waiting() > 0 { self.next_look_ns.get() } else { u64::MAX };
        Some(self.pending.next_deadline_ns().min(look_ns))
    }
}

impl<F: Frame, C: Clock> Path<F, C> {
    /// Sends a lambda's request on its way: out, if this lcore polls, or to the one that does.
    pub(super) fn set_out_request(&mut self, job: Box<Job<F>>) {
        if self.outside.is_some() {
            return self.ask(job);
        }
        match self.places.get(job.lambda.slot.index()) {
            Some(&Place::Client(at)) => self.pass_on(job, at),
            _ => self.refuse_request(job, Status::Unavailable),
        }
    }

    fn pass_on(&mut self, job: Box<Job<F>>, client: u8) {
        let Some(client) = self.clients.get_mut(usize::from(client)) else {
            return self.refuse_request(job, Status::Unavailable);
        };
        match client.send(job) {
            Ok(()) => self.counters.handed_over.add(1),
            Err(job) => self.refuse_request(job, Status::ResourceExhausted),
        }
    }

    /// Gives a request back with a status instead of a reply.
    #[cold]
    pub(super) fn refuse_request(&mut self, mut job: Box<Job<F>>, status: Status) {
        if let Errand::Ask { call, .. } = &mut job.errand {
            call.answer(status.raw(), &[]);
        }
        self.settle(job);
    }

    /// Asks a service. `mark_ns` is now.
    #[inline(never)]
    pub(super) fn ask(&mut self, job: Box<Job<F>>) {
        let Errand::Ask { ref call, service, .. } = job.errand else { return self.settle(job) };
        let Some(asker) = &mut self.outside else { return self.refuse_request(job, Status::Unavailable) };
        if !self.ports.get(service.port.index()).is_some_and(Option::is_some) {
            return match asker.elsewhere.iter().find(|(port, _)| *port == service.port) {
                Some(&(_, client)) => self.pass_on(job, client),
                None => self.refuse_request(job, Status::Unavailable),
            };
        }
        if self.mark_ns >= call.deadline_ns {
            return self.refuse_request(job, Status::DeadlineExceeded);
        }
        let interface = &self.attachments[service.port.index()].interface;
        if packet_bytes(&service, call.request().len()) > usize::from(interface.mtu) {
            return self.refuse_request(job, Status::InvalidArgument);
        }
        if source(interface, service.address.ip()).is_none() || self.messages.is_none() {
            return self.refuse_request(job, Status::Unavailable);
        }
        // The last quarter is for lambdas that have less than half: one that waits for who never answers leaves room for others.
        let (len, capacity) = (asker.pending.len(), asker.pending.capacity());
        if len >= capacity - capacity / 4 {
            let slot = job.lambda.slot;
            let own = asker.pending.count(|other| other.lambda.slot == slot);
            if own >= (capacity / 2).max(1) {
                return self.refuse_request(job, Status::ResourceExhausted);
            }
        }
        let deadline_ns = call.deadline_ns;
        match asker.pending.insert(job, service, deadline_ns, self.mark_ns) {
            Ok(asking) => self.send_request(asking, self.mark_ns),
            Err(job) => self.refuse_request(job, Status::ResourceExhausted),
        }
    }

    /// Sends a request, if its next hop's MAC address is known; else sees to it that it is asked for.
    fn send_request(&mut self, asking: Asking, now_ns: u64) {
        let Some(asker) = &mut self.outside else { return };
        let Some(asked) = asker.pending.get(asking) else { return };
        let hop = asked.service.hop;
        match asker.neighbours.look(hop, now_ns) {
            Look::Known(mac) => self.transmit(asking, mac),
            Look::Confirm(mac) => {
                self.ask_neighbour(hop, Some(mac));
                self.transmit(asking, mac);
            }
            Look::Ask => self.ask_neighbour(hop, None),
            Look::Wait => {}
        }
    }

    fn transmit(&mut self, asking: Asking, mac: MacAddress) {
        let (Some(asker), Some(messages)) = (&mut self.outside, &mut self.messages) else { return };
        let Some(asked) = asker.pending.get(asking) else { return };
        let Errand::Ask { call, service, .. } = &asked.what.errand else { return };
        let attachment = &self.attachments[service.port.index()];
        let made = match messages.frames_mut().frame(&[]) {
            None => Err(Status::ResourceExhausted),
            Some(mut frame) => {
                let head = match service.framing {
                    Framing::Datagram => None,
                    Framing::Memcached => Some(Header::request(asked.request_id)),
                };
                let interface = &attachment.interface;
                let exit = Exit { interface, mtu: interface.mtu, tx_checksum: attachment.tx_checksum };
                let headers = headers(interface, service, mac, asked.udp_port);
                match enclose(&mut frame, &headers, head, call.request(), &exit) {
                    Ok(()) => Ok((frame, service.port)),
                    Err(_) => Err(Status::InvalidArgument),
                }
            }
        };
        match made {
            Ok((frame, port)) => {
                asker.pending.sent(asking);
                self.counters.requests.add(1);
                self.counters.made.add(1);
                self.finish(frame, End::Send(port));
            }
            Err(status) => {
                if let Some(asked) = asker.pending.remove(asking) {
                    self.refuse_request(asked.what, status);
                }
            }
        }
    }

    /// Asks all who has a next hop's address, or the one that had it whether he still has.
    #[cold]
    fn ask_neighbour(&mut self, hop: HopId, known: Option<MacAddress>) {
        let (Some(asker), Some(messages)) = (&self.outside, &mut self.messages) else { return };
        let Some((port, address)) = asker.neighbours.address(hop) else { return };
        let Some(attachment) = self.attachments.get(port.index()) else { return };
        let mut bytes = [0; MOST_BYTES];
        let Some(length) = question(&attachment.interface, address, known, &mut bytes) else { return };
        self.counters.neighbours_asked.add(1);
        self.counters.made.add(1);
        match messages.frames_mut().frame(&bytes[..length]) {
            Some(mut frame) => {
                frame.set_tx_offload(None);
                self.finish(frame, End::Send(port));
            }
            None => self.counters.drop_frames(DropReason::NoFrame, 1),
        }
    }

    /// A neighbour has told its MAC address. True if it was asked.
    #[cold]
    #[inline(never)]
    pub(super) fn hear(&self, parsed: &Parsed, address: IpAddr, mac: MacAddress, now_ns: u64) -> bool {
        let Some(asker) = &self.outside else { return false };
        let is_asked = parsed.key.vlan == 0 && asker.neighbours.told(parsed.key.port, address, mac, now_ns);
        if is_asked {
            asker.next_look_ns.set(0);
        }
        is_asked
    }

    /// Sends what has waited for its next hop, and ends what nobody waits for any more. True if there was any.
    #[inline(never)]
    pub(super) fn serve_outside(&mut self) -> bool {
        let now_ns = self.clock.now_ns();
        self.mark_ns = now_ns;
        let mut any = false;
        while let Some(asked) = self.outside.as_mut().and_then(|asker| asker.pending.take_late(now_ns)) {
            any = true;
            self.refuse_request(asked.what, Status::DeadlineExceeded);
        }
        let Some(asker) = &mut self.outside else { return any };
        let waiting = asker.pending.waiting();
        if waiting == 0 || now_ns < asker.next_look_ns.get() {
            return any;
        }
        asker.next_look_ns.set(now_ns + LOOK_NS);
        // From the last: one that leaves lets those behind it move up.
        for nth in (0..waiting).rev() {
            let Some(asker) = &mut self.outside else { break };
            let Some(asking) = asker.pending.waits(nth) else { continue };
            let since_ns = asker.pending.get(asking).and_then(|asked| asked.waits_since_ns);
            if since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) >= UNRESOLVED_NS) {
                any = true;
                self.counters.requests_unresolved.add(1);
                if let Some(asked) = asker.pending.remove(asking) {
                    self.refuse_request(asked.what, Status::Unavailable);
                }
                continue;
            }
            self.send_request(asking, now_ns);
            any |= self.outside.as_ref().is_some_and(|asker| asker.pending.waiting() <= nth);
        }
        any
    }

    /// Takes what is `staged_part`, a datagram to one of the UDP ports that requests leave from.
    #[cold]
    #[inline(never)]
    pub(super) fn take_reply(&mut self, frame: F) {
        let Some(parsed) = self.staged_part.take() else { return };
        let udp_port = parsed.key.destination_port;
        let other = match &self.outside {
            Some(asker) if !asker.pending.has_port(udp_port) => {
                asker.others.iter().find(|(range, _)| range.contains(&udp_port)).map(|(_, client)| *client)
            }
            _ => None,
        };
        let Some(client) = other else {
            let refused = self.answer_request(frame.bytes(), &parsed).err();
            return self.end_reply(frame, refused);
        };
        let (Some(client), Some(mut job)) = (self.clients.get_mut(usize::from(client)), self.store.job())
        else {
            return self.end_reply(frame, Some(DropReason::ReplyBacklog));
        };
        let nobody = LambdaRef { slot: NOBODY, ..LambdaRef::default() };
        job.begin(nobody, Errand::Reply { frame, parsed, refused: Some(DropReason::StrayReply) });
        match client.send(job) {
            Ok(()) => self.counters.handed_over.add(1),
            Err(mut job) => {
                if let Errand::Reply { refused, .. } = &mut job.errand {
                    *refused = Some(DropReason::ReplyBacklog);
                }
                self.settle(job);
            }
        }
    }

    /// Takes a reply that came to another lcore.
    pub(super) fn take_reply_of_other(&mut self, mut job: Box<Job<F>>) {
        if let Errand::Reply { frame, parsed, refused } = &mut job.errand {
            *refused = self.answer_request(frame.bytes(), parsed).err();
        }
        self.settle(job);
    }

    /// The end of a frame that was a reply, or was not.
    pub(super) fn end_reply(&mut self, frame: F, refused: Option<DropReason>) {
        match refused {
            Some(reason) => self.finish(frame, End::Drop(reason)),
            None => self.counters.placed.add(1),
        }
    }

    /// Finds who waits for a reply and gives it to him, if it is whole; or the reason why it is not taken.
    fn answer_request(&mut self, bytes: &[u8], parsed: &Parsed) -> Result<(), DropReason> {
        const STRAY: DropReason = DropReason::StrayReply;
        let asker = self.outside.as_mut().ok_or(STRAY)?;
        let key = &parsed.key;
        let address = |bits: u128| match key.present.has(Present::IPV4) {
            true => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            false => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        let from = SocketAddr::new(address(key.source), key.source_port);
        let asking = asker.pending.find(key.destination_port, from, key.port).ok_or(STRAY)?;
        let interface = &self.attachments[key.port.index()].interface;
        if source(interface, from.ip()) != Some(address(key.destination)) || key.vlan != 0 {
            return Err(STRAY);
        }
        let asked = asker.pending.get_mut(asking).ok_or(STRAY)?;
        let Errand::Ask { call, .. } = &mut asked.what.errand else { return Err(STRAY) };
        let payload =
            bytes.get(usize::from(parsed.payload)..usize::from(parsed.end)).ok_or(DropReason::Truncated)?;
        match asked.service.framing {
            Framing::Datagram => call.answer(Status::Ok.raw(), payload),
            Framing::Memcached => {
                let (header, part) = Header::parse(payload).ok_or(DropReason::MalformedReply)?;
                if header.request_id != asked.request_id {
                    return Err(STRAY);
                }
                match asked.assembly.take(header, part.len()) {
                    Taken::Part { offset } if call.place(offset, part) => return Ok(()),
                    Taken::Last { offset } if call.place(offset, part) => call.complete(),
                    Taken::Part { .. } | Taken::Last { .. } | Taken::TooLong => {
                        call.answer(Status::OutOfRange.raw(), &[]);
                    }
                    Taken::Duplicate => return Err(STRAY),
                    Taken::Malformed => return Err(DropReason::MalformedReply),
                }
            }
        }
        self.counters.replies.add(1);
        if let Some(asked) = asker.pending.remove(asking) {
            self.mark_ns = self.clock.now_ns();
            self.settle(asked.what);
        }
        Ok(())
    }

    /// Counts how a lambda's request ended.
    #[cold]
    pub(super) fn count_request(&self, lambda: LambdaRef, answer: &Answer<'_>) {
        let Some(count) = self.counters.lambda(lambda.slot) else { return };
        match answer {
            Answer::Reply(_) => count.replies.add(1),
            Answer::Failed(status) if *status == Status::DeadlineExceeded.raw() => {
                count.requests_timed_out.add(1);
                self.counters.requests_timed_out.add(1);
            }
            Answer::Failed(_) => count.requests_failed.add(1),
        }
    }
}

/// True for a datagram to one of the UDP ports that requests leave from, at an address of the port's own.
#[cold]
#[inline(never)]
pub(super) fn is_reply(bytes: &[u8], parsed: &Parsed, interface: &Interface) -> bool {
    let key = &parsed.key;
    let is_own = if key.present.has(Present::IPV4) {
        interface.owns_ipv4(Ipv4Addr::from_bits(key.destination as u32))
    } else {
        interface.owns_ipv6(Ipv6Addr::from_bits(key.destination))
    };
    let is_unicast = bytes.first().is_some_and(|first| first & 1 == 0);
    key.present.has(Present::PORTS) && key.protocol == protocol::UDP && is_own && is_unicast
}

/// Bytes of the IP packet that a request makes.
fn packet_bytes(service: &Service, request_bytes: usize) -> usize {
    let ip = if service.address.is_ipv4() { ipv4::HEADER_BYTES } else { ipv6::HEADER_BYTES };
    ip + udp::HEADER_BYTES + service.framing.header_bytes() + request_bytes
}

/// Headers that a request leaves with.
fn headers(interface: &Interface, service: &Service, mac: MacAddress, udp_port: u16) -> abi::Headers {
    let mut headers = abi::Headers::default();
    headers.ethernet = abi::Ethernet {
        valid: 1,
        destination: mac,
        ether_type: if service.address.is_ipv4() { ethernet::TYPE_IPV4 } else { ethernet::TYPE_IPV6 },
        ..headers.ethernet
    };
    headers.udp =
        abi::Udp { valid: 1, source_port: udp_port, destination_port: service.address.port(), ..headers.udp };
    match (source(interface, service.address.ip()), service.address.ip()) {
        (Some(IpAddr::V4(source)), IpAddr::V4(destination)) => {
            headers.ipv4 = abi::Ipv4 {
                valid: 1,
                ttl: TTL,
                protocol: protocol::UDP,
                dont_fragment: 1,
                source: source.to_bits(),
                destination: destination.to_bits(),
                ..headers.ipv4
            };
        }
        (Some(IpAddr::V6(source)), IpAddr::V6(destination)) => {
            headers.ipv6 = abi::Ipv6 {
                valid: 1,
                hop_limit: TTL,
                protocol: protocol::UDP,
                source: source.octets(),
                destination: destination.octets(),
                ..headers.ipv6
            };
        }
        // Without an address of that version nothing is asked.
        _ => {}
    }
    headers
}

/// Makes a frame the datagram of a request.
fn enclose<F: Frame>(
    frame: &mut F,
    headers: &abi::Headers,
    head: Option<Header>,
    request: &[u8],
    exit: &Exit<'_>,
) -> Result<(), Refusal> {
    let head = head.map(Header::bytes);
    let head = head.as_ref().map_or(&[][..], |head| head);
    deparser::enclose(frame, headers, head.len() + request.len(), exit, |place| {
        let (first, rest) = place.split_at_mut_checked(head.len())?;
        first.copy_from_slice(head);
        rest.copy_from_slice(request);
        Some(())
    })
}
