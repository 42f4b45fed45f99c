//! Frames from a host port: they leave on the wire as they are, unless a rule for host ports wants them.

use super::{Arrival, Clock, Next, Path, Place, Way, complete_checksum};
use crate::frame::Frame;
use crate::handoff::{End, Request};
use crate::ids::PortId;
use crate::island::State;
use crate::message::Terms;
use crate::observe::DropReason;
use crate::parser::{self, Parsed, Present};

impl<F: Frame, C: Clock> Path<F, C> {
    /// One frame of the host's, up to the decision where it goes. A lambda gets it as a job also where it runs at once: what comes from
    /// the wire has the path to itself.
    #[cold]
    #[inline(never)]
    pub(super) fn step_from_host(&mut self, port: PortId, wire: PortId, frame: &mut F, time_ns: u64) -> Next {
        let attachment = &self.attachments[port.index()];
        let Some(parsed) = self.parse_from_host(port, frame) else {
            complete_checksum(frame, &attachment.interface);
            return Next::End(End::Send(wire));
        };
        let terms = Terms::default();
        let arrival =
            Arrival { parsed: &parsed, attachment, time_ns, terms, message: None, reply_bytes: u32::MAX };
        let Some(found) = self.table.lookup(&parsed.key) else {
            return Next::End(arrival.to_host(frame));
        };
        let lambda = found.rule.lambda;
        let Some(count) = self.counters.lambda(lambda.slot) else {
            return Next::End(End::Drop(DropReason::LambdaGone));
        };
        if self.quarantine.state(lambda.slot) != State::Active {
            return self.not_active(&arrival, frame, lambda.slot, count);
        }
        let place = self.places.get(lambda.slot.index()).copied().unwrap_or_default();
        let request = Request {
            parsed,
            effect: found.effect(),
            arrival_ns: time_ns,
            terms,
            reply_bytes: u32::MAX,
            message: None,
        };
        if matches!(place, Place::Here) {
            self.mark_ns = self.clock.now_ns();
        }
        self.staged = Some((request, lambda));
        Next::Job(Way::Place(place))
    }

    /// What a rule for host ports might want. Whatever the parser has against a frame, it is the host's, and leaves as it is; so do its
    /// fragments. λ-RPC to the host port's own addresses is none: nobody asks the appliance from there.
    fn parse_from_host(&self, port: PortId, frame: &F) -> Option<Parsed> {
        let plan = self.table.host_plan()?;
        let interface = &self.attachments[port.index()].interface;
        let (ip, l4) = (frame.ip_checksum(), frame.l4_checksum());
        let mut parsed = parser::parse_by(plan, frame.bytes(), ip, l4, interface).ok()?;
        if parsed.fragment || parsed.key.present.has(Present::RPC) {
            return None;
        }
        parsed.key.present.add(Present::HOST);
        Some(parsed)
    }
}
