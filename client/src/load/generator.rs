//! When requests are due, and what became of them. No socket, no clock: time is a parameter, from the start of the run.

use std::collections::VecDeque;
use std::time::Duration;

use lnic_message::client::Counters;
use lnic_message::{CHALLENGE_BYTES, Options};
use lnic_wire::rpc::{self, Header, Kind, Status};

use super::outcome::{Outcome, Samples, StatusCount};
use super::pending::{Match, Pending};
use super::{Mode, Plan};

/// Most requests in flight in an open loop.
const OPEN_LOOP_MOST: f64 = 4e6;
/// How often a request is sent again because the appliance wants to see a cookie: it may expire on the way.
const CHALLENGES_MOST: u8 = 3;

/// Counts of one run; those of a reply or request count only if it was due in the measured time.
#[derive(Default)]
struct Tally {
    sent: u64,
    replied: u64,
    lost: u64,
    max_send_lag: Duration,
    replies_in_time: u64,
    ok_in_time: u64,
    reply_bytes_in_time: u64,
    replies_ever: u64,
    late: u64,
    duplicate: u64,
    foreign: u64,
    corrupt: u64,
    malformed: u64,
    unexpected: u64,
    fragmented: u64,
    challenged: u64,
    retransmitted: u64,
    socket_errors: u64,
}

/// The state of a run.
pub(super) struct Generator {
    mode: Mode,
    session: u32,
    lambda: u32,
    warm_up: Duration,
    /// Nothing is due from here on.
    end: Duration,
    timeout: Duration,
    pending: Pending,
    /// Open loop: requests that were due so far, and when the next one is.
    scheduled: u64,
    next_due: Duration,
    /// What requests carry: nothing until the appliance asks for a cookie, all zero to ask it for one.
    cookie: Option<[u8; 8]>,
    /// A request without a cookie is too short to be answered by a challenge.
    is_short: bool,
    /// Requests before this one carried no cookie.
    bare_before: u32,
    /// Waiting, and to be sent again.
    again: VecDeque<u32>,
    tally: Tally,
    by_status: [u64; 256],
    samples: Samples,
}

impl Generator {
    pub(super) fn new(plan: &Plan, session: u32) -> Self {
        let in_flight = match plan.mode {
            Mode::ClosedLoop { outstanding } => outstanding as usize,
            Mode::OpenLoop { rate } => {
                (rate * plan.timeout.as_secs_f64() * 1.25).min(OPEN_LOOP_MOST) as usize + 1024
            }
        };
        Self {
            mode: plan.mode,
            session,
            lambda: plan.lambda,
            warm_up: plan.warm_up,
            end: plan.warm_up + plan.duration,
            timeout: plan.timeout,
            pending: Pending::new(in_flight),
            scheduled: 0,
            next_due: Duration::ZERO,
            cookie: None,
            is_short: rpc::HEADER_BYTES + plan.payload.len() < CHALLENGE_BYTES as usize,
            bare_before: 0,
            again: VecDeque::new(),
            tally: Tally::default(),
            by_status: [0; 256],
            samples: Samples::new(),
        }
    }

    /// The cookie that requests carry.
    pub(super) fn cookie(&self) -> Option<[u8; 8]> {
        self.cookie
    }

    /// Requests that can be in flight.
    pub(super) fn capacity(&self) -> usize {
        self.pending.capacity()
    }

    /// The ID of a request to send now, if one is due.
    pub(super) fn due(&mut self, now: Duration) -> Option<u64> {
        while let Some(sequence) = self.again.pop_front() {
            if self.pending.is_waiting(sequence) {
                return Some(self.id(sequence));
            }
        }
        let due = match self.mode {
            Mode::ClosedLoop { outstanding } => {
                if now >= self.end || self.pending.waiting() >= outstanding as usize {
                    return None;
                }
                now
            }
            Mode::OpenLoop { rate } => {
                let due = self.next_due;
                if due > now
                    || self.is_scheduled()
                    || now >= self.end + self.timeout
                    || self.pending.is_full()
                {
                    return None;
                }
                self.scheduled += 1;
                // From the count, not from the last one: rounding must not add up.
                self.next_due = Duration::from_secs_f64(self.scheduled as f64 / rate);
                due
            }
        };
        if self.is_measured(due) {
            self.tally.sent += 1;
            self.tally.max_send_lag = self.tally.max_send_lag.max(now - due);
        }
        let sequence = self.pending.insert(due, now);
        Some(self.id(sequence))
    }

