//! When requests are due, and what became of them. No socket, no clock: time is a parameter, from the start of the run.

use std::time::Duration;

use lnic_wire::rpc::{self, Header, Kind, Status};

use super::outcome::{Outcome, Samples, StatusCount};
use super::pending::{Match, Pending};
use super::{Mode, Plan};
use crate::exchange::RequestId;

/// Most requests in flight in an open loop.
const OPEN_LOOP_MOST: f64 = 4e6;

/// Counts of one run; those of a reply or request count only if it was due in the measured time.
#[derive(Default)]
struct Tally {
    sent: u64,
    replied: u64,
    lost: u64,
    max_send_lag: Duration,
    replies_in_time: u64,
    ok_in_time: u64,
    replies_ever: u64,
    late: u64,
    duplicate: u64,
    foreign: u64,
    corrupt: u64,
    malformed: u64,
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
            tally: Tally::default(),
            by_status: [0; 256],
            samples: Samples::new(),
        }
    }

    /// The ID of a request to send now, if one is due.
    pub(super) fn due(&mut self, now: Duration) -> Option<u64> {
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
        Some(RequestId { session: self.session, sequence }.raw())
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
        if header.kind != Kind::Reply
            || !header.is_single_fragment()
            || !header.accepts(header.payload(datagram).len())
        {
            tally.malformed += 1;
            return;
        }
        let due = match self.pending.answer(header.sequence()) {
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
        let ok = header.status() == Status::Ok;
        tally.replies_ever += 1;
        if self.warm_up <= now && now < self.end {
            tally.replies_in_time += 1;
            tally.ok_in_time += u64::from(ok);
        }
        if self.warm_up <= due && due < self.end {
            tally.replied += 1;
            self.by_status[usize::from(header.status().raw())] += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: u32 = 5;

    const fn at(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// 1 ms of warm-up, 10 ms measured, 2 ms timeout.
    fn generator(mode: Mode) -> (Plan, Generator) {
        let mut plan = Plan::new("127.0.0.1:4793".parse().expect("an address"), 7, mode);
        plan.warm_up = at(1_000);
        plan.duration = at(10_000);
        plan.timeout = at(2_000);
        let generator = Generator::new(&plan, SESSION);
        (plan, generator)
    }

    fn reply(request: u64, status: Status) -> Vec<u8> {
        let mut datagram = vec![0; rpc::HEADER_BYTES];
        Header::request(7, request, 0).reply(status, 0, 0, 0).emit_with_crc(&mut datagram);
        datagram
    }

    #[test]
    fn closed_loop_keeps_n_outstanding() {
        let (plan, mut generator) = generator(Mode::ClosedLoop { outstanding: 3 });
        let all: Vec<u64> = std::iter::from_fn(|| generator.due(at(0))).collect();
        assert_eq!(all.len(), 3);
        generator.receive(&reply(all[0], Status::Ok), at(1_100));
        let measured = generator.due(at(1_100)).expect("one answered, one due");
        assert_eq!(generator.due(at(1_100)), None);
        generator.receive(&reply(measured, Status::Ok), at(1_150));
        generator.receive(&reply(measured, Status::Ok), at(1_151));
        generator.expire(at(2_001));
        assert_eq!(std::iter::from_fn(|| generator.due(at(2_001))).count(), 3, "the lost are replaced");
        assert_eq!(generator.due(at(11_000)), None);
        assert!(!generator.is_done(at(11_000)));
        generator.expire(at(13_000));
        assert!(generator.is_done(at(13_000)));

        let outcome = generator.into_outcome(&plan, at(500));
        assert_eq!((outcome.sent, outcome.replied, outcome.lost), (4, 1, 3));
        assert_eq!((outcome.duplicate, outcome.late, outcome.foreign), (1, 0, 0));
        assert_eq!(
            (outcome.achieved_rate, outcome.reply_rate),
            (200.0, 200.0),
            "both replies arrived in time"
        );
        assert_eq!((outcome.latency.samples, outcome.latency.max_us.round()), (1, 50.0));
    }

    #[test]
    fn open_loop_charges_what_had_to_wait() {
        let (plan, mut generator) = generator(Mode::OpenLoop { rate: 1_000.0 });
        assert!(generator.due(at(0)).is_some());
        assert_eq!(generator.due(at(999)), None);
        assert_eq!(generator.next_event(at(999)), at(1_000));
        // The client stalls until 5 ms: requests due at 1–5 ms leave at once.
        let burst: Vec<u64> = std::iter::from_fn(|| generator.due(at(5_000))).collect();
        assert_eq!(burst.len(), 5);
        for request in burst {
            generator.receive(&reply(request, Status::Ok), at(5_000));
        }
        generator.expire(at(2_001));
        // It never recovers.
        assert!(!generator.is_done(at(12_999)));
        assert_eq!(generator.due(at(13_000)), None);
        assert!(generator.is_done(at(13_000)));

        let outcome = generator.into_outcome(&plan, at(500));
        assert_eq!((outcome.sent, outcome.replied, outcome.lost, outcome.unsent), (5, 5, 0, 5));
        assert_eq!(outcome.max_send_lag_us, 4_000.0);
        assert_eq!(outcome.latency.min_us, 0.0);
        assert!((outcome.latency.p50_us - 2_000.0).abs() < 2.0, "{:?}", outcome.latency);
        assert!((outcome.latency.max_us - 4_000.0).abs() < 4.0, "{:?}", outcome.latency);
    }

    #[test]
    fn counts_replies_by_status_and_what_is_none() {
        let (plan, mut generator) = generator(Mode::ClosedLoop { outstanding: 8 });
        let requests: Vec<u64> = std::iter::from_fn(|| generator.due(at(1_000))).collect();
        generator.receive(&reply(requests[0], Status::Ok), at(1_001));
        generator.receive(&reply(requests[1], Status::Busy), at(1_001));
        generator.receive(&reply(requests[2], Status::Other(77)), at(1_001));
        generator.receive(&reply(requests[3] ^ 1 << 40, Status::Ok), at(1_001));
        generator.receive(&reply(requests[3] + 1_000, Status::Ok), at(1_001));
        let mut corrupt = reply(requests[3], Status::Ok);
        corrupt[31] ^= 1;
        generator.receive(&corrupt, at(1_001));
        generator.receive(&corrupt[..20], at(1_001));
        generator.expire(at(3_001));
        generator.receive(&reply(requests[3], Status::Ok), at(3_001));

        let outcome = generator.into_outcome(&plan, at(0));
        let statuses: Vec<_> =
            outcome.statuses.iter().map(|count| (&count.status[..], count.replies)).collect();
        assert_eq!(statuses, [("OK", 1), ("BUSY", 1), ("STATUS_77", 1)]);
        assert_eq!((outcome.replied, outcome.lost, outcome.latency.samples), (3, 5, 1));
        assert_eq!((outcome.foreign, outcome.corrupt, outcome.malformed, outcome.late), (2, 1, 1, 1));
    }
}
