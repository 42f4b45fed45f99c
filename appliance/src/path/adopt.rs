//! Carries out what control commands. Nothing is allocated or freed here: what is let go of goes back with its report.

use std::mem::swap;

use super::mail::{Command, Load, Report, Unload, View};
use super::{Clock, Path};
use crate::frame::Frame;

impl<F: Frame, C: Clock> Path<F, C> {
    /// Carries out one command, if there is one. True if there was.
    #[inline]
    pub(super) fn obey(&mut self) -> bool {
        !self.mail.commands.is_empty() && self.obey_next()
    }

    /// Carries out what is in the box: an lcore begins with it.
    pub fn obey_all(&mut self) {
        while self.obey() {}
    }

    #[cold]
    #[inline(never)]
    fn obey_next(&mut self) -> bool {
        let Some(command) = self.mail.commands.pop() else { return false };
        let start = self.clock.now_ns();
        let report = match command {
            Command::Dead(npu) => {
                self.bury(npu);
                None
            }
            Command::Fresh(lambda, loaded) => {
                if let Some(dispatcher) = &mut self.dispatcher {
                    dispatcher.revive(lambda, loaded);
                }
                None
            }
            Command::Load(mut load) => {
                self.take_in(&mut load);
                Some(Report::Loaded(load))
            }
            Command::Publish(mut view) => {
                self.look_at(&mut view);
                Some(Report::Published(view))
            }
            Command::Unload(mut unload) => {
                self.give_back(&mut unload);
                Some(Report::Unloaded(unload))
            }
        };
        self.counters.commands.add(1);
        let took_ns = self.clock.now_ns().saturating_sub(start);
        self.counters.longest_command_ns.raise(took_ns);
        if let Some(report) = report {
            // Control never has more out than there is room for.
            let _ = self.mail.reports.push(report);
            self.mail.ring();
        }
        true
    }

    fn take_in(&mut self, load: &mut Load<F>) {
        for &(slot, place) in &load.places {
            if let Some(at) = self.places.get_mut(slot.index()) {
                *at = place;
            }
        }
        for (lambda, loaded) in load.npu.drain(..) {
            self.npu.load(lambda, loaded);
        }
        if let Some(dispatcher) = &mut self.dispatcher {
            for queue in &mut load.queues {
                match dispatcher.deploy(queue.lambda, queue.share, &mut queue.held) {
                    Ok(()) => {}
                    Err(error) => queue.refused = Some(error),
                }
            }
        }
        if let Some(messages) = &mut self.messages {
            while let Some(lambda) = load.messages.pop() {
                if let Some(other) = messages.slots_mut().add(lambda) {
                    // Its place is another's: control gives none out twice.
                    load.messages.push(other);
                    break;
                }
            }
        }
        if let Some(growth) = &mut load.growth {
            growth.store.exchange(&mut self.store);
            growth.suspended.take_over(&mut self.suspended);
            growth.calls.extend(self.calls.drain(..));
            swap(&mut growth.calls, &mut self.calls);
            growth.refusals.extend(self.refusals.drain(..));
            swap(&mut growth.refusals, &mut self.refusals);
            self.is_joined = true;
        }
    }

    fn look_at(&mut self, view: &mut View) {
        swap(&mut self.table, &mut view.table);
        swap(&mut self.directory, &mut view.directory);
        if let Some(messages) = &mut self.messages {
            let slots = messages.slots_mut();
            for &(from, to) in &view.passed_on {
                slots.pass_on(from, to);
            }
            slots.swap_ids(&mut view.ids);
        }
        // Whom they wait for may be another now, or nobody.
        self.waiting_room.is_stale = true;
    }

    fn give_back(&mut self, unload: &mut Unload<F>) {
        for at in 0..unload.lambdas.len() {
            let lambda = unload.lambdas[at];
            if let Some(messages) = &mut self.messages {
                match messages.slots_mut().remove(lambda) {
                    Ok(Some(slots)) => unload.messages.push(slots),
                    Ok(None) => {}
                    Err(()) => {
                        unload.kept.push(lambda);
                        continue;
                    }
                }
            }
            unload.loaded.extend(self.npu.unload(lambda));
            while let Some(job) = self.dispatcher.as_mut().and_then(|dispatcher| dispatcher.take(lambda)) {
                self.refuse_gone(job);
            }
            if let Some(dispatcher) = &mut self.dispatcher {
                unload.loaded.extend(dispatcher.remove(lambda));
            }
        }
    }
}