    fn id(&self, sequence: u32) -> u64 {
        u64::from(self.session) << 32 | u64::from(sequence)
    }

    /// Takes a datagram that arrived.
    pub(super) fn receive(&mut self, datagram: &[u8], now: Duration) {
        let tally = &mut self.tally;
        let header = match Header::parse(datagram) {
            Ok(header) => header,
            Err(rpc::Error::Crc) => {
                tally.corrupt += 1;
                return;
            }
            Err(_) => {
                tally.malformed += 1;
                return;
            }
        };
        if header.session() != self.session || header.lambda != self.lambda {
            tally.foreign += 1;
            return;
        }
        let payload_bytes = header.payload(datagram).len();
        match header.kind {
            Kind::Reply => {}
            Kind::Challenge => {
                let cookie = Options::of(header.tlvs(datagram)).cookie;
                return self.challenged(header.sequence(), cookie);
            }
            Kind::Request | Kind::Nack | Kind::Grant | Kind::Ack | Kind::Ping | Kind::Pong | Kind::Cancel => {
                tally.unexpected += 1;
                return;
            }
        }
        if !header.accepts(payload_bytes) {
            tally.malformed += 1;
            return;
        }
        if !header.is_single_fragment() {
            tally.fragmented += 1;
            return;
        }
        // What a server says whose challenge would be longer than the request.
        if header.status() == Status::Unauthenticated && self.ask_for_cookie(header.sequence()) {
            return;
        }
        self.answered(header.sequence(), header.status(), payload_bytes, now);
    }

    /// The appliance wants to see this cookie.
    fn challenged(&mut self, sequence: u32, cookie: Option<[u8; 8]>) {
        let Some(cookie) = cookie.filter(|&cookie| cookie != [0; 8]) else {
            self.tally.malformed += 1;
            return;
        };
        if !self.pending.send_again(sequence, CHALLENGES_MOST) {
            self.tally.late += 1;
            return;
        }
        self.carry(cookie);
        self.again.push_back(sequence);
        self.tally.challenged += 1;
    }

    /// Sends a request again, long enough for a challenge; `false` if that would change nothing.
    fn ask_for_cookie(&mut self, sequence: u32) -> bool {
        let bare = self.cookie.is_none() || self.bare_before.wrapping_sub(sequence) as i32 > 0;
        if !self.is_short || !bare || !self.pending.send_again(sequence, 1) {
            return false;
        }
        if self.cookie.is_none() {
            self.carry([0; 8]);
        }
        self.again.push_back(sequence);
        self.tally.challenged += 1;
        true
    }

    fn carry(&mut self, cookie: [u8; 8]) {
        if self.cookie.is_none() {
            self.bare_before = self.pending.next();
        }
        self.cookie = Some(cookie);
    }

    /// A request was answered, by so many bytes of payload.
    pub(super) fn answered(&mut self, sequence: u32, status: Status, payload_bytes: usize, now: Duration) {
        let tally = &mut self.tally;
        let due = match self.pending.answer(sequence) {
            Match::Answer(due) => due,
            Match::Duplicate => {
                tally.duplicate += 1;
                return;
            }
            Match::Late => {
                tally.late += 1;
                return;
            }
            Match::Foreign => {
                tally.foreign += 1;
                return;
            }
        };
        let ok = status == Status::Ok;
        tally.replies_ever += 1;
        if self.warm_up <= now && now < self.end {
            tally.replies_in_time += 1;
            if ok {
                tally.ok_in_time += 1;
                tally.reply_bytes_in_time += payload_bytes as u64;
            }
        }
        if self.warm_up <= due && due < self.end {
            tally.replied += 1;
            self.by_status[usize::from(status.raw())] += 1;
            if ok {
                self.samples.record(now.saturating_sub(due));
            }
        }
    }

    /// Gives up what has waited too long.
    pub(super) fn expire(&mut self, now: Duration) {
        let Some(limit) = now.checked_sub(self.timeout) else { return };
        while let Some(due) = self.pending.expire(limit) {
            self.tally.lost += u64::from(self.is_measured(due));
        }
    }

