//! What a machine sends, and what it does when time has passed.

use super::request::Stage;
use super::{Machine, Request};

/// Shortest time from one look at a request to the next.
const LEAST_US: u64 = 1_000;

impl<P: AsRef<[u8]>> Machine<P> {
    /// Writes the next datagram to the start of `buffer`; its bytes. Call it until there is none.
    ///
    /// A buffer shorter than [`Config::datagram_bytes`](super::Config::datagram_bytes) loses datagrams.
    pub fn poll_transmit(&mut self, now_us: u64, buffer: &mut [u8]) -> Option<usize> {
        if std::mem::take(&mut self.is_vacated) {
            self.begin_waiting(now_us);
        }
        self.expire(now_us);
        while let Some(head) = self.control.pop_front() {
            let bytes = head.bytes();
            if buffer.get_mut(..bytes).and_then(|datagram| head.emit(datagram)).is_some() {
                return Some(bytes);
            }
        }
        if let Some(bytes) = self.path.transmit(now_us, &self.config, buffer) {
            return Some(bytes);
        }
        while let Some(id) = self.ready.pop_front() {
            if let Some(bytes) = self.transmit(now_us, id, buffer) {
                return Some(bytes);
            }
        }
        None
    }

    /// Writes a fragment of a request that is ready, if it has not ended since.
    fn transmit(&mut self, now_us: u64, id: u64, buffer: &mut [u8]) -> Option<usize> {
        let (cookie, epoch) = (self.path.cookie, self.path.epoch);
        let request = self.requests.get_mut(&id)?;
        request.is_ready = false;
        if request.stage != Stage::Sending {
            return None;
        }
        if let Some(failure) = request.refuses(epoch) {
            // The server's new life became known by another request.
            self.fail(now_us, id, failure, false);
            return None;
        }
        request.epoch.get_or_insert(epoch);
        let (bytes, again) = request.transmit(now_us, cookie, buffer)?;
        let wait_us = request.wait_us.max(self.path.repeat_us(&self.config));
        request.wait_us = wait_us;
        self.counters.retransmitted += u64::from(again);
        self.make_ready(id);
        self.arm(id, now_us + wait_us);
        Some(bytes)
    }

    /// Does what is due.
    fn expire(&mut self, now_us: u64) {
        while let Some(&(timer_us, id)) = self.timers.first()
            && timer_us <= now_us
        {
            self.request_expired(now_us, id);
        }
        self.path.expire(now_us, !self.waiting[1].is_empty());
    }

    fn request_expired(&mut self, now_us: u64, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if now_us >= request.deadline_us {
            return self.expire_request(now_us, id);
        }
        match request.stage {
            Stage::Waiting => self.arm(id, u64::MAX),
            Stage::Backoff => {
                request.restart_with_one();
                self.make_ready(id);
                self.arm(id, u64::MAX);
            }
            Stage::Sending => {
                let wait_us = request.back_off(self.config.wait_us);
                request.attempts += 1;
                request.outgoing.repeat();
                self.make_ready(id);
                self.arm(id, now_us + wait_us);
            }
            Stage::Receiving => {
                let tail = request.waits > 0;
                let wait_us = request.back_off(self.config.wait_us);
                // Fragments after the last one that came may be on their way: they get one more wait.
                if tail || request.incoming.missing(false).is_some() {
                    let head = request.ask(now_us, tail);
                    self.send(head);
                }
                self.arm(id, now_us + wait_us);
            }
        }
    }
}

impl<P> Request<P> {
    /// Waiting was in vain: how long to wait next.
    fn back_off(&mut self, limit_us: u64) -> u64 {
        self.waits += 1;
        // Never at once, or looking again would not end.
        self.wait_us = self.wait_us.saturating_mul(2).min(limit_us).max(LEAST_US);
        self.wait_us
    }
}
