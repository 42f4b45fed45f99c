//! The lcores' heartbeats: breaths are counted by each lcore, and looked at from here a few times a second.
//!
//! An lcore that has nothing to do still wakes every `[idle] max_sleep_ms`. One that is silent for longer than it may be is stuck: in a
//! driver, on a lock that nobody knew of, or for want of CPU. Pure: time is given, and an lcore's life is its counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plane::{PortReadiness, Readiness, Stuck, WorkerReadiness};
use super::stats::Sources;
use super::topology::{Sleep, Topology};
use crate::ids::LambdaSlot;
use crate::observe::counters::LcoreCounters;

/// The watcher itself was away if it has not looked for so long: stopped, or for want of CPU. Then nobody's silence means anything.
const AWAY: Duration = Duration::from_millis(500);
/// Looks in a row that find an lcore silent before it is called so.
const LOOKS: u32 = 2;
/// How much longer than its budget a lambda may run: code that misses the caches is slower than its fuel says.
const OVERRUN: u32 = 4;

/// An lcore to watch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// DPDK's number.
    pub lcore: u32,
    /// What it is, for people.
    pub roles: String,
    /// Its counters.
    pub counters: Arc<LcoreCounters>,
}

/// What has become of an lcore, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It does not breathe.
    Stuck {
        /// DPDK's number.
        lcore: u32,
        /// What it is.
        roles: String,
        /// For how long.
        silent: Duration,
    },
    /// It breathes again.
    Recovered {
        /// DPDK's number.
        lcore: u32,
        /// For how long it did not.
        silent: Duration,
    },
    /// It has ended.
    Ended {
        /// DPDK's number.
        lcore: u32,
        /// What it was.
        roles: String,
    },
}

/// Watches lcores.
#[derive(Debug)]
pub struct Watch {
    lcores: Vec<State>,
    longest_silence: Duration,
    away: Duration,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct State {
    watched: Watched,
    life: Life,
    /// When it was last seen to live, or the watcher came back.
    since: Option<Instant>,
    silent: Duration,
    looks: u32,
    stuck: Option<Stuck>,
}

/// What changes as long as an lcore lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Life {
    breaths: u64,
    /// Runs of lambdas: a breath may have many.
    runs: u64,
}

/// How long an lcore may be silent: `[control] stuck_ms`, and longer where it sleeps or runs lambdas for longer.
#[must_use]
pub fn longest_silence(topology: &Topology) -> Duration {
    let sleep = match topology.idle.sleep {
        Sleep::Never => Duration::ZERO,
        Sleep::Timer => Duration::from_micros(topology.idle.timer_us.into()),
        Sleep::Auto | Sleep::Descriptor => Duration::from_millis(topology.idle.max_sleep_ms.into())
            .max(Duration::from_micros(topology.idle.timer_us.into())),
    };
    let run = Duration::from_micros(topology.budget.max_us.into());
    Duration::from_millis(topology.control.stuck_ms.into()).max(2 * sleep).max(OVERRUN * run)
}

impl Watch {
    /// Of lcores that may be silent for so long.
    #[must_use]
    pub fn new(lcores: impl IntoIterator<Item = Watched>, longest_silence: Duration) -> Self {
        let state = |watched: Watched| State {
            life: Life::default(),
            watched,
            since: None,
            silent: Duration::ZERO,
            looks: 0,
            stuck: None,
        };
        Self {
            lcores: lcores.into_iter().map(state).collect(),
            longest_silence,
            away: AWAY.max(longest_silence / 2),
            looked: None,
        }
    }

    /// Of an appliance's lcores.
    #[must_use]
    pub fn of(sources: &Sources, topology: &Topology) -> Self {
        let watched = sources.lcores.iter().map(|source| Watched {
            lcore: source.lcore,
            roles: source.roles.clone(),
            counters: Arc::clone(&source.counters),
        });
        Self::new(watched, longest_silence(topology))
    }