    /// Whether nothing is left to send or to wait for.
    pub(super) fn is_done(&self, now: Duration) -> bool {
        let sending = match self.mode {
            Mode::ClosedLoop { .. } => now < self.end,
            Mode::OpenLoop { .. } => !self.is_scheduled() && now < self.end + self.timeout,
        };
        !sending && (self.pending.waiting() == 0 || now >= self.end + self.timeout * 2)
    }

    /// When something happens even if nothing arrives.
    pub(super) fn next_event(&mut self, now: Duration) -> Duration {
        let due = match self.mode {
            Mode::ClosedLoop { .. } if now < self.end => self.end,
            Mode::OpenLoop { .. } if !self.is_scheduled() && !self.pending.is_full() => self.next_due,
            _ => Duration::MAX,
        };
        let expiry = self.pending.oldest_sent().map_or(Duration::MAX, |sent| sent + self.timeout);
        due.min(expiry)
    }

    /// Whether anything was ever answered.
    pub(super) fn has_answers(&self) -> bool {
        self.tally.replies_ever > 0
    }

    pub(super) fn count_socket_error(&mut self) {
        self.tally.socket_errors += 1;
    }

    /// Takes what the state machine counted.
    pub(super) fn count_messages(&mut self, counters: Counters) {
        let tally = &mut self.tally;
        tally.late += counters.late;
        tally.foreign += counters.foreign;
        tally.corrupt += counters.corrupt;
        tally.malformed += counters.malformed;
        tally.unexpected += counters.unexpected;
        tally.retransmitted += counters.retransmitted;
    }

    pub(super) fn into_outcome(mut self, plan: &Plan, cpu: Duration) -> Outcome {
        // What the end of the run left waiting.
        while let Some(due) = self.pending.expire(Duration::MAX) {
            self.tally.lost += u64::from(self.is_measured(due));
        }
        let unsent = match self.mode {
            Mode::OpenLoop { rate } if !self.is_scheduled() => {
                let all = (self.end.as_secs_f64() * rate).ceil() as u64;
                let first = ((self.warm_up.as_secs_f64() * rate).ceil() as u64).max(self.scheduled);
                all.saturating_sub(first)
            }
            _ => 0,
        };
        let Tally { sent, replied, lost, .. } = self.tally;
        let seconds = plan.duration.as_secs_f64();
        let statuses = (0..=u8::MAX).zip(self.by_status).filter(|&(_, replies)| replies > 0);
        Outcome {
            mode: plan.mode,
            lambda: plan.lambda,
            payload_bytes: plan.payload.len(),
            duration_s: seconds,
            sent,
            replied,
            lost,
            loss: if sent == 0 { 0.0 } else { lost as f64 / sent as f64 },
            unsent,
            achieved_rate: self.tally.ok_in_time as f64 / seconds,
            reply_rate: self.tally.replies_in_time as f64 / seconds,
            request_mbit_s: mbit_s(self.tally.ok_in_time * plan.payload.len() as u64, seconds),
            reply_mbit_s: mbit_s(self.tally.reply_bytes_in_time, seconds),
            latency: self.samples.summary(),
            statuses: statuses
                .map(|(code, replies)| StatusCount { status: Status::new(code).to_string(), code, replies })
                .collect(),
            max_send_lag_us: self.tally.max_send_lag.as_secs_f64() * 1e6,
            cpu_s: cpu.as_secs_f64(),
            late: self.tally.late,
            duplicate: self.tally.duplicate,
            foreign: self.tally.foreign,
            corrupt: self.tally.corrupt,
            malformed: self.tally.malformed,
            unexpected: self.tally.unexpected,
            fragmented: self.tally.fragmented,
            challenged: self.tally.challenged,
            retransmitted: self.tally.retransmitted,
            socket_errors: self.tally.socket_errors,
        }
    }

    fn is_measured(&self, due: Duration) -> bool {
        self.warm_up <= due && due < self.end
    }

    /// Open loop: whether every request of the schedule has been given out.
    fn is_scheduled(&self) -> bool {
        self.next_due >= self.end
    }
}

fn mbit_s(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / 1e6 / seconds
}

#[cfg(test)]
mod tests;