    /// Looks at every lcore; `has_ended` tells of one whether its task has. Call it at least three times a second, with a clock that never goes
    /// back. What has changed since the last look.
    pub fn observe(&mut self, now: Instant, has_ended: impl Fn(u32) -> bool) -> Vec<Event> {
        let was_away = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) > self.away);
        self.looked = Some(now);
        let mut events = Vec::new();
        for state in &mut self.lcores {
            let ended = has_ended(state.watched.lcore);
            events.extend(state.look(now, was_away, ended, self.longest_silence));
        }
        events
    }

    /// How each lcore was when it was last looked at.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerReadiness> {
        let worker = |state: &State| WorkerReadiness {
            lcore: state.watched.lcore,
            roles: state.watched.roles.clone(),
            silent_ms: u64::try_from(state.silent.as_millis()).unwrap_or(u64::MAX),
            stuck: state.stuck,
        };
        self.lcores.iter().map(worker).collect()
    }
}

impl State {
    fn look(&mut self, now: Instant, was_away: bool, ended: bool, longest: Duration) -> Option<Event> {
        let (lcore, roles) = (self.watched.lcore, &self.watched.roles);
        if self.stuck == Some(Stuck::Ended) {
            self.silent = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            return None;
        }
        let life = Life::of(&self.watched.counters, self.life);
        let lives = life != self.life || self.since.is_none();
        self.life = life;
        let since = self.since.unwrap_or(now);
        if ended {
            self.since = Some(since);
            self.stuck = Some(Stuck::Ended);
            return Some(Event::Ended { lcore, roles: roles.clone() });
        }
        if lives {
            let silent = now.saturating_duration_since(since);
            (self.since, self.silent, self.looks) = (Some(now), Duration::ZERO, 0);
            return self.stuck.take().map(|_| Event::Recovered { lcore, silent });
        }
        // One that is known to be stuck stays so, until it lives.
        if was_away && self.stuck.is_none() {
            (self.since, self.silent, self.looks) = (Some(now), Duration::ZERO, 0);
            return None;
        }
        self.silent = now.saturating_duration_since(since);
        self.looks += 1;
        if self.stuck.is_none() && self.looks >= LOOKS && self.silent > longest {
            self.stuck = Some(Stuck::Silent);
            return Some(Event::Stuck { lcore, roles: roles.clone(), silent: self.silent });
        }
        None
    }
}

impl Life {
    /// Runs are only counted up if breaths do not tell already: there may be thousands of lambdas.
    fn of(counters: &LcoreCounters, last: Self) -> Self {
        let breaths = counters.busy_breaths.get().wrapping_add(counters.idle_breaths.get());
        let lambdas = (0..).map_while(|slot| counters.lambda(LambdaSlot::new(slot)));
        let runs = if breaths == last.breaths {
            lambdas.fold(0, |runs: u64, lambda| runs.wrapping_add(lambda.invocations.get()))
        } else {
            last.runs
        };
        Self { breaths, runs }
    }
}

/// Ports with their links. A driver that cannot tell counts as up, and so does what has no driver: captures, internal ports.
#[must_use]
pub fn ports(sources: &Sources) -> Vec<PortReadiness> {
    let ports = sources.ports.iter().map(|port| port());
    ports.map(|port| PortReadiness { name: port.name, up: port.link_up }).collect()
}

/// Puts together whether traffic may be sent here; `more` is what else is wrong, for people.
#[must_use]
pub fn readiness(ports: Vec<PortReadiness>, lcores: Vec<WorkerReadiness>, more: Vec<String>) -> Readiness {
    let down = ports.iter().filter(|port| !port.up);
    let mut problems: Vec<String> =
        down.map(|port| format!("port \"{}\": its link is down", port.name)).collect();
    problems.extend(lcores.iter().filter_map(|worker| {
        let (lcore, roles) = (worker.lcore, &worker.roles);
        match worker.stuck? {
            Stuck::Silent => Some(format!("lcore {lcore} ({roles}): stuck for {} ms", worker.silent_ms)),
            Stuck::Ended => Some(format!("lcore {lcore} ({roles}): has ended")),
        }
    }));
    problems.extend(more);
    Readiness { ready: problems.is_empty(), problems, ports, lcores }
}

#[cfg(test)]
mod tests;
